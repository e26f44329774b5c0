// SPDX-License-Identifier: MIT
//! Command numbers and the limits that hold for every command.
//!
//! Numbers 2 to 4, 7 to 10 and 12 to 15 belong to commands of later versions
//! (contexts, argument pages, deferred flush, windows, revocation, limits,
//! faults, statistics) and answer `-ENOSYS` like any unknown number.

/// Ask for the ABI version, limits and usage: array of `xen_gdma_query`.
pub const XEN_GDMA_OP_QUERY: u32 = 0;
/// Ask which DMA treatment a device needs: array of `xen_gdma_query_device`.
pub const XEN_GDMA_OP_QUERY_DEVICE: u32 = 1;
/// Make frames reachable to devices: array of `xen_gdma_map`.
pub const XEN_GDMA_OP_MAP: u32 = 5;
/// Take mappings back: array of `xen_gdma_unmap`.
pub const XEN_GDMA_OP_UNMAP: u32 = 6;
/// Find a mapping by device address or by guest address: array of
/// `xen_gdma_lookup`.
pub const XEN_GDMA_OP_LOOKUP: u32 = 11;

/// Most elements of one call. A larger count answers `-E2BIG`, a count of zero
/// `-EINVAL`; nothing is done in either case.
pub const XEN_GDMA_MAX_BATCH: u32 = 65536;

/// Most consecutive frames (or grant references) of one `xen_gdma_map`.
pub const XEN_GDMA_MAX_FRAMES: u32 = 128;

/// ABI version: major number in the upper 16 bits, minor in the lower. The
/// major number changes when an existing caller would break.
pub const XEN_GDMA_ABI_VERSION: u32 = 0x0001_0000;

/// The caller itself, where a domain id is asked for (Xen's `DOMID_SELF`).
pub const XEN_GDMA_DOMID_SELF: u16 = 0x7ff0;

/// The default context: the device address space that a domain's devices are
/// in when nobody moved them.
pub const XEN_GDMA_CONTEXT_DEFAULT: u32 = 0;
