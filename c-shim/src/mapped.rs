// SPDX-License-Identifier: GPL-2.0-only
//! Memory of guests that Xen has mapped for itself.

use alloc::vec::Vec;
use core::{
    ffi::{c_uint, c_void},
    ptr::NonNull,
};

use hv::{
    addr::PAGE_SIZE,
    host::{Frame, GuestFault, MappedMemory, OutOfMemory},
};

use crate::{domain::XenDomainRef, ffi, page::XenFrame};

/// Pages, one behind the other.
///
/// # Invariants
///
/// `at` is where Xen has mapped the pages of `frames`, in this order, and nothing else;
/// this value alone owns the mapping. The frames were pinned to be written.
pub(crate) struct XenMapped {
    at: NonNull<c_void>,
    frames: Vec<XenFrame>,
}

// SAFETY: a mapping of Xen's own is the same on every CPU.
unsafe impl Send for XenMapped {}
// SAFETY: the same; what is in the pages may change at any moment anyway, and only C
// looks at it.
unsafe impl Sync for XenMapped {}

impl XenMapped {
    /// Maps the pages, which were pinned to be written.
    pub(crate) fn new(frames: Vec<XenFrame>) -> Result<Self, OutOfMemory> {
        let mut mfns = Vec::new();
        mfns.try_reserve_exact(frames.len())
            .map_err(|_| OutOfMemory)?;
        mfns.extend(frames.iter().map(|frame| frame.mfn().number()));
        let count = c_uint::try_from(mfns.len()).map_err(|_| OutOfMemory)?;
        // SAFETY: so many referenced pages.
        let at = unsafe { ffi::gdma_pages_map(mfns.as_ptr(), count) };
        let at = NonNull::new(at).ok_or(OutOfMemory)?;
        Ok(Self { at, frames })
    }

    /// The address of a range, if it is inside.
    fn range(&self, offset: u64, bytes: usize) -> Result<(NonNull<c_void>, c_uint), GuestFault> {
        let length = c_uint::try_from(bytes).map_err(|_| GuestFault)?;
        let end = offset.checked_add(length.into()).ok_or(GuestFault)?;
        if end > self.bytes() {
            return Err(GuestFault);
        }
        // SAFETY: inside the mapping.
        Ok((unsafe { self.at.byte_add(offset as usize) }, length))
    }

    /// Copies from there.
    ///
    /// # Safety
    ///
    /// `to` has room for so many bytes.
    pub(crate) unsafe fn read(
        &self,
        offset: u64,
        to: *mut u8,
        bytes: usize,
    ) -> Result<(), GuestFault> {
        let (from, length) = self.range(offset, bytes)?;
        // SAFETY: a mapped range, says the invariant, and room for it, says the caller.
        unsafe { ffi::gdma_pages_copy(to.cast(), from.as_ptr(), length) };
        Ok(())
    }
}

impl MappedMemory for XenMapped {
    fn bytes(&self) -> u64 {
        self.frames.len() as u64 * PAGE_SIZE
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), GuestFault> {
        let (to, length) = self.range(offset, from.len())?;
        if length == 0 {
            return Ok(());
        }
        // SAFETY: a mapped range, says the invariant; `from` has as many bytes.
        unsafe { ffi::gdma_pages_copy(to.as_ptr(), from.as_ptr().cast(), length) };
        // Whoever migrates the guest has to know.
        let owner = XenDomainRef::current();
        let first = offset / PAGE_SIZE;
        let last = (offset + u64::from(length) - 1) / PAGE_SIZE;
        let written = (last - first + 1) as usize;
        for frame in self.frames.iter().skip(first as usize).take(written) {
            // SAFETY: a live domain and a referenced page.
            unsafe { ffi::gdma_page_mark_dirty(owner.as_ptr(), frame.mfn().number()) };
        }
        Ok(())
    }
}

impl Drop for XenMapped {
    fn drop(&mut self) {
        // SAFETY: the invariant; the pages' references are given back afterwards.
        unsafe { ffi::gdma_pages_unmap(self.at.as_ptr()) };
    }
}
