// SPDX-License-Identifier: GPL-2.0-only
//! CPU mappings and DMA pins of one reference, races with the granter, and the
//! advisories about both.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
    mpsc,
};
use std::time::Duration;

use hypercall_abi::grant::{
    GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING,
};
use testbed::{
    elements::{READ, READ_WRITE, cpu_map, cpu_unmap, map_grant, map_own, unmap_handle},
    model::{DomainSetup, Moment, Trigger, frames::Kind, hypercall::Number},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene},
};

const IN_USE: u16 = GTF_READING | GTF_WRITING;
const ADDRESS: u64 = 1 << 32;

/// XSA-224: CPU and device mapping of one page each hold a reference of their
/// own, and ending one leaves the other's.
#[test]
fn xsa_224_cpu_and_device_mapping_hold_a_reference_each() {
    let mut checked = scene();
    let cpu = checked.cpu_mapped(8, ADDRESS, true);
    let dma = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    // The CPU mapping of another translated domain's page takes no type.
    assert_eq!(checked.references_of(FRONTEND, 8), (2, 1));
    checked.unmapped(dma.handle);
    assert_eq!(checked.references_of(FRONTEND, 8), (1, 0));
    assert_eq!(checked.entry_flags(8) & IN_USE, IN_USE);
    let mut ops = [cpu_unmap(cpu.handle, ADDRESS)];
    checked.cpu_unmap(BACKEND, &mut ops);
    assert_eq!(
        (ops[0].status, checked.references_of(FRONTEND, 8)),
        (0, (0, 0))
    );
    assert_eq!(checked.entry_flags(8), GTF_PERMIT_ACCESS);
}

/// XSA-224: `dev_bus_addr = 0` and `host_addr = 0` at unmap drop nothing.
#[test]
fn xsa_224_unmap_of_neither_address_drops_nothing() {
    let mut checked = scene();
    let cpu = checked.cpu_mapped(8, ADDRESS, true);
    for _ in 0..3 {
        let mut ops = [cpu_unmap(cpu.handle, 0)];
        checked.cpu_unmap(BACKEND, &mut ops);
        assert_eq!(ops[0].status, 0);
        assert_eq!(checked.references_of(FRONTEND, 8).0, 1);
    }
    let mut ops = [cpu_unmap(cpu.handle, ADDRESS + 4096)];
    checked.cpu_unmap(BACKEND, &mut ops);
    assert_eq!(
        (ops[0].status, checked.references_of(FRONTEND, 8).0),
        (-1, 1)
    );
}

/// XSA-224, and a prototype's defect: a writable device mapping always needs a
/// writable-type reference.
#[test]
fn defect_writable_without_type_reference() {
    let mut checked = scene();
    let mfn = checked.machine.mfn_of(FRONTEND, 8).expect("memory");
    if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
        frame.kind = Kind::PageTable;
    }
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ_WRITE), -14);
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    let own = checked.machine.mfn_of(BACKEND, 3).expect("memory");
    if let Some(frame) = checked.machine.state().frames.get_mut(own) {
        frame.kind = Kind::PageTable;
    }
    checked.map_refused(map_own(2, 3, READ_WRITE), -14);
    checked.mapped(map_own(2, 3, READ));
}

/// XSA-394: counts go up and down by one use each, however many there are.
#[test]
fn xsa_394_each_use_counts_once() {
    let mut checked = scene();
    let mut ops = vec![map_grant(FRONTEND, 8, 2, READ); 20];
    checked.map(BACKEND, &mut ops);
    assert_eq!(checked.references_of(FRONTEND, 9), (20, 0));
    for (done, op) in ops.iter().enumerate() {
        checked.unmapped(op.handle);
        assert_eq!(checked.references_of(FRONTEND, 9), (19 - done as u32, 0));
    }
}

/// XSA-236: the pin goes before the page reference, also when it is the last and
/// the granter is dying.
#[test]
fn xsa_236_last_reference_of_a_dying_granter() {
    let mut checked = scene();
    let live = checked.mapped(map_grant(FRONTEND, 8, 4, READ));
    checked.kill(FRONTEND);
    checked.unmapped(live.handle);
    checked.assert_nothing_held();
}

/// XSA-230: device pins count when the in-use bits are cleared.
#[test]
fn xsa_230_device_pins_keep_the_in_use_bits() {
    let mut checked = scene();
    let dma = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    let cpu = checked.cpu_mapped(8, ADDRESS, true);
    let mut ops = [cpu_unmap(cpu.handle, ADDRESS)];
    checked.cpu_unmap(BACKEND, &mut ops);
    assert_eq!(checked.entry_flags(8) & IN_USE, IN_USE);
    checked.unmapped(dma.handle);
    assert_eq!(checked.entry_flags(8) & IN_USE, 0);
}

/// XSA-218, XSA-228: a record is put back once, and of two unmaps of one handle
/// only one finds it.
#[test]
fn xsa_218_maptrack_record_is_put_once() {
    let mut checked = scene();
    let cpu = checked.cpu_mapped(8, ADDRESS, true);
    let mut ops = [cpu_unmap(cpu.handle, ADDRESS); 3];
    checked.cpu_unmap(BACKEND, &mut ops);
    assert_eq!(ops.map(|op| op.status), [0, -4, -4]);
    let one = checked.cpu_mapped(8, ADDRESS, true);
    let other = checked.cpu_mapped(8, ADDRESS + 4096, true);
    assert_ne!(one.handle, other.handle);
}

/// While a reference is pinned, the frame in the entry is only the guest's
/// opinion: another use gets the frame that is pinned.
#[test]
fn frame_of_a_pinned_reference_does_not_change() {
    let mut checked = scene();
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.write_entry(FRONTEND, 8, GTF_PERMIT_ACCESS, BACKEND, 77);
    let again = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    assert_eq!(checked.references_of(FRONTEND, 8), (2, 1));
    assert_eq!(checked.references_of(FRONTEND, 77), (0, 0));
    checked.unmapped(again.handle);
}

/// The granter may forbid writing while readers are there.
#[test]
fn read_only_since_pinned() {
    let mut checked = scene();
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.write_entry(FRONTEND, 8, GTF_PERMIT_ACCESS | GTF_READONLY, BACKEND, 8);
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ_WRITE), -13);
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
}

/// The entry is revoked between Xen's look and Xen's change.
#[test]
fn revoked_between_look_and_change() {
    let mut checked = scene();
    let once = AtomicU32::new(0);
    checked.machine.set_hook(move |_, moment| {
        if let Moment::EntryAccess { page, offset } = moment
            && once.fetch_add(1, Ordering::SeqCst) == 0
        {
            page.word(offset).store(0, Ordering::SeqCst);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [map_grant(FRONTEND, 8, 1, READ_WRITE)];
    vcpu.call_with(Number::GrantDma, 5, &mut ops);
    assert_eq!(ops[0].status, -13);
    checked.machine.clear_hook();
    checked.write_entry(FRONTEND, 8, 0, 0, 8);
    checked.assert_nothing_held();
}

/// XSA-295: a guest that keeps changing the word costs a bounded number of
/// attempts.
#[test]
fn xsa_295_bounded_atomics() {
    let checked = scene();
    checked.machine.set_hook(|_, moment| {
        if let Moment::EntryAccess { page, offset } = moment {
            page.word(offset).fetch_xor(1 << 9, Ordering::SeqCst);
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [map_grant(FRONTEND, 8, 1, READ)];
    vcpu.call_with(Number::GrantDma, 5, &mut ops);
    assert_eq!(ops[0].status, -16);
    assert!(checked.machine.state().counters.atomics <= 8);
}

#[test]
fn cpu_map_failure_gives_the_pin_back() {
    let mut checked = scene();
    checked.switch(|switches| switches.cpu_map_fails = Trigger::Nth(1));
    assert_eq!(checked.cpu_mapped(8, ADDRESS, true).status, -1);
    checked.assert_nothing_held();
    assert_eq!(checked.cpu_mapped(8, ADDRESS + 1, true).status, -1);
    checked.assert_nothing_held();
}

#[test]
fn cpu_map_errors() {
    let mut checked = scene();
    let good = cpu_map(FRONTEND, 8, ADDRESS, true);
    let mut ops = [
        hypercall_abi::grant::MapGrantRef { flags: 0, ..good },
        hypercall_abi::grant::MapGrantRef {
            flags: GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP,
            ..good
        },
        hypercall_abi::grant::MapGrantRef { dom: 77, ..good },
        hypercall_abi::grant::MapGrantRef { gref: 512, ..good },
        hypercall_abi::grant::MapGrantRef {
            gref: u32::MAX,
            ..good
        },
        hypercall_abi::grant::MapGrantRef { gref: 9, ..good },
        good,
    ];
    assert_eq!(checked.cpu_map(BACKEND, &mut ops).value, 0);
    assert_eq!(ops.map(|op| op.status), [-3, -1, -2, -3, -3, -1, 0]);
    let mut ops = [good];
    checked.cpu_map(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, -1);
}

#[test]
fn cpu_unmap_needs_permission() {
    let mut checked = scene();
    let cpu = checked.cpu_mapped(8, ADDRESS, true);
    checked
        .machine
        .state()
        .access
        .unmap
        .insert((BACKEND, FRONTEND));
    let mut ops = [cpu_unmap(cpu.handle, ADDRESS)];
    checked.cpu_unmap(BACKEND, &mut ops);
    assert_eq!(ops[0].status, -8);
    checked.machine.state().access.unmap.clear();
    checked.cpu_unmap(BACKEND, &mut ops);
    assert_eq!(ops[0].status, 0);
}

/// No memory for the second of the wanted frames: the first is given back and
/// never shared.
#[test]
fn table_growth_without_memory_changes_nothing() {
    use hv::{grant::FrameKind, host::Domain};
    let checked = scene();
    let domain = checked.machine.find(FRONTEND).expect("frontend");
    let state = domain.state().expect("state");
    let before = checked.machine.state().frames.iter().count();
    checked.switch(|switches| switches.shared_page_fails = Trigger::Nth(2));
    let mut frames = [0; 3];
    let grown = state.grants.frames_for_resource(
        &checked.machine,
        &domain,
        FrameKind::Shared,
        1,
        &mut frames,
    );
    assert!(grown.is_err());
    assert_eq!(state.grants.frame_count(), 1);
    assert_eq!(checked.machine.state().frames.iter().count(), before);
    assert_eq!(checked.machine.table_entries(FRONTEND), 512);
    let grown = state.grants.frames_for_resource(
        &checked.machine,
        &domain,
        FrameKind::Shared,
        1,
        &mut frames,
    );
    assert!(grown.is_ok());
    checked.machine.look_at_table(FRONTEND);
    assert_eq!(checked.machine.table_entries(FRONTEND), 2048);
}

#[test]
fn domain_creation_without_memory() {
    let checked = scene();
    checked.switch(|switches| switches.shared_page_fails = Trigger::Nth(1));
    assert!(checked.machine.add_domain(DomainSetup::pvh(9)).is_none());
    checked.check();
}

/// `unmap` promises that when the call has returned 0 no device reaches the
/// frames, also when another vcpu's flush has taken them over and not ended.
#[test]
fn unmap_waits_for_the_flush_of_another_vcpu() {
    let mut checked = scene();
    let other = checked.mapped(map_own(0, 1, READ));
    // 64 frames of work make the second vcpu look whether it is preempted,
    // between its unmap and its flush.
    let mine = checked.mapped(map_own(8, 64, READ));
    let machine = checked.machine.clone();
    let (in_flush, flush_begun) = mpsc::channel();
    let (done, returned) = mpsc::channel::<bool>();
    let returned = Mutex::new(returned);
    let early = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&early);
    let first_flush = AtomicU32::new(0);
    let first_poll = AtomicU32::new(0);
    let flush_begun = Mutex::new(flush_begun);
    let start = Mutex::new(None::<std::thread::JoinHandle<()>>);
    checked
        .machine
        .set_hook(move |machine, moment| match moment {
            Moment::Poll if first_poll.fetch_add(1, Ordering::SeqCst) == 0 => {
                // The other vcpu unmaps, and its flush takes our frames over.
                let vcpu = machine.vcpu_of(BACKEND);
                *start.lock().expect("thread") = Some(std::thread::spawn(move || {
                    vcpu.with_guest_memory(|memory| {
                        let op = [unmap_handle(other.handle)];
                        memory.store(0x7000_0000, zerocopy::IntoBytes::as_bytes(&op));
                    });
                    vcpu.call(Number::GrantDma, 6, 0x7000_0000, 1);
                }));
                flush_begun.lock().expect("flush").recv().expect("a flush");
            }
            Moment::Flush if first_flush.fetch_add(1, Ordering::SeqCst) == 0 => {
                in_flush.send(()).expect("somebody waits");
                let answer = returned
                    .lock()
                    .expect("channel")
                    .recv_timeout(Duration::from_millis(300));
                *seen.lock().expect("answer") = answer.ok();
            }
            _ => {}
        });
    let vcpu = machine.vcpu_of(BACKEND);
    let mut ops = [unmap_handle(mine.handle)];
    let end = vcpu.call_with(Number::GrantDma, 6, &mut ops);
    assert_eq!((end.value, ops[0].status), (0, 0));
    let reaches = machine.device_read(BACKEND, mine.daddr).is_ok();
    let _ = done.send(reaches);
    assert!(
        !reaches,
        "unmap returned 0 and a device still reaches the frame"
    );
}
