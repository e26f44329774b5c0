// SPDX-License-Identifier: GPL-2.0-only
//! The design's invariants, one test or more each, named by number. Most of the
//! checking is the oracle's; the tests make the situations.

use hypercall_abi::grant::{GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING};
use testbed::{
    elements::{READ, READ_WRITE, at, cpu_unmap, map_grant, map_own, unmap_handle},
    model::{DomainSetup, Moment, Preempt, Trigger, domain::Death},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
};

const HOLE: u64 = DomainSetup::HOLE;
const IN_USE: u16 = GTF_READING | GTF_WRITING;

#[test]
fn invariant_1_device_writes_land_in_the_granted_frame() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    checked
        .machine
        .device_write(BACKEND, live.daddr + 5, 0x5a)
        .expect("mapped for writing");
    let mfn = checked.machine.mfn_of(FRONTEND, 8).expect("memory");
    let byte = checked
        .machine
        .state()
        .frames
        .get(mfn)
        .map(|frame| frame.read(5));
    assert_eq!(byte, Some(0x5a));
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 1));
    checked.unmapped(live.handle);
    assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
    assert!(
        checked
            .machine
            .device_write(BACKEND, live.daddr, 1)
            .is_err()
    );
    let dirty = checked
        .machine
        .state()
        .frames
        .get(mfn)
        .map(|frame| frame.dirty);
    assert_eq!(dirty, Some(true), "a written frame is marked dirty");
}

#[test]
fn invariant_1_read_only_mapping_cannot_be_written() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 9, 1, READ));
    assert!(checked.machine.device_read(BACKEND, live.daddr).is_ok());
    assert!(
        checked
            .machine
            .device_write(BACKEND, live.daddr, 1)
            .is_err()
    );
    assert_eq!(checked.references_of(FRONTEND, 9), (1, 0));
}

#[test]
fn invariant_1_failed_flush_keeps_references_until_one_succeeds() {
    let mut checked = scene();
    let one = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    checked.switch(|switches| switches.flush_fails = Trigger::Always);
    let mut ops = [unmap_handle(one.handle)];
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, -5);
    // The flush for a new mapping is owed to the old one as well, and fails, too.
    assert_eq!(checked.map(BACKEND, &mut [map_own(10, 1, READ)]).value, -5);
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
    checked.switch(|switches| switches.flush_fails = Trigger::Never);
    // The next one covers everything that is owed.
    checked.mapped(map_own(3, 4, READ_WRITE));
    assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
}

#[test]
fn invariant_2_flags_follow_pins() {
    let mut checked = scene();
    let read = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    assert_eq!(checked.entry_flags(8) & IN_USE, GTF_READING);
    let write = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    assert_eq!(checked.entry_flags(8) & IN_USE, IN_USE);
    let again = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    checked.unmapped(write.handle);
    assert_eq!(checked.entry_flags(8) & IN_USE, IN_USE);
    checked.unmapped(again.handle);
    assert_eq!(checked.entry_flags(8) & IN_USE, GTF_READING);
    checked.unmapped(read.handle);
    assert_eq!(checked.entry_flags(8), GTF_PERMIT_ACCESS);
}

/// A write-only mapping reads nothing, yet the page is in use.
#[test]
fn invariant_2_write_only_mapping_sets_both_flags() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 1, 2));
    assert_eq!(checked.entry_flags(8) & IN_USE, IN_USE);
    assert!(checked.machine.device_read(BACKEND, live.daddr).is_err());
    assert!(checked.machine.device_write(BACKEND, live.daddr, 1).is_ok());
    checked.unmapped(live.handle);
    assert_eq!(checked.entry_flags(8), GTF_PERMIT_ACCESS);
}

#[test]
fn invariant_2_failed_pin_leaves_no_flag() {
    let mut checked = scene();
    checked.write_entry(FRONTEND, 100, GTF_PERMIT_ACCESS, BACKEND, 5000);
    checked.map_refused(map_grant(FRONTEND, 100, 1, READ_WRITE), -14);
    assert_eq!(checked.entry_flags(100), GTF_PERMIT_ACCESS);
    // The writing bit of a failed upgrade goes, the reading bit stays.
    let read = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    let mfn = checked.machine.mfn_of(FRONTEND, 8).expect("memory");
    if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
        frame.kind = testbed::model::frames::Kind::PageTable;
    }
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ_WRITE), -14);
    assert_eq!(checked.entry_flags(8) & IN_USE, GTF_READING);
    checked.unmapped(read.handle);
}

#[test]
fn invariant_3_handles_are_never_reused() {
    let mut checked = scene();
    let mut stale = Vec::new();
    for _ in 0..50 {
        let live = checked.mapped(at(HOLE, map_own(3, 1, READ)));
        checked.unmapped(live.handle);
        stale.push(live.handle);
        for &handle in &stale {
            let mut ops = [unmap_handle(handle)];
            checked.unmap(BACKEND, &mut ops);
            assert_eq!(ops[0].status, -2);
        }
    }
}

#[test]
fn invariant_4_unmap_of_one_leaves_neighbours() {
    let mut checked = scene();
    let ops: Vec<_> = (0..5)
        .map(|nth| checked.mapped(at(HOLE + nth * 3, map_own(nth * 3, 3, READ_WRITE))))
        .collect();
    checked.unmapped(ops[2].handle);
    checked.unmapped(ops[0].handle);
    checked.mapped(at(HOLE + 6, map_own(50, 3, READ)));
    checked.map_refused(at(HOLE + 8, map_own(50, 2, READ)), -17);
}

#[test]
fn invariant_4_failed_run_leaves_nothing() {
    let mut checked = scene();
    for failing in 0..8 {
        checked.write_entry(FRONTEND, 8 + failing, 0, BACKEND, 8);
        checked.map_refused(map_grant(FRONTEND, 8, 8, READ), -13);
        checked.assert_nothing_held();
        checked.write_entry(
            FRONTEND,
            8 + failing,
            GTF_PERMIT_ACCESS,
            BACKEND,
            8 + failing,
        );
    }
    checked.mapped(map_grant(FRONTEND, 8, 8, READ));
}

#[test]
fn invariant_4_iommu_failure_leaves_nothing() {
    let mut checked = scene();
    for nth in 1..=3 {
        checked.switch(|switches| switches.map_fails = Trigger::Nth(nth));
        checked.map_refused(map_own(4, 12, READ_WRITE), -5);
        checked.assert_nothing_held();
    }
}

#[test]
fn invariant_4_iommu_and_flush_failure_keeps_frames_until_a_flush() {
    let mut checked = scene();
    for nth in 1..=3 {
        checked.switch(|switches| {
            switches.map_fails = Trigger::Nth(nth);
            switches.flush_fails = Trigger::Nth(1);
        });
        let op = checked.map_one(map_own(4, 12, READ_WRITE));
        assert_eq!(op.status, -5);
        assert_eq!(checked.query(BACKEND).used_pins, 12);
        assert_eq!(checked.unmap_one(unmap_handle(1)), -2);
        checked.assert_nothing_held();
    }
}

#[test]
fn invariant_5_quota_counts_frames_that_wait_for_a_flush() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 8,
        ..DomainSetup::pvh(BACKEND)
    });
    let live = checked.mapped(map_own(0, 8, READ));
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    let mut ops = [unmap_handle(live.handle)];
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, -5);
    assert_eq!(checked.query(BACKEND).used_pins, 8);
    checked.map_refused(map_own(0, 1, READ), -105);
    assert_eq!(checked.unmap_one(unmap_handle(1)), -2);
    checked.mapped(map_own(0, 8, READ));
}

#[test]
fn invariant_5_quotas_are_per_domain() {
    let mut checked = scene();
    checked.write_entry(FRONTEND, 100, GTF_PERMIT_ACCESS, BYSTANDER, 3);
    let mut ops = [map_grant(FRONTEND, 100, 1, READ)];
    checked.map(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, 0);
    assert_eq!(checked.query(BACKEND).used_pins, 0);
    assert_eq!(checked.query(FRONTEND).used_pins, 0);
    assert_eq!(checked.query(BYSTANDER).used_pins, 1);
}

#[test]
fn invariant_6_death_of_the_holder_gives_everything_back() {
    let mut checked = scene();
    for nth in 0..10 {
        checked.mapped(map_own(nth, 5, READ_WRITE));
        checked.mapped(map_grant(FRONTEND, 8 + nth, 3, READ));
        assert_eq!(
            checked.cpu_mapped(8, (1 << 32) + nth * 4096, true).status,
            0
        );
    }
    assert_eq!(checked.kill(BACKEND).0, Death::Gone);
    checked.assert_nothing_held();
    assert_eq!(checked.entry_flags(8), GTF_PERMIT_ACCESS);
}

#[test]
fn invariant_6_death_is_preemptible() {
    let mut checked = scene();
    for nth in 0..100 {
        checked.mapped(map_own(nth, 5, READ_WRITE));
    }
    for nth in 0..200 {
        assert_eq!(
            checked
                .cpu_mapped(8 + nth as u32 % 2, (1 << 32) + nth * 4096, false)
                .status,
            0
        );
    }
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let (death, steps) = checked.kill(BACKEND);
    assert_eq!(death, Death::Gone);
    assert!(steps > 4, "{steps} steps");
    checked.switch(|switches| switches.preempt = Preempt::Never);
    checked.assert_nothing_held();
}

#[test]
fn invariant_6_death_with_failing_flush_keeps_frames() {
    let mut checked = scene();
    checked.mapped(map_grant(FRONTEND, 8, 2, READ));
    checked.switch(|switches| switches.flush_fails = Trigger::Always);
    assert_eq!(checked.kill(BACKEND).0, Death::Stuck);
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
    checked.switch(|switches| switches.flush_fails = Trigger::Never);
    assert_eq!(checked.kill(BACKEND).0, Death::Gone);
    checked.assert_nothing_held();
}

#[test]
fn invariant_6_dead_granter_stays_until_its_pages_come_back() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 2, READ));
    let cpu = checked.cpu_mapped(10, 1 << 32, true);
    assert_eq!(checked.kill(FRONTEND).0, Death::Zombie);
    // The frames are the granter's until the holder lets go.
    assert!(checked.machine.device_read(BACKEND, live.daddr).is_ok());
    checked.unmapped(live.handle);
    assert_eq!(checked.machine.reap(FRONTEND), Death::Zombie);
    let mut ops = [cpu_unmap(cpu.handle, 1 << 32)];
    checked.cpu_unmap(BACKEND, &mut ops);
    assert_eq!(ops[0].status, 0);
    checked.assert_nothing_held();
    assert_eq!(checked.machine.reap(FRONTEND), Death::Gone);
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ), -3);
}

#[test]
fn invariant_6_both_die() {
    for first_to_die in [BACKEND, FRONTEND] {
        let mut checked = scene();
        checked.mapped(map_grant(FRONTEND, 8, 2, READ));
        checked.cpu_mapped(10, 1 << 32, true);
        checked.kill(first_to_die);
        checked.kill(BACKEND + FRONTEND - first_to_die);
        checked.machine.reap(FRONTEND);
        assert!(checked.machine.find(FRONTEND).is_none());
        assert!(checked.machine.find(BACKEND).is_none());
    }
}

#[test]
fn invariant_10_access_control_is_asked_about_device_maps() {
    let mut checked = scene();
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    // GNTMAP_device_map, with GNTMAP_readonly for reading.
    assert_eq!(checked.machine.state().access.asked, [1 | 4, 1]);
    checked
        .machine
        .state()
        .access
        .map_writable
        .insert((BACKEND, FRONTEND));
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ_WRITE), -1);
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
}

#[test]
fn invariant_10_refused_means_nothing_happens() {
    let mut checked = scene();
    checked
        .machine
        .state()
        .access
        .map
        .insert((BACKEND, FRONTEND));
    let references = checked.machine.state().counters.references;
    checked.map_refused(map_grant(FRONTEND, 8, 16, READ), -1);
    assert_eq!(checked.cpu_mapped(8, 1 << 32, true).status, -8);
    let state = checked.machine.state();
    assert_eq!(state.counters.references, references);
    assert_eq!(state.counters.atomics, 0);
}

/// XSA-480, and a prototype's defect: frames given back before the flush. While
/// the flush is under way every frame still has its references and its flags.
#[test]
fn xsa_480_nothing_is_given_back_before_the_flush_ends() {
    let mut checked = scene();
    let grant = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    let own = checked.mapped(map_own(3, 1, READ_WRITE));
    let frames = [
        checked.machine.mfn_of(FRONTEND, 8).expect("memory"),
        checked.machine.mfn_of(BACKEND, 3).expect("memory"),
    ];
    let flushes = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = std::sync::Arc::clone(&flushes);
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::Flush = moment {
            for mfn in frames {
                let state = machine.state();
                let frame = state.frames.get(mfn).expect("a frame in use");
                assert_eq!((frame.refs, frame.writable), (1, 1));
            }
            assert_eq!(machine.read_entry(FRONTEND, 8).0 & IN_USE, IN_USE);
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let mut ops = [unmap_handle(grant.handle), unmap_handle(own.handle)];
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, 0);
    assert_eq!(flushes.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// What the IOMMU does not let go of at death stays pinned for ever; everything
/// else comes back.
#[test]
fn invariant_1_death_with_failing_unmap_keeps_what_devices_reach() {
    let mut checked = scene();
    for nth in 0..4 {
        checked.mapped(map_grant(FRONTEND, 8 + 2 * nth, 2, READ));
    }
    checked.switch(|switches| switches.unmap_fails = Trigger::Nth(2));
    assert_eq!(checked.kill(BACKEND).0, Death::Stuck);
    let kept: Vec<u64> = (8..16)
        .filter(|&gfn| checked.references_of(FRONTEND, gfn).0 != 0)
        .collect();
    assert_eq!(kept.len(), 2, "the frames of one mapping: {kept:?}");
    assert_eq!(kept[0] + 1, kept[1]);
    assert_eq!(kept[0] % 2, 0);
}
