// SPDX-License-Identifier: GPL-2.0-only
//! `set_version`, `get_version`, `get_status_frames`, `setup_table`, `query_size`
//! and `dump_table`, with tables that are in use. Error numbers of `set_version`
//! are those of Xen's C tables: the header names none.

use hypercall_abi::grant::{
    DumpTable, GNTTABOP_DUMP_TABLE, GNTTABOP_GET_STATUS_FRAMES, GNTTABOP_GET_VERSION,
    GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE, GTF_ACCEPT_TRANSFER, GTF_PERMIT_ACCESS,
    GTF_READING, GTF_SUB_PAGE, GTF_TRANSITIVE, GTF_WRITING, GetStatusFrames32, GetStatusFrames64,
    GetVersion, SetupTable32, SetupTable64,
};
use testbed::{
    elements::{READ_WRITE, by_frame, by_gref, copy_in, cpu_unmap, map_grant},
    model::{DomainSetup, Trigger, frames::Kind, guest::GUEST_LIMIT, hypercall::Number},
    oracle::{Checked, Part},
    scene::{BACKEND, BYSTANDER, FRONTEND, scene},
};

const LIST: u64 = 0x6000_0000;
const ADDRESS: u64 = 1 << 32;
const IN_USE: u16 = GTF_READING | GTF_WRITING;
const SELF: u16 = 0x7ff0;
const EAGAIN: i32 = -11;
const ENOMEM: i32 = -12;
const EFAULT: i32 = -14;
const EBUSY: i32 = -16;
const EINVAL: i32 = -22;
const ERANGE: i32 = -34;

/// Shared pages of a domain, and what is in them.
fn pages_of(checked: &Checked, domain: u16) -> Vec<u64> {
    let state = checked.machine.state();
    let frames = state.frames.iter();
    frames
        .filter(|(_, frame)| frame.owner == domain && matches!(frame.kind, Kind::Shared(_)))
        .map(|(mfn, _)| mfn)
        .collect()
}

#[test]
fn there_and_back() {
    let mut checked = scene();
    assert_eq!(checked.set_version(FRONTEND, 2), (0, 2));
    assert_eq!(pages_of(&checked, FRONTEND).len(), 2);
    // Nothing of the old format is left outside the reserved entries.
    assert_eq!(checked.machine.read_whole_entry(FRONTEND, 9), (0, 0, 0, 0));
    checked.write_entry(FRONTEND, 20, GTF_PERMIT_ACCESS, BACKEND, 20);
    let live = checked.cpu_mapped(20, ADDRESS, true);
    assert_eq!(checked.entry_flags(20) & IN_USE, IN_USE);
    let mut end = [cpu_unmap(live.handle, ADDRESS)];
    checked.cpu_unmap(BACKEND, &mut end);
    assert_eq!(checked.set_version(FRONTEND, 1), (0, 1));
    assert_eq!(pages_of(&checked, FRONTEND).len(), 1);
    checked.write_entry(FRONTEND, 20, GTF_PERMIT_ACCESS, BACKEND, 20);
    assert_eq!(checked.cpu_mapped(20, ADDRESS, true).status, 0);
}

#[test]
fn the_version_in_use_is_told_with_every_error() {
    let mut checked = scene();
    for version in [0, 3, u32::MAX] {
        assert_eq!(checked.set_version(FRONTEND, version), (EINVAL, 1));
    }
    checked.set_version(FRONTEND, 2);
    assert_eq!(checked.set_version(FRONTEND, 3), (EINVAL, 2));
}

/// Uses of every kind keep the format as it is, other domains' tables do not.
#[test]
fn refused_while_entries_are_in_use() {
    for (from, to) in [(1, 2), (2, 1)] {
        let mut checked = scene();
        checked.set_version(FRONTEND, from);
        checked.write_entry(FRONTEND, 8, GTF_PERMIT_ACCESS, BACKEND, 8);
        let dma = checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
        assert_eq!(checked.set_version(FRONTEND, to), (EBUSY, from));
        checked.unmapped(dma.handle);
        let cpu = checked.cpu_mapped(8, ADDRESS, false);
        assert_eq!(checked.set_version(FRONTEND, to), (EBUSY, from));
        let other = checked.set_version(BYSTANDER, 2);
        assert_eq!(other, (0, 2));
        let mut end = [cpu_unmap(cpu.handle, ADDRESS)];
        checked.cpu_unmap(BACKEND, &mut end);
        assert_eq!(checked.set_version(FRONTEND, to), (0, to));
    }
}

/// The toolstack's reserved entries survive, in use or not.
#[test]
fn reserved_entries_survive() {
    let mut checked = scene();
    checked.write_entry(FRONTEND, 1, GTF_PERMIT_ACCESS, BACKEND, 11);
    checked.write_entry(FRONTEND, 2, GTF_PERMIT_ACCESS, BACKEND, 12);
    checked.write_entry(FRONTEND, 7, GTF_ACCEPT_TRANSFER, BACKEND, 13);
    let live = checked.cpu_mapped(1, ADDRESS, true);
    assert_eq!(checked.set_version(FRONTEND, 2), (0, 2));
    let entry = |checked: &Checked, gref| checked.machine.read_entry(FRONTEND, gref);
    assert_eq!(
        entry(&checked, 1),
        (GTF_PERMIT_ACCESS | IN_USE, BACKEND, 11)
    );
    assert_eq!(entry(&checked, 2), (GTF_PERMIT_ACCESS, BACKEND, 12));
    assert_eq!(entry(&checked, 7), (GTF_ACCEPT_TRANSFER, BACKEND, 13));
    // A second use joins the first in the new format.
    let dma = checked.mapped(map_grant(FRONTEND, 1, 1, READ_WRITE));
    assert_eq!(checked.set_version(FRONTEND, 1), (0, 1));
    assert_eq!(
        entry(&checked, 1),
        (GTF_PERMIT_ACCESS | IN_USE, BACKEND, 11)
    );
    assert_eq!(entry(&checked, 2), (GTF_PERMIT_ACCESS, BACKEND, 12));
    // Only access grants come back from version 2.
    assert_eq!(entry(&checked, 7), (0, 0, 0));
    checked.unmapped(dma.handle);
    let mut end = [cpu_unmap(live.handle, ADDRESS)];
    checked.cpu_unmap(BACKEND, &mut end);
    assert_eq!(entry(&checked, 1), (GTF_PERMIT_ACCESS, BACKEND, 11));
    checked.assert_nothing_held();
}

#[test]
fn reserved_entries_that_version_1_cannot_say() {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    checked.write_whole_entry(FRONTEND, 3, GTF_PERMIT_ACCESS, BACKEND, 0, 1 << 32);
    assert_eq!(checked.set_version(FRONTEND, 1), (ERANGE, 2));
    checked.write_transitive(FRONTEND, 3, BACKEND, (BYSTANDER, 8));
    assert_eq!(checked.set_version(FRONTEND, 1), (ERANGE, 2));
    // Others are no obstacle.
    checked.write_entry(FRONTEND, 3, 0, 0, 0);
    checked.write_transitive(FRONTEND, 8, BACKEND, (BYSTANDER, 8));
    assert_eq!(checked.set_version(FRONTEND, 1), (0, 1));
}

/// A copy through a reserved entry that only version 2 has is going on.
#[test]
fn copies_of_parts_keep_version_2() {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    let part = Part {
        start: 0,
        length: 64,
        flags: 0,
    };
    checked.write_sub_page(FRONTEND, 3, BACKEND, 8, part);
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = std::sync::Arc::clone(&seen);
    let first = std::sync::atomic::AtomicBool::new(true);
    checked.switch(|switches| switches.preempt = testbed::model::Preempt::Never);
    checked.machine.set_hook(move |machine, moment| {
        // A look at the other end of the copy: the first end is claimed by then,
        // and no lock of its table is held.
        if let testbed::model::Moment::Poll = moment
            && first.swap(false, std::sync::atomic::Ordering::SeqCst)
        {
            use hv::host::Domain;
            let domain = machine.find(FRONTEND).expect("frontend");
            let grants = &domain.state().expect("state").grants;
            log.lock()
                .expect("log")
                .push(grants.set_version(machine, &domain, 1));
        }
    });
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = vec![copy_in(by_gref(FRONTEND, 3, 0), by_frame(1, 0), 64); 40];
    let end = vcpu.call_with(Number::GrantTable, 5, &mut ops);
    assert_eq!(end.value, 0);
    checked.machine.clear_hook();
    let seen = seen.lock().expect("log").clone();
    assert_eq!(seen.len(), 1, "the copies looked for other work");
    let error = hypercall_abi::Errno::from(seen[0].expect_err("in use"));
    assert_eq!(error.wire(), EAGAIN);
    checked.check();
    assert_eq!(checked.set_version(FRONTEND, 1), (0, 1));
}

/// Frames that the guest has still mapped somewhere stay shared with it.
#[test]
fn status_frames_in_use() {
    let mut checked = scene();
    checked.ask(
        FRONTEND,
        GNTTABOP_SETUP_TABLE,
        SetupTable64 {
            dom: SELF,
            nr_frames: 4,
            ..SetupTable64::default()
        },
    );
    checked.set_version(FRONTEND, 2);
    let mut pages = pages_of(&checked, FRONTEND);
    assert_eq!(pages.len(), 5, "four with entries, one with status");
    let status = pages.pop().expect("the youngest");
    checked.machine.state().guest_uses.insert(status);
    assert_eq!(checked.set_version(FRONTEND, 1), (EBUSY, 2));
    checked.write_entry(FRONTEND, 8, GTF_PERMIT_ACCESS, BACKEND, 8);
    let live = checked.cpu_mapped(8, ADDRESS, true);
    assert_eq!(checked.entry_flags(8) & IN_USE, IN_USE);
    let mut end = [cpu_unmap(live.handle, ADDRESS)];
    checked.cpu_unmap(BACKEND, &mut end);
    checked.machine.state().guest_uses.clear();
    assert_eq!(checked.set_version(FRONTEND, 1), (0, 1));
}

/// If the second of two status frames cannot be taken back, the first is shared
/// again.
#[test]
fn status_frames_are_taken_back_all_or_none() {
    let mut checked = Checked::new(&[DomainSetup {
        max_table_frames: 16,
        ..DomainSetup::pvh(FRONTEND)
    }]);
    let table = SetupTable64 {
        dom: SELF,
        nr_frames: 16,
        ..SetupTable64::default()
    };
    checked.ask(FRONTEND, GNTTABOP_SETUP_TABLE, table);
    checked.set_version(FRONTEND, 2);
    let pages = pages_of(&checked, FRONTEND);
    assert_eq!(pages.len(), 18);
    let last = *pages.last().expect("pages");
    checked.machine.state().guest_uses.insert(last);
    assert_eq!(checked.set_version(FRONTEND, 1), (EBUSY, 2));
    assert_eq!(pages_of(&checked, FRONTEND), pages);
    checked.machine.state().guest_uses.clear();
    checked.switch(|switches| switches.unshare_breaks = Trigger::Nth(2));
    let vcpu = checked.machine.vcpu_of(FRONTEND);
    let mut op = [hypercall_abi::grant::SetVersion { version: 1 }];
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_SET_VERSION, &mut op);
    assert_eq!((end.value, op[0].version), (EBUSY, 2));
    assert_eq!(pages_of(&checked, FRONTEND), pages);
    checked.check();
}

#[test]
fn no_memory_for_status_frames() {
    let mut checked = scene();
    checked.switch(|switches| switches.shared_page_fails = Trigger::Nth(1));
    let vcpu = checked.machine.vcpu_of(FRONTEND);
    let mut op = [hypercall_abi::grant::SetVersion { version: 2 }];
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_SET_VERSION, &mut op);
    assert_eq!((end.value, op[0].version), (ENOMEM, 1));
    checked.check();
    // The entries are as they were.
    assert_eq!(checked.cpu_mapped(8, ADDRESS, true).status, 0);
    let end = vcpu.call(Number::GrantTable, GNTTABOP_SET_VERSION, 0x10_0000, 1);
    assert_eq!(end.value, EFAULT);
}

fn list_of(checked: &Checked, caller: u16, bytes: usize) -> Vec<u8> {
    let mut list = vec![0; bytes];
    let vcpu = checked.machine.vcpu_of(caller);
    vcpu.with_guest_memory(|memory| {
        memory.read(LIST, &mut list);
    });
    list
}

fn scene_with_list() -> Checked {
    let checked = scene();
    for domain in [FRONTEND, BACKEND] {
        let vcpu = checked.machine.vcpu_of(domain);
        vcpu.with_guest_memory(|memory| memory.add_page(LIST, true));
    }
    checked
}

#[test]
fn status_frames_are_listed() {
    let mut checked = scene_with_list();
    let op = |nr_frames| GetStatusFrames64 {
        nr_frames,
        dom: SELF,
        status: 77,
        frame_list: LIST,
    };
    let ask = |checked: &Checked, op: GetStatusFrames64| {
        let (value, answer) = checked.ask(FRONTEND, GNTTABOP_GET_STATUS_FRAMES, op);
        (value, answer.status)
    };
    // Version 1 has none, which is what can be listed of it.
    assert_eq!(ask(&checked, op(0)), (0, 0));
    assert_eq!(ask(&checked, op(1)), (0, -1));
    checked.set_version(FRONTEND, 2);
    assert_eq!(ask(&checked, op(1)), (0, 0));
    let pages = pages_of(&checked, FRONTEND);
    let frame = u64::from_le_bytes(list_of(&checked, FRONTEND, 8).try_into().expect("8"));
    assert!(pages.contains(&frame), "a page shared with it");
    assert_eq!(ask(&checked, op(2)), (0, -1));
    assert_eq!(ask(&checked, op(u32::MAX)), (0, -1));
    let hole = GetStatusFrames64 {
        frame_list: 0x10_0000,
        ..op(1)
    };
    assert_eq!(ask(&checked, hole), (0, -5));
    let outside = GetStatusFrames64 {
        frame_list: GUEST_LIMIT,
        ..op(1)
    };
    assert_eq!(ask(&checked, outside), (EFAULT, 77));
    assert_eq!(
        ask(&checked, GetStatusFrames64 { dom: 77, ..op(1) }),
        (0, -2)
    );
    let pair = (FRONTEND, BYSTANDER);
    checked.machine.state().access.table.insert(pair);
    let foreign = GetStatusFrames64 {
        dom: BYSTANDER,
        ..op(1)
    };
    assert_eq!(ask(&checked, foreign), (0, -8));
}

/// 32-bit guests: frame numbers of a table have 32 bits, those of status frames 64.
#[test]
fn lists_of_32_bit_guests() {
    let mut checked = scene_with_list();
    checked.set_version(FRONTEND, 2);
    let vcpu = checked.machine.vcpu_of(FRONTEND).with_compat_layout();
    let mut status = [GetStatusFrames32 {
        nr_frames: 1,
        dom: SELF,
        status: 77,
        frame_list: LIST as u32,
    }];
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_GET_STATUS_FRAMES, &mut status);
    assert_eq!((end.value, status[0].status), (0, 0));
    let frame = u64::from_le_bytes(list_of(&checked, FRONTEND, 8).try_into().expect("8"));
    let pages = pages_of(&checked, FRONTEND);
    assert!(pages.contains(&frame));
    let mut table = [SetupTable32 {
        dom: SELF,
        nr_frames: 2,
        status: 77,
        frame_list: LIST as u32,
        ..SetupTable32::default()
    }];
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_SETUP_TABLE, &mut table);
    assert_eq!((end.value, table[0].status), (0, 0));
    let list = list_of(&checked, FRONTEND, 12);
    let frames: Vec<u32> = list
        .chunks(4)
        .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4")))
        .collect();
    let pages = pages_of(&checked, FRONTEND);
    assert!(pages.contains(&frames[0].into()) && pages.contains(&frames[1].into()));
    assert_eq!(frames[2], 0, "no more than asked for");
    checked.check();
}

/// Growth in version 2 brings the status frames that the new entries need.
#[test]
fn growth_in_version_2() {
    let mut checked = Checked::new(&[
        DomainSetup {
            max_table_frames: 20,
            ..DomainSetup::pvh(FRONTEND)
        },
        DomainSetup::pvh(BACKEND),
    ]);
    checked.set_version(FRONTEND, 2);
    let table = |nr_frames| SetupTable64 {
        dom: SELF,
        nr_frames,
        ..SetupTable64::default()
    };
    // Eight frames of 256 entries have their status in one of 2048.
    for (frames, status_frames) in [(8, 1), (9, 2), (17, 3), (20, 3)] {
        let (value, _) = checked.ask(FRONTEND, GNTTABOP_SETUP_TABLE, table(frames));
        assert_eq!(value, 0);
        assert_eq!(
            pages_of(&checked, FRONTEND).len() as u32,
            frames + status_frames
        );
    }
    // The last entry of the last frame works.
    let last = 20 * 256 - 1;
    checked.write_entry(FRONTEND, last, GTF_PERMIT_ACCESS, BACKEND, 8);
    assert_eq!(checked.cpu_mapped(last, ADDRESS, true).status, 0);
    assert_eq!(checked.entry_flags(last) & IN_USE, IN_USE);
}

/// Growth without memory for the status changes nothing.
#[test]
fn growth_in_version_2_without_memory() {
    let mut checked = Checked::new(&[DomainSetup {
        max_table_frames: 20,
        ..DomainSetup::pvh(FRONTEND)
    }]);
    checked.set_version(FRONTEND, 2);
    let before = pages_of(&checked, FRONTEND);
    let table = SetupTable64 {
        dom: SELF,
        nr_frames: 9,
        ..SetupTable64::default()
    };
    // Eight new frames of entries, then one of status.
    for nth in [1, 8, 9] {
        checked.switch(|switches| switches.shared_page_fails = Trigger::Nth(nth));
        let (value, answer) = checked.ask(FRONTEND, GNTTABOP_SETUP_TABLE, table);
        assert_eq!((value, answer.status), (0, -1));
        assert_eq!(pages_of(&checked, FRONTEND), before, "at {nth}");
    }
}

#[test]
fn versions_of_others() {
    let mut checked = scene();
    checked.set_version(FRONTEND, 2);
    let ask = |dom| {
        let op = GetVersion {
            dom,
            ..GetVersion::default()
        };
        let (value, answer) = checked.ask(BACKEND, GNTTABOP_GET_VERSION, op);
        (value, answer.version)
    };
    assert_eq!(ask(SELF), (0, 1));
    assert_eq!(ask(BACKEND), (0, 1));
    assert_eq!(ask(FRONTEND), (0, 2));
    assert_eq!(ask(77).0, -3);
}

#[test]
fn dump_table() {
    let mut checked = scene();
    checked.cpu_mapped(8, ADDRESS, true);
    let ask = |dom| {
        let op = DumpTable { dom, status: 77 };
        let (value, answer) = checked.ask(BACKEND, GNTTABOP_DUMP_TABLE, op);
        assert_eq!(value, 0);
        answer.status
    };
    assert_eq!([ask(SELF), ask(FRONTEND), ask(77)], [0, 0, -2]);
    let pair = (BACKEND, FRONTEND);
    checked.machine.state().access.table.insert(pair);
    assert_eq!(ask(FRONTEND), -8);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let at = vcpu.store_elements(&[DumpTable::default(); 2]);
    let end = vcpu.call(Number::GrantTable, GNTTABOP_DUMP_TABLE, at, 2);
    assert_eq!(end.value, EINVAL);
}

/// The table in words names every reference in use once, with its frame and flags.
#[test]
fn table_in_words() {
    use hv::host::Domain;
    let mut checked = scene();
    let live = checked.cpu_mapped(8, ADDRESS, true);
    let domain = checked.machine.find(FRONTEND).expect("frontend");
    let mut lines = Vec::new();
    let grants = &domain.state().expect("state").grants;
    grants.show(&domain, usize::MAX, |line| lines.push(line.to_string()));
    let entries: Vec<_> = lines.iter().filter(|it| it.starts_with("[0x")).collect();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].starts_with("[0x008]"), "{entries:?}");
    let mfn = format!("{:#08x}", live.dev_bus_addr / 4096);
    assert!(entries[0].contains(&mfn), "{entries:?}");
    assert!(lines.iter().any(|line| line.contains("(v1)")));
}

/// Entries are only ever touched in ways that their format has.
#[test]
fn kinds_that_version_1_does_not_know() {
    let mut checked = scene();
    for flags in [GTF_TRANSITIVE, GTF_TRANSITIVE | GTF_SUB_PAGE] {
        checked.write_entry(FRONTEND, 20, flags, BACKEND, 20);
        let op = copy_in(by_gref(FRONTEND, 20, 0), by_frame(1, 0), 8);
        assert_eq!(checked.copied(op), -1);
    }
}
