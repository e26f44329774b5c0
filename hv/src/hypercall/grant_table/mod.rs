// SPDX-License-Identifier: GPL-2.0-only
//! Hypercall 20, the grant tables.
//!
//! | module | holds |
//! |---|---|
//! | `elements` | sub-operations on arrays: map, unmap, copy, … |
//! | `tables` | sub-operations about a table as a whole |
//! | `layout` | structures that 32-bit x86 guests lay out differently |

mod elements;
mod layout;
mod tables;

use hypercall_abi::{
    Errno,
    grant::{
        Copy32, Copy64, GNTTABOP_CACHE_FLUSH, GNTTABOP_CMD_MASK, GNTTABOP_COPY,
        GNTTABOP_DUMP_TABLE, GNTTABOP_GET_STATUS_FRAMES, GNTTABOP_GET_VERSION,
        GNTTABOP_MAP_GRANT_REF, GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE,
        GNTTABOP_SWAP_GRANT_REF, GNTTABOP_TRANSFER, GNTTABOP_UNMAP_AND_REPLACE,
        GNTTABOP_UNMAP_GRANT_REF, Transfer32, Transfer64, UnmapAndReplace, UnmapGrantRef,
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use self::elements::{
    CopyCommand, MapCommand, SwapCommand, TransferCommand, UnmapCommand, UnmapElement, cache_flush,
};
use self::layout::{CopyElement, TransferElement};
use super::{Outcome, batch};
use crate::{addr::GuestPtr, host::Host};

/// Which layout the caller uses for structures that contain pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestLayout {
    /// Pointers of 64 bits (on Arm also for 32-bit guests).
    Native,
    /// x86 with pointers of 32 bits.
    Compat,
}

/// The hypercall: `cmd` with `count` elements at `at`.
pub fn dispatch<H: Host>(
    host: &H,
    layout: GuestLayout,
    cmd: u32,
    at: GuestPtr,
    count: u32,
) -> Outcome {
    let (cmd, resume) = (cmd & GNTTABOP_CMD_MASK, cmd & !GNTTABOP_CMD_MASK);
    if i32::try_from(count).is_err() || (resume != 0 && cmd != GNTTABOP_CACHE_FLUSH) {
        return Outcome::Failed(Errno::Inval);
    }
    // One function for each: what one needs of the stack is no burden for another.
    match cmd {
        GNTTABOP_MAP_GRANT_REF => map(host, at, count),
        GNTTABOP_UNMAP_GRANT_REF => unmap::<H, UnmapGrantRef>(host, at, count),
        GNTTABOP_COPY if layout == GuestLayout::Compat => copy::<H, Copy32>(host, at, count),
        GNTTABOP_COPY => copy::<H, Copy64>(host, at, count),
        GNTTABOP_UNMAP_AND_REPLACE => unmap::<H, UnmapAndReplace>(host, at, count),
        GNTTABOP_TRANSFER if !host.transfer_allowed() => Outcome::Failed(Errno::OpNotSupp),
        GNTTABOP_TRANSFER if layout == GuestLayout::Compat => {
            transfer::<H, Transfer32>(host, at, count)
        }
        GNTTABOP_TRANSFER => transfer::<H, Transfer64>(host, at, count),
        GNTTABOP_SWAP_GRANT_REF => swap(host, at, count),
        GNTTABOP_CACHE_FLUSH => cache_flush(host, at, count, resume),
        GNTTABOP_SETUP_TABLE => once(count, || tables::setup_table(host, layout, at)),
        GNTTABOP_GET_STATUS_FRAMES => once(count, || tables::get_status_frames(host, layout, at)),
        GNTTABOP_DUMP_TABLE => once(count, || tables::dump_table(host, at)),
        GNTTABOP_QUERY_SIZE => once(count, || tables::query_size(host, at)),
        GNTTABOP_SET_VERSION => whole(tables::set_version(host, at)),
        GNTTABOP_GET_VERSION => whole(tables::get_version(host, at)),
        _ => Outcome::Failed(Errno::NoSys),
    }
}

#[inline(never)]
fn map<H: Host>(host: &H, at: GuestPtr, count: u32) -> Outcome {
    let caller = host.current();
    batch::run(host, &mut MapCommand::new(host, &caller), at, count)
}

#[inline(never)]
fn unmap<H: Host, E: UnmapElement>(host: &H, at: GuestPtr, count: u32) -> Outcome {
    let caller = host.current();
    batch::run(host, &mut UnmapCommand::<H, E>::new(&caller), at, count)
}

#[inline(never)]
fn copy<H: Host, E: CopyElement>(host: &H, at: GuestPtr, count: u32) -> Outcome {
    let caller = host.current();
    batch::run(host, &mut CopyCommand::<H, E>::new(&caller), at, count)
}

#[inline(never)]
fn transfer<H: Host, E: TransferElement>(host: &H, at: GuestPtr, count: u32) -> Outcome {
    let caller = host.current();
    let mut command = TransferCommand::<H, E>::new(&caller);
    batch::run(host, &mut command, at, count)
}

#[inline(never)]
fn swap<H: Host>(host: &H, at: GuestPtr, count: u32) -> Outcome {
    let caller = host.current();
    batch::run(host, &mut SwapCommand { caller: &caller }, at, count)
}

fn whole(result: Result<(), Errno>) -> Outcome {
    match result {
        Ok(()) => Outcome::Complete,
        Err(error) => Outcome::Failed(error),
    }
}

/// For operations that take exactly one element.
fn once(count: u32, operation: impl FnOnce() -> Result<(), Errno>) -> Outcome {
    if count == 1 {
        whole(operation())
    } else {
        Outcome::Failed(Errno::Inval)
    }
}

fn read<H: Host, T: FromBytes + IntoBytes + Immutable + KnownLayout>(
    host: &H,
    at: GuestPtr,
) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    host.copy_from_guest(at, value.as_mut_bytes())
        .map_err(|_| Errno::Fault)?;
    Ok(value)
}

fn write<H: Host, T: IntoBytes + Immutable>(
    host: &H,
    at: GuestPtr,
    value: &T,
) -> Result<(), Errno> {
    host.copy_to_guest(at, value.as_bytes())
        .map_err(|_| Errno::Fault)
}
