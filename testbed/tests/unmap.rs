// SPDX-License-Identifier: GPL-2.0-only
//! `unmap`: documented errors, and what a failed flush means.

use hypercall_abi::mapping::{Unmap, XEN_GDMA_UNMAP_BY_DADDR};
use testbed::{
    elements::{READ, READ_WRITE, at, map_grant, map_own, unmap_handle, unmap_range},
    model::{DomainSetup, Event, Trigger, iommu::REMOVED},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
};

const HOLE: u64 = DomainSetup::HOLE;

#[test]
fn einval_fields() {
    let mut checked = scene();
    let live = checked.mapped(map_own(3, 2, READ));
    let by_handle = unmap_handle(live.handle);
    let by_range = unmap_range(live.daddr, 2);
    for op in [
        Unmap {
            flags: 2,
            ..by_handle
        },
        Unmap {
            flags: 3,
            ..by_range
        },
        Unmap {
            flags: 1 << 31,
            ..by_handle
        },
        Unmap {
            daddr: live.daddr,
            ..by_handle
        },
        Unmap {
            nr_frames: 2,
            ..by_handle
        },
        Unmap {
            handle: live.handle,
            ..by_range
        },
    ] {
        assert_eq!(checked.unmap_one(op), -22, "{op:?}");
    }
    checked.unmapped(live.handle);
}

#[test]
fn enoent_stale_or_unknown_handle() {
    let mut checked = scene();
    assert_eq!(checked.unmap_one(unmap_handle(0)), -2);
    let live = checked.mapped(map_own(3, 2, READ));
    for handle in [
        0,
        1,
        u64::MAX,
        live.handle + 1,
        live.handle ^ 1 << 32,
        live.handle & 0xffff_ffff,
        live.handle ^ 1 << 63,
    ] {
        assert_eq!(checked.unmap_one(unmap_handle(handle)), -2, "{handle:#x}");
    }
    checked.unmapped(live.handle);
    assert_eq!(checked.unmap_one(unmap_handle(live.handle)), -2);
}

#[test]
fn enoent_handle_of_another_domain() {
    let mut checked = scene();
    let live = checked.mapped(map_own(3, 2, READ));
    let mut ops = [unmap_handle(live.handle)];
    checked.unmap(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, -2);
}

#[test]
fn enoent_context() {
    let mut checked = scene();
    let live = checked.mapped(map_own(3, 2, READ));
    for op in [unmap_handle(live.handle), unmap_range(live.daddr, 2)] {
        assert_eq!(checked.unmap_one(Unmap { context: 1, ..op }), -2);
    }
}

/// By address, a mapping is named by exactly its range.
#[test]
fn enoent_inexact_range() {
    let mut checked = scene();
    let live = checked.mapped(at(HOLE + 16, map_own(0, 4, READ)));
    checked.mapped(at(HOLE + 20, map_own(4, 4, READ)));
    for (dfn, count) in [
        (16, 3),
        (16, 5),
        (16, 8),
        (15, 5),
        (17, 3),
        (17, 4),
        (16, 0),
        (0, 4),
        (24, 4),
        (16, u32::MAX),
    ] {
        let op = unmap_range((HOLE + dfn) * 4096, count);
        assert_eq!(checked.unmap_one(op), -2, "{dfn} {count}");
    }
    assert_eq!(checked.unmap_one(unmap_range(0, 4)), -2);
    assert_eq!(checked.unmap_one(unmap_range(u64::MAX << 12, 4)), -2);
    assert_eq!(checked.unmap_one(unmap_range(live.daddr, 4)), 0);
    assert_eq!(checked.unmap_one(unmap_range(live.daddr, 4)), -2);
}

#[test]
fn by_daddr_flag_is_the_only_one() {
    assert_eq!(XEN_GDMA_UNMAP_BY_DADDR, 1);
}

/// XSA-222: the IOMMU refused to unmap, and the mapping was dropped all the same.
#[test]
fn xsa_222_unmap_failure_not_ignored() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    checked.switch(|switches| switches.unmap_fails = Trigger::Nth(1));
    assert_eq!(checked.unmap_one(unmap_handle(live.handle)), -5);
    // The mapping stays, with everything it holds.
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 1));
    assert!(checked.machine.device_write(BACKEND, live.daddr, 7).is_ok());
    assert_eq!(checked.query(BACKEND).mappings, 1);
    checked.unmapped(live.handle);
    checked.assert_nothing_held();
}

/// XSA-222 again, in the way back from a failed `map`: map fails in the middle
/// and the part that was mapped cannot be unmapped either.
#[test]
fn xsa_222_unmap_failure_in_rollback_of_map() {
    let mut checked = scene();
    checked.switch(|switches| {
        switches.map_fails = Trigger::Nth(2);
        switches.unmap_fails = Trigger::Nth(1);
    });
    assert_eq!(checked.map_one(map_own(4, 8, READ_WRITE)).status, -5);
    // What devices reach is still referenced, and still counted.
    assert_eq!(checked.references_of(BACKEND, 4), (1, 1));
    assert_eq!(checked.query(BACKEND).used_pins, 8);
    // Another flush does not give it back; death does.
    let live = checked.mapped(map_own(0, 1, READ));
    checked.unmapped(live.handle);
    assert_eq!(checked.references_of(BACKEND, 4), (1, 1));
    assert_eq!(checked.kill(BACKEND).0, testbed::model::domain::Death::Gone);
    checked.assert_nothing_held();
}

/// A prototype logged a failed flush and returned success.
#[test]
fn defect_flush_failure_only_logged() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 2, READ));
    checked.switch(|switches| switches.flush_fails = Trigger::Always);
    let mut ops = [unmap_handle(live.handle)];
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, -5);
    // Gone, but pinned: a device may still reach the frames.
    assert_eq!(ops[0].status, 0);
    assert_eq!(checked.unmap_one_raw(live.handle), (-5, -2));
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
    assert!(checked.machine.device_read(BACKEND, live.daddr).is_ok());
    let usage = checked.query(BACKEND);
    assert_eq!((usage.used_pins, usage.mappings), (2, 0));
    // Its addresses are not given out meanwhile.
    checked.switch(|switches| switches.flush_fails = Trigger::Never);
    let again = at(live.daddr / 4096, map_own(3, 1, READ));
    checked.map_refused(again, -17);
    // The next flush that succeeds gives everything back.
    assert_eq!(checked.unmap_one(unmap_handle(live.handle)), -2);
    checked.assert_nothing_held();
    checked.mapped(again);
}

/// XSA-373: flush time-outs. However many flushes fail, each frame comes back
/// once.
#[test]
fn xsa_373_frames_of_several_failed_flushes_come_back_once() {
    let mut checked = scene();
    let live: Vec<_> = (0..6)
        .map(|nth| checked.mapped(map_grant(FRONTEND, 8 + 2 * nth, 2, READ)))
        .collect();
    checked.switch(|switches| switches.flush_fails = Trigger::Always);
    for op in &live {
        let mut ops = [unmap_handle(op.handle)];
        assert_eq!(checked.unmap(BACKEND, &mut ops).value, -5);
    }
    assert_eq!(checked.query(BACKEND).used_pins, 12);
    checked.switch(|switches| switches.flush_fails = Trigger::Never);
    assert_eq!(checked.unmap_one(unmap_handle(1)), -2);
    checked.assert_nothing_held();
}

/// One IOTLB flush for many elements, not one a page.
#[test]
fn one_flush_per_batch() {
    let mut checked = scene();
    let mut ops: Vec<_> = (8..40)
        .map(|gref| map_grant(FRONTEND, gref, 1, READ))
        .collect();
    checked.map(BACKEND, &mut ops);
    let before = checked.query(BACKEND).flushes;
    let mut ops: Vec<_> = ops.iter().map(|op| unmap_handle(op.handle)).collect();
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, 0);
    assert!(ops.iter().all(|op| op.status == 0));
    assert_eq!(checked.query(BACKEND).flushes, before + 1);
}

/// XSA-321: the flush must cover everything that was removed, and for removal.
#[test]
fn xsa_321_flush_covers_all_removed_frames() {
    let mut checked = scene();
    let low = checked.mapped(at(HOLE + 3, map_own(0, 2, READ)));
    let high = checked.mapped(at(HOLE + 900, map_own(4, 3, READ_WRITE)));
    let vcpu = checked.machine.vcpu_of(BACKEND);
    checked.machine.state().events.clear();
    let mut ops = [unmap_handle(high.handle), unmap_handle(low.handle)];
    vcpu.call_with(testbed::model::hypercall::Number::GrantDma, 6, &mut ops);
    let covered = checked.machine.state().events.iter().any(|event| {
        matches!(*event, Event::Flush { dfn, count, flags, ok: true, .. }
            if dfn <= HOLE + 3 && dfn + count >= HOLE + 903 && flags & REMOVED.0 != 0)
    });
    assert!(covered, "{:?}", checked.machine.state().events);
    assert!(checked.machine.device_read(BACKEND, low.daddr).is_err());
    assert!(checked.machine.device_read(BACKEND, high.daddr).is_err());
}

/// More frames than may wait for one flush.
#[test]
fn large_batch_flushes_in_between() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 4096,
        ..DomainSetup::pvh(BACKEND)
    });
    let mut ops = vec![map_own(0, 128, READ); 20];
    assert_eq!(checked.map(BACKEND, &mut ops).value, 0);
    let mut ops: Vec<_> = ops.iter().map(|op| unmap_handle(op.handle)).collect();
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, 0);
    checked.assert_nothing_held();
}

/// Frames that wait for one flush become free with it, wherever they are: in a row over a
/// border of the records, which are kept 128 at a time, alone, and the first and the last
/// one of the context's.
#[test]
fn frames_of_one_flush_are_free_after_it_wherever_they_are() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 4096,
        ..DomainSetup::pvh(BACKEND)
    });
    let places = [(0, 1), (1, 3), (60, 128), (250, 20), (300, 1), (302, 1)];
    let last = checked.query(BACKEND).daddr_last / 4096 - HOLE;
    for order in [[0, 1, 2, 3, 4, 5, 6], [6, 2, 5, 0, 3, 1, 4]] {
        let live: Vec<_> = places
            .iter()
            .chain(&[(last, 1)])
            .map(|&(first, count)| checked.mapped(at(HOLE + first, map_own(0, count, READ))))
            .collect();
        assert_eq!(checked.query(BACKEND).used_pins, 155);
        let mut ops = order.map(|nth: usize| unmap_handle(live[nth].handle));
        assert_eq!(checked.unmap(BACKEND, &mut ops).value, 0);
        assert_eq!(checked.query(BACKEND).used_pins, 0);
    }
    checked.assert_nothing_held();
}

trait Raw {
    fn unmap_one_raw(&mut self, handle: u64) -> (i32, i32);
}

impl Raw for testbed::oracle::Checked {
    /// Value of the call, status of its element.
    fn unmap_one_raw(&mut self, handle: u64) -> (i32, i32) {
        let mut ops = [unmap_handle(handle)];
        let end = self.unmap(BACKEND, &mut ops);
        (end.value, ops[0].status)
    }
}
