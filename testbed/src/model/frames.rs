// SPDX-License-Identifier: GPL-2.0-only
//! Machine frames: whose they are, what they hold, and who refers to them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use hv::{
    addr::{Mfn, PAGE_SIZE},
    host::{Frame, FrameError, FrameRun},
};

use super::{machine::Inner, shared::SharedMemory};

/// What a frame is used for.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Ordinary memory of a domain.
    Ram,
    /// Memory of a PV domain whose type forbids writing: a page table.
    PageTable,
    /// Device memory that its owner has access to.
    Io,
    /// Xen's own page, shared with a guest or about to be.
    Shared(Arc<SharedMemory>),
}

/// Owner of pages that belong to no domain.
pub const NOBODY: u16 = u16::MAX;

/// One frame that is not free.
#[derive(Clone, Debug)]
pub struct FrameRecord {
    /// The owning domain (of a shared page: the guest it is shared with), or
    /// [`NOBODY`].
    pub owner: u16,
    /// What it is.
    pub kind: Kind,
    /// Its owner has not given it back.
    pub allocated: bool,
    /// Page references other than the allocation's own.
    pub refs: u32,
    /// Writable-type references.
    pub writable: u32,
    /// Reported as possibly written by a device or another domain.
    pub dirty: bool,
    data: Option<Box<[u8; PAGE_SIZE as usize]>>,
}

impl FrameRecord {
    fn new(owner: u16, kind: Kind) -> Self {
        Self {
            owner,
            kind,
            allocated: true,
            refs: 0,
            writable: 0,
            dirty: false,
            data: None,
        }
    }

    /// Reads the byte at an offset; memory starts out zeroed.
    pub fn read(&self, offset: usize) -> u8 {
        self.data.as_ref().map_or(0, |data| data[offset])
    }

    /// Everything in it.
    pub fn contents(&self) -> Box<[u8; PAGE_SIZE as usize]> {
        self.data
            .clone()
            .unwrap_or_else(|| Box::new([0; PAGE_SIZE as usize]))
    }

    /// Writes a range.
    pub fn write_range(&mut self, offset: usize, bytes: &[u8]) {
        self.data
            .get_or_insert_with(|| Box::new([0; PAGE_SIZE as usize]))[offset..offset + bytes.len()]
            .copy_from_slice(bytes);
    }

    /// Writes the byte at an offset.
    pub fn write(&mut self, offset: usize, value: u8) {
        self.data
            .get_or_insert_with(|| Box::new([0; PAGE_SIZE as usize]))[offset] = value;
    }
}

/// All frames that are in use, by number.
#[derive(Debug, Default)]
pub struct FrameTable {
    records: BTreeMap<u64, FrameRecord>,
    next: u64,
}

impl FrameTable {
    /// Takes an unused frame number of the caller's choice.
    pub fn allocate_at(&mut self, mfn: u64, owner: u16, kind: Kind) {
        let old = self.records.insert(mfn, FrameRecord::new(owner, kind));
        assert!(old.is_none(), "frame {mfn:#x} is in use");
    }

    /// Takes the next unused frame number.
    pub fn allocate(&mut self, owner: u16, kind: Kind) -> u64 {
        self.next = self.next.max(0x1000) + 1;
        self.records
            .insert(self.next, FrameRecord::new(owner, kind));
        self.next
    }

    /// Leaves a frame number out, so that neighbours are not consecutive.
    pub fn skip(&mut self) {
        self.next += 1;
    }

    /// The frame, unless it is free.
    pub fn get(&self, mfn: u64) -> Option<&FrameRecord> {
        self.records.get(&mfn)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, mfn: u64) -> Option<&mut FrameRecord> {
        self.records.get_mut(&mfn)
    }

    /// Every frame in use.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &FrameRecord)> {
        self.records.iter().map(|(&mfn, record)| (mfn, record))
    }

    /// Takes a reference to memory of `owner`, with a writable type if asked. A
    /// page table cannot be written, and an owner may have given the page back.
    pub fn take(&mut self, owner: u16, mfn: u64, typed: bool) -> Result<(), FrameError> {
        let record = self.records.get_mut(&mfn).ok_or(FrameError::NotMemory)?;
        if matches!(record.kind, Kind::Shared(_)) || record.owner != owner {
            return Err(FrameError::NotMemory);
        }
        if !record.allocated && record.refs == 0 {
            return Err(FrameError::Gone);
        }
        if typed && matches!(record.kind, Kind::PageTable) {
            return Err(FrameError::NotWritable);
        }
        record.refs += 1;
        record.writable += u32::from(typed);
        Ok(())
    }

    /// Gives a reference back. `reach` is how many translations lead to the frame,
    /// all and writable ones: so many references must remain.
    pub(super) fn put(&mut self, mfn: u64, typed: bool, reach: (u32, u32)) {
        let record = self
            .records
            .get_mut(&mfn)
            .unwrap_or_else(|| panic!("put of free frame {mfn:#x}"));
        assert!(record.refs > 0, "reference count of {mfn:#x} below 0");
        record.refs -= 1;
        if typed {
            assert!(record.writable > 0, "type count of {mfn:#x} below 0");
            record.writable -= 1;
        }
        assert!(
            record.refs >= reach.0 && record.writable >= reach.1,
            "frame {mfn:#x} loses a reference that an IOTLB still needs: {} left for {} \
             translations, {} writable for {}",
            record.refs,
            reach.0,
            record.writable,
            reach.1
        );
        self.free_if_unused(mfn);
    }

    /// The owner gives its memory back; it is free when nobody refers to it.
    pub fn deallocate(&mut self, mfn: u64) {
        if let Some(record) = self.records.get_mut(&mfn) {
            record.allocated = false;
        }
        self.free_if_unused(mfn);
    }

    fn free_if_unused(&mut self, mfn: u64) {
        if self
            .records
            .get(&mfn)
            .is_some_and(|record| !record.allocated && record.refs == 0)
        {
            self.records.remove(&mfn);
        }
    }
}

/// One counted reference to a frame, or two; dropping the value gives them back.
#[derive(Debug)]
pub struct PinnedFrame {
    machine: Weak<Inner>,
    mfn: u64,
    typed: bool,
    /// Whether the second reference, if there is one, is with a type.
    second: Option<bool>,
}

impl PinnedFrame {
    pub(super) fn new(machine: Weak<Inner>, mfn: u64, typed: bool) -> Self {
        Self {
            machine,
            mfn,
            typed,
            second: None,
        }
    }

    /// Any of the references allows writing.
    pub(super) fn is_typed(&self) -> bool {
        self.typed || self.second == Some(true)
    }

    /// Takes the references out of the value, which gives nothing back then.
    fn take_all(&mut self) -> Option<(Arc<Inner>, Vec<bool>)> {
        let machine = std::mem::take(&mut self.machine).upgrade()?;
        let typed = std::iter::once(self.typed).chain(self.second.take());
        Some((machine, typed.collect()))
    }
}

impl Frame for PinnedFrame {
    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }

    fn joined(mut self, mut other: Self) -> Self {
        assert_eq!(self.mfn, other.mfn, "references to two pages joined");
        assert!(
            self.second.is_none() && other.second.is_none(),
            "three references joined"
        );
        self.second = Some(other.typed);
        // Its reference is this value's now.
        other.machine = Weak::new();
        self
    }

    fn take_one(&mut self, typed: bool) -> Option<Self> {
        let second = self.second.take()?;
        let (taken, left) = if self.typed == typed {
            (self.typed, second)
        } else {
            (second, self.typed)
        };
        assert_eq!(taken, typed, "the wanted reference is not there");
        self.typed = left;
        Some(Self::new(self.machine.clone(), self.mfn, taken))
    }

    fn leave_to_page_tables(mut self) {
        let mfn = self.mfn;
        if let Some((machine, references)) = self.take_all() {
            let mut state = machine.state();
            let left = references.into_iter().map(|typed| (mfn, typed));
            state.left_to_page_tables.extend(left);
        }
    }
}

impl Drop for PinnedFrame {
    fn drop(&mut self) {
        // While a failed test unwinds, a second panic would hide the first.
        if std::thread::panicking() {
            return;
        }
        let mfn = self.mfn;
        if let Some((machine, references)) = self.take_all() {
            let mut state = machine.state();
            for typed in references {
                state.put(mfn, typed);
            }
        }
    }
}

/// References to frames in a row.
#[derive(Debug)]
pub struct PinnedRun(Vec<PinnedFrame>);

impl PinnedRun {
    /// Of these, at least one, which follow each other.
    pub(super) fn new(frames: Vec<PinnedFrame>) -> Self {
        assert!(!frames.is_empty(), "a run of nothing");
        Self(frames)
    }
}

impl FrameRun for PinnedRun {
    type Frame = PinnedFrame;

    fn first(&self) -> Mfn {
        self.0[0].mfn()
    }

    fn count(&self) -> u32 {
        self.0.len() as u32
    }

    fn append(&mut self, mut next: Self) -> Result<(), Self> {
        let behind = self.0[0].mfn + self.0.len() as u64;
        if next.0[0].mfn != behind || next.0[0].typed != self.0[0].typed {
            return Err(next);
        }
        self.0.append(&mut next.0);
        Ok(())
    }

    fn split_last(&mut self, count: u32) -> Option<Self> {
        assert!(count > 0, "nothing split off");
        let left = self.0.len().checked_sub(count as usize)?;
        (left > 0).then(|| Self(self.0.split_off(left)))
    }

    fn into_frames(self, take: impl FnMut(PinnedFrame)) {
        self.0.into_iter().for_each(take);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "below 0")]
    fn defect_put_without_reference_panics() {
        let mut frames = FrameTable::default();
        let mfn = frames.allocate(1, Kind::Ram);
        frames.put(mfn, false, (0, 0));
    }

    #[test]
    #[should_panic(expected = "that an IOTLB still needs")]
    fn defect_put_before_flush_panics() {
        let mut frames = FrameTable::default();
        let mfn = frames.allocate(1, Kind::Ram);
        frames.take(1, mfn, false).expect("memory of domain 1");
        frames.put(mfn, false, (1, 0));
    }

    #[test]
    #[should_panic(expected = "that an IOTLB still needs")]
    fn writable_translation_needs_a_type_reference() {
        let mut frames = FrameTable::default();
        let mfn = frames.allocate(1, Kind::Ram);
        frames.take(1, mfn, false).expect("memory of domain 1");
        frames.take(1, mfn, false).expect("memory of domain 1");
        frames.put(mfn, false, (1, 1));
    }

    #[test]
    fn foreign_typed_and_shared_frames_are_refused() {
        let mut frames = FrameTable::default();
        let ram = frames.allocate(1, Kind::Ram);
        let table = frames.allocate(1, Kind::PageTable);
        let gone = frames.allocate(1, Kind::Ram);
        frames.take(1, gone, false).expect("memory of domain 1");
        frames.deallocate(gone);
        frames.put(gone, false, (0, 0));
        assert_eq!(frames.take(1, gone, false), Err(FrameError::NotMemory));
        assert_eq!(frames.take(2, ram, false), Err(FrameError::NotMemory));
        assert_eq!(frames.take(1, table, true), Err(FrameError::NotWritable));
        assert_eq!(frames.take(1, table, false), Ok(()));
    }
}
