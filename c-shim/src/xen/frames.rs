// SPDX-License-Identifier: GPL-2.0-only
//! References to pages, and what is done with pages that are referenced.

use hv::{
    addr::{Access, Gfn, Mfn},
    host::{FrameError, Frames, IoMemory},
};
use hypercall_abi::Errno;

use super::Xen;
use crate::{
    domain::{XenDomain, XenDomainRef},
    ffi,
    page::{XenFrame, XenFrameRun, XenNear},
};

impl Frames for Xen {
    type Frame = XenFrame;
    type FrameRun = XenFrameRun;
    type Near = XenNear;

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

    #[inline(always)]
    fn pin_near(
        &self,
        owner: &XenDomain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        near: &mut XenNear,
    ) -> Result<XenFrame, FrameError> {
        XenFrame::pin_near(owner, gfn, access.write, take_type, near)
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
        write: bool,
        take_type: bool,
    ) -> Result<XenFrame, FrameError> {
        XenFrame::pin_again(owner, mfn, write, take_type)
    }

    fn pin_mfn(&self, mfn: Mfn) -> Result<(XenDomainRef, XenFrame), FrameError> {
        XenFrame::pin_mfn(mfn)
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
}
