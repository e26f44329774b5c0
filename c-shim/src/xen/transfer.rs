// SPDX-License-Identifier: GPL-2.0-only
//! Pages between two owners.

use hv::{
    addr::Gfn,
    host::{Given, OfferError, StealError, Transfers},
};

use super::Xen;
use crate::{
    domain::XenDomain,
    page::{XenLoosePage, XenOfferedPage},
};

impl Transfers for Xen {
    type LoosePage = XenLoosePage;
    type OfferedPage<'a> = XenOfferedPage<'a>;

    fn steal_page(&self, owner: &XenDomain, gfn: Gfn) -> Result<XenLoosePage, StealError> {
        XenLoosePage::steal(owner, gfn)
    }

    #[inline(always)]
    fn offer_page<'a>(
        &self,
        page: XenLoosePage,
        receiver: &'a XenDomain,
        wide_frames: bool,
    ) -> Result<XenOfferedPage<'a>, OfferError> {
        page.offer(receiver, wide_frames)
    }

    #[inline(always)]
    fn give_page(&self, page: XenOfferedPage<'_>, gfn: Gfn) -> Given {
        page.give(gfn)
    }
}
