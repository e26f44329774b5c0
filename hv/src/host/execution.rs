// SPDX-License-Identifier: GPL-2.0-only
//! The calling vcpu and its hypercall: preemption, continuation, speculation.

use crate::hypercall::{Answer, Call};

/// How the call runs.
pub trait Execution: Sized {
    /// The caller's registers have 64 bits.
    fn has_wide_registers(&self) -> bool;

    /// The number of the vcpu that makes the hypercall, within its domain.
    fn current_vcpu(&self) -> u32;

    /// Something else wants the CPU: a long operation should stop and be
    /// continued later.
    fn preempt_requested(&self) -> bool;

    /// Makes the guest's vcpu call again, with what is left of a preempted call.
    /// The last thing that a hypercall does; what this returns is its answer.
    fn continue_call(&self, rest: Call) -> Answer;

    /// `index` if it is below `len`, else 0, also in speculative execution.
    fn clamp_index(&self, index: usize, len: usize) -> usize;

    /// No later instruction runs speculatively before earlier branches are
    /// decided.
    fn speculation_barrier(&self);
}
