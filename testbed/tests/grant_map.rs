// SPDX-License-Identifier: GPL-2.0-only
//! `map_grant_ref`, `unmap_grant_ref` and `unmap_and_replace`, for translated and
//! PV domains. The oracle checks references, in-use flags, maptrack records and
//! what devices reach after each call; the statuses here are those that
//! `public/grant_table.h` has for the mistake.

use hypercall_abi::grant::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP,
    GNTMAP_READONLY, GNTTABOP_MAP_GRANT_REF, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY,
    GTF_SUB_PAGE, GTF_TRANSITIVE, GTF_WRITING, MapGrantRef, UnmapAndReplace, UnmapGrantRef,
};
use testbed::{
    elements::{cpu_map, cpu_unmap},
    model::{
        DomainSetup, Preempt, Trigger, domain::Backing, domain::Death, frames::Kind,
        hypercall::Number,
    },
    oracle::Checked,
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
};

const ADDRESS: u64 = 1 << 32;
const IN_USE: u16 = GTF_READING | GTF_WRITING;
const OKAY: i16 = 0;
const GENERAL_ERROR: i16 = -1;
const BAD_DOMAIN: i16 = -2;
const BAD_GNTREF: i16 = -3;
const BAD_HANDLE: i16 = -4;
const BAD_DEV_ADDR: i16 = -6;
const NO_SPACE: i16 = -13;
const PERMISSION_DENIED: i16 = -8;
const BAD_PAGE: i16 = -9;
const EAGAIN: i16 = -12;

fn pv_scene() -> Checked {
    scene_with(DomainSetup::pv(BACKEND))
}

/// One `map_grant_ref` of the backend.
fn mapped(checked: &mut Checked, op: MapGrantRef) -> MapGrantRef {
    let mut ops = [op];
    assert_eq!(checked.cpu_map(BACKEND, &mut ops).value, 0);
    ops[0]
}

fn with_flags(gref: u32, at: u64, flags: u32) -> MapGrantRef {
    MapGrantRef {
        flags,
        ..cpu_map(FRONTEND, gref, at, true)
    }
}

/// One `unmap_grant_ref` of the backend.
fn ended(checked: &mut Checked, handle: u32, host_addr: u64, dev_bus_addr: u64) -> i16 {
    let mut ops = [UnmapGrantRef {
        dev_bus_addr,
        ..cpu_unmap(handle, host_addr)
    }];
    assert_eq!(checked.cpu_unmap(BACKEND, &mut ops).value, 0);
    ops[0].status
}

fn replaced(checked: &mut Checked, handle: u32, host_addr: u64, new_addr: u64) -> i16 {
    let mut ops = [UnmapAndReplace {
        host_addr,
        new_addr,
        handle,
        ..UnmapAndReplace::default()
    }];
    assert_eq!(checked.unmap_and_replace(BACKEND, &mut ops).value, 0);
    ops[0].status
}

fn both_versions(mut test: impl FnMut(&mut Checked)) {
    for version in [1, 2] {
        let mut checked = scene();
        if version == 2 {
            checked.set_version(FRONTEND, 2);
            for gref in 8..72 {
                let readonly = if gref % 2 == 1 { GTF_READONLY } else { 0 };
                let flags = GTF_PERMIT_ACCESS | readonly;
                checked.write_entry(FRONTEND, gref, flags, BACKEND, gref);
            }
        }
        test(&mut checked);
    }
}

#[test]
fn in_use_flags_follow_the_uses() {
    both_versions(|checked| {
        let one = checked.cpu_mapped(8, ADDRESS, false);
        assert_eq!(checked.entry_flags(8) & IN_USE, GTF_READING);
        let other = checked.cpu_mapped(8, ADDRESS + 4096, true);
        assert_eq!(checked.entry_flags(8) & IN_USE, IN_USE);
        assert_eq!(ended(checked, other.handle, ADDRESS + 4096, 0), OKAY);
        assert_eq!(checked.entry_flags(8) & IN_USE, GTF_READING);
        assert_eq!(ended(checked, one.handle, ADDRESS, 0), OKAY);
        assert_eq!(checked.entry_flags(8), GTF_PERMIT_ACCESS);
        checked.assert_nothing_held();
    });
}

#[test]
fn statuses_of_a_translated_domain() {
    both_versions(|checked| {
        let good = cpu_map(FRONTEND, 8, ADDRESS, true);
        let entries = checked.machine.table_entries(FRONTEND);
        for (op, status) in [
            (MapGrantRef { flags: 0, ..good }, BAD_GNTREF),
            (
                MapGrantRef {
                    flags: GNTMAP_READONLY | GNTMAP_CONTAINS_PTE,
                    ..good
                },
                BAD_GNTREF,
            ),
            (MapGrantRef { dom: 77, ..good }, BAD_DOMAIN),
            (
                MapGrantRef {
                    dom: 0x7ff0,
                    ..good
                },
                BAD_DOMAIN,
            ),
            (
                MapGrantRef {
                    gref: entries,
                    ..good
                },
                BAD_GNTREF,
            ),
            (
                MapGrantRef {
                    gref: u32::MAX,
                    ..good
                },
                BAD_GNTREF,
            ),
            // Nothing granted, read-only, another domain's.
            (MapGrantRef { gref: 0, ..good }, GENERAL_ERROR),
            (MapGrantRef { gref: 9, ..good }, GENERAL_ERROR),
            (
                MapGrantRef {
                    dom: BYSTANDER,
                    ..good
                },
                GENERAL_ERROR,
            ),
            // No address for a mapping.
            (
                MapGrantRef {
                    host_addr: ADDRESS + 1,
                    ..good
                },
                GENERAL_ERROR,
            ),
        ] {
            assert_eq!(mapped(checked, op).status, status, "{op:?}");
        }
        for flag in [
            GNTMAP_DEVICE_MAP,
            GNTMAP_APPLICATION_MAP,
            GNTMAP_CONTAINS_PTE,
        ] {
            let op = with_flags(8, ADDRESS, GNTMAP_HOST_MAP | flag);
            assert_eq!(mapped(checked, op).status, GENERAL_ERROR);
        }
        checked.assert_nothing_held();
    });
}

#[test]
fn entries_that_cannot_be_mapped() {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    for flags in [
        0,
        GTF_TRANSITIVE,
        GTF_PERMIT_ACCESS | GTF_SUB_PAGE,
        // Accepts a page.
        2,
    ] {
        checked.write_entry(FRONTEND, 20, flags, BACKEND, 20);
        assert_eq!(checked.cpu_mapped(20, ADDRESS, false).status, GENERAL_ERROR);
    }
    // Version 2 names frames of more than 32 bits.
    checked.write_whole_entry(FRONTEND, 20, GTF_PERMIT_ACCESS, BACKEND, 0, 20 + (1 << 32));
    assert_eq!(checked.cpu_mapped(20, ADDRESS, false).status, BAD_PAGE);
    checked.assert_nothing_held();
}

#[test]
fn frames_that_cannot_be_mapped() {
    let mut checked = scene();
    for (what, status) in [
        (Some(Backing::PagedOut), EAGAIN),
        (Some(Backing::Mmio), BAD_PAGE),
        (Some(Backing::Foreign(1)), BAD_PAGE),
        (None, BAD_PAGE),
    ] {
        checked.machine.state().p2m.remove(&(FRONTEND, 300));
        if let Some(what) = what {
            checked.machine.state().p2m.insert((FRONTEND, 300), what);
        }
        checked.write_entry(FRONTEND, 80, GTF_PERMIT_ACCESS, BACKEND, 300);
        assert_eq!(checked.cpu_mapped(80, ADDRESS, true).status, status);
    }
    checked.assert_nothing_held();
}

#[test]
fn access_control_may_refuse() {
    let mut checked = scene();
    let pair = (BACKEND, FRONTEND);
    checked.machine.state().access.map.insert(pair);
    assert_eq!(
        checked.cpu_mapped(8, ADDRESS, true).status,
        PERMISSION_DENIED
    );
    checked.machine.state().access.map.clear();
    let live = checked.cpu_mapped(8, ADDRESS, true);
    checked.machine.state().access.unmap.insert(pair);
    assert_eq!(
        ended(&mut checked, live.handle, ADDRESS, 0),
        PERMISSION_DENIED
    );
    assert_eq!(
        replaced(&mut checked, live.handle, ADDRESS, 0),
        PERMISSION_DENIED
    );
}

/// A holder that another one keeps out learns only that it cannot map.
#[test]
fn another_holder_uses_the_reference() {
    let mut checked = scene();
    checked.cpu_mapped(8, ADDRESS, true);
    checked.write_entry(FRONTEND, 8, GTF_PERMIT_ACCESS, BYSTANDER, 8);
    let mut ops = [cpu_map(FRONTEND, 8, ADDRESS, true)];
    checked.cpu_map(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, GENERAL_ERROR);
}

#[test]
fn no_space_when_all_records_are_in_use() {
    let mut checked = scene_with(DomainSetup {
        max_maptrack_frames: 1,
        vcpus: 4,
        ..DomainSetup::pvh(BACKEND)
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops: Vec<_> = (0..257)
        .map(|nth| {
            cpu_map(
                FRONTEND,
                8 + nth % 60,
                ADDRESS + u64::from(nth) * 4096,
                false,
            )
        })
        .collect();
    vcpu.call_with(Number::GrantTable, GNTTABOP_MAP_GRANT_REF, &mut ops);
    // 256 records in a frame, says the documentation of the limit.
    assert!(ops[..256].iter().all(|op| op.status == OKAY));
    assert_eq!(ops[256].status, NO_SPACE);
    // Another vcpu finds none either, until there is one again.
    let other = checked.machine.vcpu_of(BACKEND).with_vcpu(3);
    let mut again = [ops[256]];
    other.call_with(Number::GrantTable, GNTTABOP_MAP_GRANT_REF, &mut again);
    assert_eq!(again[0].status, NO_SPACE);
    let mut end = [cpu_unmap(ops[7].handle, ops[7].host_addr)];
    other.call_with(Number::GrantTable, 1, &mut end);
    other.call_with(Number::GrantTable, GNTTABOP_MAP_GRANT_REF, &mut again);
    assert_eq!((end[0].status, again[0].status), (OKAY, OKAY));
    checked.kill(BACKEND);
    checked.assert_nothing_held();
}

#[test]
fn handles_of_all_vcpus_can_be_ended_by_any() {
    let checked = scene_with(DomainSetup {
        vcpus: 5,
        ..DomainSetup::pvh(BACKEND)
    });
    let vcpu = |n| checked.machine.vcpu_of(BACKEND).with_vcpu(n);
    let mut handles = std::collections::BTreeSet::new();
    let mut live = Vec::new();
    for nth in 0..40 {
        let mut ops = [cpu_map(FRONTEND, 8, ADDRESS + u64::from(nth) * 4096, false)];
        vcpu(nth % 5).call_with(Number::GrantTable, GNTTABOP_MAP_GRANT_REF, &mut ops);
        assert_eq!(ops[0].status, OKAY);
        assert!(handles.insert(ops[0].handle), "handle given out twice");
        live.push(ops[0]);
    }
    for (nth, op) in (0..).zip(&live) {
        let mut ops = [cpu_unmap(op.handle, op.host_addr)];
        vcpu(nth % 3).call_with(Number::GrantTable, 1, &mut ops);
        assert_eq!(ops[0].status, OKAY);
    }
    checked.assert_nothing_held();
}

#[test]
fn bad_handles() {
    let mut checked = scene();
    let live = checked.cpu_mapped(8, ADDRESS, true);
    for handle in [live.handle + 1, 255, 256, 1 << 20, u32::MAX] {
        assert_eq!(ended(&mut checked, handle, ADDRESS, 0), BAD_HANDLE);
        assert_eq!(replaced(&mut checked, handle, ADDRESS, 0), BAD_HANDLE);
    }
    assert_eq!(ended(&mut checked, live.handle, ADDRESS, 0), OKAY);
    assert_eq!(ended(&mut checked, live.handle, ADDRESS, 0), BAD_HANDLE);
    // Another domain's handle is nobody's here.
    let live = checked.cpu_mapped(8, ADDRESS, true);
    let mut ops = [cpu_unmap(live.handle, ADDRESS)];
    checked.cpu_unmap(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, BAD_HANDLE);
}

/// One TLB flush for many unmaps, before the guest is told.
#[test]
fn one_flush_for_a_batch() {
    let mut checked = scene();
    let ops: Vec<_> = (0..16)
        .map(|nth| checked.cpu_mapped(8 + nth, ADDRESS + u64::from(nth) * 4096, false))
        .collect();
    checked.machine.state().counters.tlb_flushes = 0;
    let mut ends: Vec<_> = ops
        .iter()
        .map(|op| cpu_unmap(op.handle, op.host_addr))
        .collect();
    checked.cpu_unmap(BACKEND, &mut ends);
    assert!(ends.iter().all(|op| op.status == OKAY));
    assert_eq!(checked.machine.state().counters.tlb_flushes, 1);
    // Nothing to flush for what was not unmapped.
    ended(&mut checked, 99, ADDRESS, 0);
    assert_eq!(checked.machine.state().counters.tlb_flushes, 1);
    checked.assert_nothing_held();
}

#[test]
fn long_batches_are_preempted() {
    let mut checked = scene();
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let mut ops: Vec<_> = (0..200)
        .map(|nth| {
            cpu_map(
                FRONTEND,
                8 + nth % 64,
                ADDRESS + u64::from(nth) * 4096,
                false,
            )
        })
        .collect();
    let end = checked.cpu_map(BACKEND, &mut ops);
    assert!(end.steps >= 3, "{} steps", end.steps);
    let mut ends: Vec<_> = ops
        .iter()
        .map(|op| cpu_unmap(op.handle, op.host_addr))
        .collect();
    let end = checked.cpu_unmap(BACKEND, &mut ends);
    assert!(end.steps >= 3, "{} steps", end.steps);
    checked.assert_nothing_held();
}

#[test]
fn replacing_is_for_pv_domains() {
    let mut checked = scene();
    let live = checked.cpu_mapped(8, ADDRESS, true);
    assert_eq!(
        replaced(&mut checked, live.handle, ADDRESS, ADDRESS + 4096),
        GENERAL_ERROR
    );
    // With no replacement it is an unmap.
    assert_eq!(replaced(&mut checked, live.handle, ADDRESS, 0), OKAY);
    checked.assert_nothing_held();
}

#[test]
fn pv_replaces_a_mapping() {
    let mut checked = pv_scene();
    let live = checked.cpu_mapped(8, ADDRESS, true);
    let (own, hole) = (ADDRESS + 4096, ADDRESS + 8192);
    checked.own_map(BACKEND, own, 5);
    assert_eq!(
        replaced(&mut checked, live.handle, ADDRESS, hole),
        GENERAL_ERROR
    );
    assert_eq!(
        replaced(&mut checked, live.handle, hole, own),
        GENERAL_ERROR
    );
    assert_eq!(replaced(&mut checked, live.handle, ADDRESS, own), OKAY);
    let mfn = checked.machine.mfn_of(BACKEND, 5);
    let now = checked
        .machine
        .state()
        .own_maps
        .get(&(BACKEND, ADDRESS))
        .copied();
    assert_eq!(now, mfn, "the own page is there now");
    checked.assert_nothing_held();
    // Not where the address is that of a page-table entry.
    let flags = GNTMAP_HOST_MAP | GNTMAP_CONTAINS_PTE;
    let live = mapped(&mut checked, with_flags(8, 0x1238, flags));
    assert_eq!(live.status, OKAY);
    assert_eq!(
        replaced(&mut checked, live.handle, 0x1238, ADDRESS),
        GENERAL_ERROR
    );
    assert_eq!(ended(&mut checked, live.handle, 0x1238, 0), OKAY);
    checked.assert_nothing_held();
}

/// Host and device map of one operation end together or one by one.
#[test]
fn pv_host_and_device_map() {
    let flags = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP;
    for order in [[true, false], [false, true]] {
        let mut checked = pv_scene();
        let live = mapped(&mut checked, with_flags(8, ADDRESS, flags));
        assert_eq!(live.status, OKAY);
        // One for the CPUs, a typed one for the device map, and the IOMMU's two.
        assert_eq!(checked.references_of(FRONTEND, 8), (4, 2));
        let wrong = live.dev_bus_addr + 4096;
        assert_eq!(
            ended(&mut checked, live.handle, ADDRESS, wrong),
            BAD_DEV_ADDR
        );
        assert_eq!(ended(&mut checked, live.handle, 0, 0), OKAY);
        assert_eq!(checked.references_of(FRONTEND, 8), (4, 2));
        for host in order {
            let (host, device) = if host {
                (ADDRESS, 0)
            } else {
                (0, live.dev_bus_addr)
            };
            assert_eq!(ended(&mut checked, live.handle, host, device), OKAY);
        }
        assert_eq!(
            ended(&mut checked, live.handle, ADDRESS, live.dev_bus_addr),
            BAD_HANDLE
        );
        checked.assert_nothing_held();
    }
    let mut checked = pv_scene();
    let live = mapped(&mut checked, with_flags(8, ADDRESS, flags));
    let bus = live.dev_bus_addr;
    assert_eq!(ended(&mut checked, live.handle, ADDRESS, bus), OKAY);
    checked.assert_nothing_held();
}

/// A PV granter's pages have types, for CPU mappings too.
#[test]
fn pv_granter_pages_have_types() {
    let mut checked = pv_scene();
    checked.add_domain(DomainSetup::pv(7));
    checked.write_entry(7, 8, GTF_PERMIT_ACCESS, BACKEND, 8);
    let op = |flags| MapGrantRef {
        dom: 7,
        ..with_flags(8, ADDRESS, flags)
    };
    let both = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP;
    let live = mapped(&mut checked, op(both));
    // A typed one for each use, and the IOMMU's two.
    assert_eq!(checked.references_of(7, 8), (4, 3));
    let bus = live.dev_bus_addr;
    assert_eq!(ended(&mut checked, live.handle, 0, bus), OKAY);
    assert_eq!(checked.references_of(7, 8), (3, 2));
    assert_eq!(ended(&mut checked, live.handle, ADDRESS, 0), OKAY);
    // A page table cannot be mapped for writing.
    let mfn = checked.machine.mfn_of(7, 8).expect("memory");
    if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
        frame.kind = Kind::PageTable;
    }
    for flags in [GNTMAP_HOST_MAP, GNTMAP_DEVICE_MAP, both] {
        assert_eq!(mapped(&mut checked, op(flags)).status, GENERAL_ERROR);
        let live = mapped(&mut checked, op(flags | GNTMAP_READONLY));
        assert_eq!(live.status, OKAY);
        let bus = live.dev_bus_addr;
        assert_eq!(ended(&mut checked, live.handle, ADDRESS, bus), OKAY);
    }
    checked.assert_nothing_held();
}

/// Device memory that the granter has access to can be mapped by PV domains only.
#[test]
fn device_memory() {
    let mut checked = scene();
    checked.add_domain(DomainSetup::pv(7));
    {
        let mut state = checked.machine.state();
        state.frames.allocate_at(0xfee0_0000, FRONTEND, Kind::Io);
        let io = Backing::Io(0xfee0_0000);
        state.p2m.insert((FRONTEND, 300), io);
    }
    let cached = 1 << 6;
    for (holder, status) in [(BACKEND, BAD_PAGE), (7, OKAY)] {
        checked.write_entry(FRONTEND, 80, GTF_PERMIT_ACCESS | cached, holder, 300);
        let mut ops = [cpu_map(FRONTEND, 80, ADDRESS, true)];
        checked.cpu_map(holder, &mut ops);
        assert_eq!(ops[0].status, status);
    }
    assert_eq!(checked.machine.state().cache_flags, cached);
    checked.kill(7);
    checked.assert_nothing_held();
}

#[test]
fn identity_mappings_that_fail() {
    let mut checked = pv_scene();
    checked.switch(|switches| switches.identity_map_fails = Trigger::Nth(1));
    let flags = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP;
    assert_eq!(
        mapped(&mut checked, with_flags(8, ADDRESS, flags)).status,
        GENERAL_ERROR
    );
    checked.assert_nothing_held();
    // A second mapping of a frame that devices reach changes nothing there; one for
    // writing does.
    let one = checked.cpu_mapped(8, ADDRESS, false);
    checked.cpu_mapped(8, ADDRESS + 4096, false);
    checked.switch(|switches| switches.identity_map_fails = Trigger::Nth(1));
    assert_eq!(
        checked.cpu_mapped(8, ADDRESS + 8192, true).status,
        GENERAL_ERROR
    );
    let three = checked.cpu_mapped(8, ADDRESS + 8192, true);
    assert_eq!(ended(&mut checked, three.handle, ADDRESS + 8192, 0), OKAY);
    assert_eq!(ended(&mut checked, one.handle, ADDRESS, 0), OKAY);
}

/// If the IOMMU does not let go of a page, the page stays with its granter for
/// ever, and the guest is told.
#[test]
fn identity_unmap_that_fails_keeps_the_page() {
    let mut checked = pv_scene();
    let live = checked.cpu_mapped(8, ADDRESS, true);
    checked.switch(|switches| switches.identity_unmap_fails = Trigger::Always);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [cpu_unmap(live.handle, ADDRESS)];
    vcpu.call_with(Number::GrantTable, 1, &mut ops);
    assert_eq!(ops[0].status, GENERAL_ERROR);
    // That of the mapping, and the IOMMU's two.
    assert_eq!(checked.references_of(FRONTEND, 8), (3, 1));
    assert_eq!(checked.entry_flags(8) & IN_USE, 0);
    assert_eq!(checked.machine.kill(BACKEND).0, Death::Gone);
    assert_eq!(checked.machine.kill(FRONTEND).0, Death::Zombie);
}

/// A dying PV holder: page tables that it leaves have the references of its CPU
/// mappings, device mappings give theirs back.
#[test]
fn dying_pv_holder() {
    let mut checked = pv_scene();
    checked.add_domain(DomainSetup::pv(7));
    checked.write_entry(7, 8, GTF_PERMIT_ACCESS, BACKEND, 8);
    for (nth, flags) in [
        GNTMAP_HOST_MAP,
        GNTMAP_DEVICE_MAP,
        GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP,
        GNTMAP_HOST_MAP | GNTMAP_READONLY,
    ]
    .into_iter()
    .enumerate()
    {
        for dom in [FRONTEND, 7] {
            let at = ADDRESS + (nth as u64 * 2 + u64::from(dom == 7)) * 4096;
            let op = MapGrantRef {
                dom,
                ..with_flags(8, at, flags)
            };
            assert_eq!(mapped(&mut checked, op).status, OKAY);
        }
    }
    checked.switch(|switches| switches.preempt = Preempt::Always);
    assert_eq!(checked.kill(BACKEND).0, Death::Gone);
    checked.assert_nothing_held();
    assert_eq!(checked.entry_flags(8), GTF_PERMIT_ACCESS);
}

/// Results that the guest cannot be told are taken back.
#[test]
fn fault_at_copy_out_takes_mappings_back() {
    for (setup, count) in [
        (DomainSetup::pvh(BACKEND), 1),
        (DomainSetup::pvh(BACKEND), 4),
        (DomainSetup::pv(BACKEND), 1),
        (DomainSetup::pv(BACKEND), 4),
    ] {
        let checked = scene_with(setup);
        let vcpu = checked.machine.vcpu_of(BACKEND);
        let ops: Vec<_> = (0..count)
            .map(|nth| cpu_map(FRONTEND, 8 + nth, ADDRESS + u64::from(nth) * 4096, false))
            .collect();
        let at = vcpu.store_elements(&ops);
        vcpu.with_guest_memory(|memory| memory.set_writable(at, false));
        let end = vcpu.call(Number::GrantTable, GNTTABOP_MAP_GRANT_REF, at, count);
        assert_eq!(end.value, -14);
        checked.assert_nothing_held();
    }
}
