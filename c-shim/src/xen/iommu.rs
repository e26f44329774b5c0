// SPDX-License-Identifier: GPL-2.0-only
//! I/O page tables and flushes.

use hv::{
    addr::{Access, Dfn, DfnRange, Gfn, Mfn},
    host::{FlushFlags, Flushed, IoTables, Iommu, IommuError, IommuMode},
};

use super::Xen;
use crate::{domain::XenDomain, ffi};

/// What Xen's IOMMU code takes for the domain whose tables these are.
#[inline]
fn tables_ptr(tables: IoTables<'_, Xen>) -> *mut ffi::Domain {
    match tables {
        IoTables::Default(domain) => domain.as_ptr(),
        IoTables::Own(context) => context.tables(),
    }
}

impl Iommu for Xen {
    fn iommu_mode(&self, domain: &XenDomain) -> IommuMode {
        // SAFETY: a live domain.
        match unsafe { ffi::gdma_iommu_mode(domain.as_ptr()) } {
            ffi::IOMMU_ABSENT => IommuMode::Absent,
            ffi::IOMMU_PASS_THROUGH => IommuMode::PassThrough,
            ffi::IOMMU_SHARED_TABLES => IommuMode::SharedTables,
            _ => IommuMode::OwnTables,
        }
    }

    fn device_hole(&self, domain: &XenDomain) -> Option<DfnRange> {
        let (mut first, mut count) = (0, 0);
        // SAFETY: a live domain, and room for the results.
        let exists = unsafe { ffi::gdma_device_hole(domain.as_ptr(), &mut first, &mut count) };
        exists.then(|| DfnRange {
            first: Dfn::new(first),
            count,
        })
    }

    fn gfn_is_hole(&self, domain: &XenDomain, gfn: Gfn) -> bool {
        // SAFETY: a live domain, any frame number.
        unsafe { ffi::gdma_gfn_is_hole(domain.as_ptr(), gfn.number()) }
    }

    fn is_above_memory(&self, domain: &XenDomain, gfn: Gfn) -> bool {
        // SAFETY: a live domain, any frame number.
        unsafe { ffi::gdma_is_above_memory(domain.as_ptr(), gfn.number()) }
    }

    fn iommu_page_sizes(&self, domain: &XenDomain) -> u64 {
        // SAFETY: a live domain.
        unsafe { ffi::gdma_iommu_page_sizes(domain.as_ptr()) }
    }

    fn iommu_map(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        mfn: Mfn,
        count: u32,
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        // SAFETY: a live domain or context, and room for the flags. The caller holds references
        // to the frames; for Xen's memory safety any frame number will do.
        let result = unsafe {
            ffi::gdma_iommu_map(
                tables_ptr(tables),
                dfn.number(),
                mfn.number(),
                count,
                access.read,
                access.write,
                &mut flush.0,
            )
        };
        if result == 0 { Ok(()) } else { Err(IommuError) }
    }

    fn iommu_map_frames(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        mfns: &[Mfn],
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), u32> {
        let mut done = 0;
        // SAFETY: as for iommu_map(); an Mfn is a u64, of which there are so many.
        let result = unsafe {
            ffi::gdma_iommu_map_frames(
                tables_ptr(tables),
                dfn.number(),
                mfns.as_ptr().cast(),
                mfns.len() as u32,
                access.read,
                access.write,
                &mut done,
                &mut flush.0,
            )
        };
        if result == 0 { Ok(()) } else { Err(done) }
    }

    fn iommu_unmap(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        count: u32,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        // SAFETY: a live domain or context, and room for the flags.
        let result =
            unsafe { ffi::gdma_iommu_unmap(tables_ptr(tables), dfn.number(), count, &mut flush.0) };
        if result == 0 { Ok(()) } else { Err(IommuError) }
    }

    fn must_flush_soon(&self, flags: FlushFlags) -> bool {
        ffi::gdma_must_flush_soon(flags.0)
    }

    fn iommu_flush(
        &self,
        tables: IoTables<'_, Self>,
        range: DfnRange,
        flags: FlushFlags,
    ) -> Result<Flushed, IommuError> {
        // SAFETY: a live domain or context.
        let result = unsafe {
            ffi::gdma_iommu_flush(
                tables_ptr(tables),
                range.first.number(),
                range.count,
                flags.0,
            )
        };
        if result == 0 {
            Ok(Flushed::completed())
        } else {
            Err(IommuError)
        }
    }

    fn cpu_map_needs_identity(&self, holder: &XenDomain) -> bool {
        // SAFETY: a live domain.
        unsafe { ffi::gdma_cpu_map_needs_identity(holder.as_ptr()) }
    }

    fn identity_map(&self, holder: &XenDomain, mfn: Mfn, access: Access) -> Result<(), IommuError> {
        // SAFETY: a live domain; for Xen's memory safety any frame number will do.
        match unsafe { ffi::gdma_identity_map(holder.as_ptr(), mfn.number(), access.write) } {
            0 => Ok(()),
            _ => Err(IommuError),
        }
    }

    fn identity_unmap(&self, holder: &XenDomain, mfn: Mfn) -> Result<(), IommuError> {
        // SAFETY: a live domain; for Xen's memory safety any frame number will do.
        match unsafe { ffi::gdma_identity_unmap(holder.as_ptr(), mfn.number()) } {
            0 => Ok(()),
            _ => Err(IommuError),
        }
    }
}
