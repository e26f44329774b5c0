// SPDX-License-Identifier: GPL-2.0-only
//! Every row of `map`'s table of element errors: the number, and that nothing
//! has changed (which the oracle checks after every call).

use hv::host::IommuMode;
use hypercall_abi::{
    Errno,
    grant::{GTF_PERMIT_ACCESS, GTF_READONLY, GTF_SUB_PAGE},
    mapping::{Map, XEN_GDMA_MAP_FIXED},
};
use testbed::{
    elements::{READ, READ_WRITE, at, map_grant, map_own, unmap_handle},
    model::{DomainSetup, Moment, Trigger, domain::Backing},
    row::{ROW, with_row},
    scene::{BACKEND, BYSTANDER, FRONTEND, LAST_GRANTED, scene, scene_with},
};

const HOLE: u64 = DomainSetup::HOLE;

#[test]
fn einval_fields() {
    let mut checked = scene();
    let good = map_own(3, 1, READ);
    let bad = [
        Map { pad0: 1, ..good },
        Map { kind: 3, ..good },
        // No grant-DMA address: bit 63 is missing, or there are bits above the reference.
        Map { kind: 2, ..good },
        Map {
            kind: 2,
            source: 1 << 63 | 1 << 44 | 8 << 12,
            ..good
        },
        Map {
            kind: u16::MAX,
            ..good
        },
        Map { flags: 0, ..good },
        Map {
            flags: XEN_GDMA_MAP_FIXED,
            daddr: HOLE * 4096,
            ..good
        },
        Map {
            flags: READ | 16,
            ..good
        },
        Map {
            flags: READ | 1 << 31,
            ..good
        },
        Map {
            nr_frames: 0,
            ..good
        },
        Map {
            nr_frames: 129,
            ..good
        },
        Map {
            nr_frames: u32::MAX,
            ..good
        },
        Map {
            domid: FRONTEND,
            ..good
        },
        Map {
            domid: 0x7ff0,
            ..good
        },
        Map {
            daddr: HOLE * 4096,
            ..good
        },
    ];
    for op in bad {
        checked.map_refused(op, -22);
    }
    checked.mapped(good);
}

#[test]
fn einval_fixed_address() {
    let mut checked = scene();
    let last = checked.query(BACKEND).daddr_last / 4096;
    let good = map_own(3, 2, READ);
    for op in [
        Map {
            daddr: HOLE * 4096 + 1,
            ..at(0, good)
        },
        at(0, good),
        at(HOLE - 1, good),
        at(last, good),
        at(last + 1, good),
        at((1 << 52) - 1, good),
    ] {
        checked.map_refused(op, -22);
    }
    checked.mapped(at(last - 1, good));
}

/// The table lists the errors "in the order in which they are found".
#[test]
fn einval_is_found_before_other_errors() {
    let mut checked = scene();
    let outside = at(HOLE - 1, map_grant(77, 0, 1, READ));
    checked.map_refused(outside, -22);
    checked
        .machine
        .state()
        .access
        .map
        .insert((BACKEND, FRONTEND));
    checked.map_refused(at(HOLE - 1, map_grant(FRONTEND, 8, 1, READ)), -22);
    checked.map_refused(
        Map {
            pad0: 1,
            context: 1,
            ..map_own(3, 1, READ)
        },
        -22,
    );
}

#[test]
fn einval_is_found_before_the_quota() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 4,
        ..DomainSetup::pvh(BACKEND)
    });
    checked.map_refused(at(HOLE - 1, map_own(3, 5, READ)), -22);
}

#[test]
fn enoent_context() {
    let mut checked = scene();
    for context in [1, 2, u32::MAX] {
        let op = Map {
            context,
            ..map_own(3, 1, READ)
        };
        checked.map_refused(op, -2);
    }
}

#[test]
fn eopnotsupp_default_context() {
    let backend = DomainSetup::pvh(BACKEND);
    for setup in [
        DomainSetup {
            iommu: IommuMode::Absent,
            ..backend
        },
        DomainSetup {
            iommu: IommuMode::PassThrough,
            ..backend
        },
        DomainSetup {
            iommu: IommuMode::SharedTables,
            ..backend
        },
        DomainSetup {
            hole: None,
            ..backend
        },
        DomainSetup {
            hole: Some((HOLE, 0)),
            ..backend
        },
    ] {
        let mut checked = scene_with(setup);
        checked.map_refused(map_own(3, 1, READ), -95);
        checked.map_refused(map_grant(FRONTEND, 8, 1, READ), -95);
        checked.map_refused(map_grant(77, 8, 1, READ), -95);
    }
}

#[test]
fn esrch_granter() {
    let mut checked = scene();
    for domain in [0, 77, 0x7ff1, u16::MAX] {
        checked.map_refused(map_grant(domain, 8, 1, READ), -3);
    }
}

/// XSA-232: system domains have no table.
#[test]
fn xsa_232_esrch_granter_without_state() {
    let mut checked = scene();
    checked.add_domain(DomainSetup {
        has_state: false,
        ..DomainSetup::pvh(9)
    });
    checked.map_refused(map_grant(9, 8, 1, READ), -3);
}

#[test]
fn eperm_access_control() {
    let mut checked = scene();
    checked
        .machine
        .state()
        .access
        .map
        .insert((BACKEND, FRONTEND));
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ), -1);
    checked.map_refused(map_grant(FRONTEND, 8, 2, READ_WRITE), -1);
    checked.map_refused(map_grant(FRONTEND, u64::MAX, 1, READ), -1);
    checked.mapped(map_own(3, 1, READ_WRITE));
}

#[test]
fn enobufs_quota() {
    let mut checked = scene_with(DomainSetup {
        max_pins: 10,
        ..DomainSetup::pvh(BACKEND)
    });
    checked.map_refused(map_own(0, 11, READ), -105);
    let first = checked.mapped(map_own(0, 8, READ));
    checked.map_refused(map_own(0, 3, READ), -105);
    checked.mapped(map_own(0, 2, READ));
    checked.map_refused(map_own(0, 1, READ), -105);
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ), -105);
    // Before -EEXIST in the table.
    checked.map_refused(at(first.daddr / 4096, map_own(0, 1, READ)), -105);
    checked.unmapped(first.handle);
    checked.mapped(map_own(0, 8, READ));
}

#[test]
fn eexist_overlap() {
    let mut checked = scene();
    checked.mapped(at(HOLE + 8, map_own(0, 4, READ)));
    for (dfn, count) in [(8, 4), (8, 1), (11, 1), (5, 4), (11, 4), (4, 16), (9, 2)] {
        checked.map_refused(at(HOLE + dfn, map_own(20, count, READ)), -17);
    }
    checked.mapped(at(HOLE + 4, map_own(20, 4, READ)));
    checked.mapped(at(HOLE + 12, map_own(20, 4, READ)));
}

/// The public prototypes looked at the first frame of a run only.
#[test]
fn defect_only_first_frame_of_a_run_checked_for_a_hole() {
    let mut checked = scene();
    checked.machine.populate(BACKEND, HOLE + 7, 1);
    checked.map_refused(at(HOLE + 4, map_own(20, 4, READ)), -17);
    checked.mapped(at(HOLE + 4, map_own(20, 3, READ)));
}

#[test]
fn enospc_no_free_addresses() {
    let mut checked = scene_with(DomainSetup {
        hole: Some((HOLE, 8)),
        ..DomainSetup::pvh(BACKEND)
    });
    checked.map_refused(map_own(0, 9, READ), -28);
    let kept: Vec<_> = (0..8)
        .map(|nth| checked.mapped(map_own(nth, 1, READ)))
        .collect();
    checked.map_refused(map_own(0, 1, READ), -28);
    for op in kept.iter().filter(|op| op.daddr / 4096 % 2 == 0) {
        checked.unmapped(op.handle);
    }
    checked.map_refused(map_own(0, 2, READ), -28);
    checked.mapped(map_own(0, 1, READ));
}

/// A frame of the guest's own in the hole takes one address away, not all.
#[test]
fn enospc_only_without_free_addresses() {
    let mut checked = scene();
    checked.machine.populate(BACKEND, HOLE, 1);
    checked.mapped(map_own(3, 1, READ));
    checked.machine.populate(BACKEND, HOLE + 4, 1);
    checked.mapped(map_own(3, 16, READ));
}

#[test]
fn erange_reference() {
    let mut checked = scene();
    for gref in [
        512,
        513,
        u64::from(u32::MAX),
        1 << 32,
        (1 << 32) + 8,
        u64::MAX,
    ] {
        checked.map_refused(map_grant(FRONTEND, gref, 1, READ), -34);
    }
    // Everything granted up to the end of the table: the run leaves it.
    for gref in 500..512 {
        checked.write_entry(FRONTEND, gref, GTF_PERMIT_ACCESS, BACKEND, 3);
    }
    checked.map_refused(map_grant(FRONTEND, 500, 13, READ_WRITE), -34);
    checked.mapped(map_grant(FRONTEND, 500, 12, READ_WRITE));
}

#[test]
fn eacces_entry() {
    let mut checked = scene();
    checked.map_refused(map_grant(FRONTEND, 9, 1, READ_WRITE), -13);
    checked.map_refused(map_grant(FRONTEND, 8, 2, READ_WRITE), -13);
    checked.map_refused(map_grant(FRONTEND, u64::from(LAST_GRANTED), 2, READ), -13);
    for (flags, domid) in [
        (0, BACKEND),
        (2, BACKEND),
        (3, BACKEND),
        (GTF_PERMIT_ACCESS | GTF_SUB_PAGE, BACKEND),
        (GTF_PERMIT_ACCESS, BYSTANDER),
        (GTF_PERMIT_ACCESS, 0x7ff0),
        (GTF_READONLY, BACKEND),
    ] {
        checked.write_entry(FRONTEND, 100, flags, domid, 5);
        checked.map_refused(map_grant(FRONTEND, 100, 1, READ), -13);
    }
    checked.mapped(map_grant(FRONTEND, 8, 2, READ));
}

#[test]
fn ebusy_entry_keeps_changing() {
    let mut checked = scene();
    checked.machine.set_hook(|_, moment| {
        if let Moment::EntryAccess { page, offset } = moment {
            // Flips a bit that means nothing, for ever.
            page.word(offset)
                .fetch_xor(1 << 9, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let mut ops = [map_grant(FRONTEND, 8, 1, READ)];
    let vcpu = checked.machine.vcpu_of(BACKEND);
    vcpu.call_with(testbed::model::hypercall::Number::GrantDma, 5, &mut ops);
    assert_eq!(ops[0].status, -16);
    checked.machine.clear_hook();
    checked.write_entry(FRONTEND, 8, GTF_PERMIT_ACCESS, BACKEND, 8);
    checked.check();
}

#[test]
fn ebusy_other_holder() {
    let mut checked = scene();
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    checked.write_entry(FRONTEND, 8, GTF_PERMIT_ACCESS, BYSTANDER, 8);
    let mut ops = [map_grant(FRONTEND, 8, 1, READ)];
    checked.map(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, -16);
}

/// In the table -EACCES stands before -EBUSY: who is not granted anything learns
/// nothing about who is.
#[test]
fn eacces_is_found_before_ebusy() {
    let mut checked = scene();
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    let mut ops = [map_grant(FRONTEND, 8, 1, READ)];
    checked.map(BYSTANDER, &mut ops);
    assert_eq!(ops[0].status, -13);
}

#[test]
fn emlink_129th_use() {
    let mut checked = scene();
    let mut ops = vec![map_grant(FRONTEND, 8, 1, READ); 129];
    assert_eq!(checked.map(BACKEND, &mut ops).value, 0);
    assert!(ops[..128].iter().all(|op| op.status == 0));
    assert_eq!(ops[128].status, -31);
    checked.map_refused(map_grant(FRONTEND, 8, 1, READ), -31);
    // Counted apart: writing uses, and those of a CPU.
    checked.mapped(map_grant(FRONTEND, 8, 1, READ_WRITE));
    assert_eq!(checked.cpu_mapped(8, 0x8000_0000, false).status, 0);
    checked.unmapped(ops[3].handle);
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
}

#[test]
fn efault_not_ordinary_memory() {
    let mut checked = scene();
    {
        let mut state = checked.machine.state();
        let foreign = state
            .frames
            .allocate(BYSTANDER, testbed::model::frames::Kind::Ram);
        for domain in [BACKEND, FRONTEND] {
            state.p2m.insert((domain, 1000), Backing::Mmio);
            state.p2m.insert((domain, 1001), Backing::Foreign(foreign));
        }
    }
    for gfn in [1000, 1001, 1002, 1 << 40, u64::MAX] {
        checked.map_refused(map_own(gfn, 1, READ), -14);
    }
    for gfn in [1000, 1001, 1002] {
        checked.write_entry(FRONTEND, 100, GTF_PERMIT_ACCESS, BACKEND, gfn);
        checked.map_refused(map_grant(FRONTEND, 100, 1, READ_WRITE), -14);
    }
}

/// Every frame of a run is looked at, not the first alone.
#[test]
fn defect_only_first_frame_of_a_run_checked_for_ownership() {
    let mut checked = scene();
    checked
        .machine
        .state()
        .p2m
        .insert((BACKEND, 6), Backing::Mmio);
    checked.map_refused(map_own(3, 4, READ_WRITE), -14);
    checked.map_refused(map_own(158, 3, READ), -14);
    checked.map_refused(map_own(u64::MAX, 2, READ), -14);
    checked.write_entry(FRONTEND, 11, GTF_PERMIT_ACCESS, BACKEND, 5000);
    checked.map_refused(map_grant(FRONTEND, 8, 8, READ), -14);
}

/// The same in a long row, whose frames are pinned many at a time.
#[test]
fn defect_a_row_of_frames_with_another_in_it() {
    let mut checked = with_row();
    let mapped = checked.mapped(map_own(ROW, 128, READ_WRITE));
    assert_eq!(checked.unmap_one(unmap_handle(mapped.handle)), 0);
    for wrong in [0, 1, 63, 64, 65, 127] {
        let before = {
            let mut state = checked.machine.state();
            let before = state.p2m.insert((BACKEND, ROW + wrong), Backing::Mmio);
            before.expect("memory")
        };
        checked.map_refused(map_own(ROW, 128, READ_WRITE), -14);
        checked.map_refused(map_own(ROW, 128, READ), -14);
        let mut state = checked.machine.state();
        state.p2m.insert((BACKEND, ROW + wrong), before);
    }
    checked.mapped(map_own(ROW, 128, READ));
}

#[test]
fn eagain_paged_out() {
    let mut checked = scene();
    for domain in [BACKEND, FRONTEND] {
        let mut state = checked.machine.state();
        state.p2m.insert((domain, 20), Backing::PagedOut);
    }
    checked.map_refused(map_own(20, 1, READ), -11);
    checked.map_refused(map_own(18, 4, READ_WRITE), -11);
    checked.map_refused(map_grant(FRONTEND, 20, 1, READ), -11);
    checked.map_refused(map_grant(FRONTEND, 16, 8, READ), -11);
}

#[test]
fn eio_iommu_refuses() {
    let mut checked = scene();
    for nth in 1..=4 {
        checked.switch(|switches| switches.map_fails = Trigger::Nth(nth));
        // Runs of consecutive machine frames end at each fourth: four runs.
        checked.map_refused(map_own(4, 16, READ_WRITE), Errno::Io.wire());
        checked.switch(|switches| switches.map_fails = Trigger::Nth(nth));
        checked.map_refused(map_grant(FRONTEND, 8, 16, READ), Errno::Io.wire());
    }
    checked.mapped(map_own(4, 16, READ_WRITE));
}
