// SPDX-License-Identifier: GPL-2.0-only
//! From what is mapped to the pages where it is mapped, the newest first.
//!
//! A hash table that grows by one bucket at a time (linear hashing): there is no moment at
//! which all of it is moved. The pages of one source are a list, newest first, doubly linked
//! by `next` and `newer`. The newest is in the chain of its bucket too, and nothing is newer
//! than it, so `newer` is the link of that chain. So the index has four bytes for each
//! source and the records hold the rest.

use core::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::{NONE, Source, blocks::Blocks, records::Records};
use crate::host::{Frame, OutOfMemory};

/// Buckets that come into being together, in a page of memory; of these only one is used
/// at first, but for the first block.
const BUCKETS_PER_BLOCK: usize = 1024;

/// The newest page of each frame or reference.
pub(super) struct Index {
    /// First page of each bucket's chain.
    heads: Blocks<u32, BUCKETS_PER_BLOCK>,
    /// Buckets in use.
    buckets: u32,
    /// The power of two that is at most that, and more than half of it. The buckets from
    /// here on were split from those from 0 on.
    whole: u32,
    /// Sources that have pages.
    sources: u32,
    /// Most pages that ever changed their bucket, or might have, when one was added.
    most_moved: u32,
    hasher: DefaultHashBuilder,
}

impl Index {
    /// Nothing.
    pub fn new() -> Self {
        Self {
            heads: Blocks::EMPTY,
            buckets: 0,
            whole: 0,
            sources: 0,
            most_moved: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// There will be at most so many sources.
    pub fn plan(&mut self, sources: usize) -> Result<(), OutOfMemory> {
        self.heads.plan(sources)
    }

    /// Most pages that were moved so that one more could be added.
    pub fn most_moved(&self) -> u32 {
        self.most_moved
    }

    /// Makes room for `more` sources: as many buckets as sources.
    pub fn reserve<F: Frame>(
        &mut self,
        more: u32,
        pages: &mut Records<F>,
    ) -> Result<(), OutOfMemory> {
        while self.buckets < self.sources.saturating_add(more) {
            self.split(pages)?;
        }
        Ok(())
    }

    /// Adds a bucket, and gives it its part of the one that it is split from.
    #[cold]
    fn split<F: Frame>(&mut self, pages: &mut Records<F>) -> Result<(), OutOfMemory> {
        let new = self.buckets;
        if new as usize == self.heads.len() {
            self.heads.grow(|| NONE)?;
        }
        if new == 0 {
            self.whole = BUCKETS_PER_BLOCK as u32;
            self.buckets = self.whole;
            return Ok(());
        }
        let mut page = self.take_chain(new - self.whole);
        self.buckets += 1;
        let mut moved = 0;
        while let Some(record) = pages.get_mut(page) {
            let next = record.newer;
            let bucket = self.bucket_of(record.source());
            if let Some(head) = self.heads.get_mut(bucket) {
                record.newer = core::mem::replace(head, page);
            }
            page = next;
            moved += 1;
        }
        self.most_moved = self.most_moved.max(moved);
        if self.buckets == 2 * self.whole {
            self.whole = self.buckets;
        }
        Ok(())
    }

    fn take_chain(&mut self, bucket: u32) -> u32 {
        let head = self.heads.get_mut(bucket);
        head.map_or(NONE, |head| core::mem::replace(head, NONE))
    }

    fn bucket_of(&self, source: Option<Source>) -> u32 {
        let hash = self.hasher.hash_one(source) as u32;
        // Of 0 if there are none.
        let low = hash & self.whole.wrapping_sub(1);
        let high = low | (hash & self.whole);
        if high < self.buckets { high } else { low }
    }

    fn head(&self, bucket: u32) -> u32 {
        self.heads.get(bucket).copied().unwrap_or(NONE)
    }

    /// The newest page of `source`.
    pub fn newest<F: Frame>(&self, source: Source, pages: &Records<F>) -> Option<u32> {
        let mut page = self.head(self.bucket_of(Some(source)));
        while let Some(record) = pages.get(page) {
            if record.source() == Some(source) {
                return Some(page);
            }
            page = record.newer;
        }
        None
    }

    /// Looks for a page in the chain of a bucket: it, if `is_it` says so, and the one
    /// before it.
    fn find<F>(
        &self,
        bucket: u32,
        pages: &Records<F>,
        is_it: impl Fn(u32, &super::page::Page<F>) -> bool,
    ) -> (Option<u32>, u32) {
        let (mut before, mut page) = (NONE, self.head(bucket));
        while let Some(record) = pages.get(page) {
            if is_it(page, record) {
                return (Some(page), before);
            }
            before = page;
            page = record.newer;
        }
        (None, NONE)
    }

    /// What follows `before` in the chain of a bucket, or comes first, is `page` now.
    fn set_link<F>(&mut self, bucket: u32, before: u32, page: u32, pages: &mut Records<F>) {
        let link = match pages.get_mut(before) {
            Some(record) => Some(&mut record.newer),
            None => self.heads.get_mut(bucket),
        };
        if let Some(link) = link {
            *link = page;
        }
    }

    /// From now on `page` is the newest of `source`. [`Self::reserve`] has made room.
    pub fn add<F: Frame>(&mut self, source: Source, page: u32, pages: &mut Records<F>) {
        let bucket = self.bucket_of(Some(source));
        let same = |_, record: &super::page::Page<F>| record.source() == Some(source);
        let (older, before) = self.find(bucket, pages, same);
        let after = match older.and_then(|older| pages.get_mut(older)) {
            Some(record) => core::mem::replace(&mut record.newer, page),
            None => {
                self.sources += 1;
                self.head(bucket)
            }
        };
        if let Some(record) = pages.get_mut(page) {
            record.next = older.unwrap_or(NONE);
            record.newer = after;
            self.set_link(bucket, before, page, pages);
        }
    }

    /// `page`, which is of `source`, is not to be found any more.
    pub fn remove<F: Frame>(&mut self, source: Source, page: u32, pages: &mut Records<F>) {
        let bucket = self.bucket_of(Some(source));
        let Some((newer, next)) = pages.get(page).map(|record| (record.newer, record.next)) else {
            return;
        };
        let (found, before) = self.find(bucket, pages, |index, _| index == page);
        if found.is_none() {
            // There is a newer one.
            if let Some(record) = pages.get_mut(newer) {
                record.next = next;
            }
            if let Some(record) = pages.get_mut(next) {
                record.newer = newer;
            }
            return;
        }
        let follows = match pages.get_mut(next) {
            Some(record) => {
                record.newer = newer;
                next
            }
            None => {
                self.sources -= 1;
                newer
            }
        };
        self.set_link(bucket, before, follows, pages);
    }
}
