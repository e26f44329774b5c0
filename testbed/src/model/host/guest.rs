// SPDX-License-Identifier: GPL-2.0-only
//! The calling guest's memory.

use std::sync::Arc;

use hv::{
    addr::GuestPtr,
    host::{ELEMENTS_PER_COPY, Elements, ElementsAt, GuestFault, GuestMemory, OutOfMemory},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::model::{
    frames::PinnedFrame, guest::GUEST_LIMIT, machine::Machine, mapped::MappedFrames,
    origin::ModelOrigin,
};

/// In the log of what was read: an offset in memory that Xen has mapped.
const MAPPED: u64 = 1 << 63;

impl Machine {
    /// Copies in; each byte is read once.
    fn copy_from_guest(&self, at: GuestPtr, into: &mut [u8]) -> Result<(), GuestFault> {
        let guests = self.inner.guests.lock().expect("guest memory");
        let memory = guests.get(&self.current).ok_or(GuestFault)?;
        if memory.read(at.0, into) != into.len() {
            // Nobody may use what a failed copy has read.
            into.fill(0xee);
            return Err(GuestFault);
        }
        let bytes = into.len() as u64;
        self.reads.lock().expect("read log").note(at.0, bytes);
        Ok(())
    }
}

impl GuestMemory for Machine {
    type MappedMemory = MappedFrames;
    type Kept = ();
    type Origin<'a> = ModelOrigin<'a>;

    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool {
        at.0.checked_add(bytes)
            .is_some_and(|end| end <= GUEST_LIMIT)
    }

    fn with_elements<T, R>(
        &self,
        at: ElementsAt<'_, Self>,
        count: usize,
        _then: Elements<'_, ()>,
        work: impl FnOnce(&mut [T], &ModelOrigin<'_>) -> R,
    ) -> Result<R, GuestFault>
    where
        T: FromBytes + IntoBytes + Immutable + Copy,
    {
        assert!(count <= ELEMENTS_PER_COPY, "more than fits on the stack");
        let mut elements = vec![T::new_zeroed(); count];
        let room = elements.as_mut_slice().as_mut_bytes();
        match at {
            ElementsAt::Guest(at) => self.copy_from_guest(at, room)?,
            ElementsAt::Mapped(memory, offset) => {
                memory.read(self, offset, room)?;
                let bytes = room.len() as u64;
                let mut reads = self.reads.lock().expect("read log");
                reads.note(MAPPED | offset, bytes);
            }
        }
        let origin = ModelOrigin {
            host: self,
            at,
            bytes: room.len(),
        };
        Ok(work(&mut elements, &origin))
    }

    fn map_memory(&self, frames: Vec<PinnedFrame>) -> Result<MappedFrames, OutOfMemory> {
        if self.state().switches.map_memory_fails.pull() {
            return Err(OutOfMemory);
        }
        Ok(MappedFrames::new(Arc::downgrade(&self.inner), frames))
    }

    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault> {
        let mut guests = self.inner.guests.lock().expect("guest memory");
        guests
            .get_mut(&self.current)
            .ok_or(GuestFault)?
            .write(at.0, from)
    }
}
