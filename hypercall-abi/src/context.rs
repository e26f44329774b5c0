// SPDX-License-Identifier: MIT
//! `context_create`, `context_destroy`, `device_attach`: device address spaces of
//! a domain's own.
//!
//! A context belongs to the domain that created it. Devices of that domain can be
//! moved to it, and then reach what is mapped in it and nothing else. A device
//! that nobody moved is in the default context, number
//! `XEN_GDMA_CONTEXT_DEFAULT`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Context flag: a 1:1 copy of the caller's memory.
///
/// Devices there reach the caller's memory as they would in the default context of a
/// domain with an IOMMU: at guest addresses, all that the domain has there, its
/// mappings of other domains' memory included, with the same access; a PV domain's
/// writable pages, at their machine addresses. The copy follows: when a page leaves
/// the caller's memory (for PV: when it ceases to be writable), devices cannot reach
/// it any more before anybody else gets it; a page that is added is reached at once
/// (for PV: from the first time that it is mapped writable).
///
/// `map` puts other mappings beside it, in the range from `daddr_first` to
/// `daddr_last`, of which nothing is ever part of the copy: for PV above the machine's
/// memory, else above all guest addresses; where the IOMMU reaches no further than
/// those, in the topmost quarter of what it reaches, and whatever the caller puts there
/// later is not copied. Not copied either are the regions that firmware has reserved
/// for devices; those of a device are in every context that the device is in.
/// `lookup` knows mappings only.
///
/// Such a context counts as `XEN_GDMA_MIRROR_WEIGHT` contexts, because of its page
/// tables, which are about as large as those of the caller's memory.
pub const XEN_GDMA_CONTEXT_MIRROR: u32 = 1 << 0;

/// How many contexts a 1:1 copy counts for.
pub const XEN_GDMA_MIRROR_WEIGHT: u32 = 8;

/// One element of `XEN_GDMA_OP_CONTEXT_CREATE`: a context with nothing mapped, or
/// nothing but a copy of the caller's memory.
///
/// The range of device addresses that the service chooses is free of the reserved
/// regions of the machine's devices and of the addresses of interrupts. It has at least room for as many frames as
/// the domain may pin, unless `max_daddr` or the IOMMU leaves less.
///
/// Element errors: `-EINVAL` padding not zero or unknown `flags`, or `max_daddr` leaves
/// not even one page (for a copy: not one above the caller's memory); `-EOPNOTSUPP` the
/// caller's devices are not behind an IOMMU; `-EPERM` access control refuses;
/// `-ENOBUFS` the domain's limit of contexts is reached, or it may not pin anything;
/// `-ENOSPC` the IOMMU has no number left for another address
/// space; `-ENOMEM` Xen has no memory; `-EIO` the IOMMU failed.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ContextCreate {
    /// IN: `XEN_GDMA_CONTEXT_*`, or 0.
    pub flags: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// IN: highest device address (inclusive) that the devices of the context can
    /// name, `0xffffffff` for 32-bit devices; 0: the IOMMU alone decides.
    pub max_daddr: u64,
    /// OUT: first device address that `map` gives out or accepts.
    pub daddr_first: u64,
    /// OUT: last device address (inclusive) of that range.
    pub daddr_last: u64,
    /// OUT: the context's number, never `XEN_GDMA_CONTEXT_DEFAULT`. A number is
    /// used again after its context is destroyed.
    pub context: u32,
    /// IN: zero.
    pub pad0: u32,
}

const _: () = assert!(size_of::<ContextCreate>() == 40);

/// One element of `XEN_GDMA_OP_CONTEXT_DESTROY`.
///
/// Whatever is mapped in the context is unmapped and its frames given back. A
/// context with devices stays as it is: move them first.
///
/// Element errors: `-EINVAL` the default context; `-EPERM` access control refuses;
/// `-ENOENT` no such context;
/// `-EBUSY` devices are attached to it; `-EIO` the IOMMU failed, the context
/// remains and accepts only another `context_destroy`, which tries again.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ContextDestroy {
    /// IN: the context.
    pub context: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
}

const _: () = assert!(size_of::<ContextDestroy>() == 8);

/// One element of `XEN_GDMA_OP_DEVICE_ATTACH`.
///
/// When the call has returned 0, the devices of elements with status 0 use the new
/// context and no translation of the old one any more. At no moment does a device
/// reach anything but the one or the other. After an error it is where it was.
///
/// Element errors, in the order in which they are found: `-EINVAL` padding not
/// zero, unknown `kind`, or `id` outside the kind's range; `-EPERM` access control
/// refuses; `-ENOENT` no such context; `-EOPNOTSUPP` no PCI on this architecture, or an IOMMU that cannot move
/// this device; `-ENODEV` no such device, or not the caller's; `-EBUSY` the IOMMU
/// cannot tell the device from another one, and the two cannot be moved together; `-EIO` the IOMMU failed.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct DeviceAttach {
    /// IN: `XEN_GDMA_DEVICE_*` kind of `id`.
    pub kind: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// IN: the device.
    pub id: u64,
    /// IN: the context it is to use from now on.
    pub context: u32,
    /// IN: zero.
    pub pad0: u32,
}

const _: () = assert!(size_of::<DeviceAttach>() == 24);
