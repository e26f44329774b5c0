// SPDX-License-Identifier: GPL-2.0-only
//! `map` and `unmap` of one frame with everything in registers: the oracle holds them
//! to what the array form answers.

use hypercall_abi::command::{
    XEN_GDMA_OP_MAP_REG, XEN_GDMA_OP_UNMAP_REG, XEN_GDMA_REG_GRANT as GRANT,
    XEN_GDMA_REG_NO_FLUSH as NO_FLUSH, XEN_GDMA_REG_READ as READ, XEN_GDMA_REG_WRITE as WRITE,
};
use hypercall_abi::context::ContextCreate;
use testbed::{
    elements::{map_own, unmap_handle},
    model::Trigger,
    scene::{BACKEND, FRONTEND, scene},
};

fn granted(domid: u16, gref: u32) -> u64 {
    u64::from(domid) << 32 | u64::from(gref)
}

#[test]
fn own_frames_and_grants() {
    let mut checked = scene();
    checked.fill(BACKEND, 5, 0x55);
    checked.fill(FRONTEND, 8, 0x88);
    let own = checked.map_register(BACKEND, 5, READ);
    let grant = checked.map_register(BACKEND, granted(FRONTEND, 8), READ | WRITE | GRANT);
    assert!(own > 0 && grant > 0 && own != grant);
    assert_eq!(
        checked.machine.device_read(BACKEND, own as u64 + 7),
        Ok(0x55)
    );
    assert_eq!(checked.machine.device_read(BACKEND, grant as u64), Ok(0x88));
    assert!(
        checked
            .machine
            .device_write(BACKEND, own as u64, 1)
            .is_err()
    );
    // No memory of the guest was touched.
    assert!(checked.machine.vcpu_of(BACKEND).call_register(99, 1, 1) < 0);
    for daddr in [own, grant] {
        assert_eq!(checked.unmap_register(BACKEND, daddr as u64, 0), 0);
        assert_eq!(checked.unmap_register(BACKEND, daddr as u64, 0), -2);
    }
    checked.assert_nothing_held();
}

#[test]
fn contexts_and_deferred_flushes() {
    let mut checked = scene();
    let mut ops = [ContextCreate::default()];
    checked.context_create(BACKEND, &mut ops);
    let context = ops[0].context;
    let daddr = checked.map_register(BACKEND, 5, READ | context);
    assert!(daddr as u64 >= ops[0].daddr_first && daddr as u64 <= ops[0].daddr_last);
    assert_eq!(checked.unmap_register(BACKEND, daddr as u64, 0), -2);
    assert_eq!(
        checked.unmap_register(BACKEND, daddr as u64, NO_FLUSH | context),
        0
    );
    assert_eq!(checked.references_of(BACKEND, 5), (1, 0));
    let other = checked.map_register(BACKEND, 6, READ | context);
    assert_eq!(checked.references_of(BACKEND, 5), (0, 0));
    assert_eq!(checked.unmap_register(BACKEND, other as u64, context), 0);
}

#[test]
fn errors() {
    let mut checked = scene();
    assert_eq!(checked.map_register(BACKEND, 5, 0), -22);
    assert_eq!(checked.map_register(BACKEND, 5, READ | 77), -2);
    assert_eq!(checked.map_register(BACKEND, 1 << 40, READ), -14);
    assert_eq!(
        checked.map_register(BACKEND, granted(99, 8), READ | GRANT),
        -3
    );
    assert_eq!(
        checked.map_register(BACKEND, granted(FRONTEND, 9), WRITE | GRANT),
        -13
    );
    assert_eq!(
        checked.map_register(BACKEND, granted(FRONTEND, 1 << 31), READ | GRANT),
        -34
    );
    let vcpu = checked.machine.vcpu_of(BACKEND);
    for bits in [1 << 20, 1 << 31] {
        assert_eq!(vcpu.call_register(XEN_GDMA_OP_MAP_REG, 5, READ | bits), -22);
        assert_eq!(vcpu.call_register(XEN_GDMA_OP_UNMAP_REG, 4096, bits), -22);
    }
    // Flags that only `map` has; a granter's number that is no domain's.
    assert_eq!(vcpu.call_register(XEN_GDMA_OP_UNMAP_REG, 4096, READ), -22);
    let wide = 1 << 48 | granted(FRONTEND, 8);
    assert_eq!(
        vcpu.call_register(XEN_GDMA_OP_MAP_REG, wide, READ | GRANT),
        -22
    );
    assert_eq!(checked.unmap_register(BACKEND, 12, 0), -22);
    // A mapping of more than one frame is not one frame.
    let run = checked.mapped(map_own(10, 2, 1));
    assert_eq!(checked.unmap_register(BACKEND, run.daddr, 0), -2);
    checked.unmapped(run.handle);
    let narrow = checked.machine.vcpu_of(BACKEND).with_compat_layout();
    assert_eq!(narrow.call_register(XEN_GDMA_OP_MAP_REG, 5, READ), -95);
    assert_eq!(narrow.call_register(XEN_GDMA_OP_UNMAP_REG, 4096, 0), -95);
    checked.assert_nothing_held();
}

/// The caller of a map that answers an error does not know of the mapping: there is none.
#[test]
fn a_flush_that_fails_takes_the_mapping_back() {
    let checked = scene();
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    let vcpu = checked.machine.vcpu_of(BACKEND);
    assert_eq!(vcpu.call_register(XEN_GDMA_OP_MAP_REG, 5, READ), -5);
    assert_eq!(checked.references_of(BACKEND, 5), (0, 0));
    let live = |checked: &testbed::oracle::Checked| {
        let domain = checked.machine.find(BACKEND).expect("a domain");
        hv::host::Domain::state(&domain).expect("state").dma.live()
    };
    assert_eq!(live(&checked), 0);
    // An unmap that could not flush has ended the mapping, and says so.
    let daddr = vcpu.call_register(XEN_GDMA_OP_MAP_REG, 5, READ);
    assert!(daddr > 0);
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    assert_eq!(
        vcpu.call_register(XEN_GDMA_OP_UNMAP_REG, daddr as u64, 0),
        -5
    );
    assert_eq!(live(&checked), 0);
    assert_eq!(checked.references_of(BACKEND, 5), (1, 0));
    let mut ops = [unmap_handle(1 << 32)];
    vcpu.call_with(testbed::model::hypercall::Number::GrantDma, 6, &mut ops);
    assert_eq!(checked.references_of(BACKEND, 5), (0, 0));
}
