// SPDX-License-Identifier: GPL-2.0-only
//! There are none.

use hv::host::{AttachError, DeviceError, Devices, IoTables, PciFacts};

use super::{OUTSIDE, World, domains::Peer};

impl Devices for World {
    fn attach_device(&self, _: &Peer, _: u32, _: IoTables<'_, Self>) -> Result<bool, AttachError> {
        unimplemented!("{OUTSIDE}")
    }

    fn pci_device(&self, _owner: &Peer, _sbdf: u32) -> Result<PciFacts, DeviceError> {
        Err(DeviceError::NoPci)
    }

    fn has_pci(&self) -> bool {
        false
    }
}
