// SPDX-License-Identifier: GPL-2.0-only
//! Pages that change their owner.

use super::domains::Domains;
use crate::addr::{Gfn, Mfn};

/// Why a page could not be taken from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StealError {
    /// No page of the domain there.
    BadPage,
    /// The page is in use, or the domain's kind cannot give pages away.
    InUse,
}

/// Why a page cannot be offered to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// The domain could not name it, nor any page that there is instead.
    TooBig,
    /// The domain has no room for it, or is dying.
    NoRoom,
}

/// What came of giving a page to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// It is the domain's, who knows it by this frame number.
    At(Gfn),
    /// It is the domain's, but not in its address space.
    Nowhere,
    /// It is nobody's, and freed: the domain is dying.
    Dying,
}

/// A page that belongs to nobody; dropping it frees it.
pub trait LoosePage: Send + core::fmt::Debug {
    /// The machine frame.
    fn mfn(&self) -> Mfn;
}

/// The way of a page from one owner to the next.
pub trait Transfers: Domains {
    /// A page between two owners.
    type LoosePage: LoosePage;

    /// A page between two owners that the second has set room aside for. Dropping it
    /// frees page and room.
    type OfferedPage<'a>
    where
        Self: 'a;

    /// Takes the page at `gfn` from `owner`, the caller, and out of its address
    /// space, CPU TLB flush included.
    fn steal_page(&self, owner: &Self::Domain, gfn: Gfn) -> Result<Self::LoosePage, StealError>;

    /// Sets room aside with `receiver` for the page, or for a copy of it whose machine
    /// frame `receiver` can name: `wide_frames` says that its entries have room for any.
    /// On error the page is freed. Takes no lock of the tables, so that none is held
    /// while there is a copy to make.
    fn offer_page<'a>(
        &self,
        page: Self::LoosePage,
        receiver: &'a Self::Domain,
        wide_frames: bool,
    ) -> Result<Self::OfferedPage<'a>, OfferError>;

    /// Makes the page one of the domain's that it was offered to, and puts it at `gfn`
    /// of that domain: a PV domain, which knows its pages by their machine frames, gets
    /// to know it as such.
    fn give_page(&self, page: Self::OfferedPage<'_>, gfn: Gfn) -> Given;
}
