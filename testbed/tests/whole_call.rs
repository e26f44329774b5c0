// SPDX-License-Identifier: GPL-2.0-only
//! Errors of whole calls, memory that faults, preemption and continuation.

use hypercall_abi::{
    command::{XEN_GDMA_OP_LOOKUP, XEN_GDMA_OP_MAP, XEN_GDMA_OP_QUERY, XEN_GDMA_OP_UNMAP},
    mapping::{Map, Unmap},
};
use testbed::{
    elements::{READ, READ_WRITE, map_grant, map_own, unmap_handle},
    model::{
        DomainSetup, Preempt, Trigger,
        guest::GUEST_LIMIT,
        hypercall::{ARGUMENTS, Number},
    },
    oracle::Checked,
    scene::{BACKEND, FRONTEND, scene},
};
use zerocopy::IntoBytes;

fn value(checked: &Checked, cmd: u32, at: u64, count: u32) -> i32 {
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.call(Number::GrantDma, cmd, at, count).value
}

#[test]
fn enosys_unknown_command() {
    let checked = scene();
    for cmd in [7, 18, u32::MAX] {
        assert_eq!(value(&checked, cmd, ARGUMENTS, 1), -38, "{cmd}");
        // Also with a count that no known command would take.
        assert_eq!(value(&checked, cmd, ARGUMENTS, 0), -38, "{cmd}");
    }
}

/// XSA-232: a system domain has no state to work on.
#[test]
fn xsa_232_enosys_without_state() {
    let checked = scene();
    checked.machine.add_domain(DomainSetup {
        has_state: false,
        ..DomainSetup::pvh(9)
    });
    let vcpu = checked.machine.vcpu_of(9);
    let mut ops = [map_own(0, 1, READ)];
    assert_eq!(vcpu.call_with(Number::GrantDma, 5, &mut ops).value, -38);
}

#[test]
fn einval_and_e2big_count() {
    let checked = scene();
    for cmd in [0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 13, 14, 15] {
        assert_eq!(value(&checked, cmd, ARGUMENTS, 0), -22);
        assert_eq!(value(&checked, cmd, ARGUMENTS, 65537), -7);
        assert_eq!(value(&checked, cmd, ARGUMENTS, u32::MAX), -7);
    }
    assert_eq!(checked.machine.state().counters.references, 0);
}

/// XSA-18, XSA-382: bounds of the array.
#[test]
fn xsa_382_bounds_of_the_array() {
    let checked = scene();
    for at in [GUEST_LIMIT, GUEST_LIMIT - 47, u64::MAX, u64::MAX - 47] {
        assert_eq!(value(&checked, XEN_GDMA_OP_MAP, at, 1), -14);
    }
    let last = GUEST_LIMIT - 65536 * 48 + 1;
    assert_eq!(value(&checked, XEN_GDMA_OP_MAP, last, 65536), -14);
    // A hole.
    for cmd in [0, 1, 5, 6, 11] {
        assert_eq!(value(&checked, cmd, 0x10_0000, 1), -14);
    }
    checked.check();
}

#[test]
fn whole_batch_of_65536_elements() {
    let mut checked = scene();
    let ops = vec![
        hypercall_abi::lookup::Lookup {
            status: 77,
            ..Default::default()
        };
        65536
    ];
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut answers = ops;
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let end = vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_LOOKUP, &mut answers);
    assert_eq!((end.value, end.steps), (0, 65536 / 64));
    assert!(answers.iter().all(|op| op.status == -2));
    checked.query(BACKEND);
}

/// Puts an array at the end of a page; what follows is a hole.
fn store_before_hole<T: IntoBytes + zerocopy::Immutable>(checked: &Checked, ops: &[T]) -> u64 {
    let at = 0x5000_1000 - size_of_val(ops) as u64;
    checked
        .machine
        .vcpu_of(BACKEND)
        .with_guest_memory(|memory| memory.store(at, ops.as_bytes()));
    at
}

#[test]
fn efault_copy_in_keeps_what_was_done() {
    let mut checked = scene();
    let ops: Vec<_> = (0..16).map(|nth| map_own(nth, 1, READ)).collect();
    let at = store_before_hole(&checked, &ops);
    // The seventeenth element is in a hole; the first sixteen were told.
    assert_eq!(value(&checked, XEN_GDMA_OP_MAP, at, 17), -14);
    let mut told = vec![Map::default(); 16];
    checked
        .machine
        .vcpu_of(BACKEND)
        .with_guest_memory(|memory| {
            memory.read(at, told.as_mut_bytes());
        });
    assert!(told.iter().all(|op| op.status == 0 && op.handle != 0));
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops: Vec<_> = told.iter().map(|op| unmap_handle(op.handle)).collect();
    vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_UNMAP, &mut ops);
    checked.assert_nothing_held();
    assert_eq!(checked.query(BACKEND).used_pins, 0);
}

/// Invariant 4, and a mapping nobody knows of would be pinned for ever: results
/// that do not reach the guest are taken back.
#[test]
fn efault_copy_out_takes_map_back() {
    let checked = scene();
    let ops = [
        map_own(3, 4, READ_WRITE),
        map_grant(FRONTEND, 8, 2, READ),
        map_own(999, 1, READ),
    ];
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let at = vcpu.store_elements(&ops);
    vcpu.with_guest_memory(|memory| memory.set_writable(at, false));
    assert_eq!(
        vcpu.call(Number::GrantDma, XEN_GDMA_OP_MAP, at, 3).value,
        -14
    );
    let mut unchanged = ops;
    vcpu.load_elements(&mut unchanged);
    assert_eq!(unchanged, ops);
    // Nothing was entered in the account, so nothing may be left.
    checked.assert_nothing_held();
    assert_eq!(checked.entry_flags(8) & 0x18, 0);
}

/// The same when only a part of the results can be written.
#[test]
fn efault_partial_copy_out_takes_back_what_the_guest_does_not_know() {
    let checked = scene();
    let ops: Vec<_> = (0..16).map(|nth| map_own(nth, 1, READ)).collect();
    // One element and a part of another in the page that can be written.
    let at = 0x5000_1000 - 20 - size_of::<Map>() as u64;
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.with_guest_memory(|memory| {
        memory.store(at, ops.as_bytes());
        memory.set_writable(0x5000_1000, false);
    });
    assert_eq!(
        vcpu.call(Number::GrantDma, XEN_GDMA_OP_MAP, at, 16).value,
        -14
    );
    let mut told = [Map::default()];
    vcpu.with_guest_memory(|memory| {
        memory.read(at, told.as_mut_bytes());
    });
    assert_eq!(
        (told[0].status, checked.references_of(BACKEND, 0).0),
        (0, 1)
    );
    for gfn in 1..16 {
        assert_eq!(checked.references_of(BACKEND, gfn).0, 0);
    }
    let mut end = [unmap_handle(told[0].handle)];
    let ended = vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_UNMAP, &mut end);
    assert_eq!((ended.value, end[0].status), (0, 0));
    checked.machine.state().events.clear();
    checked.assert_nothing_held();
}

/// If the flush of that way back fails, the frames stay pinned.
#[test]
fn efault_copy_out_with_failing_flush_keeps_frames() {
    let mut checked = scene();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let at = vcpu.store_elements(&[map_grant(FRONTEND, 8, 1, READ_WRITE)]);
    vcpu.with_guest_memory(|memory| memory.set_writable(at, false));
    checked.switch(|switches| switches.flush_fails = Trigger::Always);
    assert_eq!(
        vcpu.call(Number::GrantDma, XEN_GDMA_OP_MAP, at, 1).value,
        -14
    );
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 1));
    checked.switch(|switches| switches.flush_fails = Trigger::Never);
    vcpu.with_guest_memory(|memory| memory.set_writable(at, true));
    assert_eq!(checked.unmap_one(unmap_handle(1)), -2);
    checked.assert_nothing_held();
}

#[test]
fn efault_copy_out_of_unmap_has_unmapped() {
    let mut checked = scene();
    let live = checked.mapped(map_own(3, 4, READ_WRITE));
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let at = vcpu.store_elements(&[unmap_handle(live.handle)]);
    vcpu.with_guest_memory(|memory| memory.set_writable(at, false));
    assert_eq!(
        vcpu.call(Number::GrantDma, XEN_GDMA_OP_UNMAP, at, 1).value,
        -14
    );
    assert_eq!(checked.references_of(BACKEND, 3), (0, 0));
    assert!(checked.machine.device_read(BACKEND, live.daddr).is_err());
}

fn batch_of_maps() -> Vec<Map> {
    (0..40)
        .map(|nth| match nth % 4 {
            0 => map_own(nth, 20, READ),
            1 => map_grant(FRONTEND, 8 + nth, 3, READ),
            2 => map_grant(FRONTEND, 8 + nth, 2, READ_WRITE),
            _ => map_own(nth, 7, READ_WRITE),
        })
        .collect()
}

/// Invariant 7: whenever a call is preempted, its continuation gives what the
/// call would have given.
#[test]
fn invariant_7_continuation_resumes_exactly() {
    let run = |preempt: Preempt| {
        let mut checked = scene();
        checked.switch(|switches| switches.preempt = preempt);
        let mut ops = batch_of_maps();
        let end = checked.map(BACKEND, &mut ops);
        assert_eq!(end.value, 0);
        let mut unmaps: Vec<_> = ops.iter().map(|op| unmap_handle(op.handle)).collect();
        let unmapped = checked.unmap(BACKEND, &mut unmaps);
        checked.assert_nothing_held();
        let statuses: Vec<_> = unmaps.iter().map(|op| op.status).collect();
        (ops, statuses, end.steps + unmapped.steps)
    };
    let (ops, statuses, steps) = run(Preempt::Never);
    assert_eq!(steps, 2);
    for preempt in [
        Preempt::Always,
        Preempt::Nth(1),
        Preempt::Nth(3),
        Preempt::Random(1),
        Preempt::Random(2),
    ] {
        let preempted = run(preempt);
        assert_eq!((&preempted.0, &preempted.1), (&ops, &statuses));
        assert!(preempted.2 > 2, "{preempt:?}");
    }
}

/// XSA-318: a call preempted before its first element never wrote a status.
#[test]
fn xsa_318_each_step_works_on_at_least_one_element() {
    let mut checked = scene();
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let mut ops = vec![map_own(0, 128, READ); 3];
    let end = checked.map(BACKEND, &mut ops);
    assert_eq!((end.value, end.steps), (0, 3));
    assert!(ops.iter().all(|op| op.status == 0));
}

/// XSA-316: a positive number returned as success.
#[test]
fn xsa_316_errors_are_negative() {
    let mut checked = scene();
    let ops = [map_own(5000, 1, READ), Map::default()];
    let mut answers = ops;
    assert_eq!(checked.map(BACKEND, &mut answers).value, 0);
    assert!(answers.iter().all(|op| op.status < 0));
}

/// Invariant 7: elements that fail late are as much work as those that succeed.
#[test]
fn invariant_7_failing_elements_count_as_work() {
    let mut checked = scene();
    // The last of 128 references is not granted.
    for gref in 8..135 {
        checked.write_entry(FRONTEND, gref, 1, BACKEND, gref);
    }
    let mut ops = vec![map_grant(FRONTEND, 8, 128, READ); 32];
    checked.map(BACKEND, &mut ops);
    assert!(ops.iter().all(|op| op.status == -13));
    let most = checked
        .machine
        .state()
        .counters
        .most_references_between_polls;
    assert!(most <= 64 + 128, "{most} references between two polls");
}

/// Invariant 8: each element is read once (the model panics at a second read),
/// and what the guest changes meanwhile changes nothing.
#[test]
fn invariant_8_arguments_are_read_once() {
    let mut checked = scene();
    let mut ops = vec![map_own(3, 1, READ); 100];
    checked.map(BACKEND, &mut ops);
    assert!(ops.iter().all(|op| op.status == 0));
    let mut ops: Vec<Unmap> = ops.iter().map(|op| unmap_handle(op.handle)).collect();
    checked.unmap(BACKEND, &mut ops);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut queries = vec![hypercall_abi::query::Query::default(); 40];
    vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_QUERY, &mut queries);
}

/// A map flush that fails is told, and nothing is lost by it.
#[test]
fn eio_flush_after_map() {
    let mut checked = scene();
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    let mut ops = [map_own(3, 2, READ)];
    assert_eq!(checked.map(BACKEND, &mut ops).value, -5);
    assert_eq!(ops[0].status, 0);
    checked.unmapped(ops[0].handle);
    checked.assert_nothing_held();
}

/// XSA-318 again: the flush fails in a step that was preempted. The elements
/// behind were not worked on, and "status 0" must not say that they are gone.
#[test]
fn xsa_318_failed_flush_of_a_preempted_step() {
    let mut checked = scene();
    let live: Vec<_> = (0..3)
        .map(|_| checked.mapped(map_own(0, 64, READ)))
        .collect();
    checked.switch(|switches| {
        switches.preempt = Preempt::Always;
        switches.flush_fails = Trigger::Nth(1);
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops: Vec<_> = live.iter().map(|op| unmap_handle(op.handle)).collect();
    let end = vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_UNMAP, &mut ops);
    // The flush at the end of the continued call covers what the first did not.
    assert_eq!(end.value, 0);
    for (op, live) in ops.iter().zip(&live) {
        let dfn = live.daddr / 4096;
        let state = checked.machine.state();
        let mapped = state.iommus[&(BACKEND, 0)].table().contains_key(&dfn);
        assert!(!(op.status == 0 && mapped), "status 0, and still mapped");
    }
}
