// SPDX-License-Identifier: GPL-2.0-only
//! No pages change their owner here.

use hv::{
    addr::{Gfn, Mfn},
    host::{Given, LoosePage, OfferError, StealError, Transfers},
};

use super::{OUTSIDE, World, domains::Peer, frames::Page};

impl LoosePage for Page {
    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }
}

impl Transfers for World {
    type LoosePage = Page;
    type OfferedPage<'a> = Page;

    fn steal_page(&self, _owner: &Peer, _gfn: Gfn) -> Result<Page, StealError> {
        unimplemented!("{OUTSIDE}")
    }

    fn offer_page(&self, _page: Page, _receiver: &Peer, _wide: bool) -> Result<Page, OfferError> {
        unimplemented!("{OUTSIDE}")
    }

    fn give_page(&self, _page: Page, _gfn: Gfn) -> Given {
        unimplemented!("{OUTSIDE}")
    }
}
