// SPDX-License-Identifier: GPL-2.0-only
//! Frames of others that a holder's devices reach at their machine addresses.
//!
//! For holders whose devices work with machine addresses through an IOMMU (PV,
//! and direct-mapped Arm domains): whatever their CPUs map, their devices must
//! reach too. A frame can be mapped many times; the IOMMU has it once, writable
//! while any of the mappings is, and holds references of its own.
//!
//! The counts are in shards by frame number, so that growing the table of one
//! takes bounded time, and mappings of different frames seldom meet.

use hashbrown::{HashMap, hash_map::Entry};

use crate::{
    addr::{Access, Mfn},
    host::{Domain, Frame, FrameError, Host, IommuError, OutOfMemory},
    sync::{Rank, SpinLock},
};

const SHARDS: usize = 16;

/// A frame that devices reach, and how often it is mapped.
struct Record<F> {
    reading: u32,
    writing: u32,
    /// The IOMMU's own reference, joined with a writable-type one while any mapping
    /// is writable. That of a CPU mapping would not do: a PV guest makes it go by
    /// overwriting the page-table entry. `None`: an IOMMU failed, and the frame is
    /// referenced for ever.
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

/// By frame number.
type Records<H> = HashMap<u64, Record<<H as Host>::Frame>>;

/// The counts of one holder.
pub struct Identity<H: Host> {
    shards: [H::Spin<Records<H>>; SHARDS],
}

impl<H: Host> Identity<H> {
    pub(super) fn new() -> Self {
        Self {
            shards: core::array::from_fn(|_| {
                H::Spin::new(Rank::Identity, HashMap::with_hasher(Default::default()))
            }),
        }
    }

    fn shard(&self, mfn: Mfn) -> Option<&H::Spin<Records<H>>> {
        self.shards.get(mfn.number() as usize % SHARDS)
    }

    /// Counts one more mapping of the frame, which is `granter`'s, and makes it
    /// reachable if that was not so yet. On error nothing has changed.
    pub(super) fn add(
        &self,
        host: &H,
        holder: &H::Domain,
        granter: &H::Domain,
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
        let pin = |typed| {
            host.pin_again(granter, mfn, typed)
                .map_err(IdentityError::Frame)
        };
        match shard.entry(mfn.number()) {
            Entry::Vacant(place) => {
                let frame = if write {
                    pin(false)?.joined(pin(true)?)
                } else {
                    pin(false)?
                };
                let access = if write {
                    Access::READ_WRITE
                } else {
                    Access::READ
                };
                if let Err(error) = host.identity_map(holder, mfn, access) {
                    // The frame may be mapped, and only the flush have failed.
                    if host.identity_unmap(holder, mfn).is_err() {
                        keep::<H>(holder, mfn, Some(frame));
                    }
                    return Err(error.into());
                }
                place.insert(Record {
                    reading: u32::from(!write),
                    writing: u32::from(write),
                    frame: Some(frame),
                });
            }
            Entry::Occupied(mut place) => {
                let record = place.get_mut();
                if !write {
                    record.reading = record
                        .reading
                        .checked_add(1)
                        .ok_or(IdentityError::TooMany)?;
                    return Ok(());
                }
                let writing = record
                    .writing
                    .checked_add(1)
                    .ok_or(IdentityError::TooMany)?;
                if record.writing == 0 {
                    let typed = pin(true)?;
                    if let Err(error) = host.identity_map(holder, mfn, Access::READ_WRITE) {
                        if host.identity_map(holder, mfn, Access::READ).is_err() {
                            keep::<H>(holder, mfn, Some(typed));
                        }
                        return Err(error.into());
                    }
                    let (mfn_number, record) = (mfn.number(), place.remove());
                    shard.insert(
                        mfn_number,
                        Record {
                            writing,
                            frame: record.frame.map(|frame| frame.joined(typed)),
                            ..record
                        },
                    );
                } else {
                    record.writing = writing;
                }
            }
        }
        Ok(())
    }

    /// Counts one mapping less, and takes away what is not needed any more. On
    /// error the devices may still reach the frame, and its references stay taken.
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
        let Entry::Occupied(mut place) = shard.entry(mfn.number()) else {
            log::error!("frame {:#x} was not counted", mfn.number());
            return Ok(());
        };
        let record = place.get_mut();
        let (reading, writing) = if write {
            (record.reading, record.writing.saturating_sub(1))
        } else {
            (record.reading.saturating_sub(1), record.writing)
        };
        let unneeded = if reading == 0 && writing == 0 {
            let unmapped = host.identity_unmap(holder, mfn);
            let frame = place.remove().frame;
            if let Err(error) = unmapped {
                keep::<H>(holder, mfn, frame);
                return Err(error);
            }
            frame
        } else {
            let last_writer = write && writing == 0;
            if last_writer && let Err(error) = host.identity_map(holder, mfn, Access::READ) {
                let frame = record.frame.take();
                keep::<H>(holder, mfn, frame);
                return Err(error);
            }
            (record.reading, record.writing) = (reading, writing);
            if last_writer {
                record.frame.as_mut().and_then(|frame| frame.take_one(true))
            } else {
                None
            }
        };
        // Freeing a page takes locks of Xen's: not under ours.
        drop(shard);
        drop(unneeded);
        Ok(())
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
