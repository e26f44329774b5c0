// SPDX-License-Identifier: GPL-2.0-only
//! Counted references to frames.

use std::sync::Arc;

use hv::{
    addr::{Access, Gfn, Mfn},
    host::{Domain, Frame, FrameError, Frames, IoMemory},
};
use hypercall_abi::Errno;

use crate::model::{
    domain::{Backing, ModelDomain},
    frames::{PinnedFrame, PinnedRun},
    locks::assert_none_held,
    machine::Machine,
    p2m::Near,
};

impl Machine {
    fn take_reference(&self, owner: u16, mfn: u64, typed: bool) -> Result<PinnedFrame, FrameError> {
        let mut state = self.state();
        state.frames.take(owner, mfn, typed)?;
        state.counters.note_reference();
        Ok(PinnedFrame::new(Arc::downgrade(&self.inner), mfn, typed))
    }
}

impl Frames for Machine {
    type Frame = PinnedFrame;
    type FrameRun = PinnedRun;
    type Near = Near;

    fn pin_gfn(
        &self,
        owner: &ModelDomain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        io: IoMemory,
    ) -> Result<PinnedFrame, FrameError> {
        let needless = owner.is_translated() && !access.write && take_type;
        assert!(!needless, "a type only to write");
        let backing = self.state().p2m.get(&(owner.id().0, gfn.number())).copied();
        match backing {
            Some(Backing::Ram(mfn)) => self.take_reference(owner.id().0, mfn, take_type),
            Some(Backing::Io(mfn)) if io == IoMemory::Allowed => {
                self.take_reference(owner.id().0, mfn, take_type)
            }
            Some(Backing::ReadOnly(_)) if access.write => Err(FrameError::NotWritable),
            Some(Backing::ReadOnly(mfn)) => self.take_reference(owner.id().0, mfn, false),
            Some(Backing::PagedOut) => Err(FrameError::TryAgain),
            None if owner.is_dying() => Err(FrameError::Gone),
            Some(Backing::Mmio | Backing::Io(_) | Backing::Foreign(_)) | None => {
                Err(FrameError::NotMemory)
            }
        }
    }

    fn pin_near(
        &self,
        owner: &ModelDomain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        near: &mut Near,
    ) -> Result<PinnedFrame, FrameError> {
        let place = (owner.id().0, gfn.number());
        if let Some(mfn) = near.seen(place) {
            // As in Xen: a reference first, which can fail, and then the look whether what
            // was found earlier still holds.
            let taken = self.take_reference(place.0, mfn, take_type);
            let holds = near.holds(&self.state().p2m);
            match taken {
                Ok(frame) if holds => {
                    self.state().counters.near += 1;
                    return Ok(frame);
                }
                _ => drop(taken),
            }
        }
        near.look(&self.state().p2m, place);
        self.pin_gfn(owner, gfn, access, take_type, IoMemory::Refused)
    }

    fn pin_run(
        &self,
        owner: &ModelDomain,
        gfn: Gfn,
        most: u32,
        write: bool,
    ) -> Result<PinnedRun, FrameError> {
        assert_eq!(owner.id().0, self.current, "only the caller's memory");
        assert!(most > 0, "a run of nothing");
        let mut frames: Vec<PinnedFrame> = Vec::new();
        // What one entry of large page tables maps.
        let end = gfn.number() | 511;
        for gfn in (gfn.number()..=end).take(most as usize) {
            let access = Access { read: true, write };
            let pinned = self.pin_gfn(owner, Gfn::new(gfn), access, write, IoMemory::Refused);
            let next = match pinned {
                Ok(next) => next,
                Err(error) if frames.is_empty() => return Err(error),
                Err(_) => break,
            };
            let follows = frames
                .last()
                .is_none_or(|last| last.mfn().checked_add(1) == Some(next.mfn()));
            if !follows {
                break;
            }
            frames.push(next);
        }
        Ok(PinnedRun::new(frames))
    }

    fn pin_again(
        &self,
        owner: &ModelDomain,
        mfn: Mfn,
        _write: bool,
        take_type: bool,
    ) -> Result<PinnedFrame, FrameError> {
        let referenced = self
            .state()
            .frames
            .get(mfn.number())
            .is_some_and(|frame| frame.refs > 0);
        assert!(referenced, "pin_again of a frame that nobody refers to");
        self.take_reference(owner.id().0, mfn.number(), take_type)
    }

    fn pin_mfn(&self, mfn: Mfn) -> Result<(Box<ModelDomain>, PinnedFrame), FrameError> {
        let owner = {
            let state = self.state();
            let record = state.frames.get(mfn.number());
            record.ok_or(FrameError::NotMemory)?.owner
        };
        let domain = self.find(owner).ok_or(FrameError::Gone)?;
        let frame = self
            .take_reference(owner, mfn.number(), false)
            .map_err(|_| FrameError::Gone)?;
        Ok((Box::new(domain), frame))
    }

    fn mark_dirty(&self, owner: &ModelDomain, frame: &PinnedFrame) {
        let mut state = self.state();
        let record = state
            .frames
            .get_mut(frame.mfn().number())
            .expect("a referenced frame");
        assert_eq!(record.owner, owner.id().0, "whose page is dirty");
        record.dirty = true;
    }

    fn copy_between(
        &self,
        from: &PinnedFrame,
        from_offset: u16,
        to: &PinnedFrame,
        to_offset: u16,
        len: u16,
    ) {
        assert_none_held("copy");
        assert!(to.is_typed(), "a copy writes through a typed reference");
        let range = |offset: u16| {
            let range = usize::from(offset)..usize::from(offset) + usize::from(len);
            assert!(range.end <= 4096, "copy leaves the page: {range:?}");
            range
        };
        let (source, dest) = (range(from_offset), range(to_offset));
        let mut state = self.state();
        let read = state.frames.get(from.mfn().number()).expect("a source");
        let bytes = read.contents()[source].to_vec();
        let written = state.frames.get_mut(to.mfn().number());
        let written = written.expect("a destination");
        written.write_range(dest.start, &bytes);
    }

    fn flush_cache(
        &self,
        frame: &PinnedFrame,
        offset: u16,
        length: u16,
        op: u32,
    ) -> Result<(), Errno> {
        let mut state = self.state();
        if state.switches.no_cache_flush {
            return Err(Errno::OpNotSupp);
        }
        assert!(offset + length <= 4096 && length > 0, "inside the page");
        let mfn = frame.mfn().number();
        state.cache_flushes.push((mfn, offset, length, op));
        Ok(())
    }
}
