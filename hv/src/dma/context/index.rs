// SPDX-License-Identifier: GPL-2.0-only
//! From what is mapped to the page where it was mapped last.
//!
//! A page knows what is mapped there, so the index keeps its number alone: five bytes a
//! place, where with the key it would be seventeen.

use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Source;
use crate::host::OutOfMemory;

/// The newest page of each frame or reference.
pub(super) struct Index {
    newest: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Index {
    /// Nothing.
    pub fn new() -> Self {
        Self {
            newest: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Makes room for `more` sources. `source_of` tells what a page in the index is of.
    pub fn reserve(
        &mut self,
        more: usize,
        source_of: impl Fn(u32) -> Option<Source>,
    ) -> Result<(), OutOfMemory> {
        let hash = |&page: &u32| self.hasher.hash_one(source_of(page));
        self.newest.try_reserve(more, hash).map_err(|_| OutOfMemory)
    }

    /// The newest page of `source`.
    pub fn newest(&self, source: Source, source_of: impl Fn(u32) -> Option<Source>) -> Option<u32> {
        let hash = self.hasher.hash_one(Some(source));
        let found = self
            .newest
            .find(hash, |&page| source_of(page) == Some(source));
        found.copied()
    }

    /// From now on `page` is the newest of `source`, in place of `older`. If there is no
    /// older one, [`Self::reserve`] has made room.
    pub fn put(
        &mut self,
        source: Source,
        page: u32,
        older: Option<u32>,
        source_of: impl Fn(u32) -> Option<Source>,
    ) {
        let hash = self.hasher.hash_one(Some(source));
        if let Some(older) = older {
            if let Some(place) = self.newest.find_mut(hash, |&found| found == older) {
                *place = page;
            }
            return;
        }
        let hasher = |&page: &u32| self.hasher.hash_one(source_of(page));
        self.newest.insert_unique(hash, page, hasher);
    }

    /// `page`, the newest of `source`, was the only one.
    pub fn remove(&mut self, source: Source, page: u32) {
        let hash = self.hasher.hash_one(Some(source));
        if let Ok(entry) = self.newest.find_entry(hash, |&found| found == page) {
            entry.remove();
        }
    }
}
