// SPDX-License-Identifier: GPL-2.0-only
//! The vcpu that calls. It is never interrupted.

use hv::{
    host::Execution,
    hypercall::{Answer, Call},
};

use super::{OUTSIDE, World};

impl Execution for World {
    fn has_wide_registers(&self) -> bool {
        true
    }

    fn current_vcpu(&self) -> u32 {
        self.vcpu
    }

    fn preempt_requested(&self) -> bool {
        false
    }

    fn continue_call(&self, _: Call) -> Answer {
        unimplemented!("{OUTSIDE}")
    }

    fn clamp_index(&self, index: usize, len: usize) -> usize {
        if index < len { index } else { 0 }
    }

    fn speculation_barrier(&self) {}
}
