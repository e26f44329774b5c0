// SPDX-License-Identifier: GPL-2.0-only
//! Domains: who there is, and who calls.

use core::ops::Deref;

use super::Host;
use crate::{addr::DomId, state::DomainState};

/// A domain. Where it is from, a [`Domains::DomainRef`] or the caller, keeps it alive.
pub trait Domain<H: Host> {
    /// Its id.
    fn id(&self) -> DomId;

    /// It is being destroyed.
    fn is_dying(&self) -> bool;

    /// It has a guest physical address space of its own, translated by hardware:
    /// HVM and PVH on x86, every domain on Arm. False: x86 PV.
    fn is_translated(&self) -> bool;

    /// Its guest frames are the machine frames of the same number, so that a
    /// device without an IOMMU works with guest addresses.
    fn is_direct_mapped(&self) -> bool;

    /// Ending a grant's CPU mapping of this holder gives its page reference back.
    /// False where the destruction of the holder's page tables does it (x86 PV),
    /// when a holder dies with its mappings.
    fn releases_cpu_mappings(&self) -> bool;

    /// The service's state of the domain. System domains have none.
    fn state(&self) -> Option<&DomainState<H>>;
}

/// Finding domains.
pub trait Domains: Sized {
    /// What is known about a domain.
    type Domain;

    /// A reference to a domain: it does not go away while the value lives.
    type DomainRef: Deref<Target = Self::Domain>;

    /// The domain that makes the hypercall.
    fn current(&self) -> Self::DomainRef;

    /// The domain with this id, if there is one.
    fn domain(&self, id: DomId) -> Option<Self::DomainRef>;
}
