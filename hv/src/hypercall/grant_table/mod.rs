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
use zerocopy::{Immutable, IntoBytes};

use self::elements::{
    CacheFlushCommand, CopyCommand, MapCommand, SwapCommand, TransferCommand, UnmapCommand,
};
use self::layout::{CopyElement, TransferElement};
use super::{
    Answer, Call, Hypercall,
    batch::{self, Command, Element, GuestMemory},
};
use crate::{
    addr::GuestPtr,
    host::{Elements, ElementsAt, Host, Origin},
};

/// Which layout the caller uses for structures that contain pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestLayout {
    /// Pointers of 64 bits (on Arm also for 32-bit guests).
    Native,
    /// x86 with pointers of 32 bits.
    Compat,
}

/// The hypercall: `cmd` with `count` elements at `at`, made by `caller`.
///
/// One function for each command, called last: what one needs of the stack is no
/// burden for another.
#[inline(always)]
pub fn dispatch<H: Host>(
    host: &H,
    caller: &H::Domain,
    layout: GuestLayout,
    cmd: u32,
    at: GuestPtr,
    count: u32,
) -> Answer {
    if i32::try_from(count).is_err() {
        return Errno::Inval.into();
    }
    let native = layout == GuestLayout::Native;
    match cmd {
        GNTTABOP_MAP_GRANT_REF => map(host, caller, at, count),
        GNTTABOP_UNMAP_GRANT_REF => unmap(host, caller, at, count),
        GNTTABOP_COPY if native => copy::<H, Copy64>(host, caller, at, count),
        GNTTABOP_COPY => copy::<H, Copy32>(host, caller, at, count),
        GNTTABOP_UNMAP_AND_REPLACE => unmap_and_replace(host, caller, at, count),
        GNTTABOP_TRANSFER if native => transfer::<H, Transfer64>(host, caller, at, count),
        GNTTABOP_TRANSFER => transfer::<H, Transfer32>(host, caller, at, count),
        GNTTABOP_SWAP_GRANT_REF => swap(host, caller, at, count),
        GNTTABOP_SET_VERSION => tables::set_version(host, caller, at),
        GNTTABOP_GET_VERSION => tables::get_version(host, caller, at),
        GNTTABOP_SETUP_TABLE if count == 1 => tables::setup_table(host, caller, at, layout),
        GNTTABOP_GET_STATUS_FRAMES if count == 1 => {
            tables::get_status_frames(host, caller, at, layout)
        }
        GNTTABOP_DUMP_TABLE if count == 1 => tables::dump_table(host, caller, at),
        GNTTABOP_QUERY_SIZE if count == 1 => tables::query_size(host, caller, at),
        GNTTABOP_SETUP_TABLE
        | GNTTABOP_GET_STATUS_FRAMES
        | GNTTABOP_DUMP_TABLE
        | GNTTABOP_QUERY_SIZE => Errno::Inval.into(),
        GNTTABOP_CACHE_FLUSH => cache_flush(host, caller, at, count, 0),
        // The other bits say where a preempted search goes on. No other command has any.
        _ if cmd & GNTTABOP_CMD_MASK == GNTTABOP_CACHE_FLUSH => {
            cache_flush(host, caller, at, count, cmd & !GNTTABOP_CMD_MASK)
        }
        _ if cmd & !GNTTABOP_CMD_MASK != 0 => Errno::Inval.into(),
        _ => Errno::NoSys.into(),
    }
}

/// One of these hypercalls, for [`crate::host::Execution::continue_call`].
#[inline(always)]
fn call(cmd: u32, at: GuestPtr, count: u32) -> Call {
    Call {
        hypercall: Hypercall::GrantTable,
        cmd,
        at,
        count,
    }
}

/// Works through `count` elements at `at`. A call about one of them has a function of
/// its own: what many need of the stack and of registers is no burden for it.
#[inline(always)]
fn run<H: Host, C: Command<H>>(
    host: &H,
    cmd: u32,
    at: GuestPtr,
    count: u32,
    command: impl FnOnce() -> C,
) -> Answer {
    if count == 1 {
        batch::run_single(host, &GuestMemory, &mut command(), call(cmd, at, 1))
    } else {
        run_many(host, cmd, at, count, command)
    }
}

#[inline(never)]
fn run_many<H: Host, C: Command<H>>(
    host: &H,
    cmd: u32,
    at: GuestPtr,
    count: u32,
    command: impl FnOnce() -> C,
) -> Answer {
    batch::run_many(host, &GuestMemory, &mut command(), call(cmd, at, count))
}

#[inline(never)]
fn map<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr, count: u32) -> Answer {
    run(host, GNTTABOP_MAP_GRANT_REF, at, count, || {
        MapCommand::new(host, caller)
    })
}

#[inline(never)]
fn unmap<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr, count: u32) -> Answer {
    run(host, GNTTABOP_UNMAP_GRANT_REF, at, count, || {
        UnmapCommand::<H, UnmapGrantRef>::new(caller)
    })
}

#[inline(never)]
fn unmap_and_replace<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr, count: u32) -> Answer {
    run(host, GNTTABOP_UNMAP_AND_REPLACE, at, count, || {
        UnmapCommand::<H, UnmapAndReplace>::new(caller)
    })
}

#[inline(never)]
fn copy<H: Host, E: CopyElement>(host: &H, caller: &H::Domain, at: GuestPtr, count: u32) -> Answer {
    run(host, GNTTABOP_COPY, at, count, || {
        CopyCommand::<H, E>::new(caller)
    })
}

#[inline(never)]
fn transfer<H: Host, E: TransferElement>(
    host: &H,
    caller: &H::Domain,
    at: GuestPtr,
    count: u32,
) -> Answer {
    if !host.transfer_allowed() {
        return Errno::OpNotSupp.into();
    }
    run(host, GNTTABOP_TRANSFER, at, count, || {
        TransferCommand::<H, E>::new(caller)
    })
}

#[inline(never)]
fn swap<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr, count: u32) -> Answer {
    run(host, GNTTABOP_SWAP_GRANT_REF, at, count, || SwapCommand {
        caller,
    })
}

#[inline(never)]
fn cache_flush<H: Host>(
    host: &H,
    caller: &H::Domain,
    at: GuestPtr,
    count: u32,
    resume: u32,
) -> Answer {
    run(host, GNTTABOP_CACHE_FLUSH, at, count, || {
        CacheFlushCommand::new(caller, resume)
    })
}

/// Copies the one element at `at` in and passes it to `work`, with the place for its
/// results.
#[inline(always)]
fn with_element<H: Host, T: Element>(
    host: &H,
    at: GuestPtr,
    work: impl FnOnce(&mut T, &H::Origin<'_>) -> Result<(), Errno>,
) -> Answer {
    let work = |elements: &mut [T], origin: &H::Origin<'_>| match elements.first_mut() {
        Some(element) => work(element, origin),
        None => Err(Errno::Fault),
    };
    let at = ElementsAt::Guest(at);
    host.with_elements(at, 1, Elements::Answered, work)
        .unwrap_or(Err(Errno::Fault))
        .into()
}

/// Copies `value` to where the element came from, `offset` bytes into it.
#[inline(always)]
fn write<T: IntoBytes + Immutable>(
    origin: &impl Origin,
    offset: usize,
    value: &T,
) -> Result<(), Errno> {
    origin
        .write(offset, value.as_bytes())
        .map_err(|_| Errno::Fault)
}

/// Copies `value` out from its byte `first` on: what is before it did not change.
#[inline(always)]
fn write_rest<T: IntoBytes + Immutable>(
    origin: &impl Origin,
    value: &T,
    first: usize,
) -> Result<(), Errno> {
    let rest = value.as_bytes().get(first..).unwrap_or_default();
    origin.write(first, rest).map_err(|_| Errno::Fault)
}
