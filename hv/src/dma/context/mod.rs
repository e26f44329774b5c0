// SPDX-License-Identifier: GPL-2.0-only
//! A device address space: which of its pages are in use, for what, and under
//! which handle.
//!
//! Pure bookkeeping: nothing here calls the IOMMU or a grant table. Everything
//! happens under the one lock around the [`Context`].
//!
//! | module | holds |
//! |---|---|
//! | this one | the life of a mapping: reserve, place, commit, retire |
//! | [`address`] | which device frames are free |
//! | [`page`] | one page and what keeps it in place |
//! | [`handle`] | names of mappings |
//! | [`index`] | from what is mapped to where |
//! | [`identity`] | contexts whose device addresses are machine addresses |
//! | [`find`] | look-ups by handle, device frame and guest frame |
//! | [`pending`] | what waits for a flush |
//! | [`window`] | mappings of any size |
//! | [`hold`] | what keeps the frames of a window in place |
//! | [`chunks`] | a list that never moves its elements |

mod address;
mod chunks;
mod find;
mod handle;
mod hold;
mod identity;
mod index;
mod page;
mod pending;
mod window;

use alloc::vec::Vec;

use self::{
    address::Addresses,
    handle::{MappingSlot, MappingState},
    identity::ByFrame,
    index::Index,
    page::{Page, PageState},
    pending::Extent,
};
pub use self::{
    find::{Found, FoundSource, Mapping},
    handle::Handle,
    hold::Piece,
    identity::Settled,
    page::{DmaPin, Source},
    pending::Chain,
    window::{Maker, NewWindow, Phase, Taken, Window},
};
use super::{quota::Quota, unflushed::Unflushed};
use crate::{
    addr::{Access, Dfn, DfnRange, Mfn},
    host::{FlushFlags, Frame, Host},
};

/// Pages whose records are allocated together: on Xen, where a record has 48 bytes, what
/// fits into a page of memory. What is larger has an address range of its own there, and
/// all CPUs flush their TLBs when it goes.
const PAGES_PER_CHUNK: usize = 85;
/// Frames that the IOMMU is told of at a time. They are on Xen's stack.
const FRAMES_PER_BATCH: usize = 32;
/// So many chunks without a used page keep their records.
const MOST_IDLE_CHUNKS: u32 = 4;

/// The records of [`PAGES_PER_CHUNK`] pages, or none.
#[derive(Debug)]
struct Chunk<F> {
    pages: Vec<Page<F>>,
    /// Pages that are not free.
    used: u32,
}

impl<F> Default for Chunk<F> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            used: 0,
        }
    }
}
/// What is pinned at a page.
fn source_at<F: Frame>(chunks: &[Chunk<F>], index: u32) -> Option<Source> {
    let index = index as usize;
    let chunk = chunks.get(index / PAGES_PER_CHUNK)?;
    chunk.pages.get(index % PAGES_PER_CHUNK)?.source()
}

/// End of a list.
const NONE: u32 = u32::MAX;

/// A mapping that is being made. Ends in [`Context::commit`],
/// [`Context::withdraw_next`] or [`Context::abandon`].
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    slot: u32,
    first: u32,
    /// Its device frames. In an identity context only their number counts before
    /// [`Context::settle`].
    pub range: DfnRange,
}

/// Why a mapping cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// The limit of pinned frames.
    Quota,
    /// The wanted addresses are outside the context.
    OutOfRange,
    /// The wanted addresses are in use.
    InUse,
    /// No run of free addresses is long enough.
    NoSpace,
    /// The context is being destroyed.
    Closed,
    /// Xen has no memory for the records.
    OutOfMemory,
}

/// The records of one context.
pub struct Context<H: Host> {
    range: Option<DfnRange>,
    pinned: u32,
    /// Frames that stay pinned for ever.
    stuck: u32,
    /// Pages of mappings that are being made and have no pin yet.
    unplaced: u32,
    /// Chunks with records of which none is used.
    idle_chunks: u32,
    /// No new mappings.
    closed: bool,
    addresses: Addresses,
    chunks: Vec<Chunk<H::Frame>>,
    mappings: Vec<MappingSlot>,
    /// All handles have later generations.
    first_generation: u32,
    last_generation: u32,
    free_mapping: u32,
    by_source: Index,
    /// Device addresses are machine addresses.
    by_frame: Option<ByFrame>,
    pending: Chain,
    /// By their first pages.
    windows: Vec<Window<H>>,
    windows_made: u64,
    /// Flushes ever begun.
    flush_number: u64,
    /// What the flushes under way cover, and how many these are.
    in_flight: Extent,
    flushes: u32,
}

impl<H: Host> Context<H> {
    /// Nothing mapped, no memory used. Handles have later generations than
    /// `first_generation`: what [`Self::last_generation`] said of the context that had
    /// the same number before.
    pub fn new(first_generation: u32) -> Self {
        Self {
            range: None,
            pinned: 0,
            stuck: 0,
            unplaced: 0,
            idle_chunks: 0,
            closed: false,
            addresses: Addresses::none(),
            chunks: Vec::new(),
            mappings: Vec::new(),
            first_generation,
            last_generation: first_generation,
            free_mapping: NONE,
            by_source: Index::new(),
            by_frame: None,
            pending: Chain::EMPTY,
            windows: Vec::new(),
            windows_made: 0,
            flush_number: 0,
            in_flight: Extent::EMPTY,
            flushes: 0,
        }
    }

    /// The device frames of the context, if it is in use.
    pub fn range(&self) -> Option<DfnRange> {
        self.range
    }

    /// Frames pinned, those that wait for a flush included.
    pub fn pinned(&self) -> u32 {
        self.pinned
    }

    /// Gives the context its device frames, once: later calls change nothing.
    pub fn open(&mut self, range: DfnRange) -> Result<DfnRange, ReserveError> {
        if let Some(range) = self.range {
            return Ok(range);
        }
        let count = usize::try_from(range.count).map_err(|_| ReserveError::OutOfMemory)?;
        let chunks = count.div_ceil(PAGES_PER_CHUNK);
        let addresses = Addresses::free(count)?;
        self.chunks
            .try_reserve_exact(chunks)
            .map_err(|_| ReserveError::OutOfMemory)?;
        self.chunks.resize_with(chunks, Chunk::default);
        self.addresses = addresses;
        self.range = Some(range);
        Ok(range)
    }

    /// From now on nothing can be mapped.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Nothing can be mapped.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Pages that have records, used or not.
    pub fn records(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.pages.len()).sum()
    }

    /// Frames pinned that will not come back.
    pub fn stuck(&self) -> u32 {
        self.stuck
    }

    fn page(&self, index: u32) -> Option<&Page<H::Frame>> {
        let index = index as usize;
        let chunk = self.chunks.get(index / PAGES_PER_CHUNK)?;
        chunk.pages.get(index % PAGES_PER_CHUNK)
    }

    fn page_mut(&mut self, index: u32) -> Option<&mut Page<H::Frame>> {
        let index = index as usize;
        let chunk = self.chunks.get_mut(index / PAGES_PER_CHUNK)?;
        chunk.pages.get_mut(index % PAGES_PER_CHUNK)
    }

    /// Makes sure that the pages from `first` on have records.
    fn back(&mut self, first: usize, count: usize) -> Result<(), ReserveError> {
        let last = first + count - 1;
        for chunk in first / PAGES_PER_CHUNK..=last / PAGES_PER_CHUNK {
            let chunk = self.chunks.get_mut(chunk).ok_or(ReserveError::OutOfRange)?;
            if chunk.pages.is_empty() {
                chunk
                    .pages
                    .try_reserve_exact(PAGES_PER_CHUNK)
                    .map_err(|_| ReserveError::OutOfMemory)?;
                chunk.pages.resize_with(PAGES_PER_CHUNK, || Page::FREE);
                self.idle_chunks += 1;
            }
        }
        Ok(())
    }

    /// One more page of a chunk that has records is used.
    fn use_chunk(&mut self, index: usize) {
        if let Some(chunk) = self.chunks.get_mut(index / PAGES_PER_CHUNK) {
            if chunk.used == 0 {
                self.idle_chunks -= 1;
            }
            chunk.used += 1;
        }
    }

    /// One page less. Records that nobody uses are freed, but for a few: memory that is
    /// no mapping's is nobody's quota.
    fn leave_chunk(&mut self, index: usize) {
        if let Some(chunk) = self.chunks.get_mut(index / PAGES_PER_CHUNK) {
            chunk.used -= 1;
            if chunk.used != 0 {
                return;
            }
            if self.idle_chunks < MOST_IDLE_CHUNKS {
                self.idle_chunks += 1;
            } else {
                chunk.pages = Vec::new();
            }
        }
    }

    /// Index of `count` consecutive free pages, at `wanted` if it must be there.
    fn find_place(
        &self,
        range: DfnRange,
        wanted: Option<Dfn>,
        count: usize,
    ) -> Result<usize, ReserveError> {
        let Some(wanted) = wanted else {
            return self.addresses.find_run(count);
        };
        let first = range.index_of(wanted).ok_or(ReserveError::OutOfRange)? as usize;
        self.addresses.check_free(first, count)?;
        Ok(first)
    }

    /// The search for free device frames goes on behind `taken`, which is not free.
    pub fn search_behind(&mut self, taken: Dfn) {
        if let Some(index) = self.range.and_then(|range| range.index_of(taken)) {
            self.addresses.search_from(index as usize + 1);
        }
    }

    /// Sets `count` device frames, a handle and quota aside. `range` is what
    /// [`Self::open`] gave.
    pub fn reserve(
        &mut self,
        quota: &Quota,
        range: DfnRange,
        wanted: Option<Dfn>,
        count: u32,
        access: Access,
    ) -> Result<Reservation, ReserveError> {
        if self.closed {
            return Err(ReserveError::Closed);
        }
        quota.take(count).map_err(|_| ReserveError::Quota)?;
        self.reserve_paid(range, wanted, count, access)
            .inspect_err(|_| quota.give_back(count))
    }

    fn reserve_paid(
        &mut self,
        range: DfnRange,
        wanted: Option<Dfn>,
        count: u32,
        access: Access,
    ) -> Result<Reservation, ReserveError> {
        // Room for everybody's pages that are not placed yet, so that placing needs none.
        let pages = &self.chunks;
        self.by_source
            .reserve(self.unplaced as usize + count as usize, |index| {
                source_at(pages, index)
            })
            .map_err(|_| ReserveError::OutOfMemory)?;
        let first = self.find_place(range, wanted, count as usize)?;
        self.back(first, count as usize)?;
        self.back_frames(first, count as usize)?;
        let dfn = range
            .first
            .checked_add(first as u64)
            .ok_or(ReserveError::OutOfRange)?;
        let slot = self.new_mapping(first as u32, count, access)?;
        for index in first..first + count as usize {
            self.addresses.take(index);
            if let Some(page) = self.page_mut(index as u32) {
                page.state = PageState::Reserved;
                page.mapping = slot;
            }
            self.use_chunk(index);
            if let Some(by_frame) = &mut self.by_frame {
                by_frame.hold(index as u32);
            }
        }
        self.pinned += count;
        self.unplaced += count;
        Ok(Reservation {
            slot,
            first: first as u32,
            range: DfnRange {
                first: dfn,
                count: u64::from(count),
            },
        })
    }

    fn free_page(&mut self, quota: &Quota, index: u32) {
        if let Some(page) = self.page_mut(index) {
            *page = Page::FREE;
            self.addresses.give_back(index as usize);
            self.leave_chunk(index as usize);
            if let Some(by_frame) = &mut self.by_frame {
                by_frame.leave(index);
            }
            self.pinned -= 1;
            quota.give_back(1);
        }
    }

    /// Puts the pin of frame number `nth` into a reservation.
    pub fn place(&mut self, reservation: &Reservation, nth: u32, pin: DmaPin<H::Frame>) {
        let index = reservation.first + nth;
        let source = pin.source();
        if let Some(page) = self.page_mut(index) {
            page.state = PageState::Pinned(pin);
            self.unplaced -= 1;
            self.link(source, index);
        }
    }

    /// A granter has taken back what it granted, while the mapping was being made.
    pub fn is_doomed(&self, reservation: &Reservation) -> bool {
        let mapping = self.mappings.get(reservation.slot as usize);
        mapping.is_none_or(|mapping| mapping.doomed)
    }

    /// Calls `each` with the machine frames of a reservation, some at a time: the first
    /// device frame, and what goes there and behind it. Stops at the first error.
    pub fn try_for_each_batch<E>(
        &self,
        reservation: &Reservation,
        mut each: impl FnMut(Dfn, &[Mfn]) -> Result<(), E>,
    ) -> Result<(), E> {
        if reservation.range.count == 1 {
            // The usual case: no array to fill.
            return match self.page(reservation.first).map(|page| &page.state) {
                Some(PageState::Pinned(pin)) => each(reservation.range.first, &[pin.mfn()]),
                _ => Ok(()),
            };
        }
        let mut batch = [const { Mfn::new(0) }; FRAMES_PER_BATCH];
        let mut indices = self.indices(reservation);
        while !indices.is_empty() {
            let before = indices.start - reservation.first;
            let dfn = Dfn::new(reservation.range.first.number() + u64::from(before));
            let mut filled = 0;
            for (place, index) in batch.iter_mut().zip(&mut indices) {
                let Some(PageState::Pinned(pin)) = self.page(index).map(|page| &page.state) else {
                    break;
                };
                *place = pin.mfn();
                filled += 1;
            }
            let (mfns, _) = batch.split_at(filled);
            each(dfn, mfns)?;
        }
        Ok(())
    }

    /// The IOMMU translates the whole reservation: it becomes a mapping.
    pub fn commit(&mut self, reservation: Reservation) -> Option<Handle> {
        for index in self.indices(&reservation) {
            self.set_mapped(index);
        }
        let mapping = self.mappings.get_mut(reservation.slot as usize)?;
        mapping.state = MappingState::Live;
        Some(Handle::new(reservation.slot, mapping.generation))
    }

    fn indices(&self, reservation: &Reservation) -> core::ops::Range<u32> {
        reservation.first..reservation.first + reservation.range.count as u32
    }

    /// A device may reach the page from now on.
    fn set_mapped(&mut self, index: u32) {
        let Some(page) = self.page_mut(index) else {
            return;
        };
        match core::mem::replace(&mut page.state, PageState::Reserved) {
            PageState::Pinned(pin) => page.state = PageState::Mapped(Unflushed::new(pin)),
            other => page.state = other,
        }
    }

    /// Takes the next pin out of a reservation that the IOMMU never saw; `None`
    /// when all are out and the reservation is gone.
    pub fn withdraw_next(
        &mut self,
        quota: &Quota,
        reservation: &Reservation,
    ) -> Option<DmaPin<H::Frame>> {
        for index in self.indices(reservation) {
            let Some(page) = self.page_mut(index) else {
                continue;
            };
            if page.mapping != reservation.slot {
                continue;
            }
            let state = core::mem::replace(&mut page.state, PageState::Reserved);
            match state {
                PageState::Pinned(pin) => {
                    self.unlink(pin.source(), index);
                    self.free_page(quota, index);
                    return Some(pin);
                }
                _ => {
                    self.unplaced -= 1;
                    self.free_page(quota, index);
                }
            }
        }
        self.free_mapping(reservation.slot);
        None
    }

    /// The IOMMU may translate parts of the reservation, or have done so: its
    /// pages wait for a flush.
    pub fn abandon(&mut self, reservation: Reservation, flags: FlushFlags) {
        for index in self.indices(&reservation) {
            self.set_mapped(index);
            self.set_pending(index);
        }
        self.pending.extent.flags.add(flags);
        self.free_mapping(reservation.slot);
    }

    /// The IOMMU no longer translates the mapping: its frames wait for a flush
    /// that needs `flags`, its handle is stale.
    pub fn retire(&mut self, mapping: &Mapping, flags: FlushFlags) {
        let slot = mapping.handle.slot();
        let Some(first) = self.mappings.get(slot as usize).map(|slot| slot.first) else {
            return;
        };
        for index in first..first + mapping.range.count as u32 {
            self.set_pending(index);
        }
        self.pending.extent.flags.add(flags);
        self.free_mapping(slot);
    }
}
