// SPDX-License-Identifier: GPL-2.0-only
//! The calling guest's memory.

use alloc::vec::Vec;
use core::{mem::MaybeUninit, slice};

use hv::{
    addr::GuestPtr,
    host::{ELEMENTS_PER_COPY, Elements, ElementsAt, GuestFault, GuestMemory, OutOfMemory},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Xen;
use crate::{
    ffi,
    guest::{self, Kept, KeptArray, XenOrigin, to_guest},
    mapped::XenMapped,
    page::XenFrame,
};

impl GuestMemory for Xen {
    type MappedMemory = XenMapped;
    type Kept = KeptArray;
    type Origin<'a> = XenOrigin<'a>;

    #[inline(always)]
    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool {
        guest::is_below_xen(at, bytes) || ffi::gdma_guest_range_okay(to_guest(at), bytes)
    }

    #[inline(always)]
    fn with_elements<T, R>(
        &self,
        at: ElementsAt<'_, Self>,
        count: usize,
        then: Elements<'_, KeptArray>,
        work: impl FnOnce(&mut [T], &XenOrigin<'_>) -> R,
    ) -> Result<R, GuestFault>
    where
        T: FromBytes + IntoBytes + Immutable + Copy,
    {
        let mut room = [const { MaybeUninit::<T>::uninit() }; ELEMENTS_PER_COPY];
        let room = room.get_mut(..count).ok_or(GuestFault)?;
        let len = size_of_val(room);
        let start = room.as_mut_ptr();
        let kept;
        let origin = match (at, then) {
            (ElementsAt::Guest(at), Elements::AnsweredInParts(array)) => {
                // SAFETY: room for `len` bytes.
                unsafe { array.read(start.cast(), at, len)? };
                XenOrigin::Part { at, len, array }
            }
            (ElementsAt::Guest(at), then) => {
                let keep = matches!(then, Elements::Answered);
                // SAFETY: room for `len` bytes.
                kept = unsafe { Kept::read(start.cast(), at, len, keep)? };
                XenOrigin::Guest {
                    at,
                    len,
                    kept: &kept,
                }
            }
            (ElementsAt::Mapped(memory, offset), _) => {
                // SAFETY: the same.
                unsafe { memory.read(offset, start.cast(), len)? };
                XenOrigin::Mapped(memory, offset)
            }
        };
        // SAFETY: all `count` elements have been written, and any bytes are a `T`.
        let elements = unsafe { slice::from_raw_parts_mut(start.cast::<T>(), count) };
        Ok(work(elements, &origin))
    }

    fn map_memory(&self, frames: Vec<XenFrame>) -> Result<XenMapped, OutOfMemory> {
        XenMapped::new(frames)
    }

    #[inline(always)]
    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault> {
        guest::write(at, from)
    }
}
