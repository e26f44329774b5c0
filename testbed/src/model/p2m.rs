// SPDX-License-Identifier: GPL-2.0-only
//! What domains have at their guest frames, and what look-ups there are remembered for.

use std::{collections::BTreeMap, ops::Deref};

use crate::model::domain::Backing;

/// Guest frame of a domain.
type Place = (u16, u64);

/// (domain, guest frame) to what is there.
#[derive(Debug, Default)]
pub struct P2m {
    places: BTreeMap<Place, Backing>,
    /// How often any of it changed.
    changes: u64,
}

impl P2m {
    /// Puts something there. Returns what was there before.
    pub fn insert(&mut self, place: Place, backing: Backing) -> Option<Backing> {
        self.changes += 1;
        self.places.insert(place, backing)
    }

    /// Takes away what is there.
    pub fn remove(&mut self, place: &Place) -> Option<Backing> {
        self.changes += 1;
        self.places.remove(place)
    }

    /// A domain has nothing any more.
    pub fn forget(&mut self, domain: u16) {
        self.changes += 1;
        self.places.retain(|&(owner, _), _| owner != domain);
    }
}

impl Deref for P2m {
    type Target = BTreeMap<Place, Backing>;

    fn deref(&self) -> &Self::Target {
        &self.places
    }
}

/// Guest frames that one look-up tells about: fewer than a large page has, so that tests
/// get to its end.
const FRAMES: u64 = 16;

/// What a look-up found. In place, because tests count what is allocated.
#[derive(Debug, Default)]
pub struct Near {
    owner: Option<u16>,
    first: u64,
    mfns: [Option<u64>; FRAMES as usize],
    changes: u64,
}

impl Near {
    /// Looks around a frame.
    pub fn look(&mut self, p2m: &P2m, (owner, gfn): Place) {
        let first = gfn - gfn % FRAMES;
        let ram = |nth: usize| match p2m.get(&(owner, first + nth as u64)) {
            Some(&Backing::Ram(mfn)) => Some(mfn),
            _ => None,
        };
        *self = Self {
            owner: Some(owner),
            first,
            mfns: std::array::from_fn(ram),
            changes: p2m.changes,
        };
    }

    /// The memory that was there when it was looked at.
    pub fn seen(&self, (owner, gfn): Place) -> Option<u64> {
        let of = self.owner.unwrap_or(owner);
        assert_eq!(of, owner, "whose address space it is");
        let nth = gfn.checked_sub(self.first)?;
        *self.mfns.get(usize::try_from(nth).ok()?)?
    }

    /// Nothing has changed since.
    pub fn holds(&self, p2m: &P2m) -> bool {
        self.changes == p2m.changes
    }
}
