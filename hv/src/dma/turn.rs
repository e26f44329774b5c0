// SPDX-License-Identifier: GPL-2.0-only
//! The context that a call is at work on: its elements may be about several, one after
//! the other, and each is flushed once before the next one's turn.

use super::{
    flush::{self, FlushFailed},
    space::{SharedSpace, Space},
};
use crate::{host::Host, state::DomainState};

/// What a call has done so far, as far as flushes are concerned.
pub(super) struct Turn<'a, H: Host> {
    pub holder: &'a H::Domain,
    pub state: &'a DomainState<H>,
    space: Option<SharedSpace<H>>,
    /// Some element wants a flush of the context at work before the call ends.
    wanted: bool,
    /// The flush of one that was at work before has failed.
    failed: bool,
}

/// There is no context with this number.
pub(super) struct NoContext;

impl<'a, H: Host> Turn<'a, H> {
    /// No context yet.
    pub fn new(holder: &'a H::Domain, state: &'a DomainState<H>) -> Self {
        Self {
            holder,
            state,
            space: None,
            wanted: false,
            failed: false,
        }
    }

    /// Makes the context with this number the one at work. True: it was another.
    ///
    /// Takes the lock of the holder's contexts for reading, if it was.
    pub fn enter(&mut self, host: &H, number: u32) -> Result<bool, NoContext> {
        if self.space().is_some_and(|space| space.number() == number) {
            return Ok(false);
        }
        let space = self.state.dma.space(host, number).ok_or(NoContext)?;
        self.failed |= self.settle(host).is_err();
        self.space = Some(space);
        Ok(true)
    }

    /// The context at work.
    pub fn space(&self) -> Option<&Space<H>> {
        self.space.as_deref()
    }

    /// It is to be flushed before the call ends.
    pub fn want_flush(&mut self) {
        self.wanted = true;
    }

    fn settle(&mut self, host: &H) -> Result<(), FlushFailed> {
        match &self.space {
            Some(space) if core::mem::take(&mut self.wanted) => {
                flush::flush(host, self.holder, self.state, space)
            }
            _ => Ok(()),
        }
    }

    /// The flush of the context at work, if an element wants it. Also an error if one of
    /// another context failed before.
    pub fn finish(&mut self, host: &H) -> Result<(), FlushFailed> {
        let settled = self.settle(host);
        if core::mem::take(&mut self.failed) {
            return Err(FlushFailed);
        }
        settled
    }
}
