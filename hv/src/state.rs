// SPDX-License-Identifier: GPL-2.0-only
//! What hangs off each domain: its grant table and its DMA mappings.
//!
//! In Xen one opaque pointer of `struct domain` leads here, so that no hot path
//! looks anything up by domain id.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::{
    dma::{Dma, DmaLimits},
    grant::{GrantTable, TableError, TableLimits, pin::transitive::Passages},
    host::Host,
    sync::{Rank, SpinLock},
};

/// Tells a domain from all others that there ever were while Xen runs, also from those that
/// had its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(u64);

impl Serial {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// State of one domain.
pub struct DomainState<H: Host> {
    /// Which domain.
    pub serial: Serial,
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
            serial: Serial::next(),
            grants: GrantTable::new(host, owner, limits.table)?,
            passages: H::Spin::new(Rank::Passages, Passages::default()),
            dma: Dma::new(host, limits.dma, limits.table.vcpus)?,
        })
    }
}
