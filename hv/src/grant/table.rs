// SPDX-License-Identifier: GPL-2.0-only
//! A granter's table: the frames it shares with Xen, and the active entries.

use alloc::{boxed::Box, vec::Vec};
use core::{
    ops::ControlFlow,
    sync::atomic::{AtomicU8, Ordering},
};

use hypercall_abi::{
    Errno,
    grant::{ENTRY_V1_SIZE, ENTRY_V2_SIZE, GTF_PERMIT_ACCESS, GTF_TYPE_MASK, STATUS_SIZE},
};

use super::{active::ActiveEntry, entry::SharedEntry, identity::Identity, maptrack::Maptrack};
use crate::{
    addr::{DomId, Gfn, GrantRef, Mfn, PAGE_SIZE},
    host::{Domain, Host, OutOfMemory, SharedPage, UnshareError},
    sync::{Rank, ReadWriteLock, SpinLock},
};

/// Frames of a new table.
const INITIAL_FRAMES: u32 = 1;
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
const SHARED_PER_STATUS: u32 = STATUS_PER_FRAME / V2_PER_FRAME;

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

/// Limits of one domain's table, fixed at its creation.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Most frames of the table.
    pub max_frames: u32,
    /// Most frames of maptrack records, as Xen counts them (256 records each).
    pub max_maptrack_frames: u32,
    /// Newest entry format the domain may choose.
    pub max_version: u32,
    /// The domain's vcpus.
    pub vcpus: u32,
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
    /// The table has no status frames.
    NoStatus,
}

impl From<OutOfMemory> for TableError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// Some active entries: a page of them in Xen.
type ActiveFrame<H> = Box<[<H as Host>::Spin<ActiveEntry>; ACTIVE_PER_FRAME]>;

/// The part of a table that its read-write lock protects.
pub struct Frames<H: Host> {
    version: Version,
    /// References that the table has: always what version and frames make it.
    entries: u32,
    shared: Vec<H::SharedPage>,
    status: Vec<H::SharedPage>,
    active: Vec<ActiveFrame<H>>,
}

/// Which of a table's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Those with the entries.
    Shared,
    /// Those with the status of version 2 entries.
    Status,
}

/// A domain's grant table.
pub struct GrantTable<H: Host> {
    limits: TableLimits,
    frames: H::ReadWrite<Frames<H>>,
    /// The version of the frames, for those who only want to know it: it may be
    /// another one by the time they do.
    version: AtomicU8,
    /// The domain's records as a holder of CPU mappings.
    pub(super) maptrack: Maptrack<H>,
    /// The frames of others that its devices reach at their machine addresses.
    pub(crate) identity: Identity<H>,
}

/// One entry, its active half locked.
pub(super) struct LockedEntry<'a, H: Host> {
    /// What the guest wrote.
    pub shared: SharedEntry<'a, H::Domain, H::SharedPage>,
    /// Who uses it.
    pub active: <H::Spin<ActiveEntry> as SpinLock<ActiveEntry>>::Guard<'a>,
    /// Which one: for [`Frames::shared_entry`].
    pub index: usize,
}

/// Write access to a table's frames, held while one of them is put into the
/// guest's address space.
pub type FramesWriteGuard<'a, H> =
    <<H as Host>::ReadWrite<Frames<H>> as ReadWriteLock<Frames<H>>>::WriteGuard<'a>;

impl<H: Host> Frames<H> {
    fn number(&self) -> u32 {
        self.shared.len() as u32
    }

    /// The format of the entries.
    pub fn version(&self) -> Version {
        self.version
    }

    /// References that the table has.
    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    fn count_entries(&mut self) {
        self.entries = self.number() * self.version.per_frame();
    }

    /// Grows the table to `wanted` frames, status frames included, if it has fewer. On
    /// error it is as it was.
    #[inline(always)]
    pub(super) fn grow(
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

    /// Makes room for the lists of all frames that there can be, so that growing
    /// takes no more than the frames.
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
    pub(super) fn shared_entry<'a>(
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
    pub(super) fn active_entry(&self, index: usize) -> Option<&H::Spin<ActiveEntry>> {
        self.active
            .get(index / ACTIVE_PER_FRAME)?
            .get(index % ACTIVE_PER_FRAME)
    }

    /// The same, for who has the table for itself.
    pub(super) fn active_entry_mut(&mut self, index: usize) -> Option<&mut H::Spin<ActiveEntry>> {
        self.active
            .get_mut(index / ACTIVE_PER_FRAME)?
            .get_mut(index % ACTIVE_PER_FRAME)
    }

    /// The active halves of all entries, for who has the table for itself.
    pub(super) fn active_entries(&mut self) -> impl Iterator<Item = &mut H::Spin<ActiveEntry>> {
        self.active.iter_mut().flat_map(|frame| frame.iter_mut())
    }

    /// Locks the entry of `gref`, or says how many entries there are.
    #[inline(always)]
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
        match (self.shared_entry(granter, index), self.active_entry(index)) {
            (Some(shared), Some(active)) => Ok(LockedEntry {
                shared,
                active: active.lock(),
                index,
            }),
            _ => Err(entries),
        }
    }

    /// Makes zeros of every entry.
    pub(super) fn clear(&self) {
        for page in &self.shared {
            page.clear();
        }
    }

    /// Starts to use version 2. The entries are not touched.
    pub(super) fn enter_v2(&mut self, host: &H, owner: &H::Domain) -> Result<(), TableError> {
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
    pub(super) fn leave_v2(&mut self, owner: &H::Domain) -> Result<(), UnshareError> {
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

    fn of_kind(&self, kind: FrameKind) -> &[H::SharedPage] {
        match kind {
            FrameKind::Shared => &self.shared,
            FrameKind::Status => &self.status,
        }
    }

    /// Grows the table until it has `wanted` frames of a kind.
    fn grow_kind(
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

impl<H: Host> GrantTable<H> {
    /// A table with its first frame.
    pub fn new(host: &H, owner: &H::Domain, limits: TableLimits) -> Result<Self, TableError> {
        if limits.max_version == 0 || limits.max_frames < INITIAL_FRAMES {
            return Err(TableError::BadLimits);
        }
        let maptrack = Maptrack::new(limits.max_maptrack_frames, limits.vcpus)?;
        let mut frames = Frames {
            version: Version::V1,
            entries: 0,
            shared: Vec::new(),
            status: Vec::new(),
            active: Vec::new(),
        };
        frames.make_room(&limits)?;
        frames.grow(host, owner, INITIAL_FRAMES, &limits)?;
        Ok(Self {
            limits,
            frames: H::ReadWrite::new(Rank::Table, frames),
            version: AtomicU8::new(Version::V1.number() as u8),
            maptrack,
            identity: Identity::new()?,
        })
    }

    /// Its limits.
    pub fn limits(&self) -> &TableLimits {
        &self.limits
    }

    /// Most frames of a kind the table may have.
    pub fn max_frames(&self, kind: FrameKind) -> u32 {
        match kind {
            FrameKind::Shared => self.limits.max_frames,
            FrameKind::Status => self.limits.max_frames.div_ceil(SHARED_PER_STATUS),
        }
    }

    /// Frames the table has.
    pub fn frame_count(&self) -> u32 {
        self.frames.read().number()
    }

    /// The entry format in use.
    #[inline]
    pub fn version(&self) -> Version {
        match self.version.load(Ordering::Relaxed) {
            1 => Version::V1,
            _ => Version::V2,
        }
    }

    /// Who uses a reference, if anybody does; or how many entries there are.
    ///
    /// Takes the table's lock for reading, and the entry's lock.
    pub fn holder_of(
        &self,
        host: &H,
        owner: &H::Domain,
        gref: GrantRef,
    ) -> Result<Option<DomId>, u32> {
        let frames = self.frames.read();
        let entry = frames.lock_entry(host, owner, gref)?;
        Ok((!entry.active.pins.is_empty()).then_some(entry.active.holder))
    }

    /// Maptrack frames in use, of 256 records each.
    pub fn maptrack_frames(&self) -> u32 {
        self.maptrack.frames()
    }

    /// CPU mappings held.
    pub fn mapped(&self) -> usize {
        self.maptrack.mapped()
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

    pub(super) fn write(&self) -> FramesWriteGuard<'_, H> {
        self.frames.write()
    }

    /// Tells those who do not take the lock which version there is now.
    pub(super) fn publish_version(&self, version: Version) {
        self.version
            .store(version.number() as u8, Ordering::Relaxed);
    }

    /// Makes the table at least `wanted` frames large and tells `each` where the
    /// guest has put the first `wanted`, in order; stops when `each` says so.
    ///
    /// Takes the table's lock for reading; before that for writing, if the table has to
    /// grow.
    #[inline(always)]
    pub fn setup(
        &self,
        host: &H,
        owner: &H::Domain,
        wanted: u32,
        each: impl FnMut(&H::SharedPage) -> ControlFlow<()>,
    ) -> Result<(), TableError> {
        let mut frames = self.frames.read();
        if wanted > frames.number() {
            drop(frames);
            self.grow(host, owner, wanted)?;
            // It does not shrink as long as its owner lives.
            frames = self.frames.read();
        }
        tell(&frames.shared, wanted, each);
        Ok(())
    }

    #[inline(never)]
    fn grow(&self, host: &H, owner: &H::Domain, wanted: u32) -> Result<(), TableError> {
        let mut frames = self.frames.write();
        frames.grow(host, owner, wanted, &self.limits)
    }

    /// Tells `each` where the guest has put the first `wanted` status frames, in
    /// order; stops when `each` says so.
    ///
    /// Takes the table's lock for reading.
    #[inline(always)]
    pub fn status_frames(
        &self,
        wanted: u32,
        each: impl FnMut(&H::SharedPage) -> ControlFlow<()>,
    ) -> Result<(), TableError> {
        let frames = self.frames.read();
        let limit = frames.status.len() as u32;
        if wanted > limit {
            return Err(TableError::TooLarge { wanted, limit });
        }
        tell(&frames.status, wanted, each);
        Ok(())
    }

    /// Machine frame of table frame `index`, growing the table up to it. The lock
    /// comes back held, so that the frame cannot go away while it is mapped.
    ///
    /// `status`: if the table has status frames, one of these is meant.
    pub fn frame_for_mapping<'a>(
        &'a self,
        host: &H,
        owner: &H::Domain,
        status: bool,
        index: u64,
    ) -> Result<(Mfn, FramesWriteGuard<'a, H>), TableError> {
        let wanted = u32::try_from(index)
            .ok()
            .and_then(|index| index.checked_add(1))
            .ok_or(TableError::TooLarge {
                wanted: u32::MAX,
                limit: self.limits.max_frames,
            })?;
        let kind = if status {
            FrameKind::Status
        } else {
            FrameKind::Shared
        };
        let mut frames = self.frames.write();
        frames.grow_kind(host, owner, kind, wanted, &self.limits)?;
        let pages = frames.of_kind(kind);
        let index = host.clamp_index(index as usize, pages.len());
        let mfn = SharedPage::mfn(pages.get(index).ok_or(TableError::OutOfMemory)?);
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
        kind: FrameKind,
        first: u32,
        into: &mut [u64],
    ) -> Result<(), TableError> {
        let count = u32::try_from(into.len()).map_err(|_| TableError::BadLimits)?;
        let wanted = first.checked_add(count).ok_or(TableError::BadLimits)?;
        let mut frames = self.frames.write();
        frames.grow_kind(host, owner, kind, wanted, &self.limits)?;
        let pages = frames.of_kind(kind).iter().skip(first as usize);
        for (slot, page) in into.iter_mut().zip(pages) {
            *slot = SharedPage::mfn(page).number();
        }
        Ok(())
    }

    /// The frame that entry `gref` grants access to, and the entry's flags, or in
    /// version 2 its status. Errors as Xen's memory sharing has them.
    ///
    /// Takes the table's lock for reading.
    pub fn granted_frame(
        &self,
        host: &H,
        owner: &H::Domain,
        gref: GrantRef,
    ) -> Result<(Gfn, u16), Errno> {
        let frames = self.frames.read();
        let entries = frames.entries();
        if gref.0 >= entries {
            return Err(Errno::NoEnt);
        }
        let index = host.clamp_index(gref.0 as usize, entries as usize);
        let entry = frames.shared_entry(owner, index).ok_or(Errno::NoEnt)?;
        host.speculation_barrier();
        if entry.head().flags & GTF_TYPE_MASK != GTF_PERMIT_ACCESS {
            return Err(Errno::NxIo);
        }
        Ok((entry.frame(), entry.status()))
    }

    /// Calls `each` with every reference that is in use, what the guest wrote
    /// about it, and its active entry, until it says to stop.
    ///
    /// Takes the table's lock for reading. Unbounded: for diagnosis only.
    pub fn for_each_active(
        &self,
        owner: &H::Domain,
        mut each: impl FnMut(
            GrantRef,
            &SharedEntry<'_, H::Domain, H::SharedPage>,
            &ActiveEntry,
        ) -> ControlFlow<()>,
    ) {
        let frames = self.frames.read();
        for index in 0..frames.entries() {
            let halves = (
                frames.shared_entry(owner, index as usize),
                frames.active_entry(index as usize),
            );
            if let (Some(shared), Some(active)) = halves {
                let active = active.lock();
                if !active.pins.is_empty() && each(GrantRef(index), &shared, &active).is_break() {
                    break;
                }
            }
        }
    }
}

/// `pages` has so many.
#[inline(always)]
fn tell<P>(pages: &[P], wanted: u32, mut each: impl FnMut(&P) -> ControlFlow<()>) {
    let Some(pages) = pages.get(..wanted as usize) else {
        return;
    };
    for page in pages {
        if each(page).is_break() {
            break;
        }
    }
}
