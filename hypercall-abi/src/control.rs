// SPDX-License-Identifier: MIT
//! `revoke`, `set_limits`, `stats`: what granters and the control domain may do
//! to other domains' mappings, and what there is to be seen of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One element of `XEN_GDMA_OP_REVOKE`: the caller, a granter, ends every DMA
/// mapping that a reference of its own is part of.
///
/// When the call has returned 0, no device reaches the frame through a DMA mapping of
/// the reference any more. A mapping is revoked as a whole: its handle is stale, and the
/// holder's devices fault from then on. Mappings and copies that the grant-table
/// hypercall makes are not touched, also not what it makes reachable to devices of PV
/// domains; they end as they always have. To keep the reference from being used again,
/// change the entry first, which Xen looks at unless the holder has other uses of it.
///
/// Element errors: `-ERANGE` the reference is outside the caller's table;
/// `-EIO` the IOMMU failed: the mapping, or the pin of its frames, remains.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Revoke {
    /// IN: the reference.
    pub gref: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
}

const _: () = assert!(size_of::<Revoke>() == 8);

/// In a field of `xen_gdma_set_limits`: leave the limit as it is.
pub const XEN_GDMA_LIMIT_KEEP: u32 = 0xffff_ffff;

/// One element of `XEN_GDMA_OP_SET_LIMITS`, for the control domain: other domains may
/// not set limits, not even their own. What the domain uses already stays, even if it
/// is more than a new limit.
///
/// Element errors: `-EINVAL` padding not zero, or more contexts than there are
/// numbers; `-ESRCH` no such domain; `-EPERM` access control refuses.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SetLimits {
    /// IN: whose limits (`XEN_GDMA_DOMID_SELF` for the caller).
    pub domid: u16,
    /// IN: zero.
    pub pad0: u16,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// IN: most frames pinned at once, in all contexts together. OUT: the limit
    /// before the call. The range of device addresses of contexts that exist does not
    /// change.
    pub max_pins: u32,
    /// IN: most contexts besides the default one. OUT: the limit before the call.
    pub max_contexts: u32,
}

const _: () = assert!(size_of::<SetLimits>() == 16);

/// One element of `XEN_GDMA_OP_STATS`. Counters begin at 0 when the domain is
/// created and never go back.
///
/// Element errors: `-EINVAL` padding not zero; `-ESRCH` no such domain; `-EPERM`
/// access control refuses.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Stats {
    /// IN: whose counters (`XEN_GDMA_DOMID_SELF` for the caller).
    pub domid: u16,
    /// IN: zero.
    pub pad0: u16,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// OUT: mappings made.
    pub maps: u64,
    /// OUT: frames in them.
    pub mapped_frames: u64,
    /// OUT: mappings ended, by whomever.
    pub unmaps: u64,
    /// OUT: frames in them.
    pub unmapped_frames: u64,
    /// OUT: IOTLB flushes that gave frames back.
    pub flushes: u64,
    /// OUT: IOTLB flushes that failed.
    pub failed_flushes: u64,
    /// OUT: mappings that their granters revoked.
    pub revoked: u64,
    /// OUT: `device_attach` elements that moved a device.
    pub attaches: u64,
    /// OUT: faults of its devices that the IOMMU reported.
    pub faults: u64,
    /// OUT: frames pinned now, those that wait for a flush included.
    pub used_pins: u32,
    /// OUT: contexts now, besides the default one.
    pub used_contexts: u32,
}

const _: () = assert!(size_of::<Stats>() == 88);
