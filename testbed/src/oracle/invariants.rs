// SPDX-License-Identifier: GPL-2.0-only
//! The design's invariants, checked by comparing the machine with the account.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use hv::host::Domain;
use hypercall_abi::grant::{GTF_ACCEPT_TRANSFER, GTF_READING, GTF_TYPE_MASK, GTF_WRITING};

use super::reference::{Made, Reference};
use crate::model::{Machine, frames::Kind, iommu::Iommu};

/// Checks everything that must hold between two steps.
pub fn check(machine: &Machine, reference: &Reference) {
    check_references(machine, reference);
    check_reach(machine, reference);
    check_tables(machine, reference);
    check_copies(machine, reference);
    check_devices(machine, reference);
    check_entries(machine, reference);
    check_service(machine, reference);
    check_cpu_maps(machine, reference);
    check_identity(machine, reference);
    check_shared_pages(machine, reference);
}

/// What must hold even in the middle of a long operation, of which the account knows
/// the beginning and the end: invariant 1, and no more pins than counted.
pub fn check_midway(machine: &Machine) {
    let state = machine.state();
    let mut reach = BTreeMap::<u64, (u32, u32)>::new();
    for iommu in state.iommus.values() {
        for (_, translation) in iommu.reachable() {
            let counts = reach.entry(translation.mfn).or_default();
            counts.0 += 1;
            counts.1 += u32::from(translation.write);
        }
    }
    for (mfn, (all, writing)) in reach {
        let frame = state
            .frames
            .get(mfn)
            .expect("a device reaches a free frame");
        assert!(
            frame.refs >= all && frame.writable >= writing,
            "frame {mfn:#x}: {} and {} references for {all} and {writing} translations",
            frame.refs,
            frame.writable
        );
    }
}

/// Invariants 1 and 6: as many references as uses, no more and no less.
fn check_references(machine: &Machine, reference: &Reference) {
    let mut wanted = reference.references();
    // The IOMMU has references of its own, and while it lets devices write, one to
    // the writable type.
    for ((_, mfn), write) in identity_mappings(machine, reference) {
        let counts = wanted.entry(mfn).or_default();
        counts.0 += 1 + u32::from(write);
        counts.1 += u32::from(write);
    }
    let state = machine.state();
    for (mfn, frame) in state.frames.iter() {
        let (refs, writable) = wanted.remove(&mfn).unwrap_or_default();
        assert_eq!(
            (frame.refs, frame.writable),
            (refs, writable),
            "page and type references of frame {mfn:#x} of d{}",
            frame.owner
        );
    }
    assert!(wanted.is_empty(), "frames in use are free: {wanted:x?}");
}

/// Invariant 1: whatever a device may reach is pinned under that device frame.
fn check_reach(machine: &Machine, reference: &Reference) {
    let state = machine.state();
    for (&(domain, _), iommu) in &state.iommus {
        let space = (domain, iommu.number);
        if reference.is_identity(space) {
            continue;
        }
        for (dfn, translation) in iommu.reachable() {
            let pinned = reference.pages.get(&(space, dfn)).is_some_and(|page| {
                page.mfn == translation.mfn && (page.write || !translation.write)
            });
            assert!(
                pinned,
                "devices of {space:?} reach frame {:#x} at dfn {dfn:#x} without a pin",
                translation.mfn
            );
        }
    }
}

/// Invariant 4: the I/O page tables are exactly the mappings; those of a copy are these
/// and exactly what its owner has.
fn check_tables(machine: &Machine, reference: &Reference) {
    let state = machine.state();
    for (&id, iommu) in &state.iommus {
        let space = (id.0, iommu.number);
        if reference.is_identity(space) {
            continue;
        }
        let mut wanted = reference.table_of(space);
        let mut table = iommu.table().clone();
        let made = reference.contexts.get(&space);
        // Ended, it may be, with its context still there.
        let ending = iommu.copy.map_or(iommu.closed, |copy| copy.ending);
        let whole = |made: &&Made| made.mirror && !ending;
        if let Some(made) = made.filter(whole) {
            let own = state.own_memory(id.0);
            wanted.extend(own.filter(|&(dfn, _)| dfn < made.range.0));
        } else {
            // A copy in the making or on its way out may have any part.
            let end = iommu.copy.map_or(0, |copy| copy.end);
            table.retain(|&dfn, _| dfn >= end);
        }
        assert_eq!(table, wanted, "I/O page table of {space:?}");
    }
}

/// Invariants 1 and 11: a device reaches in a copy what its owner has, and nothing that
/// it had; and no device is there before the copy is whole.
fn check_copies(machine: &Machine, reference: &Reference) {
    let state = machine.state();
    for (&id, iommu) in &state.iommus {
        let Some(copy) = iommu.copy else {
            continue;
        };
        let own: BTreeMap<_, _> = state.own_memory(id.0).collect();
        for (dfn, translation) in iommu.copied() {
            let owned = own.get(&dfn) == Some(&translation);
            assert!(owned, "{id:?} reaches {translation:x?} at dfn {dfn:#x}");
        }
        let used = state.devices_at(id).next();
        let whole = copy.whole && !copy.ending;
        assert!(whole || used.is_none(), "a device sees half a copy");
        let made = reference.contexts.get(&(id.0, iommu.number));
        assert!(made.is_none_or(|made| made.mirror), "a copy nobody wants");
    }
}

/// Invariant 11: a device uses the tables of the context it was moved to last.
fn check_devices(machine: &Machine, reference: &Reference) {
    let state = machine.state();
    for (sbdf, device) in &state.pci {
        let (_, number) = state.name_of((device.owner, device.tables));
        let wanted = reference.attached.get(sbdf).copied().unwrap_or_default();
        assert_eq!(number, wanted, "context of device {sbdf:#x}");
    }
}

/// Invariant 2: in-use flags exactly while there are pins, nothing else changed.
fn check_entries(machine: &Machine, reference: &Reference) {
    let uses = reference.uses();
    let written: BTreeSet<_> = reference.entries.keys().chain(uses.keys()).collect();
    for &&(granter, gref) in &written {
        if machine.table_entries(granter) == 0 {
            continue;
        }
        let entry = reference.entry(granter, gref);
        let (flags, domid, middle, gfn) = machine.read_whole_entry(granter, gref);
        assert_eq!(
            (domid, middle, gfn),
            (entry.domid, entry.middle, entry.gfn),
            "Xen changed domain or frame of entry {gref} of d{granter}"
        );
        let uses = uses.get(&(granter, gref));
        let mut wanted = entry.flags;
        // Of a transfer these bits mean something else.
        if entry.flags & GTF_TYPE_MASK != GTF_ACCEPT_TRANSFER || uses.is_some() {
            wanted &= !(GTF_READING | GTF_WRITING);
        }
        if uses.is_some() {
            wanted |= GTF_READING;
        }
        if uses.is_some_and(|uses| uses.writing()) {
            wanted |= GTF_WRITING;
        }
        let ignored = if entry.scribbled {
            GTF_READING | GTF_WRITING
        } else {
            0
        };
        assert_eq!(
            flags & !ignored,
            wanted & !ignored,
            "flags of entry {gref} of d{granter} with uses {uses:?}"
        );
    }
}

/// Invariants 2 and 5: the service's own counts.
fn check_service(machine: &Machine, reference: &Reference) {
    let uses = reference.uses();
    for domain in machine.domains() {
        let Some(state) = domain.state() else {
            continue;
        };
        let id = domain.id().0;
        assert_eq!(
            state.dma.pinned(),
            reference.pinned(id),
            "frames counted against the quota of d{id}"
        );
        assert_eq!(
            state.grants.mapped(),
            reference.cpu.range((id, 0)..=(id, u32::MAX)).count(),
            "maptrack records of d{id}"
        );
        assert_eq!(
            state.grants.version().number(),
            reference.version(id),
            "format of the table of d{id}"
        );
        let mut active = BTreeMap::new();
        state
            .grants
            .for_each_active(&domain, |gref, _shared, entry| {
                active.insert(
                    gref.0,
                    (entry.pins.total(), entry.holder.0, entry.mfn.number()),
                );
                ControlFlow::Continue(())
            });
        let wanted: BTreeMap<_, _> = uses
            .range((id, 0)..=(id, u32::MAX))
            .map(|(&(_, gref), uses)| {
                let total = uses.cpu[0] + uses.cpu[1] + uses.dma[0] + uses.dma[1];
                (gref, (total, uses.holder, uses.mfn))
            })
            .collect();
        assert_eq!(active, wanted, "active entries of d{id}");
    }
}

/// CPU mappings are exactly those with a handle.
fn check_cpu_maps(machine: &Machine, reference: &Reference) {
    assert_eq!(machine.state().stale, [], "translations left in TLBs");
    let actual: BTreeMap<_, _> = machine
        .state()
        .cpu_maps
        .iter()
        .map(|(&place, &(mfn, _))| (place, mfn))
        .collect();
    let wanted: BTreeMap<_, _> = reference
        .cpu
        .iter()
        .filter(|(_, mapping)| mapping.host)
        .map(|(&(holder, _), mapping)| ((holder, mapping.host_addr), mapping.mfn))
        .collect();
    assert_eq!(actual, wanted, "CPU mappings");
    let state = machine.state();
    let own: BTreeSet<_> = state.own_maps.keys().copied().collect();
    assert_eq!(own, reference.own_maps, "pages that PV domains have mapped");
}

/// What devices that work with machine addresses have to reach because of mappings by
/// the grant table, by holder and frame, and whether they may write.
fn identity_mappings(machine: &Machine, reference: &Reference) -> BTreeMap<(u16, u64), bool> {
    let mut wanted = BTreeMap::new();
    for (&(holder, _), mapping) in &reference.cpu {
        let protected = machine.state().identity.get(&holder) == Some(&true);
        if protected && holder != mapping.granter {
            *wanted.entry((holder, mapping.mfn)).or_insert(false) |= mapping.write;
        }
    }
    wanted
}

/// Devices that work with machine addresses reach what their domain has mapped of
/// others', by the grant table or for DMA, and are allowed no more than its mappings are
/// together: the tables say so exactly, the IOTLB may have what waits for a flush.
fn check_identity(machine: &Machine, reference: &Reference) {
    let mapped = identity_mappings(machine, reference);
    let state = machine.state();
    let empty = Iommu::default();
    for &holder in state.identity.keys() {
        let iommu = state.iommus.get(&(holder, 0)).unwrap_or(&empty);
        let by_tables = mapped
            .range((holder, 0)..=(holder, u64::MAX))
            .map(|(&(_, mfn), &write)| (mfn, write));
        let (mut least, mut most, mut reach) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let add = |to: &mut BTreeMap<u64, bool>, mfn, write| {
            *to.entry(mfn).or_insert(false) |= write;
        };
        for (mfn, write) in by_tables {
            for set in [&mut least, &mut most, &mut reach] {
                add(set, mfn, write);
            }
        }
        for page in reference.identity_pages(holder) {
            if page.mapped && !page.stuck {
                add(&mut least, page.mfn, page.write);
            }
            if page.mapped {
                add(&mut most, page.mfn, page.write);
            }
            add(&mut reach, page.mfn, page.write);
        }
        check_identity_table(holder, iommu, &least, &most);
        for (dfn, entry) in iommu.reachable() {
            let pinned = dfn == entry.mfn && reach.get(&dfn).is_some_and(|&w| w || !entry.write);
            assert!(
                pinned,
                "devices of d{holder} reach {entry:x?} at {dfn:#x} without a pin"
            );
        }
    }
}

fn check_identity_table(
    holder: u16,
    iommu: &Iommu,
    least: &BTreeMap<u64, bool>,
    most: &BTreeMap<u64, bool>,
) {
    for (&dfn, entry) in iommu.table() {
        assert_eq!(
            (entry.mfn, entry.read),
            (dfn, true),
            "identity of d{holder}"
        );
        let allowed = most.get(&dfn).is_some_and(|&write| write || !entry.write);
        assert!(allowed, "devices of d{holder} may use {entry:x?}");
    }
    for (mfn, &write) in least {
        let entry = iommu.table().get(mfn);
        let enough = entry.is_some_and(|entry| entry.write || !write);
        assert!(enough, "frame {mfn:#x} of d{holder}: {entry:x?}");
    }
}

/// No page of a table is lost, and none is there too many.
fn check_shared_pages(machine: &Machine, reference: &Reference) {
    let state = machine.state();
    let mut pages = BTreeMap::new();
    for (_, frame) in state.frames.iter() {
        if matches!(frame.kind, Kind::Shared(_)) {
            *pages.entry(frame.owner).or_insert(0) += 1;
        }
    }
    for (&granter, table) in &state.tables {
        assert_eq!(table.version, reference.version(granter), "d{granter}");
        let count = pages.remove(&granter).unwrap_or_default();
        assert_eq!(
            count,
            table.shared.len() + table.status.len(),
            "pages shared with d{granter}"
        );
    }
    assert_eq!(pages, BTreeMap::new(), "pages shared with nobody");
}
