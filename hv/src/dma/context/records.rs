// SPDX-License-Identifier: GPL-2.0-only
//! Records by the number of a page. Only pages near those in use have any.

use alloc::vec::Vec;

use super::{
    ReserveError,
    page::{Page, Source},
};
use crate::{
    blocks::{Block, new_block},
    host::Frame,
    index::{Linked, LinkedMut, Links},
};

/// So many chunks without a used record keep their memory.
const MOST_IDLE_CHUNKS: u32 = 4;

/// What there can be for each page.
pub(super) trait Record {
    /// That of a free page.
    const FREE: Self;
}

/// The records of a context's pages, in chunks of a page of memory on Xen, where a record
/// has 32 bytes. What is larger has an address range of its own there, and all CPUs flush
/// their TLBs when it goes.
pub(super) type Pages<F> = Records<Page<F>, 128>;

/// Links by machine frame, in chunks of a page of memory too.
pub(super) type FrameLinks = Records<Links, 512>;

impl Record for Links {
    const FREE: Self = Self::NONE;
}

/// The records of `N` pages, or none.
struct Chunk<T, const N: usize> {
    records: Option<Block<T, N>>,
    /// Of pages that are not free.
    used: u32,
}

/// Records of pages, by their indices in the context, `N` at a time.
pub(super) struct Records<T, const N: usize> {
    chunks: Vec<Chunk<T, N>>,
    /// Chunks with records of which none is used.
    idle_chunks: u32,
}

impl<T: Record, const N: usize> Records<T, N> {
    /// Of no pages.
    pub const NONE: Self = Self {
        chunks: Vec::new(),
        idle_chunks: 0,
    };

    /// Of `count` pages, none of which has any.
    pub fn of(count: usize) -> Result<Self, ReserveError> {
        let chunks = count.div_ceil(N);
        let mut records = Self::NONE;
        records
            .chunks
            .try_reserve_exact(chunks)
            .map_err(|_| ReserveError::OutOfMemory)?;
        records.chunks.resize_with(chunks, || Chunk {
            records: None,
            used: 0,
        });
        Ok(records)
    }

    /// Pages that have records, used or not.
    pub fn count(&self) -> usize {
        let backed = self.chunks.iter().filter(|chunk| chunk.records.is_some());
        backed.count() * N
    }

    /// The record of a page.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        let chunk = self.chunks.get(index / N)?;
        chunk.records.as_ref()?.get(index % N)
    }

    /// The same.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        let chunk = self.chunks.get_mut(index / N)?;
        chunk.records.as_mut()?.get_mut(index % N)
    }

    /// Makes sure that `count` pages from `first` on, at least one, have records.
    pub fn back(&mut self, first: u32, count: u32) -> Result<(), ReserveError> {
        let (first, last) = (first as usize, first as usize + count as usize - 1);
        for chunk in first / N..=last / N {
            let chunk = self.chunks.get_mut(chunk).ok_or(ReserveError::OutOfRange)?;
            if chunk.records.is_none() {
                let records = new_block(|| T::FREE).map_err(|_| ReserveError::OutOfMemory)?;
                chunk.records = Some(records);
                self.idle_chunks += 1;
            }
        }
        Ok(())
    }

    /// A free page, which has a record, is in use from now on: its record.
    #[inline]
    pub fn take(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        let chunk = self.chunks.get_mut(index / N)?;
        if chunk.used == 0 {
            self.idle_chunks -= 1;
        }
        chunk.used += 1;
        chunk.records.as_mut()?.get_mut(index % N)
    }

    /// A page, which has a record, becomes free.
    pub fn free(&mut self, index: u32) {
        if let Some(record) = self.get_mut(index) {
            *record = T::FREE;
            self.vacate(index, 1);
        }
    }

    /// `count` pages from `first` on become free; their records are those of free pages
    /// already. Records that nobody uses are freed, but for a few: memory that is no
    /// mapping's is nobody's quota.
    pub fn vacate(&mut self, first: u32, count: u32) {
        let (mut index, end) = (first as usize, first as usize + count as usize);
        while index < end {
            let behind = end.min((index / N + 1) * N);
            let Some(chunk) = self.chunks.get_mut(index / N) else {
                return;
            };
            chunk.used -= (behind - index) as u32;
            index = behind;
            if chunk.used != 0 {
                continue;
            }
            if self.idle_chunks < MOST_IDLE_CHUNKS {
                self.idle_chunks += 1;
            } else {
                chunk.records = None;
            }
        }
    }
}

impl<F: Frame> Linked for Pages<F> {
    type Key = Source;

    #[inline]
    fn read(&self, page: u32) -> Option<(Option<Source>, Links)> {
        let page = self.get(page)?;
        Some((page.source(), page.links))
    }
}

impl<F: Frame> LinkedMut for Pages<F> {
    #[inline]
    fn links_mut(&mut self, page: u32) -> Option<&mut Links> {
        Some(&mut self.get_mut(page)?.links)
    }
}
