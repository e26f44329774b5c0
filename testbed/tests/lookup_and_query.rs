// SPDX-License-Identifier: GPL-2.0-only
//! `lookup`, `query` and `query_device`. The oracle compares every answer of a
//! look-up, field by field.

use hv::host::{Domain, IommuMode};
use hypercall_abi::{
    context::ContextCreate,
    device::QueryDevice,
    lookup::Lookup,
    mapping::{Map, Unmap, XEN_GDMA_NO_FLUSH},
    query::Query,
};
use testbed::{
    elements::{
        READ, READ_WRITE, at, lookup_daddr, lookup_gaddr, map_grant, map_own, unmap_handle,
    },
    model::{DomainSetup, hypercall::Number},
    oracle::Checked,
    scene::{BACKEND, BYSTANDER, FRONTEND, scene, scene_with},
};

const HOLE: u64 = DomainSetup::HOLE;

fn ask(checked: &mut Checked, op: Lookup) -> Lookup {
    let mut ops = [op];
    assert_eq!(checked.lookup(BACKEND, &mut ops).value, 0);
    ops[0]
}

#[test]
fn lookup_is_exact_inside_a_mapping() {
    let mut checked = scene();
    let own = checked.mapped(at(HOLE + 8, map_own(10, 4, READ_WRITE)));
    let grant = checked.mapped(at(HOLE + 12, map_grant(FRONTEND, 8, 3, READ)));
    let answer = ask(&mut checked, lookup_daddr(own.daddr + 2 * 4096 + 0x123));
    assert_eq!((answer.status, answer.handle), (0, own.handle));
    assert_eq!(answer.source, 12 * 4096 + 0x123);
    assert_eq!((answer.source_kind, answer.domid), (0, BACKEND));
    assert_eq!((answer.flags, answer.nr_frames), (READ_WRITE, 4));
    let answer = ask(&mut checked, lookup_daddr(grant.daddr + 2 * 4096 + 4095));
    assert_eq!((answer.status, answer.handle), (0, grant.handle));
    assert_eq!(answer.source, 10 * 4096 + 4095);
    assert_eq!((answer.source_kind, answer.domid), (1, FRONTEND));
    assert_eq!((answer.flags, answer.nr_frames), (READ, 3));
    for dfn in HOLE..HOLE + 20 {
        ask(&mut checked, lookup_daddr(dfn * 4096 + 5));
    }
}

#[test]
fn lookup_by_guest_address_newest_first() {
    let mut checked = scene();
    let first = checked.mapped(map_own(10, 4, READ));
    let second = checked.mapped(map_own(11, 1, READ_WRITE));
    let third = checked.mapped(map_own(8, 8, READ));
    let handles = |checked: &mut Checked| {
        [0, 1, 2, 3].map(|index| {
            let answer = ask(checked, lookup_gaddr(11 * 4096 + 7, index));
            (answer.status, answer.handle)
        })
    };
    assert_eq!(
        handles(&mut checked),
        [
            (0, third.handle),
            (0, second.handle),
            (0, first.handle),
            (-2, 0)
        ]
    );
    checked.unmapped(second.handle);
    assert_eq!(
        handles(&mut checked),
        [(0, third.handle), (0, first.handle), (-2, 0), (-2, 0)]
    );
    checked.unmapped(third.handle);
    assert_eq!(handles(&mut checked)[..2], [(0, first.handle), (-2, 0)]);
    checked.unmapped(first.handle);
    assert_eq!(handles(&mut checked)[0], (-2, 0));
}

/// Whichever of three mappings of one frame ends first, the others are found.
#[test]
fn lookup_by_guest_address_in_any_order_of_ends() {
    let mut checked = scene();
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let live = [1, 2, 3].map(|count| checked.mapped(map_own(11, count, READ)).handle);
        let mut newest_first = Vec::from(live);
        newest_first.reverse();
        for ended in order.map(|nth: usize| live[nth]) {
            checked.unmapped(ended);
            newest_first.retain(|&handle| handle != ended);
            for (index, &handle) in (0..).zip(&newest_first) {
                let answer = ask(&mut checked, lookup_gaddr(11 * 4096, index));
                assert_eq!((answer.status, answer.handle), (0, handle));
            }
            let behind = lookup_gaddr(11 * 4096, newest_first.len() as u32);
            assert_eq!(ask(&mut checked, behind).status, -2);
        }
    }
}

#[test]
fn lookup_errors() {
    let mut checked = scene();
    let live = checked.mapped(map_own(10, 4, READ));
    let good = lookup_daddr(live.daddr);
    for op in [
        Lookup { pad0: 1, ..good },
        Lookup { pad1: 1, ..good },
        Lookup { kind: 2, ..good },
        Lookup { index: 1, ..good },
        Lookup {
            index: u32::MAX,
            ..good
        },
    ] {
        assert_eq!(ask(&mut checked, op).status, -22, "{op:?}");
    }
    for op in [
        Lookup { context: 1, ..good },
        lookup_daddr(live.daddr - 1),
        lookup_daddr(live.daddr + 4 * 4096),
        lookup_daddr(0),
        lookup_daddr(u64::MAX),
        lookup_gaddr(9 * 4096 + 4095, 0),
        lookup_gaddr(10 * 4096, 1),
        lookup_gaddr(10 * 4096, u32::MAX),
        lookup_gaddr(u64::MAX, 0),
    ] {
        assert_eq!(ask(&mut checked, op).status, -2, "{op:?}");
    }
}

/// A granted frame is not the holder's own: its reference is no guest address.
#[test]
fn lookup_does_not_confuse_grants_with_own_frames() {
    let mut checked = scene();
    checked.mapped(map_grant(FRONTEND, 8, 1, READ));
    assert_eq!(ask(&mut checked, lookup_gaddr(8 * 4096, 0)).status, -2);
}

#[test]
fn query_tells_limits_and_usage() {
    let mut checked = scene();
    checked.mapped(map_own(10, 4, READ));
    checked.mapped(map_grant(FRONTEND, 8, 2, READ));
    let answer = checked.query(BACKEND);
    assert_eq!(answer.abi_version, 0x0001_0002);
    assert_eq!(answer.capabilities, 0x2ff);
    assert_eq!((answer.max_batch, answer.max_frames), (65536, 128));
    assert_eq!((answer.max_pins, answer.used_pins), (1024, 6));
    assert_eq!((answer.mappings, answer.max_contexts), (2, 4));
    assert_eq!(answer.daddr_first, HOLE * 4096);
    assert_eq!(answer.daddr_last % 4096, 4095);
    assert!(answer.daddr_last > answer.daddr_first);
    assert_eq!(answer.page_sizes, 1 << 12);
    checked.switch(|switches| switches.few_contexts = Some(3));
    assert_eq!(checked.query(BACKEND).max_contexts, 3);
}

/// Debug key `b`.
#[test]
fn what_the_console_shows() {
    let mut checked = scene();
    let mut ops = [ContextCreate::default()];
    checked.context_create(BACKEND, &mut ops);
    let context = ops[0].context;
    let map = checked.mapped(map_grant(FRONTEND, 8, 2, READ));
    let other = Map {
        context,
        ..map_own(10, 4, READ)
    };
    checked.mapped(other);
    let unmap = Unmap {
        flags: XEN_GDMA_NO_FLUSH,
        ..unmap_handle(map.handle)
    };
    checked.unmap(BACKEND, &mut [unmap]);
    let domain = checked.machine.find(BACKEND).expect("backend");
    let state = domain.state().expect("state");
    let mut lines = Vec::new();
    let show = |line: std::fmt::Arguments<'_>| lines.push(line.to_string());
    state.dma.show(&checked.machine, &domain, show);
    let dfn = |daddr: u64| format!("dfn {:#x} to", daddr / 4096);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(
        lines[0],
        "d1: 6 of 1024 frames pinned, 1 mappings, 1 of 4 contexts"
    );
    assert_eq!(
        lines[1],
        "d1: 0 flushes, 0 failed; 0 faults; 0 mappings revoked"
    );
    assert!(lines[2].starts_with("d1: context 0: "), "{lines:?}");
    assert!(lines[2].contains(&dfn(map.daddr)), "{lines:?}");
    assert!(
        lines[2].ends_with("2 frames pinned, 2 of them until a flush, 0 for ever"),
        "{lines:?}"
    );
    assert!(lines[3].starts_with(&format!("d1: context {context}: ")));
    assert!(lines[3].contains(&dfn(ops[0].daddr_first)), "{lines:?}");
    assert!(
        lines[3].ends_with("4 frames pinned, 0 of them until a flush, 0 for ever"),
        "{lines:?}"
    );
}

/// The whole range that `query` tells is usable, first byte to last.
#[test]
fn query_range_is_what_map_accepts() {
    let mut checked = scene_with(DomainSetup {
        hole: Some((HOLE, 8)),
        ..DomainSetup::pvh(BACKEND)
    });
    let range = checked.query(BACKEND);
    assert_eq!(range.daddr_first, HOLE * 4096);
    assert_eq!(range.daddr_last, (HOLE + 8) * 4096 - 1);
    checked.mapped(at(HOLE, map_own(0, 8, READ)));
}

#[test]
fn query_errors() {
    let checked = scene();
    let vcpu = checked.machine.vcpu_of(BACKEND);
    let mut ops = [
        Query {
            domid: 0x7ff0,
            ..Query::default()
        },
        Query {
            pad0: 1,
            domid: BACKEND,
            ..Query::default()
        },
        Query {
            domid: FRONTEND,
            ..Query::default()
        },
        Query {
            domid: 77,
            ..Query::default()
        },
    ];
    assert_eq!(vcpu.call_with(Number::GrantDma, 0, &mut ops).value, 0);
    assert_eq!(ops.map(|op| op.status), [0, -22, -3, -3]);
}

#[test]
fn query_without_default_context() {
    let mut checked = scene_with(DomainSetup {
        iommu: IommuMode::SharedTables,
        ..DomainSetup::pvh(BACKEND)
    });
    let answer = checked.query(BACKEND);
    assert_eq!(answer.capabilities & 4, 0);
    assert_eq!((answer.daddr_first, answer.daddr_last), (0, 0));
    checked.machine.state().switches.no_pci = true;
    assert_eq!(checked.query(BACKEND).capabilities & 8, 0);
}

/// Documented: flushes by which mappings ended, so not those that make new
/// mappings visible, and one for each call that unmaps, however much.
#[test]
fn query_counts_flushes_that_ended_mappings() {
    let mut checked = scene();
    checked.cache_absent_translations(BACKEND);
    let first = checked.mapped(map_own(10, 4, READ));
    let second = checked.mapped(map_own(20, 4, READ));
    assert_eq!(checked.query(BACKEND).flushes, 0);
    let mut ops = [
        testbed::elements::unmap_handle(first.handle),
        testbed::elements::unmap_handle(second.handle),
    ];
    assert_eq!(checked.unmap(BACKEND, &mut ops).value, 0);
    assert_eq!(checked.query(BACKEND).flushes, 1);
}

/// Hardware that caches absent translations: after `map` has returned, devices
/// see the mapping.
#[test]
fn mapping_is_visible_when_the_call_returns() {
    let mut checked = scene();
    checked.cache_absent_translations(BACKEND);
    let mut ops = [
        at(HOLE + 40, map_own(10, 4, READ)),
        at(HOLE + 3, map_grant(FRONTEND, 8, 2, READ)),
    ];
    assert_eq!(checked.map(BACKEND, &mut ops).value, 0);
    for op in ops {
        let last = op.daddr + u64::from(op.nr_frames) * 4096 - 1;
        assert!(checked.machine.device_read(BACKEND, op.daddr).is_ok());
        assert!(checked.machine.device_read(BACKEND, last).is_ok());
    }
}

fn device(id: u64) -> QueryDevice {
    QueryDevice {
        id,
        ..QueryDevice::default()
    }
}

#[test]
fn query_device_errors() {
    let mut checked = scene();
    checked.machine.plug(8, BACKEND, true);
    checked.machine.plug(9, BYSTANDER, true);
    for (op, status) in [
        (
            QueryDevice {
                pad0: 1,
                ..device(8)
            },
            -22,
        ),
        (
            QueryDevice {
                kind: 1,
                ..device(8)
            },
            -22,
        ),
        (device(1 << 32 | 8), -22),
        (device(9), -19),
        (device(10), -19),
        (device(8), 0),
    ] {
        assert_eq!(checked.query_device(BACKEND, op).status, status, "{op:?}");
    }
    checked.machine.state().switches.no_pci = true;
    assert_eq!(checked.query_device(BACKEND, device(8)).status, -95);
}

#[test]
fn query_device_treatments() {
    use IommuMode::{Absent, OwnTables, PassThrough, SharedTables};
    // translated, direct mapped, mode, behind an IOMMU: treatment, protected.
    let rows = [
        (false, false, OwnTables, true, 1, 1),
        (false, false, PassThrough, true, 1, 0),
        (false, false, Absent, false, 1, 0),
        (false, false, OwnTables, false, 1, 0),
        (true, false, OwnTables, true, 2, 1),
        (true, false, SharedTables, true, 2, 1),
        (true, true, SharedTables, true, 2, 1),
        (true, true, PassThrough, true, 1, 0),
        (true, true, Absent, false, 1, 0),
        (true, true, OwnTables, false, 1, 0),
        (true, false, Absent, false, 5, 0),
        (true, false, PassThrough, true, 5, 0),
        (true, false, OwnTables, false, 5, 0),
    ];
    for (translated, direct_mapped, iommu, behind, treatment, flags) in rows {
        let mut checked = scene_with(DomainSetup {
            translated,
            direct_mapped,
            iommu,
            ..DomainSetup::pvh(BACKEND)
        });
        checked.machine.plug(8, BACKEND, behind);
        let answer = checked.query_device(BACKEND, device(8));
        assert_eq!(
            (answer.status, answer.treatment, answer.flags),
            (0, treatment, flags),
            "{translated} {direct_mapped} {iommu:?} {behind}"
        );
        assert_eq!((answer.context, answer.backend), (0, BACKEND));
    }
}

/// A PV dom0 whose devices reach all of the machine's memory: no IOMMU protects what it
/// has not mapped, or has unmapped.
#[test]
fn relaxed_is_not_protected() {
    let mut checked = scene_with(DomainSetup {
        strict: false,
        ..DomainSetup::pv(BACKEND)
    });
    checked.machine.plug(8, BACKEND, true);
    let answer = checked.query_device(BACKEND, device(8));
    assert_eq!((answer.status, answer.treatment, answer.flags), (0, 1, 0));
}

/// Bits 2, 8 and 9 of the capabilities: the default context accepts mappings, has machine
/// addresses, is protected.
#[test]
fn query_of_every_kind_of_default_context() {
    use IommuMode::{Absent, OwnTables, PassThrough, SharedTables};
    // translated, direct mapped, strict, mode: capabilities.
    let rows = [
        (false, false, true, OwnTables, 0x304),
        (false, false, false, OwnTables, 0x104),
        (false, false, false, PassThrough, 0x104),
        (false, false, true, Absent, 0x104),
        (true, true, true, SharedTables, 0x304),
        (true, true, true, Absent, 0x104),
        (true, false, true, OwnTables, 0x204),
        (true, false, true, SharedTables, 0x200),
        (true, false, true, PassThrough, 0),
        (true, false, true, Absent, 0),
    ];
    for (translated, direct_mapped, strict, iommu, capabilities) in rows {
        let mut checked = scene_with(DomainSetup {
            translated,
            direct_mapped,
            strict,
            iommu,
            ..DomainSetup::pvh(BACKEND)
        });
        let answer = checked.query(BACKEND);
        let row = (translated, direct_mapped, strict, iommu);
        assert_eq!(answer.capabilities & 0x304, capabilities, "{row:?}");
        let addresses = match capabilities & 0x104 {
            0x104 => (0, u64::MAX),
            4 => (HOLE * 4096, (HOLE + 2048) * 4096 - 1),
            _ => (0, 0),
        };
        assert_eq!(
            (answer.daddr_first, answer.daddr_last),
            addresses,
            "{row:?}"
        );
    }
}
