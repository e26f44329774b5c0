// SPDX-License-Identifier: MIT
//! `map` and `unmap`: making frames reachable to devices, and taking it back.
//!
//! A mapping pins its frames: each holds a page reference, and a writable-type
//! reference if devices may write, until the mapping is gone and the IOTLB has
//! been flushed. No CPU mapping is made and the holder's own physical address
//! space does not change.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `source` is a guest frame number of the caller.
pub const XEN_GDMA_MAP_OWN: u16 = 0;
/// `source` is a grant reference in the table of `domid`.
pub const XEN_GDMA_MAP_GRANT: u16 = 1;
/// `source` is a grant-DMA address of `domid`: bit 63, first grant reference << 12,
/// and an offset into the page, as virtio frontends put them into descriptors. The
/// offset is added to the device address in `daddr`.
pub const XEN_GDMA_MAP_GRANT_DMA: u16 = 2;

/// Number of the bit that marks a grant-DMA address.
pub const XEN_GDMA_GRANT_DMA_BIT: u32 = 63;

/// Devices may read.
pub const XEN_GDMA_MAP_READ: u32 = 1 << 0;
/// Devices may write. Where device addresses are machine addresses
/// (`XEN_GDMA_CAP_IDENTITY`) they may read as well then.
pub const XEN_GDMA_MAP_WRITE: u32 = 1 << 1;
/// Map at the device address given in `daddr` instead of one that the service
/// picks.
pub const XEN_GDMA_MAP_FIXED: u32 = 1 << 2;

/// Map and unmap: the IOTLB need not be flushed at the end of the call. For `unmap`,
/// the frames stay pinned, and devices may reach them, until a `flush` or the next call
/// that flushes the context; for `map`, devices may not see the mapping until then. Xen
/// flushes earlier if it has to, or if many frames wait.
pub const XEN_GDMA_NO_FLUSH: u32 = 1 << 3;

/// One element of `XEN_GDMA_OP_MAP`.
///
/// In the default context of a caller with `XEN_GDMA_CAP_IDENTITY`, the device address of a
/// frame is its machine address. It can be mapped any number of times, each time with a
/// handle of its own; devices may write it while any of the mappings allows that, be it of
/// this command or of `GNTTABOP_map_grant_ref`. Own frames need no mapping for devices to
/// reach them: it keeps them in place.
///
/// An element that fails changes nothing. If the call returns `-EIO`, devices may
/// not yet see the mappings of elements with status 0. Element errors, in the order in which
/// they are found:
///
/// | error | when |
/// |---|---|
/// | `-EINVAL` | padding not zero; unknown `kind` or flag; neither READ nor WRITE; with GRANT_DMA a `source` without the mark, or one that does not fit; `nr_frames` 0 or above `XEN_GDMA_MAX_FRAMES`; `domid` not 0 with OWN; `daddr` not 0 without FIXED, not page aligned or outside the context's range with it, or, with `XEN_GDMA_CAP_IDENTITY`, not the frame's machine address (which is found last) |
/// | `-ENOENT` | no such context |
/// | `-EOPNOTSUPP` | the default context accepts no mapping for this domain |
/// | `-ESRCH` | no such granter |
/// | `-EPERM` | access control refuses |
/// | `-ENOBUFS` | the domain's limit of pinned frames would be passed |
/// | `-EEXIST` | FIXED, and a part of the range is in use |
/// | `-ENOSPC` | no run of free device addresses is long enough, or too many frames of the caller's own are in the way; with `XEN_GDMA_CAP_IDENTITY`, the frames do not follow each other in the machine, or there is no room for the records of so many together: map them one by one |
/// | `-ERANGE` | a grant reference outside the granter's table |
/// | `-EACCES` | the entry does not grant this access to the caller; or it is transitive, and what it leads to does not grant it to the granter, is transitive itself, or is not there; or it is transitive, and the context the default one of a caller with `XEN_GDMA_CAP_IDENTITY` and `XEN_GDMA_CAP_PROTECTED` |
/// | `-EBUSY` | the entry changes under our hands, or was granted to another domain that still uses it |
/// | `-EMLINK` | too many mappings of one reference, or transitive references to one domain's pages |
/// | `-EFAULT` | the guest frame is not ordinary memory of its domain, or may not be written; with `XEN_GDMA_CAP_IDENTITY` and `XEN_GDMA_CAP_PROTECTED` an own frame that may not be written (a page table) cannot be mapped to be read either, because the IOMMU has only those that may |
/// | `-EAGAIN` | the guest frame is paged out or shared; or the entry is transitive and leads elsewhere than what is mapped of it, or that is of a domain which had the granter's id before; try again |
/// | `-ENOMEM` | Xen has no memory for the records |
/// | `-EIO` | the IOMMU refused |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Map {
    /// IN: the context.
    pub context: u32,
    /// IN: `XEN_GDMA_MAP_OWN`, `XEN_GDMA_MAP_GRANT` or `XEN_GDMA_MAP_GRANT_DMA`.
    pub kind: u16,
    /// IN: the granter (`XEN_GDMA_DOMID_SELF` for the caller); OWN: 0.
    pub domid: u16,
    /// IN: first guest frame number, first grant reference, or grant-DMA address.
    pub source: u64,
    /// IN: number of consecutive frames or references.
    pub nr_frames: u32,
    /// IN: `XEN_GDMA_MAP_*` flags, `XEN_GDMA_NO_FLUSH`.
    pub flags: u32,
    /// IN: with FIXED the wanted device address, else 0. OUT: device address of
    /// the first byte; unchanged on error.
    pub daddr: u64,
    /// OUT: names the mapping for `unmap`, together with `context`; never 0, and never
    /// given out twice for contexts of one number.
    pub handle: u64,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// IN: zero.
    pub pad0: u32,
}

const _: () = assert!(size_of::<Map>() == 48);

/// The mapping is named by `context`, `daddr` and `nr_frames`, which must be
/// exactly those of one `map` (without the offset of a grant-DMA address); `handle`
/// must be 0. Of several mappings at one machine address (`XEN_GDMA_CAP_IDENTITY`) the newest
/// such one is meant, if it is among the newest 64 of its first frame.
pub const XEN_GDMA_UNMAP_BY_DADDR: u32 = 1 << 0;

/// One element of `XEN_GDMA_OP_FLUSH`: makes everything visible to devices that
/// `map` with `XEN_GDMA_NO_FLUSH` left, and gives back what `unmap` with it left.
///
/// Element errors: `-ENOENT` no such context; `-EIO` the flush failed, and another
/// one is needed.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Flush {
    /// IN: the context.
    pub context: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
}

const _: () = assert!(size_of::<Flush>() == 8);

/// One element of `XEN_GDMA_OP_UNMAP`.
///
/// When the call has returned 0, no device can reach the frames of the elements
/// with status 0 any more: the IOTLB flush (one for many elements; a call that Xen
/// interrupts and continues makes one for each part) has
/// succeeded. If the flush fails the call returns `-EIO`: the mappings of the
/// elements with status 0 are gone, but their frames stay pinned until a later
/// flush succeeds, because a device may still reach them.
///
/// Element errors: `-EINVAL` unknown flag, fields of the other form not zero, or
/// `daddr` not page aligned; `-ENOENT` no such context, stale or unknown handle, no mapping of
/// exactly that range; `-EOPNOTSUPP` it is a window, which `window_destroy` ends; `-EIO` the IOMMU refused, and the mapping stays.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Unmap {
    /// IN: the mapping's handle, or 0 with `XEN_GDMA_UNMAP_BY_DADDR`.
    pub handle: u64,
    /// IN: with `XEN_GDMA_UNMAP_BY_DADDR` the device address, else 0.
    pub daddr: u64,
    /// IN: the context.
    pub context: u32,
    /// IN: with `XEN_GDMA_UNMAP_BY_DADDR` the number of frames, else 0.
    pub nr_frames: u32,
    /// IN: `XEN_GDMA_UNMAP_BY_DADDR`, `XEN_GDMA_NO_FLUSH`.
    pub flags: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
}

const _: () = assert!(size_of::<Unmap>() == 32);
