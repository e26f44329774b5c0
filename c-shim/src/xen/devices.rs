// SPDX-License-Identifier: GPL-2.0-only
//! PCI devices.

use hv::host::{AttachError, DeviceError, Devices, IoTables, PciFacts};
use hypercall_abi::command::XEN_GDMA_CONTEXT_DEFAULT;

use super::Xen;
use crate::{context::XenIoContext, domain::XenDomain, ffi};

impl Devices for Xen {
    fn attach_device(
        &self,
        owner: &XenDomain,
        sbdf: u32,
        to: IoTables<'_, Self>,
    ) -> Result<bool, AttachError> {
        let to = match to {
            IoTables::Default(_) => None,
            IoTables::Own(context) => Some(context),
        };
        XenIoContext::attach(owner, sbdf, to)
    }

    fn pci_device(&self, owner: &XenDomain, sbdf: u32) -> Result<PciFacts, DeviceError> {
        let mut context = XEN_GDMA_CONTEXT_DEFAULT;
        // SAFETY: a live domain, and room for the number.
        match unsafe { ffi::gdma_pci_device(owner.as_ptr(), sbdf, &mut context) } {
            ffi::PCI_UNSUPPORTED => Err(DeviceError::NoPci),
            ffi::PCI_NOT_FOUND => Err(DeviceError::NotYours),
            covered => Ok(PciFacts {
                behind_iommu: covered != ffi::PCI_NO_IOMMU,
                context,
            }),
        }
    }

    fn has_pci(&self) -> bool {
        cfg!(target_arch = "x86_64")
    }
}
