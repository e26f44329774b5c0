// SPDX-License-Identifier: GPL-2.0-only
//! Devices that are taken out of the machine while they are in a context, and put back.

use hypercall_abi::device::QueryDevice;
use testbed::{
    elements::{READ_WRITE, inside, map_grant},
    oracle::Checked,
    row::new_context,
    scene::{BACKEND, FRONTEND, attach, destroy, scene},
};

const NIC: u32 = 8;
const DISK: u32 = 9;

fn context_of(checked: &mut Checked, sbdf: u32) -> (i32, u32) {
    let op = QueryDevice {
        id: sbdf.into(),
        ..QueryDevice::default()
    };
    let answer = checked.query_device(BACKEND, op);
    (answer.status, answer.context)
}

/// The context stays with its mappings, for whoever else is there; the device counts no
/// more, so that the context can end.
#[test]
fn a_device_that_is_removed_leaves_its_context() {
    let mut checked = scene();
    checked.machine.plug(NIC, BACKEND, true);
    checked.machine.plug(DISK, BACKEND, true);
    let context = new_context(&mut checked);
    let live = checked.mapped(inside(context, map_grant(FRONTEND, 8, 1, READ_WRITE)));
    assert_eq!(attach(&mut checked, NIC, context), 0);
    assert_eq!(attach(&mut checked, DISK, context), 0);
    checked.unplug(NIC);
    assert_eq!(context_of(&mut checked, NIC), (-19, 0));
    assert_eq!(attach(&mut checked, NIC, context), -19);
    // Another device is still there.
    assert!(checked.machine.pci_read(DISK, live.daddr).is_ok());
    assert_eq!(destroy(&mut checked, context), -16);
    checked.unplug(DISK);
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 1));
    assert_eq!(destroy(&mut checked, context), 0);
    checked.assert_nothing_held();
}

/// In the default context, and nowhere else.
#[test]
fn invariant_11_a_device_that_comes_back_is_where_devices_begin() {
    let mut checked = scene();
    checked.machine.plug(NIC, BACKEND, true);
    let context = new_context(&mut checked);
    let there = checked.mapped(inside(context, map_grant(FRONTEND, 8, 1, READ_WRITE)));
    let here = checked.mapped(map_grant(FRONTEND, 10, 1, READ_WRITE));
    assert_eq!(attach(&mut checked, NIC, context), 0);
    checked.unplug(NIC);
    checked.machine.plug(NIC, BACKEND, true);
    checked.check();
    assert_eq!(context_of(&mut checked, NIC), (0, 0));
    assert!(checked.machine.pci_read(NIC, here.daddr).is_ok());
    assert!(checked.machine.pci_read(NIC, there.daddr).is_err());
    assert_eq!(attach(&mut checked, NIC, context), 0);
    assert!(checked.machine.pci_read(NIC, there.daddr).is_ok());
}
