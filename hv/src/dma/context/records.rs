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

/// The memory of so many chunks without a used record is kept for others.
const MOST_SPARE: usize = 4;

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
    /// Records of free pages, for chunks that come into use: device frames are given out
    /// in turn, so there is always a chunk ahead that needs some. There is room for all
    /// that are kept.
    spare: Vec<Block<T, N>>,
}

impl<T: Record, const N: usize> Records<T, N> {
    /// Of no pages.
    pub const NONE: Self = Self {
        chunks: Vec::new(),
        spare: Vec::new(),
    };

    /// Of `count` pages, none of which has any.
    pub fn of(count: usize) -> Result<Self, ReserveError> {
        let chunks = count.div_ceil(N);
        let mut records = Self::NONE;
        records
            .chunks
            .try_reserve_exact(chunks)
            .and_then(|()| records.spare.try_reserve_exact(MOST_SPARE))
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
        (backed.count() + self.spare.len()) * N
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
                chunk.records = match self.spare.pop() {
                    Some(records) => Some(records),
                    None => Some(new_block(|| T::FREE).map_err(|_| ReserveError::OutOfMemory)?),
                };
            }
        }
        Ok(())
    }

    /// A free page, which has a record, is in use from now on: its record.
    #[inline]
    pub fn take(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        let chunk = self.chunks.get_mut(index / N)?;
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
            if let Some(records) = chunk.records.take()
                && self.spare.len() < MOST_SPARE
            {
                self.spare.push(records);
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
