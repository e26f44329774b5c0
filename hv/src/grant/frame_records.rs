// SPDX-License-Identifier: GPL-2.0-only
//! Records by machine frame, however many, of which one more is a bounded step: nothing
//! moves but the few that one bucket of the index has.

use crate::{
    addr::Mfn,
    blocks::Blocks,
    host::OutOfMemory,
    index::{Index, Linked, LinkedMut, Links},
};

/// Places that are allocated together: less than a page of memory on Xen, where a count of
/// [`super::identity`] has 48 bytes here.
const PLACES_PER_BLOCK: usize = 64;

/// The record of a frame, or room for one.
struct Place<R> {
    mfn: Mfn,
    record: R,
    links: Links,
}

type Places<R> = Blocks<Place<R>, PLACES_PER_BLOCK>;

impl<R> Linked for Places<R> {
    type Key = Mfn;

    fn read(&self, place: u32) -> Option<(Option<Mfn>, Links)> {
        let place = self.get(place)?;
        Some((Some(place.mfn), place.links))
    }
}

impl<R> LinkedMut for Places<R> {
    fn links_mut(&mut self, place: u32) -> Option<&mut Links> {
        Some(&mut self.get_mut(place)?.links)
    }
}

/// The records. One that is not there is as good as the default.
pub(super) struct FrameRecords<R> {
    by_frame: Index<Mfn>,
    /// Without gaps: what follows the last record is room.
    places: Places<R>,
    /// Records.
    len: u32,
}

impl<R: Default> FrameRecords<R> {
    /// None; no memory used.
    pub fn new() -> Self {
        Self {
            by_frame: Index::new(),
            places: Places::EMPTY,
            len: 0,
        }
    }

    /// The place of a frame's record, until one is removed.
    pub fn find(&self, mfn: Mfn) -> Option<u32> {
        self.by_frame.newest(mfn, &self.places)
    }

    /// The record at a place.
    pub fn at(&mut self, place: u32) -> Option<&mut R> {
        Some(&mut self.places.get_mut(place)?.record)
    }

    /// Makes a record for a frame that has none. Tells its place.
    pub fn add(&mut self, mfn: Mfn) -> Result<u32, OutOfMemory> {
        let len = self.len.checked_add(1).ok_or(OutOfMemory)?;
        self.by_frame.reserve(1, &mut self.places)?;
        if self.len as usize == self.places.len() {
            self.places.grow(|| Place {
                mfn: Mfn::new(0),
                record: R::default(),
                links: Links::NONE,
            })?;
        }
        let place = self.len;
        self.places.get_mut(place).ok_or(OutOfMemory)?.mfn = mfn;
        self.by_frame.add(mfn, place, &mut self.places);
        self.len = len;
        Ok(place)
    }

    /// The record at a place is not needed any more. The last one moves there, so that
    /// memory can go block by block, and nothing is left to do at the end.
    pub fn remove(&mut self, place: u32) {
        let Some(last) = self.len.checked_sub(1) else {
            return;
        };
        self.take(place);
        if place != last
            && let Some((mfn, record)) = self.take(last)
            && let Some(room) = self.places.get_mut(place)
        {
            (room.mfn, room.record) = (mfn, record);
            self.by_frame.add(mfn, place, &mut self.places);
        }
        self.len = last;
        // One block more than needed, lest it come and go with each mapping.
        self.places.shrink(last as usize + PLACES_PER_BLOCK);
    }

    /// Frees a bounded part of the index, if there are no records. False: nothing is left
    /// to be freed.
    pub fn shed(&mut self) -> bool {
        self.by_frame.shed()
    }

    /// Takes a record out of the index and of its place.
    fn take(&mut self, place: u32) -> Option<(Mfn, R)> {
        let (mfn, links) = self.places.get(place).map(|at| (at.mfn, at.links))?;
        self.by_frame.remove(mfn, place, links, &mut self.places);
        let record = core::mem::take(self.at(place)?);
        Some((mfn, record))
    }
}
