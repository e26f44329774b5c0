// SPDX-License-Identifier: GPL-2.0-only
//! From what pages are found by, the key, to the pages, the newest first.
//!
//! A hash table that grows by one bucket at a time (linear hashing): there is no moment at
//! which all of it is moved. The pages of one key are a list, newest first, doubly linked
//! by `next` and `newer`. The newest is in the chain of its bucket too, and nothing is newer
//! than it, so `newer` is the link of that chain. So the index has four bytes for each
//! key and records elsewhere hold the rest: see [`Linked`].

use core::{
    hash::{BuildHasher, Hash},
    marker::PhantomData,
};

use hashbrown::DefaultHashBuilder;

use crate::{blocks::Blocks, host::OutOfMemory};

/// End of a list.
pub(crate) const NONE: u32 = u32::MAX;

/// Buckets that come into being together, in a page of memory; of these only one is used
/// at first, but for the first block.
const BUCKETS_PER_BLOCK: usize = 1024;

/// Blocks that are freed in one step.
const BLOCKS_SHED: usize = 16;

/// The links of a page in one index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    /// The page that is newer; of the newest, the next one in the chain of its bucket.
    pub newer: u32,
    /// The page that is older.
    pub next: u32,
}

impl Links {
    /// To nothing.
    pub const NONE: Self = Self {
        newer: NONE,
        next: NONE,
    };
}

/// Records that hold the links of an index.
pub(crate) trait Linked {
    /// What pages are found by.
    type Key: Copy + Eq + Hash;

    /// What a page is found by now, and its links; `None` if it has none.
    fn read(&self, page: u32) -> Option<(Option<Self::Key>, Links)>;
}

/// The same, to change.
pub(crate) trait LinkedMut: Linked {
    /// The links of a page.
    fn links_mut(&mut self, page: u32) -> Option<&mut Links>;
}

/// The newest page of each key.
pub(crate) struct Index<K> {
    /// First page of each bucket's chain.
    heads: Blocks<u32, BUCKETS_PER_BLOCK>,
    /// Buckets in use.
    buckets: u32,
    /// The power of two that is at most that, and more than half of it. The buckets from
    /// here on were split from those from 0 on.
    whole: u32,
    /// Keys that have pages.
    keys: u32,
    /// Most pages that ever changed their bucket, or might have, when one was added.
    most_moved: u32,
    hasher: DefaultHashBuilder,
    key: PhantomData<fn(K)>,
}

impl<K: Copy + Eq + Hash> Index<K> {
    /// Nothing.
    pub fn new() -> Self {
        Self {
            heads: Blocks::EMPTY,
            buckets: 0,
            whole: 0,
            keys: 0,
            most_moved: 0,
            hasher: DefaultHashBuilder::default(),
            key: PhantomData,
        }
    }

    /// There will be at most so many keys.
    pub fn plan(&mut self, keys: usize) -> Result<(), OutOfMemory> {
        self.heads.plan(keys)
    }

    /// Most pages that were moved so that one more could be added.
    pub fn most_moved(&self) -> u32 {
        self.most_moved
    }

    /// Makes room for `more` keys: as many buckets as keys.
    pub fn reserve(
        &mut self,
        more: u32,
        pages: &mut impl LinkedMut<Key = K>,
    ) -> Result<(), OutOfMemory> {
        while self.buckets < self.keys.saturating_add(more) {
            self.split(pages)?;
        }
        Ok(())
    }

    /// Adds a bucket, and gives it its part of the one that it is split from.
    #[cold]
    fn split(&mut self, pages: &mut impl LinkedMut<Key = K>) -> Result<(), OutOfMemory> {
        let new = self.buckets;
        if new as usize == self.heads.len() {
            self.heads.grow(|| NONE)?;
        }
        if new == 0 {
            self.whole = BUCKETS_PER_BLOCK as u32;
            self.buckets = self.whole;
            return Ok(());
        }
        let old = new - self.whole;
        let mut page = self.take_chain(old);
        self.buckets += 1;
        let mut moved = 0;
        while let Some((key, links)) = pages.read(page) {
            let bucket = key.map_or(old, |key| self.bucket_of(key));
            if let (Some(head), Some(links)) = (self.heads.get_mut(bucket), pages.links_mut(page)) {
                links.newer = core::mem::replace(head, page);
            }
            page = links.newer;
            moved += 1;
        }
        self.most_moved = self.most_moved.max(moved);
        if self.buckets == 2 * self.whole {
            self.whole = self.buckets;
        }
        Ok(())
    }

    /// Frees a bounded part of the buckets, if there are no keys. False: nothing is left to
    /// be freed.
    pub fn shed(&mut self) -> bool {
        let left = self.heads.len();
        if self.keys != 0 || left == 0 {
            return false;
        }
        (self.buckets, self.whole) = (0, 0);
        self.heads
            .shrink(left.saturating_sub(BLOCKS_SHED * BUCKETS_PER_BLOCK));
        true
    }

    fn take_chain(&mut self, bucket: u32) -> u32 {
        let head = self.heads.get_mut(bucket);
        head.map_or(NONE, |head| core::mem::replace(head, NONE))
    }

    fn bucket_of(&self, key: K) -> u32 {
        // Of numbers in a row the lower half of this hash depends on little but the seed.
        let hash = (self.hasher.hash_one(key) >> 32) as u32;
        // Of 0 if there are none.
        let low = hash & self.whole.wrapping_sub(1);
        let high = low | (hash & self.whole);
        if high < self.buckets { high } else { low }
    }

    fn head(&self, bucket: u32) -> u32 {
        self.heads.get(bucket).copied().unwrap_or(NONE)
    }

    /// The newest page of `key`.
    pub fn newest(&self, key: K, pages: &impl Linked<Key = K>) -> Option<u32> {
        let head = self.head(self.bucket_of(key));
        self.find(head, pages, |_, of| of == Some(key))
            .map(|(page, _)| page)
    }

    /// Looks for a page in the chain that begins with `page`: it, if `is_it` says so, and
    /// the one before it.
    fn find(
        &self,
        mut page: u32,
        pages: &impl Linked<Key = K>,
        is_it: impl Fn(u32, Option<K>) -> bool,
    ) -> Option<(u32, u32)> {
        let mut before = NONE;
        while page != NONE {
            let (key, links) = pages.read(page)?;
            if is_it(page, key) {
                return Some((page, before));
            }
            before = page;
            page = links.newer;
        }
        None
    }

    /// What follows `before` in the chain of a bucket, or comes first, is `page` now.
    #[inline]
    fn set_link(
        &mut self,
        bucket: u32,
        before: u32,
        page: u32,
        pages: &mut impl LinkedMut<Key = K>,
    ) {
        let link = if before == NONE {
            self.heads.get_mut(bucket)
        } else {
            pages.links_mut(before).map(|links| &mut links.newer)
        };
        if let Some(link) = link {
            *link = page;
        }
    }

    /// From now on `page` is the newest of `key`. [`Self::reserve`] has made room.
    pub fn add(&mut self, key: K, page: u32, pages: &mut impl LinkedMut<Key = K>) {
        let bucket = self.bucket_of(key);
        let head = self.head(bucket);
        let found = self.find(head, pages, |_, of| of == Some(key));
        let (next, newer, before) = match found {
            Some((older, before)) => {
                let links = pages.links_mut(older);
                let after = links.map(|links| core::mem::replace(&mut links.newer, page));
                (older, after.unwrap_or(NONE), before)
            }
            None => {
                self.keys += 1;
                (NONE, head, NONE)
            }
        };
        if let Some(links) = pages.links_mut(page) {
            *links = Links { newer, next };
            self.set_link(bucket, before, page, pages);
        }
    }

    /// `page`, which is of `key` and has these links, is not to be found any more. Its
    /// links may have been overwritten already.
    #[inline]
    pub fn remove(&mut self, key: K, page: u32, links: Links, pages: &mut impl LinkedMut<Key = K>) {
        let bucket = self.bucket_of(key);
        match self.heads.get_mut(bucket) {
            // The usual case: the only one of its key, and the first of its bucket.
            Some(head) if *head == page && links.next == NONE => {
                *head = links.newer;
                self.keys -= 1;
            }
            _ => self.remove_from(bucket, page, links, pages),
        }
    }

    /// The same of any page, whose bucket is known.
    #[inline(never)]
    fn remove_from(
        &mut self,
        bucket: u32,
        page: u32,
        Links { newer, next }: Links,
        pages: &mut impl LinkedMut<Key = K>,
    ) {
        let head = self.head(bucket);
        let Some((_, before)) = self.find(head, pages, |index, _| index == page) else {
            return unlink_older(newer, next, pages);
        };
        let follows = match pages.links_mut(next) {
            Some(links) => {
                links.newer = newer;
                next
            }
            None => {
                self.keys -= 1;
                newer
            }
        };
        self.set_link(bucket, before, follows, pages);
    }
}

/// A page that is between these two, or the oldest one behind `newer`, goes.
fn unlink_older(newer: u32, next: u32, pages: &mut impl LinkedMut) {
    if let Some(links) = pages.links_mut(newer) {
        links.next = next;
    }
    if let Some(links) = pages.links_mut(next) {
        links.newer = newer;
    }
}
