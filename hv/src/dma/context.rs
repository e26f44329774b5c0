// SPDX-License-Identifier: GPL-2.0-only
//! A device address space: which of its pages are in use, for what, and under
//! which handle.
//!
//! Pure bookkeeping: nothing here calls the IOMMU or a grant table. Everything
//! happens under the one lock around the [`Context`].

use alloc::vec::Vec;

use bitvec::{order::Lsb0, vec::BitVec};
use hashbrown::HashMap;

use super::unflushed::Unflushed;
use crate::{
    addr::{Access, Dfn, DfnRange, Gfn, Mfn},
    grant::Pin,
    host::{FlushFlags, Flushed, Frame, Host},
};

/// Pages whose records are allocated together.
const PAGES_PER_CHUNK: usize = 128;
/// Device addresses for each frame that may be pinned: with half of them free, a
/// search from the last one given out ends soon.
const ADDRESSES_PER_PIN: u64 = 2;
/// End of a list.
const NONE: u32 = u32::MAX;

/// Names one mapping, once: a slot's number plus the generation of its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    /// As on the wire. Never 0: generations start at 1.
    pub const fn wire(self) -> u64 {
        self.0
    }

    /// A guest's allegation of a handle.
    pub const fn alleged(wire: u64) -> Self {
        Self(wire)
    }

    const fn slot(self) -> u32 {
        self.0 as u32
    }

    const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What keeps a frame in place while devices reach it.
#[derive(Debug)]
pub enum DmaPin<F> {
    /// The holder's own frame.
    Own {
        /// The reference.
        frame: F,
        /// Where the holder has it.
        gfn: Gfn,
    },
    /// A granted frame.
    Grant(Pin<F>),
}

impl<F: Frame> DmaPin<F> {
    /// Which frame.
    pub fn mfn(&self) -> Mfn {
        match self {
            Self::Own { frame, .. } => frame.mfn(),
            Self::Grant(pin) => pin.frame().mfn(),
        }
    }
}

#[derive(Debug)]
enum PageState<F> {
    Free,
    /// Part of a mapping that is being made.
    Reserved,
    /// The same, and its frame is pinned. The IOMMU has not heard of it.
    Pinned(DmaPin<F>),
    /// The IOMMU translates it.
    Mapped(Unflushed<DmaPin<F>>),
    /// The IOMMU no longer translates it, but an IOTLB may.
    FlushPending(Unflushed<DmaPin<F>>),
}

#[derive(Debug)]
struct Page<F> {
    state: PageState<F>,
    /// Slot of the mapping it belongs to.
    mapping: u32,
    /// Neighbours in the list of mappings of the same own frame; `next` is also
    /// the link of a chain that waits for a flush.
    newer: u32,
    next: u32,
}

impl<F> Page<F> {
    const FREE: Self = Self {
        state: PageState::Free,
        mapping: NONE,
        newer: NONE,
        next: NONE,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MappingState {
    Free {
        next: u32,
    },
    Reserved,
    Live,
    /// Its generations are used up.
    Retired,
}

#[derive(Clone, Copy, Debug)]
struct MappingSlot {
    generation: u32,
    state: MappingState,
    first: u32,
    count: u32,
    access: Access,
}

/// A live mapping, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its name.
    pub handle: Handle,
    /// Its device frames.
    pub range: DfnRange,
    /// What devices may do.
    pub access: Access,
}

/// Where a device address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The mapping it belongs to.
    pub mapping: Mapping,
    /// The device frame.
    pub dfn: Dfn,
    /// What is there.
    pub source: FoundSource,
}

/// What a device frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundSource {
    /// The holder's own frame.
    Own(Gfn),
    /// A reference of another domain (or the holder's own).
    Grant {
        /// Whose.
        granter: crate::addr::DomId,
        /// Which.
        gref: crate::addr::GrantRef,
    },
}

/// A mapping that is being made. Ends in [`Context::commit`],
/// [`Context::withdraw_next`] or [`Context::abandon`].
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    slot: u32,
    first: u32,
    /// Its device frames.
    pub range: DfnRange,
}

/// Device frames that a flush must cover, and how.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Indices of the first and the last; none at all if `first` is above `last`.
    first: u32,
    last: u32,
    flags: FlushFlags,
}

impl Extent {
    const EMPTY: Self = Self {
        first: NONE,
        last: 0,
        flags: FlushFlags::NONE,
    };

    fn cover(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.flags.add(other.flags);
    }

    /// In device frames of the context `range`; `None` if empty.
    fn within(self, range: DfnRange) -> Option<DfnRange> {
        let count = u64::from(self.last).checked_sub(u64::from(self.first))? + 1;
        Some(DfnRange {
            first: range.first.checked_add(u64::from(self.first))?,
            count,
        })
    }
}

/// Frames that the IOMMU no longer translates and that wait for one flush.
#[derive(Debug)]
#[must_use]
pub struct Chain {
    head: u32,
    extent: Extent,
    /// Frames in it.
    pub count: u32,
}

impl Chain {
    const EMPTY: Self = Self {
        head: NONE,
        extent: Extent::EMPTY,
        count: 0,
    };
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
    /// Xen has no memory for the records.
    OutOfMemory,
}

/// The records of one context.
pub struct Context<H: Host> {
    range: Option<DfnRange>,
    max_pins: u32,
    pinned: u32,
    live: u32,
    occupied: BitVec<u64, Lsb0>,
    cursor: usize,
    chunks: Vec<Vec<Page<H::Frame>>>,
    mappings: Vec<MappingSlot>,
    free_mapping: u32,
    by_gfn: HashMap<Gfn, u32>,
    pending: Chain,
    /// What the flushes under way cover, and how many these are.
    in_flight: Extent,
    flushes: u32,
}

impl<H: Host> Context<H> {
    /// Nothing mapped, no memory used.
    pub fn new(max_pins: u32) -> Self {
        Self {
            range: None,
            max_pins,
            pinned: 0,
            live: 0,
            occupied: BitVec::new(),
            cursor: 0,
            chunks: Vec::new(),
            mappings: Vec::new(),
            free_mapping: NONE,
            by_gfn: HashMap::new(),
            pending: Chain::EMPTY,
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

    /// The limit of pinned frames.
    pub fn max_pins(&self) -> u32 {
        self.max_pins
    }

    /// Mappings that have a handle.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// How much of `hole` the context will use.
    pub fn usable(&self, hole: DfnRange) -> DfnRange {
        DfnRange {
            first: hole.first,
            count: hole.count.min(u64::from(self.max_pins) * ADDRESSES_PER_PIN),
        }
    }

    /// Gives the context its device frames, once.
    pub fn open(&mut self, hole: DfnRange) -> Result<DfnRange, ReserveError> {
        if let Some(range) = self.range {
            return Ok(range);
        }
        let range = self.usable(hole);
        let count = usize::try_from(range.count).map_err(|_| ReserveError::OutOfMemory)?;
        let chunks = count.div_ceil(PAGES_PER_CHUNK);
        let mut words = Vec::new();
        words
            .try_reserve_exact(count.div_ceil(64))
            .map_err(|_| ReserveError::OutOfMemory)?;
        words.resize(count.div_ceil(64), 0);
        self.chunks
            .try_reserve_exact(chunks)
            .map_err(|_| ReserveError::OutOfMemory)?;
        self.chunks.resize_with(chunks, Vec::new);
        self.occupied = BitVec::from_vec(words);
        self.occupied.truncate(count);
        self.range = Some(range);
        Ok(range)
    }

    fn page(&self, index: u32) -> Option<&Page<H::Frame>> {
        let index = index as usize;
        self.chunks
            .get(index / PAGES_PER_CHUNK)?
            .get(index % PAGES_PER_CHUNK)
    }

    fn page_mut(&mut self, index: u32) -> Option<&mut Page<H::Frame>> {
        let index = index as usize;
        self.chunks
            .get_mut(index / PAGES_PER_CHUNK)?
            .get_mut(index % PAGES_PER_CHUNK)
    }

    /// Makes sure that the pages from `first` on have records.
    fn back(&mut self, first: usize, count: usize) -> Result<(), ReserveError> {
        let last = first + count - 1;
        for chunk in first / PAGES_PER_CHUNK..=last / PAGES_PER_CHUNK {
            let chunk = self.chunks.get_mut(chunk).ok_or(ReserveError::OutOfRange)?;
            if chunk.is_empty() {
                chunk
                    .try_reserve_exact(PAGES_PER_CHUNK)
                    .map_err(|_| ReserveError::OutOfMemory)?;
                chunk.resize_with(PAGES_PER_CHUNK, || Page::FREE);
            }
        }
        Ok(())
    }

    /// First of `count` consecutive free pages, at or after the last given out.
    fn find_run(&self, count: usize) -> Option<usize> {
        self.find_run_in(self.cursor, self.occupied.len(), count)
            .or_else(|| {
                let end = (self.cursor + count - 1).min(self.occupied.len());
                self.find_run_in(0, end, count)
            })
    }

    fn find_run_in(&self, from: usize, to: usize, count: usize) -> Option<usize> {
        let mut start = from;
        loop {
            start += self.occupied.get(start..to)?.first_zero()?;
            if to - start < count {
                return None;
            }
            match self.occupied.get(start..start + count)?.last_one() {
                None => return Some(start),
                Some(used) => start += used + 1,
            }
        }
    }

    fn place_for(
        &self,
        range: DfnRange,
        wanted: Option<Dfn>,
        count: usize,
    ) -> Result<usize, ReserveError> {
        let Some(wanted) = wanted else {
            return self.find_run(count).ok_or(ReserveError::NoSpace);
        };
        let first = range.index_of(wanted).ok_or(ReserveError::OutOfRange)? as usize;
        let pages = self
            .occupied
            .get(first..first + count)
            .ok_or(ReserveError::OutOfRange)?;
        if pages.any() {
            return Err(ReserveError::InUse);
        }
        Ok(first)
    }

    /// The search for free device frames goes on behind `taken`, which is not free.
    pub fn search_behind(&mut self, taken: Dfn) {
        let index = self.range.and_then(|range| range.index_of(taken));
        self.cursor = index.map_or(0, |index| index as usize + 1);
        if self.cursor >= self.occupied.len() {
            self.cursor = 0;
        }
    }

    /// Sets `count` device frames, a handle and quota aside. `range` is what
    /// [`Self::open`] gave.
    pub fn reserve(
        &mut self,
        range: DfnRange,
        wanted: Option<Dfn>,
        count: u32,
        access: Access,
    ) -> Result<Reservation, ReserveError> {
        let pinned = self
            .pinned
            .checked_add(count)
            .filter(|&pinned| pinned <= self.max_pins)
            .ok_or(ReserveError::Quota)?;
        let first = self.place_for(range, wanted, count as usize)?;
        self.back(first, count as usize)?;
        let dfn = range
            .first
            .checked_add(first as u64)
            .ok_or(ReserveError::OutOfRange)?;
        let slot = self.new_mapping(first as u32, count, access)?;
        for index in first..first + count as usize {
            self.occupied.set(index, true);
            if let Some(page) = self.page_mut(index as u32) {
                page.state = PageState::Reserved;
                page.mapping = slot;
            }
        }
        self.pinned = pinned;
        self.cursor = first + count as usize;
        if self.cursor >= self.occupied.len() {
            self.cursor = 0;
        }
        Ok(Reservation {
            slot,
            first: first as u32,
            range: DfnRange {
                first: dfn,
                count: u64::from(count),
            },
        })
    }

    fn new_mapping(&mut self, first: u32, count: u32, access: Access) -> Result<u32, ReserveError> {
        if self.free_mapping == NONE {
            self.mappings
                .try_reserve(1)
                .map_err(|_| ReserveError::OutOfMemory)?;
            self.free_mapping = self.mappings.len() as u32;
            self.mappings.push(MappingSlot {
                generation: 0,
                state: MappingState::Free { next: NONE },
                first: 0,
                count: 0,
                access,
            });
        }
        let slot = self.free_mapping;
        let mapping = self
            .mappings
            .get_mut(slot as usize)
            .ok_or(ReserveError::OutOfMemory)?;
        if let MappingState::Free { next } = mapping.state {
            self.free_mapping = next;
        }
        *mapping = MappingSlot {
            generation: mapping.generation + 1,
            state: MappingState::Reserved,
            first,
            count,
            access,
        };
        Ok(slot)
    }

    /// The mapping's name may be used for another one, under a new generation.
    fn free_mapping(&mut self, slot: u32) {
        let next = self.free_mapping;
        if let Some(mapping) = self.mappings.get_mut(slot as usize) {
            if mapping.generation == u32::MAX {
                mapping.state = MappingState::Retired;
            } else {
                mapping.state = MappingState::Free { next };
                self.free_mapping = slot;
            }
        }
    }

    fn free_page(&mut self, index: u32) {
        if let Some(page) = self.page_mut(index) {
            *page = Page::FREE;
            self.occupied.set(index as usize, false);
            self.pinned -= 1;
        }
    }

    /// Puts the pin of frame number `nth` into a reservation.
    pub fn place(&mut self, reservation: &Reservation, nth: u32, pin: DmaPin<H::Frame>) {
        if let Some(page) = self.page_mut(reservation.first + nth) {
            page.state = PageState::Pinned(pin);
        }
    }

    /// Room for [`Self::commit`] of this reservation, which must follow before the
    /// lock is given back.
    pub fn prepare_commit(&mut self, reservation: &Reservation) -> Result<(), ReserveError> {
        self.by_gfn
            .try_reserve(reservation.range.count as usize)
            .map_err(|_| ReserveError::OutOfMemory)
    }

    /// Calls `each` with every run of consecutive machine frames of a reservation:
    /// first device frame, first machine frame, length. Stops at the first error.
    pub fn try_for_each_run<E>(
        &self,
        reservation: &Reservation,
        mut each: impl FnMut(Dfn, Mfn, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = reservation.range.count as u32;
        let dfn_of = |nth: u32| Dfn::new(reservation.range.first.number() + u64::from(nth));
        let mut run: Option<(u32, Mfn, u32)> = None;
        for nth in 0..count {
            let Some(PageState::Pinned(pin)) =
                self.page(reservation.first + nth).map(|page| &page.state)
            else {
                continue;
            };
            let mfn = pin.mfn();
            run = match run {
                Some((start, first, length))
                    if first.checked_add(u64::from(length)) == Some(mfn) =>
                {
                    Some((start, first, length + 1))
                }
                Some((start, first, length)) => {
                    each(dfn_of(start), first, length)?;
                    Some((nth, mfn, 1))
                }
                None => Some((nth, mfn, 1)),
            };
        }
        match run {
            Some((start, first, length)) => each(dfn_of(start), first, length),
            None => Ok(()),
        }
    }

    /// The IOMMU translates the whole reservation: it becomes a mapping.
    pub fn commit(&mut self, reservation: Reservation) -> Option<Handle> {
        for index in self.indices(&reservation) {
            self.set_mapped(index);
        }
        let mapping = self.mappings.get_mut(reservation.slot as usize)?;
        mapping.state = MappingState::Live;
        self.live += 1;
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
        let own = match core::mem::replace(&mut page.state, PageState::Reserved) {
            PageState::Pinned(pin) => {
                let own = match &pin {
                    DmaPin::Own { gfn, .. } => Some(*gfn),
                    DmaPin::Grant(_) => None,
                };
                page.state = PageState::Mapped(Unflushed::new(pin));
                own
            }
            other => {
                page.state = other;
                None
            }
        };
        if let Some(gfn) = own {
            self.link_gfn(gfn, index);
        }
    }

    fn link_gfn(&mut self, gfn: Gfn, index: u32) {
        let older = self.by_gfn.insert(gfn, index).unwrap_or(NONE);
        if let Some(page) = self.page_mut(older) {
            page.newer = index;
        }
        if let Some(page) = self.page_mut(index) {
            page.next = older;
            page.newer = NONE;
        }
    }

    fn unlink_gfn(&mut self, gfn: Gfn, index: u32) {
        let Some((newer, next)) = self.page(index).map(|page| (page.newer, page.next)) else {
            return;
        };
        if let Some(page) = self.page_mut(next) {
            page.newer = newer;
        }
        if let Some(page) = self.page_mut(newer) {
            page.next = next;
        } else if next == NONE {
            self.by_gfn.remove(&gfn);
        } else {
            self.by_gfn.insert(gfn, next);
        }
    }

    /// Takes the next pin out of a reservation that the IOMMU never saw; `None`
    /// when all are out and the reservation is gone.
    pub fn withdraw_next(&mut self, reservation: &Reservation) -> Option<DmaPin<H::Frame>> {
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
                    self.free_page(index);
                    return Some(pin);
                }
                _ => self.free_page(index),
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

    fn set_pending(&mut self, index: u32) {
        let head = self.pending.head;
        let Some(page) = self.page_mut(index) else {
            return;
        };
        match core::mem::replace(&mut page.state, PageState::Reserved) {
            PageState::Mapped(pin) => {
                let own = match pin.get() {
                    DmaPin::Own { gfn, .. } => Some(*gfn),
                    DmaPin::Grant(_) => None,
                };
                page.state = PageState::FlushPending(pin);
                if let Some(gfn) = own {
                    self.unlink_gfn(gfn, index);
                }
                if let Some(page) = self.page_mut(index) {
                    page.newer = NONE;
                    page.next = head;
                    page.mapping = NONE;
                }
                self.pending.head = index;
                self.pending.extent.cover(Extent {
                    first: index,
                    last: index,
                    flags: FlushFlags::NONE,
                });
                self.pending.count += 1;
            }
            other => page.state = other,
        }
    }

    fn mapping_of(&self, slot: u32) -> Option<Mapping> {
        let mapping = self.mappings.get(slot as usize)?;
        let range = self.range?;
        (mapping.state == MappingState::Live).then_some(Mapping {
            handle: Handle::new(slot, mapping.generation),
            range: DfnRange {
                first: range.first.checked_add(u64::from(mapping.first))?,
                count: u64::from(mapping.count),
            },
            access: mapping.access,
        })
    }

    /// The mapping with this handle, unless it is stale.
    pub fn by_handle(&self, host: &H, handle: Handle) -> Option<Mapping> {
        let slot = handle.slot() as usize;
        if slot >= self.mappings.len() {
            return None;
        }
        let slot = host.clamp_index(slot, self.mappings.len()) as u32;
        self.mapping_of(slot)
            .filter(|mapping| mapping.handle.generation() == handle.generation())
    }

    /// The live mapping with the highest slot, for the release of everything.
    pub fn any_mapping(&mut self) -> Option<Mapping> {
        while let Some(last) = self.mappings.len().checked_sub(1) {
            if let Some(mapping) = self.mapping_of(last as u32) {
                return Some(mapping);
            }
            // Nobody allocates any more, so the free list may lose its members.
            self.free_mapping = NONE;
            self.mappings.pop();
        }
        None
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
        self.live -= 1;
        self.free_mapping(slot);
    }

    /// The next flush must also cover this mapping, which stays.
    pub fn note_flush(&mut self, mapping: &Mapping, flags: FlushFlags) {
        let slot = mapping.handle.slot() as usize;
        if let Some(slot) = self.mappings.get(slot) {
            self.pending.extent.cover(Extent {
                first: slot.first,
                last: slot.first + slot.count - 1,
                flags,
            });
        }
    }

    /// The mapping cannot be taken back: it loses its name, and its frames stay
    /// pinned for ever.
    pub fn disown(&mut self, mapping: &Mapping) {
        if let Some(slot) = self.mappings.get_mut(mapping.handle.slot() as usize) {
            slot.state = MappingState::Retired;
            self.live -= 1;
        }
    }

    /// Frames that wait for a flush.
    pub fn pending(&self) -> u32 {
        self.pending.count
    }

    /// Takes over all frames that wait for a flush, with the range and the kind of
    /// flush they need. The range includes what flushes under way on other CPUs are
    /// about, because when this one ends all that was unmapped before must be out of
    /// devices' reach, and those may not have ended. `None`: nothing to flush.
    ///
    /// After the flush, successful or not, comes [`Self::flush_ended`].
    pub fn take_pending(&mut self) -> Option<(Chain, DfnRange, FlushFlags)> {
        let mut extent = self.in_flight;
        extent.cover(self.pending.extent);
        let range = extent.within(self.range?)?;
        let chain = core::mem::replace(&mut self.pending, Chain::EMPTY);
        self.in_flight = extent;
        self.flushes += 1;
        Some((chain, range, extent.flags))
    }

    /// A flush announced by [`Self::take_pending`] is over.
    pub fn flush_ended(&mut self) {
        self.flushes -= 1;
        if self.flushes == 0 {
            self.in_flight = Extent::EMPTY;
        }
    }

    /// The flush failed: the frames wait for another.
    pub fn return_pending(&mut self, chain: Chain) {
        self.pending.extent.cover(chain.extent);
        let mut last = chain.head;
        while let Some(next) = self.page(last).map(|page| page.next) {
            if next == NONE {
                break;
            }
            last = next;
        }
        let head = self.pending.head;
        if let Some(page) = self.page_mut(last) {
            page.next = head;
            self.pending.head = chain.head;
            self.pending.count += chain.count;
        }
    }

    /// The flush succeeded: the next frame's pin, whose device frame is free now.
    pub fn take_flushed(&mut self, chain: &mut Chain, proof: &Flushed) -> Option<DmaPin<H::Frame>> {
        let index = chain.head;
        let page = self.page_mut(index)?;
        let next = page.next;
        match core::mem::replace(&mut page.state, PageState::Reserved) {
            PageState::FlushPending(pin) => {
                chain.head = next;
                chain.count -= 1;
                self.free_page(index);
                Some(pin.after(proof))
            }
            other => {
                page.state = other;
                None
            }
        }
    }

    fn found(&self, index: u32) -> Option<Found> {
        let page = self.page(index)?;
        let PageState::Mapped(pin) = &page.state else {
            return None;
        };
        Some(Found {
            mapping: self.mapping_of(page.mapping)?,
            dfn: self.range?.first.checked_add(u64::from(index))?,
            source: match pin.get() {
                DmaPin::Own { gfn, .. } => FoundSource::Own(*gfn),
                DmaPin::Grant(pin) => FoundSource::Grant {
                    granter: pin.granter(),
                    gref: pin.gref(),
                },
            },
        })
    }

    /// What a device frame leads to.
    pub fn by_dfn(&self, host: &H, dfn: Dfn) -> Option<Found> {
        let range = self.range?;
        let index = range.index_of(dfn)? as usize;
        self.found(host.clamp_index(index, range.count as usize) as u32)
    }

    /// The `nth` mapping, newest first, of the holder's own frame.
    pub fn by_gfn(&self, gfn: Gfn, nth: u32) -> Option<Found> {
        let mut index = *self.by_gfn.get(&gfn)?;
        for _ in 0..nth {
            index = self.page(index)?.next;
        }
        self.found(index)
    }

    /// Calls `each` with every frame that is pinned: device frame, machine frame,
    /// and whether the IOMMU translates it (if not, it waits for a flush). For
    /// diagnosis and for the oracle of the tests.
    pub fn for_each_page(&self, mut each: impl FnMut(Dfn, &DmaPin<H::Frame>, bool)) {
        let Some(range) = self.range else {
            return;
        };
        for (index, page) in self.chunks.iter().enumerate().flat_map(|(chunk, pages)| {
            let first = chunk * PAGES_PER_CHUNK;
            pages
                .iter()
                .enumerate()
                .map(move |(offset, page)| (first + offset, page))
        }) {
            let dfn = Dfn::new(range.first.number() + index as u64);
            match &page.state {
                PageState::Mapped(pin) => each(dfn, pin.get(), true),
                PageState::FlushPending(pin) => each(dfn, pin.get(), false),
                PageState::Free | PageState::Reserved | PageState::Pinned(_) => {}
            }
        }
    }
}
