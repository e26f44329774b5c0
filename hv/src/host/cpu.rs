// SPDX-License-Identifier: GPL-2.0-only
//! CPU mappings of grants, in the calling domain's address space.

use hypercall_abi::grant::Gntst;

use super::frames::Frames;

/// Making and ending CPU mappings of grants.
pub trait CpuMappings: Frames {
    /// Whether a writable CPU mapping of a grant takes a writable-type reference
    /// when granter and holder are one domain, or the granter is PV. True on x86,
    /// false on Arm, where pages have no types.
    const CPU_MAP_TAKES_TYPE: bool;

    /// Maps the frame into the calling domain at `host_addr`. `cache_flags` are
    /// the grant entry's `GTF_PWT`, `GTF_PCD`, `GTF_PAT`; they count for device
    /// memory only.
    fn map_for_cpu(
        &self,
        host_addr: u64,
        frame: &Self::Frame,
        gntmap_flags: u32,
        cache_flags: u16,
    ) -> Result<(), Gntst>;

    /// Takes back what [`Self::map_for_cpu`] made, and moves what is mapped at
    /// `new_addr` there if that is not 0. Other CPUs may use the old translation
    /// until [`Self::flush_cpu_tlb`].
    fn unmap_for_cpu(
        &self,
        host_addr: u64,
        frame: &Self::Frame,
        new_addr: u64,
        gntmap_flags: u32,
    ) -> Result<(), Gntst>;

    /// Returns when no CPU uses a translation of the calling domain any more that
    /// [`Self::unmap_for_cpu`] ended.
    fn flush_cpu_tlb(&self);
}
