// SPDX-License-Identifier: GPL-2.0-only
//! What hangs off each domain: its grant table and its DMA mappings.
//!
//! In Xen one opaque pointer of `struct domain` leads here, so that no hot path
//! looks anything up by domain id.

use hypercall_abi::Errno;

use crate::{
    addr::{DomId, Gfn, GrantRef},
    dma::{Dma, DmaLimits},
    grant::{GrantTable, TableError, TableLimits},
    host::{Domain, Host},
};

/// State of one domain.
pub struct DomainState<H: Host> {
    /// Whose it is.
    pub owner: DomId,
    /// The domain as granter and as holder of CPU mappings.
    pub grants: GrantTable<H>,
    /// The domain as holder of DMA mappings.
    pub dma: Dma<H>,
}

/// Limits of a new domain.
#[derive(Clone, Copy, Debug)]
pub struct DomainLimits {
    /// Grant table sizes.
    pub table: TableLimits,
    /// DMA mappings.
    pub dma: DmaLimits,
}

impl<H: Host> DomainState<H> {
    /// The state of a domain under construction.
    ///
    /// Context: domain creation, no locks held, nobody else knows `owner` yet.
    pub fn new(host: &H, owner: &H::Domain, limits: DomainLimits) -> Result<Self, TableError> {
        Ok(Self {
            owner: owner.id(),
            grants: GrantTable::new(host, owner, limits.table)?,
            dma: Dma::new(host, limits.dma)?,
        })
    }

    /// The frame that entry `gref` grants access to, and the entry's flags, or in
    /// version 2 its status. For those who have the state and not the domain, which
    /// must be alive. Errors as Xen's memory sharing has them.
    ///
    /// Takes the table's lock for reading.
    pub fn granted_frame(&self, host: &H, gref: GrantRef) -> Result<(Gfn, u16), Errno> {
        let owner = host.domain(self.owner).ok_or(Errno::Srch)?;
        self.grants.granted_frame(host, &owner, gref)
    }
}
