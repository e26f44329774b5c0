// SPDX-License-Identifier: GPL-2.0-only
//! The vcpu that calls.

use hv::{
    host::Execution,
    hypercall::{Answer, Call},
};

use crate::model::{locks::assert_none_held, machine::Machine};

impl Execution for Machine {
    fn has_wide_registers(&self) -> bool {
        self.layout == hv::hypercall::grant_table::GuestLayout::Native
    }

    fn current_vcpu(&self) -> u32 {
        self.vcpu
    }

    fn preempt_requested(&self) -> bool {
        assert_none_held("preemption check");
        self.poll()
    }

    fn continue_call(&self, rest: Call) -> Answer {
        assert_none_held("continuation");
        self.note_continuation(rest)
    }

    fn clamp_index(&self, index: usize, len: usize) -> usize {
        if index < len { index } else { 0 }
    }

    fn speculation_barrier(&self) {}
}
