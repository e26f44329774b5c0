// SPDX-License-Identifier: MIT
//! `faults`: what the IOMMU has stopped devices from doing.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Take the oldest fault.
pub const XEN_GDMA_FAULT_READ: u32 = 0;
/// From now on tell `port` when there are faults; 0: nobody.
pub const XEN_GDMA_FAULT_NOTIFY: u32 = 1;

/// The device wanted to write.
pub const XEN_GDMA_FAULT_WRITE: u32 = 1 << 0;

/// One element of `XEN_GDMA_OP_FAULTS`.
///
/// Faults of the caller's devices are kept from its first `faults` element on, up to a
/// fixed number; what comes when there is no room is only counted. One event comes
/// when there are faults after there were none: read until `-ENOENT` before waiting for
/// another. IOMMUs may report one of many faults, and Xen takes a device off the bus
/// that keeps faulting.
///
/// Element errors: `-EINVAL` unknown `op`, or `port` not 0 with READ; `-ENOENT` READ: no
/// fault is waiting; `-ENOMEM` Xen has no memory for the faults.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Fault {
    /// IN: `XEN_GDMA_FAULT_READ` or `XEN_GDMA_FAULT_NOTIFY`.
    pub op: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// OUT, READ: the device, as in `xen_gdma_query_device`.
    pub id: u64,
    /// OUT, READ: the device address, as exactly as the IOMMU tells it.
    pub daddr: u64,
    /// OUT, READ: the context the device was attached to when the fault was reported.
    pub context: u32,
    /// OUT, READ: `XEN_GDMA_FAULT_WRITE` or 0.
    pub flags: u32,
    /// OUT, READ: faults lost since the domain was created.
    pub lost: u32,
    /// IN, NOTIFY: an event channel of the caller on which it could notify itself:
    /// one bound with `EVTCHNOP_bind_ipi`, or its end of a channel to itself.
    pub port: u32,
}

const _: () = assert!(size_of::<Fault>() == 40);
