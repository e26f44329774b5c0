// SPDX-License-Identifier: GPL-2.0-only
//! Contexts: making them, moving devices to them, mapping in them, ending them.

use hv::{
    addr::{Access, Dfn, DfnRange, Gfn},
    dma::{
        context::{Context, DmaPin, Source},
        quota::Quota,
    },
    host::{Frames, IoMemory, IommuMode},
};
use hypercall_abi::{
    context::{ContextCreate, ContextDestroy, DeviceAttach, XEN_GDMA_CONTEXT_MIRROR},
    device::QueryDevice,
    mapping::{Flush, Unmap, XEN_GDMA_NO_FLUSH},
};
use testbed::{
    elements::{READ, READ_WRITE, at, inside, map_grant, map_own, unmap_handle},
    model::{DomainSetup, Event, Machine, Preempt, Trigger},
    oracle::Checked,
    scene::{BACKEND, BYSTANDER, FRONTEND, attach, destroy, scene, scene_with},
};

/// Device numbers.
const NIC: u32 = 8;
const DISK: u32 = 9;
const FIRST: u64 = DomainSetup::CONTEXTS;

/// A scene with two devices of the backend.
fn with_devices() -> Checked {
    let checked = scene();
    checked.machine.plug(NIC, BACKEND, true);
    checked.machine.plug(DISK, BACKEND, true);
    checked
}

fn create(checked: &mut Checked, op: ContextCreate) -> ContextCreate {
    let mut ops = [op];
    assert_eq!(checked.context_create(BACKEND, &mut ops).value, 0);
    ops[0]
}

fn created(checked: &mut Checked) -> u32 {
    let op = create(checked, ContextCreate::default());
    assert_eq!(op.status, 0);
    op.context
}

fn unmap_in(checked: &mut Checked, context: u32, handle: u64) -> i32 {
    checked.unmap_one(Unmap {
        context,
        ..unmap_handle(handle)
    })
}

#[test]
fn a_context_is_a_device_address_space_of_its_own() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    checked.fill(BACKEND, 5, 0x55);
    checked.fill(BACKEND, 6, 0x66);
    let here = checked.mapped(inside(context, at(FIRST + 7, map_own(5, 1, READ_WRITE))));
    let other = created(&mut checked);
    let there = checked.mapped(inside(other, at(FIRST + 7, map_own(6, 1, READ))));
    assert_eq!(here.daddr, there.daddr);
    assert_eq!(attach(&mut checked, NIC, context), 0);
    assert_eq!(attach(&mut checked, DISK, other), 0);
    assert_eq!(checked.machine.pci_read(NIC, here.daddr), Ok(0x55));
    assert_eq!(checked.machine.pci_read(DISK, here.daddr), Ok(0x66));
    assert!(checked.machine.pci_write(DISK, here.daddr, 1).is_err());
    assert_eq!(checked.machine.pci_write(NIC, here.daddr + 9, 0x77), Ok(()));
    assert_eq!(checked.byte(BACKEND, 5, 9), 0x77);
}

#[test]
fn invariant_11_a_device_reaches_its_context_and_nothing_else() {
    let mut checked = with_devices();
    let default = checked.mapped(map_own(3, 1, READ));
    let context = created(&mut checked);
    let own = checked.mapped(inside(context, map_own(4, 1, READ)));
    let reaches = |checked: &Checked, daddr| checked.machine.pci_read(NIC, daddr).is_ok();
    assert!(reaches(&checked, default.daddr) && !reaches(&checked, own.daddr));
    assert_eq!(attach(&mut checked, NIC, context), 0);
    assert!(!reaches(&checked, default.daddr) && reaches(&checked, own.daddr));
    // A move that fails changes nothing.
    checked.switch(|switches| switches.attach_fails = Trigger::Nth(1));
    assert_eq!(attach(&mut checked, NIC, 0), -5);
    assert!(!reaches(&checked, default.daddr) && reaches(&checked, own.daddr));
    assert_eq!(destroy(&mut checked, context), -16);
    assert!(reaches(&checked, own.daddr));
    assert_eq!(attach(&mut checked, NIC, 0), 0);
    assert!(reaches(&checked, default.daddr) && !reaches(&checked, own.daddr));
    assert_eq!(destroy(&mut checked, context), 0);
    assert!(reaches(&checked, default.daddr) && !reaches(&checked, own.daddr));
}

#[test]
fn devices_that_are_one_to_the_iommu_move_together_or_not_at_all() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    let alike = |checked: &Checked, owner| {
        let mut state = checked.machine.state();
        let disk = state.pci.get_mut(&DISK).expect("a device");
        (disk.group, disk.owner) = (NIC, owner);
    };
    alike(&checked, BYSTANDER);
    assert_eq!(attach(&mut checked, NIC, context), -16);
    alike(&checked, BACKEND);
    assert_eq!(attach(&mut checked, NIC, context), 0);
    assert_eq!(checked.reference.attached.get(&DISK), Some(&context));
    // Now the other one takes both back.
    assert_eq!(attach(&mut checked, DISK, 0), 0);
    assert_eq!(destroy(&mut checked, context), 0);
}

/// Invariant 5 as well: exactly as many as the quota says.
#[test]
fn create_errors() {
    let mut checked = with_devices();
    for bad in [
        ContextCreate {
            flags: 2,
            ..ContextCreate::default()
        },
        ContextCreate {
            pad0: 1,
            ..ContextCreate::default()
        },
        // Not one whole page.
        ContextCreate {
            max_daddr: 4094,
            ..ContextCreate::default()
        },
        // Nothing where contexts can have frames.
        ContextCreate {
            max_daddr: FIRST * 4096 - 1,
            ..ContextCreate::default()
        },
    ] {
        assert_eq!(create(&mut checked, bad).status, -22, "{bad:?}");
    }
    checked.switch(|switches| switches.no_io_context = Trigger::Nth(1));
    assert_eq!(create(&mut checked, ContextCreate::default()).status, -28);
    checked.switch(|switches| switches.share_fails = Trigger::Nth(1));
    assert_eq!(create(&mut checked, ContextCreate::default()).status, -12);
    // None of these was counted: there is room for four.
    for _ in 0..4 {
        created(&mut checked);
    }
    assert_eq!(create(&mut checked, ContextCreate::default()).status, -105);
    assert_eq!(checked.stats(BACKEND, BACKEND).used_contexts, 4);
    let mut absent = scene_with(DomainSetup {
        iommu: IommuMode::Absent,
        ..DomainSetup::pvh(BACKEND)
    });
    assert_eq!(create(&mut absent, ContextCreate::default()).status, -95);
    assert_eq!(absent.query(BACKEND).max_contexts, 0);
}

#[test]
fn a_32_bit_context_stays_below_4_gib() {
    let mut checked = with_devices();
    let op = create(
        &mut checked,
        ContextCreate {
            max_daddr: 0xffff_ffff,
            ..ContextCreate::default()
        },
    );
    assert_eq!(op.status, 0);
    assert!(op.daddr_last <= 0xffff_ffff);
    let last = op.daddr_last / 4096;
    checked.mapped(inside(op.context, at(last, map_own(3, 1, READ))));
    checked.map_refused(inside(op.context, at(last, map_own(3, 2, READ))), -22);
}

#[test]
fn attach_errors() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    let good = DeviceAttach {
        id: NIC.into(),
        context,
        ..DeviceAttach::default()
    };
    let mut status = |op: DeviceAttach| {
        let mut ops = [op];
        assert_eq!(checked.device_attach(BACKEND, &mut ops).value, 0);
        ops[0].status
    };
    assert_eq!(status(DeviceAttach { pad0: 1, ..good }), -22);
    assert_eq!(status(DeviceAttach { kind: 1, ..good }), -22);
    assert_eq!(
        status(DeviceAttach {
            id: 1 << 32,
            ..good
        }),
        -22
    );
    for context in [context + 1, 77, u32::MAX] {
        assert_eq!(status(DeviceAttach { context, ..good }), -2);
    }
    assert_eq!(status(DeviceAttach { id: 99, ..good }), -19);
    checked.machine.plug(16, FRONTEND, true);
    checked.machine.plug(17, BACKEND, false);
    let mut status = |op: DeviceAttach| {
        let mut ops = [op];
        assert_eq!(checked.device_attach(BACKEND, &mut ops).value, 0);
        ops[0].status
    };
    assert_eq!(status(DeviceAttach { id: 16, ..good }), -19);
    assert_eq!(status(DeviceAttach { id: 17, ..good }), -95);
    checked.switch(|switches| switches.no_pci = true);
    assert_eq!(attach(&mut checked, NIC, context), -95);
}

#[test]
fn query_device_tells_the_context() {
    let mut checked = with_devices();
    let ask = |checked: &mut Checked| {
        let op = QueryDevice {
            id: NIC.into(),
            ..QueryDevice::default()
        };
        let answer = checked.query_device(BACKEND, op);
        (answer.status, answer.treatment, answer.context)
    };
    assert_eq!(ask(&mut checked), (0, 2, 0));
    let context = created(&mut checked);
    assert_eq!(attach(&mut checked, NIC, context), 0);
    assert_eq!(ask(&mut checked), (0, 3, context));
    assert_eq!(attach(&mut checked, NIC, 0), 0);
    assert_eq!(ask(&mut checked), (0, 2, 0));
}

#[test]
fn destroy_gives_everything_back_in_steps() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    for gref in 8..40 {
        checked.mapped(inside(context, map_grant(FRONTEND, gref, 1, READ)));
    }
    checked.mapped(inside(context, map_own(3, 100, READ_WRITE)));
    assert_eq!(checked.query(BACKEND).used_pins, 132);
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let mut ops = [ContextDestroy { context, status: 0 }];
    let end = checked.context_destroy(BACKEND, &mut ops);
    assert_eq!((end.value, ops[0].status), (0, 0));
    assert!(end.steps > 10, "{} steps", end.steps);
    checked.assert_nothing_held();
    assert_eq!(destroy(&mut checked, context), -2);
    assert_eq!(destroy(&mut checked, 0), -22);
}

#[test]
fn a_context_that_cannot_be_emptied_stays_and_can_only_be_destroyed() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    let live = checked.mapped(inside(context, map_own(3, 4, READ)));
    for fail_flush in [false, true] {
        checked.switch(|switches| {
            let trigger = if fail_flush {
                &mut switches.flush_fails
            } else {
                &mut switches.unmap_fails
            };
            *trigger = Trigger::Nth(1);
        });
        assert_eq!(destroy(&mut checked, context), -5);
        assert_eq!(checked.query(BACKEND).used_pins, 4);
        checked.map_refused(inside(context, map_own(8, 1, READ)), -2);
        assert_eq!(attach(&mut checked, NIC, context), -2);
    }
    assert_eq!(destroy(&mut checked, context), 0);
    assert_eq!(unmap_in(&mut checked, context, live.handle), -2);
    checked.assert_nothing_held();
}

/// Invariant 3, over the life of contexts.
#[test]
fn invariant_3_handles_of_a_context_that_is_gone_are_stale() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    let old = checked.mapped(inside(context, map_own(3, 1, READ)));
    assert_eq!(destroy(&mut checked, context), 0);
    let again = created(&mut checked);
    assert_eq!(again, context, "the number is used again");
    let new = checked.mapped(inside(again, map_own(4, 1, READ)));
    assert_ne!(old.handle, new.handle);
    assert_eq!(unmap_in(&mut checked, again, old.handle), -2);
    assert_eq!(unmap_in(&mut checked, again, new.handle), 0);
}

#[test]
fn a_dying_domain_leaves_nothing_in_its_contexts() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    let other = created(&mut checked);
    for context in [0, context, other] {
        checked.mapped(inside(context, map_grant(FRONTEND, 8, 2, READ)));
    }
    assert_eq!(attach(&mut checked, NIC, context), 0);
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let (_, steps) = checked.kill(BACKEND);
    assert!(steps > 2);
    assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
    checked.assert_nothing_held();
}

#[test]
fn a_deferred_flush_keeps_the_frames_until_it_comes() {
    let mut checked = scene();
    let flush = |checked: &mut Checked, context| {
        let mut ops = [Flush { context, status: 0 }];
        assert_eq!(checked.flush(BACKEND, &mut ops).value, 0);
        ops[0].status
    };
    let deferred = |checked: &mut Checked, handle| {
        let op = Unmap {
            flags: XEN_GDMA_NO_FLUSH,
            ..unmap_handle(handle)
        };
        assert_eq!(checked.unmap_one(op), 0);
    };
    let one = checked.mapped(map_own(3, 1, READ_WRITE));
    let two = checked.mapped(map_own(4, 1, READ_WRITE));
    checked.machine.state().events.clear();
    deferred(&mut checked, one.handle);
    // Still in the IOTLB, and still pinned.
    assert!(checked.machine.device_read(BACKEND, one.daddr).is_ok());
    assert_eq!(checked.references_of(BACKEND, 3), (1, 1));
    assert_eq!(flush(&mut checked, 0), 0);
    assert!(checked.machine.device_read(BACKEND, one.daddr).is_err());
    assert_eq!(checked.references_of(BACKEND, 3), (0, 0));
    assert_eq!(flush(&mut checked, 0), 0);
    assert_eq!(flush(&mut checked, 5), -2);
    // Any other call that flushes will do.
    deferred(&mut checked, two.handle);
    checked.mapped(map_own(8, 1, READ));
    assert_eq!(checked.references_of(BACKEND, 4), (0, 0));
    let three = checked.mapped(map_own(9, 1, READ));
    deferred(&mut checked, three.handle);
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    assert_eq!(flush(&mut checked, 0), -5);
    assert_eq!(checked.references_of(BACKEND, 9), (1, 0));
    assert_eq!(flush(&mut checked, 0), 0);
    assert_eq!(checked.references_of(BACKEND, 9), (0, 0));
}

#[test]
fn a_deferred_map_becomes_visible_with_the_flush() {
    let mut checked = scene();
    checked.cache_absent_translations(BACKEND);
    let op = checked.mapped(map_own(3, 1, READ | XEN_GDMA_NO_FLUSH));
    assert!(checked.machine.device_read(BACKEND, op.daddr).is_err());
    let mut ops = [Flush::default()];
    assert_eq!(checked.flush(BACKEND, &mut ops).value, 0);
    assert!(checked.machine.device_read(BACKEND, op.daddr).is_ok());
}

/// One flush for a batch, whatever its size; one for each context that it is about.
#[test]
fn one_flush_for_each_context_of_a_batch() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    let mut ops = Vec::new();
    for (number, first) in [(0, 3), (context, 40)] {
        for gfn in first..first + 8 {
            let live = checked.mapped(inside(number, map_own(gfn, 1, READ)));
            ops.push(Unmap {
                context: number,
                ..unmap_handle(live.handle)
            });
        }
    }
    let before = checked.stats(BACKEND, BACKEND);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    checked.machine.state().events.clear();
    vcpu.call_with(testbed::model::hypercall::Number::GrantDma, 6, &mut ops);
    let flushes = |event: &&Event| matches!(event, Event::Flush { .. });
    let count = checked
        .machine
        .state()
        .events
        .iter()
        .filter(flushes)
        .count();
    assert_eq!(count, 2);
    let after = checked.machine.find(BACKEND).expect("a domain");
    let after = hv::host::Domain::state(&after).expect("state").dma.pinned();
    assert_eq!((before.used_pins, after), (16, 0));
}

/// A flush of one context that fails is not forgotten because another one's works.
#[test]
fn a_failed_flush_of_an_earlier_context_is_told() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    let one = checked.mapped(map_own(3, 1, READ));
    let two = checked.mapped(inside(context, map_own(4, 1, READ)));
    checked.switch(|switches| switches.flush_fails = Trigger::Nth(1));
    let mut ops = [
        unmap_handle(one.handle),
        Unmap {
            context,
            ..unmap_handle(two.handle)
        },
    ];
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, -5);
    assert_eq!(checked.references_of(BACKEND, 3), (1, 0));
    assert_eq!(checked.references_of(BACKEND, 4), (0, 0));
}

/// What the IOMMU does not give up in one context is no reason to keep the others.
#[test]
fn death_goes_on_after_a_context_that_is_stuck() {
    let mut checked = with_devices();
    let (first, last) = (created(&mut checked), created(&mut checked));
    checked.mapped(inside(first, map_grant(FRONTEND, 8, 1, READ)));
    checked.mapped(inside(last, map_grant(FRONTEND, 12, 1, READ)));
    checked.mapped(map_grant(FRONTEND, 10, 1, READ));
    checked.switch(|switches| switches.unmap_fails = Trigger::Nth(1));
    let (death, _) = checked.machine.kill(BACKEND);
    assert_eq!(death, testbed::model::domain::Death::Stuck);
    assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
    assert_eq!(checked.references_of(FRONTEND, 10), (0, 0));
    assert_eq!(checked.references_of(FRONTEND, 12), (1, 0));
}

/// An IOMMU that gives nothing up, and a domain with many mappings: each costs a flush and a
/// line on the console.
#[test]
fn invariant_7_death_with_an_iommu_that_refuses_everything_is_preemptible() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    for nth in 0..20 {
        checked.mapped(inside(nth % 2 * context, map_own(nth.into(), 1, READ)));
    }
    checked.switch(|switches| {
        switches.unmap_fails = Trigger::Always;
        switches.preempt = Preempt::Always;
    });
    let (death, steps) = checked.machine.kill(BACKEND);
    assert_eq!(death, testbed::model::domain::Death::Stuck);
    assert!(steps > 20, "{steps} steps for 20 mappings");
    assert_eq!(checked.references_of(BACKEND, 3), (1, 0));
}

/// Device frames are set aside for a mapping, and its frames are not pinned yet, when
/// another vcpu empties the context. What is pinned then must be found by whoever takes it
/// back: it would be pinned for as long as that vcpu likes.
#[test]
fn invariant_2_what_is_pinned_in_a_context_that_ends_can_be_taken_back() {
    let checked = scene();
    let machine = checked.machine.vcpu_of(BACKEND);
    let backend = machine.find(BACKEND).expect("a domain");
    let quota = Quota::new(8);
    let range = DfnRange {
        first: Dfn::new(FIRST),
        count: 16,
    };
    let mut context = Context::<Machine>::new(0);
    context.open(range).expect("memory");
    let reserved = context.reserve(&quota, range, None, 1, Access::READ);
    let reservation = reserved.expect("room");
    context.close();
    while context.shed() {}
    let gfn = Gfn::new(8);
    let pinned = machine.pin_gfn(&backend, gfn, Access::READ, false, IoMemory::Refused);
    let frame = pinned.expect("memory");
    context.place(&reservation, 0, DmaPin::Own { frame, gfn });
    assert!(context.doom(Source::own(gfn)));
    assert!(context.is_doomed(&reservation), "it was not found");
    drop(context.withdraw_next(&quota, &reservation));
    assert!(context.withdraw_next(&quota, &reservation).is_none());
    // What it needed goes afterwards.
    assert!(context.shed());
    assert_eq!((quota.used(), context.pinned()), (0, 0));
}

/// A flush fails in a step that is preempted, and the rest of the call is about another
/// context, or wants no flush: the call must not end as if all were well.
#[test]
fn a_flush_that_failed_before_a_preemption_is_owed() {
    for (flags, same) in [(0, false), (XEN_GDMA_NO_FLUSH, true)] {
        let mut checked = with_devices();
        let (one, two) = (created(&mut checked), created(&mut checked));
        let big = checked.mapped(inside(one, map_own(8, 64, READ)));
        let other = if same { one } else { two };
        let small = checked.mapped(inside(other, map_own(3, 1, READ)));
        assert_eq!(attach(&mut checked, NIC, one), 0);
        checked.switch(|switches| {
            switches.flush_fails = Trigger::Nth(1);
            switches.preempt = Preempt::Nth(1);
        });
        let mut ops = [
            Unmap {
                context: one,
                ..unmap_handle(big.handle)
            },
            Unmap {
                context: other,
                flags,
                ..unmap_handle(small.handle)
            },
        ];
        let end = checked.unmap(BACKEND, &mut ops);
        let reaches = checked.machine.pci_read(NIC, big.daddr).is_ok();
        assert!(end.steps == 2 && (end.value != 0 || !reaches), "{end:?}");
        // And while it keeps failing, so does every call that ends.
        let again = checked.mapped(inside(one, map_own(20, 64, READ)));
        let last = checked.mapped(inside(two, map_own(30, 1, READ)));
        checked.switch(|switches| {
            switches.flush_fails = Trigger::Always;
            switches.preempt = Preempt::Nth(1);
        });
        let mut ops = [
            Unmap {
                context: one,
                ..unmap_handle(again.handle)
            },
            Unmap {
                context: two,
                flags: XEN_GDMA_NO_FLUSH,
                ..unmap_handle(last.handle)
            },
        ];
        assert_eq!(checked.unmap(BACKEND, &mut ops).value, -5);
    }
}

/// XSA-480: page tables that were freed must not be walked after the call.
#[test]
fn xsa_480_a_destroy_that_fails_flushes_what_it_unmapped() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    checked.mapped(inside(context, map_own(3, 1, READ)));
    checked.mapped(inside(context, map_own(5, 1, READ)));
    checked.switch(|switches| switches.unmap_fails = Trigger::Nth(2));
    let vcpu = checked.machine.vcpu_of(BACKEND);
    checked.machine.state().events.clear();
    let mut ops = [ContextDestroy { context, status: 0 }];
    vcpu.call_with(testbed::model::hypercall::Number::GrantDma, 3, &mut ops);
    assert_eq!(ops[0].status, -5);
    checked.assert_flushed_after_unmap();
}

/// Records of pages that nobody uses any more are not kept: no quota counts them.
#[test]
fn invariant_5_a_context_that_was_used_everywhere_keeps_little() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    let mut live = None;
    for chunk in 0..16 {
        let place = at(FIRST + chunk * 128, map_own(3, 1, READ));
        let next = checked.mapped(inside(context, place));
        if let Some(last) = live.replace(next.handle) {
            assert_eq!(unmap_in(&mut checked, context, last), 0);
        }
    }
    let backend = checked.machine.find(BACKEND).expect("a domain");
    let state = hv::host::Domain::state(&backend).expect("state");
    let space = state
        .dma
        .space(&checked.machine, context)
        .expect("a context");
    let chunks = space.records();
    assert!(chunks <= 5 * 128, "{chunks} records for one page");
}

/// What the IOMMU would neither map nor unmap goes with its context.
#[test]
fn a_mapping_without_a_name_ends_with_its_context() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    checked.switch(|switches| {
        switches.map_fails = Trigger::Nth(2);
        switches.unmap_fails = Trigger::Nth(1);
    });
    let op = checked.map_one(inside(context, map_own(2, 4, READ)));
    assert_eq!(op.status, -5);
    assert_eq!(checked.query(BACKEND).used_pins, 4);
    assert_eq!(destroy(&mut checked, context), 0);
    checked.assert_nothing_held();
}

#[test]
fn access_control_decides_who_has_contexts() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    checked.mapped(inside(context, map_own(5, 1, READ_WRITE)));
    checked.machine.state().access.contexts.insert(BACKEND);
    assert_eq!(create(&mut checked, ContextCreate::default()).status, -1);
    let mirror = ContextCreate {
        flags: XEN_GDMA_CONTEXT_MIRROR,
        ..ContextCreate::default()
    };
    assert_eq!(create(&mut checked, mirror).status, -1);
    assert_eq!(checked.stats(BACKEND, BACKEND).used_contexts, 1);
    // What it has it keeps, and goes on using.
    assert_eq!(destroy(&mut checked, context), -1);
    assert_eq!(attach(&mut checked, NIC, context), 0);
    checked.mapped(inside(context, map_own(6, 1, READ_WRITE)));
    // Others are others.
    let mut ops = [ContextCreate::default()];
    assert_eq!(checked.context_create(BYSTANDER, &mut ops).value, 0);
    assert_eq!(ops[0].status, 0);
    checked.machine.state().access.contexts.clear();
    assert_eq!(attach(&mut checked, NIC, 0), 0);
    assert_eq!(destroy(&mut checked, context), 0);
    checked.assert_nothing_held();
}

#[test]
fn access_control_decides_which_devices_move() {
    let mut checked = with_devices();
    let context = created(&mut checked);
    checked
        .machine
        .state()
        .access
        .devices
        .insert((BACKEND, NIC));
    assert_eq!(attach(&mut checked, NIC, context), -1);
    assert_eq!(attach(&mut checked, NIC, 0), -1);
    // Nothing is told of what would be wrong besides.
    assert_eq!(attach(&mut checked, NIC, context + 1), -1);
    assert_eq!(attach(&mut checked, DISK, context), 0);
    assert_eq!(checked.stats(BACKEND, BACKEND).attaches, 1);
    checked.machine.state().access.devices.clear();
    assert_eq!(attach(&mut checked, NIC, context), 0);
}
