// SPDX-License-Identifier: GPL-2.0-only
//! Which device frames of a context are in use, by their index in it.

use alloc::vec::Vec;

use bitvec::{order::Lsb0, vec::BitVec};

use super::ReserveError;

/// Bits in one word of the bitmap.
const BITS_PER_WORD: usize = u64::BITS as usize;

/// A bit for each page of a context.
pub(super) type Bits = BitVec<u64, Lsb0>;

/// So many, all of them zero.
pub(super) fn zeros(count: usize) -> Result<Bits, ReserveError> {
    let length = count.div_ceil(BITS_PER_WORD);
    let mut words = Vec::new();
    words
        .try_reserve_exact(length)
        .map_err(|_| ReserveError::OutOfMemory)?;
    words.resize(length, 0);
    let mut bits = BitVec::from_vec(words);
    bits.truncate(count);
    Ok(bits)
}

/// A word with its `count` lowest bits set, or with all of them.
fn low_bits(count: usize) -> u64 {
    match count {
        0 => 0,
        BITS_PER_WORD.. => u64::MAX,
        _ => u64::MAX >> (BITS_PER_WORD - count),
    }
}

/// The lowest place of `count` bits in a row that are set.
fn run_in_word(bits: u64, count: usize) -> Option<usize> {
    if !(1..=BITS_PER_WORD).contains(&count) {
        return None;
    }
    // A bit of these says that so many are set, from it on.
    let (mut runs, mut length) = (bits, 1);
    while length < count && runs != 0 {
        let more = length.min(count - length);
        runs &= runs >> more;
        length += more;
    }
    (runs != 0).then(|| runs.trailing_zeros() as usize)
}

/// The device frames of one context, free or in use.
pub(super) struct Addresses {
    in_use: Bits,
    /// Where the next search begins: behind the last frame given out.
    cursor: usize,
}

impl Addresses {
    /// None at all.
    pub fn none() -> Self {
        Self {
            in_use: BitVec::new(),
            cursor: 0,
        }
    }

    /// `count` frames, all free.
    pub fn free(count: usize) -> Result<Self, ReserveError> {
        Ok(Self {
            in_use: zeros(count)?,
            cursor: 0,
        })
    }

    /// First of `count` consecutive free frames, at or after the last given out.
    pub fn find_run(&self, count: usize) -> Result<usize, ReserveError> {
        if self.is_free_at_cursor(count) {
            return Ok(self.cursor);
        }
        self.find_run_in(self.cursor, self.in_use.len(), count)
            .or_else(|| {
                let end = (self.cursor + count - 1).min(self.in_use.len());
                self.find_run_in(0, end, count)
            })
            .ok_or(ReserveError::NoSpace)
    }

    /// The usual case, told from one word: what comes next is free. False: it may be
    /// free all the same.
    fn is_free_at_cursor(&self, count: usize) -> bool {
        let (word, bit) = (self.cursor / BITS_PER_WORD, self.cursor % BITS_PER_WORD);
        let in_word = count <= BITS_PER_WORD - bit && count <= self.in_use.len() - self.cursor;
        let word = self.in_use.as_raw_slice().get(word);
        in_word
            && count != 0
            && word.is_some_and(|word| word >> bit & u64::MAX >> (BITS_PER_WORD - count) == 0)
    }

    /// First of `count` consecutive free frames, at an index that is `residue` modulo
    /// the power of two `alignment`.
    pub fn find_aligned(
        &self,
        count: usize,
        alignment: usize,
        residue: usize,
    ) -> Result<usize, ReserveError> {
        let aligned = |from: usize| {
            let distance = residue.wrapping_sub(from) & (alignment - 1);
            from.checked_add(distance)
        };
        let mut start = aligned(0);
        while let Some(first) = start {
            let end = first.checked_add(count).ok_or(ReserveError::NoSpace)?;
            let frames = self.in_use.get(first..end).ok_or(ReserveError::NoSpace)?;
            match frames.last_one() {
                None => return Ok(first),
                Some(used) => start = aligned(first + used + 1),
            }
        }
        Err(ReserveError::NoSpace)
    }

    /// A word at a time: a guest can leave gaps that are all one frame too short.
    fn find_run_in(&self, from: usize, to: usize, count: usize) -> Option<usize> {
        // Where those free frames begin that reach up to the word that comes next.
        let mut run = from;
        let words = self.in_use.as_raw_slice().iter().enumerate();
        for (nth, word) in words.skip(from / BITS_PER_WORD) {
            let first = nth * BITS_PER_WORD;
            if first >= to {
                return None;
            }
            let free = !word & low_bits(to - first) & !low_bits(from.saturating_sub(first));
            let joined = first + free.trailing_ones() as usize;
            if joined.checked_sub(run).is_some_and(|free| free >= count) {
                return Some(run);
            }
            if let Some(inside) = run_in_word(free, count) {
                return Some(first + inside);
            }
            if free != u64::MAX {
                run = first + BITS_PER_WORD - free.leading_ones() as usize;
            }
        }
        None
    }

    /// The `count` frames from `first` on exist and are free.
    pub fn check_free(&self, first: usize, count: usize) -> Result<(), ReserveError> {
        let frames = first
            .checked_add(count)
            .and_then(|end| self.in_use.get(first..end))
            .ok_or(ReserveError::OutOfRange)?;
        if frames.any() {
            return Err(ReserveError::InUse);
        }
        Ok(())
    }

    /// Gives out `count` frames, which are free.
    pub fn take_run(&mut self, first: usize, count: usize) {
        if let Some((word, bits)) = self.in_one_word(first, count) {
            *word |= bits;
        } else if let Some(frames) = self.in_use.get_mut(first..first + count) {
            frames.fill(true);
        }
        self.search_from(first + count);
    }

    /// The usual case: all bits of these frames are in one word.
    #[inline]
    fn in_one_word(&mut self, first: usize, count: usize) -> Option<(&mut u64, u64)> {
        let (word, bit) = (first / BITS_PER_WORD, first % BITS_PER_WORD);
        if !(1..=BITS_PER_WORD - bit).contains(&count) {
            return None;
        }
        let word = self.in_use.as_raw_mut_slice().get_mut(word)?;
        Some((word, low_bits(count) << bit))
    }

    /// Takes them back.
    pub fn give_back_run(&mut self, first: usize, count: usize) {
        if let Some((word, bits)) = self.in_one_word(first, count) {
            *word &= !bits;
        } else if let Some(frames) = self.in_use.get_mut(first..first + count) {
            frames.fill(false);
        }
    }

    /// The next search begins at `index`, or at the start if that is behind the end.
    pub fn search_from(&mut self, index: usize) {
        self.cursor = if index < self.in_use.len() { index } else { 0 };
    }
}
