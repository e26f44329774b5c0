// SPDX-License-Identifier: GPL-2.0-only
//! A granter's table: its lock, its limits, and what is asked of it as a whole.

mod frames;

use core::{
    ops::ControlFlow,
    sync::atomic::{AtomicU8, Ordering},
};

use hypercall_abi::{
    Errno,
    grant::{GTF_PERMIT_ACCESS, GTF_TYPE_MASK},
};

use super::{active::ActiveEntry, entry::SharedEntry, identity::Identity, maptrack::Maptrack};
use crate::{
    addr::{DomId, Gfn, GrantRef, Mfn},
    host::{Host, Locks, OutOfMemory, SharedPage},
    sync::{Rank, ReadWriteLock, SpinLock},
};
pub(super) use frames::LockedEntry;
use frames::SHARED_PER_STATUS;
pub use frames::{FrameKind, Frames, Version};

/// Frames of a new table.
const INITIAL_FRAMES: u32 = 1;
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

/// Write access to a table's frames, held while one of them is put into the
/// guest's address space.
pub type FramesWriteGuard<'a, H> =
    <<H as Locks>::ReadWrite<Frames<H>> as ReadWriteLock<Frames<H>>>::WriteGuard<'a>;

impl<H: Host> GrantTable<H> {
    /// A table with its first frame.
    pub fn new(host: &H, owner: &H::Domain, limits: TableLimits) -> Result<Self, TableError> {
        if limits.max_version == 0 || limits.max_frames < INITIAL_FRAMES {
            return Err(TableError::BadLimits);
        }
        let maptrack = Maptrack::new(limits.max_maptrack_frames, limits.vcpus)?;
        let mut frames = Frames::none(&limits)?;
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
        tell(frames.of_kind(FrameKind::Shared), wanted, each);
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
        let pages = frames.of_kind(FrameKind::Status);
        let limit = pages.len() as u32;
        if wanted > limit {
            return Err(TableError::TooLarge { wanted, limit });
        }
        tell(pages, wanted, each);
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
