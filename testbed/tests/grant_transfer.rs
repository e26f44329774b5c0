// SPDX-License-Identifier: GPL-2.0-only
//! `transfer` and `swap_grant_ref`. The oracle follows who owns the page and what
//! is in the entries; statuses are those of `public/grant_table.h`.

use std::{
    mem::offset_of,
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use hypercall_abi::grant::{
    GNTTABOP_SWAP_GRANT_REF, GNTTABOP_TRANSFER, GTF_ACCEPT_TRANSFER, GTF_PERMIT_ACCESS,
    GTF_TRANSFER_COMMITTED, GTF_TRANSFER_COMPLETED, SwapGrantRef, Transfer32, Transfer64,
};
use testbed::{
    elements::{READ, by_frame, by_gref, copy_out, map_own},
    model::{
        DomainSetup, Moment, Preempt, Trigger,
        domain::Backing,
        frames::Kind,
        hypercall::{ARGUMENTS, Number},
    },
    oracle::{Checked, Part},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
};
use zerocopy::IntoBytes;

const OKAY: i16 = 0;
const GENERAL_ERROR: i16 = -1;
const BAD_DOMAIN: i16 = -2;
const BAD_GNTREF: i16 = -3;
const PERMISSION_DENIED: i16 = -8;
const BAD_PAGE: i16 = -9;
const ADDRESS_TOO_BIG: i16 = -11;
const EAGAIN: i16 = -12;
const DONE: u16 = GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED | GTF_TRANSFER_COMPLETED;

/// The frontend accepts a page from the backend at frame `gfn`.
fn accept(checked: &mut Checked, gref: u32, gfn: u32) {
    checked.write_entry(FRONTEND, gref, GTF_ACCEPT_TRANSFER, BACKEND, gfn);
}

fn gift(gfn: u64, gref: u32) -> Transfer64 {
    Transfer64 {
        gfn,
        domid: FRONTEND,
        gref,
        ..Transfer64::default()
    }
}

/// One `transfer` of the backend.
fn given(checked: &mut Checked, op: Transfer64) -> i16 {
    let mut ops = [op];
    checked.transfer(BACKEND, &mut ops);
    ops[0].status
}

/// The same without the oracle, which does not know of high or vanishing pages.
fn given_unseen(checked: &Checked, op: Transfer64) -> i16 {
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [op];
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_TRANSFER, &mut ops);
    assert_eq!(end.value, 0);
    ops[0].status
}

#[test]
fn a_page_changes_its_owner() {
    for version in [1, 2] {
        let mut checked = scene();
        checked.set_version(FRONTEND, version);
        checked.fill(BACKEND, 3, 0x42);
        accept(&mut checked, 80, 500);
        assert_eq!(given(&mut checked, gift(3, 80)), OKAY);
        assert_eq!(checked.byte(FRONTEND, 500, 4095), 0x42);
        assert_eq!(checked.entry_flags(80), DONE);
        assert_eq!(checked.machine.mfn_of(BACKEND, 3), None);
        // The frame is lost to the giver, and the entry is used up.
        assert_eq!(given(&mut checked, gift(3, 80)), BAD_PAGE);
        assert_eq!(given(&mut checked, gift(4, 80)), GENERAL_ERROR);
        checked.kill(BACKEND);
        checked.kill(FRONTEND);
        checked.kill(BYSTANDER);
        assert_eq!(checked.machine.state().frames.iter().count(), 0);
    }
}

#[test]
fn compat_layout() {
    let mut checked = scene();
    accept(&mut checked, 80, 500);
    let op = Transfer32 {
        gfn: 3,
        domid: FRONTEND,
        gref: 80,
        ..Transfer32::default()
    };
    let mut ops = [op, op];
    checked.transfer(BACKEND, &mut ops);
    assert_eq!(ops.map(|op| op.status), [OKAY, BAD_PAGE]);
}

/// The page is lost even if the transfer fails, unless the page is bad.
#[test]
fn failing_transfers_lose_the_page() {
    let mut checked = scene();
    accept(&mut checked, 80, 500);
    checked.write_entry(FRONTEND, 81, GTF_ACCEPT_TRANSFER, BYSTANDER, 501);
    checked.write_entry(FRONTEND, 82, GTF_PERMIT_ACCESS, BACKEND, 10);
    checked.write_entry(FRONTEND, 83, GTF_ACCEPT_TRANSFER | 1 << 9, BACKEND, 502);
    let mut gfn = 20;
    let mut lost = |checked: &mut Checked, op: Transfer64| {
        gfn += 1;
        let status = given(checked, Transfer64 { gfn, ..op });
        assert_eq!(checked.machine.mfn_of(BACKEND, gfn), None);
        status
    };
    let away = Transfer64 {
        domid: 77,
        ..gift(0, 80)
    };
    assert_eq!(lost(&mut checked, away), BAD_DOMAIN);
    for gref in [0, 81, 82, 83, 512, u32::MAX] {
        let status = lost(&mut checked, gift(0, gref));
        assert_eq!(status, GENERAL_ERROR, "ref {gref}");
    }
    let pair = (BACKEND, FRONTEND);
    checked.machine.state().access.transfer.insert(pair);
    assert_eq!(lost(&mut checked, gift(0, 80)), PERMISSION_DENIED);
    checked.machine.state().access.transfer.clear();
    assert_eq!(lost(&mut checked, gift(0, 80)), OKAY);
}

#[test]
fn pages_that_cannot_be_given() {
    let mut checked = scene();
    accept(&mut checked, 80, 500);
    assert_eq!(given(&mut checked, gift(9999, 80)), BAD_PAGE);
    for what in [Backing::Mmio, Backing::PagedOut, Backing::Foreign(1)] {
        checked.machine.state().p2m.insert((BACKEND, 300), what);
        assert_eq!(given(&mut checked, gift(300, 80)), BAD_PAGE, "{what:?}");
    }
    // A page that somebody uses, and one whose type forbids it.
    checked.mapped(map_own(5, 1, READ));
    assert_eq!(given(&mut checked, gift(5, 80)), GENERAL_ERROR);
    let mfn = checked.machine.mfn_of(BACKEND, 6).expect("memory");
    if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
        frame.kind = Kind::PageTable;
    }
    assert_eq!(given(&mut checked, gift(6, 80)), GENERAL_ERROR);
    for gfn in [5, 6] {
        assert!(checked.machine.mfn_of(BACKEND, gfn).is_some());
    }
}

#[test]
fn receiver_without_room() {
    let mut checked = Checked::new(&[
        DomainSetup::pvh(BACKEND),
        DomainSetup {
            max_pages: 161,
            ..DomainSetup::pvh(FRONTEND)
        },
    ]);
    accept(&mut checked, 80, 500);
    accept(&mut checked, 81, 501);
    assert_eq!(given(&mut checked, gift(3, 80)), OKAY);
    assert_eq!(given(&mut checked, gift(4, 81)), GENERAL_ERROR);
    assert_eq!(checked.entry_flags(81), GTF_ACCEPT_TRANSFER);
}

/// The receiver begins to die while the page is on its way.
#[test]
fn receiver_dies_meanwhile() {
    let mut checked = scene();
    accept(&mut checked, 80, 500);
    checked.machine.set_hook(|machine, moment| {
        if let Moment::Assign = moment {
            machine.doom(FRONTEND);
        }
    });
    let mfn = checked.machine.mfn_of(BACKEND, 3).expect("memory");
    assert_eq!(given_unseen(&checked, gift(3, 80)), GENERAL_ERROR);
    checked.machine.clear_hook();
    assert!(checked.machine.state().frames.get(mfn).is_none(), "freed");
    let committed = GTF_ACCEPT_TRANSFER | GTF_TRANSFER_COMMITTED;
    assert_eq!(checked.entry_flags(80), committed, "never completed");
    // From now on it has no room for anything.
    accept(&mut checked, 81, 501);
    assert_eq!(given_unseen(&checked, gift(4, 81)), GENERAL_ERROR);
    assert_eq!(checked.entry_flags(81), GTF_ACCEPT_TRANSFER);
}

/// The format of the receiver's entries cannot change while the page is on its way:
/// whoever changes it has to wait until the entry says that the page is there.
#[test]
fn receiver_cannot_change_its_format_meanwhile() {
    use hv::host::Domain;
    let mut checked = scene();
    accept(&mut checked, 80, 500);
    let (send, receive) = mpsc::channel();
    let send = Mutex::new(send);
    checked.machine.set_hook(move |machine, moment| {
        if let Moment::Assign = moment {
            let machine = machine.clone();
            let changing = thread::spawn(move || {
                let domain = machine.find(FRONTEND).expect("frontend");
                let grants = &domain.state().expect("state").grants;
                let changed = grants.set_version(&machine, &domain, 2);
                changed.expect("nothing in use");
            });
            // Long enough for one that need not wait.
            thread::sleep(Duration::from_millis(100));
            assert!(!changing.is_finished(), "changed under way");
            send.lock().expect("test").send(changing).expect("test");
        }
    });
    let mfn = checked.machine.mfn_of(BACKEND, 3).expect("memory");
    assert_eq!(given_unseen(&checked, gift(3, 80)), OKAY);
    checked.machine.clear_hook();
    let changing = receive.recv().expect("a page was assigned");
    changing.join().expect("changed afterwards");
    checked.machine.look_at_table(FRONTEND);
    let owner = checked.machine.state().frames.get(mfn).map(|it| it.owner);
    assert_eq!(owner, Some(FRONTEND));
    assert_eq!(checked.machine.mfn_of(FRONTEND, 500), Some(mfn));
    assert_eq!(checked.machine.read_entry(FRONTEND, 80), (0, 0, 0));
}

#[test]
fn place_that_is_refused() {
    let mut checked = scene();
    accept(&mut checked, 80, 500);
    checked.switch(|switches| switches.place_fails = Trigger::Nth(1));
    assert_eq!(given_unseen(&checked, gift(3, 80)), GENERAL_ERROR);
    assert_eq!(checked.machine.mfn_of(FRONTEND, 500), None);
}

/// A PV domain with version 1 entries can only be told of frames with 32 bits.
#[test]
fn pages_with_large_numbers() {
    for (receiver, version, low_memory, status) in [
        (DomainSetup::pvh(FRONTEND), 1, false, OKAY),
        (DomainSetup::pv(FRONTEND), 2, false, OKAY),
        (DomainSetup::pv(FRONTEND), 1, true, OKAY),
        (DomainSetup::pv(FRONTEND), 1, false, ADDRESS_TOO_BIG),
    ] {
        let mut checked = Checked::new(&[DomainSetup::pvh(BACKEND), receiver]);
        checked.set_version(FRONTEND, version);
        let mfn = (1 << 32) + 5;
        {
            let mut state = checked.machine.state();
            state.frames.allocate_at(mfn, BACKEND, Kind::Ram);
            state.p2m.insert((BACKEND, 300), Backing::Ram(mfn));
        }
        checked.fill(BACKEND, 300, 0x24);
        checked.switch(|switches| switches.no_low_memory = !low_memory);
        accept(&mut checked, 80, 500);
        assert_eq!(given_unseen(&checked, gift(300, 80)), status);
        let high = checked.machine.state().frames.get(mfn).is_some();
        assert_eq!(high, status == OKAY && !low_memory, "what becomes of it");
        if status == OKAY {
            let (flags, _, frame) = checked.machine.read_entry(FRONTEND, 80);
            assert_eq!(flags, DONE);
            assert_eq!(checked.byte(FRONTEND, frame, 7), 0x24);
        }
    }
}

#[test]
fn transfers_can_be_forbidden() {
    let checked = scene();
    checked.switch(|switches| switches.no_transfer = true);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let end = vcpu.call(Number::GrantTable, GNTTABOP_TRANSFER, ARGUMENTS, 1);
    assert_eq!(end.value, -95);
    let vcpu = vcpu.with_compat_layout();
    let end = vcpu.call(Number::GrantTable, GNTTABOP_TRANSFER, ARGUMENTS, 1);
    assert_eq!(end.value, -95);
}

fn swapped(checked: &mut Checked, ref_a: u32, ref_b: u32) -> i16 {
    let mut ops = [SwapGrantRef {
        ref_a,
        ref_b,
        ..SwapGrantRef::default()
    }];
    checked.swap(FRONTEND, &mut ops);
    ops[0].status
}

/// The bytes after the last status are in memory that the guest cannot write.
#[test]
fn nothing_is_written_behind_the_last_status() {
    let end_of_page = 0x5000_1000;
    for count in [1, 2] {
        let checked = scene();
        let mut ops = vec![
            SwapGrantRef {
                ref_a: 100,
                ref_b: 101,
                status: 77,
                ..SwapGrantRef::default()
            };
            count
        ];
        let unwritten = size_of::<SwapGrantRef>() - offset_of!(SwapGrantRef, status) - 2;
        let at = end_of_page - (size_of_val(&ops[..]) - unwritten) as u64;
        let vcpu = checked.machine.vcpu_of(FRONTEND);
        vcpu.with_guest_memory(|memory| {
            memory.store(at, ops.as_slice().as_bytes());
            memory.set_writable(end_of_page, false);
        });
        let end = vcpu.call(
            Number::GrantTable,
            GNTTABOP_SWAP_GRANT_REF,
            at,
            count as u32,
        );
        assert_eq!(end.value, 0);
        vcpu.with_guest_memory(|memory| {
            memory.read(at, ops.as_mut_slice().as_mut_bytes());
        });
        assert!(ops.iter().all(|op| op.status == OKAY));
    }
}

#[test]
fn swapping_entries() {
    for version in [1, 2] {
        let mut checked = scene();
        checked.set_version(FRONTEND, version);
        checked.write_entry(FRONTEND, 100, GTF_PERMIT_ACCESS, BACKEND, 20);
        checked.write_entry(FRONTEND, 101, GTF_PERMIT_ACCESS, BYSTANDER, 21);
        assert_eq!(swapped(&mut checked, 100, 101), OKAY);
        let entry = |gref| checked.machine.read_entry(FRONTEND, gref);
        assert_eq!(entry(100), (GTF_PERMIT_ACCESS, BYSTANDER, 21));
        assert_eq!(entry(101), (GTF_PERMIT_ACCESS, BACKEND, 20));
        assert_eq!(swapped(&mut checked, 100, 100), OKAY);
        let entries = checked.machine.table_entries(FRONTEND);
        for (a, b) in [(entries, 1), (1, entries), (u32::MAX, u32::MAX)] {
            assert_eq!(swapped(&mut checked, a, b), BAD_GNTREF);
        }
        let live = checked.cpu_mapped(101, 1 << 32, true);
        assert_eq!(swapped(&mut checked, 101, 100), EAGAIN);
        assert_eq!(swapped(&mut checked, 100, 101), EAGAIN);
        assert_eq!(swapped(&mut checked, 101, 101), OKAY, "nothing to do");
        let mut end = [testbed::elements::cpu_unmap(live.handle, 1 << 32)];
        checked.cpu_unmap(BACKEND, &mut end);
        assert_eq!(swapped(&mut checked, 100, 101), OKAY);
    }
}

/// All sixteen bytes of a version 2 entry move.
#[test]
fn swapping_parts_of_pages() {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    let part = Part {
        start: 16,
        length: 32,
        flags: 0,
    };
    checked.write_sub_page(FRONTEND, 100, BACKEND, 20, part);
    assert_eq!(swapped(&mut checked, 100, 101), OKAY);
    let op = copy_out(by_frame(1, 0), by_gref(FRONTEND, 101, 16), 32);
    assert_eq!(checked.copied(op), OKAY);
    let op = copy_out(by_frame(1, 0), by_gref(FRONTEND, 101, 16), 33);
    assert_eq!(checked.copied(op), GENERAL_ERROR);
}

#[test]
fn long_batches_of_swaps_are_preempted() {
    let checked = scene();
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let op = SwapGrantRef {
        ref_a: 100,
        ref_b: 101,
        ..SwapGrantRef::default()
    };
    let vcpu = checked.machine.vcpu_of(FRONTEND);
    // An even number leaves everything as it was.
    let mut ops = vec![op; 200];
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_SWAP_GRANT_REF, &mut ops);
    assert!(end.value == 0 && end.steps >= 3, "{end:?}");
    assert!(ops.iter().all(|op| op.status == OKAY));
    checked.check();
}

#[test]
fn domain_with_a_full_batch_of_gifts() {
    let mut checked = scene_with(DomainSetup {
        ram_frames: 64,
        ..DomainSetup::pvh(BACKEND)
    });
    for nth in 0..40 {
        accept(&mut checked, 80 + nth, 500 + nth);
    }
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops: Vec<_> = (0..40).map(|nth| gift(nth.into(), 80 + nth)).collect();
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_TRANSFER, &mut ops);
    assert!(end.value == 0 && end.steps > 3, "{end:?}");
    assert!(ops.iter().all(|op| op.status == OKAY));
    assert_eq!(checked.machine.state().memory_of(FRONTEND), 200);
}
