// SPDX-License-Identifier: GPL-2.0-only
//! I/O page tables with their IOTLB, as pessimistic as hardware may be, and the
//! devices that use them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Weak,
};

use super::{machine::Inner, mirror::Copy};
use hv::{
    addr::{Access, Dfn, DfnRange},
    host::FlushFlags,
};

/// Wanted after a translation was added.
pub const ADDED: FlushFlags = FlushFlags(1);
/// Wanted after a translation was removed.
pub const REMOVED: FlushFlags = FlushFlags(2);

/// Wanted after page tables were freed that hardware may still walk.
pub const TABLES_FREED: FlushFlags = FlushFlags(4);

/// One translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Where to.
    pub mfn: u64,
    /// Devices may read.
    pub read: bool,
    /// Devices may write.
    pub write: bool,
}

/// A device access that the IOMMU stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaFault {
    /// Where.
    pub dfn: u64,
    /// It wanted to write.
    pub write: bool,
}

/// Names I/O page tables: the domain, and 0 for its default context or a number that
/// is never used again.
pub type TablesId = (u16, u32);

/// A PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Whose it is.
    pub owner: u16,
    /// An IOMMU translates what it does.
    pub behind_iommu: bool,
    /// The tables it uses: the second half of a [`TablesId`].
    pub tables: u32,
    /// Devices with one number here cannot be told apart.
    pub group: u32,
}

/// I/O page tables of a context.
#[derive(Debug)]
pub struct ModelIoContext {
    pub(super) inner: Weak<Inner>,
    pub(super) id: TablesId,
}

impl Drop for ModelIoContext {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        let mut state = inner.state();
        let used = state.devices_at(self.id).next();
        assert_eq!(used, None, "I/O page tables dropped with a device there");
        let mut tables = state.iommus.remove(&self.id).expect("its tables");
        if let Some(Copy {
            end, refused: true, ..
        }) = tables.copy
        {
            // It goes with the tables.
            tables.table.retain(|&dfn, _| dfn >= end);
            tables.iotlb.retain(|&dfn, _| dfn >= end);
        }
        assert!(tables.table.is_empty(), "I/O page tables dropped in use");
        let reachable = tables.iotlb.len();
        assert_eq!(reachable, 0, "I/O page tables dropped before a flush");
    }
}

/// A device address space.
#[derive(Debug, Default)]
pub struct Iommu {
    /// The context's number.
    pub number: u32,
    /// No device can be moved here.
    pub closed: bool,
    /// It is a copy of its owner's memory as well.
    pub copy: Option<Copy>,
    table: BTreeMap<u64, Translation>,
    iotlb: BTreeMap<u64, Vec<Translation>>,
    /// Device frames of mappings for which the IOTLB may have what the table has not.
    stale: BTreeSet<u64>,
    /// By machine frame: from how many device frames of mappings the IOTLB leads there, and
    /// from how many of them for writing.
    reach: BTreeMap<u64, (u32, u32)>,
    /// Translations that devices do not see for certain before a flush.
    unseen: BTreeSet<u64>,
    /// Device frames that may be written now, which devices do not see before a flush.
    unseen_writable: BTreeSet<u64>,
    /// The hardware caches that there is no translation, until a flush.
    pub caches_absent: bool,
}

impl Iommu {
    /// Empty tables for a context.
    pub fn of_context(number: u32) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    fn is_copied(&self, dfn: u64) -> bool {
        self.copy.is_some_and(|copy| dfn < copy.end)
    }

    /// Adds a translation of the copy, if this is one and it is not being taken out.
    pub(super) fn copy_in(&mut self, dfn: u64, translation: Translation) {
        if self.is_copied(dfn) {
            self.copy_out(dfn);
            if self.copy.is_some_and(|copy| !copy.ending) {
                self.table.insert(dfn, translation);
                self.iotlb.insert(dfn, vec![translation]);
            }
        }
    }

    /// Takes a translation out of the copy, flush included.
    pub(super) fn copy_out(&mut self, dfn: u64) {
        if self.is_copied(dfn) {
            self.table.remove(&dfn);
            self.iotlb.remove(&dfn);
        }
    }

    pub(super) fn copy_leads_to(&self, mfn: u64) -> bool {
        let copied = self.copied().map(|(_, entry)| entry);
        let listed = self.table.range(..self.copy_end());
        copied
            .chain(listed.map(|(_, &entry)| entry))
            .any(|entry| entry.mfn == mfn)
    }

    /// Adds translations. A device may use them at once.
    pub fn map(&mut self, dfn: u64, mfn: u64, count: u32, access: Access) -> FlushFlags {
        for offset in 0..u64::from(count) {
            assert!(!self.is_copied(dfn + offset), "mapped where the copy is");
            let translation = Translation {
                mfn: mfn + offset,
                read: access.read,
                write: access.write,
            };
            let old = self.table.insert(dfn + offset, translation);
            assert!(old.is_none(), "dfn {:#x} mapped twice", dfn + offset);
            self.change_cached(dfn + offset, |cached| cached.push(translation));
            if self.caches_absent {
                self.unseen.insert(dfn + offset);
            }
        }
        ADDED
    }

    /// Lets devices reach a frame at its machine address, or changes what they may do
    /// there. The IOTLB keeps what there was.
    pub fn set_identity(&mut self, mfn: u64, access: Access, unsure: bool) -> FlushFlags {
        let new = Translation {
            mfn,
            read: access.read,
            write: access.write,
        };
        let old = self.table.insert(mfn, new);
        assert!(unsure || old != Some(new), "nothing to change for {mfn:#x}");
        self.change_cached(mfn, |cached| cached.push(new));
        let Some(old) = old else {
            if self.caches_absent {
                self.unseen.insert(mfn);
            }
            return ADDED;
        };
        assert_eq!(old.mfn, mfn, "an identity");
        self.stale.insert(mfn);
        if new.write {
            self.unseen_writable.insert(mfn);
        }
        FlushFlags(ADDED.0 | REMOVED.0)
    }

    /// Flushes one frame.
    pub fn flush_frame(&mut self, dfn: u64) {
        let frame = DfnRange {
            first: Dfn::new(dfn),
            count: 1,
        };
        self.flush(frame, FlushFlags(ADDED.0 | REMOVED.0));
    }

    /// Removes translations from the table. The IOTLB keeps them.
    pub fn unmap(&mut self, dfn: u64, count: u32) -> FlushFlags {
        for frame in dfn..dfn + u64::from(count) {
            assert!(!self.is_copied(frame), "unmapped where the copy is");
            self.table.remove(&frame);
            self.stale.insert(frame);
        }
        REMOVED
    }

    /// Changes what the IOTLB has for a device frame of mappings.
    fn change_cached(&mut self, dfn: u64, change: impl FnOnce(&mut Vec<Translation>)) {
        let mut cached = self.iotlb.remove(&dfn).unwrap_or_default();
        for (mfn, write) in frames_of(&cached) {
            let reach = self.reach.get_mut(&mfn).expect("a frame that is reached");
            reach.0 -= 1;
            reach.1 -= u32::from(write);
            if reach.0 == 0 {
                self.reach.remove(&mfn);
            }
        }
        change(&mut cached);
        for (mfn, write) in frames_of(&cached) {
            let reach = self.reach.entry(mfn).or_default();
            reach.0 += 1;
            reach.1 += u32::from(write);
        }
        if !cached.is_empty() {
            self.iotlb.insert(dfn, cached);
        }
    }

    /// Forgets what is not in the table any more, if the flags say so.
    pub fn flush(&mut self, range: DfnRange, flags: FlushFlags) {
        let frames = range.first.number()..range.first.number().saturating_add(range.count);
        if flags.0 & ADDED.0 != 0 {
            self.unseen.retain(|dfn| !frames.contains(dfn));
        }
        if flags.0 & REMOVED.0 != 0 {
            self.unseen_writable.retain(|dfn| !frames.contains(dfn));
            let stale: Vec<u64> = self.stale.range(frames).copied().collect();
            for dfn in stale {
                self.stale.remove(&dfn);
                let listed = self.table.get(&dfn).copied();
                self.change_cached(dfn, |cached| {
                    cached.retain(|&entry| listed == Some(entry));
                    cached.truncate(1);
                });
            }
        }
    }

    /// The I/O page table.
    pub fn table(&self) -> &BTreeMap<u64, Translation> {
        &self.table
    }

    /// First device frame that is not the copy's.
    fn copy_end(&self) -> u64 {
        self.copy.map_or(0, |copy| copy.end)
    }

    /// Every translation that a device may still use, with its device frame: those of
    /// mappings.
    pub fn reachable(&self) -> impl Iterator<Item = (u64, Translation)> {
        flat(self.iotlb.range(self.copy_end()..))
    }

    /// Those of the copy.
    pub fn copied(&self) -> impl Iterator<Item = (u64, Translation)> {
        flat(self.iotlb.range(..self.copy_end()))
    }

    /// Translations of mappings that lead to a frame: all, and writable ones.
    pub fn reach_of(&self, mfn: u64) -> (u32, u32) {
        self.reach.get(&mfn).copied().unwrap_or_default()
    }

    /// Translates as a device access does: from the IOTLB if it can.
    pub fn translate(&self, dfn: u64, write: bool) -> Result<u64, DmaFault> {
        if self.unseen.contains(&dfn) || write && self.unseen_writable.contains(&dfn) {
            return Err(DmaFault { dfn, write });
        }
        let allowed = |entry: &&Translation| if write { entry.write } else { entry.read };
        self.iotlb
            .get(&dfn)
            .and_then(|cached| cached.iter().find(allowed))
            .map(|entry| entry.mfn)
            .ok_or(DmaFault { dfn, write })
    }
}

fn flat<'a>(
    cached: impl Iterator<Item = (&'a u64, &'a Vec<Translation>)>,
) -> impl Iterator<Item = (u64, Translation)> {
    cached.flat_map(|(&dfn, cached)| cached.iter().map(move |&entry| (dfn, entry)))
}

/// The frames that what is cached for one device frame leads to, each once, and whether one
/// of the translations is writable.
fn frames_of(cached: &[Translation]) -> BTreeMap<u64, bool> {
    let mut frames = BTreeMap::new();
    for entry in cached {
        *frames.entry(entry.mfn).or_insert(false) |= entry.write;
    }
    frames
}
