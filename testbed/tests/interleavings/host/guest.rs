// SPDX-License-Identifier: GPL-2.0-only
//! Arguments of hypercalls.

use hv::{
    addr::GuestPtr,
    host::{Elements, ElementsAt, GuestFault, GuestMemory, MappedMemory, Origin, OutOfMemory},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{OUTSIDE, World, frames::Page};

/// No memory is mapped here.
pub enum Unmappable {}

impl MappedMemory for Unmappable {
    fn bytes(&self) -> u64 {
        match *self {}
    }

    fn write(&self, _offset: u64, _from: &[u8]) -> Result<(), GuestFault> {
        match *self {}
    }
}

/// Where the arguments of a call came from.
pub struct ArgumentsOf<'a>(&'a World, GuestPtr);

impl Origin for ArgumentsOf<'_> {
    fn write(&self, offset: usize, from: &[u8]) -> Result<(), GuestFault> {
        let Self(world, at) = self;
        world.copy_to_guest(at.byte_offset(offset as u64), from)
    }
}

impl World {
    /// Copies in; each byte is read once.
    pub(super) fn copy_from_guest(&self, at: GuestPtr, into: &mut [u8]) -> Result<(), GuestFault> {
        let arguments = self.inner.arguments.lock().expect("arguments");
        for (at, byte) in (at.0..).zip(into) {
            *byte = *arguments.get(&at).ok_or(GuestFault)?;
        }
        Ok(())
    }
}

impl GuestMemory for World {
    type MappedMemory = Unmappable;
    type Kept = ();
    type Origin<'a> = ArgumentsOf<'a>;

    fn guest_range_ok(&self, _at: GuestPtr, _bytes: u64) -> bool {
        true
    }

    fn with_elements<T, R>(
        &self,
        at: ElementsAt<'_, Self>,
        count: usize,
        _then: Elements<'_, ()>,
        work: impl FnOnce(&mut [T], &ArgumentsOf<'_>) -> R,
    ) -> Result<R, GuestFault>
    where
        T: FromBytes + IntoBytes + Immutable + Copy,
    {
        let mut elements = vec![T::new_zeroed(); count];
        let ElementsAt::Guest(at) = at else {
            unreachable!("{OUTSIDE}");
        };
        self.copy_from_guest(at, elements.as_mut_slice().as_mut_bytes())?;
        Ok(work(&mut elements, &ArgumentsOf(self, at)))
    }

    fn map_memory(&self, _frames: Vec<Page>) -> Result<Unmappable, OutOfMemory> {
        Err(OutOfMemory)
    }

    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault> {
        let mut arguments = self.inner.arguments.lock().expect("arguments");
        arguments.extend((at.0..).zip(from.iter().copied()));
        Ok(())
    }
}
