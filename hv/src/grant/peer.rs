// SPDX-License-Identifier: GPL-2.0-only
//! The other domain of an operation.

use crate::{
    addr::DomId,
    host::{Domain, Host},
};

/// The domain that the elements of one call name, found once and kept until
/// another one is named: backends work for one frontend at a time.
pub struct Peer<H: Host> {
    found: Option<H::DomainRef>,
}

impl<H: Host> Peer<H> {
    /// None yet.
    pub fn new() -> Self {
        Self { found: None }
    }

    /// The domain with this id, if there is one.
    #[inline(always)]
    pub fn find<'a>(
        &'a mut self,
        host: &H,
        caller: &'a H::Domain,
        id: DomId,
    ) -> Option<&'a H::Domain> {
        if id == caller.id() {
            return Some(caller);
        }
        if self.found.as_ref().is_none_or(|found| found.id() != id) {
            self.found = host.domain(id);
        }
        self.found.as_deref()
    }
}

impl<H: Host> Default for Peer<H> {
    fn default() -> Self {
        Self::new()
    }
}
