// SPDX-License-Identifier: GPL-2.0-only
//! A domain whose pages are pinned, several one after the other.

use super::table::Frames as TableFrames;
use crate::{
    addr::{Access, Gfn},
    host::{Domain, FrameError, Frames, Host, Locks},
    sync::ReadWriteLock,
};

type ReadGuard<'a, H> =
    <<H as Locks>::ReadWrite<TableFrames<H>> as ReadWriteLock<TableFrames<H>>>::ReadGuard<'a>;

/// A domain as granter, and its table if it has one, which is locked for reading while it
/// is open. Or just an owner of pages: then it stays closed.
pub struct OpenTable<'a, H: Host> {
    pub(super) granter: &'a H::Domain,
    pub(super) frames: Option<ReadGuard<'a, H>>,
    /// Where in its address space pages have been found.
    pub(super) near: <H as Frames>::Near,
}

impl<'a, H: Host> OpenTable<'a, H> {
    /// Takes the table's lock for reading, until the value is dropped.
    #[inline]
    pub fn of(granter: &'a H::Domain) -> Self {
        let mut table = Self::closed(granter);
        table.open();
        table
    }

    /// Takes no lock: no reference can be pinned until it is open.
    #[inline]
    pub fn closed(granter: &'a H::Domain) -> Self {
        Self {
            granter,
            frames: None,
            near: Default::default(),
        }
    }

    /// Takes the table's lock for reading, until the value is dropped or closed.
    #[inline]
    pub fn open(&mut self) {
        self.frames = self.granter.state().map(|state| state.grants.read());
    }

    /// Gives the lock back.
    #[inline]
    pub fn close(&mut self) {
        self.frames = None;
    }

    /// Gives the lock back while `work` is done, which may take others of its kind.
    pub fn while_closed<R>(&mut self, work: impl FnOnce(&'a H::Domain) -> R) -> R {
        self.close();
        let result = work(self.granter);
        self.open();
        result
    }

    /// Whose table it is.
    pub fn granter(&self) -> &'a H::Domain {
        self.granter
    }

    /// Pins a page of the owner's by its number, no reference asked. See
    /// [`Frames::pin_near`].
    #[inline(always)]
    pub fn pin_page(
        &mut self,
        host: &H,
        gfn: Gfn,
        access: Access,
        take_type: bool,
    ) -> Result<H::Frame, FrameError> {
        host.pin_near(self.granter, gfn, access, take_type, &mut self.near)
    }
}
