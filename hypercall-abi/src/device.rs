// SPDX-License-Identifier: MIT
//! `query_device`: which DMA treatment one device needs.
//!
//! This is the answer that guests have so far had to guess from being a Xen
//! domain at all.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The device is named by its PCI address: segment << 16 | bus << 8 | devfn.
pub const XEN_GDMA_DEVICE_PCI: u32 = 0;

/// Device address = machine address.
pub const XEN_GDMA_TREATMENT_IDENTITY: u32 = 1;
/// Device address = guest physical address.
pub const XEN_GDMA_TREATMENT_TRANSLATED: u32 = 2;
/// Device address = an address in the context that the device is attached to.
pub const XEN_GDMA_TREATMENT_CONTEXT: u32 = 3;
/// The backend is another domain: grant-DMA addresses.
pub const XEN_GDMA_TREATMENT_GRANT: u32 = 4;
/// Neither an IOMMU nor an identity: the guest must bounce (swiotlb).
pub const XEN_GDMA_TREATMENT_BOUNCE: u32 = 5;

/// The device is behind an IOMMU that confines it to what is mapped, and to the caller's
/// own memory. In the default context: see `XEN_GDMA_CAP_PROTECTED`.
pub const XEN_GDMA_DEVICE_PROTECTED: u16 = 1 << 0;

/// One element of `XEN_GDMA_OP_QUERY_DEVICE`.
///
/// Element errors: `-EINVAL` padding not zero, or an unknown `kind`, or `id`
/// outside the kind's range (PCI: 32 bits); `-EOPNOTSUPP` PCI on an
/// architecture where Xen has no PCI; `-ENODEV` no such device, or not the
/// caller's.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct QueryDevice {
    /// IN: `XEN_GDMA_DEVICE_*` kind of `id`.
    pub kind: u32,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// IN: the device.
    pub id: u64,
    /// OUT: `XEN_GDMA_TREATMENT_*`.
    pub treatment: u32,
    /// OUT: the context the device is attached to.
    pub context: u32,
    /// OUT: backend domain of a device with treatment `GRANT`, else the caller.
    pub backend: u16,
    /// OUT: `XEN_GDMA_DEVICE_PROTECTED` or 0.
    pub flags: u16,
    /// IN: zero.
    pub pad0: u32,
}

const _: () = assert!(size_of::<QueryDevice>() == 32);
