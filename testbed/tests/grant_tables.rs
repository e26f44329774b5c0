// SPDX-License-Identifier: GPL-2.0-only
//! Table operations of hypercall 20: set-up, sizes, versions.

use hypercall_abi::grant::{
    GNTTABOP_CMD_MASK, GNTTABOP_GET_VERSION, GNTTABOP_LAST, GNTTABOP_QUERY_SIZE,
    GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE, GetVersion, QuerySize, SetVersion, SetupTable64,
};
use testbed::{
    model::{DomainSetup, Trigger, guest::GUEST_LIMIT, hypercall::Number},
    oracle::Checked,
    scene::{BACKEND, FRONTEND, scene, scene_with},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const LIST: u64 = 0x6000_0000;

fn ask<T: FromBytes + IntoBytes + Immutable + Copy>(
    checked: &Checked,
    cmd: u32,
    op: T,
) -> (i32, T) {
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [op];
    let end = vcpu.call_with(Number::GrantTable, cmd, &mut ops);
    checked.check();
    (end.value, ops[0])
}

fn setup(checked: &Checked, nr_frames: u32, frame_list: u64) -> (i32, i16) {
    let op = SetupTable64 {
        dom: 0x7ff0,
        nr_frames,
        status: 77,
        frame_list,
        ..SetupTable64::default()
    };
    let (value, answer) = ask(checked, GNTTABOP_SETUP_TABLE, op);
    (value, answer.status)
}

#[test]
fn setup_table_grows_and_lists() {
    let checked = scene();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.with_guest_memory(|memory| memory.add_page(LIST, true));
    assert_eq!(setup(&checked, 3, LIST), (0, 0));
    assert_eq!(checked.machine.table_entries(BACKEND), 3 * 512);
    let mut list = [0_u64; 4];
    vcpu.with_guest_memory(|memory| {
        memory.read(LIST, list.as_mut_bytes());
    });
    assert!(list[..3].iter().all(|&frame| frame != 0));
    assert_eq!(list[3], 0);
    // Smaller is no shrinking.
    assert_eq!(setup(&checked, 1, LIST), (0, 0));
    assert_eq!(checked.machine.table_entries(BACKEND), 3 * 512);
}

#[test]
fn xsa_382_bounds_of_the_table() {
    let checked = scene();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.with_guest_memory(|memory| memory.add_page(LIST, true));
    assert_eq!(setup(&checked, 5, LIST), (0, -1));
    assert_eq!(setup(&checked, u32::MAX, LIST), (0, -1));
    assert_eq!(checked.machine.table_entries(BACKEND), 512);
    // The list is outside the guest, or in a hole.
    assert_eq!(setup(&checked, 2, GUEST_LIMIT), (-14, 77));
    assert_eq!(setup(&checked, 1, 0x10_0000), (0, -5));
}

#[test]
fn setup_table_without_memory() {
    let checked = scene();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.with_guest_memory(|memory| memory.add_page(LIST, true));
    checked.switch(|switches| switches.shared_page_fails = Trigger::Nth(3));
    assert_eq!(setup(&checked, 4, LIST), (0, -1));
    assert_eq!(checked.machine.table_entries(BACKEND), 512);
}

#[test]
fn table_operations_ask_access_control() {
    let checked = scene();
    checked
        .machine
        .state()
        .access
        .table
        .insert((BACKEND, FRONTEND));
    let size = QuerySize {
        dom: FRONTEND,
        ..QuerySize::default()
    };
    let (value, answer) = ask(&checked, GNTTABOP_QUERY_SIZE, size);
    assert_eq!((value, answer.status), (0, -8));
    let version = GetVersion {
        dom: FRONTEND,
        ..GetVersion::default()
    };
    assert_eq!(ask(&checked, GNTTABOP_GET_VERSION, version).0, -1);
    let table = SetupTable64 {
        dom: FRONTEND,
        nr_frames: 2,
        ..SetupTable64::default()
    };
    let (value, answer) = ask(&checked, GNTTABOP_SETUP_TABLE, table);
    assert_eq!((value, answer.status), (0, -8));
    assert_eq!(checked.machine.table_entries(FRONTEND), 512);
}

#[test]
fn query_size_and_versions() {
    let checked = scene();
    let ask_size = |dom| {
        let op = QuerySize {
            dom,
            ..QuerySize::default()
        };
        let answer = ask(&checked, GNTTABOP_QUERY_SIZE, op).1;
        (answer.status, answer.nr_frames, answer.max_nr_frames)
    };
    assert_eq!(ask_size(0x7ff0), (0, 1, 4));
    assert_eq!(ask_size(FRONTEND), (0, 1, 4));
    assert_eq!(ask_size(77).0, -2);
    let set = |version| {
        let (value, answer) = ask(&checked, GNTTABOP_SET_VERSION, SetVersion { version });
        (value, answer.version)
    };
    assert_eq!([set(1), set(3), set(0)], [(0, 1), (-22, 1), (-22, 1)]);
}

/// A domain that may not have version 2 is told that there is no such operation,
/// as before versions were introduced.
#[test]
fn version_2_not_allowed() {
    let checked = scene_with(DomainSetup {
        max_version: 1,
        ..DomainSetup::pvh(BACKEND)
    });
    let set = |version| {
        let (value, answer) = ask(&checked, GNTTABOP_SET_VERSION, SetVersion { version });
        (value, answer.version)
    };
    assert_eq!([set(1), set(2)], [(0, 1), (-38, 1)]);
}

/// XSA-134, XSA-232: operations on a domain without a table, before anything
/// else was done.
#[test]
fn xsa_232_operations_on_a_domain_without_a_table() {
    let checked = scene();
    checked.machine.add_domain(DomainSetup {
        has_state: false,
        ..DomainSetup::pvh(9)
    });
    let size = QuerySize {
        dom: 9,
        ..QuerySize::default()
    };
    assert_eq!(ask(&checked, GNTTABOP_QUERY_SIZE, size).1.status, -2);
    let version = GetVersion {
        dom: 9,
        ..GetVersion::default()
    };
    assert_eq!(ask(&checked, GNTTABOP_GET_VERSION, version).0, -3);
}

#[test]
fn unknown_operations_and_bad_counts() {
    let checked = scene();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let call = |cmd, count| vcpu.call(Number::GrantTable, cmd, LIST, count).value;
    assert_eq!(call(GNTTABOP_LAST + 1, 1), -38);
    assert_eq!(call(GNTTABOP_CMD_MASK, 1), -38);
    // A continuation's bits without a continuation that has any.
    assert_eq!(call(u32::MAX, 1), -22);
    assert_eq!(call(GNTTABOP_QUERY_SIZE | 1 << 12, 1), -22);
    assert_eq!(call(0, 1 << 31), -22);
    assert_eq!(call(GNTTABOP_SETUP_TABLE, 2), -22);
    assert_eq!(call(GNTTABOP_QUERY_SIZE, 0), -22);
}
