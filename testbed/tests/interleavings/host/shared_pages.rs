// SPDX-License-Identifier: GPL-2.0-only
//! Pages of grant tables, on loom's atomics.

use std::sync::{Arc, atomic::Ordering};

use hv::{
    addr::{Gfn, Mfn},
    host::{OutOfMemory, SharedPage, SharedPages, UnshareError},
};
use loom::sync::atomic::{AtomicU32, fence};

use super::{World, domains::Peer};

/// Words of a page that these tests use.
pub const WORDS: usize = 64;

/// A page shared with a guest. Plain accesses are relaxed, as those of Xen to
/// volatile memory; what must be ordered is ordered by fences.
pub struct Shared {
    words: Arc<[AtomicU32; WORDS]>,
    mfn: u64,
}

impl Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[offset / 4]
    }

    fn shift(offset: usize) -> usize {
        offset % 4 * 8
    }
}

impl SharedPage<Peer> for Shared {
    fn share(&self, owner: &Peer) {
        let mut pages = owner.0.pages.lock().expect("pages");
        pages.push(Arc::clone(&self.words));
    }

    fn unshare(&self, owner: &Peer) -> Result<(), UnshareError> {
        let mut pages = owner.0.pages.lock().expect("pages");
        pages.retain(|page| !Arc::ptr_eq(page, &self.words));
        Ok(())
    }

    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }

    fn gfn(&self, _owner: &Peer) -> Option<Gfn> {
        None
    }

    fn load16(&self, offset: usize) -> u16 {
        let word = self.word(offset).load(Ordering::Relaxed);
        (word >> Self::shift(offset)) as u16
    }

    fn load32(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Relaxed)
    }

    fn load64(&self, offset: usize) -> u64 {
        u64::from(self.load32(offset + 4)) << 32 | u64::from(self.load32(offset))
    }

    fn store16(&self, offset: usize, value: u16) {
        let other =
            self.word(offset).load(Ordering::Relaxed) & 0xffff << (16 - Self::shift(offset));
        let word = other | u32::from(value) << Self::shift(offset);
        self.word(offset).store(word, Ordering::Release);
    }

    fn store32(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    fn store64(&self, offset: usize, value: u64) {
        self.store32(offset + 4, (value >> 32) as u32);
        self.store32(offset, value as u32);
    }

    fn compare_exchange32(&self, _owner: &Peer, offset: usize, old: u32, new: u32) -> u32 {
        self.word(offset)
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .unwrap_or_else(|found| found)
    }

    fn set_bits16(&self, offset: usize, bits: u16) {
        let old = self.load16(offset);
        self.store16(offset, old | bits);
        fence(Ordering::SeqCst);
    }

    fn clear_bits16(&self, _owner: &Peer, offset: usize, bits: u16) {
        let bits = u32::from(bits) << Self::shift(offset);
        self.word(offset).fetch_and(!bits, Ordering::SeqCst);
    }

    fn clear(&self) {
        for word in self.words.iter() {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl SharedPages for World {
    type SharedPage = Shared;

    fn new_shared_page(&self) -> Result<Shared, OutOfMemory> {
        Ok(Shared {
            words: Arc::new(std::array::from_fn(|_| AtomicU32::new(0))),
            mfn: self.inner.next.fetch_add(1, Ordering::SeqCst),
        })
    }
}
