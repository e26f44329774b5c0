// SPDX-License-Identifier: GPL-2.0-only
//! What tests look at: what the service did to the IOMMU, and how often things happened.

/// What the service did to the IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A map call.
    Map {
        /// Whose device address space.
        domain: u16,
        /// Which.
        context: u32,
        /// First device frame.
        dfn: u64,
        /// First machine frame.
        mfn: u64,
        /// How many.
        count: u32,
        /// It succeeded.
        ok: bool,
    },
    /// An unmap call.
    Unmap {
        /// Whose device address space.
        domain: u16,
        /// Which.
        context: u32,
        /// First device frame.
        dfn: u64,
        /// How many.
        count: u32,
        /// It succeeded.
        ok: bool,
    },
    /// A flush call.
    Flush {
        /// Whose device address space.
        domain: u16,
        /// Which.
        context: u32,
        /// First device frame.
        dfn: u64,
        /// How many.
        count: u64,
        /// What is flushed for: [`super::iommu::ADDED`], [`super::iommu::REMOVED`].
        flags: u32,
        /// It succeeded.
        ok: bool,
    },
}

impl Event {
    /// It failed.
    pub fn refused(&self) -> bool {
        match *self {
            Self::Map { ok, .. } | Self::Unmap { ok, .. } | Self::Flush { ok, .. } => !ok,
        }
    }
}

/// How often things happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hypercall steps: calls and continuations.
    pub steps: u32,
    /// Looks whether something else wants the CPU.
    pub polls: u32,
    /// Atomic accesses to grant entries.
    pub atomics: u32,
    /// References taken to frames.
    pub references: u32,
    /// Most references taken between two polls.
    pub most_references_between_polls: u32,
    /// References given back.
    pub returned: u32,
    /// Most references given back between two polls.
    pub most_returned_between_polls: u32,
    /// References taken by what an earlier look-up found.
    pub near: u32,
    /// Flushes of CPU TLBs.
    pub tlb_flushes: u32,
    references_at_poll: u32,
    returned_at_poll: u32,
}

impl Counters {
    pub(super) fn note_reference(&mut self) {
        self.references += 1;
        self.most_references_between_polls = self
            .most_references_between_polls
            .max(self.references - self.references_at_poll);
    }

    pub(super) fn note_return(&mut self) {
        self.returned += 1;
        self.most_returned_between_polls = self
            .most_returned_between_polls
            .max(self.returned - self.returned_at_poll);
    }

    pub(super) fn note_poll(&mut self) {
        self.polls += 1;
        self.returned_at_poll = self.returned;
        self.references_at_poll = self.references;
    }
}
