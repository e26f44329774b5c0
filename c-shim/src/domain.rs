// SPDX-License-Identifier: GPL-2.0-only
//! Domains, and references to them.

use alloc::vec::Vec;
use core::{cell::OnceCell, ops::Deref, ptr::NonNull};

use hv::{addr::DomId, host::Domain, state::DomainState};

use crate::{ffi, xen::Xen};

/// What `struct domain` points to with its `grant_table`: the service's state, and
/// what is asked about the domain again and again and never changes.
///
/// # Invariants
///
/// 1. `domain` is that of the `struct domain` that the value is of, and outlives it.
/// 2. `state` is set before anybody else knows of the domain, once.
pub(crate) struct XenDomain {
    domain: NonNull<ffi::Domain>,
    id: DomId,
    translated: bool,
    state: OnceCell<DomainState<Xen>>,
}

// SAFETY: what is known about a domain is not bound to a CPU.
unsafe impl Send for XenDomain {}
// SAFETY: the same; and by invariant 2 nothing in it changes but what `DomainState`
// has locks for.
unsafe impl Sync for XenDomain {}

impl XenDomain {
    /// A domain without state. `None`: there is no memory.
    ///
    /// # Safety
    ///
    /// `domain` is that of a `struct domain` that outlives the value.
    pub(crate) unsafe fn allocate(domain: NonNull<ffi::Domain>) -> Option<NonNull<Self>> {
        // Like `Box::new`, but tells when there is no memory.
        let mut boxed = Vec::new();
        boxed.try_reserve_exact(1).ok()?;
        boxed.push(Self {
            domain,
            // SAFETY: a live domain, says the caller.
            id: DomId(unsafe { ffi::gdma_domain_id(domain.as_ptr()) }),
            // SAFETY: the same.
            translated: unsafe { ffi::gdma_domain_is_translated(domain.as_ptr()) },
            state: OnceCell::new(),
        });
        boxed.leak().first_mut().map(NonNull::from)
    }

    /// Takes back what [`Self::allocate`] made.
    ///
    /// # Safety
    ///
    /// Nobody else has a way to it.
    pub(crate) unsafe fn free(this: NonNull<Self>) {
        // SAFETY: from a vector with length and capacity 1, and nobody else's.
        drop(unsafe { Vec::from_raw_parts(this.as_ptr(), 1, 1) });
    }

    /// A domain that C passed. `None`: one without a grant table.
    ///
    /// # Safety
    ///
    /// `domain` is that of a `struct domain` that outlives the reference.
    pub(crate) unsafe fn borrowed<'a>(domain: NonNull<ffi::Domain>) -> Option<&'a Self> {
        // SAFETY: a live domain, says the caller.
        let table = unsafe { ffi::gdma_domain_table(domain.as_ptr()) };
        // SAFETY: the table of a domain that outlives the reference.
        unsafe { table.cast::<Self>().as_ref() }
    }

    /// For calls into C, which may do with the domain what its own locking allows.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut ffi::Domain {
        self.domain.as_ptr()
    }

    /// Gives the domain, which has none, its state.
    ///
    /// # Safety
    ///
    /// Nobody else knows of the domain yet.
    pub(crate) unsafe fn set_state(&self, state: DomainState<Xen>) {
        let had_one = self.state.set(state).is_err();
        debug_assert!(!had_one);
    }
}

impl Domain<Xen> for XenDomain {
    #[inline(always)]
    fn id(&self) -> DomId {
        self.id
    }

    fn is_dying(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_is_dying(self.as_ptr()) }
    }

    #[inline(always)]
    fn is_translated(&self) -> bool {
        self.translated
    }

    fn is_direct_mapped(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_is_direct_mapped(self.as_ptr()) }
    }

    fn releases_cpu_mappings(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_releases_cpu_mappings(self.as_ptr()) }
    }

    #[inline(always)]
    fn state(&self) -> Option<&DomainState<Xen>> {
        self.state.get()
    }
}

/// A domain that does not go away while the value lives: RCU-locked, the caller
/// of the hypercall, or the owner of a page that somebody holds a reference to.
///
/// # Invariants
///
/// 1. `domain` is what a `struct domain` has for its grant table, which outlives the
///    value: only entry::domain_destroy frees it, when no reference to the domain is
///    left (it runs after an RCU grace period, or before anyone knows of the domain).
/// 2. If `locked`, this value owes one `gdma_domain_put()`, on this CPU.
pub(crate) struct XenDomainRef {
    domain: NonNull<XenDomain>,
    locked: bool,
}

impl XenDomainRef {
    /// The domain that makes a hypercall.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        Self {
            domain: ffi::gdma_domain_current().cast(),
            locked: false,
        }
    }

    /// The domain with this id.
    #[inline(always)]
    pub(crate) fn by_id(id: DomId) -> Option<Self> {
        let table = NonNull::new(ffi::gdma_domain_get(id.0))?;
        Some(Self {
            domain: table.cast(),
            locked: true,
        })
    }

    /// The owner of a page.
    ///
    /// # Safety
    ///
    /// `domain` is what a `struct domain` has for its grant table. A reference to the page is held as long as the value lives.
    pub(crate) unsafe fn owner(domain: NonNull<XenDomain>) -> Self {
        Self {
            domain,
            locked: false,
        }
    }
}

impl Deref for XenDomainRef {
    type Target = XenDomain;

    #[inline(always)]
    fn deref(&self) -> &XenDomain {
        // SAFETY: invariant 1.
        unsafe { self.domain.as_ref() }
    }
}

impl Drop for XenDomainRef {
    #[inline(always)]
    fn drop(&mut self) {
        if self.locked {
            // SAFETY: invariant 2.
            unsafe { ffi::gdma_domain_put(self.as_ptr()) }
        }
    }
}
