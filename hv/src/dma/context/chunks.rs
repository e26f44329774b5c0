// SPDX-License-Identifier: GPL-2.0-only
//! A list that grows and shrinks at its end without ever moving what is in it: a
//! million elements, copied to a larger place, would be no bounded step.
//!
//! Not [`crate::blocks`], which is a list of the same kind, for two reasons. A block there is
//! whole and full of elements, so that a look-up, which is in the way of every `map`, has a
//! constant to go by and no length to compare; the references here have no value that could
//! fill the rest of a block. And most lists here are short: a window of memory in a row is
//! one run, for which a block would be a page of memory. A chunk here grows until it is
//! full; that bounded step is what a list of blocks does not have.

use alloc::vec::Vec;

use crate::host::OutOfMemory;

/// Elements that lie in one place.
const PER_CHUNK: usize = 256;

/// The list.
#[derive(Debug)]
pub struct Chunks<T> {
    /// All full but the last.
    chunks: Vec<Vec<T>>,
}

impl<T> Chunks<T> {
    /// Empty.
    pub const EMPTY: Self = Self { chunks: Vec::new() };

    /// The element with this number.
    pub fn get(&self, nth: usize) -> Option<&T> {
        self.chunks.get(nth / PER_CHUNK)?.get(nth % PER_CHUNK)
    }

    /// The last element.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        let mut chunks = self.chunks.iter_mut().rev();
        chunks.find_map(|chunk| chunk.last_mut())
    }

    /// Makes room for one more. What is pushed then needs no memory.
    pub fn reserve(&mut self) -> Result<(), OutOfMemory> {
        let last = self.chunks.last_mut().filter(|last| last.len() < PER_CHUNK);
        if let Some(last) = last {
            return last.try_reserve(1).map_err(|_| OutOfMemory);
        }
        let mut chunk = Vec::new();
        chunk.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.chunks.try_reserve(1).map_err(|_| OutOfMemory)?;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Adds an element, for which [`Self::reserve`] has made room.
    pub fn push(&mut self, element: T) {
        if let Some(last) = self.chunks.last_mut() {
            last.push(element);
        }
    }

    /// Takes the last element out.
    pub fn pop(&mut self) -> Option<T> {
        while let Some(last) = self.chunks.last_mut() {
            if let Some(element) = last.pop() {
                return Some(element);
            }
            self.chunks.pop();
        }
        None
    }
}
