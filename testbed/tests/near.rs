// SPDX-License-Identifier: GPL-2.0-only
//! Pages of one domain that are pinned one after the other share a look-up in its address
//! space, as long as that does not change.

use hypercall_abi::{
    command::{XEN_GDMA_OP_MAP, XEN_GDMA_OP_WINDOW_CREATE},
    mapping::Map,
    window::WindowCreate,
};
use testbed::{
    elements::{READ, map_grant, map_own, window_grant},
    model::{Machine, Moment, domain::Backing, hypercall::Number},
    oracle::Checked,
    row,
    scene::{BACKEND, FRONTEND, scene},
};

/// References of the frontend to guest frames of the same numbers.
const FIRST: u32 = 8;
const COUNT: u32 = 8;
/// The one with which something happens.
const NTH: u32 = 5;
/// Another frame of the frontend's memory.
const OTHER: u64 = 40;

fn grants_in_a_run() -> Vec<Map> {
    vec![map_grant(FRONTEND, FIRST.into(), COUNT, READ)]
}

fn grants_by_themselves() -> Vec<Map> {
    let map = |gref: u32| map_grant(FRONTEND, gref.into(), 1, READ);
    (FIRST..FIRST + COUNT).map(map).collect()
}

fn mfn(machine: &Machine, gfn: u64) -> u64 {
    machine.mfn_of(FRONTEND, gfn).expect("memory")
}

/// The first mapping of a context is worked on alone.
fn with_open_context() -> Checked {
    let mut checked = scene();
    checked.mapped(map_own(9, 1, READ));
    checked
}

/// Just before the entry number [`NTH`] is put in use, `change` happens.
fn before_use(checked: &Checked, change: impl Fn(&Machine) + Send + Sync + 'static) {
    let entry = ((FIRST + NTH) * 8) as usize;
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::EntryAccess { offset, .. } = moment
            && offset == entry
        {
            change(machine);
        }
    });
}

/// Two frames of the frontend change places.
fn swap(machine: &Machine) {
    let gfn = u64::from(FIRST + NTH);
    let (one, other) = (mfn(machine, gfn), mfn(machine, OTHER));
    let mut state = machine.state();
    state.set_backing(FRONTEND, gfn, Some(Backing::Ram(other)));
    state.set_backing(FRONTEND, OTHER, Some(Backing::Ram(one)));
}

/// Maps, without asking the oracle, who does not know what happens meanwhile.
fn map(checked: &Checked, ops: &mut [Map]) {
    let vcpu = checked.machine.vcpu_of(BACKEND);
    assert_eq!(
        vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_MAP, ops).value,
        0
    );
    checked.machine.clear_hook();
}

/// The frames that a mapping leads devices to, in order.
fn reached(checked: &Checked, ops: &[Map]) -> Vec<u64> {
    let state = checked.machine.state();
    let tables = state.tables_of(BACKEND, 0).expect("the default context");
    let dfns = ops.iter().flat_map(|op| {
        let first = op.daddr / 4096;
        first..first + u64::from(op.nr_frames)
    });
    dfns.map(|dfn| tables.translate(dfn, false).expect("mapped"))
        .collect()
}

#[test]
fn neighbours_are_looked_for_once() {
    for mut ops in [grants_in_a_run(), grants_by_themselves()] {
        let mut checked = with_open_context();
        checked.map(BACKEND, &mut ops);
        assert!(ops.iter().all(|op| op.status == 0), "{ops:?}");
        assert_eq!(checked.machine.state().counters.near, COUNT - 1);
    }
}

#[test]
fn own_neighbours_are_looked_for_once() {
    let mut checked = with_open_context();
    let mut ops: Vec<Map> = (3..9).map(|gfn| map_own(gfn, 1, READ)).collect();
    checked.map(BACKEND, &mut ops);
    assert!(ops.iter().all(|op| op.status == 0), "{ops:?}");
    assert_eq!(checked.machine.state().counters.near, 5);
}

/// A look-up before an entry is in use says nothing about the page that it grants when it
/// is: the granter may have moved what was there.
#[test]
fn what_has_moved_is_looked_for_again() {
    for mut ops in [grants_in_a_run(), grants_by_themselves()] {
        let checked = scene();
        let before = mfn(&checked.machine, u64::from(FIRST + NTH));
        before_use(&checked, swap);
        map(&checked, &mut ops);
        assert!(ops.iter().all(|op| op.status == 0), "{ops:?}");
        let now: Vec<u64> = (FIRST..FIRST + COUNT)
            .map(|gfn| mfn(&checked.machine, gfn.into()))
            .collect();
        assert_ne!(now[NTH as usize], before);
        assert_eq!(reached(&checked, &ops), now);
        assert_eq!(checked.references_of(FRONTEND, OTHER), (0, 0));
    }
}

#[test]
fn what_has_gone_is_not_pinned() {
    for mut ops in [grants_in_a_run(), grants_by_themselves()] {
        let checked = scene();
        let before = mfn(&checked.machine, u64::from(FIRST + NTH));
        before_use(&checked, |machine| {
            let gfn = u64::from(FIRST + NTH);
            machine.state().set_backing(FRONTEND, gfn, None);
        });
        map(&checked, &mut ops);
        let failed = if ops.len() == 1 { 0 } else { NTH as usize };
        for (nth, op) in ops.iter().enumerate() {
            assert_eq!(op.status, if nth == failed { -14 } else { 0 }, "{op:?}");
        }
        let state = checked.machine.state();
        assert_eq!(state.frames.get(before).expect("a frame").refs, 0);
    }
}

#[test]
fn a_window_finds_what_has_moved() {
    let checked = scene();
    before_use(&checked, swap);
    let op = window_grant(FRONTEND, FIRST.into(), COUNT, READ);
    let made: WindowCreate = row::raw(&checked, XEN_GDMA_OP_WINDOW_CREATE, op);
    checked.machine.clear_hook();
    assert_eq!(made.status, 0, "{made:?}");
    let now = mfn(&checked.machine, u64::from(FIRST + NTH));
    let state = checked.machine.state();
    let tables = state.tables_of(BACKEND, 0).expect("the default context");
    let there = tables.translate(made.daddr / 4096 + u64::from(NTH), false);
    assert_eq!(there.expect("mapped"), now);
}
