// SPDX-License-Identifier: GPL-2.0-only
//! The default context of domains whose devices work with machine addresses.
//!
//! The backend is PV, its IOMMU has what the domain has ("strict"), unless a test says
//! otherwise. References 8 to 71 of the frontend are frames 8 to 71; of frames whose
//! numbers differ in more than their lowest two bits none follow each other in the
//! machine (`Machine::populate`).

use hv::host::{Domain, IommuMode};
use hypercall_abi::{
    control::Revoke,
    grant::{GNTMAP_DEVICE_MAP, GNTMAP_READONLY, GTF_PERMIT_ACCESS, MapGrantRef},
    lookup::Lookup,
    mapping::{
        Flush, Map, Unmap, XEN_GDMA_GRANT_DMA_BIT, XEN_GDMA_MAP_GRANT_DMA, XEN_GDMA_NO_FLUSH,
    },
};
use testbed::{
    elements::{
        READ, READ_WRITE, at, cpu_map, cpu_unmap, lookup_daddr, lookup_gaddr, map_grant, map_own,
        unmap_handle, unmap_range, window_own,
    },
    model::{DomainSetup, Event, Preempt, Trigger, domain::Death, frames::Kind},
    oracle::Checked,
    scene::{BACKEND, FRONTEND, scene_with},
};

fn strict() -> Checked {
    scene_with(DomainSetup::pv(BACKEND))
}

fn machine_address(checked: &Checked, domain: u16, gfn: u64) -> u64 {
    checked.machine.mfn_of(domain, gfn).expect("memory") * 4096
}

fn reads(checked: &Checked, daddr: u64) -> bool {
    checked.machine.device_read(BACKEND, daddr).is_ok()
}

fn writes(checked: &Checked, daddr: u64) -> bool {
    checked.machine.device_write(BACKEND, daddr, 1).is_ok()
}

fn flush(checked: &mut Checked) -> i32 {
    let mut ops = [Flush::default()];
    assert_eq!(checked.flush(BACKEND, &mut ops).value, 0);
    ops[0].status
}

fn without_flush(op: Unmap) -> Unmap {
    Unmap {
        flags: op.flags | XEN_GDMA_NO_FLUSH,
        ..op
    }
}

/// A device mapping by the grant table.
fn device_mapped(checked: &mut Checked, gref: u32, write: bool) -> MapGrantRef {
    let readonly = if write { 0 } else { GNTMAP_READONLY };
    let mut ops = [MapGrantRef {
        flags: GNTMAP_DEVICE_MAP | readonly,
        ..cpu_map(FRONTEND, gref, 0, write)
    }];
    assert_eq!(checked.cpu_map(BACKEND, &mut ops).value, 0);
    assert_eq!(ops[0].status, 0);
    ops[0]
}

fn device_unmapped(checked: &mut Checked, live: &MapGrantRef) {
    let mut ops = [cpu_unmap(live.handle, 0)];
    ops[0].dev_bus_addr = live.dev_bus_addr;
    assert_eq!(checked.cpu_unmap(BACKEND, &mut ops).value, 0);
    assert_eq!(ops[0].status, 0);
}

/// What the IOMMU was told since the last look: entries set, entries cleared, flushes.
fn iommu_work(checked: &Checked) -> (usize, usize, usize) {
    let events = std::mem::take(&mut checked.machine.state().events);
    let count = |is_it: fn(&Event) -> bool| events.iter().filter(|event| is_it(event)).count();
    (
        count(|event| matches!(event, Event::Map { .. })),
        count(|event| matches!(event, Event::Unmap { .. })),
        count(|event| matches!(event, Event::Flush { .. })),
    )
}

#[test]
fn device_address_is_the_machine_address() {
    let mut checked = strict();
    let own = checked.mapped(map_own(3, 1, READ_WRITE));
    assert_eq!(own.daddr, machine_address(&checked, BACKEND, 3));
    let granted = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    assert_eq!(granted.daddr, machine_address(&checked, FRONTEND, 8));
    assert!(writes(&checked, own.daddr) && writes(&checked, granted.daddr));
    let with_offset = checked.mapped(Map {
        kind: XEN_GDMA_MAP_GRANT_DMA,
        source: 1 << XEN_GDMA_GRANT_DMA_BIT | 9 << 12 | 0x123,
        ..map_grant(FRONTEND, 0, 1, READ)
    });
    let frame = machine_address(&checked, FRONTEND, 9);
    assert_eq!(with_offset.daddr, frame + 0x123);
    for op in [own, granted, with_offset] {
        checked.unmapped(op.handle);
    }
    assert!(!reads(&checked, granted.daddr) && !reads(&checked, frame));
    checked.assert_nothing_held();
}

#[test]
fn a_chosen_address_must_be_the_machine_address() {
    let mut checked = strict();
    let (own, granted) = (
        machine_address(&checked, BACKEND, 3) / 4096,
        machine_address(&checked, FRONTEND, 8) / 4096,
    );
    for wrong in [0, own + 1, own - 1, granted, (1 << 40) - 1] {
        checked.map_refused(at(wrong, map_own(3, 1, READ)), -22);
    }
    checked.map_refused(at(own, map_grant(FRONTEND, 8, 1, READ)), -22);
    checked.assert_nothing_held();
    checked.mapped(at(own, map_own(3, 1, READ)));
    checked.mapped(at(granted, map_grant(FRONTEND, 8, 1, READ)));
    // In use or not makes no difference.
    checked.mapped(at(granted, map_grant(FRONTEND, 8, 1, READ)));
}

#[test]
fn runs_follow_each_other_in_the_machine_or_fail() {
    let mut checked = strict();
    for (own, granted) in [(4, 8), (8, 12)] {
        let run = checked.mapped(map_own(own, 4, READ));
        assert_eq!(run.daddr, machine_address(&checked, BACKEND, own));
        let run = checked.mapped(map_grant(FRONTEND, granted, 4, READ));
        let last = run.daddr + 3 * 4096;
        assert_eq!(last, machine_address(&checked, FRONTEND, granted + 3));
        assert!(reads(&checked, last));
        checked.unmapped(run.handle);
        assert!(!reads(&checked, last));
    }
    checked.map_refused(map_own(3, 2, READ), -28);
    checked.map_refused(map_grant(FRONTEND, 11, 2, READ), -28);
    checked.map_refused(map_grant(FRONTEND, 10, 4, READ), -28);
    for gref in 10..14 {
        checked.mapped(map_grant(FRONTEND, gref, 1, READ));
    }
}

/// Two grants of one frame, one of them twice: the IOMMU has the frame once.
#[test]
fn one_frame_mapped_several_times() {
    let mut checked = strict();
    checked.write_entry(FRONTEND, 100, GTF_PERMIT_ACCESS, BACKEND, 8);
    let first = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    let writer = checked.mapped(map_grant(FRONTEND, 100, 1, READ_WRITE));
    let second = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    assert_eq!(first.daddr, writer.daddr);
    assert_eq!(first.daddr, second.daddr);
    assert_eq!(checked.references_of(FRONTEND, 8), (3, 1));
    assert!(writes(&checked, first.daddr));
    checked.unmapped(first.handle);
    assert!(writes(&checked, first.daddr));
    checked.unmapped(writer.handle);
    assert!(!writes(&checked, first.daddr) && reads(&checked, first.daddr));
    assert_eq!(checked.unmap_one(unmap_handle(writer.handle)), -2);
    checked.unmapped(second.handle);
    assert!(!reads(&checked, first.daddr));
    checked.assert_nothing_held();
}

/// An entry that is there already is not set again, and what another mapping needs is not
/// taken out; nothing needs a flush then, but each call that unmaps makes one.
#[test]
fn the_iommu_is_told_what_changes_and_no_more() {
    let mut checked = strict();
    let told = |checked: &mut Checked, op: Map| {
        checked.machine.state().events.clear();
        let mut ops = [op];
        let vcpu = checked.machine.vcpu_of(BACKEND);
        let end = vcpu.call_with(testbed::model::hypercall::Number::GrantDma, 5, &mut ops);
        assert_eq!((end.value, ops[0].status), (0, 0));
        let work = iommu_work(checked);
        (ops[0].handle, work.0)
    };
    assert_eq!(told(&mut checked, map_grant(FRONTEND, 8, 1, READ)).1, 1);
    assert_eq!(told(&mut checked, map_grant(FRONTEND, 8, 1, READ)).1, 0);
    assert_eq!(
        told(&mut checked, map_grant(FRONTEND, 8, 1, READ_WRITE)).1,
        1
    );
    assert_eq!(told(&mut checked, map_grant(FRONTEND, 8, 1, READ)).1, 0);
    assert_eq!(told(&mut checked, map_own(3, 1, READ_WRITE)).1, 0);
}

/// One call, however many frames: one flush.
#[test]
fn one_flush_for_a_call() {
    let checked = strict();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let number = testbed::model::hypercall::Number::GrantDma;
    let mut maps: Vec<_> = (8..40)
        .map(|gref| map_grant(FRONTEND, gref, 1, READ))
        .collect();
    assert_eq!(vcpu.call_with(number, 5, &mut maps).value, 0);
    iommu_work(&checked);
    let mut unmaps: Vec<_> = maps.iter().map(|op| unmap_handle(op.handle)).collect();
    assert_eq!(vcpu.call_with(number, 6, &mut unmaps).value, 0);
    assert_eq!(iommu_work(&checked), (0, 32, 1));
}

/// DMA mappings and device mappings of the grant table, in every order of their ends.
#[test]
fn shared_with_device_mappings_of_the_grant_table() {
    for dma_write in [false, true] {
        for table_write in [false, true] {
            for dma_first in [false, true] {
                let mut checked = strict();
                let access = if dma_write { READ_WRITE } else { READ };
                let dma = checked.mapped(map_grant(FRONTEND, 8, 1, access));
                let live = device_mapped(&mut checked, 8, table_write);
                assert_eq!(live.dev_bus_addr, dma.daddr);
                assert_eq!(writes(&checked, dma.daddr), dma_write || table_write);
                if dma_first {
                    checked.unmapped(dma.handle);
                } else {
                    device_unmapped(&mut checked, &live);
                }
                let left = if dma_first { table_write } else { dma_write };
                assert_eq!(writes(&checked, dma.daddr), left);
                assert!(reads(&checked, dma.daddr));
                if dma_first {
                    device_unmapped(&mut checked, &live);
                } else {
                    checked.unmapped(dma.handle);
                }
                assert!(!reads(&checked, dma.daddr));
                checked.assert_nothing_held();
            }
        }
    }
}

/// A frame that waits for a flush is mapped again, in either way: the flush gives back
/// what waited for it, and leaves the new mapping alone.
#[test]
fn mapped_again_before_the_flush() {
    for again_by_table in [false, true] {
        let mut checked = strict();
        let first = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
        let end = without_flush(unmap_handle(first.handle));
        assert_eq!(checked.unmap_one(end), 0);
        assert_eq!(checked.references_of(FRONTEND, 8), (1, 1));
        if again_by_table {
            let live = device_mapped(&mut checked, 8, false);
            assert_eq!(checked.references_of(FRONTEND, 8), (3, 1));
            assert_eq!(flush(&mut checked), 0);
            assert_eq!(checked.references_of(FRONTEND, 8), (2, 0));
            assert!(reads(&checked, first.daddr) && !writes(&checked, first.daddr));
            device_unmapped(&mut checked, &live);
        } else {
            let again = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
            assert_eq!(flush(&mut checked), 0);
            assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
            assert!(reads(&checked, first.daddr) && !writes(&checked, first.daddr));
            checked.unmapped(again.handle);
        }
        assert!(!reads(&checked, first.daddr));
        checked.assert_nothing_held();
    }
}

/// The device mapping ends, with its flush, while a DMA mapping's end waits for one.
#[test]
fn device_mapping_ends_while_a_flush_is_due() {
    let mut checked = strict();
    let dma = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    let live = device_mapped(&mut checked, 8, true);
    let end = without_flush(unmap_handle(dma.handle));
    assert_eq!(checked.unmap_one(end), 0);
    assert!(writes(&checked, dma.daddr));
    device_unmapped(&mut checked, &live);
    assert!(!reads(&checked, dma.daddr));
    // Its own flush is still due.
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 1));
    assert_eq!(flush(&mut checked), 0);
    checked.assert_nothing_held();
}

/// Writers gone, readers left: the writer's type goes with the flush and not before.
#[test]
fn fewer_rights_wait_for_the_flush() {
    let mut checked = strict();
    let reader = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    let writer = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    let end = without_flush(unmap_handle(writer.handle));
    assert_eq!(checked.unmap_one(end), 0);
    assert_eq!(checked.references_of(FRONTEND, 8), (2, 1));
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    assert_eq!(flush(&mut checked), -5);
    assert_eq!(checked.references_of(FRONTEND, 8), (2, 1));
    assert_eq!(flush(&mut checked), 0);
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
    assert!(reads(&checked, reader.daddr) && !writes(&checked, reader.daddr));
    checked.unmapped(reader.handle);
    checked.assert_nothing_held();
}

#[test]
fn a_failed_flush_keeps_frames() {
    let mut checked = strict();
    let live = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    let mut ops = [unmap_handle(live.handle)];
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, -5);
    assert_eq!(ops[0].status, 0);
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
    assert_eq!(flush(&mut checked), 0);
    checked.assert_nothing_held();
}

/// More access than an IOTLB may have in mind: seen when the call returns.
#[test]
fn more_rights_are_visible_when_the_call_returns() {
    let mut checked = strict();
    checked.cache_absent_translations(BACKEND);
    let reader = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    assert!(reads(&checked, reader.daddr) && !writes(&checked, reader.daddr));
    checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    assert!(writes(&checked, reader.daddr));
}

/// Nothing to program, nothing to take out: devices reach everything all the time, and
/// what is mapped stays in place.
#[test]
fn without_protection_frames_are_only_kept() {
    let pv = DomainSetup::pv(BACKEND);
    for setup in [
        DomainSetup {
            strict: false,
            ..pv
        },
        DomainSetup {
            iommu: IommuMode::PassThrough,
            ..pv
        },
        DomainSetup {
            iommu: IommuMode::Absent,
            ..pv
        },
        DomainSetup {
            direct_mapped: true,
            iommu: IommuMode::Absent,
            ..DomainSetup::pvh(BACKEND)
        },
    ] {
        let mut checked = scene_with(setup);
        let frame = machine_address(&checked, FRONTEND, 8);
        assert!(writes(&checked, frame));
        let own = checked.mapped(map_own(3, 1, READ));
        // Nothing must be kept writable for an IOMMU.
        assert_eq!(checked.references_of(BACKEND, 3), (1, 0));
        let granted = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
        assert_eq!(checked.references_of(FRONTEND, 8), (1, 1));
        assert_eq!(granted.daddr, frame);
        let tables = checked.machine.state().iommus.remove(&(BACKEND, 0));
        assert!(tables.is_none_or(|tables| tables.table().is_empty()));
        checked.unmapped(granted.handle);
        checked.unmapped(own.handle);
        assert!(writes(&checked, frame));
        checked.assert_nothing_held();
    }
}

/// XSA-224 the other way round: an own frame is in the IOMMU while it has the writable
/// type, so a mapping keeps that, for reading too.
#[test]
fn own_frames_keep_the_type_that_the_iommu_goes_by() {
    let mut checked = strict();
    for flags in [READ, READ_WRITE] {
        let own = checked.mapped(map_own(3, 1, flags));
        assert_eq!(checked.references_of(BACKEND, 3), (1, 1));
        assert!(reads(&checked, own.daddr));
        checked.unmapped(own.handle);
        assert!(reads(&checked, own.daddr), "its own memory");
    }
    checked.write_entry(BACKEND, 8, GTF_PERMIT_ACCESS, BACKEND, 3);
    let granted = checked.mapped(map_grant(BACKEND, 8, 1, READ));
    assert_eq!(checked.references_of(BACKEND, 3), (1, 1));
    checked.unmapped(granted.handle);
    checked
        .machine
        .state()
        .set_kind(BACKEND, 3, Kind::PageTable);
    checked.map_refused(map_own(3, 1, READ), -14);
    checked.map_refused(map_grant(BACKEND, 8, 1, READ), -14);
    checked.assert_nothing_held();
}

#[test]
fn no_windows() {
    let mut checked = strict();
    let mut ops = [window_own(8, 4, READ)];
    assert_eq!(checked.window_create(BACKEND, &mut ops).value, 0);
    assert_eq!(ops[0].status, -95);
    checked.assert_nothing_held();
}

/// A run of which the IOMMU refuses one: those before it are taken out again.
#[test]
fn the_iommu_refuses_in_the_middle_of_a_run() {
    for nth in 1..=4 {
        let mut checked = strict();
        checked.switch(|switches| switches.map_fails = Trigger::Nth(nth));
        checked.map_refused(map_grant(FRONTEND, 8, 4, READ), -5);
        checked.assert_nothing_held();
        checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    }
}

/// The same when the way back is refused as well: the frames stay with their granter for
/// as long as devices may reach them, and the holder's end tries again.
#[test]
fn the_iommu_refuses_both_ways() {
    let checked = strict();
    checked.switch(|switches| {
        switches.map_fails = Trigger::Nth(3);
        switches.unmap_fails = Trigger::Nth(1);
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let number = testbed::model::hypercall::Number::GrantDma;
    let mut ops = [map_grant(FRONTEND, 8, 4, READ)];
    vcpu.call_with(number, 5, &mut ops);
    assert_eq!(ops[0].status, -5);
    for gfn in 8..12 {
        assert_eq!(checked.references_of(FRONTEND, gfn), (1, 0));
    }
    assert_eq!(checked.machine.kill(BACKEND).0, Death::Gone);
    for gfn in 8..12 {
        assert_eq!(checked.references_of(FRONTEND, gfn), (0, 0));
    }
}

/// An unmap that the IOMMU refuses in the middle can be tried again.
#[test]
fn a_refused_unmap_goes_on_where_it_stopped() {
    for nth in 1..=4 {
        let mut checked = strict();
        let live = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
        let beside = device_mapped(&mut checked, 9, false);
        checked.switch(|switches| switches.unmap_fails = Trigger::Nth(nth));
        let refused = checked.unmap_one(unmap_handle(live.handle));
        // Of four frames the device mapping keeps one in the tables.
        assert_eq!(refused, if nth < 4 { -5 } else { 0 });
        assert!(reads(&checked, beside.dev_bus_addr));
        checked.switch(|switches| switches.unmap_fails = Trigger::Never);
        if refused != 0 {
            checked.unmapped(live.handle);
        }
        assert!(reads(&checked, beside.dev_bus_addr));
        device_unmapped(&mut checked, &beside);
        checked.assert_nothing_held();
    }
}

#[test]
fn revocation_ends_every_mapping_of_the_reference() {
    let mut checked = strict();
    checked.write_entry(FRONTEND, 100, GTF_PERMIT_ACCESS, BACKEND, 8);
    let mine = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    let run = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    let other = checked.mapped(map_grant(FRONTEND, 100, 1, READ));
    let mut ops = [Revoke { gref: 8, status: 0 }];
    assert_eq!(checked.revoke(FRONTEND, &mut ops).value, 0);
    assert_eq!(ops[0].status, 0);
    // By the other reference the frame is still granted, for reading.
    assert!(reads(&checked, mine.daddr) && !writes(&checked, mine.daddr));
    assert!(!reads(&checked, mine.daddr + 4096));
    for stale in [mine, run] {
        assert_eq!(checked.unmap_one(unmap_handle(stale.handle)), -2);
    }
    checked.unmapped(other.handle);
    assert!(!reads(&checked, mine.daddr));
    checked.assert_nothing_held();
}

#[test]
fn lookups_in_both_directions() {
    let mut checked = strict();
    checked.write_entry(FRONTEND, 100, GTF_PERMIT_ACCESS, BACKEND, 9);
    let run = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    let newest = checked.mapped(map_grant(FRONTEND, 100, 1, READ));
    let own = checked.mapped(map_own(4, 4, READ_WRITE));
    let again = checked.mapped(map_own(6, 1, READ));
    let found = |checked: &mut Checked, op: Lookup| {
        let mut ops = [op];
        assert_eq!(checked.lookup(BACKEND, &mut ops).value, 0);
        ops[0]
    };
    // Inside the run, by the run; where there are two, the newest.
    let inside = found(&mut checked, lookup_daddr(run.daddr + 2 * 4096 + 7));
    assert_eq!((inside.handle, inside.source), (run.handle, 10 << 12 | 7));
    let both = found(&mut checked, lookup_daddr(run.daddr + 4096));
    assert_eq!((both.handle, both.source), (newest.handle, 100 << 12));
    checked.unmapped(newest.handle);
    let both = found(&mut checked, lookup_daddr(run.daddr + 4096));
    assert_eq!((both.handle, both.source), (run.handle, 9 << 12));
    // The other way round: all mappings of a frame, newest first.
    for (index, handle) in [(0, again.handle), (1, own.handle)] {
        let answer = found(&mut checked, lookup_gaddr(6 << 12 | 5, index));
        assert_eq!((answer.status, answer.handle), (0, handle));
        let frame = machine_address(&checked, BACKEND, 6);
        assert_eq!(answer.daddr, frame | 5);
    }
    assert_eq!(found(&mut checked, lookup_gaddr(6 << 12, 2)).status, -2);
    checked.unmapped(run.handle);
    assert_eq!(found(&mut checked, lookup_daddr(run.daddr)).status, -2);
}

/// By address the newest mapping of just that size is ended.
#[test]
fn unmap_by_address() {
    let mut checked = strict();
    let one = checked.mapped(map_own(4, 1, READ));
    let run = checked.mapped(map_own(4, 2, READ));
    let newest = checked.mapped(map_own(4, 1, READ));
    let at = one.daddr;
    assert_eq!(checked.unmap_one(unmap_range(at, 3)), -2);
    assert_eq!(checked.unmap_one(unmap_range(at + 4096, 1)), -2);
    assert_eq!(checked.unmap_one(unmap_range(at, 1)), 0);
    assert_eq!(checked.unmap_one(unmap_handle(newest.handle)), -2);
    assert_eq!(checked.unmap_one(unmap_range(at, 1)), 0);
    assert_eq!(checked.unmap_one(unmap_range(at, 1)), -2);
    assert_eq!(checked.unmap_one(unmap_range(at, 2)), 0);
    assert_eq!(checked.unmap_one(unmap_handle(run.handle)), -2);
    checked.assert_nothing_held();
}

/// XSA-380, scans that a guest can make long: only the newest 64 mappings of a frame are
/// looked at.
#[test]
fn xsa_380_unmap_by_address_looks_at_few() {
    let checked = strict();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let number = testbed::model::hypercall::Number::GrantDma;
    let mut one = [map_own(4, 1, READ)];
    vcpu.call_with(number, 5, &mut one);
    let mut runs = vec![map_own(4, 2, READ); 64];
    assert_eq!(vcpu.call_with(number, 5, &mut runs).value, 0);
    assert!(runs.iter().all(|op| op.status == 0));
    let unmap = |op: Unmap| {
        let mut ops = [op];
        assert_eq!(vcpu.call_with(number, 6, &mut ops).value, 0);
        ops[0].status
    };
    assert_eq!(unmap(unmap_range(one[0].daddr, 1)), -2);
    assert_eq!(unmap(unmap_range(one[0].daddr, 2)), 0);
    assert_eq!(unmap(unmap_range(one[0].daddr, 1)), 0);
}

/// Debug key `b`.
#[test]
fn what_the_console_shows() {
    let mut checked = strict();
    let live = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    checked.mapped(map_own(3, 1, READ));
    checked.unmap_one(without_flush(unmap_handle(live.handle)));
    let domain = checked.machine.find(BACKEND).expect("backend");
    let state = domain.state().expect("state");
    let mut lines = Vec::new();
    let show = |line: std::fmt::Arguments<'_>| lines.push(line.to_string());
    state.dma.show(&checked.machine, &domain, show);
    assert_eq!(
        lines.last().map(String::as_str),
        Some(
            "d1: context 0: machine addresses: 5 frames pinned, 4 of them until a flush, 0 for \
             ever"
        )
    );
}

#[test]
fn pins_are_counted_against_the_limit() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 6,
        ..DomainSetup::pv(BACKEND)
    });
    let run = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    for _ in 0..2 {
        checked.mapped(map_own(3, 1, READ));
    }
    checked.map_refused(map_own(3, 1, READ), -105);
    assert_eq!(
        checked.unmap_one(without_flush(unmap_handle(run.handle))),
        0
    );
    checked.map_refused(map_own(3, 1, READ), -105);
    assert_eq!(flush(&mut checked), 0);
    checked.mapped(map_own(4, 4, READ));
}

#[test]
fn a_dying_holder_gives_everything_back_in_steps() {
    let mut checked = strict();
    for gref in 8..40 {
        checked.mapped(map_grant(FRONTEND, gref.into(), 1, READ));
        device_mapped(&mut checked, gref, false);
    }
    let pending = checked.mapped(map_grant(FRONTEND, 40, 4, READ));
    checked.unmap_one(without_flush(unmap_handle(pending.handle)));
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let (death, steps) = checked.kill(BACKEND);
    assert_eq!(death, Death::Gone);
    assert!(steps > 30, "{steps} steps");
    checked.assert_nothing_held();
}

#[test]
fn a_dying_granter_waits_for_the_holder() {
    let mut checked = strict();
    let live = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    assert_eq!(checked.kill(FRONTEND).0, Death::Zombie);
    assert!(reads(&checked, live.daddr));
    checked.unmapped(live.handle);
    assert_eq!(checked.machine.reap(FRONTEND), Death::Gone);
}
