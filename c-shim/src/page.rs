// SPDX-License-Identifier: GPL-2.0-only
//! References to pages of guests, and pages shared with guests.

use core::{
    ffi::c_uint,
    mem,
    num::NonZeroUsize,
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
};

use hv::{
    addr::{Gfn, Mfn, PAGE_SIZE},
    host::{
        CannotPlace, Domain, Frame, FrameError, FrameRun, LoosePage, OutOfMemory, SharedPage,
        StealError, UnshareError,
    },
};

use hypercall_abi::Errno;

use crate::{
    domain::{XenDomain, XenDomainRef},
    ffi,
};

/// One or two references to a page, each perhaps with a writable-type reference.
///
/// # Invariants
///
/// The value is the address of a `struct page_info`, whose alignment leaves the
/// lower bits free: they say whether there is a type reference ([`TYPED`]), a
/// second page reference ([`SECOND`]) and a type reference with that
/// ([`SECOND_TYPED`], only with [`SECOND`]). The value owes them all.
#[derive(Debug)]
pub(crate) struct XenFrame(NonZeroUsize);

const TYPED: usize = 1;
const SECOND: usize = 2;
const SECOND_TYPED: usize = 4;
const TAGS: usize = TYPED | SECOND | SECOND_TYPED;

fn typed_tag(typed: bool) -> usize {
    if typed { TYPED } else { 0 }
}

#[inline(always)]
fn pinned(result: c_uint) -> Result<(), FrameError> {
    match result {
        ffi::PIN_OKAY => Ok(()),
        ffi::PIN_TRY_AGAIN => Err(FrameError::TryAgain),
        ffi::PIN_NOT_WRITABLE => Err(FrameError::NotWritable),
        ffi::PIN_GONE => Err(FrameError::Gone),
        _ => Err(FrameError::NotMemory),
    }
}

impl XenFrame {
    /// # Safety
    ///
    /// `page` is a `struct page_info` of which the caller hands over a reference,
    /// and a writable-type reference if `typed`.
    unsafe fn new(page: *mut ffi::Page, typed: bool) -> Option<Self> {
        NonZeroUsize::new(page.expose_provenance() | typed_tag(typed)).map(Self)
    }

    fn has(&self, tag: usize) -> bool {
        self.0.get() & tag != 0
    }

    /// The same page with other tags; the references change hands with them.
    fn with_tags(&self, tags: usize) -> Self {
        let page = self.0.get() & !TAGS;
        // An address without its tags is not 0, so this keeps the old value only if
        // the invariant is broken.
        Self(NonZeroUsize::new(page | tags).unwrap_or(self.0))
    }

    /// For calls into C.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut ffi::Page {
        ptr::with_exposed_provenance_mut(self.0.get() & !TAGS)
    }

    /// See [`hv::host::Host::pin_gfn`].
    #[inline(always)]
    pub(crate) fn pin_gfn(
        owner: &XenDomain,
        gfn: Gfn,
        write: bool,
        take_type: bool,
        io: bool,
    ) -> Result<Self, FrameError> {
        let mut page = ptr::null_mut();
        // SAFETY: a live domain, and room for the result.
        let result = unsafe {
            ffi::gdma_pin_gfn(
                owner.as_ptr(),
                gfn.number(),
                write,
                take_type,
                io,
                &mut page,
            )
        };
        pinned(result)?;
        // SAFETY: on success the references asked for are ours.
        unsafe { Self::new(page, take_type) }.ok_or(FrameError::NotMemory)
    }

    /// See [`hv::host::Host::pin_again`].
    #[inline(always)]
    pub(crate) fn pin_again(
        owner: &XenDomain,
        mfn: Mfn,
        take_type: bool,
    ) -> Result<Self, FrameError> {
        let mut page = ptr::null_mut();
        // SAFETY: a live domain, any frame number, and room for the result.
        let result =
            unsafe { ffi::gdma_page_again(owner.as_ptr(), mfn.number(), take_type, &mut page) };
        pinned(result)?;
        // SAFETY: on success the references asked for are ours.
        unsafe { Self::new(page, take_type) }.ok_or(FrameError::NotMemory)
    }

    /// See [`hv::host::Host::pin_mfn`].
    pub(crate) fn pin_mfn(mfn: Mfn) -> Result<(XenDomainRef, Self), FrameError> {
        let mut page = ptr::null_mut();
        // SAFETY: any frame number, and room for the result.
        let owner = unsafe { ffi::gdma_page_of_mfn(mfn.number(), &mut page) };
        if page.is_null() {
            return Err(FrameError::NotMemory);
        }
        let owner = NonNull::new(owner).ok_or(FrameError::Gone)?;
        // SAFETY: there is an owner, so a reference is ours.
        let frame = unsafe { Self::new(page, false) }.ok_or(FrameError::NotMemory)?;
        // SAFETY: whoever owns a referenced page is alive; the caller keeps the
        // reference as long as the domain.
        let owner = unsafe { XenDomain::borrowed(owner) }.ok_or(FrameError::Gone)?;
        // SAFETY: the same.
        Ok((unsafe { XenDomainRef::owner(owner) }, frame))
    }
}

impl Frame for XenFrame {
    fn mfn(&self) -> Mfn {
        // SAFETY: the invariant; page_to_mfn() is arithmetic.
        Mfn::new(unsafe { ffi::gdma_page_mfn(self.as_ptr()) })
    }

    fn joined(self, other: Self) -> Self {
        debug_assert!(!self.has(SECOND) && !other.has(SECOND));
        let second = if other.has(TYPED) { SECOND_TYPED } else { 0 };
        let both = self.with_tags(typed_tag(self.has(TYPED)) | SECOND | second);
        mem::forget((self, other));
        both
    }

    fn take_one(&mut self, typed: bool) -> Option<Self> {
        if !self.has(SECOND) {
            return None;
        }
        // One of each kind if they differ; else it does not matter which.
        let (first, second) = (self.has(TYPED), self.has(SECOND_TYPED));
        let rest = if first == typed { second } else { first };
        let taken = if first == typed { first } else { second };
        let rest = self.with_tags(typed_tag(rest));
        let taken = self.with_tags(typed_tag(taken));
        mem::forget(mem::replace(self, rest));
        Some(taken)
    }

    fn leave_to_page_tables(self) {
        debug_assert!(!self.has(SECOND));
        // SAFETY: the invariant: the references are ours to give away.
        unsafe { ffi::gdma_page_leave_to_page_tables(self.as_ptr(), self.has(TYPED)) };
        mem::forget(self);
    }
}

impl Drop for XenFrame {
    fn drop(&mut self) {
        // SAFETY: the invariant: the references are ours to give back.
        unsafe { ffi::gdma_page_put(self.as_ptr(), self.has(TYPED)) }
        if self.has(SECOND) {
            // SAFETY: the same.
            unsafe { ffi::gdma_page_put(self.as_ptr(), self.has(SECOND_TYPED)) }
        }
    }
}

/// References to pages that follow each other in the machine.
///
/// # Invariants
///
/// One to each of the `count` pages from `first` on, of which there is at least one, each
/// with a writable-type reference if `typed`. The value owes them all.
#[derive(Debug)]
pub(crate) struct XenFrameRun {
    first: Mfn,
    count: u32,
    typed: bool,
}

impl XenFrameRun {
    /// See [`hv::host::Host::pin_run`].
    pub(crate) fn pin(
        owner: &XenDomain,
        gfn: Gfn,
        most: u32,
        write: bool,
    ) -> Result<Self, FrameError> {
        let (mut mfn, mut count) = (0, 0);
        // SAFETY: a live domain, any frame number, and room for the results.
        let result = unsafe {
            ffi::gdma_pin_run(
                owner.as_ptr(),
                gfn.number(),
                most,
                write,
                &mut mfn,
                &mut count,
            )
        };
        pinned(result)?;
        // On success the references are ours; types are for PV owners.
        Ok(Self {
            first: Mfn::new(mfn),
            count,
            typed: write && !owner.is_translated(),
        })
    }
}

impl FrameRun for XenFrameRun {
    #[inline]
    fn first(&self) -> Mfn {
        self.first
    }

    #[inline]
    fn count(&self) -> u32 {
        self.count
    }

    fn append(&mut self, next: Self) -> Result<(), Self> {
        let follows = self.first.checked_add(self.count.into()) == Some(next.first);
        match self.count.checked_add(next.count) {
            Some(count) if follows && self.typed == next.typed => {
                mem::forget(next);
                self.count = count;
                Ok(())
            }
            _ => Err(next),
        }
    }

    fn split_last(&mut self, count: u32) -> Option<Self> {
        let left = self.count.checked_sub(count).filter(|&left| left != 0)?;
        let first = self.first.checked_add(left.into())?;
        self.count = left;
        Some(Self {
            first,
            count,
            typed: self.typed,
        })
    }
}

impl Drop for XenFrameRun {
    fn drop(&mut self) {
        // SAFETY: the invariant: the references are ours to give back.
        unsafe { ffi::gdma_pages_put(self.first.number(), self.count, self.typed) }
    }
}

/// A page without an owner.
///
/// # Invariants
///
/// A page of Xen's domain heap that nobody knows of; ours until dropped.
#[derive(Debug)]
pub(crate) struct XenLoosePage(NonNull<ffi::Page>);

// SAFETY: the page belongs to this value alone, not to a CPU.
unsafe impl Send for XenLoosePage {}

impl XenLoosePage {
    /// See [`hv::host::Host::steal_page`].
    pub(crate) fn steal(owner: &XenDomain, gfn: Gfn) -> Result<Self, StealError> {
        let mut page = ptr::null_mut();
        // SAFETY: a live domain, and room for the result.
        match unsafe { ffi::gdma_page_steal(owner.as_ptr(), gfn.number(), &mut page) } {
            // On success the page is ours.
            ffi::STEAL_OKAY => NonNull::new(page).map(Self).ok_or(StealError::BadPage),
            ffi::STEAL_BAD_PAGE => Err(StealError::BadPage),
            _ => Err(StealError::InUse),
        }
    }

    /// See [`hv::host::Host::page_for`].
    pub(crate) fn usable_for(self, receiver: &XenDomain, wide_frames: bool) -> Option<Self> {
        let page = self.0.as_ptr();
        mem::forget(self);
        // SAFETY: the page is ours, and the function uses it up; a live domain.
        let page = unsafe { ffi::gdma_page_for(page, receiver.as_ptr(), wide_frames) };
        NonNull::new(page).map(Self)
    }

    /// See [`hv::host::Host::assign_page`].
    pub(crate) fn assign(
        self,
        receiver: &XenDomain,
        commit: impl FnOnce() -> bool,
    ) -> Result<Mfn, CannotPlace> {
        // SAFETY: a live domain.
        if !unsafe { ffi::gdma_page_reserve(receiver.as_ptr()) } {
            return Err(CannotPlace);
        }
        if commit() {
            let mut mfn = 0;
            // SAFETY: a live domain that has set room aside; the page is ours; room for
            // the result.
            if unsafe { ffi::gdma_page_assign(self.0.as_ptr(), receiver.as_ptr(), &mut mfn) } {
                mem::forget(self);
                return Ok(Mfn::new(mfn));
            }
        }
        // SAFETY: a live domain that has set room aside.
        unsafe { ffi::gdma_page_unreserve(receiver.as_ptr()) };
        Err(CannotPlace)
    }
}

impl LoosePage for XenLoosePage {
    fn mfn(&self) -> Mfn {
        // SAFETY: the invariant; page_to_mfn() is arithmetic.
        Mfn::new(unsafe { ffi::gdma_page_mfn(self.0.as_ptr()) })
    }
}

impl Drop for XenLoosePage {
    fn drop(&mut self) {
        // SAFETY: the invariant: ours, and not used afterwards.
        unsafe { ffi::gdma_page_free_stolen(self.0.as_ptr()) }
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

    fn word16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: inside the page and aligned; the guest's CPUs and ours access it
        // atomically, and nobody holds a plain reference.
        unsafe { AtomicU16::from_ptr(self.at(offset)) }
    }

    fn word64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the same.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
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

    fn unshare(&self, owner: &XenDomain) -> Result<(), UnshareError> {
        // SAFETY: a page of Xen's heap that is shared with this live domain.
        match unsafe { ffi::gdma_shared_unshare(self.base.as_ptr(), owner.as_ptr()) } {
            0 => {
                self.shared.store(false, Ordering::Relaxed);
                Ok(())
            }
            error if error == Errno::Busy.wire() => Err(UnshareError::Busy),
            _ => Err(UnshareError::Broken),
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

    fn load16(&self, offset: usize) -> u16 {
        self.word16(offset).load(Ordering::Acquire)
    }

    fn load32(&self, offset: usize) -> u32 {
        // SAFETY: inside the page and aligned; the guest's CPUs and ours access it
        // atomically, and nobody holds a plain reference.
        let word = unsafe { AtomicU32::from_ptr(self.at(offset)) };
        word.load(Ordering::Acquire)
    }

    fn load64(&self, offset: usize) -> u64 {
        self.word64(offset).load(Ordering::Acquire)
    }

    fn store16(&self, offset: usize, value: u16) {
        self.word16(offset).store(value, Ordering::Release);
    }

    fn store32(&self, offset: usize, value: u32) {
        // SAFETY: as in `load32`.
        let word = unsafe { AtomicU32::from_ptr(self.at(offset)) };
        word.store(value, Ordering::Release);
    }

    fn store64(&self, offset: usize, value: u64) {
        self.word64(offset).store(value, Ordering::Release);
    }

    fn compare_exchange32(&self, owner: &XenDomain, offset: usize, old: u32, new: u32) -> u32 {
        // One instruction on x86, where no guest can keep it from ending.
        #[cfg(target_arch = "x86_64")]
        {
            let _ = owner;
            // SAFETY: as in `load32`.
            let word = unsafe { AtomicU32::from_ptr(self.at(offset)) };
            let exchanged = word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
            exchanged.unwrap_or_else(|found| found)
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: inside the page and aligned; guest_cmpxchg() is atomic and
        // bounded. A live domain.
        unsafe {
            ffi::gdma_shared_cmpxchg32(owner.as_ptr(), self.at(offset), old, new)
        }
    }

    fn clear_bits16(&self, owner: &XenDomain, offset: usize, bits: u16) {
        // One instruction on x86, as above.
        #[cfg(target_arch = "x86_64")]
        {
            let _ = owner;
            self.word16(offset).fetch_and(!bits, Ordering::SeqCst);
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: inside the page and aligned; gnttab_clear_flags() is atomic,
        // bounded, and touches only these two bytes. A live domain.
        unsafe {
            ffi::gdma_shared_clear16(owner.as_ptr(), self.at(offset), bits);
        }
    }
    fn set_bits16(&self, offset: usize, bits: u16) {
        let word = self.word16(offset);
        // A read and a write, not a read-modify-write: bounded, whatever the guest
        // does, and cheaper.
        word.store(word.load(Ordering::Relaxed) | bits, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn clear(&self) {
        // SAFETY: a whole page of ours. The guest may write it meanwhile, which the
        // function, being C's and assembly's, has to live with.
        unsafe { ffi::gdma_shared_clear(self.base.as_ptr()) }
    }
}
