// SPDX-License-Identifier: GPL-2.0-only
//! Pages that Xen owns and shares with a guest: frames of grant tables.

use super::{OutOfMemory, domains::Domains};
use crate::addr::{Gfn, Mfn};

/// Why a page could not be taken back from the guest that it is shared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnshareError {
    /// The guest still uses it. It stays shared.
    Busy,
    /// The guest's address space could not be put right; the guest was crashed.
    Broken,
}

/// A page that Xen owns and shares with one guest: a frame of a grant table.
///
/// Until [`SharedPage::share`] no guest knows of the page, and dropping it frees
/// it; from then on it lives until its guest is gone, or has given it up.
///
/// The guest may change it at any moment, so there are only single accesses, each
/// of which reads or writes memory exactly once. Offsets are in bytes, aligned to
/// the access; they are taken modulo the page size.
pub trait SharedPage<D>: Send + Sync {
    /// Shares the page read-write with `owner`.
    fn share(&self, owner: &D);

    /// Takes the page out of the address space of `owner`, so that it can be
    /// dropped. On error it is still shared.
    fn unshare(&self, owner: &D) -> Result<(), UnshareError>;

    /// Machine frame of the page.
    fn mfn(&self) -> Mfn;

    /// Where the guest `owner` has put the page, if anywhere (PV: the machine
    /// frame itself).
    fn gfn(&self, owner: &D) -> Option<Gfn>;

    /// Reads 2 bytes.
    fn load16(&self, offset: usize) -> u16;

    /// Reads 4 bytes.
    fn load32(&self, offset: usize) -> u32;

    /// Reads 8 bytes.
    fn load64(&self, offset: usize) -> u64;

    /// Writes 2 bytes, after all earlier writes.
    fn store16(&self, offset: usize, value: u16);

    /// Writes 4 bytes, after all earlier writes.
    fn store32(&self, offset: usize, value: u32);

    /// Writes 8 bytes, after all earlier writes.
    fn store64(&self, offset: usize, value: u64);

    /// If the 4 bytes are `old`, makes them `new`; returns what they were. Full
    /// barrier. Bounded even if the guest `owner` keeps writing there.
    fn compare_exchange32(&self, owner: &D, offset: usize, old: u32, new: u32) -> u32;

    /// Sets bits of 2 bytes that only Xen is meant to write, and makes the change
    /// visible before any later read: full barrier. Not atomic against the guest.
    fn set_bits16(&self, offset: usize, bits: u16);

    /// Clears bits of 2 bytes atomically, without touching any other byte. Full
    /// barrier. Bounded even if the guest `owner` keeps writing there.
    fn clear_bits16(&self, owner: &D, offset: usize, bits: u16);

    /// Makes the whole page zeros.
    fn clear(&self);
}

/// Making pages to share.
pub trait SharedPages: Domains {
    /// A page shared with a guest.
    type SharedPage: SharedPage<Self::Domain>;

    /// A zeroed page that can be shared with a guest, and is not yet.
    fn new_shared_page(&self) -> Result<Self::SharedPage, OutOfMemory>;
}
