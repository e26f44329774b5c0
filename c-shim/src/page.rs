// SPDX-License-Identifier: GPL-2.0-only
//! References to pages of guests, and pages shared with guests.

use core::{
    num::NonZeroUsize,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use hv::{
    addr::{Gfn, Mfn, PAGE_SIZE},
    host::{Frame, FrameError, OutOfMemory, SharedPage},
};

use crate::{domain::XenDomain, ffi};

/// A page reference, and perhaps a writable-type reference.
///
/// # Invariants
///
/// The value is the address of a `struct page_info`, whose alignment leaves bit 0
/// free: it says that there is a type reference. The value owes the references.
#[derive(Debug)]
pub(crate) struct XenFrame(NonZeroUsize);

const HAS_TYPE: usize = 1;

impl XenFrame {
    /// # Safety
    ///
    /// `page` is a `struct page_info` of which the caller hands over a reference,
    /// and a writable-type reference if `has_type`.
    unsafe fn new(page: *mut ffi::Page, has_type: bool) -> Option<Self> {
        let tag = if has_type { HAS_TYPE } else { 0 };
        NonZeroUsize::new(page.expose_provenance() | tag).map(Self)
    }

    fn has_type(&self) -> bool {
        self.0.get() & HAS_TYPE != 0
    }

    /// For calls into C.
    pub(crate) fn as_ptr(&self) -> *mut ffi::Page {
        ptr::with_exposed_provenance_mut(self.0.get() & !HAS_TYPE)
    }

    /// See [`hv::host::Host::pin_gfn`].
    pub(crate) fn pin_gfn(
        owner: &XenDomain,
        gfn: Gfn,
        write: bool,
        take_type: bool,
    ) -> Result<Self, FrameError> {
        let mut page = ptr::null_mut();
        // SAFETY: a live domain, and room for the result.
        let result =
            unsafe { ffi::gdma_pin_gfn(owner.as_ptr(), gfn.number(), write, take_type, &mut page) };
        match result {
            ffi::PIN_OKAY => {
                // SAFETY: on success the references asked for are ours.
                unsafe { Self::new(page, take_type) }.ok_or(FrameError::NotMemory)
            }
            ffi::PIN_TRY_AGAIN => Err(FrameError::TryAgain),
            _ => Err(FrameError::NotMemory),
        }
    }

    /// See [`hv::host::Host::pin_again`].
    pub(crate) fn pin_again(
        owner: &XenDomain,
        mfn: Mfn,
        take_type: bool,
    ) -> Result<Self, FrameError> {
        let mut page = ptr::null_mut();
        // SAFETY: a live domain, any frame number, and room for the result.
        let pinned =
            unsafe { ffi::gdma_page_again(owner.as_ptr(), mfn.number(), take_type, &mut page) };
        if !pinned {
            return Err(FrameError::NotMemory);
        }
        // SAFETY: on success the references asked for are ours.
        unsafe { Self::new(page, take_type) }.ok_or(FrameError::NotMemory)
    }
}

impl Frame for XenFrame {
    fn mfn(&self) -> Mfn {
        // SAFETY: the invariant; page_to_mfn() is arithmetic.
        Mfn::new(unsafe { ffi::gdma_page_mfn(self.as_ptr()) })
    }
}

impl Drop for XenFrame {
    fn drop(&mut self) {
        // SAFETY: the invariant: the references are ours to give back.
        unsafe { ffi::gdma_page_put(self.as_ptr(), self.has_type()) }
    }
}

/// A page of Xen's heap for a grant table.
///
/// # Invariants
///
/// A whole page from `gdma_shared_alloc()`, ours until dropped. Once `shared`, the
/// guest reads and writes it at any time: only atomic accesses.
pub(crate) struct XenSharedPage {
    base: NonNull<u8>,
    shared: AtomicBool,
}

// SAFETY: the page has no owner among CPUs; all accesses are atomic.
unsafe impl Send for XenSharedPage {}
// SAFETY: the same.
unsafe impl Sync for XenSharedPage {}

impl XenSharedPage {
    /// A zeroed page.
    pub(crate) fn new() -> Result<Self, OutOfMemory> {
        NonNull::new(ffi::gdma_shared_alloc())
            .map(|base| Self {
                base,
                shared: AtomicBool::new(false),
            })
            .ok_or(OutOfMemory)
    }

    /// Address of the `T` at this offset, which is taken modulo the page size and
    /// rounded down to the size of `T`.
    fn at<T>(&self, offset: usize) -> *mut T {
        let offset = offset & (PAGE_SIZE as usize - 1) & !(size_of::<T>() - 1);
        self.base.as_ptr().wrapping_add(offset).cast()
    }
}

impl Drop for XenSharedPage {
    fn drop(&mut self) {
        // A page that a guest knows of is freed with the guest (see
        // entry::domain_destroy), when nobody can map it any more: like any other,
        // because by then the state that holds it is the last reference.
        //
        // SAFETY: the invariant: ours, and not used afterwards.
        unsafe { ffi::gdma_shared_free(self.base.as_ptr()) }
    }
}

impl SharedPage<XenDomain> for XenSharedPage {
    fn share(&self, owner: &XenDomain) {
        if !self.shared.swap(true, Ordering::Relaxed) {
            // SAFETY: a page of Xen's heap that is not shared yet; a live domain.
            unsafe { ffi::gdma_shared_share(self.base.as_ptr(), owner.as_ptr()) }
        }
    }

    fn mfn(&self) -> Mfn {
        // SAFETY: an address of Xen's heap; arithmetic.
        Mfn::new(unsafe { ffi::gdma_shared_mfn(self.base.as_ptr()) })
    }

    fn gfn(&self, owner: &XenDomain) -> Option<Gfn> {
        let mut gfn = 0;
        // SAFETY: an address of Xen's heap, a live domain, room for the result.
        let known = unsafe { ffi::gdma_shared_gfn(self.base.as_ptr(), owner.as_ptr(), &mut gfn) };
        known.then(|| Gfn::new(gfn))
    }

    fn load32(&self, offset: usize) -> u32 {
        // SAFETY: inside the page and aligned; the guest's CPUs and ours access it
        // atomically, and nobody holds a plain reference.
        let word = unsafe { AtomicU32::from_ptr(self.at(offset)) };
        word.load(Ordering::Acquire)
    }

    fn compare_exchange32(&self, owner: &XenDomain, offset: usize, old: u32, new: u32) -> u32 {
        // SAFETY: inside the page and aligned; guest_cmpxchg() is atomic and
        // bounded. A live domain.
        unsafe { ffi::gdma_shared_cmpxchg32(owner.as_ptr(), self.at(offset), old, new) }
    }

    fn clear_bits16(&self, owner: &XenDomain, offset: usize, bits: u16) {
        // SAFETY: inside the page and aligned; gnttab_clear_flags() is atomic,
        // bounded, and touches only these two bytes. A live domain.
        unsafe { ffi::gdma_shared_clear16(owner.as_ptr(), self.at(offset), bits) }
    }
}
