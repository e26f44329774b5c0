// SPDX-License-Identifier: GPL-2.0-only
//! Regressions for classes of Xen's advisories about grant tables. Those with a
//! test elsewhere:
//!
//! | advisory | where |
//! |---|---|
//! | 73 | `model/locks.rs`, and every test: locks check their order |
//! | 224, 230, 236, 394, 218 (records) | `grant_uses.rs` |
//! | 232 (queries) | `grant_tables.rs` |
//! | 295 (DMA pins) | `grant_uses.rs` |
//! | 380 (search) | `grant_cache.rs` |
//! | 382 (entries) | `grant_tables.rs` |

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use hv::{
    grant::{FrameKind, TableError, table::GrantTable, version::VersionError},
    host::Domain,
};
use hypercall_abi::grant::{
    Copy64, GNTTABOP_COPY, GNTTABOP_MAP_GRANT_REF, GNTTABOP_SETUP_TABLE, GNTTABOP_SWAP_GRANT_REF,
    GNTTABOP_TRANSFER, GNTTABOP_UNMAP_AND_REPLACE, GNTTABOP_UNMAP_GRANT_REF, GTF_ACCEPT_TRANSFER,
    GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING, MapGrantRef, SetupTable64, SwapGrantRef,
    Transfer64, UnmapAndReplace, UnmapGrantRef,
};
use testbed::{
    elements::{READ, by_frame, by_gref, copy_in, cpu_map, cpu_unmap, map_grant},
    model::{DomainSetup, Machine, Moment, Preempt, frames::NOBODY, hypercall::Number},
    oracle::Checked,
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const ADDRESS: u64 = 1 << 32;
const SELF: u16 = 0x7ff0;
const IN_USE: u16 = GTF_READING | GTF_WRITING;

fn with_table<T>(
    machine: &Machine,
    id: u16,
    look: impl FnOnce(&testbed::model::ModelDomain, &GrantTable<Machine>) -> T,
) -> T {
    let domain = machine.find(id).expect("a domain");
    look(&domain, &domain.state().expect("state").grants)
}

/// The bystander's frame 40, granted to the frontend, granted on to the backend.
fn transitive_scene() -> Checked {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    checked.write_entry(BYSTANDER, 40, GTF_PERMIT_ACCESS, FRONTEND, 40);
    checked.write_transitive(FRONTEND, 40, BACKEND, (BYSTANDER, 40));
    checked.fill(BYSTANDER, 40, 0x31);
    checked
}

fn through() -> Copy64 {
    copy_in(by_gref(FRONTEND, 40, 0), by_frame(1, 0), 64)
}

/// Table lock of every domain can be had for writing: nobody kept it.
fn assert_locks_are_free(checked: &Checked) {
    for domain in checked.machine.domains() {
        if let Some(state) = domain.state() {
            assert_eq!(
                state.grants.set_version(&checked.machine, &domain, 9),
                Err(VersionError::Unknown)
            );
            let same = state.grants.version().number();
            let set = state.grants.set_version(&checked.machine, &domain, same);
            assert_eq!(set, Ok(()));
        }
    }
}

// References, types, pins.

/// The page of a transfer that fails after it was taken belongs to nobody and is
/// free: neither the giver nor the receiver has it or is charged for it.
#[test]
fn xsa_284_page_of_a_failed_transfer_is_free() {
    let checked = scene();
    let before = |id| checked.machine.state().memory_of(id);
    let (giver, receiver) = (before(BACKEND), before(FRONTEND));
    for (gfn, domid, gref) in [(3, 77, 0), (4, FRONTEND, 0), (5, FRONTEND, 1 << 20)] {
        let mfn = checked.machine.mfn_of(BACKEND, gfn).expect("memory");
        let op = Transfer64 {
            gfn,
            domid,
            gref,
            ..Transfer64::default()
        };
        let (value, answer) = checked.ask(BACKEND, GNTTABOP_TRANSFER, op);
        assert!(value == 0 && answer.status < 0);
        assert!(checked.machine.state().frames.get(mfn).is_none());
    }
    assert_eq!((before(BACKEND), before(FRONTEND)), (giver - 3, receiver));
    let state = checked.machine.state();
    assert!(state.frames.iter().all(|(_, frame)| frame.owner != NOBODY));
}

/// A page that anybody refers to, device or CPU, cannot be given away.
#[test]
fn xsa_287_pages_in_use_are_not_transferred() {
    let mut checked = scene();
    checked.write_entry(FRONTEND, 80, GTF_ACCEPT_TRANSFER, BACKEND, 500);
    checked.write_entry(BACKEND, 8, GTF_PERMIT_ACCESS, FRONTEND, 3);
    let mut ops = [cpu_map(BACKEND, 8, ADDRESS, false)];
    checked.cpu_map(FRONTEND, &mut ops);
    let op = Transfer64 {
        gfn: 3,
        domid: FRONTEND,
        gref: 80,
        ..Transfer64::default()
    };
    let mut gifts = [op];
    checked.transfer(BACKEND, &mut gifts);
    assert_eq!(gifts[0].status, -1);
    assert!(checked.machine.mfn_of(BACKEND, 3).is_some());
    checked.cpu_unmap(FRONTEND, &mut [cpu_unmap(ops[0].handle, ADDRESS)]);
    checked.transfer(BACKEND, &mut gifts);
    assert_eq!(gifts[0].status, 0);
}

// Races and ordering.

/// Four vcpus map and unmap at once: no handle is given out twice, none is lost.
#[test]
fn xsa_228_free_records_in_parallel() {
    let checked = scene_with(DomainSetup {
        vcpus: 4,
        max_maptrack_frames: 4,
        ..DomainSetup::pvh(BACKEND)
    });
    let live = Mutex::new(std::collections::BTreeSet::new());
    thread::scope(|threads| {
        for nth in 0..4_u32 {
            let vcpu = checked.machine.vcpu_of(BACKEND).with_vcpu(nth);
            let live = &live;
            threads.spawn(move || {
                for round in 0..100 {
                    let gref = 8 + nth * 8 + round % 8;
                    let at = ADDRESS + u64::from(nth) * 4096;
                    let call = |cmd, bytes: &mut [u8]| {
                        let place = 0x7000_0000 + u64::from(nth) * 0x1_0000;
                        vcpu.with_guest_memory(|memory| memory.store(place, bytes));
                        assert_eq!(vcpu.call(Number::GrantTable, cmd, place, 1).value, 0);
                        vcpu.with_guest_memory(|memory| {
                            memory.read(place, bytes);
                        });
                    };
                    let mut op = cpu_map(FRONTEND, gref, at, false);
                    call(GNTTABOP_MAP_GRANT_REF, op.as_mut_bytes());
                    assert_eq!(op.status, 0);
                    assert!(live.lock().expect("set").insert(op.handle), "given twice");
                    assert!(live.lock().expect("set").remove(&op.handle));
                    let mut op = cpu_unmap(op.handle, at);
                    call(GNTTABOP_UNMAP_GRANT_REF, op.as_mut_bytes());
                    assert_eq!(op.status, 0);
                }
            });
        }
    });
    checked.assert_nothing_held();
    // All records are free again: as many as there can be can be had.
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops: Vec<_> = (0..1025)
        .map(|nth| {
            cpu_map(
                FRONTEND,
                8 + nth % 60,
                ADDRESS + u64::from(nth) * 4096,
                false,
            )
        })
        .collect();
    vcpu.call_with(Number::GrantTable, GNTTABOP_MAP_GRANT_REF, &mut ops);
    assert_eq!(ops.iter().filter(|op| op.status == 0).count(), 1024);
    assert_eq!(ops[1024].status, -13);
}

/// Two vcpus unmap one handle at the same moment: one of them does.
#[test]
fn xsa_218_two_unmaps_of_one_handle() {
    let mut checked = scene();
    for _ in 0..50 {
        let live = checked.cpu_mapped(8, ADDRESS, true);
        let okay = AtomicU32::new(0);
        thread::scope(|threads| {
            for nth in 0..2_u64 {
                let (vcpu, okay) = (checked.machine.vcpu_of(BACKEND), &okay);
                threads.spawn(move || {
                    let place = 0x7000_0000 + nth * 0x1_0000;
                    let mut op = cpu_unmap(live.handle, ADDRESS);
                    vcpu.with_guest_memory(|memory| memory.store(place, op.as_bytes()));
                    vcpu.call(Number::GrantTable, GNTTABOP_UNMAP_GRANT_REF, place, 1);
                    vcpu.with_guest_memory(|memory| {
                        memory.read(place, op.as_mut_bytes());
                    });
                    assert!(matches!(op.status, 0 | -4), "{}", op.status);
                    okay.fetch_add(u32::from(op.status == 0), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(okay.into_inner(), 1);
        checked.reference.cpu.clear();
        checked.assert_nothing_held();
        assert_eq!(checked.entry_flags(8), GTF_PERMIT_ACCESS);
    }
}

// Copy, transitive grants.

/// Transitive grants in a circle: one step, then the end.
#[test]
fn xsa_226_transitive_grants_in_a_circle() {
    let mut checked = scene();
    for domain in [FRONTEND, BYSTANDER] {
        checked.set_version(domain, 2);
    }
    checked.write_transitive(FRONTEND, 40, BACKEND, (BYSTANDER, 40));
    checked.write_transitive(BYSTANDER, 40, FRONTEND, (FRONTEND, 41));
    checked.write_transitive(FRONTEND, 41, BYSTANDER, (BYSTANDER, 40));
    assert_eq!(checked.copied(through()), -1);
    assert_eq!(checked.machine.state().counters.references, 0);
    checked.assert_nothing_held();
}

/// Uses of a transitive grant that is in use already count like the first, and all
/// of them go.
#[test]
fn xsa_226_second_use_of_a_transitive_grant() {
    let mut checked = transitive_scene();
    let mut ops: Vec<_> = (0..40).map(|_| through()).collect();
    let nested = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&nested);
    let machine = &checked.machine;
    machine.set_hook(move |machine, moment| {
        if let Moment::Poll = moment
            && seen.fetch_add(1, Ordering::SeqCst) == 0
        {
            // Another vcpu copies while the first has the pages in use.
            let vcpu = machine.vcpu_of(BACKEND);
            let place = 0x7000_0000;
            let mut op = through();
            vcpu.with_guest_memory(|memory| memory.store(place, op.as_bytes()));
            vcpu.call(Number::GrantTable, GNTTABOP_COPY, place, 1);
            vcpu.with_guest_memory(|memory| {
                memory.read(place, op.as_mut_bytes());
            });
            assert_eq!(op.status, 0);
            assert_eq!(machine.read_entry(BYSTANDER, 40).0 & IN_USE, GTF_READING);
            assert_eq!(machine.read_entry(FRONTEND, 40).0 & IN_USE, GTF_READING);
        }
    });
    let vcpu = machine.vcpu_of(BACKEND);
    vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut ops);
    assert!(nested.load(Ordering::SeqCst) > 0, "the copies were polled");
    assert!(ops.iter().all(|op| op.status == 0));
    checked.machine.clear_hook();
    checked.assert_nothing_held();
    assert_eq!(checked.copied(through()), 0);
}

/// No way out of a copy keeps a lock.
#[test]
fn xsa_411_no_lock_is_kept_on_error_paths() {
    let mut checked = transitive_scene();
    checked.write_entry(FRONTEND, 50, 3, BACKEND, 8);
    for source in [
        by_gref(FRONTEND, 5000, 0),
        by_gref(FRONTEND, 0, 0),
        by_gref(FRONTEND, 50, 0),
        by_gref(FRONTEND, 40, 4096),
        by_gref(77, 0, 0),
    ] {
        assert!(checked.copied(copy_in(source, by_frame(1, 0), 8)) < 0);
        assert_locks_are_free(&checked);
    }
    // Where what a transitive grant leads to changes meanwhile.
    checked.machine.set_hook(|machine, moment| {
        if let Moment::EntryAccess { .. } = moment {
            let origin = u32::from(BYSTANDER);
            machine.write_whole_entry(FRONTEND, 40, 3, BACKEND, origin, 41);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [through()];
    vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut ops);
    assert!(ops[0].status < 0);
    checked.machine.clear_hook();
    assert_locks_are_free(&checked);
}

/// The bytes copied are those of the page that is referenced, also when the origin
/// names another page while a use is going on.
#[test]
fn xsa_500_frame_and_page_are_one() {
    let mut checked = transitive_scene();
    checked.fill(BYSTANDER, 41, 0x41);
    let rewritten = AtomicBool::new(false);
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::Poll = moment
            && !rewritten.swap(true, Ordering::SeqCst)
        {
            machine.write_entry(BYSTANDER, 40, GTF_PERMIT_ACCESS, FRONTEND, 41);
            let vcpu = machine.vcpu_of(BACKEND);
            let place = 0x7000_0000;
            let mut op = copy_in(by_gref(FRONTEND, 40, 0), by_frame(2, 0), 64);
            vcpu.with_guest_memory(|memory| memory.store(place, op.as_bytes()));
            vcpu.call(Number::GrantTable, GNTTABOP_COPY, place, 1);
            vcpu.with_guest_memory(|memory| {
                memory.read(place, op.as_mut_bytes());
            });
            assert_eq!(op.status, 0);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = vec![through(); 40];
    vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut ops);
    assert!(ops.iter().all(|op| op.status == 0));
    checked.machine.clear_hook();
    // Referenced at that moment was page 40.
    assert_eq!(checked.byte(BACKEND, 2, 63), 0x31);
    checked.write_entry(BYSTANDER, 40, GTF_PERMIT_ACCESS, FRONTEND, 41);
    assert_eq!(checked.copied(through()), 0);
    assert_eq!(checked.byte(BACKEND, 1, 0), 0x41);
    checked.assert_nothing_held();
}

// Version 2, version switch.

/// Back and forth with growth in between: entries and status frames stay in step,
/// and no page is lost or left over (the oracle counts them).
#[test]
fn xsa_26_repeated_switches_with_growth() {
    let mut checked = scene();
    for round in 1..=4 {
        checked.set_version(FRONTEND, 2);
        let table = SetupTable64 {
            dom: SELF,
            nr_frames: round,
            ..SetupTable64::default()
        };
        checked.ask(FRONTEND, GNTTABOP_SETUP_TABLE, table);
        let last = round * 256 - 1;
        checked.write_entry(FRONTEND, last, GTF_PERMIT_ACCESS, BACKEND, 8);
        let live = checked.cpu_mapped(last, ADDRESS, true);
        checked.cpu_unmap(BACKEND, &mut [cpu_unmap(live.handle, ADDRESS)]);
        checked.set_version(FRONTEND, 1);
        assert_eq!(checked.cpu_mapped(last, ADDRESS, true).status, -1);
    }
}

/// XSA-255, 379: a status frame that is still in the guest's reach is not freed.
#[test]
fn xsa_255_379_status_frames_in_reach_are_not_freed() {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    let mut mfn = [0];
    with_table(&checked.machine, FRONTEND, |domain, table| {
        table
            .frames_for_resource(&checked.machine, domain, FrameKind::Status, 0, &mut mfn)
            .expect("a status frame");
    });
    checked.machine.state().guest_uses.insert(mfn[0]);
    assert_eq!(checked.set_version(FRONTEND, 1), (-16, 2));
    let owner = checked
        .machine
        .state()
        .frames
        .get(mfn[0])
        .map(|it| it.owner);
    assert_eq!(owner, Some(FRONTEND));
    checked.machine.state().guest_uses.clear();
    assert_eq!(checked.set_version(FRONTEND, 1), (0, 1));
    assert!(checked.machine.state().frames.get(mfn[0]).is_none());
}

/// XSA-384, 486, 501: while a status frame is being mapped, the format cannot
/// change under it.
#[test]
fn xsa_384_486_501_version_waits_for_a_frame_being_mapped() {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    let (done, finished) = mpsc::channel();
    let machine = &checked.machine;
    thread::scope(|threads| {
        let domain = machine.find(FRONTEND).expect("frontend");
        let table = &domain.state().expect("state").grants;
        let (mfn, guard) = table
            .frame_for_mapping(machine, &domain, true, 0)
            .expect("a status frame");
        threads.spawn(move || {
            with_table(machine, FRONTEND, |domain, table| {
                let changed = table.set_version(machine, domain, 1);
                done.send(changed).expect("somebody waits");
            });
        });
        let early = finished.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "the format changed under a mapping");
        assert!(machine.state().frames.get(mfn.number()).is_some());
        drop(guard);
        assert_eq!(finished.recv(), Ok(Ok(())));
        assert!(machine.state().frames.get(mfn.number()).is_none());
    });
    let gone = with_table(machine, FRONTEND, |domain, table| {
        let frame = table.frame_for_mapping(machine, domain, true, 0);
        frame.map(|(mfn, _)| mfn)
    });
    assert_eq!(gone, Err(TableError::NoStatus));
}

// Input.

#[test]
fn xsa_18_bounds_of_a_swap() {
    let mut checked = scene();
    for version in [1, 2] {
        checked.set_version(FRONTEND, version);
        let entries = checked.machine.table_entries(FRONTEND);
        for (ref_a, ref_b, status) in [
            (entries - 1, 0, 0),
            (entries, 0, -3),
            (0, entries, -3),
            (u32::MAX, entries - 1, -3),
        ] {
            let mut ops = [SwapGrantRef {
                ref_a,
                ref_b,
                ..SwapGrantRef::default()
            }];
            checked.swap(FRONTEND, &mut ops);
            assert_eq!(ops[0].status, status, "{ref_a} {ref_b}");
        }
    }
}

#[test]
fn xsa_382_bounds_of_status_frames() {
    let mut checked = scene();
    let resource = |checked: &Checked, kind, first, count| {
        let mut mfns = vec![0; count];
        with_table(&checked.machine, FRONTEND, |domain, table| {
            table.frames_for_resource(&checked.machine, domain, kind, first, &mut mfns)
        })
    };
    assert_eq!(
        resource(&checked, FrameKind::Status, 0, 1),
        Err(TableError::NoStatus)
    );
    checked.set_version(FRONTEND, 2);
    assert_eq!(resource(&checked, FrameKind::Status, 0, 1), Ok(()));
    // Four frames of entries have their status in one.
    for (first, count) in [(1, 1), (0, 2), (u32::MAX, 1), (1 << 29, 1)] {
        assert!(resource(&checked, FrameKind::Status, first, count).is_err());
    }
    for (first, count) in [(4, 1), (0, 5), (u32::MAX, 1), (u32::MAX, 2)] {
        assert!(resource(&checked, FrameKind::Shared, first, count).is_err());
    }
    for index in [4, u64::from(u32::MAX), u64::MAX] {
        for status in [false, true] {
            let frame = with_table(&checked.machine, FRONTEND, |domain, table| {
                let machine = &checked.machine;
                table
                    .frame_for_mapping(machine, domain, status, index)
                    .map(|(mfn, _)| mfn)
            });
            assert!(frame.is_err(), "{index} {status}");
        }
    }
    checked.check();
}

/// XSA-134: everything works, or fails in order, on tables that nobody has set up.
#[test]
fn xsa_134_operations_on_untouched_tables() {
    let mut checked = Checked::new(&[DomainSetup::pvh(BACKEND), DomainSetup::pvh(FRONTEND)]);
    let refused = |value: (i32, i16)| assert_eq!(value, (0, -1));
    assert_eq!(checked.cpu_mapped(8, ADDRESS, false).status, -1);
    let op = copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, 0), 8);
    assert_eq!(checked.copied(op), -1);
    let gift = Transfer64 {
        gfn: 3,
        domid: FRONTEND,
        ..Transfer64::default()
    };
    let (value, answer) = checked.ask(BACKEND, GNTTABOP_TRANSFER, gift);
    refused((value, answer.status));
    let swap = SwapGrantRef {
        ref_b: 1,
        ..SwapGrantRef::default()
    };
    let (value, answer) = checked.ask(BACKEND, GNTTABOP_SWAP_GRANT_REF, swap);
    assert_eq!((value, answer.status), (0, 0));
    checked.kill(FRONTEND);
}

/// XSA-232: no operation finds a table where there is none.
#[test]
fn xsa_232_no_operation_on_a_domain_without_a_table() {
    let mut checked = scene();
    checked.add_domain(DomainSetup {
        has_state: false,
        ..DomainSetup::pvh(9)
    });
    let map = MapGrantRef {
        dom: 9,
        ..cpu_map(9, 8, ADDRESS, false)
    };
    assert_eq!(
        checked.ask(BACKEND, GNTTABOP_MAP_GRANT_REF, map).1.status,
        -2
    );
    let op = copy_in(by_gref(9, 8, 0), by_frame(1, 0), 8);
    assert_eq!(checked.copied(op), -2);
    let gift = Transfer64 {
        gfn: 3,
        domid: 9,
        ..Transfer64::default()
    };
    assert_eq!(checked.ask(BACKEND, GNTTABOP_TRANSFER, gift).1.status, -1);
    let table = SetupTable64 {
        dom: 9,
        nr_frames: 1,
        ..SetupTable64::default()
    };
    assert_eq!(
        checked.ask(BACKEND, GNTTABOP_SETUP_TABLE, table).1.status,
        -2
    );
    // Nor does such a domain find one of its own.
    let unmap = cpu_unmap(0, ADDRESS);
    let (_, answer) = checked.ask(9, GNTTABOP_UNMAP_GRANT_REF, unmap);
    assert_eq!(answer.status, -4);
    let swap = SwapGrantRef::default();
    assert_eq!(checked.ask(9, GNTTABOP_SWAP_GRANT_REF, swap).1.status, -1);
}

// Errors, continuations.

/// A mapping that could not be undone keeps its handle, pins and references.
#[test]
fn xsa_222_failed_unmap_keeps_everything() {
    let mut checked = scene();
    let live = checked.cpu_mapped(8, ADDRESS, true);
    for _ in 0..2 {
        let mut ops = [cpu_unmap(live.handle, ADDRESS + 4096)];
        checked.cpu_unmap(BACKEND, &mut ops);
        assert_eq!(ops[0].status, -1);
        assert_eq!(checked.entry_flags(8) & IN_USE, IN_USE);
        assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
    }
    let mut ops = [cpu_unmap(live.handle, ADDRESS)];
    checked.cpu_unmap(BACKEND, &mut ops);
    assert_eq!(ops[0].status, 0);
    checked.assert_nothing_held();
}

/// What a copy cannot decide now is an error of its element, not a value that looks
/// like success.
#[test]
fn xsa_316_retries_end_in_a_negative_status() {
    let checked = transitive_scene();
    let (inner, _) = checked.machine.entry(BYSTANDER, 40).page;
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::EntryAccess { page, .. } = moment
            && std::ptr::eq(page, &*inner)
        {
            let (_, _, _, last) = machine.read_whole_entry(FRONTEND, 40);
            let origin = u32::from(BYSTANDER);
            machine.write_whole_entry(FRONTEND, 40, 3, BACKEND, origin, last ^ 1);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [
        through(),
        copy_in(by_gref(FRONTEND, 40, 0), by_frame(1, 0), 0),
    ];
    ops[0].status = 77;
    ops[1].status = 77;
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut ops);
    assert_eq!(end.value, 0);
    assert!(ops[0].status < 0, "{}", ops[0].status);
    assert_eq!(ops[1].status, 0);
}

fn every_element_is_answered<T>(cmd: u32, op: T, status: impl Fn(&mut T) -> &mut i16)
where
    T: FromBytes + IntoBytes + Immutable + Copy,
{
    for count in [1, 2, 63, 64, 65, 200] {
        let checked = scene();
        checked.switch(|switches| switches.preempt = Preempt::Always);
        let mut ops = vec![op; count];
        for op in &mut ops {
            *status(op) = 77;
        }
        let vcpu = checked.machine.vcpu_of(BACKEND);
        let end = vcpu.call_with(Number::GrantTable, cmd, &mut ops);
        assert_eq!(end.value, 0, "{cmd}");
        for op in &mut ops {
            assert!(*status(op) <= 0, "operation {cmd}: no status");
        }
    }
}

/// Preempted before anything was done, or anywhere else: every element has a
/// status in the end.
#[test]
fn xsa_318_every_element_is_answered() {
    let map = cpu_map(FRONTEND, 8, ADDRESS, false);
    every_element_is_answered(GNTTABOP_MAP_GRANT_REF, map, |op| &mut op.status);
    let unmap = UnmapGrantRef::default();
    every_element_is_answered(GNTTABOP_UNMAP_GRANT_REF, unmap, |op| &mut op.status);
    let replace = UnmapAndReplace::default();
    every_element_is_answered(GNTTABOP_UNMAP_AND_REPLACE, replace, |op| &mut op.status);
    let copy = copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, 0), 8);
    every_element_is_answered(GNTTABOP_COPY, copy, |op| &mut op.status);
    let gift = Transfer64::default();
    every_element_is_answered(GNTTABOP_TRANSFER, gift, |op| &mut op.status);
    let swap = SwapGrantRef::default();
    every_element_is_answered(GNTTABOP_SWAP_GRANT_REF, swap, |op| &mut op.status);
}

// Denial of service.

/// The release of a dying holder looks at its records only, in small steps.
#[test]
fn xsa_380_release_in_small_steps() {
    let mut checked = scene();
    for nth in 0..300 {
        let at = ADDRESS + u64::from(nth) * 4096;
        assert_eq!(checked.cpu_mapped(8 + nth % 60, at, false).status, 0);
    }
    checked.mapped(map_grant(FRONTEND, 68, 1, READ));
    checked.switch(|switches| switches.preempt = Preempt::Always);
    checked.machine.state().counters = Default::default();
    let (_, steps) = checked.kill(BACKEND);
    // 300 mappings are in two frames of 256 records; a step has at most 64.
    assert!(steps >= 512 / 64, "{steps} steps");
    assert!(steps <= 512 / 64 + 4, "{steps} steps");
    checked.assert_nothing_held();
}

/// XSA-295: a receiver or granter that keeps changing the word costs a bounded
/// number of attempts, whatever the operation.
#[test]
fn xsa_295_bounded_atomics_of_all_operations() {
    let mut checked = scene();
    checked.write_entry(FRONTEND, 80, GTF_ACCEPT_TRANSFER, BACKEND, 500);
    checked.machine.set_hook(|_, moment| {
        if let Moment::EntryAccess { page, offset } = moment {
            page.word(offset).fetch_xor(1 << 9, Ordering::SeqCst);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let spent = || std::mem::take(&mut checked.machine.state().counters.atomics);
    spent();
    let mut gifts = [Transfer64 {
        gfn: 3,
        domid: FRONTEND,
        gref: 80,
        ..Transfer64::default()
    }];
    vcpu.call_with(Number::GrantTable, GNTTABOP_TRANSFER, &mut gifts);
    assert_eq!(gifts[0].status, -1);
    assert!(spent() <= 8);
    let mut maps = [cpu_map(FRONTEND, 8, ADDRESS, true)];
    vcpu.call_with(Number::GrantTable, GNTTABOP_MAP_GRANT_REF, &mut maps);
    assert_eq!(maps[0].status, -1);
    assert!(spent() <= 8);
    let mut copies = [copy_in(by_gref(FRONTEND, 8, 0), by_frame(1, 0), 8)];
    vcpu.call_with(Number::GrantTable, GNTTABOP_COPY, &mut copies);
    assert_eq!(copies[0].status, -1);
    assert!(spent() <= 8);
    checked.machine.clear_hook();
}
