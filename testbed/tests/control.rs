// SPDX-License-Identifier: GPL-2.0-only
//! Revocation by the granter, limits, counters, faults.

use hypercall_abi::{
    context::{ContextCreate, DeviceAttach},
    control::{Revoke, SetLimits, XEN_GDMA_LIMIT_KEEP},
    fault::{Fault, XEN_GDMA_FAULT_NOTIFY, XEN_GDMA_FAULT_WRITE},
    grant::{GTF_READING, GTF_WRITING},
    mapping::{Map, Unmap, XEN_GDMA_NO_FLUSH},
};
use testbed::{
    elements::{READ, READ_WRITE, map_grant, map_own, unmap_handle},
    model::{Preempt, Trigger, hypercall::Number, iommu::DmaFault},
    oracle::Checked,
    scene::{BACKEND, BYSTANDER, FRONTEND, scene},
};

const KEEP: u32 = XEN_GDMA_LIMIT_KEEP;

fn revoke(checked: &mut Checked, gref: u32) -> i32 {
    let mut ops = [Revoke { gref, status: 0 }];
    assert_eq!(checked.revoke(FRONTEND, &mut ops).value, 0);
    ops[0].status
}

#[test]
fn revocation_ends_what_devices_reach() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    let run = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    let other = checked.mapped(map_grant(FRONTEND, 12, 1, READ));
    assert_eq!(revoke(&mut checked, 8), 0);
    assert!(checked.machine.device_read(BACKEND, live.daddr).is_err());
    // The run goes as a whole, other references stay.
    assert!(
        checked
            .machine
            .device_read(BACKEND, run.daddr + 4096)
            .is_err()
    );
    assert!(checked.machine.device_read(BACKEND, other.daddr).is_ok());
    assert_eq!(checked.unmap_one(unmap_handle(live.handle)), -2);
    assert_eq!(checked.unmap_one(unmap_handle(run.handle)), -2);
    assert_eq!(checked.entry_flags(8) & (GTF_READING | GTF_WRITING), 0);
    assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
    assert_eq!(revoke(&mut checked, 8), 0);
    assert_eq!(checked.stats(BACKEND, BACKEND).revoked, 2);
}

#[test]
fn revocation_reaches_every_context() {
    let mut checked = scene();
    let mut ops = [ContextCreate::default(); 3];
    assert_eq!(checked.context_create(BACKEND, &mut ops).value, 0);
    for op in ops {
        checked.mapped(Map {
            context: op.context,
            ..map_grant(FRONTEND, 8, 1, READ)
        });
    }
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    assert_eq!(revoke(&mut checked, 8), 0);
    checked.assert_nothing_held();
}

#[test]
fn revocation_comes_to_an_end_among_many_contexts() {
    let mut checked = scene();
    let mut limits = [SetLimits {
        domid: BACKEND,
        max_pins: KEEP,
        max_contexts: 2000,
        ..SetLimits::default()
    }];
    assert_eq!(checked.set_limits(BYSTANDER, &mut limits).value, 0);
    assert_eq!(limits[0].status, 0);
    // More than frames that end in one step.
    let mut ops = [ContextCreate::default(); 1100];
    assert_eq!(checked.context_create(BACKEND, &mut ops).value, 0);
    assert!(ops.iter().all(|op| op.status == 0));
    checked.mapped(Map {
        context: ops[1099].context,
        ..map_grant(FRONTEND, 8, 1, READ)
    });
    assert_eq!(revoke(&mut checked, 8), 0);
    checked.assert_nothing_held();
}

#[test]
fn revocation_flushes_what_the_holder_has_not() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.unmap_one(Unmap {
        flags: XEN_GDMA_NO_FLUSH,
        ..unmap_handle(live.handle)
    });
    assert!(checked.machine.device_read(BACKEND, live.daddr).is_ok());
    assert_eq!(revoke(&mut checked, 8), 0);
    assert!(checked.machine.device_read(BACKEND, live.daddr).is_err());
    checked.assert_nothing_held();
}

#[test]
fn revocation_leaves_cpu_mappings_and_own_frames() {
    let mut checked = scene();
    let cpu = checked.cpu_mapped(8, 1 << 40, false);
    assert_eq!(cpu.status, 0);
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.mapped(map_own(8, 1, READ));
    assert_eq!(revoke(&mut checked, 8), 0);
    assert_eq!(checked.entry_flags(8) & GTF_READING, GTF_READING);
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
    assert_eq!(checked.references_of(BACKEND, 8), (1, 0));
}

#[test]
fn revocation_errors() {
    let mut checked = scene();
    let entries = checked.machine.table_entries(FRONTEND);
    assert_eq!(revoke(&mut checked, entries), -34);
    assert_eq!(revoke(&mut checked, u32::MAX), -34);
    let live = checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.switch(|switches| switches.unmap_fails = Trigger::Nth(1));
    assert_eq!(revoke(&mut checked, 8), -5);
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    assert_eq!(revoke(&mut checked, 8), -5);
    // The mapping is gone, the frame is not free yet.
    assert_eq!(checked.unmap_one(unmap_handle(live.handle)), -2);
    assert_eq!(revoke(&mut checked, 8), 0);
    checked.assert_nothing_held();
}

#[test]
fn limits_hold_from_now_on() {
    let mut checked = scene();
    let set = |checked: &mut Checked, caller, domid, max_pins, max_contexts| {
        let mut ops = [SetLimits {
            domid,
            max_pins,
            max_contexts,
            ..SetLimits::default()
        }];
        assert_eq!(checked.set_limits(caller, &mut ops).value, 0);
        (ops[0].status, ops[0].max_pins, ops[0].max_contexts)
    };
    checked.mapped(map_own(3, 5, READ));
    assert_eq!(set(&mut checked, BYSTANDER, BACKEND, 6, KEEP), (0, 1024, 4));
    checked.mapped(map_own(20, 1, READ));
    checked.map_refused(map_own(21, 1, READ), -105);
    // Below what is used: nothing is taken away.
    assert_eq!(set(&mut checked, BYSTANDER, BACKEND, 2, 0), (0, 6, 4));
    assert_eq!(checked.query(BACKEND).used_pins, 6);
    let mut ops = [ContextCreate::default()];
    checked.context_create(BACKEND, &mut ops);
    assert_eq!(ops[0].status, -105);
    assert_eq!(
        set(&mut checked, BYSTANDER, BACKEND, KEEP, 65535),
        (0, 2, 0)
    );
    assert_eq!(set(&mut checked, BYSTANDER, BACKEND, KEEP, 65536).0, -22);
    assert_eq!(set(&mut checked, BYSTANDER, 99, KEEP, KEEP).0, -3);
    let pair = (FRONTEND, BACKEND);
    checked.machine.state().access.limits.insert(pair);
    assert_eq!(set(&mut checked, FRONTEND, BACKEND, 1, 1).0, -1);
    assert_eq!(
        set(&mut checked, BYSTANDER, BACKEND, KEEP, KEEP),
        (0, 2, 65535)
    );
}

#[test]
fn counters_count() {
    let mut checked = scene();
    let before = checked.stats(BACKEND, BACKEND);
    let one = checked.mapped(map_own(3, 5, READ));
    let two = checked.mapped(map_grant(FRONTEND, 8, 2, READ));
    checked.unmapped(one.handle);
    let after = checked.stats(BYSTANDER, BACKEND);
    assert_eq!(after.maps - before.maps, 2);
    assert_eq!(after.mapped_frames - before.mapped_frames, 7);
    assert_eq!(after.unmaps - before.unmaps, 1);
    assert_eq!(after.unmapped_frames - before.unmapped_frames, 5);
    assert_eq!(after.flushes - before.flushes, 1);
    assert_eq!(after.failed_flushes, before.failed_flushes);
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    checked.unmap(BACKEND, &mut [unmap_handle(two.handle)]);
    let failed = checked.stats(BACKEND, BACKEND);
    assert_eq!(failed.failed_flushes - after.failed_flushes, 1);
    assert_eq!(failed.used_pins, 2);
}

/// One `faults` element of the backend.
fn faults(checked: &Checked, op: Fault) -> Fault {
    let mut ops = [op];
    let vcpu = checked.machine.vcpu_of(BACKEND);
    assert_eq!(vcpu.call_with(Number::GrantDma, 14, &mut ops).value, 0);
    ops[0]
}

fn notify(checked: &Checked, port: u32) {
    let op = Fault {
        op: XEN_GDMA_FAULT_NOTIFY,
        port,
        ..Fault::default()
    };
    assert_eq!(faults(checked, op).status, 0);
}

#[test]
fn faults_name_device_context_address_and_direction() {
    const NIC: u32 = 8;
    let mut checked = scene();
    checked.machine.plug(NIC, BACKEND, true);
    // Nobody has asked: counted, and lost.
    let fault = checked.machine.pci_read(NIC, 0x5000).expect_err("a fault");
    checked.machine.report_fault(NIC, fault);
    assert_eq!(faults(&checked, Fault::default()).status, -2);
    notify(&checked, 7);
    let mut ops = [ContextCreate::default()];
    checked.context_create(BACKEND, &mut ops);
    let context = ops[0].context;
    let mut attach = [DeviceAttach {
        id: NIC.into(),
        context,
        ..DeviceAttach::default()
    }];
    checked.device_attach(BACKEND, &mut attach);
    let fault = checked
        .machine
        .pci_write(NIC, 0x6000, 1)
        .expect_err("a fault");
    checked.machine.report_fault(NIC, fault);
    checked.machine.report_fault(NIC, fault);
    // One event for both.
    assert_eq!(checked.machine.state().notified, [(BACKEND, 7)]);
    for _ in 0..2 {
        let told = faults(&checked, Fault::default());
        assert_eq!((told.status, told.id, told.context), (0, 8, context));
        assert_eq!((told.daddr, told.flags), (0x6000, XEN_GDMA_FAULT_WRITE));
        assert_eq!(told.lost, 1);
    }
    assert_eq!(faults(&checked, Fault::default()).status, -2);
    assert_eq!(checked.stats(BACKEND, BACKEND).faults, 3);
    checked.machine.report_fault(NIC, fault);
    assert_eq!(checked.machine.state().notified.len(), 2);
}

#[test]
fn faults_are_bounded() {
    let checked = scene();
    checked.machine.plug(8, BACKEND, true);
    notify(&checked, 3);
    for number in 0..100 {
        let fault = DmaFault {
            dfn: number,
            write: false,
        };
        checked.machine.report_fault(8, fault);
    }
    assert_eq!(checked.machine.state().notified.len(), 1);
    for number in 0..64 {
        let told = faults(&checked, Fault::default());
        assert_eq!((told.status, told.daddr), (0, number * 4096));
        assert_eq!((told.lost, told.flags), (36, 0));
    }
    assert_eq!(faults(&checked, Fault::default()).status, -2);
    // Faults that wait when somebody begins to listen are told at once.
    checked.machine.report_fault(
        8,
        DmaFault {
            dfn: 1,
            write: true,
        },
    );
    notify(&checked, 4);
    assert_eq!(checked.machine.state().notified.last(), Some(&(BACKEND, 4)));
    notify(&checked, 0);
}

#[test]
fn faults_errors() {
    let checked = scene();
    for bad in [
        Fault {
            op: 2,
            ..Fault::default()
        },
        Fault {
            port: 1,
            ..Fault::default()
        },
    ] {
        assert_eq!(faults(&checked, bad).status, -22);
    }
}

/// The granter changes the entry and revokes while the holder's vcpu is mapping a run of
/// references: whichever comes first, no device reaches the frame afterwards.
#[test]
fn revocation_finds_a_mapping_that_is_being_made() {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };
    let checked = scene();
    let begun = AtomicBool::new(false);
    let revoker = Arc::new(Mutex::new(None));
    let started = Arc::clone(&revoker);
    checked.machine.set_hook(move |machine, moment| {
        // References 8 and 9 are pinned by now.
        if let testbed::model::Moment::EntryAccess { offset, .. } = moment
            && offset / 8 == 10
            && !begun.swap(true, Ordering::SeqCst)
        {
            let granter = machine.vcpu_of(FRONTEND);
            let thread = std::thread::spawn(move || {
                granter.write_entry(FRONTEND, 8, 0, 0, 0);
                let mut ops = [Revoke { gref: 8, status: 1 }];
                let end = granter.call_with(Number::GrantDma, 12, &mut ops);
                (end.value, ops[0].status)
            });
            *started.lock().expect("thread") = Some(thread);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [map_grant(FRONTEND, 8, 64, READ)];
    vcpu.call_with(Number::GrantDma, 5, &mut ops);
    let thread = revoker.lock().expect("thread").take().expect("begun");
    assert_eq!(thread.join().expect("revoked"), (0, 0));
    checked.machine.clear_hook();
    let state = checked.machine.state();
    // Without tables nothing was mapped: the revocation came first.
    let reaches = state
        .tables_of(BACKEND, 0)
        .is_some_and(|tables| !tables.table().is_empty());
    assert!(!reaches, "devices reach what was revoked");
    drop(state);
    assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
    assert!(ops[0].status == -13 || ops[0].status == 0);
}

/// XSA-480 again.
#[test]
fn xsa_480_a_revocation_that_fails_flushes_what_it_unmapped() {
    let mut checked = scene();
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.machine.state().events.clear();
    checked.switch(|switches| switches.unmap_fails = Trigger::Nth(2));
    let vcpu = checked.machine.vcpu_of(FRONTEND);
    let mut ops = [Revoke { gref: 8, status: 0 }];
    vcpu.call_with(Number::GrantDma, 12, &mut ops);
    assert_eq!(ops[0].status, -5);
    checked.assert_flushed_after_unmap();
}

/// Invariant 7: one reference may be part of many mappings.
#[test]
fn invariant_7_revocation_in_bounded_steps() {
    let mut checked = scene();
    checked.switch(|switches| switches.preempt = Preempt::Never);
    let set = SetLimits {
        domid: BACKEND,
        max_pins: 5000,
        max_contexts: KEEP,
        ..SetLimits::default()
    };
    checked.set_limits(BYSTANDER, &mut [set]);
    // 32 mappings of 64 frames, in two contexts, as each has room for 2048.
    let mut ops = [ContextCreate::default()];
    checked.context_create(BACKEND, &mut ops);
    for nth in 0..32 {
        checked.mapped(Map {
            context: if nth % 2 == 0 { 0 } else { ops[0].context },
            ..map_grant(FRONTEND, 8, 64, READ)
        });
    }
    let mut ops = [Revoke { gref: 8, status: 1 }];
    let end = checked.revoke(FRONTEND, &mut ops);
    assert_eq!((end.value, ops[0].status), (0, 0));
    assert!(end.steps > 1, "{} frames in one step", 32 * 64);
    checked.assert_nothing_held();
}
