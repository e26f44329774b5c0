// SPDX-License-Identifier: GPL-2.0-only
//! One page of a device address space: what is there, and what keeps it in place.
//!
//! There may be millions, so a record has to be small: what would be an enum in an enum in
//! an enum, each with a word for which it is, is one.

use core::hash::{Hash, Hasher};

use super::{FoundSource, NONE, records::Record};
use crate::{
    addr::{DomId, Gfn, GrantRef, Mfn},
    dma::unflushed::Unflushed,
    grant::Pin,
    hash::hash_number,
    host::{Flushed, Frame},
    index::Links,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u64);

impl Hash for Source {
    fn hash<S: Hasher>(&self, state: &mut S) {
        hash_number(self.0, state);
    }
}

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
            Self::Grant(pin) => source_of(pin),
        }
    }
}

fn source_of<F: Frame>(pin: &Pin<F>) -> Source {
    Source::grant(pin.granter(), pin.gref())
}

/// Whether devices may reach a page that the IOMMU was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The IOMMU translates it.
    Mapped,
    /// The IOMMU no longer translates it, but an IOTLB may.
    FlushPending,
}

/// What a page is used for. `mapping` is the slot of the mapping that it belongs to.
#[derive(Debug)]
enum Use<F> {
    Free,
    /// Part of a mapping that is being made.
    Reserved {
        mapping: u32,
    },
    /// The same, and its frame is pinned. The IOMMU has not heard of it.
    PinnedOwn {
        mapping: u32,
        frame: F,
        gfn: Gfn,
    },
    PinnedGrant {
        mapping: u32,
        pin: Pin<F>,
    },
    /// The IOMMU has heard of it.
    ToldOwn {
        reach: Reach,
        mapping: u32,
        frame: Unflushed<F>,
        gfn: Gfn,
    },
    ToldGrant {
        reach: Reach,
        mapping: u32,
        pin: Unflushed<Pin<F>>,
    },
}

/// The record of a page.
#[derive(Debug)]
pub(super) struct Page<F> {
    used: Use<F>,
    /// Those of the index by source. Of a page that waits for a flush, `next` is the next
    /// one that does.
    pub links: Links,
}

/// As large as on Xen, where a frame is a number: 128 of them in a page of memory.
const _: () = assert!(size_of::<Page<core::num::NonZeroU64>>() == 32);

impl<F> Record for Page<F> {
    const FREE: Self = Self {
        used: Use::Free,
        links: Links::NONE,
    };
}

impl<F> Page<F> {
    /// Becomes a part of the mapping in this slot, which is being made.
    pub fn reserve(&mut self, mapping: u32) {
        self.used = Use::Reserved { mapping };
    }

    /// Slot of the mapping it belongs to; [`NONE`] if it waits for a flush, or is free.
    pub fn mapping(&self) -> u32 {
        match self.used {
            Use::Free => NONE,
            Use::Reserved { mapping }
            | Use::PinnedOwn { mapping, .. }
            | Use::PinnedGrant { mapping, .. }
            | Use::ToldOwn { mapping, .. }
            | Use::ToldGrant { mapping, .. } => mapping,
        }
    }

    /// Whether devices may reach it, if the IOMMU was ever told of it.
    pub fn reach(&self) -> Option<Reach> {
        match self.used {
            Use::ToldOwn { reach, .. } | Use::ToldGrant { reach, .. } => Some(reach),
            _ => None,
        }
    }

    /// Gives a reserved page its pin. False: it is not reserved, and the pin is lost.
    pub fn place(&mut self, pin: DmaPin<F>) -> bool {
        let Use::Reserved { mapping } = self.used else {
            return false;
        };
        self.used = match pin {
            DmaPin::Own { frame, gfn } => Use::PinnedOwn {
                mapping,
                frame,
                gfn,
            },
            DmaPin::Grant(pin) => Use::PinnedGrant { mapping, pin },
        };
        true
    }

    /// Takes the pin out of a page that the IOMMU has not heard of, and keeps it reserved.
    pub fn withdraw(&mut self) -> Option<DmaPin<F>> {
        let reserved = Use::Reserved {
            mapping: self.mapping(),
        };
        match core::mem::replace(&mut self.used, reserved) {
            Use::PinnedOwn { frame, gfn, .. } => Some(DmaPin::Own { frame, gfn }),
            Use::PinnedGrant { pin, .. } => Some(DmaPin::Grant(pin)),
            other => {
                self.used = other;
                None
            }
        }
    }

    /// The IOMMU is told of it: from now on a device may reach it.
    pub fn set_mapped(&mut self) {
        let reach = Reach::Mapped;
        self.used = match core::mem::replace(&mut self.used, Use::Free) {
            Use::PinnedOwn {
                mapping,
                frame,
                gfn,
            } => Use::ToldOwn {
                reach,
                mapping,
                frame: Unflushed::new(frame),
                gfn,
            },
            Use::PinnedGrant { mapping, pin } => Use::ToldGrant {
                reach,
                mapping,
                pin: Unflushed::new(pin),
            },
            other => other,
        };
    }

    /// Takes the pin out of a page that waited for a flush, which has succeeded: its record
    /// is that of a free page then.
    pub fn take_flushed(&mut self, proof: &Flushed) -> Option<DmaPin<F>> {
        let pin = match core::mem::replace(&mut self.used, Use::Free) {
            Use::ToldOwn {
                reach: Reach::FlushPending,
                frame,
                gfn,
                ..
            } => DmaPin::Own {
                frame: frame.after(proof),
                gfn,
            },
            Use::ToldGrant {
                reach: Reach::FlushPending,
                pin,
                ..
            } => DmaPin::Grant(pin.after(proof)),
            other => {
                self.used = other;
                return None;
            }
        };
        self.links = Links::NONE;
        Some(pin)
    }
}

impl<F: Frame> Page<F> {
    /// The IOMMU no longer translates it, but did: what was mapped.
    #[inline]
    pub fn set_pending(&mut self) -> Option<Source> {
        let (source, reach, mapping) = match &mut self.used {
            Use::ToldOwn {
                reach,
                mapping,
                gfn,
                ..
            } => (Source::own(*gfn), reach, mapping),
            Use::ToldGrant {
                reach,
                mapping,
                pin,
            } => (source_of(pin.get()), reach, mapping),
            _ => return None,
        };
        if *reach == Reach::FlushPending {
            return None;
        }
        *reach = Reach::FlushPending;
        *mapping = NONE;
        Some(source)
    }

    /// What is pinned there.
    pub fn source(&self) -> Option<Source> {
        match &self.used {
            Use::Free | Use::Reserved { .. } => None,
            Use::PinnedOwn { gfn, .. } | Use::ToldOwn { gfn, .. } => Some(Source::own(*gfn)),
            Use::PinnedGrant { pin, .. } => Some(source_of(pin)),
            Use::ToldGrant { pin, .. } => Some(source_of(pin.get())),
        }
    }

    /// The same, for those who look it up.
    pub fn names(&self) -> Option<FoundSource> {
        let grant = |pin: &Pin<F>| FoundSource::Grant {
            granter: pin.granter(),
            gref: pin.gref(),
        };
        match &self.used {
            Use::Free | Use::Reserved { .. } => None,
            Use::PinnedOwn { gfn, .. } | Use::ToldOwn { gfn, .. } => Some(FoundSource::Own(*gfn)),
            Use::PinnedGrant { pin, .. } => Some(grant(pin)),
            Use::ToldGrant { pin, .. } => Some(grant(pin.get())),
        }
    }

    /// The frame that is pinned there.
    pub fn mfn(&self) -> Option<Mfn> {
        match &self.used {
            Use::Free | Use::Reserved { .. } => None,
            Use::PinnedOwn { frame, .. } => Some(frame.mfn()),
            Use::PinnedGrant { pin, .. } => Some(pin.frame().mfn()),
            Use::ToldOwn { frame, .. } => Some(frame.get().mfn()),
            Use::ToldGrant { pin, .. } => Some(pin.get().frame().mfn()),
        }
    }
}
