// SPDX-License-Identifier: GPL-2.0-only
//! What hangs off each domain: its grant table and its DMA mappings.
//!
//! In Xen one opaque pointer of `struct domain` leads here, so that no hot path
//! looks anything up by domain id.

use crate::{
    dma::{Dma, DmaLimits},
    grant::{GrantTable, TableError, TableLimits, pin::transitive::Passages},
    host::Host,
    sync::{Rank, SpinLock},
};

/// State of one domain.
pub struct DomainState<H: Host> {
    /// The domain as granter and as holder of CPU mappings.
    pub grants: GrantTable<H>,
    /// Who uses its pages for devices by transitive grants of others.
    pub passages: H::Spin<Passages>,
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
            grants: GrantTable::new(host, owner, limits.table)?,
            passages: H::Spin::new(Rank::Passages, Passages::default()),
            dma: Dma::new(host, limits.dma, limits.table.vcpus)?,
        })
    }
}
