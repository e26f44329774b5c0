// SPDX-License-Identifier: GPL-2.0-only
//! Contexts in which the device address of a frame is its machine address.
//!
//! There a page's index is just a number: its device frame is the machine frame of what
//! is pinned there. One frame can be at several pages, by several grants or several
//! times by one; each page is of a mapping with a handle of its own. [`ByFrame`] finds
//! them by the frame, and knows of each whether it is counted in
//! [`crate::grant::identity`].

use core::borrow::{Borrow, BorrowMut};

use super::{
    Context, FoundSource, NONE, Reservation, ReserveError,
    address::{Bits, zeros},
    page::{Page, Reach},
    records::{FrameLinks, Pages, Records},
};
use crate::{
    addr::{Dfn, DfnRange, Mfn},
    dma::context::{Found, Mapping},
    host::{Frame, Host},
    index::{Index, Linked, LinkedMut, Links},
};

/// So many mappings of one frame are looked at for one of a certain size.
const MOST_LOOKED_AT: usize = 64;

/// The pages of an identity context by machine frame, newest first.
pub(super) struct ByFrame {
    newest: Index<Mfn>,
    /// Of pages that are not free. The index by source has their other links.
    links: FrameLinks,
    /// Pages that the IOMMU has been told of.
    counted: Bits,
}

/// What the index by frame is about: the pages know their frames, and the links are
/// beside them, because other contexts need none.
struct OfFrames<'a, F, L> {
    pages: &'a Pages<F>,
    links: L,
}

impl<F: Frame, L: Borrow<FrameLinks>> Linked for OfFrames<'_, F, L> {
    type Key = Mfn;

    fn read(&self, page: u32) -> Option<(Option<Mfn>, Links)> {
        let links = *self.links.borrow().get(page)?;
        Some((self.pages.get(page).and_then(Page::mfn), links))
    }
}

impl<F: Frame, L: BorrowMut<FrameLinks>> LinkedMut for OfFrames<'_, F, L> {
    fn links_mut(&mut self, page: u32) -> Option<&mut Links> {
        self.links.borrow_mut().get_mut(page)
    }
}

impl ByFrame {
    /// For pages with indices below `pages`.
    fn new(pages: usize) -> Result<Self, ReserveError> {
        let mut newest = Index::new();
        newest.plan(pages).map_err(|_| ReserveError::OutOfMemory)?;
        Ok(Self {
            newest,
            links: Records::of(pages)?,
            counted: zeros(pages)?,
        })
    }

    /// Most pages whose place in the index changed because of one other page.
    pub fn most_moved(&self) -> u32 {
        self.newest.most_moved()
    }

    /// Frees a bounded part of the buckets. False: there are none, or pages that need them.
    pub fn shed(&mut self) -> bool {
        self.newest.shed()
    }

    /// Makes room for `unplaced` more frames, and for the links of `count` pages from
    /// `first` on, at least one.
    #[inline(never)]
    fn reserve<F: Frame>(
        &mut self,
        unplaced: u32,
        (first, count): (u32, u32),
        pages: &Pages<F>,
    ) -> Result<(), ReserveError> {
        let links = &mut self.links;
        self.newest
            .reserve(unplaced, &mut OfFrames { pages, links })
            .map_err(|_| ReserveError::OutOfMemory)?;
        self.links.back(first, count)
    }

    /// The page is not free any more.
    pub fn hold(&mut self, index: u32) {
        self.links.take(index);
    }

    /// The page is free.
    pub fn leave(&mut self, index: u32) {
        self.links.free(index);
    }

    /// From now on the page is the newest of the frame that is pinned there.
    /// [`Self::reserve`] has made room.
    #[inline(never)]
    pub fn link<F: Frame>(&mut self, index: u32, pages: &Pages<F>) {
        if let Some(mut counted) = self.counted.get_mut(index as usize) {
            *counted = false;
        }
        let links = &mut self.links;
        if let Some(mfn) = pages.get(index).and_then(Page::mfn) {
            self.newest.add(mfn, index, &mut OfFrames { pages, links });
        }
    }

    /// The page, whose frame is still pinned there, is not to be found any more.
    #[inline(never)]
    pub fn unlink<F: Frame>(&mut self, index: u32, pages: &Pages<F>) {
        let of = &mut OfFrames {
            pages,
            links: &mut self.links,
        };
        if let Some((Some(mfn), links)) = of.read(index) {
            self.newest.remove(mfn, index, links, of);
        }
    }

    /// Pages with this frame, newest first.
    fn pages_with<F: Frame>(&self, mfn: Mfn, pages: &Pages<F>) -> impl Iterator<Item = u32> {
        let links = &self.links;
        let newest = self.newest.newest(mfn, &OfFrames { pages, links });
        core::iter::successors(newest, |&index| {
            let next = self.links.get(index)?.next;
            (next != NONE).then_some(next)
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
        let by_frame = ByFrame::new(count)?;
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
    #[inline]
    pub(super) fn back_frames(&mut self, first: u32, count: u32) -> Result<(), ReserveError> {
        let unplaced = self.unplaced + count;
        self.by_frame.as_mut().map_or(Ok(()), |by_frame| {
            by_frame.reserve(unplaced, (first, count), &self.pages)
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
            let mut pages = by_frame.pages_with(Mfn::new(dfn.number()), &self.pages);
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
            .pages_with(Mfn::new(first.number()), &self.pages)
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
            let by_frame = self.by_frame.as_ref();
            let known = by_frame.and_then(|frames| frames.counted.get(index as usize));
            if known.is_none_or(|known| *known == counted) {
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
            let by_frame = self.by_frame.as_mut();
            let known = by_frame.and_then(|frames| frames.counted.get_mut(index as usize));
            if let Some(mut known) = known {
                *known = counted;
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
