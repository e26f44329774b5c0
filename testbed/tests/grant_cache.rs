// SPDX-License-Identifier: GPL-2.0-only
//! `cache_flush`. It has no status for each element: the first mistake ends the
//! call. Error numbers are those of Xen's C tables, the header names none.

use hypercall_abi::grant::{
    CacheFlush, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, GNTTAB_CACHE_SOURCE_GREF,
    GNTTABOP_CACHE_FLUSH, GNTTABOP_SETUP_TABLE, GTF_PERMIT_ACCESS, SetupTable64,
};
use testbed::{
    elements::{READ, cpu_unmap, map_grant},
    model::{DomainSetup, Preempt, frames::NOBODY, guest::GUEST_LIMIT, hypercall::Number},
    oracle::Checked,
    scene::{BACKEND, FRONTEND, scene},
};

const BOTH: u32 = GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL;
const EPERM: i32 = -1;
const EFAULT: i32 = -14;
const EINVAL: i32 = -22;
const EOPNOTSUPP: i32 = -95;

fn flush_of(checked: &Checked, domain: u16, gfn: u64) -> CacheFlush {
    let mfn = checked.machine.mfn_of(domain, gfn).expect("memory");
    CacheFlush {
        dev_bus_addr: mfn * 4096,
        offset: 64,
        length: 128,
        op: BOTH,
    }
}

/// The call's value, and how many ranges were flushed.
fn flushed(checked: &Checked, ops: &[CacheFlush]) -> (i32, usize) {
    checked.machine.state().cache_flushes.clear();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_CACHE_FLUSH, &mut ops.to_vec());
    checked.check();
    (end.value, checked.machine.state().cache_flushes.len())
}

#[test]
fn own_pages() {
    let checked = scene();
    let op = flush_of(&checked, BACKEND, 3);
    assert_eq!(flushed(&checked, &[op]), (0, 1));
    let done = checked.machine.state().cache_flushes[0];
    assert_eq!(done, (op.dev_bus_addr / 4096, 64, 128, BOTH));
}

/// Others' pages only while they are granted and in use.
#[test]
fn granted_pages_in_use() {
    let mut checked = scene();
    let op = flush_of(&checked, FRONTEND, 8);
    assert_eq!(flushed(&checked, &[op]), (EINVAL, 0));
    let live = checked.cpu_mapped(8, 1 << 32, false);
    assert_eq!(flushed(&checked, &[op]), (0, 1));
    let mut end = [cpu_unmap(live.handle, 1 << 32)];
    checked.cpu_unmap(BACKEND, &mut end);
    assert_eq!(flushed(&checked, &[op]), (EINVAL, 0));
    // A DMA mapping is a use as well.
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    assert_eq!(flushed(&checked, &[op]), (0, 1));
    // Not what another domain uses.
    let vcpu = checked.machine.vcpu_of(3);
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_CACHE_FLUSH, &mut [op]);
    assert_eq!(end.value, EINVAL);
}

#[test]
fn mistakes() {
    let checked = scene();
    let good = flush_of(&checked, BACKEND, 3);
    let value = |op| flushed(&checked, &[op]).0;
    for (offset, length) in [(4096, 0), (4096, 1), (0, 4097), (4000, 97), (u16::MAX, 1)] {
        let op = CacheFlush {
            offset,
            length,
            ..good
        };
        assert_eq!(value(op), EINVAL, "{offset} {length}");
    }
    for op in [4, GNTTAB_CACHE_SOURCE_GREF | BOTH, u32::MAX] {
        assert_eq!(value(CacheFlush { op, ..good }), EINVAL);
    }
    // No such frame, and one that nobody owns.
    let dev_bus_addr = 1 << 50;
    assert_eq!(
        value(CacheFlush {
            dev_bus_addr,
            ..good
        }),
        EINVAL
    );
    let mfn = good.dev_bus_addr / 4096;
    if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
        frame.owner = NOBODY;
    }
    assert_eq!(value(good), EPERM);
    if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
        frame.owner = BACKEND;
    }
    assert_eq!(value(good), 0);
    checked.switch(|switches| switches.no_cache_flush = true);
    assert_eq!(value(good), EOPNOTSUPP);
}

#[test]
fn nothing_to_flush_is_no_mistake() {
    let checked = scene();
    let good = flush_of(&checked, BACKEND, 3);
    let nowhere = CacheFlush {
        dev_bus_addr: 1 << 50,
        ..good
    };
    let ops = [
        CacheFlush { length: 0, ..good },
        CacheFlush { op: 0, ..nowhere },
        good,
    ];
    assert_eq!(flushed(&checked, &ops), (0, 1));
}

#[test]
fn elements_before_a_mistake_are_done() {
    let checked = scene();
    let good = flush_of(&checked, BACKEND, 3);
    let bad = CacheFlush { op: 8, ..good };
    assert_eq!(flushed(&checked, &[good, good, bad, good]), (EINVAL, 2));
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let value = |at| {
        let end = vcpu.call(Number::GrantTable, GNTTABOP_CACHE_FLUSH, at, 1);
        end.value
    };
    assert_eq!([value(0x10_0000), value(GUEST_LIMIT)], [EFAULT; 2]);
}

/// Nothing is written to an element: it may be in memory that the guest cannot write.
#[test]
fn elements_are_only_read() {
    let checked = scene();
    let op = flush_of(&checked, BACKEND, 3);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    for count in [1, 3] {
        let at = vcpu.store_elements(&vec![op; count]);
        vcpu.with_guest_memory(|memory| memory.set_writable(at, false));
        let end = vcpu.call(Number::GrantTable, GNTTABOP_CACHE_FLUSH, at, count as u32);
        assert_eq!(end.value, 0);
        vcpu.with_guest_memory(|memory| memory.set_writable(at, true));
    }
    assert_eq!(checked.machine.state().cache_flushes.len(), 4);
}

/// Something else gets the CPU after 16 elements, and no element is flushed twice.
#[test]
fn preempted_between_elements() {
    let checked = scene();
    let op = flush_of(&checked, BACKEND, 3);
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let end = vcpu.call_with(Number::GrantTable, GNTTABOP_CACHE_FLUSH, &mut [op; 40]);
    assert_eq!((end.value, end.steps), (0, 3));
    assert_eq!(checked.machine.state().cache_flushes.len(), 40);
}

/// The search for a grant in a large table is preempted, and goes on where it was:
/// 4096 references in one step.
#[test]
fn xsa_380_search_is_preempted() {
    let mut checked = Checked::new(&[
        DomainSetup {
            max_table_frames: 64,
            ..DomainSetup::pvh(FRONTEND)
        },
        DomainSetup::pvh(BACKEND),
    ]);
    let table = SetupTable64 {
        dom: 0x7ff0,
        nr_frames: 64,
        ..SetupTable64::default()
    };
    checked.ask(FRONTEND, GNTTABOP_SETUP_TABLE, table);
    let last = 64 * 512 - 1;
    checked.write_entry(FRONTEND, last, GTF_PERMIT_ACCESS, BACKEND, 8);
    assert_eq!(checked.cpu_mapped(last, 1 << 32, false).status, 0);
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let granted = flush_of(&checked, FRONTEND, 8);
    let own = flush_of(&checked, BACKEND, 3);
    let vcpu = checked.machine.vcpu_of(BACKEND);
    for (ops, value, flushes) in [
        (vec![granted], 0, 1),
        (vec![own, granted, own, granted], 0, 4),
        (vec![own, flush_of(&checked, FRONTEND, 9), own], EINVAL, 1),
    ] {
        checked.machine.state().cache_flushes.clear();
        let mut ops = ops;
        let end = vcpu.call_with(Number::GrantTable, GNTTABOP_CACHE_FLUSH, &mut ops);
        assert_eq!(end.value, value);
        assert!(end.steps >= 8, "{} steps", end.steps);
        assert_eq!(checked.machine.state().cache_flushes.len(), flushes);
    }
    // The caller changed the element while its search was continued.
    let at = vcpu.store_elements(&[CacheFlush { length: 0, ..own }]);
    let resumed = GNTTABOP_CACHE_FLUSH | 1 << 12;
    let end = vcpu.call(Number::GrantTable, resumed, at, 1);
    assert_eq!(end.value, -84);
}
