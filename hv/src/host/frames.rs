// SPDX-License-Identifier: GPL-2.0-only
//! Frames of guests' memory: references that keep them, and their contents.

use hypercall_abi::Errno;

use super::domains::Domains;
use crate::addr::{Access, Gfn, Mfn};

/// Why a guest frame could not be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No page there, or not ordinary memory of the domain (MMIO, a foreign or
    /// grant mapping).
    NotMemory,
    /// Its type forbids writing.
    NotWritable,
    /// It was the domain's, and is no longer: the domain is dying.
    Gone,
    /// Paged out or shared: the domain may try again.
    TryAgain,
}

/// A reference to a page: the page stays what it is, and whose it is, until the
/// value is dropped. If taken with its type it includes a writable-type reference, as
/// far as the owner's pages can have another type at all: those of a translated domain
/// cannot, and there the page reference says it all.
///
/// The value may outlive every lock and call. A page that a device may still
/// reach must not lose its reference, so the service keeps frames of the IOMMU
/// in [`crate::dma::Unflushed`].
pub trait Frame: Sized + Send + Sync + core::fmt::Debug {
    /// The machine frame.
    fn mfn(&self) -> Mfn;

    /// One value that stands for both references, which are to one page. At most
    /// two can be joined.
    #[must_use]
    fn joined(self, other: Self) -> Self;

    /// Takes one of two joined references out: the one with a writable-type
    /// reference if `typed`. The rest stays. `None`: there is only one.
    fn take_one(&mut self, typed: bool) -> Option<Self>;

    /// Gives the reference to the guest's page tables, whose destruction drops it.
    fn leave_to_page_tables(self);
}

/// References to pages that follow each other in the machine, one to each, as
/// [`Frame`] has to one. Dropping the value gives them all back, so one that is to be
/// dropped in bounded time must be small: [`FrameRun::split_last`].
pub trait FrameRun: Sized + Send + Sync + core::fmt::Debug {
    /// Reference to one of the pages.
    type Frame: Frame;

    /// The first machine frame.
    fn first(&self) -> Mfn;

    /// How many: at least one.
    fn count(&self) -> u32;

    /// Adds references to the frames behind these. `Err`: those of `next` are not, or
    /// are of another kind; or there would be more than can be counted.
    fn append(&mut self, next: Self) -> Result<(), Self>;

    /// Takes the last `count` frames out. `None`, if not at least one would be left.
    fn split_last(&mut self, count: u32) -> Option<Self>;

    /// Hands the references over one by one, in order, each as a value of its own.
    fn into_frames(self, take: impl FnMut(Self::Frame));
}

/// What may be pinned besides ordinary memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMemory {
    /// Nothing.
    Refused,
    /// Device memory that the owner has access to and the holder, a PV domain,
    /// may map.
    Allowed,
}

/// Taking references to frames, and work on the frames behind them.
pub trait Frames: Domains {
    /// Counted reference to a page.
    type Frame: Frame;

    /// Counted references to pages in a row.
    type FrameRun: FrameRun<Frame = Self::Frame>;

    /// What look-ups in the address space of one domain have found; by default nothing.
    type Near: Default;

    /// Takes a reference to the page at `gfn` of `owner`, with its type, as a writable
    /// one, if `take_type`. `access` tells what the page will be used for:
    /// a shared page that is to be written must be unshared first. Refuses pages
    /// that are not `owner`'s own memory, except what `io` allows.
    fn pin_gfn(
        &self,
        owner: &Self::Domain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        io: IoMemory,
    ) -> Result<Self::Frame, FrameError>;

    /// As [`Self::pin_gfn`] without device memory, for one of several frames that may lie
    /// beside each other: instead of looking for this one, it may use what was found with
    /// another. The result is what `gfn` has at a moment during the call, however long ago
    /// that was. `near` has been used for this owner alone.
    fn pin_near(
        &self,
        owner: &Self::Domain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        near: &mut Self::Near,
    ) -> Result<Self::Frame, FrameError>;

    /// Takes a reference to each of some frames from `gfn` on: at least one, at most
    /// `most` (which is not 0), no more than follow each other in the machine, and so
    /// few that it is one bounded step. `owner` is the caller; only its own ordinary
    /// memory will do. With `write`, each is with its type.
    fn pin_run(
        &self,
        owner: &Self::Domain,
        gfn: Gfn,
        most: u32,
        write: bool,
    ) -> Result<Self::FrameRun, FrameError>;

    /// Takes one more reference to a page of `owner` that is known to be
    /// referenced by someone else at this moment, with its type if `take_type`. For
    /// `write` it must not be shared with other domains.
    fn pin_again(
        &self,
        owner: &Self::Domain,
        mfn: Mfn,
        write: bool,
        take_type: bool,
    ) -> Result<Self::Frame, FrameError>;

    /// A reference to whatever page has this machine frame, and its owner.
    /// [`FrameError::NotMemory`]: there is no such frame. [`FrameError::Gone`]:
    /// nobody owns it.
    fn pin_mfn(&self, mfn: Mfn) -> Result<(Self::DomainRef, Self::Frame), FrameError>;

    /// Notes that devices or another domain may have written the page, for
    /// live migration of `owner`.
    fn mark_dirty(&self, owner: &Self::Domain, frame: &Self::Frame);

    /// Copies `len` bytes between two pages. The ranges are inside the pages.
    fn copy_between(
        &self,
        from: &Self::Frame,
        from_offset: u16,
        to: &Self::Frame,
        to_offset: u16,
        len: u16,
    );

    /// CPU cache maintenance of a part of a page: `op` is made of
    /// `GNTTAB_CACHE_CLEAN` and `GNTTAB_CACHE_INVAL`.
    fn flush_cache(
        &self,
        frame: &Self::Frame,
        offset: u16,
        length: u16,
        op: u32,
    ) -> Result<(), Errno>;
}
