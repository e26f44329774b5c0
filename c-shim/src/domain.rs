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
/// 1. The pointer is that of a `struct domain` which outlives the value.
/// 2. If `locked`, this value owes one `gdma_domain_put()`, on this CPU.
pub(crate) struct XenDomain {
    pointer: NonNull<ffi::Domain>,
    locked: bool,
}

impl XenDomain {
    /// The domain that runs on this CPU.
    pub(crate) fn current() -> Self {
        // SAFETY: `current` is never NULL, and does not change during a hypercall.
        let pointer = unsafe { NonNull::new_unchecked(ffi::gdma_domain_current()) };
        Self {
            pointer,
            locked: false,
        }
    }

    /// The domain with this id.
    pub(crate) fn by_id(id: DomId) -> Option<Self> {
        NonNull::new(ffi::gdma_domain_get(id.0)).map(|pointer| Self {
            pointer,
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
            pointer,
            locked: false,
        }
    }

    /// For calls into C, which may do with the domain what its own locking allows.
    pub(crate) fn as_ptr(&self) -> *mut ffi::Domain {
        self.pointer.as_ptr()
    }
}

impl Drop for XenDomain {
    fn drop(&mut self) {
        if self.locked {
            // SAFETY: invariant 2.
            unsafe { ffi::gdma_domain_put(self.as_ptr()) }
        }
    }
}

impl Domain<Xen> for XenDomain {
    fn id(&self) -> DomId {
        // SAFETY: invariant 1; the field never changes.
        DomId(unsafe { ffi::gdma_domain_id(self.as_ptr()) })
    }

    fn is_dying(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_is_dying(self.as_ptr()) }
    }

    fn is_translated(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_is_translated(self.as_ptr()) }
    }

    fn is_direct_mapped(&self) -> bool {
        // SAFETY: invariant 1.
        unsafe { ffi::gdma_domain_is_direct_mapped(self.as_ptr()) }
    }

    fn state(&self) -> Option<&DomainState<Xen>> {
        // SAFETY: invariant 1.
        let state = unsafe { ffi::gdma_domain_state(self.as_ptr()) };
        // SAFETY: NULL, or what entry::domain_init put there, which only
        // entry::domain_destroy takes away, when no reference to the domain is
        // left (it runs after an RCU grace period, or before anyone knows of the
        // domain).
        unsafe { state.cast::<DomainState<Xen>>().as_ref() }
    }
}
