// SPDX-License-Identifier: GPL-2.0-only
//! `register_args`, and calls that have their array in the area. The oracle holds every
//! such call to what the ordinary form answers; what is here is what only the area has.

use hypercall_abi::{
    Errno,
    arguments::RegisterArgs,
    command::{
        XEN_GDMA_ARGS_REGISTERED as REGISTERED, XEN_GDMA_OP_MAP as MAP, XEN_GDMA_OP_MAP_REG,
        XEN_GDMA_OP_QUERY, XEN_GDMA_OP_REGISTER_ARGS, XEN_GDMA_OP_UNMAP_REG,
    },
    mapping::Map,
};
use testbed::{
    elements::{READ, map_grant, map_own, unmap_handle},
    model::{
        DomainSetup, Preempt, Trigger,
        domain::{Backing, Death},
        frames::Kind,
        hypercall::{Number, Outcome},
    },
    oracle::Checked,
    scene::{BACKEND, FRONTEND, scene, scene_with},
};

/// The area's first frame.
const AREA: u64 = 40;

fn register(checked: &mut Checked, gfn: u64, nr_frames: u32) -> i32 {
    let mut ops = [RegisterArgs {
        gfn,
        nr_frames,
        ..RegisterArgs::default()
    }];
    let end = checked.register_args(BACKEND, &mut ops);
    assert_eq!(end.value, 0);
    ops[0].status
}

/// A call with a bare offset; what the area holds is whatever it is.
fn call(checked: &Checked, cmd: u32, offset: u64, count: u32) -> Outcome {
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.step(Number::GrantDma, cmd | REGISTERED, offset, count)
}

fn failed(error: Errno) -> Outcome {
    Outcome::Failed(error.wire())
}

#[test]
fn batches_in_the_area() {
    let mut checked = scene();
    assert_eq!(register(&mut checked, AREA, 2), 0);
    // 128 elements of 48 bytes cross from one frame of the area to the other.
    let mut maps: Vec<_> = (0..128)
        .map(|nth| map_grant(FRONTEND, 8 + nth % 64, 1, READ))
        .collect();
    checked.fill(FRONTEND, 20, 0x20);
    assert_eq!(checked.map(BACKEND, &mut maps).value, 0);
    assert!(maps.iter().all(|map| map.status == 0));
    assert_eq!(
        checked.machine.device_read(BACKEND, maps[12].daddr),
        Ok(0x20)
    );
    let mut unmaps: Vec<_> = maps.iter().map(|map| unmap_handle(map.handle)).collect();
    assert_eq!(checked.unmap(BACKEND, &mut unmaps).value, 0);
    assert!(unmaps.iter().all(|unmap| unmap.status == 0));
    assert_eq!(register(&mut checked, 0, 0), 0);
    checked.assert_nothing_held();
}

#[test]
fn long_batches_are_preempted() {
    let mut checked = scene();
    assert_eq!(register(&mut checked, AREA, 4), 0);
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let mut maps: Vec<_> = (0..300).map(|nth| map_own(nth % 30, 1, READ)).collect();
    let end = checked.map(BACKEND, &mut maps);
    assert_eq!(end.value, 0);
    assert!(end.steps > 3, "{end:?}");
    assert!(maps.iter().all(|map| map.status == 0));
}

/// Invariant 1, of Xen's own accesses: what is written stays the caller's memory.
#[test]
fn invariant_1_the_area_is_pinned() {
    let mut checked = scene();
    assert_eq!(register(&mut checked, AREA, 1), 0);
    assert_eq!(checked.references_of(BACKEND, AREA), (1, 1));
    let mfn = checked.machine.mfn_of(BACKEND, AREA).expect("memory");
    // The guest gives the frame away and forgets about the area.
    let mut state = checked.machine.state();
    state.p2m.remove(&(BACKEND, AREA));
    state.frames.deallocate(mfn);
    drop(state);
    let mut ops = [map_own(5, 1, READ)];
    assert_eq!(checked.map(BACKEND, &mut ops).value, 0);
    assert_eq!(ops[0].status, 0);
    let whose = checked.machine.state().frames.get(mfn).map(|f| f.owner);
    assert_eq!(whose, Some(BACKEND));
    assert_eq!(register(&mut checked, 0, 0), 0);
    assert!(checked.machine.state().frames.get(mfn).is_none());
}

#[test]
fn another_area_takes_the_place_of_the_first() {
    let mut checked = scene();
    assert_eq!(register(&mut checked, AREA, 4), 0);
    assert_eq!(register(&mut checked, AREA + 3, 2), 0);
    for (gfn, references) in [(AREA, (0, 0)), (AREA + 3, (1, 1)), (AREA + 4, (1, 1))] {
        assert_eq!(checked.references_of(BACKEND, gfn), references);
    }
    // Also by itself.
    assert_eq!(register(&mut checked, AREA + 3, 2), 0);
    assert_eq!(checked.references_of(BACKEND, AREA + 3), (1, 1));
}

#[test]
fn areas_that_are_refused_change_nothing() {
    let mut checked = scene();
    assert_eq!(register(&mut checked, AREA, 1), 0);
    assert_eq!(register(&mut checked, AREA, 5), Errno::Inval.wire());
    assert_eq!(register(&mut checked, AREA, 0), Errno::Inval.wire());
    assert_eq!(register(&mut checked, u64::MAX, 2), Errno::Fault.wire());
    assert_eq!(register(&mut checked, 1 << 40, 1), Errno::Fault.wire());
    let mut state = checked.machine.state();
    state.p2m.insert((BACKEND, AREA + 2), Backing::PagedOut);
    drop(state);
    assert_eq!(register(&mut checked, AREA + 1, 2), Errno::Again.wire());
    assert_eq!(checked.references_of(BACKEND, AREA + 1), (0, 0));
    checked.switch(|switches| switches.map_memory_fails = Trigger::Nth(1));
    assert_eq!(register(&mut checked, AREA + 1, 1), Errno::NoMem.wire());
    checked.switch(|switches| switches.share_fails = Trigger::Nth(1));
    assert_eq!(register(&mut checked, AREA + 1, 1), Errno::NoMem.wire());
    assert_eq!(checked.references_of(BACKEND, AREA + 1), (0, 0));
    assert_eq!(checked.references_of(BACKEND, AREA), (1, 1));
}

/// Xen would write to it through a mapping of its own.
#[test]
fn defect_a_page_table_is_no_argument_area() {
    let mut checked = scene_with(DomainSetup {
        translated: false,
        ..DomainSetup::pvh(BACKEND)
    });
    let mfn = checked.machine.mfn_of(BACKEND, AREA).expect("memory");
    let mut state = checked.machine.state();
    state.frames.get_mut(mfn).expect("frame").kind = Kind::PageTable;
    drop(state);
    assert_eq!(register(&mut checked, AREA, 1), Errno::Fault.wire());
    assert_eq!(checked.references_of(BACKEND, AREA), (0, 0));
}

#[test]
fn calls_that_are_refused() {
    let mut checked = scene();
    assert_eq!(call(&checked, MAP, 0, 1), failed(Errno::NoEnt));
    assert_eq!(register(&mut checked, AREA, 1), 0);
    let size = size_of::<Map>() as u64;
    for (offset, count, error) in [
        (4, 1, Errno::Inval),
        (0, 0, Errno::Inval),
        (0, 65537, Errno::TooBig),
        (4096 - size + 8, 1, Errno::Fault),
        (4096, 1, Errno::Fault),
        (u64::MAX - 7, 1, Errno::Fault),
        (u64::MAX - 7, 20, Errno::Fault),
        (0, 86, Errno::Fault),
        (0, 65536, Errno::Fault),
    ] {
        assert_eq!(call(&checked, MAP, offset, count), failed(error));
    }
    for cmd in [
        XEN_GDMA_OP_REGISTER_ARGS,
        XEN_GDMA_OP_MAP_REG,
        XEN_GDMA_OP_UNMAP_REG,
        99,
    ] {
        assert_eq!(call(&checked, cmd, 0, 1), failed(Errno::NoSys));
    }
    // The last element that fits, and as many as fit.
    assert_eq!(
        call(&checked, MAP, (4096 - size) / 8 * 8, 1),
        Outcome::Complete
    );
    assert_eq!(call(&checked, MAP, 0, 85), Outcome::Complete);
    checked.check();
}

fn two_vcpus() -> Checked {
    scene_with(DomainSetup {
        vcpus: 2,
        ..DomainSetup::pvh(BACKEND)
    })
}

#[test]
fn every_vcpu_has_its_own() {
    let mut checked = two_vcpus();
    assert_eq!(register(&mut checked, AREA, 1), 0);
    let other = checked.machine.vcpu_of(BACKEND).with_vcpu(1);
    let query = XEN_GDMA_OP_QUERY | REGISTERED;
    let first = checked.machine.vcpu_of(BACKEND);
    assert_eq!(first.step(Number::GrantDma, query, 0, 1), Outcome::Complete);
    assert_eq!(
        other.step(Number::GrantDma, query, 0, 1),
        failed(Errno::NoEnt)
    );
}

/// Invariant 6: step by step, and everything comes back.
#[test]
fn invariant_6_areas_of_a_dying_domain() {
    let mut checked = two_vcpus();
    for vcpu in 0..2 {
        let vcpu = checked.machine.vcpu_of(BACKEND).with_vcpu(vcpu);
        let mut ops = [RegisterArgs {
            gfn: AREA,
            nr_frames: 3,
            ..RegisterArgs::default()
        }];
        vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_REGISTER_ARGS, &mut ops);
        assert_eq!(ops[0].status, 0);
    }
    assert_eq!(checked.references_of(BACKEND, AREA), (2, 2));
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let (death, steps) = checked.kill(BACKEND);
    assert_eq!(death, Death::Gone);
    assert!(steps >= 3, "{steps}");
    checked.assert_nothing_held();
}
