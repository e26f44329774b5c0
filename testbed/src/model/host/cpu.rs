// SPDX-License-Identifier: GPL-2.0-only
//! Mappings for CPUs, and what they go on using until a flush.

use hv::host::{CpuMappings, Frame};
use hypercall_abi::grant::Gntst;

use crate::model::{frames::PinnedFrame, locks::assert_none_held, machine::Machine};

impl CpuMappings for Machine {
    const CPU_MAP_TAKES_TYPE: bool = true;

    fn map_for_cpu(
        &self,
        host_addr: u64,
        frame: &PinnedFrame,
        gntmap_flags: u32,
        cache_flags: u16,
    ) -> Result<(), Gntst> {
        let mut state = self.state();
        if state.switches.cpu_map_fails.pull() {
            return Err(Gntst::GeneralError);
        }
        state.cache_flags = cache_flags;
        let current = self.current;
        state.map_for_cpu(current, host_addr, frame.mfn().number(), gntmap_flags)
    }

    fn unmap_for_cpu(
        &self,
        host_addr: u64,
        frame: &PinnedFrame,
        new_addr: u64,
        gntmap_flags: u32,
    ) -> Result<(), Gntst> {
        let mut state = self.state();
        let frame = frame.mfn().number();
        let current = self.current;
        state.unmap_for_cpu(current, host_addr, frame, new_addr, gntmap_flags)
    }

    fn flush_cpu_tlb(&self) {
        assert_none_held("CPU TLB flush");
        let mut state = self.state();
        state.counters.tlb_flushes += 1;
        state.stale.retain(|&(holder, _, _)| holder != self.current);
    }
}
