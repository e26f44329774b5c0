// SPDX-License-Identifier: GPL-2.0-only
//! Neighbouring elements of one call: the IOMMU is told of them at once, and each of them
//! succeeds or fails as if it were alone.

use hypercall_abi::mapping::{Map, Unmap};
use testbed::{
    elements::{READ, READ_WRITE, at, map_grant, map_own, unmap_handle, unmap_range},
    model::{DomainSetup, Event, Preempt, Trigger},
    oracle::Checked,
    scene::{BACKEND, FRONTEND, scene, scene_with},
};

const HOLE: u64 = DomainSetup::HOLE;
/// As many as are copied in at a time.
const ROW: u64 = 16;

fn grants(first: u64, flags: u32) -> Vec<Map> {
    (first..first + ROW)
        .map(|gref| map_grant(FRONTEND, gref, 1, flags))
        .collect()
}

/// Makes the mappings, and expects the elements at these places to fail with these numbers
/// and all others to succeed.
fn map_all(checked: &mut Checked, maps: &mut [Map], failures: &[(usize, i32)]) {
    assert_eq!(checked.map(BACKEND, maps).value, 0);
    let failed: Vec<(usize, i32)> = maps
        .iter()
        .enumerate()
        .filter(|(_, map)| map.status != 0)
        .map(|(nth, map)| (nth, map.status))
        .collect();
    assert_eq!(failed, failures);
    let pinned = maps.len() - failures.len();
    assert_eq!(checked.query(BACKEND).used_pins as usize, pinned);
}

fn unmaps_of(maps: &[Map]) -> Vec<Unmap> {
    let made = maps.iter().filter(|map| map.status == 0);
    made.map(|map| unmap_handle(map.handle)).collect()
}

fn statuses(unmaps: &[Unmap]) -> Vec<i32> {
    unmaps.iter().map(|unmap| unmap.status).collect()
}

fn unmap_all(checked: &mut Checked, maps: &[Map]) {
    let mut unmaps = unmaps_of(maps);
    assert_eq!(checked.unmap(BACKEND, &mut unmaps).value, 0);
    assert!(statuses(&unmaps).iter().all(|&status| status == 0));
    checked.assert_nothing_held();
}

/// Frames of each call that unmaps.
fn unmap_calls(checked: &Checked, maps: &[Map]) -> Vec<u32> {
    let vcpu = checked.machine.vcpu_of(BACKEND);
    checked.machine.state().events.clear();
    let mut unmaps = unmaps_of(maps);
    vcpu.call_with(testbed::model::hypercall::Number::GrantDma, 6, &mut unmaps);
    let state = checked.machine.state();
    let counts = state.events.iter().filter_map(|event| match event {
        Event::Unmap { count, .. } => Some(*count),
        _ => None,
    });
    counts.collect()
}

#[test]
fn neighbours_have_names_of_their_own() {
    let mut checked = scene();
    let mut maps = grants(8, READ);
    map_all(&mut checked, &mut maps, &[]);
    for (nth, map) in maps.iter().enumerate() {
        assert_eq!(map.daddr, maps[0].daddr + 4096 * nth as u64);
        checked.fill(FRONTEND, 8 + nth as u64, nth as u8);
        assert_eq!(
            checked.machine.device_read(BACKEND, map.daddr),
            Ok(nth as u8)
        );
    }
    // Each ends by itself, from the middle on.
    for nth in (0..ROW as usize).map(|nth| (nth * 7 + 3) % ROW as usize) {
        checked.unmapped(maps[nth].handle);
        assert!(
            checked
                .machine
                .device_read(BACKEND, maps[nth].daddr)
                .is_err()
        );
    }
    checked.assert_nothing_held();
}

#[test]
fn the_iommu_is_told_once() {
    let mut checked = scene();
    // Frames of which none is behind the one before it.
    let mut maps: Vec<Map> = (0..ROW).map(|nth| map_own(30 - nth, 1, READ)).collect();
    map_all(&mut checked, &mut maps, &[]);
    assert_eq!(unmap_calls(&checked, &maps), [ROW as u32]);
}

#[test]
fn mappings_of_several_frames_end_together_up_to_a_bound() {
    let mut checked = scene();
    let mut maps = [24; 6].map(|frames| map_own(0, frames, READ));
    assert_eq!(checked.map(BACKEND, &mut maps).value, 0);
    // 64 frames at most.
    assert_eq!(unmap_calls(&checked, &maps), [48, 48, 48]);
}

#[test]
fn a_large_mapping_ends_alone() {
    let mut checked = scene();
    let mut maps = [1, 128, 1, 1].map(|frames| map_own(0, frames, READ));
    assert_eq!(checked.map(BACKEND, &mut maps).value, 0);
    assert_eq!(unmap_calls(&checked, &maps), [1, 128, 2]);
}

#[test]
fn a_reference_that_is_not_granted_fails_alone() {
    for missing in [0, 5, 15] {
        let mut checked = scene();
        let mut maps = grants(8, READ);
        maps[missing].source = 100;
        map_all(&mut checked, &mut maps, &[(missing, -13)]);
        unmap_all(&mut checked, &maps);
    }
    let mut checked = scene();
    // Odd references are granted for reading only.
    let mut maps = grants(8, READ_WRITE);
    let odd: Vec<_> = (0..ROW as usize).filter(|nth| nth % 2 == 1).collect();
    let odd: Vec<_> = odd.into_iter().map(|nth| (nth, -13)).collect();
    map_all(&mut checked, &mut maps, &odd);
    unmap_all(&mut checked, &maps);
}

/// XSA-224: all or nothing, for each element.
#[test]
fn xsa_224_the_iommu_refuses_one_of_a_row() {
    for nth in 1..=ROW as usize {
        let mut checked = scene();
        checked.switch(|switches| switches.map_fails = Trigger::Nth(nth as u32));
        // Backwards: each frame is an entry of its own.
        let mut maps: Vec<Map> = (0..ROW)
            .map(|nth| map_grant(FRONTEND, 40 - nth, 1, READ))
            .collect();
        map_all(&mut checked, &mut maps, &[(nth - 1, -5)]);
        unmap_all(&mut checked, &maps);
    }
}

#[test]
fn the_iommu_refuses_all_of_a_row() {
    let mut checked = scene();
    checked.switch(|switches| switches.map_fails = Trigger::Always);
    let mut maps = grants(8, READ);
    let all: Vec<_> = (0..ROW as usize).map(|nth| (nth, -5)).collect();
    map_all(&mut checked, &mut maps, &all);
    checked.switch(|switches| switches.map_fails = Trigger::Never);
    checked.assert_nothing_held();
}

/// XSA-222: a refusal to unmap is no success, and it is nobody else's.
#[test]
fn xsa_222_the_iommu_refuses_to_unmap_one_of_a_row() {
    let mut checked = scene();
    let mut maps = grants(8, READ);
    map_all(&mut checked, &mut maps, &[]);
    // The whole row, then the fourth by itself.
    checked.switch(|switches| switches.unmap_fails = Trigger::Always);
    let mut unmaps = unmaps_of(&maps);
    assert_eq!(checked.unmap(BACKEND, &mut unmaps).value, 0);
    assert_eq!(statuses(&unmaps), [-5; ROW as usize]);
    assert_eq!(checked.query(BACKEND).mappings, ROW as u32);
    checked.switch(|switches| switches.unmap_fails = Trigger::Nth(1));
    // They are tried one by one, and the second time each succeeds.
    unmap_all(&mut checked, &maps);
}

#[test]
fn one_handle_twice() {
    let mut checked = scene();
    let mut maps = grants(8, READ);
    map_all(&mut checked, &mut maps, &[]);
    let mut unmaps = unmaps_of(&maps);
    unmaps[7] = unmaps[6];
    assert_eq!(checked.unmap(BACKEND, &mut unmaps).value, 0);
    let mut expected = [0; ROW as usize];
    expected[7] = -2;
    assert_eq!(statuses(&unmaps), expected);
    checked.unmapped(maps[7].handle);
    checked.assert_nothing_held();
}

#[test]
fn by_address_and_by_handle_in_one_row() {
    let mut checked = scene();
    let mut maps = grants(8, READ);
    map_all(&mut checked, &mut maps, &[]);
    let mut unmaps = unmaps_of(&maps);
    for nth in [1, 2, 8] {
        unmaps[nth] = unmap_range(maps[nth].daddr, 1);
    }
    assert_eq!(checked.unmap(BACKEND, &mut unmaps).value, 0);
    assert_eq!(statuses(&unmaps), [0; ROW as usize]);
    checked.assert_nothing_held();
}

#[test]
fn chosen_addresses_in_a_row_and_not() {
    let mut checked = scene();
    let mut maps = grants(8, READ);
    for (nth, map) in (0..).zip(&mut maps) {
        // The fourth comes a second time, and two are away from the rest.
        let place = match nth {
            4 => 3,
            9 | 10 => 100 - nth,
            nth => nth,
        };
        *map = at(HOLE + place, *map);
    }
    map_all(&mut checked, &mut maps, &[(4, -17)]);
    unmap_all(&mut checked, &maps);
}

#[test]
fn a_row_into_used_addresses() {
    let mut checked = scene();
    let used = checked.mapped(at(HOLE + 6, map_own(0, 1, READ)));
    let mut maps = grants(8, READ);
    for (nth, map) in (0..).zip(&mut maps) {
        *map = at(HOLE + nth, *map);
    }
    assert_eq!(checked.map(BACKEND, &mut maps).value, 0);
    for (nth, map) in maps.iter().enumerate() {
        assert_eq!(map.status, if nth == 6 { -17 } else { 0 });
    }
    checked.unmapped(used.handle);
    unmap_all(&mut checked, &maps);
}

#[test]
fn the_quota_ends_in_the_middle_of_a_row() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 10,
        ..DomainSetup::pvh(BACKEND)
    });
    let mut maps = grants(8, READ);
    let over: Vec<_> = (10..ROW as usize).map(|nth| (nth, -105)).collect();
    map_all(&mut checked, &mut maps, &over);
    unmap_all(&mut checked, &maps);
}

/// XSA-318: the call is given up and goes on, between rows as between elements.
#[test]
fn xsa_318_rows_and_preemption() {
    let mut checked = scene();
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let mut maps: Vec<Map> = (0..200).map(|nth| map_own(nth % 30, 1, READ)).collect();
    let end = checked.map(BACKEND, &mut maps);
    assert_eq!((end.value, end.steps), (0, 4));
    let mut unmaps = unmaps_of(&maps);
    let end = checked.unmap(BACKEND, &mut unmaps);
    assert_eq!((end.value, end.steps), (0, 4));
    checked.assert_nothing_held();
}
