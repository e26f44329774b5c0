// SPDX-License-Identifier: GPL-2.0-only
//! [`Host`]: Xen, as the service sees it.

use alloc::vec::Vec;
use core::{ffi::c_int, mem::MaybeUninit, slice};

use hv::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GuestPtr, Mfn},
    host::{
        AttachError, Content, CopyError, DeviceError, ELEMENTS_PER_COPY, Elements, ElementsAt,
        FlushFlags, Flushed, FrameError, Given, GuestFault, HasDevices, Host, IoMemory, IoTables,
        IommuError, IommuMode, NoIoContext, OfferError, OutOfMemory, PciFacts, Progress, Refused,
        StealError, TraceEvent,
    },
    hypercall::{Answer, Call, Hypercall},
};
use hypercall_abi::{Errno, command::XEN_GDMA_CONTEXT_DEFAULT, grant::Gntst};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    context::XenIoContext,
    domain::{XenDomain, XenDomainRef},
    ffi,
    guest::{self, Kept, KeptArray, XenOrigin, to_guest},
    locks::{XenReadWrite, XenSpin},
    mapped::XenMapped,
    page::{XenFrame, XenFrameRun, XenLoosePage, XenOfferedPage, XenSharedPage},
    shared::Shared,
};

/// The hypervisor this code is linked into.
pub(crate) struct Xen;

fn allowed(result: c_int) -> Result<(), Refused> {
    if result == 0 { Ok(()) } else { Err(Refused) }
}

fn status(result: c_int) -> Result<(), Gntst> {
    match Gntst::from_wire(result) {
        Gntst::Okay => Ok(()),
        error => Err(error),
    }
}

/// What Xen's IOMMU code takes for the domain whose tables these are.
#[inline]
fn tables_ptr(tables: IoTables<'_, Xen>) -> *mut ffi::Domain {
    match tables {
        IoTables::Default(domain) => domain.as_ptr(),
        IoTables::Own(context) => context.tables(),
    }
}

impl Host for Xen {
    type Spin<T: Send> = XenSpin<T>;
    type ReadWrite<T: Send + Sync> = XenReadWrite<T>;
    type Domain = XenDomain;
    type DomainRef = XenDomainRef;
    type Frame = XenFrame;
    type FrameRun = XenFrameRun;
    type SharedPage = XenSharedPage;
    type LoosePage = XenLoosePage;
    type MappedMemory = XenMapped;
    type Kept = KeptArray;
    type Origin<'a> = XenOrigin<'a>;
    type OfferedPage<'a> = XenOfferedPage<'a>;
    type IoContext = XenIoContext;
    type Shared<T: Send + Sync> = Shared<T>;

    const CPU_MAP_TAKES_TYPE: bool = cfg!(target_arch = "x86_64");

    #[inline(always)]
    fn current(&self) -> XenDomainRef {
        XenDomainRef::current()
    }

    #[inline(always)]
    fn has_wide_registers(&self) -> bool {
        ffi::gdma_wide_registers()
    }

    fn current_vcpu(&self) -> u32 {
        ffi::gdma_vcpu_current()
    }

    fn domain(&self, id: DomId) -> Option<XenDomainRef> {
        XenDomainRef::by_id(id)
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

    fn may_transfer(&self, caller: &XenDomain, receiver: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_transfer(caller.as_ptr(), receiver.as_ptr()) })
    }

    fn may_copy(&self, source: &XenDomain, dest: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_copy(source.as_ptr(), dest.as_ptr()) })
    }

    fn may_use_contexts(&self, owner: &XenDomain) -> Result<(), Refused> {
        // SAFETY: the calling domain.
        allowed(unsafe { ffi::gdma_xsm_context(owner.as_ptr()) })
    }

    fn may_attach_device(&self, owner: &XenDomain, sbdf: u32) -> Result<(), Refused> {
        // SAFETY: the calling domain.
        allowed(unsafe { ffi::gdma_xsm_attach(owner.as_ptr(), sbdf) })
    }

    fn may_set_limits(&self, target: &XenDomain) -> Result<(), Refused> {
        // SAFETY: a live domain.
        allowed(unsafe { ffi::gdma_xsm_limits(target.as_ptr()) })
    }

    fn transitive_allowed(&self) -> bool {
        ffi::gdma_transitive_allowed()
    }

    fn transfer_allowed(&self) -> bool {
        ffi::gdma_transfer_allowed()
    }

    #[inline(always)]
    fn pin_gfn(
        &self,
        owner: &XenDomain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        io: IoMemory,
    ) -> Result<XenFrame, FrameError> {
        let io = io == IoMemory::Allowed;
        XenFrame::pin_gfn(owner, gfn, access.write, take_type, io)
    }

    fn pin_run(
        &self,
        owner: &XenDomain,
        gfn: Gfn,
        most: u32,
        write: bool,
    ) -> Result<XenFrameRun, FrameError> {
        XenFrameRun::pin(owner, gfn, most, write)
    }

    #[inline(always)]
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
        unsafe { ffi::gdma_page_mark_dirty(owner.as_ptr(), frame.number()) }
    }

    #[inline(always)]
    fn copy_between(
        &self,
        from: &XenFrame,
        from_offset: u16,
        to: &XenFrame,
        to_offset: u16,
        len: u16,
    ) {
        // SAFETY: referenced pages; the ranges are inside them, says the caller.
        unsafe {
            ffi::gdma_page_copy(
                to.number(),
                to_offset.into(),
                from.number(),
                from_offset.into(),
                len.into(),
            );
        }
    }

    fn pin_mfn(&self, mfn: Mfn) -> Result<(XenDomainRef, XenFrame), FrameError> {
        XenFrame::pin_mfn(mfn)
    }

    fn flush_cache(
        &self,
        frame: &XenFrame,
        offset: u16,
        length: u16,
        op: u32,
    ) -> Result<(), Errno> {
        // SAFETY: a referenced page; the range is inside it, says the caller.
        let result =
            unsafe { ffi::gdma_page_flush_cache(frame.number(), offset.into(), length.into(), op) };
        match result {
            0 => Ok(()),
            // The only reason there is.
            _ => Err(Errno::OpNotSupp),
        }
    }

    fn steal_page(&self, owner: &XenDomain, gfn: Gfn) -> Result<XenLoosePage, StealError> {
        XenLoosePage::steal(owner, gfn)
    }

    #[inline(always)]
    fn offer_page<'a>(
        &self,
        page: XenLoosePage,
        receiver: &'a XenDomain,
        wide_frames: bool,
    ) -> Result<XenOfferedPage<'a>, OfferError> {
        page.offer(receiver, wide_frames)
    }

    #[inline(always)]
    fn give_page(&self, page: XenOfferedPage<'_>, gfn: Gfn) -> Given {
        page.give(gfn)
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

    #[inline]
    fn trace(&self, event: TraceEvent, other: DomId) {
        // SAFETY: a constant of C's.
        let tracing = unsafe { ffi::gdma_tracing };
        // SAFETY: a variable of Xen's, read as Xen's own macros do.
        if !unsafe { tracing.read_volatile() } {
            return;
        }
        let event = match event {
            TraceEvent::Map => ffi::TRACE_MAP,
            TraceEvent::Unmap => ffi::TRACE_UNMAP,
            TraceEvent::Transfer => ffi::TRACE_TRANSFER,
        };
        ffi::gdma_trace(event, other.0);
    }

    #[inline(always)]
    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool {
        guest::is_below_xen(at, bytes) || ffi::gdma_guest_range_okay(to_guest(at), bytes)
    }

    #[inline(always)]
    fn with_elements<T, R>(
        &self,
        at: ElementsAt<'_, Self>,
        count: usize,
        then: Elements<'_, KeptArray>,
        work: impl FnOnce(&mut [T], &XenOrigin<'_>) -> R,
    ) -> Result<R, GuestFault>
    where
        T: FromBytes + IntoBytes + Immutable + Copy,
    {
        let mut room = [const { MaybeUninit::<T>::uninit() }; ELEMENTS_PER_COPY];
        let room = room.get_mut(..count).ok_or(GuestFault)?;
        let len = size_of_val(room);
        let start = room.as_mut_ptr();
        let kept;
        let origin = match (at, then) {
            (ElementsAt::Guest(at), Elements::AnsweredInParts(array)) => {
                // SAFETY: room for `len` bytes.
                unsafe { array.read(start.cast(), at, len)? };
                XenOrigin::Part { at, len, array }
            }
            (ElementsAt::Guest(at), then) => {
                let keep = matches!(then, Elements::Answered);
                // SAFETY: room for `len` bytes.
                kept = unsafe { Kept::read(start.cast(), at, len, keep)? };
                XenOrigin::Guest {
                    at,
                    len,
                    kept: &kept,
                }
            }
            (ElementsAt::Mapped(memory, offset), _) => {
                // SAFETY: the same.
                unsafe { memory.read(offset, start.cast(), len)? };
                XenOrigin::Mapped(memory, offset)
            }
        };
        // SAFETY: all `count` elements have been written, and any bytes are a `T`.
        let elements = unsafe { slice::from_raw_parts_mut(start.cast::<T>(), count) };
        Ok(work(elements, &origin))
    }

    fn map_memory(&self, frames: Vec<XenFrame>) -> Result<XenMapped, OutOfMemory> {
        XenMapped::new(frames)
    }

    #[inline(always)]
    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault> {
        guest::write(at, from)
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

    fn is_above_memory(&self, domain: &XenDomain, gfn: Gfn) -> bool {
        // SAFETY: a live domain, any frame number.
        unsafe { ffi::gdma_is_above_memory(domain.as_ptr(), gfn.number()) }
    }

    fn iommu_page_sizes(&self, domain: &XenDomain) -> u64 {
        // SAFETY: a live domain.
        unsafe { ffi::gdma_iommu_page_sizes(domain.as_ptr()) }
    }

    fn share<T: Send + Sync>(&self, value: T) -> Result<Shared<T>, OutOfMemory> {
        Shared::new(value)
    }

    fn context_range(
        &self,
        owner: &XenDomain,
        last: Dfn,
        wanted: u64,
        content: Content,
    ) -> Option<DfnRange> {
        XenIoContext::range(owner, last, wanted, content)
    }

    fn new_io_context(&self, owner: &XenDomain, number: u32) -> Result<XenIoContext, NoIoContext> {
        XenIoContext::new(owner, number)
    }

    fn mirror_memory(
        &self,
        _owner: &XenDomain,
        context: &XenIoContext,
        end: Dfn,
    ) -> Result<Progress, CopyError> {
        context.mirror(end)
    }

    fn end_mirror(&self, context: &XenIoContext) -> Result<Progress, IommuError> {
        context.end_mirror()
    }

    fn close_io_context(&self, context: &XenIoContext) -> Result<(), HasDevices> {
        context.close()
    }

    fn attach_device(
        &self,
        owner: &XenDomain,
        sbdf: u32,
        to: IoTables<'_, Self>,
    ) -> Result<bool, AttachError> {
        let to = match to {
            IoTables::Default(_) => None,
            IoTables::Own(context) => Some(context),
        };
        XenIoContext::attach(owner, sbdf, to)
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

    fn must_flush_soon(&self, flags: FlushFlags) -> bool {
        ffi::gdma_must_flush_soon(flags.0)
    }

    fn pci_device(&self, owner: &XenDomain, sbdf: u32) -> Result<PciFacts, DeviceError> {
        let mut context = XEN_GDMA_CONTEXT_DEFAULT;
        // SAFETY: a live domain, and room for the number.
        match unsafe { ffi::gdma_pci_device(owner.as_ptr(), sbdf, &mut context) } {
            ffi::PCI_UNSUPPORTED => Err(DeviceError::NoPci),
            ffi::PCI_NOT_FOUND => Err(DeviceError::NotYours),
            covered => Ok(PciFacts {
                behind_iommu: covered != ffi::PCI_NO_IOMMU,
                context,
            }),
        }
    }

    fn notify(&self, domain: &XenDomain, port: u32) {
        // SAFETY: a live domain.
        unsafe { ffi::gdma_notify(domain.as_ptr(), port) }
    }

    fn most_contexts(&self) -> u32 {
        XenIoContext::most()
    }

    fn has_pci(&self) -> bool {
        cfg!(target_arch = "x86_64")
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
