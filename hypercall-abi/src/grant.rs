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
/// Bytes of one version 2 grant entry.
pub const ENTRY_V2_SIZE: usize = 16;
/// Bytes of one entry of a status frame (version 2).
pub const STATUS_SIZE: usize = 2;
/// References below this number are reserved for the toolstack's own grants
/// (`GNTTAB_NR_RESERVED_ENTRIES`).
pub const NR_RESERVED_ENTRIES: u32 = 8;

/// Mask of the entry type in a grant entry's flags.
pub const GTF_TYPE_MASK: u16 = 3;
/// Entry type: nothing is granted.
pub const GTF_INVALID: u16 = 0;
/// Entry type: the frame may be mapped by the named domain.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// Entry type: the named domain may give a page away to the granter.
pub const GTF_ACCEPT_TRANSFER: u16 = 2;
/// Entry type, version 2 only: the named domain may use a grant that the granter
/// has itself received from a third domain.
pub const GTF_TRANSITIVE: u16 = 3;
/// Of a transfer entry: Xen has accepted a page and is handing it over.
pub const GTF_TRANSFER_COMMITTED: u16 = 1 << 2;
/// Of a transfer entry: the page is there.
pub const GTF_TRANSFER_COMPLETED: u16 = 1 << 3;
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

/// Copy: the source is a grant reference, not a frame of the caller.
pub const GNTCOPY_SOURCE_GREF: u16 = 1 << 0;
/// Copy: the destination is a grant reference, not a frame of the caller.
pub const GNTCOPY_DEST_GREF: u16 = 1 << 1;

/// Cache flush: write dirty lines back.
pub const GNTTAB_CACHE_CLEAN: u32 = 1 << 0;
/// Cache flush: drop lines.
pub const GNTTAB_CACHE_INVAL: u32 = 1 << 1;
/// Cache flush: the page is named by a grant reference (Xen has never implemented it).
pub const GNTTAB_CACHE_SOURCE_GREF: u32 = 1 << 31;

/// Grant-table sub-operation: map a foreign grant.
pub const GNTTABOP_MAP_GRANT_REF: u32 = 0;
/// Grant-table sub-operation: undo a mapping.
pub const GNTTABOP_UNMAP_GRANT_REF: u32 = 1;
/// Grant-table sub-operation: size the table and tell its frames.
pub const GNTTABOP_SETUP_TABLE: u32 = 2;
/// Grant-table sub-operation: show a table on the console.
pub const GNTTABOP_DUMP_TABLE: u32 = 3;
/// Grant-table sub-operation: give a page away.
pub const GNTTABOP_TRANSFER: u32 = 4;
/// Grant-table sub-operation: copy between grants and own frames.
pub const GNTTABOP_COPY: u32 = 5;
/// Grant-table sub-operation: how large the table is and may become.
pub const GNTTABOP_QUERY_SIZE: u32 = 6;
/// Grant-table sub-operation: undo a mapping and put another page there (PV).
pub const GNTTABOP_UNMAP_AND_REPLACE: u32 = 7;
/// Grant-table sub-operation: choose the entry format.
pub const GNTTABOP_SET_VERSION: u32 = 8;
/// Grant-table sub-operation: tell the frames with the status of version 2 entries.
pub const GNTTABOP_GET_STATUS_FRAMES: u32 = 9;
/// Grant-table sub-operation: which entry format is in use.
pub const GNTTABOP_GET_VERSION: u32 = 10;
/// Grant-table sub-operation: exchange two entries.
pub const GNTTABOP_SWAP_GRANT_REF: u32 = 11;
/// Grant-table sub-operation: CPU cache maintenance of a page.
pub const GNTTABOP_CACHE_FLUSH: u32 = 12;
/// Number of the last sub-operation that Xen defines (`cache_flush`).
pub const GNTTABOP_LAST: u32 = GNTTABOP_CACHE_FLUSH;
/// The bits of the hypercall's first argument that hold the sub-operation; the
/// others carry a continuation's state (`cache_flush` only).
pub const GNTTABOP_CMD_MASK: u32 = 0xfff;

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
    /// Access control refuses.
    PermissionDenied = -8,
    /// The granted frame is not ordinary memory of the granter.
    BadPage = -9,
    /// Copy arguments cross a page boundary.
    BadCopyArg = -10,
    /// The page's machine address is too large for the receiver.
    AddressTooBig = -11,
    /// Paged out or shared: try again.
    EAgain = -12,
    /// No free mapping record.
    NoSpace = -13,
}

impl Gntst {
    /// The number on the wire.
    pub const fn wire(self) -> i16 {
        self as i16
    }

    /// The status with this number; what has none here is a general error.
    pub const fn from_wire(status: i32) -> Self {
        match status {
            0 => Self::Okay,
            -2 => Self::BadDomain,
            -3 => Self::BadGntref,
            -4 => Self::BadHandle,
            -5 => Self::BadVirtAddr,
            -6 => Self::BadDevAddr,
            -8 => Self::PermissionDenied,
            -9 => Self::BadPage,
            -10 => Self::BadCopyArg,
            -11 => Self::AddressTooBig,
            -12 => Self::EAgain,
            -13 => Self::NoSpace,
            _ => Self::GeneralError,
        }
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

/// `struct gnttab_dump_table`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct DumpTable {
    /// IN: whose table.
    pub dom: u16,
    /// OUT: `GNTST_*`.
    pub status: i16,
}

const _: () = assert!(size_of::<DumpTable>() == 4);

/// `struct gnttab_transfer` of a 64-bit guest.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Transfer64 {
    /// IN: the caller's frame (`mfn` in Xen's header).
    pub gfn: u64,
    /// IN: the receiver.
    pub domid: u16,
    /// Not used.
    pub pad0: u16,
    /// IN: the receiver's reference that accepts the page.
    pub gref: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad1: [u16; 3],
}

const _: () = assert!(size_of::<Transfer64>() == 24);

/// `struct gnttab_transfer` of a 32-bit x86 guest.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Transfer32 {
    /// IN: the caller's frame (`mfn` in Xen's header).
    pub gfn: u32,
    /// IN: the receiver.
    pub domid: u16,
    /// Not used.
    pub pad0: u16,
    /// IN: the receiver's reference that accepts the page.
    pub gref: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad1: u16,
}

const _: () = assert!(size_of::<Transfer32>() == 16);

/// One end of a copy, 64-bit guest: `struct gnttab_copy_ptr`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct CopyPtr64 {
    /// IN: grant reference (lower 32 bits) or frame of the caller.
    pub frame_or_gref: u64,
    /// IN: whose.
    pub domid: u16,
    /// IN: offset in the page.
    pub offset: u16,
    /// Not used.
    pub pad: u32,
}

/// `struct gnttab_copy` of a 64-bit guest.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Copy64 {
    /// IN.
    pub source: CopyPtr64,
    /// IN.
    pub dest: CopyPtr64,
    /// IN: bytes.
    pub len: u16,
    /// IN: `GNTCOPY_*`.
    pub flags: u16,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad: u16,
}

const _: () = assert!(size_of::<Copy64>() == 40);

/// One end of a copy, 32-bit x86 guest.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct CopyPtr32 {
    /// IN: grant reference or frame of the caller.
    pub frame_or_gref: u32,
    /// IN: whose.
    pub domid: u16,
    /// IN: offset in the page.
    pub offset: u16,
}

/// `struct gnttab_copy` of a 32-bit x86 guest.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Copy32 {
    /// IN.
    pub source: CopyPtr32,
    /// IN.
    pub dest: CopyPtr32,
    /// IN: bytes.
    pub len: u16,
    /// IN: `GNTCOPY_*`.
    pub flags: u16,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad: u16,
}

const _: () = assert!(size_of::<Copy32>() == 24);

/// `struct gnttab_unmap_and_replace`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct UnmapAndReplace {
    /// IN: the CPU mapping's address.
    pub host_addr: u64,
    /// IN: the address whose mapping moves there.
    pub new_addr: u64,
    /// IN: the mapping.
    pub handle: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad: u16,
}

const _: () = assert!(size_of::<UnmapAndReplace>() == 24);

/// `struct gnttab_get_status_frames` of a 64-bit guest.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct GetStatusFrames64 {
    /// IN: number of frames wanted.
    pub nr_frames: u32,
    /// IN: whose table.
    pub dom: u16,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// IN: guest pointer to an array of 64-bit frame numbers.
    pub frame_list: u64,
}

const _: () = assert!(size_of::<GetStatusFrames64>() == 16);

/// `struct gnttab_get_status_frames` of a 32-bit x86 guest. The frame numbers
/// have 64 bits here, too.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct GetStatusFrames32 {
    /// IN: number of frames wanted.
    pub nr_frames: u32,
    /// IN: whose table.
    pub dom: u16,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// IN: guest pointer to an array of 64-bit frame numbers.
    pub frame_list: u32,
}

const _: () = assert!(size_of::<GetStatusFrames32>() == 12);

/// `struct gnttab_swap_grant_ref`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SwapGrantRef {
    /// IN: one reference.
    pub ref_a: u32,
    /// IN: the other.
    pub ref_b: u32,
    /// OUT: `GNTST_*`.
    pub status: i16,
    /// Not used.
    pub pad: u16,
}

const _: () = assert!(size_of::<SwapGrantRef>() == 12);

/// `struct gnttab_cache_flush`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct CacheFlush {
    /// IN: machine address of the page, as `dev_bus_addr` told it.
    pub dev_bus_addr: u64,
    /// IN: offset in the page.
    pub offset: u16,
    /// IN: bytes.
    pub length: u16,
    /// IN: `GNTTAB_CACHE_*`.
    pub op: u32,
}

const _: () = assert!(size_of::<CacheFlush>() == 16);
