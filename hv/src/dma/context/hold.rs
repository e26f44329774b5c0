// SPDX-License-Identifier: GPL-2.0-only
//! What keeps the frames of a window in place.

use super::chunks::Chunks;
use crate::{
    addr::Mfn,
    dma::unflushed::Unflushed,
    grant::Pin,
    host::{Flushed, Frame, FrameRun, Host, OutOfMemory},
};

/// Own frames that are given back at a time.
const FRAMES_PER_PIECE: u32 = 512;

/// The frames of a window, in its order.
#[derive(Debug)]
pub(super) enum Frames<H: Host> {
    /// The holder's own.
    Own(Chunks<H::FrameRun>),
    /// Of grants.
    Grant(Chunks<Pin<H::Frame>>),
}

/// Frames, and whether a device may reach them.
pub(super) enum Hold<H: Host> {
    Unreached(Frames<H>),
    Reached(Unflushed<Frames<H>>),
}

/// Frames of a window that nobody reaches, outside all records.
#[must_use]
pub enum Piece<H: Host> {
    /// Own frames.
    Own(H::FrameRun),
    /// A granted one.
    Grant(Pin<H::Frame>),
}

/// A place among the frames of a window: the run and the offset in it, or the grant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    index: usize,
    offset: u32,
}

impl<H: Host> Frames<H> {
    const EMPTY: Self = Self::Own(Chunks::EMPTY);

    /// The frames that follow each other in the machine from a place on: the first,
    /// and how many; of grants, no more than `most` are looked at. `None`: there are
    /// no more.
    pub fn follow(&self, place: Place, most: u32) -> Option<(Mfn, u32)> {
        match self {
            Self::Own(runs) => {
                let run = runs.get(place.index)?;
                let first = run.first().checked_add(u64::from(place.offset))?;
                Some((first, run.count() - place.offset))
            }
            Self::Grant(pins) => {
                let mfn_of = |nth: usize| pins.get(nth).map(|pin| pin.frame().mfn());
                let first = mfn_of(place.index)?;
                let follows = |&nth: &u32| {
                    let next = place.index.checked_add(nth as usize).and_then(mfn_of);
                    next.is_some() && first.checked_add(u64::from(nth)) == next
                };
                let behind = (1..most).take_while(follows).count() as u32;
                Some((first, 1 + behind))
            }
        }
    }

    /// The place `count` frames, which follow each other, behind this one.
    pub fn behind(&self, place: Place, count: u32) -> Place {
        let offset = place.offset + count;
        match self {
            Self::Own(runs) => match runs.get(place.index) {
                Some(run) if run.count() == offset => Place {
                    index: place.index + 1,
                    offset: 0,
                },
                _ => Place { offset, ..place },
            },
            Self::Grant(_) => Place {
                index: place.index + count as usize,
                offset: 0,
            },
        }
    }

    /// Adds own frames behind the last. They are given back if there is no memory.
    pub fn add_run(&mut self, run: H::FrameRun) -> Result<(), OutOfMemory> {
        let Self::Own(runs) = self else {
            return Ok(());
        };
        let rest = match runs.last_mut() {
            Some(last) => last.append(run).err(),
            None => Some(run),
        };
        if let Some(run) = rest {
            runs.reserve()?;
            runs.push(run);
        }
        Ok(())
    }

    /// Takes the last frames out, not too many.
    fn pop(&mut self) -> Option<Piece<H>> {
        match self {
            Self::Grant(pins) => pins.pop().map(Piece::Grant),
            Self::Own(runs) => match runs.last_mut()?.split_last(FRAMES_PER_PIECE) {
                Some(piece) => Some(Piece::Own(piece)),
                None => runs.pop().map(Piece::Own),
            },
        }
    }
}

impl<H: Host> Hold<H> {
    pub fn get(&self) -> &Frames<H> {
        match self {
            Self::Unreached(frames) => frames,
            Self::Reached(frames) => frames.get(),
        }
    }

    /// The frames, to add to them: not when a device may reach them.
    pub fn unreached(&mut self) -> Option<&mut Frames<H>> {
        match self {
            Self::Unreached(frames) => Some(frames),
            Self::Reached(_) => None,
        }
    }

    /// From now on devices may reach the frames.
    pub fn reach(&mut self) {
        let hold = core::mem::replace(self, Self::Unreached(Frames::EMPTY));
        *self = match hold {
            Self::Unreached(frames) => Self::Reached(Unflushed::new(frames)),
            reached => reached,
        };
    }

    /// No device can reach them any more.
    pub fn unreach(&mut self, proof: &Flushed) {
        let hold = core::mem::replace(self, Self::Unreached(Frames::EMPTY));
        *self = match hold {
            Self::Reached(frames) => Self::Unreached(frames.after(proof)),
            unreached => unreached,
        };
    }

    /// Takes some frames out, unless a device may reach them.
    pub fn pop(&mut self) -> Option<Piece<H>> {
        self.unreached()?.pop()
    }
}

impl<H: Host> Piece<H> {
    /// How many.
    pub fn count(&self) -> u32 {
        match self {
            Self::Own(run) => run.count(),
            Self::Grant(_) => 1,
        }
    }
}
