// SPDX-License-Identifier: GPL-2.0-only
//! The hypervisor's half of a grant entry: who uses it, how often, and what.

use crate::addr::{DomId, GrantRef, Mfn, PAGE_SIZE};

/// What a use of a reference is for. Each kind is counted apart, as in Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PinKind {
    /// A CPU mapping or a copy.
    Cpu,
    /// A DMA mapping, or a PV domain's device mapping.
    Device,
}

/// Numbers of uses of one reference: CPU or device, reading or writing, one byte
/// each, in the order of [`Self::raw`].
///
/// There can be 128 of a kind, as in Xen: while the highest bit of a counter is
/// clear, one more fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins(u32);

/// A counter's highest bit.
const FULL: u32 = 0x80;
/// All of a counter.
const COUNTER: u32 = 0xff;
/// The counters of writing uses.
const WRITING: u32 = COUNTER | COUNTER << 16;

impl Pins {
    /// No uses.
    pub const NONE: Self = Self(0);

    /// Where the counter is.
    #[inline(always)]
    fn shift(kind: PinKind, write: bool) -> u32 {
        let kind = match kind {
            PinKind::Cpu => 0,
            PinKind::Device => 16,
        };
        if write { kind } else { kind + 8 }
    }

    /// One use.
    #[inline(always)]
    #[must_use]
    pub fn one(kind: PinKind, write: bool) -> Self {
        Self(1 << Self::shift(kind, write))
    }

    /// One more use; `None` if there are as many as can be.
    #[inline(always)]
    #[must_use]
    pub fn added(self, kind: PinKind, write: bool) -> Option<Self> {
        let shift = Self::shift(kind, write);
        // Cannot overflow: the counter has room.
        (self.0 & FULL << shift == 0).then_some(Self(self.0.wrapping_add(1 << shift)))
    }

    /// One use less; `None` if there was none.
    #[inline(always)]
    #[must_use]
    pub fn removed(self, kind: PinKind, write: bool) -> Option<Self> {
        let shift = Self::shift(kind, write);
        (self.0 & COUNTER << shift != 0).then_some(Self(self.0.wrapping_sub(1 << shift)))
    }

    /// Nobody uses the reference.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Somebody uses it for writing.
    #[inline(always)]
    pub fn any_writing(self) -> bool {
        self.0 & WRITING != 0
    }

    /// All counters in one number, as Xen's debug output shows them: from the
    /// lowest byte, CPU writing, CPU reading, device writing, device reading.
    pub fn raw(self) -> u32 {
        self.0
    }

    /// All uses together.
    pub fn total(self) -> u32 {
        self.0.to_le_bytes().iter().map(|&n| u32::from(n)).sum()
    }
}

/// The part of a page that is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins, and in the highest bit that it is not the whole page.
    start: u16,
    length: u16,
}

const PARTIAL: u16 = 1 << 15;

impl Part {
    /// The whole page, which can be mapped.
    pub const WHOLE: Self = Self {
        start: 0,
        length: PAGE_SIZE as u16,
    };

    /// A part for copies only. `None`: it cannot begin there.
    pub fn sub_page(start: u16, length: u16) -> Option<Self> {
        (start & PARTIAL == 0).then_some(Self {
            start: start | PARTIAL,
            length,
        })
    }

    /// The same bytes, for copies only.
    #[must_use]
    pub fn for_copies_only(self) -> Self {
        Self {
            start: self.start | PARTIAL,
            ..self
        }
    }

    /// May only be copied, not mapped.
    pub fn is_for_copies_only(self) -> bool {
        self.start & PARTIAL != 0
    }

    /// Where it begins.
    pub fn start(self) -> u16 {
        self.start & !PARTIAL
    }

    /// Whether `length` bytes from `offset` on are inside.
    pub fn contains(self, offset: u16, length: u16) -> bool {
        let start = u32::from(self.start());
        let (from, bytes) = (u32::from(offset), u32::from(length));
        from >= start && from + bytes <= start + u32::from(self.length)
    }
}

/// The hypervisor's half of an entry: valid while there are pins.
#[derive(Clone, Copy, Debug)]
pub struct ActiveEntry {
    /// Which frame, while there are pins.
    pub mfn: Mfn,
    /// Uses.
    pub pins: Pins,
    /// The reference that the page was granted by at first: another one for a
    /// transitive grant.
    pub origin_gref: GrantRef,
    /// Who granted the page at first.
    pub origin: DomId,
    /// Who uses it, while there are pins.
    pub holder: DomId,
    /// Which part of the frame.
    pub part: Part,
}

impl ActiveEntry {
    /// An entry that nobody uses.
    pub const UNUSED: Self = Self {
        mfn: Mfn::new(u64::MAX),
        pins: Pins::NONE,
        origin_gref: GrantRef(0),
        origin: DomId(0),
        holder: DomId(0),
        part: Part::WHOLE,
    };
}

// With the lock's eight bytes, no more than Xen's `struct active_grant_entry`.
const _: () = assert!(size_of::<ActiveEntry>() == 24);
