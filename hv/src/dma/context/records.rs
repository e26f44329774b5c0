// SPDX-License-Identifier: GPL-2.0-only
//! The records of a context's pages. Only pages near those in use have any.

use alloc::vec::Vec;

use super::{
    ReserveError,
    blocks::{Block, new_block},
    page::Page,
};

/// Pages whose records are allocated together: on Xen, where a record has 32 bytes, a page
/// of memory. What is larger has an address range of its own there, and all CPUs flush
/// their TLBs when it goes.
const PAGES_PER_CHUNK: usize = 128;
/// So many chunks without a used page keep their records.
const MOST_IDLE_CHUNKS: u32 = 4;

/// The records of [`PAGES_PER_CHUNK`] pages, or none.
struct Chunk<F> {
    pages: Option<Block<Page<F>, PAGES_PER_CHUNK>>,
    /// Pages that are not free.
    used: u32,
}

impl<F> Default for Chunk<F> {
    fn default() -> Self {
        Self {
            pages: None,
            used: 0,
        }
    }
}

/// Records of pages, by their indices in the context.
pub(super) struct Records<F> {
    chunks: Vec<Chunk<F>>,
    /// Chunks with records of which none is used.
    idle_chunks: u32,
}

impl<F> Records<F> {
    /// Of no pages.
    pub const NONE: Self = Self {
        chunks: Vec::new(),
        idle_chunks: 0,
    };

    /// Of `count` pages, none of which has any.
    pub fn of(count: usize) -> Result<Self, ReserveError> {
        let chunks = count.div_ceil(PAGES_PER_CHUNK);
        let mut records = Self::NONE;
        records
            .chunks
            .try_reserve_exact(chunks)
            .map_err(|_| ReserveError::OutOfMemory)?;
        records.chunks.resize_with(chunks, Chunk::default);
        Ok(records)
    }

    /// Pages that have records, used or not.
    pub fn count(&self) -> usize {
        let backed = self.chunks.iter().filter(|chunk| chunk.pages.is_some());
        backed.count() * PAGES_PER_CHUNK
    }

    /// The record of a page.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Page<F>> {
        let index = index as usize;
        let chunk = self.chunks.get(index / PAGES_PER_CHUNK)?;
        chunk.pages.as_ref()?.get(index % PAGES_PER_CHUNK)
    }

    /// The same.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Page<F>> {
        let index = index as usize;
        let chunk = self.chunks.get_mut(index / PAGES_PER_CHUNK)?;
        chunk.pages.as_mut()?.get_mut(index % PAGES_PER_CHUNK)
    }

    /// Makes sure that `count` pages from `first` on, at least one, have records.
    pub fn back(&mut self, first: u32, count: u32) -> Result<(), ReserveError> {
        let (first, last) = (first as usize, first as usize + count as usize - 1);
        for chunk in first / PAGES_PER_CHUNK..=last / PAGES_PER_CHUNK {
            let chunk = self.chunks.get_mut(chunk).ok_or(ReserveError::OutOfRange)?;
            if chunk.pages.is_none() {
                let pages = new_block(|| Page::FREE).map_err(|_| ReserveError::OutOfMemory)?;
                chunk.pages = Some(pages);
                self.idle_chunks += 1;
            }
        }
        Ok(())
    }

    /// A free page, which has a record, becomes one of the mapping in `slot`, which is
    /// being made.
    pub fn reserve(&mut self, index: u32, slot: u32) {
        let Some(chunk) = self.chunks.get_mut(index as usize / PAGES_PER_CHUNK) else {
            return;
        };
        if chunk.used == 0 {
            self.idle_chunks -= 1;
        }
        chunk.used += 1;
        let pages = chunk.pages.as_mut();
        if let Some(page) = pages.and_then(|pages| pages.get_mut(index as usize % PAGES_PER_CHUNK))
        {
            page.reserve(slot);
        }
    }

    /// A page becomes free. False: it has no record. Records that nobody uses are freed,
    /// but for a few: memory that is no mapping's is nobody's quota.
    pub fn free(&mut self, index: u32) -> bool {
        let Some(page) = self.get_mut(index) else {
            return false;
        };
        *page = Page::FREE;
        let Some(chunk) = self.chunks.get_mut(index as usize / PAGES_PER_CHUNK) else {
            return false;
        };
        chunk.used -= 1;
        if chunk.used == 0 {
            if self.idle_chunks < MOST_IDLE_CHUNKS {
                self.idle_chunks += 1;
            } else {
                chunk.pages = None;
            }
        }
        true
    }
}
