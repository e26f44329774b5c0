// SPDX-License-Identifier: GPL-2.0-only
//! PCI devices.

use hv::host::{AttachError, DeviceError, Devices, Domain, IoTables, PciFacts};

use super::iommu::tables_id;
use crate::model::{
    domain::ModelDomain,
    iommu::{Device, Iommu},
    locks::assert_none_held,
    machine::Machine,
};

impl Devices for Machine {
    fn attach_device(
        &self,
        owner: &ModelDomain,
        sbdf: u32,
        to: IoTables<'_, Self>,
    ) -> Result<bool, AttachError> {
        assert_none_held("moving a device");
        let id = tables_id(to);
        let mut state = self.state();
        if state.switches.no_pci {
            return Err(AttachError::Device(DeviceError::NoPci));
        }
        let device = state.pci.get(&sbdf).copied();
        let device = device
            .filter(|device| device.owner == owner.id().0)
            .ok_or(AttachError::Device(DeviceError::NotYours))?;
        if !device.behind_iommu {
            return Err(AttachError::NotMovable);
        }
        let closed = |iommu: &Iommu| iommu.closed;
        if state.iommus.get(&id).is_some_and(closed) {
            return Err(AttachError::Closed);
        }
        let mut alike: Vec<&mut Device> = state
            .pci
            .values_mut()
            .filter(|other| other.group == device.group)
            .collect();
        if alike.iter().any(|other| other.owner != device.owner) {
            return Err(AttachError::Shared);
        }
        for device in &mut alike {
            device.tables = id.1;
        }
        if state.switches.attach_fails.pull() {
            for other in state.pci.values_mut() {
                if other.group == device.group {
                    other.tables = device.tables;
                }
            }
            return Err(AttachError::Iommu);
        }
        Ok(device.tables != id.1)
    }

    fn pci_device(&self, owner: &ModelDomain, sbdf: u32) -> Result<PciFacts, DeviceError> {
        let state = self.state();
        if state.switches.no_pci {
            return Err(DeviceError::NoPci);
        }
        match state.pci.get(&sbdf) {
            Some(device) if device.owner == owner.id().0 => Ok(PciFacts {
                behind_iommu: device.behind_iommu,
                context: state.name_of((device.owner, device.tables)).1,
            }),
            _ => Err(DeviceError::NotYours),
        }
    }

    fn has_pci(&self) -> bool {
        !self.state().switches.no_pci
    }
}
