// SPDX-License-Identifier: GPL-2.0-only
//! Several vcpus at once, on real threads. The oracle cannot follow; what is
//! checked is what the model checks by itself (lock order, references that an
//! IOTLB still needs) and that nothing is left in the end.

use std::thread;

use hypercall_abi::{
    command::{XEN_GDMA_OP_MAP, XEN_GDMA_OP_UNMAP},
    grant::{GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING},
    mapping::Map,
};
use testbed::{
    elements::{READ, READ_WRITE, map_grant, map_own, unmap_handle},
    model::{Machine, Preempt, hypercall::Number},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const ROUNDS: u64 = 60;

/// A call with arguments of this vcpu's own.
fn call<T: IntoBytes + FromBytes + Immutable>(vcpu: &Machine, at: u64, cmd: u32, ops: &mut [T]) {
    vcpu.with_guest_memory(|memory| memory.store(at, ops.as_bytes()));
    let end = vcpu.call(Number::GrantDma, cmd, at, ops.len() as u32);
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
