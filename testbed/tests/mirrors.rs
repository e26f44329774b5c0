// SPDX-License-Identifier: GPL-2.0-only
//! Contexts that are a 1:1 copy of their owner's memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hypercall_abi::{
    command::XEN_GDMA_OP_CONTEXT_CREATE,
    context::{ContextCreate, ContextDestroy, XEN_GDMA_CONTEXT_MIRROR, XEN_GDMA_MIRROR_WEIGHT},
    grant::{GTF_ACCEPT_TRANSFER, Transfer64},
    mapping::Unmap,
};
use testbed::{
    elements::{READ, READ_WRITE, at, inside, map_grant, map_own, unmap_handle},
    model::{
        DomainSetup, Machine, Moment, Preempt, Trigger,
        domain::{Backing, Death},
        frames::Kind,
        hypercall::{Number, Outcome},
    },
    oracle::Checked,
    scene::{BACKEND, BYSTANDER, FRONTEND, attach, destroy, scene_with},
};

const NIC: u32 = 8;
const DISK: u32 = 9;
const WEIGHT: u32 = XEN_GDMA_MIRROR_WEIGHT;
/// Frames of memory of a domain of the scene.
const RAM: u64 = DomainSetup::pvh(BACKEND).ram_frames;

/// A scene with two devices of the backend, which may make three copies and more.
fn with_devices() -> Checked {
    with_backend(DomainSetup::pvh(BACKEND))
}

fn with_backend(setup: DomainSetup) -> Checked {
    let checked = scene_with(DomainSetup {
        max_contexts: 3 * WEIGHT + 2,
        vcpus: 2,
        ..setup
    });
    checked.machine.plug(NIC, BACKEND, true);
    checked.machine.plug(DISK, BACKEND, true);
    checked
}

const COPY: ContextCreate = ContextCreate {
    flags: XEN_GDMA_CONTEXT_MIRROR,
    status: 0,
    max_daddr: 0,
    daddr_first: 0,
    daddr_last: 0,
    context: 0,
    pad0: 0,
};

fn create(checked: &mut Checked, op: ContextCreate) -> (ContextCreate, u32) {
    let mut ops = [op];
    let end = checked.context_create(BACKEND, &mut ops);
    assert_eq!(end.value, 0);
    (ops[0], end.steps)
}

fn created(checked: &mut Checked) -> u32 {
    let (op, _) = create(checked, COPY);
    assert_eq!(op.status, 0);
    op.context
}

/// A copy with the first device in it.
fn with_copy() -> (Checked, u32) {
    let mut checked = with_devices();
    let context = created(&mut checked);
    assert_eq!(attach(&mut checked, NIC, context), 0);
    (checked, context)
}

fn reads(checked: &Checked, gfn: u64) -> Option<u8> {
    checked.machine.pci_read(NIC, gfn * 4096).ok()
}

fn writes(checked: &Checked, gfn: u64) -> bool {
    checked.machine.pci_write(NIC, gfn * 4096, 1).is_ok()
}

/// One step of a call that makes a copy, by a vcpu, as if that was stopped after it.
fn one_step(machine: &Machine, vcpu: u32, op: ContextCreate) -> Outcome {
    let vcpu = machine.vcpu_of(BACKEND).with_vcpu(vcpu);
    let place = vcpu.store_elements(&[op]);
    vcpu.step(Number::GrantDma, XEN_GDMA_OP_CONTEXT_CREATE, place, 1)
}

fn contexts_counted(checked: &Checked) -> u32 {
    let backend = checked.machine.find(BACKEND).expect("a domain");
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [hypercall_abi::control::Stats {
        domid: BACKEND,
        ..Default::default()
    }];
    vcpu.call_with(
        Number::GrantDma,
        hypercall_abi::command::XEN_GDMA_OP_STATS,
        &mut ops,
    );
    drop(backend);
    ops[0].used_contexts
}

#[test]
fn a_device_reaches_its_domains_memory_and_pins_nothing() {
    let (mut checked, _) = with_copy();
    for gfn in [0, 3, RAM - 1] {
        checked.fill(BACKEND, gfn, gfn as u8 + 5);
        assert_eq!(reads(&checked, gfn), Some(gfn as u8 + 5));
        assert!(writes(&checked, gfn));
        assert_eq!(checked.references_of(BACKEND, gfn), (0, 0));
    }
    assert_eq!(reads(&checked, RAM), None);
    assert_eq!(checked.query(BACKEND).used_pins, 0);
}

/// With the access that it has: read-only memory, others' memory, registers.
#[test]
fn what_else_a_domain_has() {
    let (mut checked, _) = with_copy();
    let other = checked.machine.mfn_of(BYSTANDER, 7).expect("memory");
    let own = checked.machine.mfn_of(BACKEND, 9).expect("memory");
    let set = |checked: &mut Checked, gfn, backing| {
        let mut state = checked.machine.state();
        state.set_backing(BACKEND, gfn, backing);
        drop(state);
        checked.check();
    };
    set(&mut checked, 9, Some(Backing::ReadOnly(own)));
    assert!(reads(&checked, 9).is_some() && !writes(&checked, 9));
    set(&mut checked, 9, Some(Backing::Ram(own)));
    assert!(writes(&checked, 9));
    checked.fill(BYSTANDER, 7, 0x77);
    set(&mut checked, 200, Some(Backing::Foreign(other)));
    assert_eq!(reads(&checked, 200), Some(0x77));
    for nothing in [Some(Backing::Mmio), Some(Backing::PagedOut), None] {
        set(&mut checked, 200, nothing);
        assert_eq!(reads(&checked, 200), None, "{nothing:?}");
    }
}

/// A page may not be freed while a device reaches it (XSA-480); the model fails if it is.
#[test]
fn invariant_1_what_leaves_the_memory_is_out_of_reach() {
    let (mut checked, context) = with_copy();
    let second = created(&mut checked);
    assert_eq!(attach(&mut checked, DISK, second), 0);
    let gone = |checked: &Checked, gfn: u64| {
        let tried = [NIC, DISK].map(|sbdf| checked.machine.pci_read(sbdf, gfn * 4096));
        tried.iter().all(Result::is_err)
    };
    let mfn = checked.machine.mfn_of(BACKEND, 5).expect("memory");
    checked.machine.give_back(BACKEND, 5);
    checked.check();
    assert!(gone(&checked, 5));
    assert!(checked.machine.state().frames.get(mfn).is_none());
    assert!(reads(&checked, 4).is_some() && reads(&checked, 6).is_some());
    // What the domain has pinned stays pinned, and is reached where it is mapped.
    let live = checked.mapped(inside(context, map_own(6, 1, READ)));
    checked.machine.give_back(BACKEND, 6);
    checked.check();
    assert!(gone(&checked, 6));
    assert!(checked.machine.pci_read(NIC, live.daddr).is_ok());
    assert!(checked.machine.pci_read(DISK, live.daddr).is_err());
    // Given to another domain.
    checked.write_entry(FRONTEND, 80, GTF_ACCEPT_TRANSFER, BACKEND, 500);
    let op = Transfer64 {
        gfn: 8,
        domid: FRONTEND,
        gref: 80,
        ..Transfer64::default()
    };
    checked.transfer(BACKEND, &mut [op]);
    assert!(gone(&checked, 8));
}

#[test]
fn what_comes_to_the_memory_is_reached() {
    let (mut checked, _) = with_copy();
    checked.machine.give_back(BACKEND, 5);
    for gfn in [5, 170] {
        checked.machine.populate(BACKEND, gfn, 1);
        checked.check();
        checked.fill(BACKEND, gfn, 0x31);
        assert_eq!(reads(&checked, gfn), Some(0x31));
    }
    // Where mappings can be, nothing is copied.
    checked.machine.populate(BACKEND, DomainSetup::MIRRORS, 1);
    checked.check();
    assert_eq!(reads(&checked, DomainSetup::MIRRORS), None);
    checked.mapped(inside(1, at(DomainSetup::MIRRORS, map_own(3, 1, READ))));
    checked.machine.give_back(BACKEND, DomainSetup::MIRRORS);
    checked.check();
    assert!(reads(&checked, DomainSetup::MIRRORS).is_some());
}

/// Device frames are machine frames, and page tables are not for devices.
#[test]
fn writable_pages_of_a_pv_domain() {
    let mut checked = with_backend(DomainSetup::pv(BACKEND));
    let set = |checked: &mut Checked, kind| {
        checked.machine.state().set_kind(BACKEND, 5, kind);
        checked.check();
    };
    set(&mut checked, Kind::PageTable);
    let context = created(&mut checked);
    assert_eq!(attach(&mut checked, NIC, context), 0);
    let mfn = |gfn| checked.machine.mfn_of(BACKEND, gfn).expect("memory");
    let (table, page) = (mfn(5), mfn(6));
    checked.fill(BACKEND, 6, 0x66);
    assert_eq!(reads(&checked, page), Some(0x66));
    assert_eq!(reads(&checked, table), None);
    set(&mut checked, Kind::Ram);
    assert!(writes(&checked, table));
    set(&mut checked, Kind::PageTable);
    assert_eq!(reads(&checked, table), None);
    checked.machine.give_back(BACKEND, 6);
    checked.check();
    assert_eq!(reads(&checked, page), None);
}

#[test]
fn invariant_4_mappings_are_beside_the_copy() {
    let (mut checked, context) = with_copy();
    checked.map_refused(inside(context, at(3, map_own(3, 1, READ))), -22);
    let first = DomainSetup::MIRRORS;
    checked.map_refused(inside(context, at(first - 1, map_own(3, 2, READ))), -22);
    let own = checked.mapped(inside(context, map_own(3, 4, READ_WRITE)));
    let grant = checked.mapped(inside(context, map_grant(FRONTEND, 8, 2, READ)));
    assert!(own.daddr >= first * 4096 && grant.daddr >= first * 4096);
    checked.fill(BACKEND, 4, 0x44);
    assert_eq!(checked.machine.pci_read(NIC, own.daddr + 4096), Ok(0x44));
    assert_eq!(reads(&checked, 4), Some(0x44));
    for handle in [own.handle, grant.handle] {
        let op = Unmap {
            context,
            ..unmap_handle(handle)
        };
        assert_eq!(checked.unmap_one(op), 0);
    }
    assert!(checked.machine.pci_read(NIC, own.daddr).is_err());
    assert_eq!(reads(&checked, 4), Some(0x44));
    checked.assert_nothing_held();
}

/// Counted before it is made, and only if it is made.
#[test]
fn invariant_5_a_copy_counts_for_several_contexts() {
    let mut checked = with_devices();
    let mut made: Vec<u32> = (0..3).map(|_| created(&mut checked)).collect();
    assert_eq!(create(&mut checked, COPY).0.status, -105);
    for _ in 0..2 {
        let (op, _) = create(&mut checked, ContextCreate::default());
        assert_eq!(op.status, 0);
        made.push(op.context);
    }
    assert_eq!(
        create(&mut checked, ContextCreate::default()).0.status,
        -105
    );
    for context in made {
        assert_eq!(destroy(&mut checked, context), 0);
    }
    assert_eq!(contexts_counted(&checked), 0);
}

#[test]
fn errors_leave_nothing_behind() {
    let mut checked = with_devices();
    for (flags, max_daddr) in [
        (XEN_GDMA_CONTEXT_MIRROR | 2, 0),
        // Not one page above the memory.
        (XEN_GDMA_CONTEXT_MIRROR, DomainSetup::MIRRORS * 4096 + 4094),
        (XEN_GDMA_CONTEXT_MIRROR, 0xffff_ffff >> 4),
    ] {
        let op = ContextCreate {
            flags,
            max_daddr,
            ..COPY
        };
        assert_eq!(create(&mut checked, op).0.status, -22, "{op:?}");
    }
    for preempt in [Preempt::Never, Preempt::Always] {
        for nth in [1, 2, 5] {
            checked.switch(|switches| {
                switches.preempt = preempt;
                switches.copy_fails = Trigger::Nth(nth);
            });
            assert_eq!(create(&mut checked, COPY).0.status, -12);
            assert_eq!(checked.machine.state().iommus.len(), 0, "tables are left");
        }
        checked.switch(|switches| switches.no_io_context = Trigger::Nth(1));
        assert_eq!(create(&mut checked, COPY).0.status, -28);
        checked.switch(|switches| switches.share_fails = Trigger::Nth(1));
        assert_eq!(create(&mut checked, COPY).0.status, -12);
    }
    assert_eq!(contexts_counted(&checked), 0);
    // Numbers as well.
    assert_eq!(created(&mut checked), 1);
    assert_eq!(destroy(&mut checked, 1), 0);
}

#[test]
fn no_copies_without_an_iommu() {
    let mut checked = with_backend(DomainSetup {
        iommu: hv::host::IommuMode::Absent,
        ..DomainSetup::pvh(BACKEND)
    });
    assert_eq!(create(&mut checked, COPY).0.status, -95);
}

/// A copy takes as many steps as its memory needs, and so does its end; what changes
/// in between is followed.
#[test]
fn invariant_7_copies_come_and_go_in_steps() {
    let mut checked = with_devices();
    let looks = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&looks);
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::Poll = moment {
            // Frames that were copied, and frames that were not.
            let nth = seen.fetch_add(1, Ordering::Relaxed);
            let (gone, comes) = (nth * 37 % RAM, nth * 53 % RAM);
            machine.give_back(BACKEND, gone);
            if machine.mfn_of(BACKEND, comes).is_none() {
                machine.populate(BACKEND, comes, 1);
            }
        }
    });
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let (op, steps) = create(&mut checked, COPY);
    assert_eq!(op.status, 0);
    let wanted = RAM / 16 / 2;
    assert!(u64::from(steps) > wanted, "{steps} steps");
    assert!(looks.load(Ordering::Relaxed) > wanted);
    assert_eq!(attach(&mut checked, NIC, op.context), 0);
    assert_eq!(attach(&mut checked, NIC, 0), 0);
    let mut ops = [ContextDestroy {
        context: op.context,
        status: 0,
    }];
    let end = checked.context_destroy(BACKEND, &mut ops);
    assert_eq!((end.value, ops[0].status), (0, 0));
    assert!(u64::from(end.steps) > wanted, "{} steps", end.steps);
    checked.machine.clear_hook();
    assert_eq!(contexts_counted(&checked), 0);
}

/// Nobody finds a copy before it is whole.
#[test]
fn invariant_11_no_device_sees_half_a_copy() {
    let mut checked = with_devices();
    checked.switch(|switches| switches.preempt = Preempt::Always);
    assert!(matches!(
        one_step(&checked.machine, 0, COPY),
        Outcome::Continue { elements: 0, .. }
    ));
    checked.check();
    assert_eq!(contexts_counted(&checked), WEIGHT);
    checked.switch(|switches| switches.preempt = Preempt::Never);
    for number in 1..4 {
        assert_eq!(attach(&mut checked, NIC, number), -2);
        assert_eq!(destroy(&mut checked, number), -2);
        checked.map_refused(inside(number, map_own(3, 1, READ)), -2);
    }
    // The call goes on.
    let context = created(&mut checked);
    assert_eq!(contexts_counted(&checked), WEIGHT);
    assert_eq!(attach(&mut checked, NIC, context), 0);
    assert!(reads(&checked, RAM - 1).is_some());
}

/// What one vcpu makes is not another one's.
#[test]
fn two_vcpus_make_a_copy_each() {
    let mut checked = with_devices();
    checked.switch(|switches| switches.preempt = Preempt::Always);
    for _ in 0..3 {
        one_step(&checked.machine, 1, COPY);
        one_step(&checked.machine, 0, COPY);
        checked.check();
    }
    assert_eq!(contexts_counted(&checked), 2 * WEIGHT);
    let (op, steps) = create(&mut checked, COPY);
    assert_eq!(op.status, 0);
    assert!(u64::from(steps) < RAM / 16, "it does not begin again");
    let first = op.context;
    assert_eq!(attach(&mut checked, NIC, 3 - first), -2);
    while one_step(&checked.machine, 1, COPY) != Outcome::Complete {
        checked.machine.give_back(BACKEND, 3);
    }
    let machine = &checked.machine;
    assert_eq!(machine.state().iommus.len(), 2);
    assert_eq!(contexts_counted(&checked), 2 * WEIGHT);
}

/// A call that never goes on: the next one of its vcpu takes back what it began.
#[test]
fn a_copy_that_is_given_up_comes_back() {
    let mut checked = with_devices();
    let other = ContextCreate {
        max_daddr: (DomainSetup::MIRRORS + 10) * 4096,
        ..COPY
    };
    for fails in [false, true] {
        checked.switch(|switches| switches.preempt = Preempt::Always);
        for _ in 0..3 {
            one_step(&checked.machine, 0, COPY);
        }
        if fails {
            checked.switch(|switches| switches.end_copy_fails = Trigger::Nth(2));
            assert_eq!(create(&mut checked, other).0.status, -5);
            assert_eq!(contexts_counted(&checked), WEIGHT);
            // What is being taken back is not completed by the call that began it.
            let (op, _) = create(&mut checked, COPY);
            assert_eq!(op.status, 0);
            assert_eq!(destroy(&mut checked, op.context), 0);
        } else {
            let (op, _) = create(&mut checked, other);
            assert_eq!(op.status, 0);
            assert_eq!(contexts_counted(&checked), WEIGHT);
            assert_eq!(destroy(&mut checked, op.context), 0);
        }
        assert_eq!(contexts_counted(&checked), 0);
        assert_eq!(checked.machine.state().iommus.len(), 0);
    }
}

/// The copy stays in step, and can only be destroyed.
#[test]
fn a_copy_that_the_iommu_does_not_give_up() {
    let (mut checked, context) = with_copy();
    assert_eq!(destroy(&mut checked, context), -16);
    assert!(reads(&checked, 3).is_some());
    assert_eq!(attach(&mut checked, NIC, 0), 0);
    let live = checked.mapped(inside(context, map_own(3, 2, READ)));
    checked.switch(|switches| switches.end_copy_fails = Trigger::Nth(2));
    assert_eq!(destroy(&mut checked, context), -5);
    assert_eq!(attach(&mut checked, NIC, context), -2);
    // There is no such context, whatever else is wrong.
    checked.map_refused(inside(context, at(3, map_own(3, 1, READ))), -2);
    checked.map_refused(inside(context, map_grant(77, 8, 1, READ)), -2);
    assert_eq!(checked.query(BACKEND).used_pins, 0);
    assert_eq!(contexts_counted(&checked), WEIGHT);
    checked.machine.give_back(BACKEND, RAM - 1);
    checked.machine.populate(BACKEND, RAM - 1, 1);
    checked.check();
    assert_eq!(destroy(&mut checked, context), 0);
    let op = Unmap {
        context,
        ..unmap_handle(live.handle)
    };
    assert_eq!(checked.unmap_one(op), -2);
    assert_eq!(contexts_counted(&checked), 0);
}

/// Its copies end in steps, those in the making too, before its memory is given back.
#[test]
fn invariant_6_the_death_of_a_domain_with_copies() {
    for refused in [false, true] {
        let (mut checked, context) = with_copy();
        checked.mapped(inside(context, map_grant(FRONTEND, 8, 2, READ)));
        checked.switch(|switches| switches.preempt = Preempt::Always);
        for _ in 0..2 {
            one_step(&checked.machine, 1, COPY);
        }
        if refused {
            checked.switch(|switches| switches.end_copy_fails = Trigger::Nth(3));
        }
        let (death, steps) = checked.kill(BACKEND);
        assert_eq!(death, Death::Gone);
        assert!(u64::from(steps) > RAM / 16 / 2, "{steps} steps");
        assert_eq!(checked.references_of(FRONTEND, 8), (0, 0));
        checked.assert_nothing_held();
        assert_eq!(checked.machine.state().iommus.len(), 0);
    }
}

/// Others' memory, mapped by its domain, goes with the mapping.
#[test]
fn others_may_die_while_a_copy_shows_their_memory() {
    let (mut checked, _) = with_copy();
    let other = checked.machine.mfn_of(BYSTANDER, 7).expect("memory");
    let show = |checked: &mut Checked, backing| {
        checked.machine.state().set_backing(BACKEND, 200, backing);
        checked.check();
    };
    show(&mut checked, Some(Backing::Foreign(other)));
    assert!(reads(&checked, 200).is_some());
    show(&mut checked, None);
    assert_eq!(checked.kill(BYSTANDER).0, Death::Gone);
    assert_eq!(reads(&checked, 200), None);
}
