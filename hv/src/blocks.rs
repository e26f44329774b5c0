// SPDX-License-Identifier: GPL-2.0-only
//! A list in blocks, which grows and shrinks at its end without ever moving what is in it.
//!
//! For elements that can lie there unused; for others there is a list of chunks in
//! `dma/context`, which says why it is another one. With blocks of a page of memory each,
//! growth is one allocation of the size that the hypervisor has most of, however long the
//! list is.

use alloc::{boxed::Box, vec::Vec};

use crate::host::OutOfMemory;

/// `N` elements.
pub(crate) type Block<T, const N: usize> = Box<[T; N]>;

/// A block full of what `fill` makes.
pub(crate) fn new_block<T, const N: usize>(
    fill: impl FnMut() -> T,
) -> Result<Block<T, N>, OutOfMemory> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(N).map_err(|_| OutOfMemory)?;
    elements.resize_with(N, fill);
    let block = elements.into_boxed_slice().try_into();
    block.map_err(|_| OutOfMemory)
}

/// The list.
pub(crate) struct Blocks<T, const N: usize> {
    blocks: Vec<Block<T, N>>,
}

impl<T, const N: usize> Blocks<T, N> {
    /// Empty.
    pub const EMPTY: Self = Self { blocks: Vec::new() };

    /// Makes room for the places of the blocks of a list of so many elements, so that not
    /// even these have to move when it grows.
    pub fn plan(&mut self, elements: usize) -> Result<(), OutOfMemory> {
        let blocks = elements.div_ceil(N);
        let more = blocks.saturating_sub(self.blocks.len());
        self.blocks.try_reserve_exact(more).map_err(|_| OutOfMemory)
    }

    /// The element with this number.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.blocks.get(index / N)?.get(index % N)
    }

    /// The same.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        self.blocks.get_mut(index / N)?.get_mut(index % N)
    }

    /// Elements in all blocks.
    pub fn len(&self) -> usize {
        self.blocks.len() * N
    }

    /// Adds a block full of what `fill` makes.
    pub fn grow(&mut self, fill: impl FnMut() -> T) -> Result<(), OutOfMemory> {
        self.blocks.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.blocks.push(new_block(fill)?);
        Ok(())
    }

    /// Drops the blocks behind the first `len` elements.
    pub fn shrink(&mut self, len: usize) {
        self.blocks.truncate(len.div_ceil(N));
    }
}
