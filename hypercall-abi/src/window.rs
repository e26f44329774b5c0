// SPDX-License-Identifier: MIT
//! `window_create` and `window_destroy`: memory that devices reach all the time.
//!
//! A window maps a large stretch of the caller's own memory, or a run of grants, once.
//! As long as it exists, I/O in it makes no hypercall and no IOTLB flush: where a frame
//! is for devices is told by `lookup`, or by arithmetic from `daddr`. Page sizes are the
//! largest that the IOMMU and the place of the frames in the machine allow.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most windows of one context.
pub const XEN_GDMA_MAX_WINDOWS: u32 = 64;

/// One element of `XEN_GDMA_OP_WINDOW_CREATE`.
///
/// As `xen_gdma_map`, for any number of frames. Without FIXED the device address is
/// chosen so that large pages fit: congruent to the guest's address of the first own
/// frame, or (grants) a multiple of the large page size, if there is such a place.
/// Each frame is pinned, and counts against the limit of pinned frames. There is one
/// flush at the end; where the hardware needs none, none.
///
/// `unmap` refuses windows. A granter who revokes one reference of a window ends the
/// whole window, as with any mapping.
///
/// Xen may interrupt the call, and go on where it was when the same vcpu makes it again,
/// as it does by itself. A vcpu that makes another `window_create` in the context
/// instead ends what it had begun; so does the end of the context. Until then what was
/// begun counts against the limits.
///
/// An element that fails changes nothing, unless a flush fails: then the frames stay
/// pinned until one succeeds, and are given back by the next `window_create` in the
/// context. The same happens to a window whose results cannot be written. Element
/// errors are those of `xen_gdma_map`, in the same order, but:
///
/// | error | when |
/// |---|---|
/// | `-EINVAL` | also: a `kind` other than OWN and GRANT, or NO_FLUSH; `nr_frames` 0, but no upper limit |
/// | `-ENOBUFS` | also: the context has `XEN_GDMA_MAX_WINDOWS` windows |
/// | `-EEXIST`, `-ENOSPC` | also, in the default context: the caller has a frame of its own at a device address of the window |
/// | `-EACCES` | also: the granter has revoked a reference meanwhile |
/// | `-ENOENT` | also: the context is being destroyed |
/// | `-EOPNOTSUPP` | also: the default context of a caller with `XEN_GDMA_CAP_IDENTITY` |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct WindowCreate {
    /// IN: the context.
    pub context: u32,
    /// IN: `XEN_GDMA_MAP_OWN` or `XEN_GDMA_MAP_GRANT`.
    pub kind: u16,
    /// IN: the granter (`XEN_GDMA_DOMID_SELF` for the caller); OWN: 0.
    pub domid: u16,
    /// IN: first guest frame number, or first grant reference.
    pub source: u64,
    /// IN: number of consecutive frames or references.
    pub nr_frames: u32,
    /// IN: `XEN_GDMA_MAP_READ`, `XEN_GDMA_MAP_WRITE`, `XEN_GDMA_MAP_FIXED`.
    pub flags: u32,
    /// IN: with FIXED the wanted device address, else 0. OUT: device address of the
    /// first byte; unchanged on error.
    pub daddr: u64,
    /// OUT: names the window for `window_destroy`, together with `context`; never 0,
    /// and never given out twice for contexts of one number.
    pub handle: u64,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// IN: zero.
    pub pad0: u32,
}

const _: () = assert!(size_of::<WindowCreate>() == 48);

/// One element of `XEN_GDMA_OP_WINDOW_DESTROY`.
///
/// When its status is 0, no device can reach the window's frames any more: one IOTLB
/// flush has succeeded (more if Xen interrupts the call), and every frame is given back.
///
/// Element errors: `-ENOENT` no such context, or stale or unknown handle, or one of
/// `map`; `-EIO` the IOMMU failed: devices may reach a part of the window still, `lookup`
/// does not find it any more, and another `window_destroy` with the handle tries again.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct WindowDestroy {
    /// IN: the window's handle.
    pub handle: u64,
    /// IN: the context.
    pub context: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
}

const _: () = assert!(size_of::<WindowDestroy>() == 16);
