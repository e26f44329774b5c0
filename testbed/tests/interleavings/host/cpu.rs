// SPDX-License-Identifier: GPL-2.0-only
//! Mappings for CPUs: nothing is kept of them.

use hv::host::CpuMappings;
use hypercall_abi::grant::Gntst;

use super::{World, frames::Page};

impl CpuMappings for World {
    const CPU_MAP_TAKES_TYPE: bool = false;

    fn map_for_cpu(&self, _: u64, _: &Page, _: u32, _: u16) -> Result<(), Gntst> {
        Ok(())
    }

    fn unmap_for_cpu(&self, _: u64, _: &Page, _: u64, _: u32) -> Result<(), Gntst> {
        Ok(())
    }

    fn flush_cpu_tlb(&self) {}
}
