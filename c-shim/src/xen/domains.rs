// SPDX-License-Identifier: GPL-2.0-only
//! Domains by their ids.

use hv::{addr::DomId, host::Domains};

use super::Xen;
use crate::domain::{XenDomain, XenDomainRef};

impl Domains for Xen {
    type Domain = XenDomain;
    type DomainRef = XenDomainRef;

    #[inline(always)]
    fn current(&self) -> XenDomainRef {
        XenDomainRef::current()
    }

    fn domain(&self, id: DomId) -> Option<XenDomainRef> {
        XenDomainRef::by_id(id)
    }
}
