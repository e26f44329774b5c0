// SPDX-License-Identifier: GPL-2.0-only
//! What waits for an IOTLB flush, and what the flushes under way cover.

use super::{Context, DmaPin, Mapping, NONE, Reservation};
use crate::{
    addr::{Dfn, DfnRange},
    host::{FlushFlags, Flushed, Host},
    index::Links,
};

/// Device frames that a flush must cover, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// The first and the last; none at all if `first` is above `last`.
    pub first: u64,
    pub last: u64,
    pub flags: FlushFlags,
}

impl Extent {
    pub const EMPTY: Self = Self {
        first: u64::MAX,
        last: 0,
        flags: FlushFlags::NONE,
    };

    /// That of `range`.
    pub fn of(range: DfnRange, flags: FlushFlags) -> Self {
        let first = range.first.number();
        Self {
            first,
            last: first + range.count.saturating_sub(1),
            flags,
        }
    }

    pub fn cover(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.flags.add(other.flags);
    }

    /// From the first to the last; `None` if empty.
    fn range(self) -> Option<DfnRange> {
        Some(DfnRange {
            first: Dfn::new(self.first),
            count: self.last.checked_sub(self.first)? + 1,
        })
    }
}

/// Frames that the IOMMU no longer translates and that wait for one flush.
#[derive(Debug)]
#[must_use]
pub struct Chain {
    pub(super) head: u32,
    pub(super) extent: Extent,
    /// Frames in it.
    pub count: u32,
    /// Of the flush: later ones have greater numbers.
    pub number: u64,
}

impl Chain {
    pub(super) const EMPTY: Self = Self {
        head: NONE,
        extent: Extent::EMPTY,
        count: 0,
        number: 0,
    };
}

impl<H: Host> Context<H> {
    /// The page waits for a flush, which the caller has to make cover it.
    #[inline(always)]
    pub(super) fn set_pending(&mut self, index: u32) {
        let Some(page) = self.pages.get_mut(index) else {
            return;
        };
        let Some(source) = page.set_pending() else {
            return;
        };
        let waiting = Links {
            newer: NONE,
            next: self.pending.head,
        };
        let links = core::mem::replace(&mut page.links, waiting);
        self.unlink(source, index, links);
        self.pending.head = index;
        self.pending.count += 1;
    }

    /// Frames that wait for a flush.
    pub fn pending(&self) -> u32 {
        self.pending.count
    }

    /// What the next flush must do, and those under way do.
    pub fn pending_flags(&self) -> FlushFlags {
        let mut flags = self.pending.extent.flags;
        flags.add(self.in_flight.flags);
        flags
    }

    /// The next flush must also cover this mapping, which stays.
    pub fn note_flush(&mut self, mapping: &Mapping, flags: FlushFlags) {
        self.pending.extent.cover(Extent::of(mapping.range, flags));
    }

    /// The next flush must make this mapping visible to devices.
    pub fn note_mapped(&mut self, reservation: &Reservation, flags: FlushFlags) {
        // Nothing, on hardware that does not cache absent entries.
        if flags != FlushFlags::NONE {
            let extent = Extent::of(reservation.range, flags);
            self.pending.extent.cover(extent);
        }
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
        let range = extent.range()?;
        let mut chain = core::mem::replace(&mut self.pending, Chain::EMPTY);
        self.flush_number += 1;
        chain.number = self.flush_number;
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
        while let Some(next) = self.pages.get(last).map(|page| page.links.next) {
            if next == NONE {
                break;
            }
            last = next;
        }
        let head = self.pending.head;
        if let Some(page) = self.pages.get_mut(last) {
            page.links.next = head;
            self.pending.head = chain.head;
            self.pending.count += chain.count;
        }
    }

    /// The flush succeeded: the pins of the next frames, at most `N`, whose device frames
    /// are free now. Their quota is the caller's to give back.
    #[inline]
    pub fn take_flushed<const N: usize>(
        &mut self,
        chain: &mut Chain,
        proof: &Flushed,
    ) -> [Option<DmaPin<H::Frame>>; N] {
        // Pages in a row become free together. They come from the last one down, because
        // each was put before those that waited already.
        let (mut first, mut row) = (chain.head.wrapping_add(1), 0);
        let (mut index, mut taken) = (chain.head, 0);
        let pins = core::array::from_fn(|_| {
            let page = self.pages.get_mut(index)?;
            let next = page.links.next;
            let pin = page.take_flushed(proof)?;
            if index.wrapping_add(1) != first {
                self.vacate(first, row);
                taken += row;
                row = 0;
            }
            (first, row) = (index, row + 1);
            index = next;
            Some(pin)
        });
        self.vacate(first, row);
        chain.head = index;
        chain.count -= taken + row;
        pins
    }
}
