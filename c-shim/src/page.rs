// SPDX-License-Identifier: GPL-2.0-only
//! References to pages of guests, and pages shared with guests.

use core::{
    ffi::c_int,
    mem,
    num::NonZeroU64,
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
};

use hv::{
    addr::{Gfn, Mfn, PAGE_SIZE},
    host::{
        Domain, Frame, FrameError, FrameRun, Given, LoosePage, OfferError, OutOfMemory, SharedPage,
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
/// The value is the frame number of a page, shifted left by [`TAG_BITS`], and tags:
/// [`FRAME`] always, and whether there is a type reference ([`TYPED`]), a second page
/// reference ([`SECOND`]) and a type reference with that ([`SECOND_TYPED`], only with
/// [`SECOND`]). The value owes them all.
#[derive(Debug)]
pub(crate) struct XenFrame(NonZeroU64);

const TYPED: u64 = 1;
const SECOND: u64 = 2;
const SECOND_TYPED: u64 = 4;
const FRAME: NonZeroU64 = NonZeroU64::new(8).unwrap();
const TAG_BITS: u32 = 4;

fn typed_tag(typed: bool) -> u64 {
    if typed { TYPED } else { 0 }
}

/// There is a type to take, if one is wanted: `gdma_pin_gfn()` says why pages of translated
/// owners have none that matters.
#[inline(always)]
fn with_type(owner: &XenDomain, wanted: bool) -> bool {
    wanted && !owner.is_translated()
}

/// What the C side calls the reason.
#[cold]
fn pin_error(result: c_int) -> FrameError {
    match result {
        ffi::PIN_TRY_AGAIN => FrameError::TryAgain,
        ffi::PIN_NOT_WRITABLE => FrameError::NotWritable,
        ffi::PIN_GONE => FrameError::Gone,
        _ => FrameError::NotMemory,
    }
}

/// What look-ups in the address space of one domain have found.
#[cfg(target_arch = "x86_64")]
#[derive(Default)]
pub(crate) struct XenNear(ffi::Near);

/// Nothing: each frame is looked for.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Default)]
pub(crate) struct XenNear;

impl XenFrame {
    /// # Safety
    ///
    /// `mfn` is the frame of a page of which the caller hands over a reference, and a
    /// writable-type reference if `typed`.
    #[inline(always)]
    unsafe fn new(mfn: u64, typed: bool) -> Self {
        Self(FRAME | mfn << TAG_BITS | typed_tag(typed))
    }

    fn has(&self, tag: u64) -> bool {
        self.0.get() & tag != 0
    }

    /// The same page with other tags; the references change hands with them.
    fn with_tags(&self, tags: u64) -> Self {
        Self(FRAME | self.number() << TAG_BITS | tags)
    }

    /// For calls into C: the number of a frame that is referenced.
    #[inline(always)]
    pub(crate) fn number(&self) -> u64 {
        self.0.get() >> TAG_BITS
    }

    /// See [`hv::host::Frames::pin_gfn`].
    #[inline(always)]
    pub(crate) fn pin_gfn(
        owner: &XenDomain,
        gfn: Gfn,
        write: bool,
        take_type: bool,
        io: bool,
    ) -> Result<Self, FrameError> {
        #[cfg(target_arch = "x86_64")]
        if !owner.is_translated() {
            return Self::pin_pv(owner, gfn, take_type);
        }
        // SAFETY: a live domain.
        let pinned = unsafe { ffi::gdma_pin_gfn(owner.as_ptr(), gfn.number(), write, io) };
        // SAFETY: on success a reference is ours.
        unsafe { Self::pinned(pinned) }
    }

    /// See [`hv::host::Frames::pin_near`].
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn pin_near(
        owner: &XenDomain,
        gfn: Gfn,
        write: bool,
        take_type: bool,
        near: &mut XenNear,
    ) -> Result<Self, FrameError> {
        if !owner.is_translated() {
            return Self::pin_pv(owner, gfn, take_type);
        }
        // SAFETY: a live domain, and what was found in its address space or nothing.
        let pinned =
            unsafe { ffi::gdma_pin_near(owner.as_ptr(), gfn.number(), write, &mut near.0) };
        // SAFETY: on success a reference is ours.
        unsafe { Self::pinned(pinned) }
    }

    /// See [`hv::host::Frames::pin_near`].
    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    pub(crate) fn pin_near(
        owner: &XenDomain,
        gfn: Gfn,
        write: bool,
        take_type: bool,
        XenNear: &mut XenNear,
    ) -> Result<Self, FrameError> {
        Self::pin_gfn(owner, gfn, write, take_type, false)
    }

    /// The frames of a PV domain are those of the machine.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn pin_pv(owner: &XenDomain, gfn: Gfn, take_type: bool) -> Result<Self, FrameError> {
        let mfn = gfn.number();
        // SAFETY: a live PV domain, any frame number.
        match unsafe { ffi::gdma_pin_pv(owner.as_ptr(), mfn, take_type) } {
            // SAFETY: on success the references asked for are ours.
            ffi::PIN_OKAY => Ok(unsafe { Self::new(mfn, take_type) }),
            error => Err(pin_error(error)),
        }
    }

    /// What C says of a page that it was to pin without a type.
    ///
    /// # Safety
    ///
    /// A frame number comes with a reference, which is this value's from now on.
    #[inline(always)]
    unsafe fn pinned(result: i64) -> Result<Self, FrameError> {
        match u64::try_from(result) {
            // SAFETY: as the caller promises.
            Ok(mfn) => Ok(unsafe { Self::new(mfn, false) }),
            Err(_) => Err(pin_error(result as c_int)),
        }
    }

    /// See [`hv::host::Frames::pin_again`].
    #[inline(always)]
    pub(crate) fn pin_again(
        owner: &XenDomain,
        mfn: Mfn,
        write: bool,
        take_type: bool,
    ) -> Result<Self, FrameError> {
        let take_type = with_type(owner, take_type);
        // SAFETY: a live domain, any frame number.
        match unsafe { ffi::gdma_page_again(owner.as_ptr(), mfn.number(), write, take_type) } {
            // SAFETY: on success the references asked for are ours.
            ffi::PIN_OKAY => Ok(unsafe { Self::new(mfn.number(), take_type) }),
            error => Err(pin_error(error)),
        }
    }

    /// See [`hv::host::Frames::pin_mfn`].
    #[inline(always)]
    pub(crate) fn pin_mfn(mfn: Mfn) -> Result<(XenDomainRef, Self), FrameError> {
        const NOT_MEMORY: usize = ffi::PIN_NOT_MEMORY as usize;
        let owner = ffi::gdma_page_of_mfn(mfn.number());
        if owner.addr() == NOT_MEMORY {
            return Err(FrameError::NotMemory);
        }
        let owner = NonNull::new(owner).ok_or(FrameError::Gone)?;
        // SAFETY: there is an owner, so a reference is ours.
        let frame = unsafe { Self::new(mfn.number(), false) };
        // SAFETY: whoever owns a referenced page is alive; the caller keeps the
        // reference as long as the domain.
        Ok((unsafe { XenDomainRef::owner(owner.cast()) }, frame))
    }

    /// Gives one reference back.
    ///
    /// # Safety
    ///
    /// The value owes it, and owes it no more afterwards.
    #[inline(always)]
    unsafe fn put(&self, typed: bool) {
        if typed {
            // SAFETY: says the caller.
            unsafe { ffi::gdma_page_put_and_type(self.number()) }
        } else {
            // SAFETY: says the caller.
            unsafe { ffi::gdma_page_put(self.number()) }
        }
    }

    /// Gives both references back.
    ///
    /// # Safety
    ///
    /// The value owes two, and owes them no more afterwards.
    #[cold]
    #[inline(never)]
    unsafe fn put_both(&self) {
        // SAFETY: says the caller.
        unsafe { self.put(self.has(TYPED)) }
        // SAFETY: the same.
        unsafe { self.put(self.has(SECOND_TYPED)) }
    }
}

impl Frame for XenFrame {
    #[inline(always)]
    fn mfn(&self) -> Mfn {
        Mfn::new(self.number())
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
        unsafe { ffi::gdma_page_leave_to_page_tables(self.number(), self.has(TYPED)) };
        mem::forget(self);
    }
}

impl Drop for XenFrame {
    #[inline(always)]
    fn drop(&mut self) {
        if self.has(SECOND) {
            // SAFETY: the invariant: both references are ours to give back.
            return unsafe { self.put_both() };
        }
        // SAFETY: the invariant: the reference is ours to give back.
        unsafe { self.put(self.has(TYPED)) }
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
    /// See [`hv::host::Frames::pin_run`].
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
        if result != ffi::PIN_OKAY {
            return Err(pin_error(result));
        }
        // On success the references are ours.
        Ok(Self {
            first: Mfn::new(mfn),
            count,
            typed: with_type(owner, write),
        })
    }
}

impl FrameRun for XenFrameRun {
    type Frame = XenFrame;

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

    #[inline(always)]
    fn into_frames(self, mut take: impl FnMut(XenFrame)) {
        let (first, count, typed) = (self.first.number(), self.count, self.typed);
        mem::forget(self);
        for mfn in (first..).take(count as usize) {
            // SAFETY: the invariant: these references were the run's, which is gone.
            take(unsafe { XenFrame::new(mfn, typed) });
        }
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
/// The frame of a page of Xen's domain heap that nobody knows of; ours until dropped.
#[derive(Debug)]
pub(crate) struct XenLoosePage(u64);

impl XenLoosePage {
    /// See [`hv::host::Transfers::steal_page`].
    #[inline(always)]
    pub(crate) fn steal(owner: &XenDomain, gfn: Gfn) -> Result<Self, StealError> {
        // SAFETY: a live domain.
        let stolen = unsafe { ffi::gdma_page_steal(owner.as_ptr(), gfn.number()) };
        match u64::try_from(stolen) {
            // On success the page is ours.
            Ok(mfn) => Ok(Self(mfn)),
            Err(_) if stolen == ffi::STEAL_BAD_PAGE => Err(StealError::BadPage),
            Err(_) => Err(StealError::InUse),
        }
    }

    /// See [`hv::host::Transfers::offer_page`].
    #[inline(always)]
    pub(crate) fn offer(
        self,
        receiver: &XenDomain,
        wide_frames: bool,
    ) -> Result<XenOfferedPage<'_>, OfferError> {
        let mfn = self.0;
        mem::forget(self);
        // SAFETY: the page is ours, and the function uses it up; a live domain.
        let offered = unsafe { ffi::gdma_page_offer(mfn, receiver.as_ptr(), wide_frames) };
        match u64::try_from(offered) {
            Ok(mfn) => Ok(XenOfferedPage { mfn, receiver }),
            Err(_) if offered == ffi::OFFER_TOO_BIG => Err(OfferError::TooBig),
            Err(_) => Err(OfferError::NoRoom),
        }
    }
}

impl LoosePage for XenLoosePage {
    fn mfn(&self) -> Mfn {
        Mfn::new(self.0)
    }
}

impl Drop for XenLoosePage {
    fn drop(&mut self) {
        // SAFETY: the invariant: ours, and not used afterwards.
        unsafe { ffi::gdma_page_free_stolen(self.0) }
    }
}

/// A page without an owner that `receiver` has set room aside for.
///
/// # Invariants
///
/// What gdma_page_offer() gave.
pub(crate) struct XenOfferedPage<'a> {
    mfn: u64,
    receiver: &'a XenDomain,
}

impl XenOfferedPage<'_> {
    /// See [`hv::host::Transfers::give_page`].
    #[inline(always)]
    pub(crate) fn give(self, gfn: Gfn) -> Given {
        let (mfn, receiver) = (self.mfn, self.receiver);
        // SAFETY: the invariant; any frame number will do.
        let given = unsafe { ffi::gdma_page_give(mfn, receiver.as_ptr(), gfn.number()) };
        if given == ffi::GIVE_DYING {
            return Given::Dying;
        }
        // The receiver's from now on.
        mem::forget(self);
        match given {
            ffi::GIVE_PLACED if receiver.is_translated() => Given::At(gfn),
            ffi::GIVE_PLACED => Given::At(Gfn::new(mfn)),
            _ => Given::Nowhere,
        }
    }
}

impl Drop for XenOfferedPage<'_> {
    fn drop(&mut self) {
        // SAFETY: the invariant; the page is not used afterwards.
        unsafe { ffi::gdma_page_withdraw(self.mfn, self.receiver.as_ptr()) }
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
    /// Its frame number, shifted left, and [`SHARED`].
    frame: AtomicU64,
}

/// In [`XenSharedPage::frame`]: a guest knows of the page.
const SHARED: u64 = 1;

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
                // SAFETY: an address of Xen's heap; arithmetic.
                frame: AtomicU64::new(unsafe { ffi::gdma_shared_mfn(base.as_ptr()) } << 1),
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
        if self.frame.fetch_or(SHARED, Ordering::Relaxed) & SHARED == 0 {
            // SAFETY: a page of Xen's heap that is not shared yet; a live domain.
            unsafe { ffi::gdma_shared_share(self.base.as_ptr(), owner.as_ptr()) }
        }
    }

    fn unshare(&self, owner: &XenDomain) -> Result<(), UnshareError> {
        // SAFETY: a page of Xen's heap that is shared with this live domain.
        match unsafe { ffi::gdma_shared_unshare(self.base.as_ptr(), owner.as_ptr()) } {
            0 => {
                self.frame.fetch_and(!SHARED, Ordering::Relaxed);
                Ok(())
            }
            error if error == Errno::Busy.wire() => Err(UnshareError::Busy),
            _ => Err(UnshareError::Broken),
        }
    }

    #[inline(always)]
    fn mfn(&self) -> Mfn {
        Mfn::new(self.frame.load(Ordering::Relaxed) >> 1)
    }

    #[inline(always)]
    fn gfn(&self, owner: &XenDomain) -> Option<Gfn> {
        if !owner.is_translated() {
            return Some(Gfn::new(self.mfn().number()));
        }
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
