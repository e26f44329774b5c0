// SPDX-License-Identifier: GPL-2.0-only
//! The vcpu that runs this code.

use hv::{
    host::Execution,
    hypercall::{Answer, Call, Hypercall},
};

use super::Xen;
use crate::{ffi, guest::to_guest};

impl Execution for Xen {
    #[inline(always)]
    fn has_wide_registers(&self) -> bool {
        ffi::gdma_wide_registers()
    }

    fn current_vcpu(&self) -> u32 {
        ffi::gdma_vcpu_current()
    }

    fn preempt_requested(&self) -> bool {
        ffi::gdma_preempt_check()
    }

    fn continue_call(&self, rest: Call) -> Answer {
        let hypercall = match rest.hypercall {
            Hypercall::GrantTable => ffi::HYPERCALL_GRANT_TABLE,
            Hypercall::GrantDma => ffi::HYPERCALL_GRANT_DMA,
        };
        let at = to_guest(rest.at);
        Answer::continued(ffi::gdma_continue_call(hypercall, rest.cmd, at, rest.count))
    }

    fn clamp_index(&self, index: usize, len: usize) -> usize {
        index & in_bounds_mask(index, len)
    }

    fn speculation_barrier(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an instruction without effect on memory or registers.
        unsafe {
            core::arch::asm!("lfence", options(nostack, preserves_flags));
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: instructions without effect on memory or registers.
        unsafe {
            core::arch::asm!("dsb nsh", "isb", options(nostack, preserves_flags));
        }
    }
}

/// All ones if `index` is below `len`, else 0, without a branch that could be
/// predicted.
#[cfg(target_arch = "x86_64")]
fn in_bounds_mask(index: usize, len: usize) -> usize {
    let mask: usize;
    // SAFETY: arithmetic on registers.
    unsafe {
        core::arch::asm!(
            "cmp {index}, {len}",
            "sbb {mask}, {mask}",
            index = in(reg) index,
            len = in(reg) len,
            mask = lateout(reg) mask,
            options(pure, nomem, nostack),
        );
    }
    mask
}

/// All ones if `index` is below `len`, else 0, without a branch that could be
/// predicted.
#[cfg(target_arch = "aarch64")]
fn in_bounds_mask(index: usize, len: usize) -> usize {
    let mask: usize;
    // SAFETY: arithmetic on registers, then a barrier against the use of a
    // mispredicted value.
    unsafe {
        core::arch::asm!(
            "cmp {index}, {len}",
            "sbc {mask}, xzr, xzr",
            "csdb",
            index = in(reg) index,
            len = in(reg) len,
            mask = lateout(reg) mask,
            options(pure, nomem, nostack),
        );
    }
    mask
}
