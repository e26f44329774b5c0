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
//! | [`records`] | the records of all pages |
//! | [`page`] | one page and what keeps it in place |
//! | [`handle`] | names of mappings |
//! | [`identity`] | contexts whose device addresses are machine addresses |
//! | [`find`] | look-ups by handle, device frame and guest frame |
//! | [`neighbours`] | mappings of one page each that are made together |
//! | [`pending`] | what waits for a flush |
//! | [`window`] | mappings of any size |
//! | [`hold`] | what keeps the frames of a window in place |
//! | [`chunks`] | a list that never moves its elements; another is in [`crate::blocks`] |

mod address;
mod chunks;
mod find;
mod handle;
mod hold;
mod identity;
mod neighbours;
mod page;
mod pending;
mod records;
mod window;

use alloc::vec::Vec;

use self::{
    address::Addresses,
    handle::{MappingState, Slots},
    identity::ByFrame,
    page::Page,
    pending::Extent,
    records::{Pages, Record, Records},
};
pub use self::{
    find::{Found, FoundSource, Mapping},
    handle::Handle,
    hold::Piece,
    identity::Settled,
    neighbours::Neighbours,
    page::{DmaPin, Source},
    pending::Chain,
    window::{Maker, NewWindow, Phase, Taken, Window},
};
use super::quota::Quota;
use crate::{
    addr::{Access, Dfn, DfnRange, Mfn},
    host::{FlushFlags, Host},
    index::{Index, NONE},
};

/// Frames that the IOMMU is told of at a time. They are on Xen's stack.
const FRAMES_PER_BATCH: usize = 32;

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
    /// No new mappings.
    closed: bool,
    addresses: Addresses,
    pages: Pages<H::Frame>,
    mappings: Slots,
    /// All handles have later generations.
    first_generation: u32,
    last_generation: u32,
    by_source: Index<Source>,
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
    /// Bytes of the record of a page: 32 on Xen, where a frame is a number.
    pub const RECORD_SIZE: usize = size_of::<Page<H::Frame>>();

    /// Nothing mapped, no memory used. Handles have later generations than
    /// `first_generation`: what [`Self::last_generation`] said of the context that had
    /// the same number before.
    pub fn new(first_generation: u32) -> Self {
        Self {
            range: None,
            pinned: 0,
            stuck: 0,
            unplaced: 0,
            closed: false,
            addresses: Addresses::none(),
            pages: Records::NONE,
            mappings: Slots::NONE,
            first_generation,
            last_generation: first_generation,
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
        let addresses = Addresses::free(count)?;
        let pages = Records::of(count)?;
        // Each mapping and each source has a page at least.
        self.mappings
            .plan(count)
            .and_then(|()| self.by_source.plan(count))
            .map_err(|_| ReserveError::OutOfMemory)?;
        self.pages = pages;
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
        self.pages.count()
    }

    /// Most pages whose place in the index changed because of one other page.
    pub fn most_moved(&self) -> u32 {
        let by_frame = self.by_frame.as_ref().map_or(0, ByFrame::most_moved);
        self.by_source.most_moved().max(by_frame)
    }

    /// Frames pinned that will not come back.
    pub fn stuck(&self) -> u32 {
        self.stuck
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
        let (first, range) = self.make_room(range, wanted, count)?;
        let slot = self.new_mapping(first, count, access)?;
        for index in first..first + count {
            self.reserve_page(index, slot);
        }
        self.count_reserved(first, count);
        Ok(Reservation { slot, first, range })
    }

    /// A free page, which has a record, becomes one of the mapping in `slot`, which is
    /// being made.
    #[inline]
    fn reserve_page(&mut self, index: u32, slot: u32) {
        if let Some(page) = self.pages.take(index) {
            page.reserve(slot);
        }
    }

    /// Finds `count` free device frames in a row, and makes sure that they have records
    /// and that the index has room. Returns the index of the first page.
    fn make_room(
        &mut self,
        range: DfnRange,
        wanted: Option<Dfn>,
        count: u32,
    ) -> Result<(u32, DfnRange), ReserveError> {
        // Room for everybody's pages that are not placed yet, so that placing needs none.
        self.by_source
            .reserve(self.unplaced + count, &mut self.pages)
            .map_err(|_| ReserveError::OutOfMemory)?;
        let first = self.find_place(range, wanted, count as usize)?;
        self.pages.back(first as u32, count)?;
        self.back_frames(first as u32, count)?;
        let dfn = range
            .first
            .checked_add(first as u64)
            .ok_or(ReserveError::OutOfRange)?;
        Ok((
            first as u32,
            DfnRange {
                first: dfn,
                count: u64::from(count),
            },
        ))
    }

    /// Pages are reserved: their device frames are not free any more.
    fn count_reserved(&mut self, first: u32, count: u32) {
        self.addresses.take_run(first as usize, count as usize);
        if let Some(by_frame) = &mut self.by_frame {
            (first..first + count).for_each(|index| by_frame.hold(index));
        }
        self.pinned += count;
        self.unplaced += count;
    }

    /// A page becomes free. Its quota is the caller's to give back.
    fn free_page(&mut self, index: u32) {
        if let Some(page) = self.pages.get_mut(index) {
            *page = Page::FREE;
            self.vacate(index, 1);
        }
    }

    /// The same of `count` pages from `first` on, whose records are those of free pages
    /// already.
    fn vacate(&mut self, first: u32, count: u32) {
        self.pages.vacate(first, count);
        self.addresses.give_back_run(first as usize, count as usize);
        if let Some(by_frame) = &mut self.by_frame {
            (first..first + count).for_each(|index| by_frame.leave(index));
        }
        self.pinned -= count;
    }

    /// Puts the pin of frame number `nth` into a reservation.
    pub fn place(&mut self, reservation: &Reservation, nth: u32, pin: DmaPin<H::Frame>) {
        self.place_at(reservation.first + nth, pin);
    }

    fn place_at(&mut self, index: u32, pin: DmaPin<H::Frame>) {
        let source = pin.source();
        let page = self.pages.get_mut(index);
        if page.is_some_and(|page| page.place(pin)) {
            self.unplaced -= 1;
            self.link(source, index);
        }
    }

    /// A granter has taken back what it granted, while the mapping was being made.
    pub fn is_doomed(&self, reservation: &Reservation) -> bool {
        let mapping = self.mappings.get(reservation.slot);
        mapping.is_none_or(|mapping| mapping.state == MappingState::Doomed)
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
            let page = self.pages.get(reservation.first);
            return match page.and_then(Page::mfn) {
                Some(mfn) => each(reservation.range.first, &[mfn]),
                None => Ok(()),
            };
        }
        let mut batch = [const { Mfn::new(0) }; FRAMES_PER_BATCH];
        let mut indices = self.indices(reservation);
        while !indices.is_empty() {
            let before = indices.start - reservation.first;
            let dfn = Dfn::new(reservation.range.first.number() + u64::from(before));
            let mut filled = 0;
            for (place, index) in batch.iter_mut().zip(&mut indices) {
                let Some(mfn) = self.pages.get(index).and_then(Page::mfn) else {
                    break;
                };
                *place = mfn;
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
        self.name_mapping(reservation.slot, MappingState::Live)
    }

    fn indices(&self, reservation: &Reservation) -> core::ops::Range<u32> {
        reservation.first..reservation.first + reservation.range.count as u32
    }

    /// A device may reach the page from now on.
    fn set_mapped(&mut self, index: u32) {
        if let Some(page) = self.pages.get_mut(index) {
            page.set_mapped();
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
            let Some(page) = self.pages.get_mut(index) else {
                continue;
            };
            if page.mapping() != reservation.slot {
                continue;
            }
            let Some(source) = page.source() else {
                self.unplaced -= 1;
                self.free_page(index);
                quota.give_back(1);
                continue;
            };
            let links = page.links;
            self.unlink(source, index, links);
            let pin = self.pages.get_mut(index).and_then(Page::withdraw);
            self.free_page(index);
            quota.give_back(1);
            if pin.is_some() {
                return pin;
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
        self.pending
            .extent
            .cover(Extent::of(reservation.range, flags));
        self.free_mapping(reservation.slot);
    }

    /// The IOMMU no longer translates the mapping: its frames wait for a flush
    /// that needs `flags`, its handle is stale.
    pub fn retire(&mut self, mapping: &Mapping, flags: FlushFlags) {
        self.retire_row(core::slice::from_ref(mapping), mapping.range, flags);
    }

    /// The same for several mappings, which are all in `range`.
    pub fn retire_row(&mut self, mappings: &[Mapping], range: DfnRange, flags: FlushFlags) {
        for mapping in mappings {
            let slot = mapping.handle.slot();
            let Some(first) = self.mappings.get(slot).map(|slot| slot.first) else {
                continue;
            };
            for index in first..first + mapping.range.count as u32 {
                self.set_pending(index);
            }
            self.free_mapping(slot);
        }
        self.pending.extent.cover(Extent::of(range, flags));
    }
}
