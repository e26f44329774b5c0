// SPDX-License-Identifier: MIT
//! `register_args`: memory that a vcpu passes its arguments in.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most frames of one argument area.
pub const XEN_GDMA_MAX_ARGS_FRAMES: u32 = 4;

/// One element of `XEN_GDMA_OP_REGISTER_ARGS`.
///
/// Makes frames of the caller's own memory the argument area of the vcpu that calls, in
/// place of what it had before; with `nr_frames` 0 it has none any more. The frames are
/// pinned for as long. Any command with an array, but this one, can then be called with
/// `XEN_GDMA_ARGS_REGISTERED` added to its number: its array is in the area, the second
/// argument is the array's offset there, and the results are written there as well. Xen
/// looks nothing up in the guest's page tables for such a call. The area is the
/// calling vcpu's alone: nobody else should write to an array while a call works on it,
/// as with any array.
///
/// Whole-call errors of a call with `XEN_GDMA_ARGS_REGISTERED`, besides the usual ones:
/// `-ENOENT` the vcpu has no area; `-EINVAL` the offset is no multiple of 8; `-EFAULT` the
/// array is not wholly in the area, and nothing was done.
///
/// Element errors: `-EINVAL` `nr_frames` above `XEN_GDMA_MAX_ARGS_FRAMES`, or `gfn` not 0
/// with `nr_frames` 0; `-EFAULT` a frame is not ordinary writable memory of the caller;
/// `-EAGAIN` a frame is paged out; `-ENOMEM` Xen has no memory or address space for it.
/// After an error the vcpu still has what it had.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RegisterArgs {
    /// IN: the first guest frame.
    pub gfn: u64,
    /// IN: how many consecutive ones, or 0.
    pub nr_frames: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
}

const _: () = assert!(size_of::<RegisterArgs>() == 16);
