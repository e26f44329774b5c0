// SPDX-License-Identifier: GPL-2.0-only
//! A granter's table: the frames it shares with Xen, and the active entries.

use alloc::vec::Vec;

use hypercall_abi::grant::ENTRY_V1_SIZE;

use super::{
    entry::{ActiveEntry, SharedEntryV1},
    maptrack::Maptrack,
};
use crate::{
    addr::{GrantRef, Mfn, PAGE_SIZE},
    host::{Domain, Host, OutOfMemory, SharedPage},
    sync::{Rank, ReadWriteLock, SpinLock},
};

/// Frames of a new table.
const INITIAL_FRAMES: u32 = 1;
/// Entries in one shared frame.
const ENTRIES_PER_FRAME: u32 = PAGE_SIZE as u32 / ENTRY_V1_SIZE as u32;
/// The newest entry format this version implements.
pub const MAX_VERSION: u32 = 1;

/// Limits of one domain's table, fixed at its creation.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Most frames of the table.
    pub max_frames: u32,
    /// Most frames of maptrack records, as Xen counts them (256 records each).
    pub max_maptrack_frames: u32,
    /// Newest entry format the domain may choose.
    pub max_version: u32,
}

/// Why a table could not be made or grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The limits make no sense.
    BadLimits,
    /// More frames than the domain may have.
    TooLarge {
        /// Frames asked for.
        wanted: u32,
        /// The limit.
        limit: u32,
    },
    /// Xen has no memory.
    OutOfMemory,
}

impl From<OutOfMemory> for TableError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// The active entries that belong to one shared frame.
type ActiveFrame<H> = Vec<<H as Host>::Spin<ActiveEntry>>;

/// The part of a table that its read-write lock protects.
pub struct Frames<H: Host> {
    shared: Vec<H::SharedPage>,
    active: Vec<ActiveFrame<H>>,
}

/// A domain's grant table.
pub struct GrantTable<H: Host> {
    limits: TableLimits,
    frames: H::ReadWrite<Frames<H>>,
    /// The domain's records as a holder of CPU mappings.
    pub(super) maptrack: H::Spin<Maptrack<H>>,
}

/// One entry, its active half locked.
pub(super) struct LockedEntry<'a, H: Host> {
    /// What the guest wrote.
    pub shared: SharedEntryV1<'a, H::Domain, H::SharedPage>,
    /// Who uses it.
    pub active: <H::Spin<ActiveEntry> as SpinLock<ActiveEntry>>::Guard<'a>,
}

/// Write access to a table's frames, held while one of them is put into the
/// guest's address space.
pub type FramesWriteGuard<'a, H> =
    <<H as Host>::ReadWrite<Frames<H>> as ReadWriteLock<Frames<H>>>::WriteGuard<'a>;

impl<H: Host> Frames<H> {
    fn number(&self) -> u32 {
        self.shared.len() as u32
    }

    fn entries(&self) -> u32 {
        self.number() * ENTRIES_PER_FRAME
    }

    /// Grows the table to `wanted` frames. On error it is as it was.
    fn grow(
        &mut self,
        host: &H,
        owner: &H::Domain,
        wanted: u32,
        limits: &TableLimits,
    ) -> Result<(), TableError> {
        if wanted > limits.max_frames {
            return Err(TableError::TooLarge {
                wanted,
                limit: limits.max_frames,
            });
        }
        if wanted > INITIAL_FRAMES && wanted > self.number() {
            log::info!(
                "Expanding {} grant table from {} to {wanted} frames",
                owner.id(),
                self.number()
            );
        }
        let before = self.shared.len();
        let grown = self.add_frames(host, wanted as usize);
        if grown.is_err() {
            self.shared.truncate(before);
            self.active.truncate(before);
        }
        // Only now that nothing can fail any more: a shared page cannot be freed.
        for page in self.shared.iter().skip(before) {
            page.share(owner);
        }
        grown
    }

    fn add_frames(&mut self, host: &H, wanted: usize) -> Result<(), TableError> {
        while self.shared.len() < wanted {
            let mut active = ActiveFrame::<H>::new();
            active
                .try_reserve_exact(ENTRIES_PER_FRAME as usize)
                .map_err(|_| TableError::OutOfMemory)?;
            for _ in 0..ENTRIES_PER_FRAME {
                active.push(H::Spin::new(Rank::Entry, ActiveEntry::UNUSED));
            }
            self.active
                .try_reserve(1)
                .map_err(|_| TableError::OutOfMemory)?;
            self.shared
                .try_reserve(1)
                .map_err(|_| TableError::OutOfMemory)?;
            self.shared.push(host.new_shared_page()?);
            self.active.push(active);
        }
        Ok(())
    }

    /// Locks the entry of `gref`, or says how many entries there are.
    pub(super) fn lock_entry<'a>(
        &'a self,
        host: &H,
        granter: &'a H::Domain,
        gref: GrantRef,
    ) -> Result<LockedEntry<'a, H>, u32> {
        let entries = self.entries();
        if gref.0 >= entries {
            return Err(entries);
        }
        let index = host.clamp_index(gref.0 as usize, entries as usize);
        let (frame, slot) = (
            index / ENTRIES_PER_FRAME as usize,
            index % ENTRIES_PER_FRAME as usize,
        );
        let (Some(page), Some(active)) = (
            self.shared.get(frame),
            self.active.get(frame).and_then(|frame| frame.get(slot)),
        ) else {
            return Err(entries);
        };
        Ok(LockedEntry {
            shared: SharedEntryV1::new(page, granter, slot),
            active: active.lock(),
        })
    }
}

impl<H: Host> GrantTable<H> {
    /// A table with its first frame.
    pub fn new(host: &H, owner: &H::Domain, limits: TableLimits) -> Result<Self, TableError> {
        if limits.max_version == 0 || limits.max_frames < INITIAL_FRAMES {
            return Err(TableError::BadLimits);
        }
        let mut frames = Frames {
            shared: Vec::new(),
            active: Vec::new(),
        };
        frames.grow(host, owner, INITIAL_FRAMES, &limits)?;
        Ok(Self {
            limits,
            frames: H::ReadWrite::new(Rank::Table, frames),
            maptrack: H::Spin::new(Rank::Maptrack, Maptrack::new(limits.max_maptrack_frames)),
        })
    }

    /// Most frames the table may have.
    pub fn max_frames(&self) -> u32 {
        self.limits.max_frames
    }

    /// Frames the table has.
    pub fn frame_count(&self) -> u32 {
        self.frames.read().number()
    }

    /// The entry format in use.
    pub fn version(&self) -> u32 {
        1
    }

    /// The lock around the frames, for a host that hands the guard of
    /// [`Self::frame_for_mapping`] through foreign code.
    pub fn frames_lock(&self) -> &H::ReadWrite<Frames<H>> {
        &self.frames
    }

    pub(super) fn read(
        &self,
    ) -> <H::ReadWrite<Frames<H>> as ReadWriteLock<Frames<H>>>::ReadGuard<'_> {
        self.frames.read()
    }

    /// Makes the table at least `wanted` frames large and tells `each` where the
    /// guest has put the first `wanted`, in order; stops when `each` says so.
    ///
    /// Takes the table's lock for writing.
    pub fn setup(
        &self,
        host: &H,
        owner: &H::Domain,
        wanted: u32,
        mut each: impl FnMut(u32, &H::SharedPage) -> core::ops::ControlFlow<()>,
    ) -> Result<(), TableError> {
        let mut frames = self.frames.write();
        frames.grow(host, owner, wanted, &self.limits)?;
        for (index, page) in frames.shared.iter().take(wanted as usize).enumerate() {
            if each(index as u32, page).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Machine frame of table frame `index`, growing the table up to it. The lock
    /// comes back held, so that the frame cannot go away while it is mapped.
    pub fn frame_for_mapping<'a>(
        &'a self,
        host: &H,
        owner: &H::Domain,
        index: u64,
    ) -> Result<(Mfn, FramesWriteGuard<'a, H>), TableError> {
        let wanted = u32::try_from(index)
            .ok()
            .and_then(|index| index.checked_add(1))
            .ok_or(TableError::TooLarge {
                wanted: u32::MAX,
                limit: self.limits.max_frames,
            })?;
        let mut frames = self.frames.write();
        frames.grow(host, owner, wanted, &self.limits)?;
        let index = host.clamp_index(index as usize, frames.shared.len());
        let mfn = SharedPage::mfn(frames.shared.get(index).ok_or(TableError::OutOfMemory)?);
        Ok((mfn, frames))
    }

    /// Machine frames of `into.len()` table frames from `first` on, growing the
    /// table as needed.
    ///
    /// Takes the table's lock for writing.
    pub fn frames_for_resource(
        &self,
        host: &H,
        owner: &H::Domain,
        first: u32,
        into: &mut [u64],
    ) -> Result<(), TableError> {
        let count = u32::try_from(into.len()).map_err(|_| TableError::BadLimits)?;
        let wanted = first.checked_add(count).ok_or(TableError::BadLimits)?;
        let mut frames = self.frames.write();
        frames.grow(host, owner, wanted, &self.limits)?;
        for (slot, page) in into
            .iter_mut()
            .zip(frames.shared.iter().skip(first as usize))
        {
            *slot = SharedPage::mfn(page).number();
        }
        Ok(())
    }

    /// Calls `each` with every reference that is in use.
    ///
    /// Takes the table's lock for reading. Unbounded: for diagnosis only.
    pub fn for_each_active(&self, mut each: impl FnMut(GrantRef, &ActiveEntry)) {
        let frames = self.frames.read();
        let entries = frames.active.iter().flatten().enumerate();
        for (gref, active) in entries {
            let active = *active.lock();
            if !active.pins.is_empty() {
                each(GrantRef(gref as u32), &active);
            }
        }
    }
}
