// SPDX-License-Identifier: GPL-2.0-only
//! Frames of others that a holder's devices reach at their machine addresses.
//!
//! For holders whose devices work with machine addresses through an IOMMU (PV,
//! and direct-mapped Arm domains): whatever their CPUs map, their devices must
//! reach too. A frame can be mapped many times; the IOMMU has it once, writable
//! while any of the mappings is.
//!
//! The counts are in shards by frame number, so that growing the table of one
//! takes bounded time, and mappings of different frames seldom meet.

use hashbrown::{HashMap, hash_map::Entry};

use crate::{
    addr::{Access, Mfn},
    host::{Host, IommuError, OutOfMemory},
    sync::{Rank, SpinLock},
};

const SHARDS: usize = 16;

/// How often a frame is mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Uses {
    reading: u32,
    writing: u32,
}

impl Uses {
    fn counter(&mut self, write: bool) -> &mut u32 {
        if write {
            &mut self.writing
        } else {
            &mut self.reading
        }
    }

    /// What the IOMMU has to permit.
    fn access(self) -> Option<Access> {
        match self {
            Self {
                reading: 0,
                writing: 0,
            } => None,
            Self { writing: 0, .. } => Some(Access::READ),
            Self { .. } => Some(Access::READ_WRITE),
        }
    }
}

/// Why a frame could not be made reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The IOMMU's side.
    Iommu(IommuError),
    /// Xen has no memory.
    OutOfMemory(OutOfMemory),
    /// Holder's side: mapped as often as can be counted.
    TooMany,
}

impl From<IommuError> for IdentityError {
    fn from(error: IommuError) -> Self {
        Self::Iommu(error)
    }
}

/// The counts of one holder.
pub struct Identity<H: Host> {
    shards: [H::Spin<HashMap<u64, Uses>>; SHARDS],
}

impl<H: Host> Identity<H> {
    pub(super) fn new() -> Self {
        Self {
            shards: core::array::from_fn(|_| {
                H::Spin::new(Rank::Identity, HashMap::with_hasher(Default::default()))
            }),
        }
    }

    fn shard(&self, mfn: Mfn) -> Option<&H::Spin<HashMap<u64, Uses>>> {
        self.shards.get(mfn.number() as usize % SHARDS)
    }

    /// Counts one more mapping of the frame, and makes it reachable if that was
    /// not so yet. On error nothing has changed.
    pub(super) fn add(
        &self,
        host: &H,
        holder: &H::Domain,
        mfn: Mfn,
        write: bool,
    ) -> Result<(), IdentityError> {
        let Some(shard) = self.shard(mfn) else {
            return Ok(());
        };
        let mut shard = shard.lock();
        shard
            .try_reserve(1)
            .map_err(|_| IdentityError::OutOfMemory(OutOfMemory))?;
        let before = shard.get(&mfn.number()).copied().unwrap_or_default();
        let mut after = before;
        let counter = after.counter(write);
        *counter = counter.checked_add(1).ok_or(IdentityError::TooMany)?;
        if let Some(access) = after.access().filter(|_| after.access() != before.access()) {
            host.identity_map(holder, mfn, access)?;
        }
        shard.insert(mfn.number(), after);
        Ok(())
    }

    /// Counts one mapping less, and takes away what is not needed any more. On
    /// error the devices may still reach the frame, and it stays counted.
    pub(super) fn remove(
        &self,
        host: &H,
        holder: &H::Domain,
        mfn: Mfn,
        write: bool,
    ) -> Result<(), IommuError> {
        let Some(shard) = self.shard(mfn) else {
            return Ok(());
        };
        let mut shard = shard.lock();
        let Entry::Occupied(mut record) = shard.entry(mfn.number()) else {
            log::error!("frame {:#x} was not counted", mfn.number());
            return Ok(());
        };
        let before = *record.get();
        let mut after = before;
        let counter = after.counter(write);
        *counter = counter.saturating_sub(1);
        match after.access() {
            None => {
                host.identity_unmap(holder, mfn)?;
                record.remove();
            }
            Some(access) => {
                if after.access() != before.access() {
                    host.identity_map(holder, mfn, access)?;
                }
                *record.get_mut() = after;
            }
        }
        Ok(())
    }
}
