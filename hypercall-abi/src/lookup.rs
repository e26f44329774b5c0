// SPDX-License-Identifier: MIT
//! `lookup`: what a device address is, and where a guest address is mapped.
//!
//! Both directions are exact for any byte inside a mapping, not only its first.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `addr` is a device address. Of several mappings at one machine address
/// (`XEN_GDMA_CAP_IDENTITY`) the newest one is found.
pub const XEN_GDMA_LOOKUP_DADDR: u16 = 0;
/// `addr` is a guest physical address of the caller.
pub const XEN_GDMA_LOOKUP_GADDR: u16 = 1;

/// One element of `XEN_GDMA_OP_LOOKUP`.
///
/// Element errors: `-EINVAL` padding not zero, unknown `kind`, or `index` not 0
/// with DADDR; `-ENOENT` no such context, or nothing mapped there (GADDR: fewer
/// than `index` + 1 mappings of that frame).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Lookup {
    /// IN: the context.
    pub context: u32,
    /// IN: `XEN_GDMA_LOOKUP_DADDR` or `XEN_GDMA_LOOKUP_GADDR`.
    pub kind: u16,
    /// IN: zero.
    pub pad0: u16,
    /// IN: the address asked for.
    pub addr: u64,
    /// IN: GADDR: which of several mappings of the frame, counting from 0: those
    /// made by `map`, the newest first, then windows, the newest first; DADDR: 0.
    pub index: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// OUT: the mapping's handle.
    pub handle: u64,
    /// OUT: device address of exactly the byte asked for.
    pub daddr: u64,
    /// OUT: own frame: guest physical address of that byte; grant: reference
    /// << 12 | offset in the page.
    pub source: u64,
    /// OUT: `XEN_GDMA_MAP_OWN` or `XEN_GDMA_MAP_GRANT`.
    pub source_kind: u16,
    /// OUT: owner of the frame: the caller, or the granter.
    pub domid: u16,
    /// OUT: `XEN_GDMA_MAP_READ`, `XEN_GDMA_MAP_WRITE`.
    pub flags: u32,
    /// OUT: frames of the whole mapping.
    pub nr_frames: u32,
    /// IN: zero.
    pub pad1: u32,
}

const _: () = assert!(size_of::<Lookup>() == 64);
