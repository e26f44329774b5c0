// SPDX-License-Identifier: GPL-2.0-only
//! A holder's records of its CPU mappings, by the handle the guest was given.

use alloc::vec::Vec;

use super::pin::Pin;
use crate::host::Host;

/// Records that one maptrack frame holds in Xen's documentation of the limit.
const RECORDS_PER_FRAME: u32 = 256;
const END: u32 = u32::MAX;

/// A CPU mapping of a grant.
#[derive(Debug)]
pub struct CpuMapping<F> {
    /// The use of the reference.
    pub pin: Pin<F>,
    /// `GNTMAP_*` flags of the mapping.
    pub gntmap_flags: u32,
}

#[derive(Debug)]
enum Slot<F> {
    /// Free; the next free slot.
    Free(u32),
    /// A call is at work on this handle.
    Busy,
    Mapped(CpuMapping<F>),
}

/// The records of one holder. Handles are allocated and freed in O(1).
pub struct Maptrack<H: Host> {
    slots: Vec<Slot<H::Frame>>,
    free: u32,
    limit: u32,
}

/// All records are in use, or there is no memory for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHandle;

impl<H: Host> Maptrack<H> {
    /// No records yet.
    pub fn new(max_frames: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: END,
            limit: max_frames.saturating_mul(RECORDS_PER_FRAME),
        }
    }

    /// A handle nobody uses; it stays busy until [`Self::fill`] or
    /// [`Self::discard`].
    pub fn reserve(&mut self) -> Result<u32, NoHandle> {
        if self.free == END {
            self.grow()?;
        }
        let handle = self.free;
        let slot = self.slots.get_mut(handle as usize).ok_or(NoHandle)?;
        if let Slot::Free(next) = *slot {
            self.free = next;
            *slot = Slot::Busy;
            Ok(handle)
        } else {
            Err(NoHandle)
        }
    }

    /// Adds one frame's worth of records.
    fn grow(&mut self) -> Result<(), NoHandle> {
        let first = self.slots.len() as u32;
        let room = self.limit.saturating_sub(first).min(RECORDS_PER_FRAME);
        if room == 0 {
            return Err(NoHandle);
        }
        self.slots
            .try_reserve(room as usize)
            .map_err(|_| NoHandle)?;
        let last = first + room - 1;
        for handle in first..last {
            self.slots.push(Slot::Free(handle + 1));
        }
        self.slots.push(Slot::Free(self.free));
        self.free = first;
        Ok(())
    }

    /// Puts a mapping under a busy handle.
    pub fn fill(&mut self, handle: u32, mapping: CpuMapping<H::Frame>) {
        if let Some(slot) = self.slots.get_mut(handle as usize) {
            *slot = Slot::Mapped(mapping);
        }
    }

    /// Frees a busy handle.
    pub fn discard(&mut self, handle: u32) {
        if let Some(slot) = self.slots.get_mut(handle as usize) {
            *slot = Slot::Free(self.free);
            self.free = handle;
        }
    }

    /// Takes the mapping out and leaves the handle busy, so that of two unmaps of
    /// one handle only one finds it.
    pub fn take(&mut self, host: &H, handle: u32) -> Option<CpuMapping<H::Frame>> {
        if handle as usize >= self.slots.len() {
            return None;
        }
        let index = host.clamp_index(handle as usize, self.slots.len());
        let slot = self.slots.get_mut(index)?;
        match core::mem::replace(slot, Slot::Busy) {
            Slot::Mapped(mapping) => Some(mapping),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Takes the last record away for good, with its mapping if it has one. For
    /// the release of a dying domain. `None`: there are no more.
    pub fn pop(&mut self) -> Option<Option<CpuMapping<H::Frame>>> {
        self.free = END;
        self.limit = 0;
        match self.slots.pop()? {
            Slot::Mapped(mapping) => Some(Some(mapping)),
            Slot::Free(_) | Slot::Busy => Some(None),
        }
    }

    /// Mappings held.
    pub fn mapped(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| matches!(slot, Slot::Mapped(_)))
            .count()
    }
}
