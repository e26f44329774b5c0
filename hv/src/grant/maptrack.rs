// SPDX-License-Identifier: GPL-2.0-only
//! A holder's records of its CPU mappings, by the handle the guest was given.
//!
//! The records are in shards, about one per vcpu, each with its own lock: two
//! vcpus of a domain that map at the same time do not meet, and no two domains
//! ever do. A vcpu takes records of its own shard, and those of others only when
//! there is nothing left to grow with. The lower bits of a handle say which
//! shard it is of, so an unmap goes straight to it.

use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering};

use super::{active::PinKind, table::TableError};
use crate::{
    addr::{DomId, GrantRef},
    host::{Frames, Host},
    sync::{Rank, SpinLock},
};

/// Records that one maptrack frame holds in Xen's documentation of the limit.
const RECORDS_PER_FRAME: u32 = 256;
/// Most shards.
const MAX_SHARDS: u32 = 16;
/// End of a free list.
const END: u32 = u32::MAX;

/// Which of a mapping's uses there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Uses {
    /// A mapping for the holder's CPUs.
    Host,
    /// A mapping for the devices of a PV domain.
    Device,
    /// Both, made by one operation.
    Both,
}

impl Uses {
    /// One of the uses.
    #[inline(always)]
    pub(super) fn first(self) -> PinKind {
        match self {
            Self::Host | Self::Both => PinKind::Cpu,
            Self::Device => PinKind::Device,
        }
    }

    /// All of them.
    #[inline(always)]
    pub(super) fn kinds(self) -> impl Iterator<Item = PinKind> {
        let second = match self {
            Self::Host | Self::Device => None,
            Self::Both => Some(PinKind::Device),
        };
        core::iter::once(self.first()).chain(second)
    }
}

/// A CPU mapping of a grant.
#[derive(Debug)]
pub struct CpuMapping<F> {
    /// The page: a reference for each use, joined if there are two.
    pub frame: F,
    /// The reference.
    pub gref: GrantRef,
    /// Whose.
    pub granter: DomId,
    /// `GNTMAP_*` flags of the mapping, as far as undoing it needs them.
    pub gntmap_flags: u8,
    /// What it is used for still.
    pub uses: Uses,
}

#[derive(Debug)]
enum Slot<F> {
    /// Free; the next free slot.
    Free(u32),
    /// A call is at work on this handle.
    Busy,
    Mapped(CpuMapping<F>),
}

// No more than Xen's `struct grant_mapping`, with a host whose frames are pointers.
const _: () = assert!(size_of::<Slot<core::num::NonZeroUsize>>() == 16);

/// The records that the vcpus of one shard made.
struct Shard<H: Host> {
    chunks: Vec<Chunk<H>>,
    free: u32,
    /// Records that [`Maptrack::pop`] has not seen.
    unreleased: u32,
}

/// One frame's worth of records.
type Chunk<H> = Box<[Slot<<H as Frames>::Frame>; RECORDS_PER_FRAME as usize]>;

impl<H: Host> Shard<H> {
    fn len(&self) -> usize {
        self.chunks.len() * RECORDS_PER_FRAME as usize
    }

    #[inline(always)]
    fn slot(&mut self, index: u32) -> Option<&mut Slot<H::Frame>> {
        self.chunks
            .get_mut((index / RECORDS_PER_FRAME) as usize)?
            .get_mut((index % RECORDS_PER_FRAME) as usize)
    }

    /// Puts a mapping into a free slot. `Err`: there is none.
    #[inline(always)]
    fn insert(&mut self, mapping: CpuMapping<H::Frame>) -> Result<u32, CpuMapping<H::Frame>> {
        let index = self.free;
        match self.slot(index) {
            Some(slot @ Slot::Free(_)) => {
                let Slot::Free(next) = core::mem::replace(slot, Slot::Mapped(mapping)) else {
                    return Ok(index);
                };
                self.free = next;
                Ok(index)
            }
            _ => Err(mapping),
        }
    }

    /// Adds one frame's worth of records.
    fn grow(&mut self) -> Result<(), NoHandle> {
        let mut chunk = Vec::new();
        chunk
            .try_reserve_exact(RECORDS_PER_FRAME as usize)
            .map_err(|_| NoHandle)?;
        self.chunks.try_reserve(1).map_err(|_| NoHandle)?;
        let first = self.len() as u32;
        for index in 1..RECORDS_PER_FRAME {
            chunk.push(Slot::Free(first + index));
        }
        chunk.push(Slot::Free(self.free));
        // It has exactly this length.
        let chunk = chunk.into_boxed_slice().try_into().map_err(|_| NoHandle)?;
        self.chunks.push(chunk);
        self.free = first;
        self.unreleased += RECORDS_PER_FRAME;
        Ok(())
    }
}

/// A shard, and how many of its free records nobody has reserved.
struct Records<H: Host> {
    shard: H::Spin<Shard<H>>,
    /// Never more than there are free records, less the [`Reserved`] ones.
    unreserved: AtomicU32,
}

impl<H: Host> Records<H> {
    /// Reserves one free record.
    #[inline(always)]
    fn reserve(&self) -> bool {
        let mut unreserved = self.unreserved.load(Ordering::Relaxed);
        while unreserved != 0 {
            let taken = self.unreserved.compare_exchange_weak(
                unreserved,
                unreserved - 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return true,
                Err(found) => unreserved = found,
            }
        }
        false
    }

    fn unreserve(&self, count: u32) {
        self.unreserved.fetch_add(count, Ordering::Relaxed);
    }
}

/// The records of one holder. Handles are allocated and freed in O(1).
pub struct Maptrack<H: Host> {
    /// A power of two of them.
    records: Vec<Records<H>>,
    /// log2 of their number.
    shift: u32,
    /// Frames of records in use.
    frames: H::Spin<u32>,
    max_frames: u32,
}

/// All records are in use, or there is no memory for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHandle;

/// The right to one free record, so that a mapping that was made can be recorded.
/// Ends in [`Maptrack::insert`] or [`Maptrack::unreserve`].
#[derive(Debug)]
#[must_use = "a record that stays reserved cannot be used"]
pub struct Reserved {
    shard: u32,
}

impl<H: Host> Maptrack<H> {
    /// No records yet, and at most `max_frames` times 256 of them, for a domain
    /// with so many vcpus.
    pub fn new(max_frames: u32, vcpus: u32) -> Result<Self, TableError> {
        let count = vcpus.clamp(1, MAX_SHARDS).next_power_of_two();
        let mut records = Vec::new();
        records
            .try_reserve_exact(count as usize)
            .map_err(|_| TableError::OutOfMemory)?;
        for _ in 0..count {
            let shard = Shard {
                chunks: Vec::new(),
                free: END,
                unreleased: 0,
            };
            records.push(Records {
                shard: H::Spin::new(Rank::Maptrack, shard),
                unreserved: AtomicU32::new(0),
            });
        }
        Ok(Self {
            records,
            shift: count.trailing_zeros(),
            frames: H::Spin::new(Rank::MaptrackGrowth, 0),
            // Every handle must have its own number.
            max_frames: max_frames.min(u32::MAX / RECORDS_PER_FRAME / MAX_SHARDS),
        })
    }

    fn count(&self) -> u32 {
        self.records.len() as u32
    }

    /// The records that a handle is of, and its index among them.
    #[inline(always)]
    fn locate(&self, handle: u32) -> Option<(&Records<H>, u32)> {
        // A power of two: the remainder needs no clamping.
        let number = handle as usize & self.records.len().wrapping_sub(1);
        let index = handle.wrapping_shr(self.shift);
        self.records.get(number).map(|records| (records, index))
    }

    /// Reserves a record, preferably near `vcpu`.
    #[inline(always)]
    pub fn reserve(&self, vcpu: u32) -> Result<Reserved, NoHandle> {
        let shard = vcpu & self.count().wrapping_sub(1);
        match self.records.get(shard as usize) {
            Some(records) if records.reserve() => Ok(Reserved { shard }),
            _ => self.reserve_more(shard),
        }
    }

    #[cold]
    #[inline(never)]
    fn reserve_more(&self, own: u32) -> Result<Reserved, NoHandle> {
        let records = self.records.get(own as usize).ok_or(NoHandle)?;
        if self.grow(records).is_ok() && records.reserve() {
            return Ok(Reserved { shard: own });
        }
        (0..)
            .zip(&self.records)
            .find(|(_, records)| records.reserve())
            .map(|(shard, _)| Reserved { shard })
            .ok_or(NoHandle)
    }

    /// One growth at a time: who finds that there can be no more frames must also
    /// find the records of the last one.
    fn grow(&self, records: &Records<H>) -> Result<(), NoHandle> {
        let mut frames = self.frames.lock();
        if *frames >= self.max_frames {
            return Err(NoHandle);
        }
        records.shard.lock().grow()?;
        *frames += 1;
        records.unreserve(RECORDS_PER_FRAME);
        Ok(())
    }

    /// Gives up a reserved record.
    pub fn unreserve(&self, reserved: Reserved) {
        if let Some(records) = self.records.get(reserved.shard as usize) {
            records.unreserve(1);
        }
    }

    /// Records a mapping and returns its handle. `Err`: the domain's records are
    /// being released, which nothing that maps can see.
    #[inline(always)]
    pub fn insert(
        &self,
        reserved: Reserved,
        mapping: CpuMapping<H::Frame>,
    ) -> Result<u32, CpuMapping<H::Frame>> {
        match self.records.get(reserved.shard as usize) {
            Some(records) => {
                let inserted = records.shard.lock().insert(mapping);
                inserted.map(|index| index.wrapping_shl(self.shift) | reserved.shard)
            }
            None => Err(mapping),
        }
    }

    /// Puts a mapping back under its busy handle.
    pub fn put_back(&self, handle: u32, mapping: CpuMapping<H::Frame>) {
        if let Some((records, index)) = self.locate(handle)
            && let Some(slot) = records.shard.lock().slot(index)
        {
            *slot = Slot::Mapped(mapping);
        }
    }

    /// Frees a busy handle.
    #[inline(always)]
    pub fn discard(&self, handle: u32) {
        if let Some((records, index)) = self.locate(handle) {
            {
                let mut shard = records.shard.lock();
                let free = shard.free;
                if let Some(slot) = shard.slot(index) {
                    *slot = Slot::Free(free);
                    shard.free = index;
                }
            }
            records.unreserve(1);
        }
    }

    /// Takes the mapping out and leaves the handle busy, so that of two unmaps of
    /// one handle only one finds it.
    #[inline(always)]
    pub fn take(&self, host: &H, handle: u32) -> Option<CpuMapping<H::Frame>> {
        let (records, index) = self.locate(handle)?;
        let mut shard = records.shard.lock();
        let len = shard.len();
        if index as usize >= len {
            return None;
        }
        let index = host.clamp_index(index as usize, len);
        let slot = shard.slot(index as u32)?;
        if !matches!(slot, Slot::Mapped(_)) {
            return None;
        }
        match core::mem::replace(slot, Slot::Busy) {
            Slot::Mapped(mapping) => Some(mapping),
            Slot::Free(_) | Slot::Busy => None,
        }
    }

    /// Takes a record away for good, with its mapping if it has one. For the
    /// release of a dying domain. `None`: there are no more.
    pub fn pop(&self) -> Option<Option<CpuMapping<H::Frame>>> {
        for records in &self.records {
            let mut shard = records.shard.lock();
            shard.free = END;
            let Some(last) = shard.unreleased.checked_sub(1) else {
                continue;
            };
            shard.unreleased = last;
            let released = shard
                .slot(last)
                .map(|slot| core::mem::replace(slot, Slot::Free(END)));
            return Some(match released {
                Some(Slot::Mapped(mapping)) => Some(mapping),
                Some(Slot::Free(_) | Slot::Busy) | None => None,
            });
        }
        None
    }

    /// Frames of records in use.
    pub fn frames(&self) -> u32 {
        *self.frames.lock()
    }

    /// Mappings held.
    pub fn mapped(&self) -> usize {
        let in_shard = |records: &Records<H>| {
            let shard = records.shard.lock();
            let slots = shard.chunks.iter().flat_map(|chunk| chunk.iter());
            slots.filter(|slot| matches!(slot, Slot::Mapped(_))).count()
        };
        self.records.iter().map(in_shard).sum()
    }
}
