// SPDX-License-Identifier: GPL-2.0-only
//! Several mappings of one page each, at device frames in a row: set aside together, so
//! that the IOMMU can be told of them at once, but each with a life of its own.

use super::{
    Context, DmaPin, Handle, Reservation, ReserveError, handle::MappingState, pending::Extent,
};
use crate::{
    addr::{Access, Dfn, DfnRange},
    dma::quota::Quota,
    host::{FlushFlags, Host},
};

/// Device frames in a row, each of them reserved for a mapping of its own. Each ends like
/// a [`Reservation`], which [`Context::neighbour`] makes of it.
#[derive(Debug)]
#[must_use]
pub struct Neighbours {
    first: u32,
    /// Their device frames.
    pub range: DfnRange,
}

impl<H: Host> Context<H> {
    /// Sets `count` device frames in a row, as many handles, and quota aside. `range` is
    /// what [`Self::open`] gave. On error nothing has changed.
    pub fn reserve_neighbours(
        &mut self,
        quota: &Quota,
        range: DfnRange,
        wanted: Option<Dfn>,
        count: u32,
        access: Access,
    ) -> Result<Neighbours, ReserveError> {
        if self.closed {
            return Err(ReserveError::Closed);
        }
        quota.take(count).map_err(|_| ReserveError::Quota)?;
        let (first, range) = self
            .make_room(range, wanted, count)
            .inspect_err(|_| quota.give_back(count))?;
        for nth in 0..count {
            match self.new_mapping(first + nth, 1, access) {
                Ok(slot) => self.reserve_page(first + nth, slot),
                Err(error) => {
                    self.count_reserved(first, nth);
                    quota.give_back(count - nth);
                    self.withdraw_neighbours(quota, &Neighbours { first, range }, nth);
                    return Err(error);
                }
            }
        }
        self.count_reserved(first, count);
        Ok(Neighbours { first, range })
    }

    /// Gives the first `count` of them back, which have no pins.
    pub fn withdraw_neighbours(&mut self, quota: &Quota, of: &Neighbours, count: u32) {
        for nth in 0..count {
            if let Some(reservation) = self.neighbour(of, nth) {
                while self.withdraw_next(quota, &reservation).is_some() {}
            }
        }
    }

    /// The next flush must make `count` of them visible to devices, from number `nth` on.
    pub fn note_neighbours(&mut self, of: &Neighbours, nth: u32, count: u32, flags: FlushFlags) {
        let first = of.range.first.checked_add(u64::from(nth));
        if let Some(first) = first.filter(|_| flags != FlushFlags::NONE && count != 0) {
            let part = DfnRange {
                first,
                count: u64::from(count),
            };
            self.pending.extent.cover(Extent::of(part, flags));
        }
    }

    /// Puts a pin into number `nth` of them.
    #[inline]
    pub fn place_neighbour(&mut self, of: &Neighbours, nth: u32, pin: DmaPin<H::Frame>) {
        self.place_at(of.first + nth, pin);
    }

    /// The IOMMU translates number `nth` of them: it becomes a mapping. Tells where that
    /// is, and its name.
    #[inline]
    pub fn commit_neighbour(&mut self, of: &Neighbours, nth: u32) -> Option<(Dfn, Handle)> {
        let page = self.pages.get_mut(of.first + nth)?;
        page.set_mapped();
        let slot = page.mapping();
        let handle = self.name_mapping(slot, MappingState::Live)?;
        Some((of.range.first.checked_add(u64::from(nth))?, handle))
    }

    /// One of them, to be withdrawn or abandoned by itself.
    pub fn neighbour(&self, of: &Neighbours, nth: u32) -> Option<Reservation> {
        let first = of.first + nth;
        Some(Reservation {
            slot: self.pages.get(first)?.mapping(),
            first,
            range: DfnRange {
                first: of.range.first.checked_add(u64::from(nth))?,
                count: 1,
            },
        })
    }
}
