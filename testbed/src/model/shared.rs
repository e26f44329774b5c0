// SPDX-License-Identifier: GPL-2.0-only
//! Pages that Xen shares with a guest, which may change them at any moment.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use hv::{
    addr::{Gfn, Mfn, PAGE_SIZE},
    host::{Domain, SharedPage, UnshareError},
};

use super::{
    domain::ModelDomain,
    frames::NOBODY,
    machine::{Inner, Machine, Moment},
};

const CELLS: usize = PAGE_SIZE as usize / 8;
const ORDER: Ordering = Ordering::SeqCst;

/// Contents of a shared page: what guest and hypervisor both see.
#[derive(Debug)]
pub struct SharedMemory([AtomicU64; CELLS]);

impl Default for SharedMemory {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CELLS])
    }
}

impl SharedMemory {
    /// The eight bytes at an aligned offset, modulo the page size.
    pub fn cell(&self, offset: usize) -> &AtomicU64 {
        assert_aligned(offset, 8);
        &self.0[offset / 8 % CELLS]
    }

    /// The four bytes at an aligned offset, modulo the page size.
    pub fn word(&self, offset: usize) -> Word<'_> {
        assert_aligned(offset, 4);
        Word {
            cell: &self.0[offset / 8 % CELLS],
            shift: offset as u32 % 8 * 8,
        }
    }

    fn update(&self, offset: usize, bytes: usize, change: impl Fn(u64) -> u64) -> u64 {
        assert_aligned(offset, bytes);
        let mask = u64::MAX >> (64 - 8 * bytes);
        let shift = offset as u32 % 8 * 8;
        let old = self.0[offset / 8 % CELLS].fetch_update(ORDER, ORDER, |cell| {
            let new = change(cell >> shift & mask) & mask;
            Some(cell & !(mask << shift) | new << shift)
        });
        old.unwrap_or_else(|cell| cell) >> shift & mask
    }

    /// Reads the two bytes at an aligned offset.
    pub fn load16(&self, offset: usize) -> u16 {
        assert_aligned(offset, 2);
        (self.0[offset / 8 % CELLS].load(ORDER) >> (offset as u32 % 8 * 8)) as u16
    }

    /// Writes the two bytes at an aligned offset.
    pub fn store16(&self, offset: usize, value: u16) {
        self.update(offset, 2, |_| u64::from(value));
    }
}

fn assert_aligned(offset: usize, to: usize) {
    assert!(
        offset.is_multiple_of(to),
        "access at {offset:#x} not aligned"
    );
}

/// Four bytes of a shared page, with the operations of an atomic integer.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    cell: &'a AtomicU64,
    shift: u32,
}

impl Word<'_> {
    fn update(self, order: Ordering, change: impl Fn(u32) -> u32) -> u32 {
        let old = self.cell.fetch_update(order, Ordering::Relaxed, |cell| {
            let new = u64::from(change((cell >> self.shift) as u32));
            Some(cell & !(0xffff_ffff << self.shift) | new << self.shift)
        });
        (old.unwrap_or_else(|cell| cell) >> self.shift) as u32
    }

    /// Reads.
    pub fn load(self, order: Ordering) -> u32 {
        (self.cell.load(order) >> self.shift) as u32
    }

    /// Writes.
    pub fn store(self, value: u32, order: Ordering) {
        self.update(order, |_| value);
    }

    /// Flips bits; returns what was there.
    pub fn fetch_xor(self, bits: u32, order: Ordering) -> u32 {
        self.update(order, |old| old ^ bits)
    }
}

/// Xen's handle of a shared page.
#[derive(Debug)]
pub struct ModelSharedPage {
    machine: Weak<Inner>,
    mfn: u64,
    memory: Arc<SharedMemory>,
}

impl ModelSharedPage {
    pub(super) fn new(machine: Weak<Inner>, mfn: u64, memory: Arc<SharedMemory>) -> Self {
        Self {
            machine,
            mfn,
            memory,
        }
    }

    /// Gives the test a chance to be the guest that races with Xen.
    fn announce(&self, offset: usize) {
        if let Some(inner) = self.machine.upgrade() {
            inner.state().counters.atomics += 1;
            Machine::from_inner(inner).at_moment(Moment::EntryAccess {
                page: &self.memory,
                offset,
            });
        }
    }

    fn owner(&self) -> Option<u16> {
        let machine = self.machine.upgrade()?;
        let state = machine.state();
        state.frames.get(self.mfn).map(|record| record.owner)
    }

    fn set_owner(&self, owner: u16) {
        if let Some(machine) = self.machine.upgrade()
            && let Some(record) = machine.state().frames.get_mut(self.mfn)
        {
            record.owner = owner;
        }
    }
}

impl SharedPage<ModelDomain> for ModelSharedPage {
    fn share(&self, owner: &ModelDomain) {
        assert_eq!(self.owner(), Some(NOBODY), "shared already");
        self.set_owner(owner.id().0);
    }

    fn unshare(&self, owner: &ModelDomain) -> Result<(), UnshareError> {
        assert_eq!(self.owner(), Some(owner.id().0), "not shared with it");
        if let Some(machine) = self.machine.upgrade() {
            let mut state = machine.state();
            if state.switches.unshare_breaks.pull() {
                return Err(UnshareError::Broken);
            }
            if state.guest_uses.contains(&self.mfn) {
                return Err(UnshareError::Busy);
            }
        }
        self.set_owner(NOBODY);
        Ok(())
    }

    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }

    fn gfn(&self, _owner: &ModelDomain) -> Option<Gfn> {
        Some(Gfn::new(self.mfn))
    }

    fn load16(&self, offset: usize) -> u16 {
        self.memory.load16(offset)
    }

    fn load32(&self, offset: usize) -> u32 {
        self.memory.word(offset).load(ORDER)
    }

    fn load64(&self, offset: usize) -> u64 {
        self.memory.cell(offset).load(ORDER)
    }

    fn store16(&self, offset: usize, value: u16) {
        self.memory.store16(offset, value);
    }

    fn store32(&self, offset: usize, value: u32) {
        self.memory.word(offset).store(value, ORDER);
    }

    fn store64(&self, offset: usize, value: u64) {
        self.memory.cell(offset).store(value, ORDER);
    }

    fn compare_exchange32(&self, owner: &ModelDomain, offset: usize, old: u32, new: u32) -> u32 {
        assert_eq!(self.owner(), Some(owner.id().0), "whose page it is");
        self.announce(offset);
        self.memory
            .word(offset)
            .update(ORDER, |found| if found == old { new } else { found })
    }

    fn set_bits16(&self, offset: usize, bits: u16) {
        // The guest may write between Xen's read and Xen's write.
        let old = self.memory.load16(offset);
        self.announce(offset);
        self.memory.store16(offset, old | bits);
    }

    fn clear_bits16(&self, owner: &ModelDomain, offset: usize, bits: u16) {
        assert_eq!(self.owner(), Some(owner.id().0), "whose page it is");
        self.announce(offset & !3);
        self.memory.update(offset, 2, |old| old & !u64::from(bits));
    }

    fn clear(&self) {
        for cell in &self.memory.0 {
            cell.store(0, ORDER);
        }
    }
}

impl Drop for ModelSharedPage {
    fn drop(&mut self) {
        // While a failed test unwinds, a second panic would hide the first.
        if std::thread::panicking() {
            return;
        }
        let Some(machine) = self.machine.upgrade() else {
            return;
        };
        if let Some(owner) = self.owner() {
            assert!(
                owner == NOBODY
                    || Machine::from_inner(Arc::clone(&machine))
                        .find(owner)
                        .is_none(),
                "page {:#x} freed while d{owner} has it",
                self.mfn
            );
        }
        machine.state().frames.deallocate(self.mfn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_touch_their_own_bytes_only() {
        let memory = SharedMemory::default();
        memory.word(4).store(0x1122_3344, ORDER);
        memory.store16(6, 0xaabb);
        memory.update(4, 2, |old| old & !0x3000);
        assert_eq!(memory.cell(0).load(ORDER), 0xaabb_0344_0000_0000);
        assert_eq!(memory.word(4).load(ORDER), 0xaabb_0344);
        assert_eq!(memory.word(0).load(ORDER), 0);
        assert_eq!(memory.load16(6), 0xaabb);
    }

    #[test]
    #[should_panic(expected = "not aligned")]
    fn unaligned_accesses_panic() {
        SharedMemory::default().load16(3);
    }
}
