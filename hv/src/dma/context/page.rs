// SPDX-License-Identifier: GPL-2.0-only
//! One page of a device address space: what is there, and what keeps it in place.

use super::NONE;
use crate::{
    addr::{DomId, Gfn, GrantRef, Mfn},
    dma::unflushed::Unflushed,
    grant::Pin,
    host::Frame,
};

/// What keeps a frame in place while devices reach it.
#[derive(Debug)]
pub enum DmaPin<F> {
    /// The holder's own frame.
    Own {
        /// The reference.
        frame: F,
        /// Where the holder has it.
        gfn: Gfn,
    },
    /// A granted frame.
    Grant(Pin<F>),
}

impl<F: Frame> DmaPin<F> {
    /// Which frame.
    pub fn mfn(&self) -> Mfn {
        match self {
            Self::Own { frame, .. } => frame.mfn(),
            Self::Grant(pin) => pin.frame().mfn(),
        }
    }
}

/// What is mapped, in a form to search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl Source {
    /// Marks references; no guest frame has a number so high.
    const GRANT: u64 = 1 << 63;

    /// The holder's own frame.
    pub fn own(gfn: Gfn) -> Self {
        Self(gfn.number() & !Self::GRANT)
    }

    /// A reference.
    pub fn grant(granter: DomId, gref: GrantRef) -> Self {
        Self(Self::GRANT | u64::from(granter.0) << 32 | u64::from(gref.0))
    }
}

impl Source {
    /// How many frames or references behind `first` it is. For frames and references of
    /// different owners the number is greater than any count.
    pub(super) fn behind(self, first: Self) -> Option<u64> {
        self.0.checked_sub(first.0)
    }
}

impl<F: Frame> DmaPin<F> {
    /// What it is of.
    pub fn source(&self) -> Source {
        match self {
            Self::Own { gfn, .. } => Source::own(*gfn),
            Self::Grant(pin) => Source::grant(pin.granter(), pin.gref()),
        }
    }
}

#[derive(Debug)]
pub(super) enum PageState<F> {
    Free,
    /// Part of a mapping that is being made.
    Reserved,
    /// The same, and its frame is pinned. The IOMMU has not heard of it.
    Pinned(DmaPin<F>),
    /// The IOMMU translates it.
    Mapped(Unflushed<DmaPin<F>>),
    /// The IOMMU no longer translates it, but an IOTLB may.
    FlushPending(Unflushed<DmaPin<F>>),
}

#[derive(Debug)]
pub(super) struct Page<F> {
    pub state: PageState<F>,
    /// Slot of the mapping it belongs to.
    pub mapping: u32,
    /// Neighbours in the list of mappings of the same frame or reference; `next` is
    /// also the link of a chain that waits for a flush.
    pub newer: u32,
    pub next: u32,
}

impl<F: Frame> Page<F> {
    /// What is pinned there.
    pub fn source(&self) -> Option<Source> {
        match &self.state {
            PageState::Free | PageState::Reserved => None,
            PageState::Pinned(pin) => Some(pin.source()),
            PageState::Mapped(pin) | PageState::FlushPending(pin) => Some(pin.get().source()),
        }
    }
}

impl<F> Page<F> {
    pub const FREE: Self = Self {
        state: PageState::Free,
        mapping: NONE,
        newer: NONE,
        next: NONE,
    };
}
