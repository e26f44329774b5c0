// SPDX-License-Identifier: GPL-2.0-only
//! Pages that Xen shares with a guest, which may change them at any moment.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU32, Ordering},
};

use hv::{
    addr::{Gfn, Mfn, PAGE_SIZE},
    host::{Domain, SharedPage},
};

use super::{
    domain::ModelDomain,
    machine::{Inner, Machine, Moment},
};

const WORDS: usize = PAGE_SIZE as usize / 4;

/// Contents of a shared page: what guest and hypervisor both see.
#[derive(Debug)]
pub struct SharedMemory([AtomicU32; WORDS]);

impl Default for SharedMemory {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; WORDS])
    }
}

impl SharedMemory {
    /// The four bytes at an aligned offset, modulo the page size.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(
            offset.is_multiple_of(4),
            "access at {offset:#x} not aligned"
        );
        &self.0[offset / 4 % WORDS]
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
}

impl SharedPage<ModelDomain> for ModelSharedPage {
    fn share(&self, owner: &ModelDomain) {
        if let Some(machine) = self.machine.upgrade() {
            let mut state = machine.state();
            if let Some(record) = state.frames.get_mut(self.mfn) {
                record.owner = owner.id().0;
            }
            state
                .grant_frames
                .entry(owner.id().0)
                .or_default()
                .push(Arc::clone(&self.memory));
        }
    }

    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }

    fn gfn(&self, _owner: &ModelDomain) -> Option<Gfn> {
        Some(Gfn::new(self.mfn))
    }

    fn load32(&self, offset: usize) -> u32 {
        self.memory.word(offset).load(Ordering::SeqCst)
    }

    fn compare_exchange32(&self, _owner: &ModelDomain, offset: usize, old: u32, new: u32) -> u32 {
        self.announce(offset);
        self.memory
            .word(offset)
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .unwrap_or_else(|found| found)
    }

    fn clear_bits16(&self, _owner: &ModelDomain, offset: usize, bits: u16) {
        self.announce(offset & !3);
        let shift = if offset.is_multiple_of(4) { 0 } else { 16 };
        self.memory
            .word(offset & !3)
            .fetch_and(!(u32::from(bits) << shift), Ordering::SeqCst);
    }
}

impl Drop for ModelSharedPage {
    fn drop(&mut self) {
        if let Some(machine) = self.machine.upgrade() {
            machine.state().frames.deallocate(self.mfn);
        }
    }
}
