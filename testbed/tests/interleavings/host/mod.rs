// SPDX-License-Identifier: GPL-2.0-only
//! The third implementation of `Host`: only what pins and CPU mappings need, on
//! the locks and atomics of `loom`, which tries their interleavings. For each file of
//! `hv/src/host/` there is one of the same name here.

mod access;
mod contexts;
mod cpu;
mod devices;
mod domains;
mod events;
mod execution;
mod frames;
mod guest;
mod iommu;
mod locks;
mod shared_pages;
mod transfer;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use hv::{
    addr::{DomId, GuestPtr},
    dma::DmaLimits,
    grant::TableLimits,
    host::{Domains, GuestMemory, Host},
    hypercall::{
        Answer,
        grant_table::{self, GuestLayout},
    },
    state::{DomainLimits, DomainState},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use domains::Peer;

use domains::Record;
use frames::References;

/// Domains and references.
pub struct Inner {
    domains: OnceLock<Vec<Peer>>,
    references: Arc<References>,
    next: AtomicU64,
    /// Arguments of hypercalls: bytes by address.
    arguments: std::sync::Mutex<BTreeMap<u64, u8>>,
}

/// The world as one vcpu of domain 1 sees it.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
    vcpu: u32,
}

impl World {
    /// Two domains, 1 and 2, with two vcpus and records for 256 mappings each.
    pub fn new() -> Self {
        let world = Self {
            inner: Arc::new(Inner {
                domains: OnceLock::new(),
                references: Arc::default(),
                next: AtomicU64::new(0x1000),
                arguments: std::sync::Mutex::default(),
            }),
            vcpu: 0,
        };
        let domains = [1, 2].map(|id| {
            let peer = Peer(Arc::new(Record {
                id,
                state: OnceLock::new(),
                pages: std::sync::Mutex::default(),
            }));
            let limits = DomainLimits {
                table: TableLimits {
                    max_frames: 1,
                    max_maptrack_frames: 1,
                    max_version: 2,
                    vcpus: 2,
                },
                dma: DmaLimits {
                    max_pins: 0,
                    max_contexts: 0,
                },
            };
            let state = DomainState::new(&world, &peer, limits).expect("memory");
            assert!(peer.0.state.set(state).is_ok());
            peer
        });
        assert!(world.inner.domains.set(domains.into()).is_ok());
        world
    }

    pub fn with_vcpu(&self, vcpu: u32) -> Self {
        Self {
            vcpu,
            ..self.clone()
        }
    }

    pub fn peer(&self, id: u16) -> Peer {
        *self.domain(DomId(id)).expect("a domain")
    }

    /// A hypercall of this vcpu with one element.
    pub fn call<T: FromBytes + IntoBytes + Immutable>(&self, cmd: u32, element: &mut T) {
        let at = GuestPtr(0x1000 * u64::from(self.vcpu + 1));
        assert_eq!(self.copy_to_guest(at, element.as_bytes()), Ok(()));
        let caller = &*self.current();
        let answer = grant_table::dispatch(self, caller, GuestLayout::Native, cmd, at, 1);
        assert_eq!(answer, Answer::COMPLETE);
        assert_eq!(self.copy_from_guest(at, element.as_mut_bytes()), Ok(()));
    }

    /// References to all pages.
    pub fn references(&self) -> u64 {
        self.inner.references.0.load(Ordering::SeqCst)
    }
}

const OUTSIDE: &str = "no part of what is checked here";

impl Host for World {}
