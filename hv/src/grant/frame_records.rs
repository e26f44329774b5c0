// SPDX-License-Identifier: GPL-2.0-only
//! Records by machine frame, however many, of which one more is a bounded step: nothing
//! moves but the few that one bucket of the index has.

use crate::{
    addr::Mfn,
    blocks::Blocks,
    host::OutOfMemory,
    index::{Index, Linked, LinkedMut, Links, NONE},
};

/// Places that are allocated together: less than a page of memory on Xen, where a count of
/// [`super::identity`] has 48 bytes here.
const PLACES_PER_BLOCK: usize = 64;

/// The record of a frame, or room for one.
struct Place<R> {
    mfn: Mfn,
    record: R,
    /// Of the index; of a free place, `next` is the next free one.
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
    places: Places<R>,
    /// The first free place.
    free: u32,
}

impl<R: Default> FrameRecords<R> {
    /// None; no memory used.
    pub fn new() -> Self {
        Self {
            by_frame: Index::new(),
            places: Places::EMPTY,
            free: NONE,
        }
    }

    /// The place of a frame's record.
    pub fn find(&self, mfn: Mfn) -> Option<u32> {
        self.by_frame.newest(mfn, &self.places)
    }

    /// The record at a place.
    pub fn at(&mut self, place: u32) -> Option<&mut R> {
        Some(&mut self.places.get_mut(place)?.record)
    }

    /// Makes a record for a frame that has none. Tells its place.
    pub fn add(&mut self, mfn: Mfn) -> Result<u32, OutOfMemory> {
        self.by_frame.reserve(1, &mut self.places)?;
        self.make_free()?;
        let place = self.free;
        let free = self.places.get_mut(place).ok_or(OutOfMemory)?;
        self.free = free.links.next;
        free.mfn = mfn;
        self.by_frame.add(mfn, place, &mut self.places);
        Ok(place)
    }

    /// Makes sure that there is a free place.
    fn make_free(&mut self) -> Result<(), OutOfMemory> {
        if self.free != NONE {
            return Ok(());
        }
        let first = u32::try_from(self.places.len()).map_err(|_| OutOfMemory)?;
        let end = first
            .checked_add(PLACES_PER_BLOCK as u32)
            .ok_or(OutOfMemory)?;
        let mut following = first..end;
        following.next();
        self.places.grow(|| Place {
            mfn: Mfn::new(0),
            record: R::default(),
            links: Links {
                next: following.next().unwrap_or(NONE),
                ..Links::NONE
            },
        })?;
        self.free = first;
        Ok(())
    }

    /// The record at a place is not needed any more.
    pub fn remove(&mut self, place: u32) {
        let Some(mfn) = self.places.get(place).map(|found| found.mfn) else {
            return;
        };
        self.by_frame.remove(mfn, place, &mut self.places);
        if let Some(found) = self.places.get_mut(place) {
            found.record = R::default();
            found.links.next = self.free;
            self.free = place;
        }
    }
}
