// SPDX-License-Identifier: GPL-2.0-only
//! Windows that something else comes between: death, the end of the context,
//! revocation, other vcpus, after every step.

use hypercall_abi::{
    command::{XEN_GDMA_OP_WINDOW_CREATE, XEN_GDMA_OP_WINDOW_DESTROY},
    context::ContextDestroy,
    control::Revoke,
    grant::{GTF_READING, GTF_WRITING},
    window::{WindowCreate, WindowDestroy},
};
use testbed::{
    elements::{READ, READ_WRITE, window_grant, window_own},
    model::{
        Event, Preempt, Trigger,
        domain::Death,
        hypercall::{Number, Outcome},
    },
    oracle::Checked,
    row::{ROW, ROW_FRAMES, backend_pins, created, new_context, raw, raw_destroy, with_row},
    scene::{BACKEND, FRONTEND, scene},
};

/// Does `op` step by step, and something else after the step with each number. Returns
/// how often that was.
fn interrupted(op: WindowCreate, interfere: impl Fn(&mut Checked, u32)) -> usize {
    for steps in 1.. {
        let mut checked = with_row();
        let context = new_context(&mut checked);
        let op = WindowCreate { context, ..op };
        checked.switch(|switches| switches.preempt = Preempt::Always);
        let vcpu = checked.machine.vcpu_of(BACKEND);
        let place = vcpu.store_elements(&[op]);
        for _ in 0..steps {
            let outcome = vcpu.step(Number::GrantDma, XEN_GDMA_OP_WINDOW_CREATE, place, 1);
            if outcome == Outcome::Complete {
                return steps - 1;
            }
            assert!(matches!(outcome, Outcome::Continue { elements: 0, .. }));
        }
        interfere(&mut checked, context);
    }
    unreachable!("a window that is never complete")
}

fn every_kind(interfere: impl Fn(&mut Checked, u32)) {
    for op in [
        window_own(ROW, ROW_FRAMES, READ_WRITE),
        window_own(8, 150, READ),
        window_grant(FRONTEND, 8, 64, READ),
    ] {
        let times = interrupted(op, &interfere);
        assert!(times >= 2, "{op:?} has only {times} places");
    }
}

fn assert_nothing_referenced(checked: &Checked) {
    for (mfn, frame) in checked.machine.state().frames.iter() {
        assert_eq!((frame.refs, frame.writable), (0, 0), "frame {mfn:#x}");
    }
    for gref in 8..72 {
        let flags = checked.entry_flags(gref);
        assert_eq!(flags & (GTF_READING | GTF_WRITING), 0, "reference {gref}");
    }
}

#[test]
fn invariant_6_death_in_the_middle_of_a_window() {
    every_kind(|checked, _| {
        let (death, _) = checked.machine.kill(BACKEND);
        assert_eq!(death, Death::Gone);
        assert_nothing_referenced(checked);
    });
}

#[test]
fn the_end_of_the_context_in_the_middle_of_a_window() {
    every_kind(|checked, context| {
        let op = ContextDestroy { context, status: 1 };
        assert_eq!(raw(checked, 3, op).status, 0);
        assert_nothing_referenced(checked);
        assert_eq!(backend_pins(checked), 0);
        // The maker goes on, and is told.
        let op = WindowCreate {
            context,
            ..window_own(ROW, 4, READ)
        };
        assert_eq!(raw(checked, XEN_GDMA_OP_WINDOW_CREATE, op).status, -2);
    });
}

#[test]
fn another_element_in_place_of_an_unfinished_one_ends_it() {
    every_kind(|checked, context| {
        let op = WindowCreate {
            context,
            ..window_own(ROW, 4, READ)
        };
        let made = raw(checked, XEN_GDMA_OP_WINDOW_CREATE, op);
        assert_eq!(made.status, 0);
        assert_eq!(backend_pins(checked), 4);
        assert_eq!(raw_destroy(checked, &made), 0);
        assert_nothing_referenced(checked);
        checked.check();
    });
}

#[test]
fn another_vcpu_does_not_disturb_an_unfinished_window() {
    let op = window_own(ROW, ROW_FRAMES, READ_WRITE);
    let times = interrupted(op, |checked, context| {
        let mut other = [WindowCreate { context, ..op }];
        let vcpu = checked.machine.vcpu_of(BACKEND).with_vcpu(1);
        vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_WINDOW_CREATE, &mut other);
        let first = raw(
            checked,
            XEN_GDMA_OP_WINDOW_CREATE,
            WindowCreate { context, ..op },
        );
        assert_eq!((other[0].status, first.status), (0, 0));
        assert_ne!(other[0].handle, first.handle);
        assert_eq!(backend_pins(checked), 2 * ROW_FRAMES);
        for window in [other[0], first] {
            assert_eq!(raw_destroy(checked, &window), 0);
        }
        assert_nothing_referenced(checked);
    });
    assert!(times >= 2);
}

fn revoke_raw(checked: &Checked, gref: u32) -> i32 {
    let vcpu = checked.machine.vcpu_of(FRONTEND);
    let mut ops = [Revoke { gref, status: 1 }];
    vcpu.call_with(Number::GrantDma, 12, &mut ops);
    ops[0].status
}

#[test]
fn revocation_in_the_middle_of_a_window() {
    interrupted(window_grant(FRONTEND, 8, 64, READ), |checked, context| {
        checked.machine.write_entry(FRONTEND, 8, 0, 0, 0);
        assert_eq!(revoke_raw(checked, 8), 0);
        assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
        let op = WindowCreate {
            context,
            ..window_grant(FRONTEND, 8, 64, READ)
        };
        assert_eq!(raw(checked, XEN_GDMA_OP_WINDOW_CREATE, op).status, -13);
        assert_nothing_referenced(checked);
        assert_eq!(backend_pins(checked), 0);
    });
}

/// Nothing was unmapped after the last flush that succeeded.
fn assert_flushed(checked: &Checked) {
    let events = std::mem::take(&mut checked.machine.state().events);
    let unmap = |event: &Event| matches!(event, Event::Unmap { ok: true, .. });
    let flush = |event: &Event| matches!(event, Event::Flush { ok: true, .. });
    let unmapped = events.iter().rposition(unmap);
    let flushed = events.iter().rposition(flush);
    assert!(unmapped <= flushed, "{events:?}");
}

/// XSA-480: page tables that were freed must not be walked after the call, nor while it
/// is interrupted.
#[test]
fn xsa_480_tables_that_a_window_frees_are_flushed_at_every_interruption() {
    for fails in [Trigger::Never, Trigger::Nth(2), Trigger::Nth(3)] {
        let mut checked = with_row();
        let window = created(&mut checked, window_own(8, 150, READ));
        checked.switch(|switches| {
            switches.preempt = Preempt::Always;
            switches.unmap_frees_tables = true;
            switches.unmap_fails = fails;
        });
        checked.machine.state().events.clear();
        let op = WindowDestroy {
            handle: window.handle,
            context: 0,
            status: 1,
        };
        let vcpu = checked.machine.vcpu_of(BACKEND);
        let place = vcpu.store_elements(&[op]);
        let mut steps = 0;
        while vcpu.step(Number::GrantDma, XEN_GDMA_OP_WINDOW_DESTROY, place, 1) != Outcome::Complete
        {
            assert_flushed(&checked);
            steps += 1;
        }
        assert_flushed(&checked);
        assert!(steps > 0, "never interrupted");
        let mut ops = [op];
        vcpu.load_elements(&mut ops);
        let status = if fails == Trigger::Never { 0 } else { -5 };
        assert_eq!(ops[0].status, status);
    }
}

/// Whoever destroys, revokes or unmaps at any poll of a window's end or making: nothing
/// is lost, and nothing is given back twice (the model's counts would not bear it).
#[test]
fn two_vcpus_end_one_window() {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };
    for at_poll in 1..12 {
        let mut checked = scene();
        let window = created(&mut checked, window_grant(FRONTEND, 8, 64, READ));
        let polls = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&polls);
        checked.machine.set_hook(move |machine, moment| {
            if let testbed::model::Moment::Poll = moment
                && seen.fetch_add(1, Ordering::SeqCst) + 1 == at_poll
            {
                let other = machine.vcpu_of(BACKEND).with_vcpu(1);
                let mut ops = [WindowDestroy {
                    handle: window.handle,
                    context: 0,
                    status: 1,
                }];
                other.call_with(Number::GrantDma, XEN_GDMA_OP_WINDOW_DESTROY, &mut ops);
                assert!([0, -2].contains(&ops[0].status), "{ops:?}");
            }
        });
        let status = raw_destroy(&checked, &window);
        checked.machine.clear_hook();
        assert!([0, -2].contains(&status), "{status}");
        assert_nothing_referenced(&checked);
        assert_eq!(backend_pins(&checked), 0);
    }
}
