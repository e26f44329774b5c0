// SPDX-License-Identifier: GPL-2.0-only
//! Frames that Xen has mapped for itself.

use std::sync::Weak;

use hv::{
    addr::PAGE_SIZE,
    host::{Frame, GuestFault, MappedMemory},
};

use super::{
    frames::PinnedFrame,
    locks::assert_none_held,
    machine::{Inner, Machine},
};

/// Frames, one behind the other.
#[derive(Debug)]
pub struct MappedFrames {
    machine: Weak<Inner>,
    frames: Vec<PinnedFrame>,
}

impl MappedFrames {
    pub(super) fn new(machine: Weak<Inner>, frames: Vec<PinnedFrame>) -> Self {
        assert!(!frames.is_empty(), "nothing to map");
        assert!(
            frames.iter().all(PinnedFrame::is_typed),
            "Xen writes to a frame that may be a page table"
        );
        Self { machine, frames }
    }

    /// The pieces of a range: frame, offset in it, and which bytes of the range.
    fn pieces(
        &self,
        offset: u64,
        bytes: usize,
    ) -> Result<Vec<(u64, usize, std::ops::Range<usize>)>, GuestFault> {
        if offset
            .checked_add(bytes as u64)
            .is_none_or(|end| end > self.bytes())
        {
            return Err(GuestFault);
        }
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < bytes {
            let at = offset + done as u64;
            let inside = (at % PAGE_SIZE) as usize;
            let length = (PAGE_SIZE as usize - inside).min(bytes - done);
            let mfn = self.frames[(at / PAGE_SIZE) as usize].mfn().number();
            pieces.push((mfn, inside, done..done + length));
            done += length;
        }
        Ok(pieces)
    }

    /// Copies from there.
    pub(super) fn read(
        &self,
        machine: &Machine,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), GuestFault> {
        let state = machine.state();
        for (mfn, inside, range) in self.pieces(offset, into.len())? {
            let contents = state.frames.get(mfn).expect("a pinned frame").contents();
            let length = range.len();
            into[range].copy_from_slice(&contents[inside..inside + length]);
        }
        Ok(())
    }
}

impl MappedMemory for MappedFrames {
    fn bytes(&self) -> u64 {
        self.frames.len() as u64 * PAGE_SIZE
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), GuestFault> {
        let machine = self.machine.upgrade().expect("the machine");
        let mut state = machine.state();
        for (mfn, inside, range) in self.pieces(offset, from.len())? {
            let frame = state.frames.get_mut(mfn).expect("a pinned frame");
            frame.write_range(inside, &from[range]);
            frame.dirty = true;
        }
        Ok(())
    }
}

impl Drop for MappedFrames {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_none_held("the end of a mapping of Xen's");
        }
    }
}
