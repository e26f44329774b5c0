// SPDX-License-Identifier: GPL-2.0-only
//! Defects that public PV-IOMMU prototypes have, one test each: what went wrong there
//! must not go wrong here. Each fails if the defect is put into the service.
//!
//! | defect | also |
//! |---|---|
//! | page put before the IOTLB flush | `invariants.rs`, XSA-480 |
//! | put without a reference taken | the model panics at once |
//! | writable mapping of a PV page without a writable type | `grant_uses.rs`; guest `gdma-contexts` |
//! | device memory mapped without and unmapped with a reference | |
//! | preemption test inverted | |
//! | only the first frame of a run looked at | `map_errors.rs` |
//! | flush failure only logged | `unmap.rs` |
//! | outputs added to what the guest had there | guest library, `LEFT_OVER` |
//! | hardware domain may use anyone's page | guest `gdma-unprivileged` |
//! | a hypercall and a flush for each page | guest `gdma-flush-counts` |

use hypercall_abi::{
    context::ContextCreate,
    control::Stats,
    lookup::Lookup,
    mapping::{Map, Unmap},
    query::Query,
};
use testbed::{
    elements::{READ, READ_WRITE, lookup_daddr, map_grant, map_own, unmap_handle},
    model::{
        DomainSetup, Event, Moment, Preempt, domain::Backing, frames::Kind, hypercall::Number,
    },
    oracle::Checked,
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

fn context_of(checked: &mut Checked) -> u32 {
    let mut ops = [ContextCreate::default()];
    checked.context_create(BACKEND, &mut ops);
    assert_eq!(ops[0].status, 0);
    ops[0].context
}

/// One call of hypercall 47 with one element, which must go well.
fn ask<T: FromBytes + IntoBytes + Immutable + Copy>(checked: &Checked, cmd: u32, op: T) -> T {
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [op];
    let end = vcpu.call_with(Number::GrantDma, cmd, &mut ops);
    assert_eq!(end.value, 0);
    ops[0]
}

fn flushes(checked: &Checked) -> usize {
    let state = checked.machine.state();
    let flushed = |event: &&Event| matches!(event, Event::Flush { .. });
    state.events.iter().filter(flushed).count()
}

#[test]
fn page_put_before_the_flush() {
    let mut checked = scene();
    let own = checked.mapped(map_own(3, 1, READ_WRITE));
    let mfn = checked.machine.mfn_of(BACKEND, 3).expect("memory");
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::Flush = moment {
            let state = machine.state();
            let frame = state.frames.get(mfn).expect("a frame in use");
            assert_eq!((frame.refs, frame.writable), (1, 1), "during the flush");
        }
    });
    // What the guest does with the frame meanwhile does not matter.
    let mut state = checked.machine.state();
    state.p2m.remove(&(BACKEND, 3));
    state.frames.deallocate(mfn);
    drop(state);
    checked.unmapped(own.handle);
    assert!(checked.machine.state().frames.get(mfn).is_none());
}

#[test]
fn put_without_a_reference_taken() {
    let mut checked = scene();
    for op in [map_own(3, 2, READ_WRITE), map_grant(FRONTEND, 8, 2, READ)] {
        let (domain, gfn) = if op.kind == 0 {
            (BACKEND, 3)
        } else {
            (FRONTEND, 8)
        };
        let writable = u32::from(op.flags == READ_WRITE);
        let first = checked.mapped(op);
        let second = checked.mapped(op);
        assert_eq!(checked.references_of(domain, gfn), (2, 2 * writable));
        checked.unmapped(first.handle);
        // The old handle ends nothing a second time.
        assert_eq!(checked.unmap_one(unmap_handle(first.handle)), -2);
        assert_eq!(checked.references_of(domain, gfn), (1, writable));
        checked.unmapped(second.handle);
        assert_eq!(checked.references_of(domain, gfn), (0, 0));
    }
    // A run that fails in its middle gives back what it took, no more.
    checked.map_refused(map_own(158, 4, READ), -14);
    checked.assert_nothing_held();
}

#[test]
fn writable_mapping_of_a_pv_page_without_type() {
    let mut checked = scene_with(DomainSetup::pv(BACKEND));
    let context = context_of(&mut checked);
    let own = |flags| Map {
        context,
        ..map_own(3, 1, flags)
    };
    let writable = checked.mapped(own(READ_WRITE));
    assert_eq!(checked.references_of(BACKEND, 3), (1, 1));
    let readable = checked.mapped(own(READ));
    assert_eq!(checked.references_of(BACKEND, 3), (2, 1));
    for op in [writable, readable] {
        let unmap = Unmap {
            context,
            ..unmap_handle(op.handle)
        };
        assert_eq!(checked.unmap_one(unmap), 0);
    }
    let mfn = checked.machine.mfn_of(BACKEND, 3).expect("memory");
    if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
        frame.kind = Kind::PageTable;
    }
    checked.map_refused(own(READ_WRITE), -14);
    checked.mapped(own(READ));
}

#[test]
fn device_memory_mapped_without_and_unmapped_with_a_reference() {
    let mut checked = scene();
    let io = checked.machine.state().frames.allocate(BACKEND, Kind::Io);
    for what in [Backing::Mmio, Backing::Io(io)] {
        checked.machine.state().p2m.insert((BACKEND, 3), what);
        checked.map_refused(map_own(3, 1, READ), -14);
        // Also in the middle of a run, where memory is before and behind it.
        checked.map_refused(map_own(2, 3, READ), -14);
        assert_eq!(checked.references_of(BACKEND, 2), (0, 0));
    }
    checked.assert_nothing_held();
}

#[test]
fn preemption_test_inverted() {
    for (preempt, fewest, most) in [
        // Nobody asks for the CPU: the call is not given up.
        (Preempt::Never, 1, 1),
        // Somebody always does: 64 frames at a time.
        (Preempt::Always, 1024 / 64, 1024 / 64 + 1),
    ] {
        let mut checked = scene();
        checked.switch(|switches| switches.preempt = preempt);
        let mut ops: Vec<_> = (0..1024).map(|nth| map_own(nth % 150, 1, READ)).collect();
        let end = checked.map(BACKEND, &mut ops);
        assert_eq!(end.value, 0);
        assert!((fewest..=most).contains(&end.steps), "{preempt:?}: {end:?}");
        let mut ops: Vec<_> = ops.iter().map(|op| unmap_handle(op.handle)).collect();
        let end = checked.unmap(BACKEND, &mut ops);
        assert!((fewest..=most).contains(&end.steps), "{preempt:?}: {end:?}");
    }
}

#[test]
fn outputs_added_to_what_the_guest_had_there() {
    let mut checked = scene();
    let map = checked.mapped(map_own(3, 2, READ));
    let full = |op: Lookup| Lookup {
        daddr: 0x1111,
        source: 0x1111,
        handle: 0x1111,
        nr_frames: 0x1111,
        flags: 0x1111,
        ..op
    };
    let clean = ask(&checked, 11, lookup_daddr(map.daddr));
    let dirty = ask(&checked, 11, full(lookup_daddr(map.daddr)));
    assert_eq!((clean.status, clean), (0, dirty));
    let stats = Stats {
        domid: BACKEND,
        ..Stats::default()
    };
    let clean = ask(&checked, 15, stats);
    let dirty = ask(
        &checked,
        15,
        Stats {
            maps: 77,
            mapped_frames: 77,
            flushes: 77,
            ..stats
        },
    );
    assert_eq!((clean.status, clean), (0, dirty));
    let query = Query {
        domid: BACKEND,
        ..Query::default()
    };
    let clean = ask(&checked, 0, query);
    let dirty = ask(
        &checked,
        0,
        Query {
            used_pins: 77,
            mappings: 77,
            flushes: 77,
            ..query
        },
    );
    assert_eq!((clean.status, clean), (0, dirty));
    // What a map answers is set too.
    let mut ops = [Map {
        handle: 0x1111,
        ..map_own(7, 1, READ)
    }];
    checked.map(BACKEND, &mut ops);
    assert_eq!(checked.unmap_one(unmap_handle(ops[0].handle)), 0);
}

#[test]
fn hardware_domain_may_use_anyones_page() {
    const HARDWARE_DOMAIN: u16 = 0;
    let mut checked = scene();
    checked.add_domain(DomainSetup::pvh(HARDWARE_DOMAIN));
    let foreign = checked.machine.mfn_of(FRONTEND, 8).expect("memory");
    let mut refused = |op: Map, error: i32| {
        let mut ops = [op];
        assert_eq!(checked.map(HARDWARE_DOMAIN, &mut ops).value, 0);
        assert_eq!(ops[0].status, error, "{op:?}");
        assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
    };
    // By its number: that is a guest frame of the caller's, or nothing.
    refused(map_own(foreign, 1, READ), -14);
    // Mapped into the caller's memory: not the caller's to give to devices.
    checked
        .machine
        .state()
        .p2m
        .insert((HARDWARE_DOMAIN, 3), Backing::Foreign(foreign));
    let mut refused = |op: Map, error: i32| {
        let mut ops = [op];
        assert_eq!(checked.map(HARDWARE_DOMAIN, &mut ops).value, 0);
        assert_eq!(ops[0].status, error, "{op:?}");
        assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
    };
    refused(map_own(3, 1, READ), -14);
    // By a reference that is granted to somebody else.
    refused(map_grant(FRONTEND, 8, 1, READ), -13);
    // Access control is asked whoever calls.
    checked.write_entry(FRONTEND, 8, 1, HARDWARE_DOMAIN, 8);
    checked
        .machine
        .state()
        .access
        .map
        .insert((HARDWARE_DOMAIN, FRONTEND));
    let mut ops = [map_grant(FRONTEND, 8, 1, READ)];
    checked.map(HARDWARE_DOMAIN, &mut ops);
    assert_eq!(ops[0].status, -1);
    checked.machine.state().access.map.clear();
    checked.map(HARDWARE_DOMAIN, &mut ops);
    assert_eq!(ops[0].status, 0);
    // And nobody else may because the hardware domain may.
    let mut ops = [map_grant(FRONTEND, 8, 1, READ)];
    checked.map(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, -13);
}

#[test]
fn a_hypercall_and_a_flush_for_each_page() {
    let checked = scene();
    // A run is one element, a batch one call. For new entries the driver is asked once;
    // whether there is anything to do depends on the hardware.
    let mut ops: Vec<_> = (0..4).map(|nth| map_own(nth, 128, READ)).collect();
    checked.machine.state().events.clear();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.call_with(Number::GrantDma, 5, &mut ops);
    assert!(ops.iter().all(|op| op.status == 0));
    assert_eq!(flushes(&checked), 1);
    checked.machine.state().events.clear();
    let mut ops: Vec<_> = ops.iter().map(|op| unmap_handle(op.handle)).collect();
    let end = vcpu.call_with(Number::GrantDma, 6, &mut ops);
    assert_eq!((end.value, end.steps), (0, 1));
    assert_eq!(flushes(&checked), 1, "for 512 pages");
}
