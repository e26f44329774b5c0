// SPDX-License-Identifier: GPL-2.0-only
//! References to domains.

use core::ptr::NonNull;

use hv::{addr::DomId, host::Domain, state::DomainState};

use crate::{ffi, xen::Xen};

/// A domain that does not go away while the value lives: RCU-locked, the caller
/// of the hypercall, or vouched for by the C code that called us.
///
/// # Invariants
///
/// 1. `facts.domain` is that of a `struct domain` which outlives the value, and is
///    not NULL; the other facts are about it.
/// 2. If `locked`, this value owes one `gdma_domain_put()`, on this CPU.
pub(crate) struct XenDomain {
    facts: ffi::DomainFacts,
    locked: bool,
}

impl XenDomain {
    /// The domain that runs on this CPU.
    #[inline]
    pub(crate) fn current() -> Self {
        Self {
            facts: ffi::gdma_domain_current(),
            locked: false,
        }
    }

    /// The domain that makes a hypercall.
    #[inline]
    pub(crate) fn caller(facts: ffi::DomainFacts) -> Self {
        Self {
            facts,
            locked: false,
        }
    }

    /// The domain with this id.
    #[inline]
    pub(crate) fn by_id(id: DomId) -> Option<Self> {
        let facts = ffi::gdma_domain_get(id.0);
        // Not made before it is known that there is one: it would be dropped.
        if facts.domain.is_null() {
            return None;
        }
        Some(Self {
            facts,
            locked: true,
        })
    }

    /// A domain that C passed.
    ///
    /// # Safety
    ///
    /// `pointer` is that of a `struct domain` that outlives the value.
    pub(crate) unsafe fn borrowed(pointer: NonNull<ffi::Domain>) -> Self {
        Self {
            // SAFETY: a live domain, says the caller.
            facts: unsafe { ffi::gdma_domain_describe(pointer.as_ptr()) },
            locked: false,
        }
    }

    /// For calls into C, which may do with the domain what its own locking allows.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut ffi::Domain {
        self.facts.domain
    }
}

impl Drop for XenDomain {
    #[inline]
    fn drop(&mut self) {
        if self.locked {
            // SAFETY: invariant 2.
            unsafe { ffi::gdma_domain_put(self.as_ptr()) }
        }
    }
}

impl Domain<Xen> for XenDomain {
    #[inline]
    fn id(&self) -> DomId {
        DomId(self.facts.id)
    }

    fn is_dying(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_is_dying(self.as_ptr()) }
    }

    #[inline]
    fn is_translated(&self) -> bool {
        self.facts.translated
    }

    fn is_direct_mapped(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_is_direct_mapped(self.as_ptr()) }
    }

    fn releases_cpu_mappings(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_releases_cpu_mappings(self.as_ptr()) }
    }

    #[inline]
    fn state(&self) -> Option<&DomainState<Xen>> {
        // SAFETY: NULL, or what entry::domain_init put there, which only
        // entry::domain_destroy takes away, when no reference to the domain is
        // left (it runs after an RCU grace period, or before anyone knows of the
        // domain).
        unsafe { self.facts.state.cast::<DomainState<Xen>>().as_ref() }
    }
}
