// SPDX-License-Identifier: GPL-2.0-only
//! The hot paths' locks and the protocol with the guest, in every interleaving of
//! two threads with at most [`PREEMPTIONS`] preemptions, by `loom`.
//!
//! What is behind the trait is loom's: locks (a lock order that can deadlock is
//! found) and the words of shared pages, with the memory model's freedom to
//! reorder. Plain atomic counters inside `hv` are single steps here.

mod host;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use hv::{
    addr::{DomId, GrantRef},
    grant::{OpenTable, Pin, Usage, active::PinKind, pin::CopyPin, version::VersionError},
    host::{Domain, IoMemory},
};
use hypercall_abi::grant::{
    GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_GRANT_REF,
    GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING, MapGrantRef, UnmapGrantRef,
};
use loom::{sync::atomic::fence, thread};

use host::{Peer, World};

/// More find nothing new in what takes two locks at most, and take minutes.
const PREEMPTIONS: usize = 3;
const HOLDER: u16 = 1;
const GRANTER: u16 = 2;
const IN_USE: u32 = (GTF_READING | GTF_WRITING) as u32;
const GRANTED: u32 = (HOLDER as u32) << 16 | GTF_PERMIT_ACCESS as u32;

fn explore(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    // The looks at all entries in the end, when only one thread is left.
    builder.max_branches = 20_000;
    builder.check(body);
}

/// Grants `gref` of the granter, as its guest does: frame, then head.
fn grant_v1(world: &World, gref: usize) -> Peer {
    let granter = world.peer(GRANTER);
    granter.word(0, gref * 2 + 1).store(5, Ordering::Relaxed);
    granter.word(0, gref * 2).store(GRANTED, Ordering::Release);
    granter
}

fn flags_v1(granter: &Peer, gref: usize) -> u32 {
    granter.word(0, gref * 2).load(Ordering::SeqCst)
}

fn usage(write: bool) -> Usage {
    Usage {
        kind: PinKind::Cpu,
        write,
        take_type: false,
        io: IoMemory::Refused,
    }
}

fn assert_unused(world: &World) {
    assert_eq!(world.references(), 0, "references");
    for id in [HOLDER, GRANTER] {
        let peer = world.peer(id);
        let grants = &peer.state().expect("state").grants;
        grants.for_each_active(&peer, |gref, _, _| panic!("{gref:?} of {id} in use"));
        assert_eq!(grants.mapped(), 0, "records");
    }
}

/// XSA-218: while anybody has a pin, the guest sees it; afterwards it does not.
#[test]
fn two_uses_of_one_entry() {
    explore(|| {
        let world = World::new();
        let granter = grant_v1(&world, 8);
        let use_it = |write: bool| {
            let (world, granter) = (world.clone(), granter.clone());
            move || {
                let holder = DomId(HOLDER);
                let taken = Pin::take(
                    &world,
                    &mut OpenTable::of(&granter),
                    GrantRef(8),
                    holder,
                    usage(write),
                );
                let pin = taken.expect("granted");
                let wanted = GTF_READING | if write { GTF_WRITING } else { 0 };
                let seen = flags_v1(&granter, 8);
                assert_eq!(seen & u32::from(wanted), wanted.into(), "in use");
                pin.release(&world, &granter);
            }
        };
        let other = thread::spawn(use_it(true));
        use_it(false)();
        other.join().expect("no panic");
        assert_eq!(flags_v1(&granter, 8), GRANTED);
        assert_unused(&world);
    });
}

/// XSA-228: two vcpus with records for one shard only: handles differ, each ends
/// its own, and nothing is left.
#[test]
fn records_across_shards() {
    explore(|| {
        let world = World::new();
        let granter = grant_v1(&world, 8);
        let handles = Arc::new([const { AtomicU32::new(u32::MAX) }; 2]);
        let map_and_unmap = |vcpu: usize| {
            let world = world.with_vcpu(vcpu as u32);
            let handles = Arc::clone(&handles);
            move || {
                let mut op = MapGrantRef {
                    host_addr: 0x1000,
                    flags: GNTMAP_HOST_MAP | GNTMAP_READONLY,
                    gref: 8,
                    dom: GRANTER,
                    ..MapGrantRef::default()
                };
                world.call(GNTTABOP_MAP_GRANT_REF, &mut op);
                assert_eq!(op.status, 0);
                handles[vcpu].store(op.handle, Ordering::SeqCst);
                let other = handles[1 - vcpu].load(Ordering::SeqCst);
                assert_ne!(op.handle, other, "given out twice");
                handles[vcpu].store(u32::MAX, Ordering::SeqCst);
                assert_eq!(unmapped(&world, op.handle), 0);
            }
        };
        let other = thread::spawn(map_and_unmap(1));
        map_and_unmap(0)();
        other.join().expect("no panic");
        assert_eq!(flags_v1(&granter, 8), GRANTED);
        assert_unused(&world);
    });
}

fn unmapped(world: &World, handle: u32) -> i16 {
    let mut op = UnmapGrantRef {
        host_addr: 0x1000,
        handle,
        ..UnmapGrantRef::default()
    };
    world.call(GNTTABOP_UNMAP_GRANT_REF, &mut op);
    op.status
}

/// XSA-218: of two unmaps of one handle, one finds it.
#[test]
fn two_unmaps_of_one_handle() {
    explore(|| {
        let world = World::new();
        let granter = grant_v1(&world, 8);
        let mut op = MapGrantRef {
            host_addr: 0x1000,
            flags: GNTMAP_HOST_MAP,
            gref: 8,
            dom: GRANTER,
            ..MapGrantRef::default()
        };
        world.call(GNTTABOP_MAP_GRANT_REF, &mut op);
        assert_eq!(op.status, 0);
        let (second, handle) = (world.with_vcpu(1), op.handle);
        let other = thread::spawn(move || unmapped(&second, handle));
        let mut statuses = [unmapped(&world, handle), other.join().expect("no panic")];
        statuses.sort_unstable();
        assert_eq!(statuses, [-4, 0]);
        assert_eq!(flags_v1(&granter, 8), GRANTED);
        assert_unused(&world);
    });
}

/// A copy claims an entry while its granter changes the format: either the copy
/// keeps the format, or the change takes the grant away. No order of the locks
/// ends in a deadlock, and no flag stays in either format.
#[test]
fn copy_and_version_switch() {
    for gref in [1, 8] {
        explore(move || {
            let world = World::new();
            let granter = grant_v1(&world, gref);
            let copier = {
                let (world, granter) = (world.clone(), granter.clone());
                move || {
                    let holder = DomId(HOLDER);
                    let name = GrantRef(gref as u32);
                    let release = |pin: CopyPin<_>| pin.release(&world, &granter);
                    let error = |error| error;
                    CopyPin::take(&world, &granter, name, holder, true, release, error).is_ok()
                }
            };
            let other = thread::spawn(copier);
            let grants = &granter.state().expect("state").grants;
            let switched = grants.set_version(&world, &granter, 2);
            let copied = other.join().expect("no panic");
            match switched {
                Ok(()) if gref < 8 => {
                    assert!(copied, "reserved entries survive");
                    // Version 2: head at 16 bytes each, status in its own page.
                    let head = granter.word(0, gref * 4).load(Ordering::SeqCst);
                    assert_eq!(head, GRANTED);
                    let status = granter.word(1, gref / 2).load(Ordering::SeqCst);
                    assert_eq!(status, 0, "status");
                }
                Ok(()) => {
                    let head = granter.word(0, gref * 4).load(Ordering::SeqCst);
                    assert_eq!(head, 0, "wiped");
                }
                Err(error) => {
                    assert_eq!(error, VersionError::InUse);
                    assert!(copied && gref >= 8);
                    assert_eq!(flags_v1(&granter, gref), GRANTED);
                }
            }
            assert_unused(&world);
        });
    }
}

/// Version 2: the granter takes the grant away and then looks at the status; the
/// holder sets the status and then looks at the grant. One of them sees the other.
#[test]
fn revocation_in_version_2() {
    explore(|| {
        let world = World::new();
        let granter = world.peer(GRANTER);
        let grants = &granter.state().expect("state").grants;
        grants
            .set_version(&world, &granter, 2)
            .expect("nothing in use");
        let (gref, head, status) = (8, 8 * 4, 8 / 2);
        granter.word(0, gref * 4 + 2).store(5, Ordering::Relaxed);
        granter.word(0, head).store(GRANTED, Ordering::Release);
        let guest = {
            let granter = granter.clone();
            move || {
                granter.word(0, head).store(0, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                granter.word(1, status).load(Ordering::Relaxed) & IN_USE == 0
            }
        };
        let other = thread::spawn(guest);
        let taken = Pin::take(
            &world,
            &mut OpenTable::of(&granter),
            GrantRef(gref as u32),
            DomId(HOLDER),
            usage(true),
        );
        let revoked = other.join().expect("no panic");
        assert!(
            !(revoked && taken.is_ok()),
            "the granter believes that the page is its own, and it is pinned"
        );
        if let Ok(pin) = taken {
            pin.release(&world, &granter);
        }
        assert_eq!(granter.word(1, status).load(Ordering::SeqCst), 0, "status");
        assert_unused(&world);
    });
}
