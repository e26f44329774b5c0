// SPDX-License-Identifier: GPL-2.0-only
//! Copies of a domain's memory in I/O page tables, kept in step with it.
//!
//! As in Xen a copy has no references to its frames: what changes a domain's memory
//! changes its copies, and their IOTLBs, before the frame can go. [`State::set_backing`]
//! and [`State::set_kind`] do that; a frame that is freed while a copy still leads to it
//! fails the test.

use hv::{
    addr::Dfn,
    host::{CopyError, Domain, IommuError, Progress},
};

use super::{
    domain::{Backing, ModelDomain},
    frames::Kind,
    iommu::{ModelIoContext, TablesId, Translation},
    machine::{Machine, State},
};

/// Frames that are copied, or taken out, between two looks whether something else
/// wants the CPU.
const FRAMES_PER_STEP: usize = 16;

/// Tables, or a part of them, as a copy of their owner's memory.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    /// Device frames below are the copy's.
    pub end: u64,
    /// Those below were copied, or, when it ends, taken out.
    done: u64,
    /// Everything was copied.
    pub whole: bool,
    /// It is being taken out; nothing is added.
    pub ending: bool,
    /// The IOMMU has refused to give it up.
    pub refused: bool,
}

impl State {
    /// Where the devices of a domain that sees its own memory find a guest frame, and
    /// what they may do.
    fn seen_at(&self, domain: u16, gfn: u64, backing: Backing) -> Option<(u64, Translation)> {
        let pv = self.pv.contains(&domain);
        let (mfn, write) = match backing {
            Backing::Ram(mfn) => (mfn, true),
            Backing::ReadOnly(mfn) => (mfn, false),
            Backing::Io(mfn) | Backing::Foreign(mfn) if !pv => (mfn, true),
            Backing::Io(_) | Backing::Foreign(_) | Backing::PagedOut | Backing::Mmio => {
                return None;
            }
        };
        let is_table = |mfn| matches!(self.frames.get(mfn).map(|f| &f.kind), Some(Kind::PageTable));
        if pv && (!write || is_table(mfn)) {
            return None;
        }
        let translation = Translation {
            mfn,
            read: true,
            write,
        };
        Some((if pv { mfn } else { gfn }, translation))
    }

    /// What devices of a domain that see its own memory see: device frame to where.
    pub fn own_memory(&self, domain: u16) -> impl Iterator<Item = (u64, Translation)> {
        self.p2m
            .range((domain, 0)..=(domain, u64::MAX))
            .filter_map(move |(&(_, gfn), &backing)| self.seen_at(domain, gfn, backing))
    }

    /// Some table that is a copy leads to the frame, or its IOTLB does. Those that the
    /// IOMMU did not give up do no harm when no device can come there any more.
    fn copies_lead_to(&self, mfn: u64) -> bool {
        let harmless = |id: TablesId| {
            let closed = self.iommus.get(&id).and_then(|iommu| iommu.copy);
            closed.is_some_and(|copy| copy.refused) && self.devices_at(id).next().is_none()
        };
        self.iommus
            .iter()
            .any(|(&id, iommu)| iommu.copy_leads_to(mfn) && !harmless(id))
    }

    /// Changes what a domain has at a guest frame, its copies included.
    pub fn set_backing(
        &mut self,
        domain: u16,
        gfn: u64,
        backing: Option<Backing>,
    ) -> Option<Backing> {
        let old = match backing {
            Some(backing) => self.p2m.insert((domain, gfn), backing),
            None => self.p2m.remove(&(domain, gfn)),
        };
        let before = old.and_then(|old| self.seen_at(domain, gfn, old));
        let after = backing.and_then(|new| self.seen_at(domain, gfn, new));
        for (_, iommu) in self.iommus.range_mut((domain, 1)..=(domain, u32::MAX)) {
            if let Some((dfn, _)) = before {
                iommu.copy_out(dfn);
            }
            if let Some((dfn, translation)) = after {
                iommu.copy_in(dfn, translation);
            }
        }
        old
    }

    /// Changes what a PV domain's page is used for, its copies included.
    pub fn set_kind(&mut self, domain: u16, gfn: u64, kind: Kind) {
        let Some(&Backing::Ram(mfn)) = self.p2m.get(&(domain, gfn)) else {
            panic!("no memory at {gfn:#x} of d{domain}");
        };
        if let Some(frame) = self.frames.get_mut(mfn) {
            assert_eq!(frame.writable, 0, "a page that somebody may write");
            frame.kind = kind;
        }
        let seen = self.seen_at(domain, gfn, Backing::Ram(mfn));
        for (_, iommu) in self.iommus.range_mut((domain, 1)..=(domain, u32::MAX)) {
            match seen {
                Some((dfn, translation)) => iommu.copy_in(dfn, translation),
                None => iommu.copy_out(mfn),
            }
        }
    }

    /// A domain gives a frame of its memory back.
    pub fn deallocate(&mut self, mfn: u64) {
        self.frames.deallocate(mfn);
        self.assert_unreachable_if_free(mfn);
    }

    pub(super) fn assert_unreachable_if_free(&self, mfn: u64) {
        if self.frames.get(mfn).is_none() {
            assert!(
                !self.copies_lead_to(mfn),
                "frame {mfn:#x} is free, and devices reach it in a copy of its former owner's memory"
            );
        }
    }

    /// The next frames to copy; no more than a step.
    fn next_frames(&self, (domain, _): TablesId, from: u64, end: u64) -> Vec<(u64, Translation)> {
        let mut frames: Vec<_> = self
            .own_memory(domain)
            .filter(|(dfn, _)| (from..end).contains(dfn))
            .collect();
        frames.sort_unstable_by_key(|&(dfn, _)| dfn);
        frames.truncate(FRAMES_PER_STEP);
        frames
    }
}

impl Machine {
    pub(super) fn mirror_step(
        &self,
        owner: &ModelDomain,
        context: &ModelIoContext,
        end: Dfn,
    ) -> Result<Progress, CopyError> {
        let id = context.id;
        assert_eq!(owner.id().0, id.0, "a copy of its owner's memory");
        assert_eq!(self.current, id.0, "made by its owner");
        loop {
            let mut state = self.state();
            assert_eq!(
                state.devices_at(id).next(),
                None,
                "no device sees half of it"
            );
            if state.switches.copy_fails.pull() {
                return Err(CopyError::OutOfMemory);
            }
            let tables = state.iommus.get(&id).expect("its tables");
            let copy = tables.copy.unwrap_or(Copy {
                end: end.number(),
                done: 0,
                whole: false,
                ending: false,
                refused: false,
            });
            assert_eq!(copy.end, end.number(), "the same arguments");
            assert!(!copy.ending && !copy.whole, "a copy is made once");
            let frames = state.next_frames(id, copy.done, copy.end);
            let done = frames.last().map_or(copy.end, |&(dfn, _)| dfn + 1);
            let tables = state.iommus.get_mut(&id).expect("its tables");
            tables.copy = Some(Copy {
                done,
                whole: frames.is_empty(),
                ..copy
            });
            for &(dfn, translation) in &frames {
                tables.copy_in(dfn, translation);
            }
            drop(state);
            if frames.is_empty() {
                return Ok(Progress::Done);
            }
            if self.poll() {
                return Ok(Progress::Preempted);
            }
        }
    }

    pub(super) fn end_mirror_step(&self, context: &ModelIoContext) -> Result<Progress, IommuError> {
        loop {
            let mut state = self.state();
            let tables = state.iommus.get_mut(&context.id).expect("its tables");
            let Some(copy) = &mut tables.copy else {
                return Ok(Progress::Done);
            };
            copy.ending = true;
            let end = copy.end;
            let dfns = tables.table().range(..end).map(|(&dfn, _)| dfn);
            let dfns: Vec<u64> = dfns.take(FRAMES_PER_STEP).collect();
            if !dfns.is_empty() && state.switches.end_copy_fails.pull() {
                let tables = state.iommus.get_mut(&context.id).expect("its tables");
                tables.copy.as_mut().expect("a copy").refused = true;
                return Err(IommuError);
            }
            let tables = state.iommus.get_mut(&context.id).expect("its tables");
            for &dfn in &dfns {
                tables.copy_out(dfn);
            }
            if dfns.is_empty() {
                tables.copy = None;
                return Ok(Progress::Done);
            }
            drop(state);
            if self.poll() {
                return Ok(Progress::Preempted);
            }
        }
    }

    /// A domain gives the page at a guest frame back to Xen.
    pub fn give_back(&self, domain: u16, gfn: u64) {
        let mut state = self.state();
        if let Some(Backing::Ram(mfn)) = state.set_backing(domain, gfn, None) {
            state.deallocate(mfn);
        }
    }
}
