// SPDX-License-Identifier: GPL-2.0-only
//! There is no IOMMU.

use hv::{
    addr::{Access, Dfn, DfnRange, Gfn, Mfn},
    host::{FlushFlags, Flushed, IoTables, Iommu, IommuError, IommuMode},
};

use super::{OUTSIDE, World, domains::Peer};

impl Iommu for World {
    fn iommu_mode(&self, _domain: &Peer) -> IommuMode {
        IommuMode::Absent
    }

    fn device_hole(&self, _domain: &Peer) -> Option<DfnRange> {
        None
    }

    fn gfn_is_hole(&self, _domain: &Peer, _gfn: Gfn) -> bool {
        false
    }

    fn is_above_memory(&self, _domain: &Peer, _gfn: Gfn) -> bool {
        false
    }

    fn iommu_page_sizes(&self, _domain: &Peer) -> u64 {
        1 << 12
    }

    fn iommu_map(
        &self,
        _: IoTables<'_, Self>,
        _: Dfn,
        _: Mfn,
        _: u32,
        _: Access,
        _: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn iommu_map_frames(
        &self,
        _: IoTables<'_, Self>,
        _: Dfn,
        _: &[Mfn],
        _: Access,
        _: &mut FlushFlags,
    ) -> Result<(), u32> {
        unimplemented!("{OUTSIDE}")
    }

    fn iommu_unmap(
        &self,
        _: IoTables<'_, Self>,
        _: Dfn,
        _: u32,
        _: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn must_flush_soon(&self, _: FlushFlags) -> bool {
        unimplemented!("{OUTSIDE}")
    }

    fn iommu_flush(
        &self,
        _: IoTables<'_, Self>,
        _: DfnRange,
        _: FlushFlags,
    ) -> Result<Flushed, IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn cpu_map_needs_identity(&self, _holder: &Peer) -> bool {
        false
    }

    fn identity_map(&self, _: &Peer, _: Mfn, _: Access) -> Result<(), IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn identity_unmap(&self, _holder: &Peer, _mfn: Mfn) -> Result<(), IommuError> {
        unimplemented!("{OUTSIDE}")
    }
}
