// SPDX-License-Identifier: GPL-2.0-only
//! Windows: large mappings that stay, made and ended in bounded steps.

use hypercall_abi::{
    command::XEN_GDMA_OP_WINDOW_CREATE,
    control::Revoke,
    grant::{GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING},
    mapping::{XEN_GDMA_MAP_GRANT_DMA, XEN_GDMA_NO_FLUSH},
    window::{WindowCreate, XEN_GDMA_MAX_WINDOWS},
};
use testbed::{
    elements::{
        READ, READ_WRITE, at, lookup_daddr, lookup_gaddr, map_grant, map_own, unmap_handle,
        unmap_range, window_grant, window_own,
    },
    model::{
        DomainSetup, Preempt, Trigger,
        domain::{Backing, Death},
        hypercall::Number,
    },
    row::{
        ROW, ROW_FRAMES, backend_pins, created, destroy, events, new_context, raw, raw_destroy,
        refused, with_row,
    },
    scene::{BACKEND, FRONTEND, scene_with},
};

#[test]
fn a_window_is_looked_up_both_ways_at_every_byte() {
    let mut checked = with_row();
    let window = created(&mut checked, window_own(ROW, ROW_FRAMES, READ_WRITE));
    for nth in [0, 1, 511, 512, 1000, u64::from(ROW_FRAMES) - 1] {
        let daddr = window.daddr + nth * 4096 + 7;
        let mut ops = [
            lookup_daddr(daddr),
            lookup_gaddr((ROW + nth) * 4096 + 9, 0),
            lookup_gaddr((ROW + nth) * 4096 + 9, 1),
        ];
        // The oracle knows what these must be; that they are found is ours to say.
        checked.lookup(BACKEND, &mut ops);
        assert_eq!(ops.map(|op| op.status), [0, 0, -2]);
        assert_eq!(ops[0].source, (ROW + nth) * 4096 + 7);
        assert_eq!(ops[1].daddr, daddr + 2);
    }
    let end = window.daddr + u64::from(ROW_FRAMES) * 4096;
    let mut ops = [
        lookup_daddr(window.daddr - 1),
        lookup_daddr(end),
        lookup_gaddr((ROW - 1) * 4096, 0),
    ];
    checked.lookup(BACKEND, &mut ops);
    assert_eq!(ops.map(|op| op.status), [-2; 3]);
}

#[test]
fn mappings_and_windows_of_one_frame_are_told_in_order() {
    let mut checked = with_row();
    let old = created(&mut checked, window_own(ROW, 16, READ));
    let map = checked.mapped(map_own(ROW + 3, 1, READ));
    let new = created(&mut checked, window_own(ROW + 2, 16, READ));
    let later = checked.mapped(map_own(ROW + 3, 1, READ));
    let mut ops = [0, 1, 2, 3, 4].map(|index| lookup_gaddr((ROW + 3) * 4096, index));
    checked.lookup(BACKEND, &mut ops);
    let handles = [later.handle, map.handle, new.handle, old.handle, 0];
    assert_eq!(ops.map(|op| op.handle), handles);
}

#[test]
fn steady_state_needs_no_flush_and_the_end_one() {
    let mut checked = with_row();
    let window = created(&mut checked, window_own(ROW, ROW_FRAMES, READ_WRITE));
    checked.fill(BACKEND, ROW + 700, 0x70);
    let (maps, unmaps, flushes) = events(&checked, || {
        for nth in 0..u64::from(ROW_FRAMES) {
            let daddr = window.daddr + nth * 4096;
            let machine = &checked.machine;
            assert!(machine.device_read(BACKEND, daddr).is_ok());
            assert!(machine.device_write(BACKEND, daddr + 1, 3).is_ok());
        }
    });
    assert_eq!((maps.len(), unmaps.len(), flushes), (0, 0, 0));
    let daddr = window.daddr + 700 * 4096;
    assert_eq!(checked.machine.device_read(BACKEND, daddr), Ok(0x70));
    let (maps, unmaps, flushes) = events(&checked, || {
        assert_eq!(raw_destroy(&checked, &window), 0);
    });
    assert_eq!((maps.len(), flushes), (0, 1), "{unmaps:?}");
    assert!(checked.machine.device_read(BACKEND, daddr).is_err());
}

#[test]
fn large_pages_are_used_where_they_fit() {
    let checked = with_row();
    let make = |op: WindowCreate| {
        let mut made = op;
        let (maps, _, removed) = events(&checked, || {
            made = raw(&checked, XEN_GDMA_OP_WINDOW_CREATE, op);
        });
        assert_eq!((made.status, removed), (0, 0), "{op:?}");
        (made, maps)
    };
    let (aligned, maps) = make(window_own(ROW, 2048, READ));
    assert_eq!((aligned.daddr / 4096) % 512, 0);
    assert_eq!(maps, [2048]);
    // Not at a boundary: large pages inside, small ones around them.
    let (odd, maps) = make(window_own(ROW + 500, 1100, READ));
    assert_eq!((odd.daddr / 4096) % 512, (ROW + 500) % 512);
    assert!(maps.contains(&1024));
    assert_eq!(maps.iter().sum::<u32>(), 1100);
    // Taken back with the same pages, whatever was asked for.
    let (_, unmaps, flushes) = events(&checked, || {
        assert_eq!(raw_destroy(&checked, &aligned), 0);
    });
    assert_eq!((unmaps, flushes), (vec![2048], 1));
}

#[test]
fn scattered_frames_make_a_window_too() {
    let mut checked = with_row();
    // Every fourth neighbour is not one in the machine.
    let window = created(&mut checked, window_own(8, 150, READ_WRITE));
    for nth in [0, 3, 4, 149] {
        checked.fill(BACKEND, 8 + nth, nth as u8);
        let daddr = window.daddr + nth * 4096;
        let read = checked.machine.device_read(BACKEND, daddr);
        assert_eq!(read, Ok(nth as u8));
    }
    assert_eq!(destroy(&mut checked, &window), 0);
    checked.assert_nothing_held();
}

#[test]
fn a_window_of_grants() {
    let mut checked = with_row();
    for gref in 100..160 {
        let flags = GTF_PERMIT_ACCESS;
        checked.write_entry(FRONTEND, gref, flags, BACKEND, gref);
    }
    let window = created(&mut checked, window_grant(FRONTEND, 100, 60, READ_WRITE));
    assert_ne!(checked.entry_flags(130) & GTF_WRITING, 0);
    checked.fill(FRONTEND, 130, 0x31);
    let daddr = window.daddr + 30 * 4096;
    assert_eq!(checked.machine.device_read(BACKEND, daddr), Ok(0x31));
    let mut ops = [lookup_daddr(daddr + 5)];
    checked.lookup(BACKEND, &mut ops);
    assert_eq!((ops[0].source, ops[0].domid), (130 << 12 | 5, FRONTEND));
    assert_eq!(destroy(&mut checked, &window), 0);
    assert_eq!(checked.entry_flags(130) & (GTF_READING | GTF_WRITING), 0);
    checked.assert_nothing_held();
}

#[test]
fn errors_of_window_create() {
    let mut checked = with_row();
    let good = window_own(ROW, 4, READ);
    let bad = [
        WindowCreate { pad0: 1, ..good },
        WindowCreate { kind: 7, ..good },
        WindowCreate {
            kind: XEN_GDMA_MAP_GRANT_DMA,
            source: 1 << 63,
            ..good
        },
        WindowCreate { flags: 0, ..good },
        WindowCreate {
            flags: READ | 0x40,
            ..good
        },
        WindowCreate {
            flags: READ | XEN_GDMA_NO_FLUSH,
            ..good
        },
        WindowCreate {
            nr_frames: 0,
            ..good
        },
        WindowCreate { domid: 1, ..good },
        WindowCreate {
            daddr: 4096,
            ..good
        },
    ];
    for op in bad {
        refused(&mut checked, op, -22);
    }
    refused(&mut checked, WindowCreate { context: 3, ..good }, -2);
    refused(&mut checked, window_grant(99, 8, 1, READ), -3);
    refused(&mut checked, window_own(ROW, 8193, READ), -105);
    refused(&mut checked, window_own(ROW, u32::MAX, READ), -105);
    refused(&mut checked, window_own(ROW, ROW_FRAMES + 1, READ), -14);
    refused(&mut checked, window_own(u64::MAX, 2, READ), -14);
    refused(&mut checked, window_grant(FRONTEND, 8, 60, READ_WRITE), -13);
    refused(&mut checked, window_grant(FRONTEND, u64::MAX, 2, READ), -34);
    checked.assert_nothing_held();
}

#[test]
fn a_chosen_place_is_kept_and_taken_once() {
    let mut checked = with_row();
    let first = DomainSetup::HOLE + 513;
    let fixed = |gfn, count| {
        let map = at(first, map_own(gfn, 1, READ));
        WindowCreate {
            flags: map.flags,
            daddr: map.daddr,
            ..window_own(gfn, count, READ)
        }
    };
    let window = created(&mut checked, fixed(ROW, 600));
    assert_eq!(window.daddr, first * 4096);
    refused(&mut checked, fixed(ROW + 1, 5), -17);
    checked.map_refused(at(first + 599, map_own(ROW, 1, READ)), -17);
    checked.mapped(at(first + 600, map_own(ROW, 1, READ)));
    checked.mapped(at(first - 1, map_own(ROW, 1, READ)));
    assert_eq!(destroy(&mut checked, &window), 0);
    created(&mut checked, fixed(ROW + 1, 600));
}

#[test]
fn unmap_refuses_windows_and_window_destroy_mappings() {
    let mut checked = with_row();
    let window = created(&mut checked, window_own(ROW, 8, READ));
    let map = checked.mapped(map_own(ROW, 8, READ));
    assert_eq!(checked.unmap_one(unmap_handle(window.handle)), -95);
    assert_eq!(checked.unmap_one(unmap_range(window.daddr, 8)), -95);
    assert_eq!(checked.unmap_one(unmap_range(window.daddr, 4)), -2);
    assert_eq!(checked.unmap_one(unmap_range(window.daddr + 4096, 1)), -2);
    let mut wrong = window;
    wrong.handle = map.handle;
    assert_eq!(destroy(&mut checked, &wrong), -2);
    assert_eq!(destroy(&mut checked, &window), 0);
    assert_eq!(destroy(&mut checked, &window), -2);
    assert_eq!(checked.unmap_one(unmap_handle(window.handle)), -2);
    checked.unmapped(map.handle);
    checked.assert_nothing_held();
}

#[test]
fn invariant_5_pins_and_windows_are_limited() {
    let mut checked = with_row();
    let big = created(&mut checked, window_own(ROW, 2048, READ));
    for _ in 0..3 {
        created(&mut checked, window_own(ROW, 2048, READ));
    }
    refused(&mut checked, window_own(ROW, 1, READ), -105);
    checked.map_refused(map_own(3, 1, READ), -105);
    assert_eq!(destroy(&mut checked, &big), 0);
    let windows = 3;
    for _ in windows..XEN_GDMA_MAX_WINDOWS {
        created(&mut checked, window_own(ROW, 1, READ));
    }
    refused(&mut checked, window_own(ROW, 1, READ), -105);
    // Another context has its own.
    let context = new_context(&mut checked);
    let elsewhere = WindowCreate {
        context,
        ..window_own(ROW, 1, READ)
    };
    created(&mut checked, elsewhere);
}

#[test]
fn invariant_7_a_window_is_made_and_ended_in_bounded_steps() {
    for op in [
        window_own(ROW, ROW_FRAMES, READ_WRITE),
        window_own(8, 150, READ),
        window_grant(FRONTEND, 8, 64, READ),
    ] {
        let mut checked = with_row();
        checked.switch(|switches| switches.preempt = Preempt::Always);
        let mut ops = [op];
        let end = checked.window_create(BACKEND, &mut ops);
        assert_eq!((end.value, ops[0].status), (0, 0), "{op:?}");
        assert!(end.steps > 2, "{end:?}");
        let counters = checked.machine.state().counters;
        // Two large pages of the guest's tables, or 64 runs of at most four frames.
        assert!(counters.most_references_between_polls <= 2 * 512);
        if op.nr_frames < 512 {
            assert!(counters.most_references_between_polls <= 64 * 4);
        }
        assert_eq!(destroy(&mut checked, &ops[0]), 0);
        checked.assert_nothing_held();
    }
}

#[test]
fn revocation_of_one_reference_ends_the_window() {
    for preempt in [Preempt::Never, Preempt::Always] {
        let mut checked = with_row();
        let window = created(&mut checked, window_grant(FRONTEND, 8, 64, READ));
        let other = created(&mut checked, window_grant(FRONTEND, 8, 32, READ));
        let map = checked.mapped(map_grant(FRONTEND, 60, 1, READ));
        checked.switch(|switches| switches.preempt = preempt);
        let mut ops = [Revoke {
            gref: 60,
            status: 1,
        }];
        assert_eq!(checked.revoke(FRONTEND, &mut ops).value, 0);
        assert_eq!(ops[0].status, 0);
        let machine = &checked.machine;
        for daddr in [window.daddr, window.daddr + 52 * 4096, map.daddr] {
            assert!(machine.device_read(BACKEND, daddr).is_err());
        }
        assert!(machine.device_read(BACKEND, other.daddr).is_ok());
        assert_eq!(checked.references_of(FRONTEND, 60), (0, 0));
        assert_eq!(destroy(&mut checked, &window), -2);
        assert_eq!(checked.stats(BACKEND, BACKEND).revoked, 2);
        assert_eq!(destroy(&mut checked, &other), 0);
        checked.assert_nothing_held();
    }
}

#[test]
fn revocation_of_a_large_window_is_preemptible() {
    let mut checked = with_row();
    // Some references grant the same page.
    for gref in 72..500 {
        checked.write_entry(FRONTEND, gref, GTF_PERMIT_ACCESS, BACKEND, gref % 160);
    }
    let whole = window_grant(FRONTEND, 72, 428, READ_WRITE);
    let windows = [whole; 4].map(|op| created(&mut checked, op));
    let mut ops = [Revoke {
        gref: 300,
        status: 1,
    }];
    let end = checked.revoke(FRONTEND, &mut ops);
    assert_eq!((end.value, ops[0].status), (0, 0));
    assert!(end.steps > 1, "{end:?}");
    for window in windows {
        assert_eq!(destroy(&mut checked, &window), -2);
    }
    checked.assert_nothing_held();
}

#[test]
fn a_failure_at_any_frame_leaves_nothing_behind() {
    for nth in [0, 1, 511, 512, 600, 2047] {
        let mut checked = with_row();
        let gfn = ROW + nth;
        let hole = (BACKEND, gfn);
        let memory = checked.machine.state().p2m.insert(hole, Backing::PagedOut);
        assert!(memory.is_some());
        refused(&mut checked, window_own(ROW, ROW_FRAMES, READ_WRITE), -11);
        assert_eq!(checked.machine.state().events, [], "no flush, no tables");
        checked.assert_nothing_held();
    }
}

#[test]
fn a_failure_of_the_iommu_leaves_nothing_behind() {
    for preempt in [Preempt::Never, Preempt::Always] {
        for nth in 1..=4 {
            let mut checked = with_row();
            checked.switch(|switches| {
                switches.map_fails = Trigger::Nth(nth);
                switches.preempt = preempt;
            });
            // Of many runs, each a call.
            refused(&mut checked, window_own(8, 150, READ_WRITE), -5);
            checked.assert_nothing_held();
            created(&mut checked, window_own(8, 150, READ_WRITE));
        }
    }
}

/// XSA-222: Xen takes back what it has mapped of a run when it cannot go on, and does not
/// tell if that fails too.
#[test]
fn xsa_222_what_a_failed_map_has_left_is_not_given_back() {
    for nth in 1..=3 {
        let mut checked = with_row();
        checked.switch(|switches| {
            switches.map_fails = Trigger::Nth(nth);
            switches.map_leaves_one = true;
        });
        refused(&mut checked, window_own(8, 150, READ_WRITE), -5);
        checked.assert_nothing_held();
        created(&mut checked, window_own(8, 150, READ_WRITE));
    }
}

#[test]
fn a_destroy_that_fails_can_be_repeated() {
    for fails in 0..3 {
        let mut checked = with_row();
        // Three calls of the IOMMU.
        let window = created(&mut checked, window_own(8, 150, READ_WRITE));
        checked.switch(|switches| match fails {
            0 => switches.unmap_fails = Trigger::Nth(1),
            1 => switches.unmap_fails = Trigger::Nth(3),
            _ => switches.flush_fails = Trigger::Nth(1),
        });
        assert_eq!(destroy(&mut checked, &window), -5);
        let mut ops = [lookup_daddr(window.daddr)];
        checked.lookup(BACKEND, &mut ops);
        assert_eq!(ops[0].status, -2);
        assert_eq!(checked.unmap_one(unmap_handle(window.handle)), -2);
        assert_eq!(destroy(&mut checked, &window), 0);
        checked.assert_nothing_held();
    }
}

#[test]
fn invariant_1_what_the_iommu_keeps_stays_pinned_for_ever() {
    let mut checked = with_row();
    created(&mut checked, window_own(ROW, ROW_FRAMES, READ_WRITE));
    created(&mut checked, window_own(8, 20, READ));
    checked.switch(|switches| switches.unmap_fails = Trigger::Always);
    let (death, _) = checked.machine.kill(BACKEND);
    assert_eq!(death, Death::Stuck);
    let pins = backend_pins(&checked);
    assert_eq!(pins, ROW_FRAMES + 20);
}

#[test]
fn a_flush_that_fails_at_the_end_of_a_failed_window_is_made_up_for() {
    let checked = with_row();
    checked.switch(|switches| {
        switches.map_fails = Trigger::Nth(3);
        switches.flush_fails = Trigger::Nth(1);
    });
    let op = window_own(8, 150, READ_WRITE);
    assert_eq!(raw(&checked, XEN_GDMA_OP_WINDOW_CREATE, op).status, -5);
    assert_eq!(backend_pins(&checked), 150);
    let small = window_own(ROW, 1, READ);
    let small = raw(&checked, XEN_GDMA_OP_WINDOW_CREATE, small);
    assert_eq!((small.status, backend_pins(&checked)), (0, 1));
    assert_eq!(raw_destroy(&checked, &small), 0);
    checked.assert_nothing_held();
}

#[test]
fn a_window_that_the_guest_is_not_told_of_is_ended() {
    let mut checked = with_row();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let place = vcpu.store_elements(&[window_own(ROW, 64, READ)]);
    vcpu.with_guest_memory(|memory| memory.set_writable(place, false));
    let end = vcpu.call(Number::GrantDma, XEN_GDMA_OP_WINDOW_CREATE, place, 1);
    assert_eq!(end.value, -14);
    vcpu.with_guest_memory(|memory| memory.set_writable(place, true));
    let next = raw(
        &checked,
        XEN_GDMA_OP_WINDOW_CREATE,
        window_own(ROW, 1, READ),
    );
    assert_eq!((next.status, backend_pins(&checked)), (0, 1));
    assert_eq!(raw_destroy(&checked, &next), 0);
    checked.assert_nothing_held();
    assert_eq!(checked.query(BACKEND).mappings, 0);
}

#[test]
fn a_frame_of_the_guests_own_in_the_way_is_found() {
    let mut checked = with_row();
    let mfn = checked.machine.mfn_of(BACKEND, 3).expect("memory");
    let key = (BACKEND, DomainSetup::HOLE + 700);
    checked.machine.state().p2m.insert(key, Backing::Ram(mfn));
    let fixed = WindowCreate {
        flags: at(0, map_own(0, 1, READ)).flags,
        daddr: DomainSetup::HOLE * 4096,
        ..window_own(ROW, 1024, READ)
    };
    refused(&mut checked, fixed, -17);
    let below = WindowCreate {
        nr_frames: 700,
        ..fixed
    };
    let window = created(&mut checked, below);
    assert_eq!(destroy(&mut checked, &window), 0);
    checked.assert_nothing_held();
}

#[test]
fn pv_domains_have_windows_in_contexts_of_their_own() {
    let backend = DomainSetup {
        max_pins: 8192,
        ..DomainSetup::pv(BACKEND)
    };
    let mut checked = scene_with(backend);
    refused(&mut checked, window_own(8, 4, READ), -95);
    let context = new_context(&mut checked);
    let op = WindowCreate {
        context,
        ..window_own(8, 100, READ_WRITE)
    };
    let window = created(&mut checked, op);
    let mut inside = window;
    inside.context = 0;
    assert_eq!(destroy(&mut checked, &inside), -2);
    assert_eq!(destroy(&mut checked, &window), 0);
    checked.assert_nothing_held();
}

#[test]
fn windows_die_with_their_domain_in_bounded_steps() {
    let mut checked = with_row();
    created(&mut checked, window_own(ROW, ROW_FRAMES, READ_WRITE));
    created(&mut checked, window_grant(FRONTEND, 8, 64, READ));
    checked.switch(|switches| switches.preempt = Preempt::Always);
    let (death, steps) = checked.kill(BACKEND);
    assert_eq!(death, Death::Gone);
    assert!(steps > 4, "{steps} steps");
    checked.assert_nothing_held();
}
