// SPDX-License-Identifier: GPL-2.0-only
//! What random sequences have found, each as a test of its own.

use hypercall_abi::{
    context::{ContextCreate, XEN_GDMA_CONTEXT_MIRROR},
    grant::{GTF_ACCEPT_TRANSFER, GTF_PERMIT_ACCESS, GTF_WRITING, Transfer64},
    mapping::{Unmap, XEN_GDMA_NO_FLUSH},
};
use testbed::{
    elements::{READ, at, inside, lookup_gaddr, map_grant, map_own, unmap_handle},
    model::{DomainSetup, Trigger},
    oracle::Checked,
    row::new_context,
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
    sequence::{
        Action, MapChoice,
        contexts::ContextAction,
        grants::{CopyChoice, CopyEnd, GrantAction},
        play, play_pv,
    },
};

fn unmapped_without_flush(checked: &mut Checked, handle: u64) {
    let op = Unmap {
        flags: XEN_GDMA_NO_FLUSH,
        ..unmap_handle(handle)
    };
    assert_eq!(checked.unmap_one(op), 0);
}

/// Of a call about two contexts the first is flushed before the second one's turn, so what
/// waited there counts no more.
#[test]
fn invariant_5_frames_flushed_when_a_call_turns_to_another_context_are_free() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 40,
        ..DomainSetup::pvh(BACKEND)
    });
    let context = new_context(&mut checked);
    let live = checked.mapped(map_own(0, 36, READ));
    unmapped_without_flush(&mut checked, live.handle);
    let mut ops = [
        map_own(0, 4, READ),
        inside(context, map_own(0, 36, READ)),
        inside(context, map_own(0, 1, READ)),
    ];
    checked.map(BACKEND, &mut ops);
    assert_eq!(ops.map(|op| op.status), [0, 0, -105]);
}

/// The addresses of a map that failed, and whose flush failed, are not free, though the
/// flush at the end of the same call frees them.
#[test]
fn invariant_1_addresses_are_not_free_before_the_flush() {
    let mut checked = scene();
    let first = checked.mapped(map_own(0, 1, READ));
    let place = first.daddr / 4096 + 1;
    checked.switch(|switches| {
        switches.map_fails = Trigger::Nth(2);
        switches.flush_fails = Trigger::Nth(1);
    });
    let mut ops = [
        at(place + 9, map_own(3, 1, READ)),
        at(place, map_own(4, 3, READ)),
        at(place, map_own(8, 1, READ)),
    ];
    checked.map(BACKEND, &mut ops);
    assert_eq!(ops.map(|op| op.status), [0, -5, -17]);
    checked.mapped(at(place, map_own(8, 1, READ)));
}

/// What the IOMMU neither made whole nor took back is a mapping, which a guest finds by
/// looking its frame up, among the others of that frame.
#[test]
fn a_mapping_without_a_name_is_found_beside_others() {
    let mut checked = scene();
    let named = checked.mapped(map_own(1, 1, READ));
    checked.switch(|switches| {
        switches.map_fails = Trigger::Nth(2);
        switches.unmap_fails = Trigger::Nth(1);
    });
    // Frame 4 does not follow frame 3 in the machine: two calls of the IOMMU.
    let mut ops = [map_own(0, 5, READ)];
    checked.map(BACKEND, &mut ops);
    assert_eq!(ops[0].status, -5);
    let mut ops = [0, 1, 2].map(|index| lookup_gaddr(4096, index));
    checked.lookup(BACKEND, &mut ops);
    assert_eq!(
        ops.map(|op| (op.status, op.nr_frames)),
        [(0, 5), (0, 1), (-2, 0)]
    );
    assert_eq!(ops[1].handle, named.handle);
}

/// An entry becomes one for a transfer while it is in use, and a copy puts the bits of that
/// use there: to a transfer they say that a page has come. As it was found.
#[test]
fn bits_of_a_use_are_not_those_of_a_transfer() {
    let end = |domain, name| CopyEnd {
        domain,
        name,
        offset: 0,
    };
    let actions = [
        Action::WriteEntry {
            granter: 33,
            gref: 144,
            kind: 2,
            holder: 30,
            gfn: 0,
        },
        Action::Grants(GrantAction::Map {
            holder: 40,
            granter: 64,
            gref: 7,
            slot: 20,
            flags: 52,
        }),
        Action::Grants(GrantAction::Write {
            granter: 129,
            gref: 184,
            kind: 44,
            holder: 69,
            frame: 0,
            part: [0, 0],
        }),
        Action::Grants(GrantAction::Copy {
            caller: 188,
            elements: vec![CopyChoice {
                source: end(0, 0),
                dest: end(224, 184),
                len: 1,
            }],
        }),
        Action::Grants(GrantAction::Transfer {
            caller: 48,
            gfn: 0,
            to: 0,
            gref: 9,
        }),
    ];
    play(&actions, 0);
}

fn copy(checked: &mut Checked) -> i32 {
    let mut ops = [ContextCreate {
        flags: XEN_GDMA_CONTEXT_MIRROR,
        ..ContextCreate::default()
    }];
    checked.context_create(BACKEND, &mut ops);
    ops[0].status
}

/// A copy of the backend's memory that failed in the middle, and that the IOMMU did not
/// give up.
fn with_a_stuck_copy() -> Checked {
    let mut checked = scene_with(DomainSetup {
        max_contexts: 9,
        ..DomainSetup::pvh(BACKEND)
    });
    checked.switch(|switches| {
        switches.copy_fails = Trigger::Nth(2);
        switches.end_copy_fails = Trigger::Nth(1);
    });
    assert_eq!(copy(&mut checked), -5);
    checked
}

/// The error was told once. The next call makes a new copy, and is not told the old error.
#[test]
fn a_copy_after_one_that_was_stuck() {
    let mut checked = with_a_stuck_copy();
    assert_eq!(copy(&mut checked), 0);
    assert_eq!(checked.stats(BACKEND, BACKEND).used_contexts, 8);
}

/// Invariant 5: what is stuck is counted.
#[test]
fn invariant_5_a_copy_that_is_stuck_counts() {
    let mut checked = with_a_stuck_copy();
    assert_eq!(checked.stats(BACKEND, BACKEND).used_contexts, 8);
    new_context(&mut checked);
    let mut ops = [ContextCreate::default()];
    checked.context_create(BACKEND, &mut ops);
    assert_eq!(ops[0].status, -105);
    checked.kill(BACKEND);
    checked.assert_nothing_held();
}

/// Where no IOMMU has to be told of own frames, those that wait for a flush count until the
/// call that makes it has ended: its elements come before the flush.
#[test]
fn invariant_5_frames_count_until_the_flush_at_the_end_of_a_call() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 8,
        ..DomainSetup::pv(BACKEND)
    });
    let live = checked.mapped(map_own(0, 1, READ));
    for gfn in [4, 8, 12, 16, 20] {
        checked.mapped(map_own(gfn, 1, READ));
    }
    unmapped_without_flush(&mut checked, live.handle);
    let mut ops = [map_own(24, 1, READ), map_own(28, 2, READ)];
    checked.map(BACKEND, &mut ops);
    assert_eq!(ops.map(|op| op.status), [0, -105]);
    // Six are left, and nothing waits.
    let mut ops = [32, 36, 40].map(|gfn| map_own(gfn, 1, READ));
    checked.map(BACKEND, &mut ops);
    assert_eq!(ops.map(|op| op.status), [0, 0, -105]);
}

/// A frame that its granter has given back is there as long as a mapping of it waits for its
/// flush, and the same reference leads to it until then.
#[test]
fn a_frame_given_back_is_mapped_again_until_the_flush() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    unmapped_without_flush(&mut checked, live.handle);
    checked.machine.give_back(FRONTEND, 8);
    checked.switch(|switches| switches.map_fails = Trigger::Nth(1));
    // It is found. The IOMMU refuses, and the call ends with a flush.
    let refused = checked.map_one(map_grant(FRONTEND, 8, 1, READ));
    assert_eq!(refused.status, -5);
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ), -14);
    checked.assert_nothing_held();
}

/// Version 1 has no word for a reference that leads devices to the page of a third domain.
/// While it is in use, that is the reason why the version stays; afterwards the entry is.
#[test]
fn a_reserved_reference_used_transitively_keeps_version_2() {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    checked.write_entry(BYSTANDER, 5, GTF_PERMIT_ACCESS, FRONTEND, 5);
    checked.write_transitive(FRONTEND, 5, BACKEND, (BYSTANDER, 5));
    let live = checked.mapped(map_grant(FRONTEND, 5, 1, READ));
    assert_eq!(checked.set_version(FRONTEND, 1), (-11, 2));
    checked.unmapped(live.handle);
    assert_eq!(checked.set_version(FRONTEND, 1), (-34, 2));
}

/// On the way to version 2 an in-use flag that the granter wrote into a reserved entry goes
/// to the status, whatever the entry is for; then a transfer finds nothing wrong.
#[test]
fn an_in_use_flag_leaves_the_entry_of_a_transfer() {
    let mut checked = scene();
    let flags = GTF_ACCEPT_TRANSFER | GTF_WRITING;
    checked.write_entry(FRONTEND, 0, flags, FRONTEND, 3);
    assert_eq!(checked.set_version(FRONTEND, 2), (0, 2));
    checked.machine.give_back(FRONTEND, 3);
    let mut ops = [Transfer64 {
        gfn: 4,
        domid: FRONTEND,
        gref: 0,
        ..Transfer64::default()
    }];
    checked.transfer(FRONTEND, &mut ops);
    assert_eq!(ops[0].status, 0);
}

fn choice(from: u8, source: u8, count: u8, flags: u8) -> MapChoice {
    MapChoice {
        from,
        source,
        count,
        flags,
        dfn: 0,
        nonsense: u16::MAX,
    }
}

fn map(holder: u8, elements: &[MapChoice]) -> Action {
    let elements = elements.to_vec();
    Action::Map { holder, elements }
}

fn create(pages: u8) -> Action {
    Action::Contexts(ContextAction::Create {
        holder: 1,
        pages,
        nonsense: 3,
        content: 0,
    })
}

/// A map that failed wants no flush, so what waits in its context goes on waiting when the
/// call turns to another one. As it was found.
#[test]
fn a_failed_map_wants_no_flush_when_the_call_turns() {
    let actions = [
        map(16, &[choice(182, 73, 2, 90)]),
        create(66),
        Action::Unmap {
            holder: 1,
            which: vec![192],
        },
        Action::Grants(GrantAction::Write {
            granter: 232,
            gref: 141,
            kind: 0,
            holder: 0,
            frame: 0,
            part: [0, 0],
        }),
        map(
            1,
            &[
                choice(0, 0, 29, 0),
                choice(9, 1, 2, 77),
                choice(102, 24, 50, 16),
            ],
        ),
    ];
    play_pv(&actions, 0, false);
}

/// A call that comes back to a context has flushed it before: what it ends there without a
/// flush waits. As it was found.
#[test]
fn an_unmap_behind_the_flush_of_its_context_waits() {
    let actions = [
        map(6, &[choice(0, 0, 197, 0), choice(0, 0, 41, 0)]),
        Action::Grants(GrantAction::Swap {
            caller: 2,
            refs: [60, 178],
        }),
        create(18),
        map(16, &[choice(1, 221, 1, 90)]),
        map(76, &[choice(17, 0, 25, 128)]),
        map(1, &[choice(19, 73, 61, 48)]),
        Action::Unmap {
            holder: 26,
            which: vec![56, 40, 210],
        },
    ];
    play_pv(&actions, 0, true);
}
