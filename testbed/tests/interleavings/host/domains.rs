// SPDX-License-Identifier: GPL-2.0-only
//! Two domains.

use std::sync::{Arc, OnceLock};

use hv::{
    addr::DomId,
    host::{Domain, Domains},
    state::DomainState,
};
use loom::sync::atomic::AtomicU32;

use super::{World, shared_pages::WORDS};

pub struct Record {
    pub(super) id: u16,
    pub(super) state: OnceLock<DomainState<World>>,
    /// Pages shared with it, oldest first.
    pub(super) pages: std::sync::Mutex<Vec<Arc<[AtomicU32; WORDS]>>>,
}

/// A domain.
#[derive(Clone)]
pub struct Peer(pub(super) Arc<Record>);

impl Peer {
    /// A word of one of its pages: the guest's view.
    pub fn word(&self, page: usize, index: usize) -> Word {
        let pages = self.0.pages.lock().expect("pages");
        Word(Arc::clone(&pages[page]), index)
    }
}

/// A word of a shared page.
pub struct Word(Arc<[AtomicU32; WORDS]>, usize);

impl std::ops::Deref for Word {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        &self.0[self.1]
    }
}

impl Domain<World> for Peer {
    fn id(&self) -> DomId {
        DomId(self.0.id)
    }

    fn is_dying(&self) -> bool {
        false
    }

    fn is_translated(&self) -> bool {
        true
    }

    fn is_direct_mapped(&self) -> bool {
        false
    }

    fn releases_cpu_mappings(&self) -> bool {
        true
    }

    fn state(&self) -> Option<&DomainState<World>> {
        self.0.state.get()
    }
}

impl Domains for World {
    type Domain = Peer;
    type DomainRef = Box<Peer>;

    fn current(&self) -> Box<Peer> {
        Box::new(self.peer(1))
    }

    fn domain(&self, id: DomId) -> Option<Box<Peer>> {
        let domains = self.inner.domains.get()?;
        let found = domains.iter().find(|peer| peer.0.id == id.0)?;
        Some(Box::new(found.clone()))
    }
}
