// SPDX-License-Identifier: GPL-2.0-only
//! [`Host`]: Xen, as the service sees it.

use core::ffi::{c_int, c_uint, c_void};

use hv::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GuestPtr, Mfn},
    host::{
        DeviceError, FlushFlags, Flushed, FrameError, GuestFault, Host, IommuError, IommuMode,
        OutOfMemory, PciFacts, Refused,
    },
};

use crate::{
    domain::XenDomain,
    ffi,
    locks::{XenReadWrite, XenSpin},
    page::{XenFrame, XenSharedPage},
};

/// The hypervisor this code is linked into.
pub(crate) struct Xen;

/// The hypervisor, for everyone.
pub(crate) static XEN: Xen = Xen;

fn allowed(result: c_int) -> Result<(), Refused> {
    if result == 0 { Ok(()) } else { Err(Refused) }
}

fn to_guest(at: GuestPtr) -> *mut c_void {
    core::ptr::without_provenance_mut(at.0 as usize)
}

impl Host for Xen {
    type Spin<T: Send> = XenSpin<T>;
    type ReadWrite<T: Send + Sync> = XenReadWrite<T>;
    type Domain = XenDomain;
    type Frame = XenFrame;
    type SharedPage = XenSharedPage;

    const CPU_MAP_TAKES_TYPE: bool = cfg!(target_arch = "x86_64");

    fn current(&self) -> XenDomain {
        XenDomain::current()
    }

    fn domain(&self, id: DomId) -> Option<XenDomain> {
        XenDomain::by_id(id)
    }

    fn may_map_grant(
        &self,
        holder: &XenDomain,
        granter: &XenDomain,
        gntmap_flags: u32,
    ) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_map(holder.as_ptr(), granter.as_ptr(), gntmap_flags) })
    }

    fn may_unmap_grant(&self, holder: &XenDomain, granter: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_unmap(holder.as_ptr(), granter.as_ptr()) })
    }

    fn may_setup_table(&self, caller: &XenDomain, target: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_setup(caller.as_ptr(), target.as_ptr()) })
    }

    fn may_query_table(&self, caller: &XenDomain, target: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_query(caller.as_ptr(), target.as_ptr()) })
    }

    fn pin_gfn(
        &self,
        owner: &XenDomain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
    ) -> Result<XenFrame, FrameError> {
        XenFrame::pin_gfn(owner, gfn, access.write, take_type)
    }

    fn pin_again(
        &self,
        owner: &XenDomain,
        mfn: Mfn,
        take_type: bool,
    ) -> Result<XenFrame, FrameError> {
        XenFrame::pin_again(owner, mfn, take_type)
    }

    fn new_shared_page(&self) -> Result<XenSharedPage, OutOfMemory> {
        XenSharedPage::new()
    }

    fn mark_dirty(&self, owner: &XenDomain, frame: &XenFrame) {
        // SAFETY: a live domain and a referenced page.
        unsafe { ffi::gdma_page_mark_dirty(owner.as_ptr(), frame.as_ptr()) }
    }

    fn cpu_map_needs_identity(&self, holder: &XenDomain) -> bool {
        // SAFETY: a live domain.
        unsafe { ffi::gdma_cpu_map_needs_identity(holder.as_ptr()) }
    }

    fn map_for_cpu(
        &self,
        host_addr: u64,
        frame: &XenFrame,
        gntmap_flags: u32,
        cache_flags: u16,
    ) -> bool {
        // SAFETY: a referenced page; the function checks the guest's address.
        unsafe { ffi::gdma_cpu_map(host_addr, frame.as_ptr(), gntmap_flags, cache_flags) }
    }

    fn unmap_for_cpu(&self, host_addr: u64, frame: &XenFrame, gntmap_flags: u32) -> bool {
        // SAFETY: a referenced page; the function checks what is mapped there.
        unsafe { ffi::gdma_cpu_unmap(host_addr, frame.as_ptr(), gntmap_flags) }
    }

    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool {
        ffi::gdma_guest_range_okay(to_guest(at), bytes)
    }

    fn copy_from_guest(&self, at: GuestPtr, into: &mut [u8]) -> Result<(), GuestFault> {
        let len = c_uint::try_from(into.len()).map_err(|_| GuestFault)?;
        // SAFETY: room for `len` bytes; the copy itself checks the guest's address.
        let copied = unsafe { ffi::gdma_guest_read(into.as_mut_ptr(), to_guest(at), len) };
        if copied { Ok(()) } else { Err(GuestFault) }
    }

    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault> {
        let len = c_uint::try_from(from.len()).map_err(|_| GuestFault)?;
        // SAFETY: `len` bytes to read; the copy itself checks the guest's address.
        let copied = unsafe { ffi::gdma_guest_write(to_guest(at), from.as_ptr(), len) };
        if copied { Ok(()) } else { Err(GuestFault) }
    }

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

    fn iommu_page_sizes(&self, domain: &XenDomain) -> u64 {
        // SAFETY: a live domain.
        unsafe { ffi::gdma_iommu_page_sizes(domain.as_ptr()) }
    }

    fn iommu_map(
        &self,
        domain: &XenDomain,
        dfn: Dfn,
        mfn: Mfn,
        count: u32,
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        // SAFETY: a live domain, and room for the flags. The caller holds references
        // to the frames; for Xen's memory safety any frame number will do.
        let result = unsafe {
            ffi::gdma_iommu_map(
                domain.as_ptr(),
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

    fn iommu_unmap(
        &self,
        domain: &XenDomain,
        dfn: Dfn,
        count: u32,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        // SAFETY: a live domain, and room for the flags.
        let result =
            unsafe { ffi::gdma_iommu_unmap(domain.as_ptr(), dfn.number(), count, &mut flush.0) };
        if result == 0 { Ok(()) } else { Err(IommuError) }
    }

    fn iommu_flush(
        &self,
        domain: &XenDomain,
        range: DfnRange,
        flags: FlushFlags,
    ) -> Result<Flushed, IommuError> {
        // SAFETY: a live domain.
        let result = unsafe {
            ffi::gdma_iommu_flush(domain.as_ptr(), range.first.number(), range.count, flags.0)
        };
        if result == 0 {
            Ok(Flushed::completed())
        } else {
            Err(IommuError)
        }
    }

    fn pci_device(&self, owner: &XenDomain, sbdf: u32) -> Result<PciFacts, DeviceError> {
        // SAFETY: a live domain.
        match unsafe { ffi::gdma_pci_device(owner.as_ptr(), sbdf) } {
            ffi::PCI_UNSUPPORTED => Err(DeviceError::NoPci),
            ffi::PCI_NOT_FOUND => Err(DeviceError::NotYours),
            ffi::PCI_NO_IOMMU => Ok(PciFacts {
                behind_iommu: false,
            }),
            _ => Ok(PciFacts { behind_iommu: true }),
        }
    }

    fn has_pci(&self) -> bool {
        cfg!(target_arch = "x86_64")
    }

    fn preempt_requested(&self) -> bool {
        ffi::gdma_preempt_check()
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
