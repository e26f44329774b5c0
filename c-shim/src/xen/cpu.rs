// SPDX-License-Identifier: GPL-2.0-only
//! Mappings of grants in the p2m or the page tables of the caller.

use core::ffi::c_int;

use hv::host::CpuMappings;
use hypercall_abi::grant::Gntst;

use super::Xen;
use crate::{ffi, page::XenFrame};

fn status(result: c_int) -> Result<(), Gntst> {
    match Gntst::from_wire(result) {
        Gntst::Okay => Ok(()),
        error => Err(error),
    }
}

impl CpuMappings for Xen {
    const CPU_MAP_TAKES_TYPE: bool = cfg!(target_arch = "x86_64");

    #[inline(always)]
    fn map_for_cpu(
        &self,
        host_addr: u64,
        frame: &XenFrame,
        gntmap_flags: u32,
        cache_flags: u16,
    ) -> Result<(), Gntst> {
        // SAFETY: a referenced page; the function checks the guest's address.
        status(unsafe { ffi::gdma_cpu_map(host_addr, frame.number(), gntmap_flags, cache_flags) })
    }

    #[inline(always)]
    fn unmap_for_cpu(
        &self,
        host_addr: u64,
        frame: &XenFrame,
        new_addr: u64,
        gntmap_flags: u32,
    ) -> Result<(), Gntst> {
        // SAFETY: a referenced page; the function checks what is mapped at the two
        // addresses.
        status(unsafe { ffi::gdma_cpu_unmap(host_addr, frame.number(), new_addr, gntmap_flags) })
    }

    fn flush_cpu_tlb(&self) {
        ffi::gdma_flush_cpu_tlb();
    }
}
