// SPDX-License-Identifier: GPL-2.0-only
//! Frames of others that a holder's devices reach at their machine addresses.
//!
//! For holders whose devices work with machine addresses through an IOMMU (PV,
//! and direct-mapped Arm domains). Two kinds of mappings want a frame there: whatever
//! the holder's CPUs map, its devices must reach too; and the DMA mappings of its
//! default context. A frame can be mapped many times, in both ways; the IOMMU has it
//! once, writable while any of the mappings is. This is the one place that knows how
//! often that is.
//!
//! | | mappings of the grant table | DMA mappings |
//! |---|---|---|
//! | counted by | [`Identity::add`], [`Identity::remove`] | [`Identity::pin`], [`Identity::unpin`] |
//! | IOTLB flush | before these return | the caller's, once for many |
//! | what keeps the frame | references of the record, because a PV guest makes that of a CPU mapping go by overwriting the page-table entry | the pin of the mapping, which its context keeps until the flush has succeeded |
//!
//! So whatever entry an IOTLB may still use, there is a reference for it: an entry that
//! only DMA mappings wanted goes without a flush, and is kept by the last one's pin; one
//! that only the grant table wants goes with a flush, and then its references do.
//!
//! The counts are in shards by frame number, so that mappings of different frames seldom
//! meet.

use alloc::vec::Vec;

use super::frame_records::FrameRecords;
use crate::{
    addr::{Access, Dfn, Mfn},
    host::{
        Domain, FlushFlags, Frame, FrameError, Frames, Host, IoTables, IommuError, OutOfMemory,
    },
    sync::{Rank, SpinLock},
};

const SHARDS: usize = 16;

/// What the IOMMU has, or is to have, for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Absent,
    Read,
    ReadWrite,
}

impl Entry {
    /// The least that a mapping needs.
    fn for_mapping(write: bool) -> Self {
        if write { Self::ReadWrite } else { Self::Read }
    }

    fn access(self) -> Option<Access> {
        match self {
            Self::Absent => None,
            Self::Read => Some(Access::READ),
            Self::ReadWrite => Some(Access::READ_WRITE),
        }
    }
}

/// Mappings of one kind of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Uses {
    reading: u32,
    writing: u32,
}

impl Uses {
    fn one_more(self, write: bool) -> Option<Self> {
        Some(Self {
            reading: self.reading.checked_add(u32::from(!write))?,
            writing: self.writing.checked_add(u32::from(write))?,
        })
    }

    fn one_less(self, write: bool) -> Option<Self> {
        Some(Self {
            reading: self.reading.checked_sub(u32::from(!write))?,
            writing: self.writing.checked_sub(u32::from(write))?,
        })
    }

    fn any(self) -> bool {
        self.reading != 0 || self.writing != 0
    }

    /// What the IOMMU must have for these.
    fn need(self) -> Entry {
        match self {
            Self {
                reading: 0,
                writing: 0,
            } => Entry::Absent,
            Self { writing: 0, .. } => Entry::Read,
            Self { .. } => Entry::ReadWrite,
        }
    }
}

/// A frame that devices reach, and how often it is mapped.
struct Record<F> {
    /// By the grant table.
    mapped: Uses,
    /// By DMA mappings.
    pinned: Uses,
    /// What the IOMMU has.
    entry: Entry,
    /// The grant table's own reference while it maps the frame, joined with a
    /// writable-type one while any of its mappings is writable. `None` then: an IOMMU
    /// failed, and the frame is referenced for ever.
    frame: Option<F>,
}

/// Why a frame could not be made reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The IOMMU's side.
    Iommu(IommuError),
    /// Xen has no memory.
    OutOfMemory(OutOfMemory),
    /// The page cannot be referenced once more.
    Frame(FrameError),
    /// Holder's side: mapped as often as can be counted.
    TooMany,
}

impl From<IommuError> for IdentityError {
    fn from(error: IommuError) -> Self {
        Self::Iommu(error)
    }
}

impl<F> Default for Record<F> {
    fn default() -> Self {
        Self {
            mapped: Uses::default(),
            pinned: Uses::default(),
            entry: Entry::Absent,
            frame: None,
        }
    }
}

impl<F: Frame> Record<F> {
    fn is_used(&self) -> bool {
        self.mapped.any() || self.pinned.any()
    }

    /// The references that one more mapping of the grant table needs and the record has
    /// not got.
    fn missing<H: Host<Frame = F>>(
        &self,
        host: &H,
        granter: &H::Domain,
        mfn: Mfn,
        write: bool,
    ) -> Result<Option<F>, IdentityError> {
        let pin = |typed| {
            host.pin_again(granter, mfn, typed, typed)
                .map_err(IdentityError::Frame)
        };
        match (!self.mapped.any(), write && self.mapped.writing == 0) {
            (true, true) => Ok(Some(pin(false)?.joined(pin(true)?))),
            (true, false) => pin(false).map(Some),
            (false, true) => pin(true).map(Some),
            (false, false) => Ok(None),
        }
    }

    fn add<H: Host<Frame = F>>(
        &mut self,
        host: &H,
        holder: &H::Domain,
        granter: &H::Domain,
        mfn: Mfn,
        write: bool,
    ) -> Result<(), IdentityError> {
        let mapped = self.mapped.one_more(write).ok_or(IdentityError::TooMany)?;
        let missing = self.missing(host, granter, mfn, write)?;
        let needed = Entry::for_mapping(write);
        if needed > self.entry {
            if let Err(error) = set_at_once(host, holder, mfn, needed) {
                // The entry may be there, and only the flush have failed.
                if set_at_once(host, holder, mfn, self.entry).is_err() {
                    keep::<H>(holder, mfn, missing);
                }
                return Err(error.into());
            }
            self.entry = needed;
        }
        self.mapped = mapped;
        self.frame = match (self.frame.take(), missing) {
            (Some(frame), Some(missing)) => Some(frame.joined(missing)),
            (frame, missing) => frame.or(missing),
        };
        Ok(())
    }

    /// Also the references that are not needed any more. Freeing a page takes locks of
    /// Xen's: they are to be dropped when the shard's lock has been given back.
    fn remove<H: Host<Frame = F>>(
        &mut self,
        host: &H,
        holder: &H::Domain,
        mfn: Mfn,
        write: bool,
    ) -> Result<Option<F>, IommuError> {
        let Some(mapped) = self.mapped.one_less(write) else {
            log::error!("frame {:#x} was not counted", mfn.number());
            return Ok(None);
        };
        self.mapped = mapped;
        let needed = mapped.need().max(self.pinned.need());
        if needed < self.entry {
            if let Err(error) = set_at_once(host, holder, mfn, needed) {
                keep::<H>(holder, mfn, self.frame.take());
                return Err(error);
            }
            self.entry = needed;
        }
        Ok(if !mapped.any() {
            self.frame.take()
        } else if write && mapped.writing == 0 {
            self.frame.as_mut().and_then(|frame| frame.take_one(true))
        } else {
            None
        })
    }

    fn pin<H: Host<Frame = F>>(
        &mut self,
        host: &H,
        tables: IoTables<'_, H>,
        mfn: Mfn,
        write: bool,
        flush: &mut FlushFlags,
    ) -> Result<(), IdentityError> {
        let pinned = self.pinned.one_more(write).ok_or(IdentityError::TooMany)?;
        let needed = Entry::for_mapping(write);
        if needed > self.entry {
            set(host, tables, mfn, needed, flush)?;
            self.entry = needed;
        }
        self.pinned = pinned;
        Ok(())
    }

    fn unpin<H: Host<Frame = F>>(
        &mut self,
        host: &H,
        tables: IoTables<'_, H>,
        mfn: Mfn,
        write: bool,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        let Some(pinned) = self.pinned.one_less(write) else {
            log::error!("frame {:#x} was not counted", mfn.number());
            return Ok(());
        };
        let needed = pinned.need().max(self.mapped.need());
        if needed < self.entry {
            set(host, tables, mfn, needed, flush)?;
            self.entry = needed;
        }
        self.pinned = pinned;
        Ok(())
    }
}

/// By frame number.
type Records<H> = FrameRecords<Record<<H as Frames>::Frame>>;

/// The counts of one holder.
pub struct Identity<H: Host> {
    /// By frame number, [`SHARDS`] of them; not in place, because the state of a domain is
    /// made on Xen's stack.
    shards: Vec<H::Spin<Records<H>>>,
}

impl<H: Host> Identity<H> {
    pub(super) fn new() -> Result<Self, OutOfMemory> {
        let mut shards = Vec::new();
        shards.try_reserve_exact(SHARDS).map_err(|_| OutOfMemory)?;
        let shard = || H::Spin::new(Rank::Identity, FrameRecords::new());
        shards.resize_with(SHARDS, shard);
        Ok(Self { shards })
    }

    /// Frees a bounded part of what counts needed that are gone. False: nothing is left to
    /// be freed.
    ///
    /// Takes the locks of the shards, one after the other.
    pub(crate) fn shed(&self) -> bool {
        self.shards.iter().any(|shard| shard.lock().shed())
    }

    fn shard(&self, mfn: Mfn) -> Option<&H::Spin<Records<H>>> {
        self.shards.get(mfn.number() as usize % SHARDS)
    }

    /// Lets `change` work on the record of a frame, under the lock of its shard. There
    /// is a new one for it if `make`, and none is left that counts nothing.
    fn with_record<R>(
        &self,
        mfn: Mfn,
        make: bool,
        change: impl FnOnce(&mut Record<H::Frame>) -> R,
    ) -> Result<Option<R>, OutOfMemory> {
        let Some(shard) = self.shard(mfn) else {
            return Ok(None);
        };
        let mut records = shard.lock();
        let place = match records.find(mfn) {
            None if make => Some(records.add(mfn)?),
            found => found,
        };
        let found = place.and_then(|place| Some((place, records.at(place)?)));
        let Some((place, record)) = found else {
            log::error!("frame {:#x} was not counted", mfn.number());
            return Ok(None);
        };
        let result = change(record);
        if !record.is_used() {
            records.remove(place);
        }
        Ok(Some(result))
    }

    /// Lets `change` count one more mapping of a frame, which may be the first.
    fn count(
        &self,
        mfn: Mfn,
        change: impl FnOnce(&mut Record<H::Frame>) -> Result<(), IdentityError>,
    ) -> Result<(), IdentityError> {
        self.with_record(mfn, true, change)
            .map_err(IdentityError::OutOfMemory)?
            .unwrap_or(Ok(()))
    }

    /// Counts one more mapping by the grant table of the frame, which is `granter`'s, and
    /// makes it reachable if that was not so yet. On error nothing has changed.
    pub(super) fn add(
        &self,
        host: &H,
        holder: &H::Domain,
        granter: &H::Domain,
        mfn: Mfn,
        write: bool,
    ) -> Result<(), IdentityError> {
        self.count(mfn, |record| record.add(host, holder, granter, mfn, write))
    }

    /// Counts one mapping by the grant table less, and takes away what is not needed any
    /// more. On error the devices may still reach the frame, and its references stay
    /// taken.
    pub(super) fn remove(
        &self,
        host: &H,
        holder: &H::Domain,
        mfn: Mfn,
        write: bool,
    ) -> Result<(), IommuError> {
        let removed =
            self.with_record(mfn, false, |record| record.remove(host, holder, mfn, write));
        // Dropped here, without the lock.
        let _unneeded = removed.ok().flatten().transpose()?;
        Ok(())
    }

    /// Counts one more DMA mapping of the frame, which the caller has pinned, and puts it
    /// into `tables`, those of the holder's default context, if it is not there with as
    /// much access. What has to be flushed is added to `flush`, on error too; otherwise
    /// nothing has changed then.
    ///
    /// The caller holds the lock of the context.
    pub(crate) fn pin(
        &self,
        host: &H,
        tables: IoTables<'_, H>,
        mfn: Mfn,
        write: bool,
        flush: &mut FlushFlags,
    ) -> Result<(), IdentityError> {
        self.count(mfn, |record| record.pin(host, tables, mfn, write, flush))
    }

    /// Counts one DMA mapping less, and takes out of the tables what nobody needs any
    /// more. What the pin holds must stay until there was a flush with `flush`. On error
    /// the mapping is still counted.
    ///
    /// The caller holds the lock of the context.
    pub(crate) fn unpin(
        &self,
        host: &H,
        tables: IoTables<'_, H>,
        mfn: Mfn,
        write: bool,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        self.with_record(mfn, false, |record| {
            record.unpin(host, tables, mfn, write, flush)
        })
        .ok()
        .flatten()
        .unwrap_or(Ok(()))
    }
}

/// Changes the IOMMU's entry for a frame, visible to devices on return.
fn set_at_once<H: Host>(
    host: &H,
    holder: &H::Domain,
    mfn: Mfn,
    entry: Entry,
) -> Result<(), IommuError> {
    match entry.access() {
        Some(access) => host.identity_map(holder, mfn, access),
        None => host.identity_unmap(holder, mfn),
    }
}

/// Changes the IOMMU's entry for a frame, visible to devices after a flush.
fn set<H: Host>(
    host: &H,
    tables: IoTables<'_, H>,
    mfn: Mfn,
    entry: Entry,
    flush: &mut FlushFlags,
) -> Result<(), IommuError> {
    let dfn = Dfn::new(mfn.number());
    match entry.access() {
        Some(access) => host
            .iommu_map_frames(tables, dfn, &[mfn], access, flush)
            .map_err(|_| IommuError),
        None => host.iommu_unmap(tables, dfn, 1, flush),
    }
}

/// Devices may reach the frame for ever: nobody else may have it.
#[cold]
fn keep<H: Host>(holder: &H::Domain, mfn: Mfn, frame: Option<H::Frame>) {
    log::error!(
        "{}: frame {:#x} stays, its devices may reach it",
        holder.id(),
        mfn.number()
    );
    core::mem::forget(frame);
}
