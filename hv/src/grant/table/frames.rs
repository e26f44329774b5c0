// SPDX-License-Identifier: GPL-2.0-only
//! What a table's lock protects: the frames shared with the guest, in either version, and
//! the active entries.

use alloc::{boxed::Box, vec::Vec};

use hypercall_abi::grant::{ENTRY_V1_SIZE, ENTRY_V2_SIZE, STATUS_SIZE};

use super::{INITIAL_FRAMES, TableError, TableLimits};
use crate::{
    addr::{GrantRef, PAGE_SIZE},
    grant::{active::ActiveEntry, entry::SharedEntry},
    host::{Domain, Host, Locks, SharedPage, UnshareError},
    sync::{Rank, SpinLock},
};

/// Active entries allocated together: with their locks a page, which is what Xen
/// allocates fastest.
const ACTIVE_PER_FRAME: usize = 128;
/// Version 1 entries in one shared frame; so many active entries it has.
const V1_PER_FRAME: u32 = PAGE_SIZE as u32 / ENTRY_V1_SIZE as u32;
/// Version 2 entries in one shared frame.
const V2_PER_FRAME: u32 = PAGE_SIZE as u32 / ENTRY_V2_SIZE as u32;
/// Entries whose status is in one status frame.
const STATUS_PER_FRAME: u32 = PAGE_SIZE as u32 / STATUS_SIZE as u32;
/// Shared frames whose entries have their status in one status frame.
pub(super) const SHARED_PER_STATUS: u32 = STATUS_PER_FRAME / V2_PER_FRAME;

/// Format of a table's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 8 bytes, in-use flags in the entry.
    V1,
    /// 16 bytes, in-use flags in status frames.
    V2,
}

impl Version {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    const fn per_frame(self) -> u32 {
        match self {
            Self::V1 => V1_PER_FRAME,
            Self::V2 => V2_PER_FRAME,
        }
    }
}

/// Which of a table's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Those with the entries.
    Shared,
    /// Those with the status of version 2 entries.
    Status,
}

/// Some active entries: a page of them in Xen.
type ActiveFrame<H> = Box<[<H as Locks>::Spin<ActiveEntry>; ACTIVE_PER_FRAME]>;

/// The part of a table that its read-write lock protects.
pub struct Frames<H: Host> {
    version: Version,
    /// References that the table has: always what version and frames make it.
    entries: u32,
    shared: Vec<H::SharedPage>,
    status: Vec<H::SharedPage>,
    active: Vec<ActiveFrame<H>>,
}

/// One entry, its active half locked.
pub(in crate::grant) struct LockedEntry<'a, H: Host> {
    /// What the guest wrote.
    pub shared: SharedEntry<'a, H::Domain, H::SharedPage>,
    /// Who uses it.
    pub active: <H::Spin<ActiveEntry> as SpinLock<ActiveEntry>>::Guard<'a>,
    /// Which one: for [`Frames::shared_entry`].
    pub index: usize,
}

impl<H: Host> Frames<H> {
    /// None, and lists with room for as many as there can be, so that growing takes no
    /// more than the frames.
    pub(super) fn none(limits: &TableLimits) -> Result<Self, TableError> {
        let mut frames = Self {
            version: Version::V1,
            entries: 0,
            shared: Vec::new(),
            status: Vec::new(),
            active: Vec::new(),
        };
        frames.make_room(limits)?;
        Ok(frames)
    }

    pub(super) fn number(&self) -> u32 {
        self.shared.len() as u32
    }

    /// The format of the entries.
    pub fn version(&self) -> Version {
        self.version
    }

    /// References that the table has.
    pub(in crate::grant) fn entries(&self) -> u32 {
        self.entries
    }

    fn count_entries(&mut self) {
        self.entries = self.number() * self.version.per_frame();
    }

    /// Grows the table to `wanted` frames, status frames included, if it has fewer. On
    /// error it is as it was.
    #[inline(always)]
    pub(in crate::grant) fn grow(
        &mut self,
        host: &H,
        owner: &H::Domain,
        wanted: u32,
        limits: &TableLimits,
    ) -> Result<(), TableError> {
        if wanted <= self.number() {
            return Ok(());
        }
        self.add(host, owner, wanted, limits)
    }

    /// The same for more frames than there are.
    #[inline(never)]
    fn add(
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
        if wanted > INITIAL_FRAMES {
            log::debug!(
                "Expanding {} grant table from {} to {wanted} frames",
                owner.id(),
                self.number()
            );
        }
        let (shared, status) = (self.shared.len(), self.status.len());
        let active = self.active.len();
        let grown = self.add_frames(host, wanted as usize);
        if grown.is_err() {
            self.shared.truncate(shared);
            self.active.truncate(active);
            self.status.truncate(status);
        }
        self.count_entries();
        // Only now that nothing can fail any more: a shared page cannot be freed.
        let new_frames = self.shared.iter().skip(shared);
        for page in new_frames.chain(self.status.iter().skip(status)) {
            page.share(owner);
        }
        grown
    }

    fn add_frames(&mut self, host: &H, wanted: usize) -> Result<(), TableError> {
        while self.shared.len() < wanted {
            self.shared
                .try_reserve(1)
                .map_err(|_| TableError::OutOfMemory)?;
            for _ in 0..V1_PER_FRAME as usize / ACTIVE_PER_FRAME {
                self.add_active()?;
            }
            self.shared.push(host.new_shared_page()?);
        }
        match self.version {
            Version::V1 => Ok(()),
            Version::V2 => self.add_status(host),
        }
    }

    fn make_room(&mut self, limits: &TableLimits) -> Result<(), TableError> {
        let most = limits.max_frames as usize;
        let status = match limits.max_version {
            0 | 1 => 0,
            _ => most.div_ceil(SHARED_PER_STATUS as usize),
        };
        let active = most.saturating_mul(V1_PER_FRAME as usize / ACTIVE_PER_FRAME);
        self.shared
            .try_reserve_exact(most)
            .and_then(|()| self.status.try_reserve_exact(status))
            .and_then(|()| self.active.try_reserve_exact(active))
            .map_err(|_| TableError::OutOfMemory)
    }

    fn add_active(&mut self) -> Result<(), TableError> {
        let mut frame = Vec::new();
        frame
            .try_reserve_exact(ACTIVE_PER_FRAME)
            .map_err(|_| TableError::OutOfMemory)?;
        for _ in 0..ACTIVE_PER_FRAME {
            frame.push(H::Spin::new(Rank::Entry, ActiveEntry::UNUSED));
        }
        self.active
            .try_reserve(1)
            .map_err(|_| TableError::OutOfMemory)?;
        // It has exactly this length.
        let frame = frame.into_boxed_slice().try_into();
        self.active
            .push(frame.map_err(|_| TableError::OutOfMemory)?);
        Ok(())
    }

    /// Adds the status frames that the shared frames need.
    fn add_status(&mut self, host: &H) -> Result<(), TableError> {
        while self.status.len() < self.shared.len().div_ceil(SHARED_PER_STATUS as usize) {
            self.status
                .try_reserve(1)
                .map_err(|_| TableError::OutOfMemory)?;
            self.status.push(host.new_shared_page()?);
        }
        Ok(())
    }

    /// The shared half of entry `index`, which is in range.
    #[inline(always)]
    pub(in crate::grant) fn shared_entry<'a>(
        &'a self,
        granter: &'a H::Domain,
        index: usize,
    ) -> Option<SharedEntry<'a, H::Domain, H::SharedPage>> {
        Some(match self.version {
            Version::V1 => {
                let page = self.shared.get(index / V1_PER_FRAME as usize)?;
                SharedEntry::v1(page, granter, index % V1_PER_FRAME as usize)
            }
            Version::V2 => {
                let page = self.shared.get(index / V2_PER_FRAME as usize)?;
                let slot = index % V2_PER_FRAME as usize;
                let status = self.status.get(index / STATUS_PER_FRAME as usize)?;
                SharedEntry::v2(
                    page,
                    granter,
                    slot,
                    status,
                    index % STATUS_PER_FRAME as usize,
                )
            }
        })
    }

    /// The active half of entry `index`, which is in range.
    #[inline(always)]
    pub(in crate::grant) fn active_entry(&self, index: usize) -> Option<&H::Spin<ActiveEntry>> {
        self.active
            .get(index / ACTIVE_PER_FRAME)?
            .get(index % ACTIVE_PER_FRAME)
    }

    /// The same, for who has the table for itself.
    pub(in crate::grant) fn active_entry_mut(
        &mut self,
        index: usize,
    ) -> Option<&mut H::Spin<ActiveEntry>> {
        self.active
            .get_mut(index / ACTIVE_PER_FRAME)?
            .get_mut(index % ACTIVE_PER_FRAME)
    }

    /// The active halves of all entries, for who has the table for itself.
    pub(in crate::grant) fn active_entries(
        &mut self,
    ) -> impl Iterator<Item = &mut H::Spin<ActiveEntry>> {
        self.active.iter_mut().flat_map(|frame| frame.iter_mut())
    }

    /// Locks the entry of `gref`, or says how many entries there are.
    #[inline(always)]
    pub(in crate::grant) fn lock_entry<'a>(
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
        let active = self.active_entry(index).ok_or(entries)?.lock();
        // Found after the lock is taken, so that it needs not be kept meanwhile.
        let shared = self.shared_entry(granter, index).ok_or(entries)?;
        Ok(LockedEntry {
            shared,
            active,
            index,
        })
    }

    /// Makes zeros of every entry.
    pub(in crate::grant) fn clear(&self) {
        for page in &self.shared {
            page.clear();
        }
    }

    /// Starts to use version 2. The entries are not touched.
    pub(in crate::grant) fn enter_v2(
        &mut self,
        host: &H,
        owner: &H::Domain,
    ) -> Result<(), TableError> {
        let grown = self.add_status(host);
        if grown.is_err() {
            self.status.clear();
        }
        for page in &self.status {
            page.share(owner);
        }
        grown?;
        self.version = Version::V2;
        self.count_entries();
        Ok(())
    }

    /// Stops using version 2. The entries are not touched.
    pub(in crate::grant) fn leave_v2(&mut self, owner: &H::Domain) -> Result<(), UnshareError> {
        for (index, page) in self.status.iter().enumerate() {
            if let Err(error) = page.unshare(owner) {
                for page in self.status.iter().take(index) {
                    page.share(owner);
                }
                return Err(error);
            }
        }
        self.status.clear();
        self.version = Version::V1;
        self.count_entries();
        Ok(())
    }

    pub(super) fn of_kind(&self, kind: FrameKind) -> &[H::SharedPage] {
        match kind {
            FrameKind::Shared => &self.shared,
            FrameKind::Status => &self.status,
        }
    }

    /// Grows the table until it has `wanted` frames of a kind.
    pub(super) fn grow_kind(
        &mut self,
        host: &H,
        owner: &H::Domain,
        kind: FrameKind,
        wanted: u32,
        limits: &TableLimits,
    ) -> Result<(), TableError> {
        let shared = match kind {
            FrameKind::Shared => wanted,
            FrameKind::Status if self.version == Version::V1 => return Err(TableError::NoStatus),
            FrameKind::Status if wanted as usize <= self.status.len() => return Ok(()),
            // The least that needs so many status frames.
            FrameKind::Status => wanted
                .saturating_sub(1)
                .checked_mul(SHARED_PER_STATUS)
                .and_then(|frames| frames.checked_add(1))
                .ok_or(TableError::BadLimits)?,
        };
        self.grow(host, owner, shared, limits)
    }
}
