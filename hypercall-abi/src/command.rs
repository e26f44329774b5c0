// SPDX-License-Identifier: MIT
//! Command numbers and the limits that hold for every command. A number that is not here
//! answers `-ENOSYS`.

/// Ask for the ABI version, limits and usage: array of `xen_gdma_query`.
pub const XEN_GDMA_OP_QUERY: u32 = 0;
/// Ask which DMA treatment a device needs: array of `xen_gdma_query_device`.
pub const XEN_GDMA_OP_QUERY_DEVICE: u32 = 1;
/// Make a device address space: array of `xen_gdma_context_create`.
pub const XEN_GDMA_OP_CONTEXT_CREATE: u32 = 2;
/// End a device address space: array of `xen_gdma_context_destroy`.
pub const XEN_GDMA_OP_CONTEXT_DESTROY: u32 = 3;
/// Move a device to a context: array of `xen_gdma_device_attach`.
pub const XEN_GDMA_OP_DEVICE_ATTACH: u32 = 4;
/// Make frames reachable to devices: array of `xen_gdma_map`.
pub const XEN_GDMA_OP_MAP: u32 = 5;
/// Take mappings back: array of `xen_gdma_unmap`.
pub const XEN_GDMA_OP_UNMAP: u32 = 6;
/// Set the argument area of the calling vcpu: array of `xen_gdma_register_args`.
pub const XEN_GDMA_OP_REGISTER_ARGS: u32 = 7;
/// Complete what `NO_FLUSH` left: array of `xen_gdma_flush`.
pub const XEN_GDMA_OP_FLUSH: u32 = 8;
/// Map a large stretch of memory for good: array of `xen_gdma_window_create`.
pub const XEN_GDMA_OP_WINDOW_CREATE: u32 = 9;
/// End such a mapping: array of `xen_gdma_window_destroy`.
pub const XEN_GDMA_OP_WINDOW_DESTROY: u32 = 10;
/// Find a mapping by device address or by guest address: array of
/// `xen_gdma_lookup`.
pub const XEN_GDMA_OP_LOOKUP: u32 = 11;
/// Take a granted frame back from devices: array of `xen_gdma_revoke`.
pub const XEN_GDMA_OP_REVOKE: u32 = 12;
/// Set another domain's quotas: array of `xen_gdma_set_limits`.
pub const XEN_GDMA_OP_SET_LIMITS: u32 = 13;
/// Ask for what the IOMMU stopped: array of `xen_gdma_fault`.
pub const XEN_GDMA_OP_FAULTS: u32 = 14;
/// Ask for counters: array of `xen_gdma_stats`.
pub const XEN_GDMA_OP_STATS: u32 = 15;

/// Map one frame, with everything in registers: no memory is read or written. For
/// 64-bit callers. The second argument is a guest frame number, or with
/// `XEN_GDMA_REG_GRANT` the granter's domain id << 32 | grant reference; the third one
/// the number of the context | `XEN_GDMA_REG_*`. Returns the device address, which is
/// above 0, or a negative error number: one of `xen_gdma_map`, `-EINVAL` for unknown
/// flags too, and `-EOPNOTSUPP` for 32-bit callers too. A mapping made so has no handle;
/// it can be named by its device address.
pub const XEN_GDMA_OP_MAP_REG: u32 = 16;
/// Unmap one frame, with everything in registers. For 64-bit callers. The second
/// argument is the device address of a mapping of one frame; the third one the number
/// of the context, and `XEN_GDMA_REG_NO_FLUSH` if wanted. Returns 0 or a negative error
/// number: one of `xen_gdma_unmap`, `-EINVAL` for unknown flags too, and `-EOPNOTSUPP`
/// for 32-bit callers.
pub const XEN_GDMA_OP_UNMAP_REG: u32 = 17;

/// Register form: the number of the context.
pub const XEN_GDMA_REG_CONTEXT: u32 = 0xffff;
/// Register form: devices may read.
pub const XEN_GDMA_REG_READ: u32 = 1 << 16;
/// Register form: devices may write.
pub const XEN_GDMA_REG_WRITE: u32 = 1 << 17;
/// Register form: a grant, not an own frame.
pub const XEN_GDMA_REG_GRANT: u32 = 1 << 18;
/// Register form: `XEN_GDMA_NO_FLUSH`.
pub const XEN_GDMA_REG_NO_FLUSH: u32 = 1 << 19;

/// Added to a command's number: its array is in the argument area of the calling vcpu,
/// and the second argument is the array's offset there. See `xen_gdma_register_args`.
pub const XEN_GDMA_ARGS_REGISTERED: u32 = 1 << 31;

/// Most elements of one call. A larger count answers `-E2BIG`, a count of zero
/// `-EINVAL`; nothing is done in either case.
pub const XEN_GDMA_MAX_BATCH: u32 = 65536;

/// Most consecutive frames (or grant references) of one `xen_gdma_map`.
pub const XEN_GDMA_MAX_FRAMES: u32 = 128;

/// ABI version: major number in the upper 16 bits, minor in the lower. The
/// major number changes when an existing caller would break.
pub const XEN_GDMA_ABI_VERSION: u32 = 0x0001_0002;

/// The caller itself, where a domain id is asked for (Xen's `DOMID_SELF`).
pub const XEN_GDMA_DOMID_SELF: u16 = 0x7ff0;

/// Bit of the first word of `XENVER_get_features`: this hypercall serves the domain.
pub const XEN_GDMA_FEATURE_SERVICE: u32 = 30;

/// Bit of the first word of `XENVER_get_features`: by default, devices of the domain
/// use its guest physical addresses, so that it needs no bounce buffers (swiotlb) for
/// its own memory. What holds for one device, `query_device` tells.
pub const XEN_GDMA_FEATURE_NO_BOUNCE: u32 = 31;

/// The default context: the device address space that a domain's devices are
/// in when nobody moved them.
pub const XEN_GDMA_CONTEXT_DEFAULT: u32 = 0;
