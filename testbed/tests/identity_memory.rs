// SPDX-License-Identifier: GPL-2.0-only
//! What the default context of a PV domain takes of the hypervisor's memory: how much for
//! a page, how much at a time, and how much stays.
//!
//! The allocator counts the model's memory too, but where nothing is told to the IOMMU the
//! model needs none for a mapping.

use std::{
    alloc::System,
    sync::{Mutex, MutexGuard},
};

use cap::Cap;
use hv::{dma::context::Context, host::Domain};
use hypercall_abi::{
    command::{
        XEN_GDMA_DOMID_SELF, XEN_GDMA_OP_LOOKUP, XEN_GDMA_OP_MAP, XEN_GDMA_OP_QUERY,
        XEN_GDMA_OP_UNMAP,
    },
    grant::{GNTTABOP_SETUP_TABLE, GTF_PERMIT_ACCESS, SetupTable64},
    mapping::{Map, Unmap},
    query::Query,
};
use testbed::{
    elements::{READ, lookup_daddr, map_grant, map_own, unmap_handle},
    model::{DomainSetup, Machine, hypercall::Number},
    oracle::Checked,
    row::ROW,
    scene::{BACKEND, FRONTEND},
};

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What another test allocates is not to be counted.
static ALONE: Mutex<()> = Mutex::new(());

/// Several doublings of the indices, and a few thousand pages of memory.
const FRAMES: u32 = 1 << 16;
/// References of the frontend: its grant table's worth.
const GREFS: u32 = 1 << 14;
/// What a million pins may take.
const MOST_FOR_A_MILLION: usize = 64 << 20;
/// Bytes of a page's record on Xen.
const RECORD_ON_XEN: usize = 32;
/// The bytes that one more mapping may need at once: a page of memory each for records,
/// links, slots and the two indices, and as much for the model.
const MOST_AT_ONCE: usize = 16 * 4096;
/// Bytes for each page that there was at one time: 16 of its slot, 4 in each of two or three
/// indices, and something for chunks and blocks that are kept for the next one. Counts, and
/// the records and links of pages, are not among them.
const MOST_LEFT: usize = 48;
/// As in `growth.rs`: exceeded by chance less than once in a million runs.
const MOST_IN_A_BUCKET: u32 = 16;

/// A PV backend with its memory in a row. `strict`: its I/O page tables have no more than
/// the domain has.
fn pv(strict: bool) -> (Checked, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(|failed| failed.into_inner());
    let checked = Checked::new(&[
        DomainSetup {
            max_pins: FRAMES,
            strict,
            ..DomainSetup::pv(BACKEND)
        },
        DomainSetup {
            max_table_frames: GREFS / 512,
            ..DomainSetup::pvh(FRONTEND)
        },
    ]);
    checked
        .machine
        .populate_in_a_row(BACKEND, ROW, FRAMES.into());
    // The model has what it needs for calls of this size.
    assert_eq!(
        call(&checked, XEN_GDMA_OP_MAP, &mut [Map::default(); 64]),
        0
    );
    checked.check();
    (checked, alone)
}

fn call<T>(checked: &Checked, cmd: u32, ops: &mut [T]) -> i32
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy,
{
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let end = vcpu.call_with(Number::GrantDma, cmd, ops);
    checked.machine.state().events.clear();
    end.value
}

/// One element of `map`, for whose work there is no more than this memory.
fn map_within(checked: &Checked, most: usize, op: Map) -> Map {
    let mut ops = [op];
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let at = vcpu.store_elements(&ops);
    let limit = MEMORY.allocated().saturating_add(most);
    MEMORY.set_limit(limit).expect("more than is in use");
    let end = vcpu.call(Number::GrantDma, XEN_GDMA_OP_MAP, at, 1);
    MEMORY.set_limit(usize::MAX).expect("no limit");
    vcpu.load_elements(&mut ops);
    checked.machine.state().events.clear();
    assert_eq!(end.value, 0);
    ops[0]
}

fn map(checked: &Checked, op: Map) -> Map {
    let op = map_within(checked, usize::MAX, op);
    assert_eq!(op.status, 0, "{op:?}");
    op
}

fn unmap(checked: &Checked, handle: u64) {
    let mut ops: [Unmap; 1] = [unmap_handle(handle)];
    assert_eq!(call(checked, XEN_GDMA_OP_UNMAP, &mut ops), 0);
    assert_eq!(ops[0].status, 0);
}

fn most_moved(checked: &Checked) -> u32 {
    let backend = checked.machine.find(BACKEND).expect("a domain");
    let dma = &backend.state().expect("state").dma;
    let space = dma.space(&checked.machine, 0).expect("a context");
    space.most_moved()
}

/// Bytes of `records` that the model has and Xen has not.
fn more_than_on_xen(records: usize) -> usize {
    records * (Context::<Machine>::RECORD_SIZE - RECORD_ON_XEN)
}

#[test]
fn a_million_pins_take_at_most_64_mib() {
    let (checked, _alone) = pv(false);
    let frames = FRAMES as usize;
    let mut handles = Vec::with_capacity(frames);
    let before = MEMORY.allocated();
    for nth in 0..FRAMES {
        handles.push(map(&checked, map_own(ROW + u64::from(nth), 1, READ)).handle);
    }
    let all = MEMORY.allocated() - before;
    let on_xen = all - more_than_on_xen(frames);
    assert!(
        on_xen * 1_000_000 / frames <= MOST_FOR_A_MILLION,
        "{on_xen} bytes for {frames} pages"
    );
    // Records and links go, but for those of a few pages. The rest are the slots, whose
    // generations keep old handles stale, and the places of buckets.
    for handle in handles {
        unmap(&checked, handle);
    }
    let left = MEMORY.allocated() - before;
    let given_back = frames * (Context::<Machine>::RECORD_SIZE + 8) / 64 * 63;
    assert!(all - left >= given_back, "{left} of {all} bytes are left");
    checked.check();
}

/// Maps one after the other; each has only [`MOST_AT_ONCE`]. Then looks for them, and ends
/// them. Little memory is left in use then.
fn grow(checked: &Checked, ops: impl ExactSizeIterator<Item = Map>) {
    let mut live = Vec::with_capacity(ops.len());
    let mut opened = 0;
    for op in ops {
        // The first one opens the context: what there is for all pages is made then.
        let first = live.is_empty();
        let most = if first { usize::MAX } else { MOST_AT_ONCE };
        let op = map_within(checked, most, op);
        assert_eq!(op.status, 0, "number {}", live.len());
        live.push(op);
        if first {
            opened = MEMORY.allocated();
        }
    }
    let moved = most_moved(checked);
    assert!((1..=MOST_IN_A_BUCKET).contains(&moved), "{moved} moved");
    for op in &live {
        let mut found = [lookup_daddr(op.daddr)];
        assert_eq!(call(checked, XEN_GDMA_OP_LOOKUP, &mut found), 0);
        assert_eq!(found[0].handle, op.handle);
    }
    for op in &live {
        unmap(checked, op.handle);
    }
    let left = MEMORY.allocated().saturating_sub(opened);
    let most = live.len() * MOST_LEFT;
    assert!(
        left <= most,
        "{left} bytes are left of {} pages",
        live.len()
    );
    checked.check();
}

#[test]
fn it_grows_a_little_at_a_time() {
    let (checked, _alone) = pv(false);
    let own = |nth| map_own(ROW + u64::from(nth), 1, READ);
    grow(&checked, (0..FRAMES).map(own));
}

/// A strict backend, and a frontend whose reference n is frame n of its row.
fn with_grants() -> (Checked, MutexGuard<'static, ()>) {
    let (mut checked, alone) = pv(true);
    let list = 0x20_0000;
    let vcpu = checked.machine.vcpu_of(FRONTEND);
    vcpu.with_guest_memory(|memory| memory.add_page(list, true));
    let table = SetupTable64 {
        dom: XEN_GDMA_DOMID_SELF,
        nr_frames: GREFS / 512,
        frame_list: list,
        ..SetupTable64::default()
    };
    let (value, answer) = checked.ask(FRONTEND, GNTTABOP_SETUP_TABLE, table);
    assert_eq!((value, answer.status), (0, 0));
    let machine = &checked.machine;
    machine.populate_in_a_row(FRONTEND, ROW, GREFS.into());
    // References 0 to 7 are kept for the toolstack.
    for gref in 8..GREFS {
        let gfn = ROW as u32 + gref;
        checked.write_entry(FRONTEND, gref, GTF_PERMIT_ACCESS, BACKEND, gfn);
    }
    (checked, alone)
}

fn grant(gref: u32) -> Map {
    map_grant(FRONTEND, gref.into(), 1, READ)
}

/// The same where frames of others are counted, because the IOMMU has to be told.
#[test]
fn counts_grow_a_little_at_a_time() {
    let (checked, _alone) = with_grants();
    grow(&checked, (8..GREFS).map(grant));
}

/// Frames whose numbers have the same remainder by 16 are counted together, and 64 counts
/// are allocated at a time. Of everything else there is more at a time: so it is the count
/// of the 65th for which there is no memory.
#[test]
fn enomem_for_a_count() {
    let (checked, _alone) = with_grants();
    let mut live: Vec<Map> = (1..=64).map(|nth| map(&checked, grant(16 * nth))).collect();
    let op = grant(16 * 65);
    let refused = map_within(&checked, 2048, op);
    assert_eq!((refused.status, refused.handle), (-12, 0));
    assert_eq!(checked.references_of(FRONTEND, ROW + 16 * 65), (0, 0));
    assert_eq!(
        checked.machine.read_entry(FRONTEND, 16 * 65).0,
        GTF_PERMIT_ACCESS
    );
    let mut usage = [Query::default()];
    usage[0].domid = XEN_GDMA_DOMID_SELF;
    assert_eq!(call(&checked, XEN_GDMA_OP_QUERY, &mut usage), 0);
    assert_eq!((usage[0].status, usage[0].used_pins), (0, 64));
    live.push(map(&checked, op));
    for op in live {
        unmap(&checked, op.handle);
    }
    checked.assert_nothing_held();
}
