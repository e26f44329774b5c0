// SPDX-License-Identifier: GPL-2.0-only
//! Transitive grants pinned for devices: the bystander grants to the frontend, which
//! grants on to the backend. The oracle checks flags, pins and page references of both
//! entries after every step.

use hypercall_abi::{
    command::XEN_GDMA_DOMID_SELF,
    control::Revoke,
    grant::{
        GNTTABOP_SETUP_TABLE, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING,
        SetupTable64,
    },
    mapping::{Unmap, XEN_GDMA_NO_FLUSH},
};
use testbed::{
    elements::{READ, READ_WRITE, by_frame, by_gref, copy_in, inside, map_grant, unmap_handle},
    model::{DomainSetup, domain::Death},
    oracle::{Checked, Part},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene},
};

const ACCES: i32 = -13;
const BUSY: i32 = -16;
const PERM: i32 = -1;
const RANGE: i32 = -34;
const AGAIN: i32 = -11;
const MLINK: i32 = -31;

/// The bystander's references 40 to 47, granted on by the frontend's of these numbers.
fn chain() -> Checked {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    for gref in 40..48 {
        checked.fill(BYSTANDER, gref, gref as u8);
        checked.write_entry(
            BYSTANDER,
            gref as u32,
            GTF_PERMIT_ACCESS,
            FRONTEND,
            gref as u32,
        );
        checked.write_transitive(FRONTEND, gref as u32, BACKEND, (BYSTANDER, gref as u32));
    }
    checked
}

/// The in-use flags of both entries, the middle's first.
fn in_use(checked: &Checked, gref: u32) -> (u16, u16) {
    let flags = |granter| checked.machine.read_whole_entry(granter, gref).0;
    let both = GTF_READING | GTF_WRITING;
    (flags(FRONTEND) & both, flags(BYSTANDER) & both)
}

fn revoke(checked: &mut Checked, granter: u16, gref: u32) -> i32 {
    let mut ops = [Revoke { gref, status: 0 }];
    assert_eq!(checked.revoke(granter, &mut ops).value, 0);
    ops[0].status
}

fn reaches(checked: &Checked, daddr: u64) -> Option<u8> {
    let bytes = checked.machine.device_read(BACKEND, daddr);
    bytes.ok()
}

#[test]
fn a_device_reaches_the_origins_page() {
    let mut checked = chain();
    let one = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    assert_eq!(in_use(&checked, 40), (GTF_READING, GTF_READING));
    let two = checked.mapped(map_grant(FRONTEND, 40, 1, READ_WRITE));
    let both = GTF_READING | GTF_WRITING;
    assert_eq!(in_use(&checked, 40), (both, both));
    assert_eq!(checked.references_of(BYSTANDER, 40), (2, 1));
    assert!(reaches(&checked, one.daddr).is_some());
    checked.unmapped(two.handle);
    assert_eq!(in_use(&checked, 40), (GTF_READING, GTF_READING));
    checked.unmapped(one.handle);
    assert_eq!(in_use(&checked, 40), (0, 0));
    assert!(reaches(&checked, one.daddr).is_none());
    checked.assert_nothing_held();
}

#[test]
fn a_run_of_both_kinds() {
    let mut checked = chain();
    checked.write_entry(FRONTEND, 48, GTF_PERMIT_ACCESS, BACKEND, 9);
    let run = checked.mapped(map_grant(FRONTEND, 44, 5, READ));
    assert_eq!(in_use(&checked, 47), (GTF_READING, GTF_READING));
    checked.unmapped(run.handle);
    // What fails in the middle leaves nothing behind.
    checked.write_entry(BYSTANDER, 46, 0, FRONTEND, 46);
    checked.map_refused(map_grant(FRONTEND, 44, 5, READ), ACCES);
    checked.assert_nothing_held();
}

#[test]
fn invariant_2_flags_last_until_the_flush() {
    let mut checked = chain();
    let live = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    checked.unmap_one(Unmap {
        flags: XEN_GDMA_NO_FLUSH,
        ..unmap_handle(live.handle)
    });
    assert_eq!(in_use(&checked, 40), (GTF_READING, GTF_READING));
    assert_eq!(revoke(&mut checked, BYSTANDER, 40), 0);
    assert_eq!(in_use(&checked, 40), (0, 0));
    checked.assert_nothing_held();
}

#[test]
fn the_middle_takes_it_back() {
    let mut checked = chain();
    let live = checked.mapped(map_grant(FRONTEND, 40, 1, READ_WRITE));
    assert_eq!(revoke(&mut checked, FRONTEND, 40), 0);
    assert_eq!(checked.unmap_one(unmap_handle(live.handle)), -2);
    assert_eq!(checked.stats(BACKEND, BACKEND).revoked, 1);
    checked.assert_nothing_held();
}

/// Two transitive grants, of which one is mapped in two contexts, and the middle's own
/// devices: what leads to the origin's reference ends, nothing else.
#[test]
fn the_origin_takes_it_back() {
    let mut checked = chain();
    checked.write_transitive(FRONTEND, 50, BACKEND, (BYSTANDER, 40));
    let mut ops = [hypercall_abi::context::ContextCreate::default()];
    assert_eq!(checked.context_create(BACKEND, &mut ops).value, 0);
    let ended = [
        checked.mapped(map_grant(FRONTEND, 40, 1, READ)),
        checked.mapped(inside(
            ops[0].context,
            map_grant(FRONTEND, 40, 1, READ_WRITE),
        )),
        checked.mapped(map_grant(FRONTEND, 50, 1, READ)),
    ];
    let other = checked.mapped(map_grant(FRONTEND, 41, 1, READ));
    assert_eq!(revoke(&mut checked, BYSTANDER, 40), 0);
    assert_eq!(in_use(&checked, 40), (0, 0));
    assert!(reaches(&checked, ended[0].daddr).is_none());
    assert!(reaches(&checked, ended[2].daddr).is_none());
    assert!(reaches(&checked, other.daddr).is_some());
    assert_eq!(checked.references_of(BYSTANDER, 40), (0, 0));
    assert_eq!(checked.stats(BACKEND, BACKEND).revoked, 3);
    checked.unmapped(other.handle);
    checked.assert_nothing_held();
}

#[test]
fn invariant_6_the_holder_dies() {
    let mut checked = chain();
    checked.mapped(map_grant(FRONTEND, 40, 4, READ_WRITE));
    checked.kill(BACKEND);
    assert_eq!(in_use(&checked, 40), (0, 0));
    checked.assert_nothing_held();
}

/// The origin cannot go while its page is pinned; the middle can.
#[test]
fn invariant_6_both_granters_die() {
    for first in [FRONTEND, BYSTANDER] {
        let mut checked = chain();
        let live = checked.mapped(map_grant(FRONTEND, 40, 1, READ_WRITE));
        checked.kill(first);
        assert!(reaches(&checked, live.daddr).is_some(), "pinned is pinned");
        checked.unmapped(live.handle);
        checked.assert_nothing_held();
    }
}

/// While a device uses a transitive grant of a domain that is gone, another domain gets its
/// id, and its reference leads to the same place. What the old one had is not the new one's:
/// the end of the old mapping would take back the use of the new.
#[test]
fn the_middles_id_is_another_domains() {
    let mut checked = chain();
    let old = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    assert_eq!(checked.kill(FRONTEND).0, Death::Gone);
    checked.add_domain(DomainSetup::pvh(FRONTEND));
    checked.set_version(FRONTEND, 2);
    checked.write_transitive(FRONTEND, 40, BACKEND, (BYSTANDER, 40));
    checked.write_transitive(FRONTEND, 41, BACKEND, (BYSTANDER, 40));
    checked.map_refused(map_grant(FRONTEND, 40, 1, READ), AGAIN);
    // Another reference is another way.
    let other = checked.mapped(map_grant(FRONTEND, 41, 1, READ));
    checked.unmapped(old.handle);
    assert_eq!(in_use(&checked, 40), (0, GTF_READING));
    let new = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    assert_eq!(in_use(&checked, 40), (GTF_READING, GTF_READING));
    checked.unmapped(other.handle);
    assert_eq!(in_use(&checked, 40), (GTF_READING, GTF_READING));
    checked.unmapped(new.handle);
    checked.assert_nothing_held();
}

/// As many transitive references as may lead to pages of one domain, and one more.
#[test]
fn emlink_the_513th_passage() {
    let mut checked = chain();
    let list = 0x20_0000;
    let vcpu = checked.machine.vcpu_of(FRONTEND);
    vcpu.with_guest_memory(|memory| memory.add_page(list, true));
    let table = SetupTable64 {
        dom: XEN_GDMA_DOMID_SELF,
        nr_frames: 3,
        frame_list: list,
        ..SetupTable64::default()
    };
    let (value, answer) = checked.ask(FRONTEND, GNTTABOP_SETUP_TABLE, table);
    assert_eq!((value, answer.status), (0, 0));
    // Version 2 has 256 entries in a frame.
    let grefs: Vec<u32> = (100..=612).collect();
    for &gref in &grefs {
        let origin = (BYSTANDER, 40 + gref % 8);
        checked.write_transitive(FRONTEND, gref, BACKEND, origin);
    }
    let map = |gref: &u32| map_grant(FRONTEND, (*gref).into(), 1, READ);
    let mut live: Vec<_> = grefs[..512]
        .iter()
        .map(|gref| checked.mapped(map(gref)))
        .collect();
    let last = &grefs[512];
    checked.map_refused(map(last), MLINK);
    // Nothing is left of it: 612 leads to where 64 of the others do.
    let flags = checked.machine.read_whole_entry(FRONTEND, *last).0;
    assert_eq!(flags & (GTF_READING | GTF_WRITING), 0);
    assert_eq!(checked.references_of(BYSTANDER, 44), (64, 0));
    // Once more through one that is there takes none.
    live.push(checked.mapped(map(&grefs[0])));
    checked.unmapped(live.swap_remove(7).handle);
    live.push(checked.mapped(map(last)));
    checked.map_refused(map(&grefs[7]), MLINK);
    for op in live {
        checked.unmapped(op.handle);
    }
    checked.assert_nothing_held();
}

#[test]
fn what_leads_nowhere() {
    let mut checked = chain();
    let refused = |checked: &mut Checked, origin, status| {
        checked.write_transitive(FRONTEND, 42, BACKEND, origin);
        checked.map_refused(map_grant(FRONTEND, 42, 1, READ), status);
    };
    refused(&mut checked, (FRONTEND, 8), ACCES);
    refused(&mut checked, (77, 8), ACCES);
    refused(&mut checked, (BYSTANDER, 60_000), RANGE);
    // Granted to nobody, or to the holder instead of the middle.
    refused(&mut checked, (BYSTANDER, 60), ACCES);
    checked.write_entry(BYSTANDER, 61, GTF_PERMIT_ACCESS, BACKEND, 12);
    refused(&mut checked, (BYSTANDER, 61), ACCES);
    checked.assert_nothing_held();
}

#[test]
fn read_only_on_the_way() {
    let mut checked = chain();
    let readonly = GTF_PERMIT_ACCESS | GTF_READONLY;
    checked.write_entry(BYSTANDER, 40, readonly, FRONTEND, 40);
    checked.map_refused(map_grant(FRONTEND, 40, 1, READ_WRITE), ACCES);
    let live = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    checked.map_refused(map_grant(FRONTEND, 40, 1, READ_WRITE), ACCES);
    checked.unmapped(live.handle);
    checked.assert_nothing_held();
}

/// XSA-226: one step, whatever the entries say.
#[test]
fn xsa_226_one_step_only() {
    let mut checked = chain();
    checked.set_version(BYSTANDER, 2);
    checked.write_entry(BACKEND, 9, GTF_PERMIT_ACCESS, BYSTANDER, 9);
    checked.write_transitive(BYSTANDER, 44, FRONTEND, (BACKEND, 9));
    checked.map_refused(map_grant(FRONTEND, 44, 1, READ), ACCES);
    checked.assert_nothing_held();
}

#[test]
fn a_part_of_a_page_is_for_copies() {
    let mut checked = chain();
    checked.set_version(BYSTANDER, 2);
    let part = Part {
        start: 8,
        length: 8,
        flags: 0,
    };
    checked.write_sub_page(BYSTANDER, 40, FRONTEND, 40, part);
    checked.map_refused(map_grant(FRONTEND, 40, 1, READ), ACCES);
    checked.assert_nothing_held();
}

/// Invariant 10: the middle is no way around what access control says of the origin.
#[test]
fn access_control_is_asked_about_the_origin() {
    let mut checked = chain();
    let pair = (BACKEND, BYSTANDER);
    checked.machine.state().access.map_writable.insert(pair);
    checked.map_refused(map_grant(FRONTEND, 40, 1, READ_WRITE), PERM);
    let live = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    checked.machine.state().access.map.insert(pair);
    checked.map_refused(map_grant(FRONTEND, 41, 1, READ), PERM);
    checked.unmapped(live.handle);
    checked.switch(|switches| switches.no_transitive = true);
    checked.map_refused(map_grant(FRONTEND, 40, 1, READ), ACCES);
    checked.assert_nothing_held();
}

/// An entry that changes while it is in use counts as what it was.
#[test]
fn entries_that_change_while_in_use() {
    let mut checked = chain();
    let live = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    checked.write_transitive(FRONTEND, 40, BACKEND, (BYSTANDER, 41));
    checked.map_refused(map_grant(FRONTEND, 40, 1, READ), AGAIN);
    checked.write_entry(FRONTEND, 40, GTF_PERMIT_ACCESS, BACKEND, 9);
    checked.map_refused(map_grant(FRONTEND, 40, 1, READ), BUSY);
    checked.unmapped(live.handle);
    let page = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    assert_eq!(checked.references_of(FRONTEND, 9), (1, 0));
    checked.unmapped(page.handle);
    checked.assert_nothing_held();
}

/// Copies and pins of one transitive grant share both entries.
#[test]
fn copies_beside_pins() {
    let mut checked = chain();
    let live = checked.mapped(map_grant(FRONTEND, 40, 1, READ));
    let op = copy_in(by_gref(FRONTEND, 40, 0), by_frame(1, 0), 64);
    assert_eq!(checked.copied(op), 0);
    assert_eq!(checked.byte(BACKEND, 1, 63), 40);
    assert_eq!(in_use(&checked, 40), (GTF_READING, GTF_READING));
    checked.unmapped(live.handle);
    checked.assert_nothing_held();
}
