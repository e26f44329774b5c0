// SPDX-License-Identifier: GPL-2.0-only
//! `copy`. The oracle checks statuses, contents and what is left in use; the
//! statuses here are those that `public/grant_table.h` has for the mistake.

use std::sync::atomic::{AtomicU32, Ordering};

use hypercall_abi::grant::{
    Copy32, Copy64, CopyPtr32, GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTTABOP_COPY,
    GTF_ACCEPT_TRANSFER, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING,
};
use testbed::{
    elements::{by_frame, by_gref, copy, copy_in, copy_out},
    model::{
        DomainSetup, Moment, Preempt, domain::Backing, frames::Kind, guest::GUEST_LIMIT,
        hypercall::Number,
    },
    oracle::{Checked, Part},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene},
};

const BOTH: u16 = GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF;
const OKAY: i16 = 0;
const GENERAL_ERROR: i16 = -1;
const BAD_DOMAIN: i16 = -2;
const BAD_GNTREF: i16 = -3;
const PERMISSION_DENIED: i16 = -8;
const BAD_PAGE: i16 = -9;
const BAD_COPY_ARG: i16 = -10;
const EAGAIN: i16 = -12;

/// A scene whose frontend has version 2 entries and grants frame r by reference r.
fn v2_scene() -> Checked {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    for gref in 8..20 {
        checked.write_entry(FRONTEND, gref, GTF_PERMIT_ACCESS, BACKEND, gref);
    }
    checked
}

fn part(start: u16, length: u16) -> Part {
    Part {
        start,
        length,
        flags: 0,
    }
}

#[test]
fn copies_both_ways_and_leaves_nothing_in_use() {
    let mut checked = scene();
    checked.fill(FRONTEND, 8, 0x11);
    checked.fill(BACKEND, 1, 0x22);
    let from = copy_in(by_gref(FRONTEND, 8, 100), by_frame(1, 200), 300);
    assert_eq!(checked.copied(from), OKAY);
    assert_eq!(checked.byte(BACKEND, 1, 199), 0x22);
    assert_eq!(checked.byte(BACKEND, 1, 200), 0x11);
    assert_eq!(checked.byte(BACKEND, 1, 499), 0x11);
    assert_eq!(checked.byte(BACKEND, 1, 500), 0x22);
    let to = copy_out(by_frame(1, 0), by_gref(FRONTEND, 8, 4000), 96);
    assert_eq!(checked.copied(to), OKAY);
    assert_eq!(checked.byte(FRONTEND, 8, 4095), 0x22);
    let between = copy(
        by_gref(FRONTEND, 8, 0),
        by_gref(FRONTEND, 10, 0),
        4096,
        BOTH,
    );
    assert_eq!(checked.copied(between), OKAY);
    assert_eq!(checked.byte(FRONTEND, 10, 4095), 0x22);
    assert_eq!(checked.entry_flags(8), GTF_PERMIT_ACCESS);
    checked.assert_nothing_held();
}

/// A page to itself, and the caller's own frames to each other.
#[test]
fn self_copies() {
    let mut checked = scene();
    checked.fill(BACKEND, 1, 0x33);
    let own = copy(by_frame(1, 0), by_frame(2, 0), 4096, 0);
    assert_eq!(checked.copied(own), OKAY);
    let same = copy(by_frame(1, 0), by_frame(1, 2048), 2048, 0);
    assert_eq!(checked.copied(same), OKAY);
    let same = copy(
        by_gref(FRONTEND, 8, 0),
        by_gref(FRONTEND, 8, 2048),
        64,
        BOTH,
    );
    assert_eq!(checked.copied(same), OKAY);
    // One's own grants are named like anybody's.
    checked.write_entry(BACKEND, 8, GTF_PERMIT_ACCESS, BACKEND, 3);
    let own = copy_in(by_gref(BACKEND, 8, 0), by_frame(2, 0), 64);
    assert_eq!(checked.copied(own), OKAY);
    let own = copy_in(by_gref(0x7ff0, 8, 0), by_frame(2, 0), 64);
    assert_eq!(checked.copied(own), OKAY);
    checked.assert_nothing_held();
}

#[test]
fn nothing_to_copy_is_no_mistake() {
    let mut checked = scene();
    let op = copy_in(by_gref(77, 1 << 30, 9999), by_frame(1 << 40, 0), 0);
    assert_eq!(checked.copied(op), OKAY);
}

#[test]
fn bad_copy_arg_across_the_page() {
    let mut checked = scene();
    for (source, dest, len) in [
        (4095, 0, 2),
        (0, 4095, 2),
        (1, 0, 4096),
        (0, 0, 4097),
        (u16::MAX, 0, 1),
        (0, u16::MAX, u16::MAX),
    ] {
        let op = copy_in(by_gref(FRONTEND, 8, source), by_frame(1, dest), len);
        assert_eq!(checked.copied(op), BAD_COPY_ARG, "{source} {dest} {len}");
    }
    let op = copy_in(by_gref(FRONTEND, 8, 4095), by_frame(1, 4095), 1);
    assert_eq!(checked.copied(op), OKAY);
}

#[test]
fn what_is_not_granted() {
    let mut checked = scene();
    let dest = by_frame(1, 0);
    let mut status = |source| checked.copied(copy_in(source, dest, 8));
    assert_eq!(status(by_gref(77, 8, 0)), BAD_DOMAIN);
    assert_eq!(status(by_gref(FRONTEND, 512, 0)), BAD_GNTREF);
    assert_eq!(status(by_gref(FRONTEND, u32::MAX, 0)), BAD_GNTREF);
    assert_eq!(status(by_gref(FRONTEND, 0, 0)), GENERAL_ERROR);
    assert_eq!(status(by_gref(BYSTANDER, 8, 0)), GENERAL_ERROR);
    // Read-only grants can be read.
    assert_eq!(status(by_gref(FRONTEND, 9, 0)), OKAY);
    let op = copy_out(by_frame(1, 0), by_gref(FRONTEND, 9, 0), 8);
    assert_eq!(checked.copied(op), GENERAL_ERROR);
    checked.write_entry(FRONTEND, 80, GTF_ACCEPT_TRANSFER, BACKEND, 8);
    checked.write_entry(FRONTEND, 81, GTF_PERMIT_ACCESS, BYSTANDER, 8);
    for gref in [80, 81] {
        let op = copy_in(by_gref(FRONTEND, gref, 0), by_frame(1, 0), 8);
        assert_eq!(checked.copied(op), GENERAL_ERROR);
    }
    checked.assert_nothing_held();
}

#[test]
fn frames_that_cannot_be_copied() {
    let mut checked = scene();
    let own = |gfn| copy_in(by_gref(FRONTEND, 8, 0), by_frame(gfn, 0), 8);
    assert_eq!(checked.copied(own(1 << 30)), BAD_PAGE);
    for (what, status) in [
        (Backing::PagedOut, EAGAIN),
        (Backing::Mmio, BAD_PAGE),
        (Backing::Foreign(1), BAD_PAGE),
    ] {
        let mut granted = |gfn| {
            checked.machine.state().p2m.insert((FRONTEND, gfn), what);
            let gref = gfn as u32;
            checked.write_entry(FRONTEND, gref, GTF_PERMIT_ACCESS, BACKEND, gref);
            checked.copied(copy_in(by_gref(FRONTEND, gref, 0), by_frame(1, 0), 8))
        };
        assert_eq!(granted(300), status, "{what:?}");
        checked.machine.state().p2m.insert((BACKEND, 300), what);
        assert_eq!(checked.copied(own(300)), status, "{what:?}");
    }
    // A page table can be read, and not written.
    let mfn = checked.machine.mfn_of(BACKEND, 5).expect("memory");
    if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
        frame.kind = Kind::PageTable;
    }
    assert_eq!(checked.copied(own(5)), GENERAL_ERROR);
    let op = copy_out(by_frame(5, 0), by_gref(FRONTEND, 8, 0), 8);
    assert_eq!(checked.copied(op), OKAY);
    checked.assert_nothing_held();
}

/// Whatever the elements around it name, each is checked on its own.
#[test]
fn each_element_is_checked_on_its_own() {
    let mut checked = scene();
    checked.fill(FRONTEND, 50, 0x77);
    let mut foreign = by_frame(50, 0);
    foreign.domid = FRONTEND;
    let mut ops = [
        copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, 0), 64),
        copy(foreign, by_frame(1, 0), 64, 0),
        copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, 0), 64),
    ];
    checked.copy(BACKEND, &mut ops);
    assert_eq!(
        ops.map(|op| op.status),
        [OKAY, PERMISSION_DENIED, OKAY],
        "source"
    );
    let mut ops = [
        copy_out(by_frame(1, 0), by_gref(FRONTEND, 8, 0), 64),
        copy(by_frame(1, 0), foreign, 64, 0),
    ];
    checked.copy(BACKEND, &mut ops);
    assert_eq!(ops.map(|op| op.status), [OKAY, PERMISSION_DENIED], "dest");
    // Not even one's own by number.
    let mut own = by_frame(1, 0);
    own.domid = BACKEND;
    let op = copy(own, by_frame(2, 0), 8, 0);
    assert_eq!(checked.copied(op), PERMISSION_DENIED);
    assert_eq!(checked.byte(BACKEND, 1, 0), 0);
}

#[test]
fn access_control_may_refuse() {
    let mut checked = scene();
    let pair = (FRONTEND, BACKEND);
    checked.machine.state().access.copy.insert(pair);
    let op = copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, 0), 8);
    assert_eq!(checked.copied(op), PERMISSION_DENIED);
    // The other direction is another question.
    let op = copy_out(by_frame(1, 0), by_gref(FRONTEND, 8, 0), 8);
    assert_eq!(checked.copied(op), OKAY);
}

/// Elements between failing ones are worked on, and a failing one writes nothing.
#[test]
fn mixed_batch() {
    let mut checked = scene();
    checked.fill(FRONTEND, 8, 0x44);
    let good = |to| copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, to), 16);
    let mut ops = [
        good(0),
        copy_in(by_gref(FRONTEND, 700, 0), by_frame(1, 16), 16),
        good(32),
        copy_in(by_gref(FRONTEND, 8, 4090), by_frame(1, 48), 16),
        copy_in(by_gref(77, 8, 0), by_frame(1, 48), 16),
        good(64),
    ];
    checked.copy(BACKEND, &mut ops);
    assert_eq!(
        ops.map(|op| op.status),
        [OKAY, BAD_GNTREF, OKAY, BAD_COPY_ARG, BAD_DOMAIN, OKAY]
    );
    let written = [0, 16, 32, 48, 64].map(|at| checked.byte(BACKEND, 1, at));
    assert_eq!(written, [0x44, 0, 0x44, 0, 0x44]);
    checked.assert_nothing_held();
}

/// The page of one element stays in use for the next, and the granter sees that.
#[test]
fn long_batches_are_preempted_between_elements() {
    let checked = scene();
    checked.fill(FRONTEND, 8, 0x55);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops: Vec<_> = (0..100)
        .map(|nth| copy_in(by_gref(FRONTEND, 8, nth), by_frame(1, nth * 16), 16))
        .collect();
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut ops);
    assert_eq!(end.value, 0);
    assert!(end.steps > 3, "{} steps", end.steps);
    assert!(ops.iter().all(|op| op.status == 0));
    assert_eq!(checked.byte(BACKEND, 1, 1599), 0x55);
    checked.assert_nothing_held();
}

#[test]
fn fault_on_the_way_keeps_what_was_done() {
    let checked = scene();
    checked.fill(FRONTEND, 8, 0x66);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let op = copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, 0), 16);
    let at = 0x5000_1000 - size_of::<Copy64>() as u64;
    vcpu.with_guest_memory(|memory| memory.store(at, zerocopy::IntoBytes::as_bytes(&op)));
    let value = vcpu.call(Number::GrantTable, GNTTABOP_COPY, at, 2).value;
    assert_eq!((value, checked.byte(BACKEND, 1, 15)), (-14, 0x66));
    let value = vcpu
        .call(Number::GrantTable, GNTTABOP_COPY, GUEST_LIMIT - 8, 1)
        .value;
    assert_eq!(value, -14);
    checked.assert_nothing_held();
}

/// 32-bit guests have another layout, and no frames of more than 32 bits.
#[test]
fn compat_layout() {
    let mut checked = scene();
    checked.fill(FRONTEND, 8, 0x12);
    let op = Copy32 {
        source: CopyPtr32 {
            frame_or_gref: 8,
            domid: FRONTEND,
            offset: 16,
        },
        dest: CopyPtr32 {
            frame_or_gref: 2,
            domid: 0x7ff0,
            offset: 32,
        },
        len: 64,
        flags: GNTCOPY_SOURCE_GREF,
        ..Copy32::default()
    };
    let mut far = op;
    far.source.offset = 4090;
    let mut foreign = op;
    foreign.dest.domid = FRONTEND;
    let mut ops = [op, far, foreign];
    checked.copy(BACKEND, &mut ops);
    let statuses = ops.map(|op| op.status);
    assert_eq!(statuses, [OKAY, BAD_COPY_ARG, PERMISSION_DENIED]);
    assert_eq!(checked.byte(BACKEND, 2, 95), 0x12);
    assert_eq!(checked.byte(BACKEND, 2, 96), 0);
}

#[test]
fn sub_page_grants() {
    let mut checked = v2_scene();
    checked.fill(FRONTEND, 30, 0x21);
    checked.write_sub_page(FRONTEND, 30, BACKEND, 30, part(100, 50));
    let mut status =
        |offset, len| checked.copied(copy_in(by_gref(FRONTEND, 30, offset), by_frame(1, 0), len));
    assert_eq!(status(100, 50), OKAY);
    assert_eq!(status(149, 1), OKAY);
    assert_eq!(status(99, 1), GENERAL_ERROR);
    assert_eq!(status(149, 2), GENERAL_ERROR);
    assert_eq!(status(150, 1), GENERAL_ERROR);
    assert_eq!(status(0, 4096), GENERAL_ERROR);
    assert_eq!(status(4095, 2), BAD_COPY_ARG);
    let op = copy_out(by_frame(1, 0), by_gref(FRONTEND, 30, 98), 4);
    assert_eq!(checked.copied(op), GENERAL_ERROR);
    // A part that leaves the page grants what is inside of it.
    checked.write_sub_page(FRONTEND, 31, BACKEND, 31, part(4000, u16::MAX));
    let op = copy_in(by_gref(FRONTEND, 31, 4000), by_frame(1, 0), 96);
    assert_eq!(checked.copied(op), OKAY);
    // One that begins outside of it grants nothing.
    checked.write_sub_page(FRONTEND, 32, BACKEND, 32, part(1 << 15, 4096));
    let op = copy_in(by_gref(FRONTEND, 32, 0), by_frame(1, 0), 16);
    assert_eq!(checked.copied(op), GENERAL_ERROR);
    checked.assert_nothing_held();
}

/// Backend copies what the bystander granted the frontend, by the frontend's
/// reference.
fn transitive_scene() -> Checked {
    let mut checked = v2_scene();
    checked.fill(BYSTANDER, 40, 0x31);
    checked.write_entry(BYSTANDER, 40, GTF_PERMIT_ACCESS, FRONTEND, 40);
    checked.write_transitive(FRONTEND, 40, BACKEND, (BYSTANDER, 40));
    checked
}

fn through() -> Copy64 {
    copy_in(by_gref(FRONTEND, 40, 0), by_frame(1, 0), 64)
}

#[test]
fn transitive_grants() {
    let mut checked = transitive_scene();
    assert_eq!(checked.copied(through()), OKAY);
    assert_eq!(checked.byte(BACKEND, 1, 63), 0x31);
    let back = copy_out(by_frame(2, 0), by_gref(FRONTEND, 40, 0), 64);
    assert_eq!(checked.copied(back), OKAY);
    assert_eq!(checked.byte(BYSTANDER, 40, 0), 0);
    // Back to the origin itself.
    checked.write_transitive(FRONTEND, 41, BYSTANDER, (BYSTANDER, 40));
    let mut ops = [copy_in(by_gref(FRONTEND, 41, 0), by_frame(1, 0), 8)];
    checked.copy(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, OKAY);
    checked.assert_nothing_held();
}

#[test]
fn transitive_grants_that_lead_nowhere() {
    let mut checked = transitive_scene();
    let mut status = |origin| {
        checked.write_transitive(FRONTEND, 42, BACKEND, origin);
        checked.copied(copy_in(by_gref(FRONTEND, 42, 0), by_frame(1, 0), 8))
    };
    // Not self-referential, not to a domain that is not there.
    assert_eq!(status((FRONTEND, 8)), GENERAL_ERROR);
    assert_eq!(status((77, 8)), GENERAL_ERROR);
    assert_eq!(status((BYSTANDER, 600)), BAD_GNTREF);
    assert_eq!(status((BYSTANDER, 8)), GENERAL_ERROR);
    // Not what is read-only on the way.
    checked.write_entry(
        BYSTANDER,
        43,
        GTF_PERMIT_ACCESS | GTF_READONLY,
        FRONTEND,
        43,
    );
    checked.write_transitive(FRONTEND, 43, BACKEND, (BYSTANDER, 43));
    let op = copy_out(by_frame(1, 0), by_gref(FRONTEND, 43, 0), 8);
    assert_eq!(checked.copied(op), GENERAL_ERROR);
    // One step only.
    checked.set_version(BYSTANDER, 2);
    checked.write_entry(BACKEND, 9, GTF_PERMIT_ACCESS, BYSTANDER, 9);
    checked.write_transitive(BYSTANDER, 44, FRONTEND, (BACKEND, 9));
    checked.write_transitive(FRONTEND, 44, BACKEND, (BYSTANDER, 44));
    let op = copy_in(by_gref(FRONTEND, 44, 0), by_frame(1, 0), 8);
    assert_eq!(checked.copied(op), GENERAL_ERROR);
    // Version 1 has no such type.
    checked.write_entry(BYSTANDER, 45, 3, BACKEND, 8);
    checked.assert_nothing_held();
}

#[test]
fn transitive_grants_can_be_forbidden() {
    let mut checked = transitive_scene();
    checked.switch(|switches| switches.no_transitive = true);
    assert_eq!(checked.copied(through()), GENERAL_ERROR);
    checked.assert_nothing_held();
}

/// The part of a sub-page grant counts through a transitive one.
#[test]
fn transitive_grant_of_a_part() {
    let mut checked = transitive_scene();
    checked.set_version(BYSTANDER, 2);
    checked.write_sub_page(BYSTANDER, 40, FRONTEND, 40, part(8, 8));
    let mut status =
        |offset, len| checked.copied(copy_in(by_gref(FRONTEND, 40, offset), by_frame(1, 0), len));
    assert_eq!(status(8, 8), OKAY);
    assert_eq!(status(8, 9), GENERAL_ERROR);
    assert_eq!(status(7, 2), GENERAL_ERROR);
}

/// What happens to the inner grant while the outer one is looked at: `change` is
/// made at the nth access to any entry.
fn race(nth: u32, change: impl Fn(&testbed::model::Machine) + Send + Sync + 'static) -> i16 {
    let mut checked = transitive_scene();
    let count = AtomicU32::new(0);
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::EntryAccess { .. } = moment
            && count.fetch_add(1, Ordering::SeqCst) + 1 == nth
        {
            change(machine);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [through()];
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut ops);
    assert_eq!(end.value, 0);
    checked.machine.clear_hook();
    for (gref, domain) in [(40, BYSTANDER), (40, FRONTEND)] {
        let (flags, _, _) = checked.machine.read_entry(domain, gref);
        assert_eq!(flags & (GTF_READING | GTF_WRITING), 0, "d{domain} {gref}");
    }
    for (mfn, frame) in checked.machine.state().frames.iter() {
        assert_eq!((frame.refs, frame.writable), (0, 0), "frame {mfn:#x}");
    }
    for granter in [FRONTEND, BYSTANDER] {
        use hv::host::Domain;
        let domain = checked.machine.find(granter).expect("a granter");
        let grants = &domain.state().expect("state").grants;
        grants.for_each_active(&domain, |gref, _, _| panic!("{gref:?} in use"));
    }
    // The machine still works as before.
    checked.write_entry(BYSTANDER, 40, GTF_PERMIT_ACCESS, FRONTEND, 40);
    checked.write_transitive(FRONTEND, 40, BACKEND, (BYSTANDER, 40));
    assert_eq!(checked.copied(through()), OKAY);
    ops[0].status
}

#[test]
fn inner_grant_is_removed_meanwhile() {
    // At the first access to the inner entry it is gone.
    let status = race(1, |machine| {
        machine.write_entry(BYSTANDER, 40, 0, 0, 40);
    });
    assert_eq!(status, GENERAL_ERROR);
    // Later the copy has begun; an honest granter would wait for its end.
    for nth in 2..6 {
        let status = race(nth, |machine| {
            machine.write_entry(BYSTANDER, 40, 0, 0, 40);
        });
        assert!(matches!(status, OKAY | GENERAL_ERROR), "{nth}: {status}");
    }
}

#[test]
fn outer_grant_leads_elsewhere_meanwhile() {
    for nth in 1..6 {
        let status = race(nth, |machine| {
            let last = u64::from(41_u32);
            machine.write_whole_entry(FRONTEND, 40, 3, BACKEND, BYSTANDER.into(), last);
        });
        // The new origin grants nothing.
        assert!(
            matches!(status, OKAY | GENERAL_ERROR | EAGAIN),
            "{nth}: {status}"
        );
    }
}

/// A granter that changes its mind for ever costs a bounded number of attempts,
/// and the copier may try again.
#[test]
fn outer_grant_never_rests() {
    let mut checked = transitive_scene();
    checked.write_entry(BYSTANDER, 41, GTF_PERMIT_ACCESS, FRONTEND, 41);
    // Whenever Xen has marked the inner entry, or unmarked it again.
    let (inner, _) = checked.machine.entry(BYSTANDER, 40).page;
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::EntryAccess { page, .. } = moment
            && std::ptr::eq(page, &*inner)
        {
            let (_, _, _, last) = machine.read_whole_entry(FRONTEND, 40);
            machine.write_whole_entry(FRONTEND, 40, 3, BACKEND, BYSTANDER.into(), last ^ 1);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [through()];
    vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut ops);
    assert_eq!(ops[0].status, EAGAIN);
    assert!(checked.machine.state().counters.atomics < 100);
    checked.machine.clear_hook();
    checked.write_transitive(FRONTEND, 40, BACKEND, (BYSTANDER, 40));
    checked.assert_nothing_held();
}

/// A dying granter's frames are no frames any more.
#[test]
fn dying_granter() {
    let mut checked = scene();
    checked.cpu_mapped(8, 1 << 32, false);
    checked.kill(FRONTEND);
    let op = copy_in(by_gref(FRONTEND, 10, 0), by_frame(1, 0), 8);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [op];
    vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut ops);
    assert!(ops[0].status < 0, "{}", ops[0].status);
    assert_eq!(checked.entry_flags(10), GTF_PERMIT_ACCESS);
}

#[test]
fn domain_without_a_table() {
    let mut checked = scene();
    checked.add_domain(DomainSetup {
        has_state: false,
        ..DomainSetup::pvh(9)
    });
    let op = copy_in(by_gref(9, 8, 0), by_frame(1, 0), 8);
    assert_eq!(checked.copied(op), BAD_DOMAIN);
}

#[test]
fn uses_of_one_reference_are_counted() {
    let mut checked = scene();
    for nth in 0..128 {
        assert_eq!(
            checked.cpu_mapped(8, (1 << 32) + nth * 4096, false).status,
            0
        );
    }
    let op = copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, 0), 8);
    assert_eq!(checked.copied(op), GENERAL_ERROR);
    // Writing uses are counted apart.
    let op = copy_out(by_frame(1, 0), by_gref(FRONTEND, 8, 0), 8);
    assert_eq!(checked.copied(op), OKAY);
}
