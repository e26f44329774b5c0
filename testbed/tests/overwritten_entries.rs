// SPDX-License-Identifier: GPL-2.0-only
//! A PV guest may overwrite the page-table entry of a grant's mapping instead of
//! unmapping the grant. The entry's references go with it, the hypervisor's record
//! stays, and nothing keeps the granter or its page any more.

use hv::host::IommuMode;
use hypercall_abi::grant::{GNTMAP_HOST_MAP, GNTTABOP_MAP_GRANT_REF, MapGrantRef};
use testbed::{
    elements::cpu_map,
    model::{DomainSetup, domain::Death, frames::Kind, hypercall::Number},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene_with},
};

const ADDRESS: u64 = 1 << 32;
const PAGE: u64 = 8;

fn host_map() -> [MapGrantRef; 1] {
    [MapGrantRef {
        flags: GNTMAP_HOST_MAP,
        ..cpu_map(FRONTEND, PAGE as u32, ADDRESS, true)
    }]
}

/// The holder's record is older than the page's new owner: its end must take
/// nothing from him.
#[test]
fn the_record_owns_nothing_when_the_granter_is_gone() {
    let setup = DomainSetup {
        iommu: IommuMode::Absent,
        ..DomainSetup::pv(BACKEND)
    };
    let mut checked = scene_with(setup);
    let mut ops = host_map();
    checked.cpu_map(BACKEND, &mut ops);
    assert_eq!(ops[0].status, 0);
    let mfn = checked.machine.mfn_of(FRONTEND, PAGE).expect("memory");
    checked.machine.overwrite_entry(BACKEND, ADDRESS, false);
    let (death, _) = checked.machine.kill(FRONTEND);
    assert_eq!(death, Death::Gone, "nothing holds the granter");
    checked
        .machine
        .state()
        .frames
        .allocate_at(mfn, BYSTANDER, Kind::Ram);
    let (death, _) = checked.machine.kill(BACKEND);
    assert_eq!(death, Death::Gone);
    let state = checked.machine.state();
    let victim = state.frames.get(mfn).expect("the new owner's page");
    assert_eq!((victim.owner, victim.refs), (BYSTANDER, 0));
}

/// The devices of the holder still reach the page, so it must not be free.
#[test]
fn the_iommu_holds_a_reference_of_its_own() {
    let checked = scene_with(DomainSetup::pv(BACKEND));
    let mut ops = host_map();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.call_with(Number::GrantTable, GNTTABOP_MAP_GRANT_REF, &mut ops);
    assert_eq!(ops[0].status, 0);
    checked.machine.overwrite_entry(BACKEND, ADDRESS, false);
    let (death, _) = checked.machine.kill(FRONTEND);
    assert_eq!(death, Death::Zombie, "its page is in use");
    let (death, _) = checked.machine.kill(BACKEND);
    assert_eq!(death, Death::Gone);
    assert_eq!(checked.machine.reap(FRONTEND), Death::Gone);
}
