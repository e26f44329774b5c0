// SPDX-License-Identifier: MIT
//! The parts of Xen's grant-table ABI that the service implements or shares.
//!
//! Names and numbers are those of Xen's `public/grant_table.h`; they are not
//! part of the generated header, because Xen's own header has them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A grant reference: index into the granter's table.
pub type WireGrantRef = u32;

/// Bytes of one version 1 grant entry.
pub const ENTRY_V1_SIZE: usize = 8;
/// References below this number are reserved for the toolstack's own grants
/// (`GNTTAB_NR_RESERVED_ENTRIES`).
pub const NR_RESERVED_ENTRIES: u32 = 8;

/// Mask of the entry type in a grant entry's flags.
pub const GTF_TYPE_MASK: u16 = 3;
/// Entry type: the frame may be mapped by the named domain.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// The frame may only be read.
pub const GTF_READONLY: u16 = 1 << 2;
/// Set by Xen while the frame is mapped.
pub const GTF_READING: u16 = 1 << 3;
/// Set by Xen while the frame is mapped for writing.
pub const GTF_WRITING: u16 = 1 << 4;
/// Cache attribute bits of a grant (`GTF_PWT | GTF_PCD | GTF_PAT`).
pub const GTF_CACHE_MASK: u16 = (1 << 5) | (1 << 6) | (1 << 7);
/// Version 2 only: the grant covers a part of the page.
pub const GTF_SUB_PAGE: u16 = 1 << 8;

/// Mapping for I/O access of the mapping domain's devices.
pub const GNTMAP_DEVICE_MAP: u32 = 1 << 0;
/// Mapping for CPU access of the mapping domain.
pub const GNTMAP_HOST_MAP: u32 = 1 << 1;
/// Accesses through the mapping are read-only.
pub const GNTMAP_READONLY: u32 = 1 << 2;
/// PV: the host mapping is for user space.
pub const GNTMAP_APPLICATION_MAP: u32 = 1 << 3;
/// PV: `host_addr` is the address of a page-table entry.
pub const GNTMAP_CONTAINS_PTE: u32 = 1 << 4;

/// Grant-table sub-operation: map a foreign grant.
pub const GNTTABOP_MAP_GRANT_REF: u32 = 0;
/// Grant-table sub-operation: undo a mapping.
pub const GNTTABOP_UNMAP_GRANT_REF: u32 = 1;
/// Grant-table sub-operation: size the table and tell its frames.
pub const GNTTABOP_SETUP_TABLE: u32 = 2;
/// Grant-table sub-operation: how large the table is and may become.
pub const GNTTABOP_QUERY_SIZE: u32 = 6;
/// Grant-table sub-operation: choose the entry format.
pub const GNTTABOP_SET_VERSION: u32 = 8;
/// Grant-table sub-operation: which entry format is in use.
pub const GNTTABOP_GET_VERSION: u32 = 10;
/// Number of the last sub-operation that Xen defines (`cache_flush`).
pub const GNTTABOP_LAST: u32 = 12;

/// Status of one grant-table operation (`GNTST_*`): 0 or negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Gntst {
    /// Done.
    Okay = 0,
    /// Anything that has no number of its own.
    GeneralError = -1,
    /// No such domain.
    BadDomain = -2,
    /// Reference out of range, or no kind of mapping asked for.
    BadGntref = -3,
    /// No such mapping.
    BadHandle = -4,
    /// Bad guest virtual address.
    BadVirtAddr = -5,
    /// Bus address does not belong to the mapping.
    BadDevAddr = -6,
    /// No free mapping record.
    NoSpace = -7,
    /// Access control refuses.
    PermissionDenied = -8,
    /// The granted frame is not ordinary memory of the granter.
    BadPage = -9,
    /// Paged out or shared: try again.
    EAgain = -12,
}

impl Gntst {
    /// The number on the wire.
    pub const fn wire(self) -> i16 {
        self as i16
    }
}

/// `struct gnttab_map_grant_ref`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct MapGrantRef {
    /// IN: where the CPU mapping goes: guest physical (HVM, Arm) or virtual (PV).
    pub host_addr: u64,
    /// IN: `GNTMAP_*`.
    pub flags: u32,
    /// IN: the reference.
    pub gref: u32,
    /// IN: the granter.
    pub dom: u16,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// OUT: names the mapping.
    pub handle: u32,
    /// OUT: machine address of the frame.
    pub dev_bus_addr: u64,
}

const _: () = assert!(size_of::<MapGrantRef>() == 32);

/// `struct gnttab_unmap_grant_ref`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct UnmapGrantRef {
    /// IN: the CPU mapping's address, or 0 to leave it.
    pub host_addr: u64,
    /// IN: the device mapping's address, or 0 to leave it.
    pub dev_bus_addr: u64,
    /// IN: the mapping.
    pub handle: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad: u16,
}

const _: () = assert!(size_of::<UnmapGrantRef>() == 24);

/// `struct gnttab_setup_table` of a 64-bit guest.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SetupTable64 {
    /// IN: whose table.
    pub dom: u16,
    /// Not used.
    pub pad0: u16,
    /// IN: number of frames wanted.
    pub nr_frames: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad1: [u16; 3],
    /// IN: guest pointer to an array of 64-bit frame numbers.
    pub frame_list: u64,
}

const _: () = assert!(size_of::<SetupTable64>() == 24);

/// `struct gnttab_setup_table` of a 32-bit x86 guest.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SetupTable32 {
    /// IN: whose table.
    pub dom: u16,
    /// Not used.
    pub pad0: u16,
    /// IN: number of frames wanted.
    pub nr_frames: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad1: u16,
    /// IN: guest pointer to an array of 32-bit frame numbers.
    pub frame_list: u32,
}

const _: () = assert!(size_of::<SetupTable32>() == 16);

/// `struct gnttab_query_size`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct QuerySize {
    /// IN: whose table.
    pub dom: u16,
    /// Not used.
    pub pad0: u16,
    /// OUT: frames in use.
    pub nr_frames: u32,
    /// OUT: limit.
    pub max_nr_frames: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad1: u16,
}

const _: () = assert!(size_of::<QuerySize>() == 16);

/// `struct gnttab_set_version`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SetVersion {
    /// IN: version wanted; OUT: version in use.
    pub version: u32,
}

/// `struct gnttab_get_version`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct GetVersion {
    /// IN: whose table.
    pub dom: u16,
    /// Not used.
    pub pad: u16,
    /// OUT: version in use.
    pub version: u32,
}

const _: () = assert!(size_of::<GetVersion>() == 8);
