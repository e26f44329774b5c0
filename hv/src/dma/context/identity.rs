// SPDX-License-Identifier: GPL-2.0-only
//! Contexts in which the device address of a frame is its machine address.
//!
//! There a page's index is just a number: its device frame is the machine frame of what
//! is pinned there. One frame can be at several pages, by several grants or several
//! times by one; each page is of a mapping with a handle of its own. [`ByFrame`] finds
//! them by the frame, and knows of each whether it is counted in
//! [`crate::grant::identity`].

use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{Context, FoundSource, NONE, Reservation, ReserveError, page::Reach};
use crate::{
    addr::{Dfn, DfnRange, Mfn},
    dma::context::{Found, Mapping},
    host::{Host, OutOfMemory},
};

/// Links that are allocated together: one page of memory.
const LINKS_PER_CHUNK: usize = 256;

/// So many mappings of one frame are looked at for one of a certain size.
const MOST_LOOKED_AT: usize = 64;

/// A page in the list of pages with the same frame.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The machine frame, and [`Self::COUNTED`].
    frame: u64,
    newer: u32,
    older: u32,
}

impl Link {
    /// The IOMMU has been told of the page; no machine frame has a number so high.
    const COUNTED: u64 = 1 << 63;
    const FREE: Self = Self {
        frame: 0,
        newer: NONE,
        older: NONE,
    };

    fn mfn(&self) -> Mfn {
        Mfn::new(self.frame & !Self::COUNTED)
    }
}

/// The links of [`LINKS_PER_CHUNK`] pages, or none.
#[derive(Debug, Default)]
struct Chunk {
    links: Vec<Link>,
    /// Pages that are not free.
    used: u32,
}

/// The pages of an identity context by machine frame, newest first.
pub(super) struct ByFrame {
    newest: HashTable<u32>,
    hasher: DefaultHashBuilder,
    chunks: Vec<Chunk>,
}

fn link_of(chunks: &[Chunk], index: u32) -> Option<&Link> {
    let index = index as usize;
    let chunk = chunks.get(index / LINKS_PER_CHUNK)?;
    chunk.links.get(index % LINKS_PER_CHUNK)
}

impl ByFrame {
    /// For pages with indices below `pages`.
    fn new(pages: usize) -> Result<Self, OutOfMemory> {
        let count = pages.div_ceil(LINKS_PER_CHUNK);
        let mut chunks = Vec::new();
        chunks.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        chunks.resize_with(count, Chunk::default);
        Ok(Self {
            newest: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            chunks,
        })
    }

    /// Makes room for `unplaced` more frames, and for the links of `count` pages from
    /// `first` on.
    fn reserve(&mut self, unplaced: usize, first: usize, count: usize) -> Result<(), OutOfMemory> {
        let Self {
            newest,
            hasher,
            chunks,
        } = self;
        let hash = |&page: &u32| hasher.hash_one(link_of(chunks, page).map(Link::mfn));
        newest
            .try_reserve(unplaced, hash)
            .map_err(|_| OutOfMemory)?;
        let last = first + count.saturating_sub(1);
        for chunk in first / LINKS_PER_CHUNK..=last / LINKS_PER_CHUNK {
            let Some(chunk) = chunks.get_mut(chunk) else {
                return Err(OutOfMemory);
            };
            if chunk.links.is_empty() {
                chunk
                    .links
                    .try_reserve_exact(LINKS_PER_CHUNK)
                    .map_err(|_| OutOfMemory)?;
                chunk.links.resize(LINKS_PER_CHUNK, Link::FREE);
            }
        }
        Ok(())
    }

    /// The page is not free any more.
    pub fn hold(&mut self, index: u32) {
        if let Some(chunk) = self.chunks.get_mut(index as usize / LINKS_PER_CHUNK) {
            chunk.used += 1;
        }
    }

    /// The page is free. Links that nobody needs are freed: they are nobody's quota.
    pub fn leave(&mut self, index: u32) {
        if let Some(chunk) = self.chunks.get_mut(index as usize / LINKS_PER_CHUNK) {
            chunk.used -= 1;
            if chunk.used == 0 {
                chunk.links = Vec::new();
            }
        }
    }

    fn link_mut(&mut self, index: u32) -> Option<&mut Link> {
        let index = index as usize;
        let chunk = self.chunks.get_mut(index / LINKS_PER_CHUNK)?;
        chunk.links.get_mut(index % LINKS_PER_CHUNK)
    }

    fn newest(&self, mfn: Mfn) -> Option<u32> {
        let hash = self.hasher.hash_one(Some(mfn));
        let is_it = |&page: &u32| link_of(&self.chunks, page).map(Link::mfn) == Some(mfn);
        self.newest.find(hash, is_it).copied()
    }

    /// From now on the page is the newest of its frame. [`Self::reserve`] has made room.
    pub fn link(&mut self, mfn: Mfn, index: u32) {
        let older = self.newest(mfn);
        let hash = self.hasher.hash_one(Some(mfn));
        if let Some(link) = self.link_mut(index) {
            *link = Link {
                frame: mfn.number(),
                newer: NONE,
                older: older.unwrap_or(NONE),
            };
        }
        match older {
            Some(older) => {
                if let Some(place) = self.newest.find_mut(hash, |&page| page == older) {
                    *place = index;
                }
                if let Some(link) = self.link_mut(older) {
                    link.newer = index;
                }
            }
            None => {
                let Self {
                    newest,
                    hasher,
                    chunks,
                } = self;
                let hash_of = |&page: &u32| hasher.hash_one(link_of(chunks, page).map(Link::mfn));
                newest.insert_unique(hash, index, hash_of);
            }
        }
    }

    /// The page has the frame no longer.
    pub fn unlink(&mut self, index: u32) {
        let Some(&Link { newer, older, .. }) = link_of(&self.chunks, index) else {
            return;
        };
        let Some(mfn) = link_of(&self.chunks, index).map(Link::mfn) else {
            return;
        };
        if let Some(link) = self.link_mut(older) {
            link.newer = newer;
        }
        if let Some(link) = self.link_mut(newer) {
            link.older = older;
        } else {
            let hash = self.hasher.hash_one(Some(mfn));
            if let Ok(mut entry) = self.newest.find_entry(hash, |&page| page == index) {
                if older == NONE {
                    entry.remove();
                } else {
                    *entry.get_mut() = older;
                }
            }
        }
        if let Some(link) = self.link_mut(index) {
            *link = Link::FREE;
        }
    }

    /// Pages with this frame, newest first.
    fn pages_with(&self, mfn: Mfn) -> impl Iterator<Item = u32> {
        core::iter::successors(self.newest(mfn), |&index| {
            let older = link_of(&self.chunks, index)?.older;
            (older != NONE).then_some(older)
        })
    }
}

/// What follows from where the frames of a reservation are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Their device frames are known.
    At(DfnRange),
    /// They do not follow each other in the machine.
    Scattered,
}

impl<H: Host> Context<H> {
    /// Makes the context one whose device addresses are machine addresses, with room for
    /// `pages`, once: later calls change nothing. What it returns is for
    /// [`Self::reserve`] alone.
    pub fn open_identity(&mut self, pages: u64) -> Result<DfnRange, ReserveError> {
        if let Some(range) = self.range() {
            return Ok(range);
        }
        let count = usize::try_from(pages).map_err(|_| ReserveError::OutOfMemory)?;
        let by_frame = ByFrame::new(count).map_err(|_| ReserveError::OutOfMemory)?;
        let range = self.open(DfnRange {
            first: Dfn::new(0),
            count: pages,
        })?;
        self.by_frame = Some(by_frame);
        Ok(range)
    }

    /// Device addresses are machine addresses here.
    pub fn is_identity(&self) -> bool {
        self.by_frame.is_some()
    }

    /// Makes room in the index by frame, if there is one.
    pub(super) fn back_frames(&mut self, first: usize, count: usize) -> Result<(), ReserveError> {
        let unplaced = self.unplaced as usize + count;
        self.by_frame.as_mut().map_or(Ok(()), |by_frame| {
            by_frame
                .reserve(unplaced, first, count)
                .map_err(|_| ReserveError::OutOfMemory)
        })
    }

    /// The machine frame that is pinned at a page.
    pub(super) fn mfn_at(&self, index: u32) -> Option<Mfn> {
        self.pages.get(index)?.mfn()
    }

    /// The device frame of a page; in an identity context something is pinned there.
    pub(super) fn dfn_at(&self, index: u32) -> Option<Dfn> {
        if self.is_identity() {
            self.mfn_at(index).map(|mfn| Dfn::new(mfn.number()))
        } else {
            self.range()?.first.checked_add(u64::from(index))
        }
    }

    /// The page that a device frame is at, the newest one that is mapped if there are
    /// several.
    pub(super) fn index_at(&self, host: &H, dfn: Dfn) -> Option<u32> {
        if let Some(by_frame) = &self.by_frame {
            let mut pages = by_frame.pages_with(Mfn::new(dfn.number()));
            // Those before it are being made by other vcpus, or were given up.
            return pages
                .by_ref()
                .take(MOST_LOOKED_AT)
                .find(|&index| self.found(index).is_some());
        }
        let range = self.range()?;
        let index = range.index_of(dfn)? as usize;
        Some(host.clamp_index(index, range.count as usize) as u32)
    }

    /// The newest mapping of exactly these device frames. In an identity context only the
    /// newest [`MOST_LOOKED_AT`] of the first frame are looked at, so that a guest cannot
    /// make the search long.
    pub fn by_range(&self, host: &H, first: Dfn, count: u32) -> Option<Mapping> {
        let fits = |found: &Found| {
            let range = found.mapping.range;
            range.first == first && range.count == u64::from(count)
        };
        let Some(by_frame) = &self.by_frame else {
            let found = self.by_dfn(host, first).filter(fits);
            return found.map(|found| found.mapping);
        };
        by_frame
            .pages_with(Mfn::new(first.number()))
            .take(MOST_LOOKED_AT)
            .filter_map(|index| self.found(index))
            .find(fits)
            .map(|found| found.mapping)
    }

    /// Notes the device frames of a reservation whose frames are all pinned, if these
    /// follow each other.
    pub fn settle(&self, reservation: &mut Reservation) -> Settled {
        let Some(first) = self.dfn_at(reservation.first) else {
            return Settled::Scattered;
        };
        let in_a_row = self
            .indices(reservation)
            .zip(0..)
            .all(|(index, nth)| self.dfn_at(index) == first.checked_add(nth));
        if !in_a_row {
            return Settled::Scattered;
        }
        reservation.range.first = first;
        Settled::At(reservation.range)
    }

    /// Calls `each` with every page of a mapping of which [`ByFrame`] does not say
    /// `counted` yet, and notes that it is so if that succeeds. Stops at the first error.
    fn set_counted<E>(
        &mut self,
        slot: u32,
        counted: bool,
        mut each: impl FnMut(FoundSource, Mfn) -> Result<bool, E>,
    ) -> Result<(), E> {
        let Some(mapping) = self.mappings.get(slot) else {
            return Ok(());
        };
        for index in mapping.first..mapping.first + mapping.count {
            let chunks = self.by_frame.as_ref().map(|by_frame| &by_frame.chunks);
            let link = chunks.and_then(|chunks| link_of(chunks, index));
            if link.is_none_or(|link| (link.frame & Link::COUNTED != 0) == counted) {
                continue;
            }
            let page = self.pages.get(index);
            let page = page.filter(|page| page.reach() != Some(Reach::FlushPending));
            let Some((source, mfn)) = page.and_then(|page| page.names().zip(page.mfn())) else {
                continue;
            };
            if !each(source, mfn)? {
                continue;
            }
            let link = self
                .by_frame
                .as_mut()
                .and_then(|frames| frames.link_mut(index));
            if let Some(link) = link {
                link.frame ^= Link::COUNTED;
            }
        }
        Ok(())
    }

    /// Calls `count` with what is pinned at each page of a reservation, in turn. `true`:
    /// it is counted from now on. Stops at the first error.
    pub fn count_pages<E>(
        &mut self,
        reservation: &Reservation,
        count: impl FnMut(FoundSource, Mfn) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.set_counted(reservation.slot, true, count)
    }

    /// Calls `uncount` with what is pinned at each page of a mapping that is counted, in
    /// turn; it is not any more. Stops at the first error: then another call goes on from
    /// there.
    pub fn uncount_pages<E>(
        &mut self,
        mapping: &Mapping,
        mut uncount: impl FnMut(Mfn) -> Result<(), E>,
    ) -> Result<(), E> {
        let slot = mapping.handle.slot();
        self.set_counted(slot, false, |_, mfn| uncount(mfn).map(|()| true))
    }

    /// The same for a reservation.
    pub fn uncount_reserved<E>(
        &mut self,
        reservation: &Reservation,
        mut uncount: impl FnMut(Mfn) -> Result<(), E>,
    ) -> Result<(), E> {
        self.set_counted(reservation.slot, false, |_, mfn| {
            uncount(mfn).map(|()| true)
        })
    }
}
