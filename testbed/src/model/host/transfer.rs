// SPDX-License-Identifier: GPL-2.0-only
//! Pages between two owners.

use std::sync::Arc;

use hv::{
    addr::Gfn,
    host::{Domain, Given, OfferError, StealError, Transfers},
};

use crate::model::{
    domain::{Backing, ModelDomain},
    frames::{Kind, NOBODY},
    locks::assert_none_held,
    loose::{ModelLoosePage, ModelOfferedPage},
    machine::{Machine, Moment},
};

impl Machine {
    /// A copy of the page, which is given back.
    fn copy_with_small_number(&self, page: ModelLoosePage) -> Option<ModelLoosePage> {
        let mut state = self.state();
        if state.switches.no_low_memory {
            // The page is given back, which needs the state.
            drop(state);
            return None;
        }
        let bytes = state.frames.get(page.number())?.contents();
        let copy = state.frames.allocate(NOBODY, Kind::Ram);
        state.frames.get_mut(copy)?.write_range(0, &bytes[..]);
        drop(state);
        Some(ModelLoosePage::new(Arc::downgrade(&self.inner), copy))
    }
}

impl Transfers for Machine {
    type LoosePage = ModelLoosePage;
    type OfferedPage<'a> = ModelOfferedPage<'a>;

    fn steal_page(&self, owner: &ModelDomain, gfn: Gfn) -> Result<ModelLoosePage, StealError> {
        assert_eq!(owner.id().0, self.current, "only the caller's pages");
        let key = (owner.id().0, gfn.number());
        let mut state = self.state();
        let Some(&Backing::Ram(mfn)) = state.p2m.get(&key) else {
            return Err(StealError::BadPage);
        };
        let record = state.frames.get_mut(mfn).ok_or(StealError::BadPage)?;
        if record.owner != key.0 {
            return Err(StealError::BadPage);
        }
        if record.refs != 0 || !matches!(record.kind, Kind::Ram) {
            return Err(StealError::InUse);
        }
        record.owner = NOBODY;
        state.set_backing(key.0, key.1, None);
        Ok(ModelLoosePage::new(Arc::downgrade(&self.inner), mfn))
    }

    fn offer_page<'a>(
        &self,
        page: ModelLoosePage,
        receiver: &'a ModelDomain,
        wide_frames: bool,
    ) -> Result<ModelOfferedPage<'a>, OfferError> {
        assert_none_held("page offered");
        let page = if wide_frames || u32::try_from(page.number()).is_ok() {
            page
        } else {
            self.copy_with_small_number(page)
                .ok_or(OfferError::TooBig)?
        };
        let room = self.state().memory_of(receiver.id().0) < receiver.setup().max_pages;
        if receiver.is_dying() || !room {
            return Err(OfferError::NoRoom);
        }
        Ok(ModelOfferedPage { page, receiver })
    }

    fn give_page(&self, offered: ModelOfferedPage<'_>, gfn: Gfn) -> Given {
        let ModelOfferedPage { page, receiver } = offered;
        self.at_moment(Moment::Assign);
        if receiver.is_dying() {
            return Given::Dying;
        }
        let owner = receiver.id().0;
        let mfn = page.keep();
        let mut state = self.state();
        let record = state.frames.get_mut(mfn).expect("a page that was kept");
        record.owner = owner;
        if state.switches.place_fails.pull() {
            return Given::Nowhere;
        }
        // A PV domain knows its pages by their machine frames.
        let known_by = if receiver.is_translated() {
            gfn
        } else {
            Gfn::new(mfn)
        };
        let backing = Backing::Ram(mfn);
        state.set_backing(owner, known_by.number(), Some(backing));
        Given::At(known_by)
    }
}
