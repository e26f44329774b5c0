// SPDX-License-Identifier: GPL-2.0-only
//! PCI devices, and which I/O page tables they use.

use super::{contexts::Contexts, iommu::IoTables};

/// Facts about one PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciFacts {
    /// An IOMMU translates or blocks what the device does.
    pub behind_iommu: bool,
    /// Number of the context it is attached to, or
    /// [`hypercall_abi::command::XEN_GDMA_CONTEXT_DEFAULT`].
    pub context: u32,
}

/// Why a device stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// No such device, or not the caller's; or Xen knows no PCI.
    Device(DeviceError),
    /// Its IOMMU, or Xen's code for it, cannot do that.
    NotMovable,
    /// The IOMMU cannot tell it from another device, which is elsewhere.
    Shared,
    /// The context is being destroyed.
    Closed,
    /// The IOMMU failed.
    Iommu,
}

/// Why there is nothing to say about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// Xen knows no PCI on this architecture.
    NoPci,
    /// No such device, or not the caller's.
    NotYours,
}

/// Finding devices and moving them.
pub trait Devices: Contexts {
    /// Makes a device of `owner` use these tables, with whatever cannot be told
    /// apart from it. `sbdf` as for [`Self::pci_device`]. On return no translation
    /// of the old tables is used any more; at no moment did the device reach anything
    /// but the one or the other. On error it uses the old ones. False: it uses these
    /// tables already.
    fn attach_device(
        &self,
        owner: &Self::Domain,
        sbdf: u32,
        to: IoTables<'_, Self>,
    ) -> Result<bool, AttachError>;

    /// What is known about a PCI device of `owner`. `sbdf` is segment << 16 |
    /// bus << 8 | devfn.
    fn pci_device(&self, owner: &Self::Domain, sbdf: u32) -> Result<PciFacts, DeviceError>;

    /// Whether the hypervisor can name PCI devices at all.
    fn has_pci(&self) -> bool;
}
