// SPDX-License-Identifier: GPL-2.0-only
//! Several vcpus at once, on real threads. The oracle cannot follow; what is
//! checked is what the model checks by itself (lock order, references that an
//! IOTLB still needs) and that nothing is left in the end.

use std::thread;

use hypercall_abi::{
    command::{XEN_GDMA_OP_MAP, XEN_GDMA_OP_UNMAP},
    grant::{
        GNTMAP_DEVICE_MAP, GNTMAP_READONLY, GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_GRANT_REF,
        GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING, MapGrantRef,
    },
    mapping::{Map, Unmap, XEN_GDMA_NO_FLUSH},
};
use testbed::{
    elements::{READ, READ_WRITE, cpu_map, cpu_unmap, map_grant, map_own, unmap_handle},
    model::{DomainSetup, Machine, Preempt, hypercall::Number},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const ROUNDS: u64 = 60;

/// A call with arguments of this vcpu's own.
fn call<T: IntoBytes + FromBytes + Immutable>(vcpu: &Machine, at: u64, cmd: u32, ops: &mut [T]) {
    call_of(Number::GrantDma, vcpu, at, cmd, ops);
}

fn call_of<T: IntoBytes + FromBytes + Immutable>(
    number: Number,
    vcpu: &Machine,
    at: u64,
    cmd: u32,
    ops: &mut [T],
) {
    vcpu.with_guest_memory(|memory| memory.store(at, ops.as_bytes()));
    let end = vcpu.call(number, cmd, at, ops.len() as u32);
    assert_eq!(end.value, 0);
    vcpu.with_guest_memory(|memory| {
        memory.read(at, ops.as_mut_bytes());
    });
}

/// Maps and unmaps the same references and frames as every other vcpu.
fn busy_vcpu(vcpu: &Machine, at: u64) {
    for round in 0..ROUNDS {
        let mut ops: [Map; 4] = [
            map_grant(FRONTEND, 8, 4, READ),
            map_grant(FRONTEND, 8, 1, READ_WRITE),
            map_own(round % 16, 9, READ_WRITE),
            map_own(round % 16, 70, READ),
        ];
        call(vcpu, at, XEN_GDMA_OP_MAP, &mut ops);
        let mut ends: Vec<_> = ops
            .iter()
            .filter(|op| op.status == 0)
            .map(|op| unmap_handle(op.handle))
            .collect();
        if !ends.is_empty() {
            call(vcpu, at, XEN_GDMA_OP_UNMAP, &mut ends);
        }
        assert!(ends.iter().all(|op| op.status == 0));
    }
}

#[test]
fn vcpus_of_two_domains_share_grants_in_parallel() {
    let checked = scene();
    checked.switch(|switches| switches.preempt = Preempt::Random(7));
    let machine = &checked.machine;
    thread::scope(|threads| {
        for (nth, domain) in [BACKEND, BACKEND, BACKEND, BYSTANDER]
            .into_iter()
            .enumerate()
        {
            let vcpu = machine.vcpu_of(domain);
            threads.spawn(move || busy_vcpu(&vcpu, 0x7000_0000 + nth as u64 * 0x1_0000));
        }
    });
    checked.machine.state().events.clear();
    checked.assert_nothing_held();
    for gref in 8..12 {
        assert_eq!(checked.entry_flags(gref) & (GTF_READING | GTF_WRITING), 0);
    }
}

/// A granter that rewrites its entry all the time gets no reference wrong.
#[test]
fn granter_rewrites_entries_in_parallel() {
    let checked = scene();
    let machine = &checked.machine;
    thread::scope(|threads| {
        let vcpu = machine.vcpu_of(BACKEND);
        threads.spawn(move || busy_vcpu(&vcpu, 0x7000_0000));
        threads.spawn(move || {
            for round in 0..2000 {
                let holder = if round % 3 == 0 { BYSTANDER } else { BACKEND };
                machine.write_entry(FRONTEND, 8, GTF_PERMIT_ACCESS, holder, 8 + round % 20);
            }
        });
    });
    for (mfn, frame) in machine.state().frames.iter() {
        assert_eq!((frame.refs, frame.writable), (0, 0), "frame {mfn:#x}");
    }
}

/// Maps and unmaps single frames that other vcpus map as well, flushing now and then.
fn busy_at_machine_addresses(vcpu: &Machine, at: u64) {
    for round in 0..ROUNDS {
        let mut ops: [Map; 3] = [
            map_grant(FRONTEND, 8, 1, READ_WRITE),
            map_grant(FRONTEND, 8 + round % 4, 1, READ),
            map_own(round % 16, 1, READ),
        ];
        call(vcpu, at, XEN_GDMA_OP_MAP, &mut ops);
        assert!(ops.iter().all(|op| op.status == 0));
        let flags = if round % 3 == 0 { 0 } else { XEN_GDMA_NO_FLUSH };
        let mut ends = ops.map(|op| Unmap {
            flags,
            ..unmap_handle(op.handle)
        });
        call(vcpu, at, XEN_GDMA_OP_UNMAP, &mut ends);
        assert!(ends.iter().all(|op| op.status == 0));
    }
}

/// The same frames by device mappings of the grant table.
fn busy_with_device_mappings(vcpu: &Machine, at: u64) {
    for round in 0..ROUNDS {
        let readonly = if round % 2 == 0 { 0 } else { GNTMAP_READONLY };
        let mut ops = [MapGrantRef {
            flags: GNTMAP_DEVICE_MAP | readonly,
            ..cpu_map(FRONTEND, 8, 0, readonly == 0)
        }];
        let number = Number::GrantTable;
        call_of(number, vcpu, at, GNTTABOP_MAP_GRANT_REF, &mut ops);
        assert_eq!(ops[0].status, 0);
        let mut ends = [cpu_unmap(ops[0].handle, 0)];
        ends[0].dev_bus_addr = ops[0].dev_bus_addr;
        call_of(number, vcpu, at, GNTTABOP_UNMAP_GRANT_REF, &mut ends);
        assert_eq!(ends[0].status, 0);
    }
}

/// One entry of the IOMMU for DMA mappings and the grant table's device mappings.
#[test]
fn machine_addresses_are_shared_in_parallel() {
    let checked = scene_with(DomainSetup::pv(BACKEND));
    let machine = &checked.machine;
    thread::scope(|threads| {
        for nth in 0..2 {
            let vcpu = machine.vcpu_of(BACKEND);
            threads.spawn(move || busy_at_machine_addresses(&vcpu, 0x7000_0000 + nth * 0x1_0000));
        }
        let vcpu = machine.vcpu_of(BACKEND);
        threads.spawn(move || busy_with_device_mappings(&vcpu, 0x7008_0000));
    });
    let vcpu = machine.vcpu_of(BACKEND);
    // What still waits for a flush.
    let mut last = [map_own(3, 1, READ)];
    call(&vcpu, 0x7000_0000, XEN_GDMA_OP_MAP, &mut last);
    let mut end = [unmap_handle(last[0].handle)];
    call(&vcpu, 0x7000_0000, XEN_GDMA_OP_UNMAP, &mut end);
    checked.machine.state().events.clear();
    checked.assert_nothing_held();
}
