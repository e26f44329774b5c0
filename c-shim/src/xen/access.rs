// SPDX-License-Identifier: GPL-2.0-only
//! XSM's answers, and the command line's.

use core::ffi::c_int;

use hv::host::{AccessControl, Refused};

use super::Xen;
use crate::{domain::XenDomain, ffi};

fn allowed(result: c_int) -> Result<(), Refused> {
    if result == 0 { Ok(()) } else { Err(Refused) }
}

impl AccessControl for Xen {
    fn may_map_grant(
        &self,
        holder: &XenDomain,
        granter: &XenDomain,
        gntmap_flags: u32,
    ) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_map(holder.as_ptr(), granter.as_ptr(), gntmap_flags) })
    }

    fn may_unmap_grant(&self, holder: &XenDomain, granter: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_unmap(holder.as_ptr(), granter.as_ptr()) })
    }

    fn may_setup_table(&self, caller: &XenDomain, target: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_setup(caller.as_ptr(), target.as_ptr()) })
    }

    fn may_query_table(&self, caller: &XenDomain, target: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_query(caller.as_ptr(), target.as_ptr()) })
    }

    fn may_transfer(&self, caller: &XenDomain, receiver: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_transfer(caller.as_ptr(), receiver.as_ptr()) })
    }

    fn may_copy(&self, source: &XenDomain, dest: &XenDomain) -> Result<(), Refused> {
        // SAFETY: live domains.
        allowed(unsafe { ffi::gdma_xsm_copy(source.as_ptr(), dest.as_ptr()) })
    }

    fn transitive_allowed(&self) -> bool {
        ffi::gdma_transitive_allowed()
    }

    fn transfer_allowed(&self) -> bool {
        ffi::gdma_transfer_allowed()
    }

    fn may_use_contexts(&self, owner: &XenDomain) -> Result<(), Refused> {
        // SAFETY: the calling domain.
        allowed(unsafe { ffi::gdma_xsm_context(owner.as_ptr()) })
    }

    fn may_attach_device(&self, owner: &XenDomain, sbdf: u32) -> Result<(), Refused> {
        // SAFETY: the calling domain.
        allowed(unsafe { ffi::gdma_xsm_attach(owner.as_ptr(), sbdf) })
    }

    fn may_set_limits(&self, target: &XenDomain) -> Result<(), Refused> {
        // SAFETY: a live domain.
        allowed(unsafe { ffi::gdma_xsm_limits(target.as_ptr()) })
    }
}
