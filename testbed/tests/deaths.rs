// SPDX-License-Identifier: GPL-2.0-only
//! Invariants 6 and 7: what a dying domain holds comes back in bounded steps, however much
//! it is, and whatever call of whoever was not finished.

use hv::dma::unmap::{MAX_PENDING, Release};
use hypercall_abi::{
    command::{
        XEN_GDMA_MAX_FRAMES, XEN_GDMA_OP_CONTEXT_CREATE, XEN_GDMA_OP_CONTEXT_DESTROY,
        XEN_GDMA_OP_MAP, XEN_GDMA_OP_REVOKE, XEN_GDMA_OP_UNMAP,
    },
    context::{ContextCreate, ContextDestroy, XEN_GDMA_CONTEXT_MIRROR},
    control::Revoke,
    grant::{
        GNTTABOP_MAP_GRANT_REF, GNTTABOP_SETUP_TABLE, GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING,
        SetupTable64,
    },
    mapping::{Map, Unmap},
};
use testbed::{
    elements::{READ, READ_WRITE, cpu_map, inside, map_grant, map_own, unmap_handle},
    model::{
        DomainSetup, Machine, Moment, Preempt,
        domain::Death,
        hypercall::{Number, Outcome},
    },
    oracle::Checked,
    row::{backend_pins, new_context},
    scene::{BACKEND, FRONTEND, LAST_GRANTED, attach, scene_with},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A device of the backend.
const NIC: u32 = 8;
const IN_USE: u16 = GTF_READING | GTF_WRITING;

// --- a million pins

/// Pins of the holder: 7,812 runs and 64 frames more would be as many.
const MILLION: u32 = 1_000_000;
/// References of the granter, all of them granted to the holder.
const REFERENCES: u32 = 32 * 512;
/// One pin of so many is made by itself, the others in runs.
const SINGLES: u32 = 8;
/// Elements of a call.
const BATCH: usize = 64;

/// A holder with a million pins of grants, half of them in a context with a device. Tells
/// how many mappings that are.
fn with_a_million_pins() -> (Checked, u32) {
    let mut checked = Checked::new(&[
        DomainSetup {
            max_pins: MILLION,
            ..DomainSetup::pvh(BACKEND)
        },
        DomainSetup {
            max_table_frames: REFERENCES / 512,
            ram_frames: u64::from(REFERENCES),
            max_pages: u64::from(REFERENCES),
            ..DomainSetup::pvh(FRONTEND)
        },
    ]);
    let mut ops = [SetupTable64 {
        dom: FRONTEND,
        nr_frames: REFERENCES / 512,
        ..SetupTable64::default()
    }];
    let granter = checked.machine.vcpu_of(FRONTEND);
    granter.call_with(Number::GrantTable, GNTTABOP_SETUP_TABLE, &mut ops);
    assert_eq!(checked.machine.table_entries(FRONTEND), REFERENCES);
    for gref in 0..REFERENCES {
        let machine = &checked.machine;
        machine.write_entry(FRONTEND, gref, GTF_PERMIT_ACCESS, BACKEND, gref);
    }
    checked.machine.plug(NIC, BACKEND, true);
    let context = new_context(&mut checked);
    assert_eq!(attach(&mut checked, NIC, context), 0);
    let mut mappings = 0;
    for (number, pins) in [(0, MILLION / 2), (context, MILLION / 2)] {
        let singles = pins / SINGLES;
        mappings += pin(
            &checked.machine,
            number,
            pins - singles,
            XEN_GDMA_MAX_FRAMES,
        );
        mappings += pin(&checked.machine, number, singles, 1);
    }
    assert_eq!(backend_pins(&checked), MILLION);
    (checked, mappings)
}

/// Pins so many frames for the backend, `run` by an element. Tells how many mappings that
/// are.
fn pin(machine: &Machine, context: u32, frames: u32, run: u32) -> u32 {
    let vcpu = machine.vcpu_of(BACKEND);
    let firsts: Vec<u32> = (0..frames).step_by(run as usize).collect();
    for batch in firsts.chunks(BATCH) {
        let element = |&first: &u32| {
            let gref = u64::from(first % REFERENCES);
            let count = run.min(frames - first);
            inside(context, map_grant(FRONTEND, gref, count, READ))
        };
        let mut ops: Vec<Map> = batch.iter().map(element).collect();
        vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_MAP, &mut ops);
        assert!(ops.iter().all(|op| op.status == 0), "{ops:?}");
        machine.state().events.clear();
    }
    firsts.len() as u32
}

/// Something else wants the CPU at one poll of so many.
fn preempt_every(machine: &Machine, polls: u32) {
    let seen = std::sync::atomic::AtomicU32::new(0);
    machine.set_hook(move |machine, moment| {
        if let Moment::Poll = moment {
            let nth = 1 + seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            machine.state().switches.preempt = if nth.is_multiple_of(polls) {
                Preempt::Always
            } else {
                Preempt::Never
            };
        }
    });
}

/// The frames of 1024 that wait for a flush, and of the mapping that made them as many.
const MOST_AT_ONCE: u32 = MAX_PENDING - 1 + XEN_GDMA_MAX_FRAMES;

/// One step, between the looks of which no more than that comes back.
fn bounded_step(machine: &Machine) -> Release {
    machine.state().counters = Default::default();
    let released = machine.release_step(BACKEND);
    machine.state().events.clear();
    let most = machine.state().counters.most_returned_between_polls;
    assert!(most <= MOST_AT_ONCE, "{most} frames between two looks");
    released
}

fn assert_nothing_left(machine: &Machine) {
    let state = machine.state();
    for (mfn, frame) in state.frames.iter() {
        assert_eq!((frame.refs, frame.writable), (0, 0), "frame {mfn:#x}");
    }
    for (id, iommu) in &state.iommus {
        let reached = iommu.reachable().count() + iommu.copied().count();
        assert_eq!((id.1, reached), (0, 0), "I/O page tables of {id:?}");
        assert!(iommu.table().is_empty(), "I/O page table of {id:?}");
    }
}

#[test]
fn invariant_6_a_holder_dies_with_a_million_pins() {
    const POLLS: u32 = 100;
    let (checked, mappings) = with_a_million_pins();
    let machine = &checked.machine;
    preempt_every(machine, POLLS);
    machine.doom(BACKEND);
    let (mut steps, mut left) = (0, MILLION);
    loop {
        let released = bounded_step(machine);
        steps += 1;
        let now = backend_pins(&checked);
        assert!(now < left, "a step that gives nothing back");
        assert!(left - now <= POLLS * XEN_GDMA_MAX_FRAMES, "{left} to {now}");
        left = now;
        match released {
            Release::Complete => break,
            Release::Preempted => {}
            Release::Stuck => panic!("the IOMMU works"),
        }
    }
    // Each mapping is followed by a look.
    assert!(steps >= mappings / POLLS, "{steps} steps");
    assert_eq!(left, 0);
    machine.clear_hook();
    assert_eq!(machine.bury(BACKEND), Death::Gone);
    for gref in 0..REFERENCES {
        let (flags, ..) = machine.read_entry(FRONTEND, gref);
        assert_eq!(flags, GTF_PERMIT_ACCESS, "reference {gref}");
    }
    assert_eq!(machine.kill(FRONTEND).0, Death::Gone);
    assert_nothing_left(machine);
}

/// The granter's steps come between the holder's: its frames are its own until the holder
/// has given them back, and then it is gone.
#[test]
fn invariant_6_a_holder_of_a_million_pins_and_the_granter_die_at_once() {
    let (checked, _) = with_a_million_pins();
    let machine = &checked.machine;
    preempt_every(machine, 1000);
    machine.doom(BACKEND);
    machine.doom(FRONTEND);
    assert_eq!(bounded_step(machine), Release::Preempted);
    assert_eq!(machine.release_step(FRONTEND), Release::Complete);
    assert_eq!(machine.bury(FRONTEND), Death::Zombie);
    let kept = backend_pins(&checked);
    assert!(kept > MILLION / 2, "{kept} pins after one step");
    while bounded_step(machine) == Release::Preempted {
        assert_eq!(machine.reap(FRONTEND), Death::Zombie);
    }
    assert_eq!(backend_pins(&checked), 0);
    machine.clear_hook();
    assert_eq!(machine.reap(FRONTEND), Death::Gone);
    assert_eq!(machine.bury(BACKEND), Death::Gone);
    assert_nothing_left(machine);
    assert_eq!(machine.state().frames.iter().count(), 0, "frames in use");
}

// --- in the middle of a call

/// A scene with room for what follows.
fn spacious() -> Checked {
    scene_with(DomainSetup {
        max_pins: 4096,
        max_contexts: 20,
        ..DomainSetup::pvh(BACKEND)
    })
}

/// A call, interrupted wherever it can be.
#[derive(Clone, Copy)]
struct Interrupted {
    caller: u16,
    number: Number,
    cmd: u32,
}

impl Interrupted {
    /// `steps` steps of the call and no more. False: it had not so many.
    fn run<T>(self, machine: &Machine, ops: &[T], steps: u32) -> bool
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let vcpu = machine.vcpu_of(self.caller);
        let (mut at, mut left, mut cmd) = (vcpu.store_elements(ops), ops.len() as u32, self.cmd);
        for _ in 0..steps {
            match vcpu.step(self.number, cmd, at, left) {
                Outcome::Complete => return false,
                Outcome::Failed(error) => panic!("the call fails with {error}"),
                Outcome::Continue {
                    elements,
                    bytes,
                    resume,
                } => {
                    (at, left) = (at + bytes, left - elements);
                    cmd |= resume;
                }
            }
        }
        true
    }

    /// After every step of the call these domains die, in this order; nothing is left of
    /// them. `prepare` makes the call's elements. Tells at how many places that was.
    fn deaths<T>(self, dying: [u16; 2], prepare: impl Fn(&mut Checked) -> Vec<T>) -> u32
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        for steps in 1.. {
            let mut checked = spacious();
            let ops = prepare(&mut checked);
            checked.switch(|switches| switches.preempt = Preempt::Always);
            if !self.run(&checked.machine, &ops, steps) {
                return steps - 1;
            }
            self.die(&checked, dying);
        }
        unreachable!("a call without end")
    }

    fn die(self, checked: &Checked, [first, second]: [u16; 2]) {
        let machine = &checked.machine;
        let (death, _) = machine.kill(first);
        if first == BACKEND {
            assert_eq!(death, Death::Gone);
            for gref in 8..=LAST_GRANTED {
                assert_eq!(checked.entry_flags(gref) & IN_USE, 0, "reference {gref}");
            }
        }
        machine.kill(second);
        assert_eq!(machine.find(BACKEND).map(|_| ()), None, "the holder");
        if machine.find(FRONTEND).is_some() {
            assert_eq!(machine.reap(FRONTEND), Death::Gone);
        }
        assert_nothing_left(machine);
    }
}

/// Both orders of death, with so many places at least.
fn both_orders<T>(call: Interrupted, places: u32, prepare: impl Fn(&mut Checked) -> Vec<T>)
where
    T: FromBytes + IntoBytes + Immutable,
{
    for dying in [[BACKEND, FRONTEND], [FRONTEND, BACKEND]] {
        let found = call.deaths(dying, &prepare);
        assert!(found >= places, "{found} places");
    }
}

const fn dma(cmd: u32) -> Interrupted {
    Interrupted {
        caller: BACKEND,
        number: Number::GrantDma,
        cmd,
    }
}

/// Own frames and grants, in the default context and in another.
fn elements(context: u32) -> Vec<Map> {
    let element = |nth: u64| {
        let op = match nth % 3 {
            0 => map_own(nth % 100, 4, READ_WRITE),
            1 => map_grant(FRONTEND, 8 + nth % 60, 3, READ),
            // One that fails.
            _ => map_grant(FRONTEND, 9, 1, READ_WRITE),
        };
        inside(if nth.is_multiple_of(2) { 0 } else { context }, op)
    };
    (0..300).map(element).collect()
}

/// The backend maps these, without the oracle, which would look at everything after every
/// 64 of them. Returns them with what became of them.
fn map_all(checked: &Checked, mut ops: Vec<Map>) -> Vec<Map> {
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let end = vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_MAP, &mut ops);
    assert_eq!(end.value, 0);
    ops
}

#[test]
fn death_in_the_middle_of_a_map() {
    both_orders(dma(XEN_GDMA_OP_MAP), 4, |checked| {
        let context = new_context(checked);
        elements(context)
    });
}

#[test]
fn death_in_the_middle_of_an_unmap() {
    both_orders(dma(XEN_GDMA_OP_UNMAP), 2, |checked| {
        let context = new_context(checked);
        let ops = map_all(checked, elements(context));
        let made = ops.iter().filter(|op| op.status == 0);
        let unmap = |op: &Map| Unmap {
            context: op.context,
            ..unmap_handle(op.handle)
        };
        made.map(unmap).collect()
    });
}

#[test]
fn death_in_the_middle_of_the_end_of_a_context() {
    both_orders(dma(XEN_GDMA_OP_CONTEXT_DESTROY), 10, |checked| {
        let context = new_context(checked);
        map_all(checked, elements(context));
        vec![ContextDestroy { context, status: 0 }]
    });
}

#[test]
fn death_in_the_middle_of_a_copy_of_the_holders_memory() {
    both_orders(dma(XEN_GDMA_OP_CONTEXT_CREATE), 4, |_| {
        vec![ContextCreate {
            flags: XEN_GDMA_CONTEXT_MIRROR,
            ..ContextCreate::default()
        }]
    });
}

/// The one who calls is the granter.
#[test]
fn death_in_the_middle_of_a_revocation() {
    let call = Interrupted {
        caller: FRONTEND,
        ..dma(XEN_GDMA_OP_REVOKE)
    };
    both_orders(call, 1, |checked| {
        let contexts = [0, new_context(checked)];
        let run = |nth: usize| inside(contexts[nth % 2], map_grant(FRONTEND, 8, 60, READ));
        // More frames than one step ends.
        map_all(checked, (0..24).map(run).collect());
        vec![Revoke { gref: 8, status: 0 }]
    });
}

#[test]
fn death_in_the_middle_of_mappings_for_cpus() {
    let call = Interrupted {
        number: Number::GrantTable,
        ..dma(GNTTABOP_MAP_GRANT_REF)
    };
    both_orders(call, 2, |_| {
        let element = |nth: u32| {
            let address = (1 << 32) + u64::from(nth) * 4096;
            cpu_map(FRONTEND, 8 + nth % 60, address, false)
        };
        (0..200).map(element).collect()
    });
}
