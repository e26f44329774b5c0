// SPDX-License-Identifier: GPL-2.0-only
//! A granter's table that stays open while several references are pinned or given back.

use super::table::Frames;
use crate::{
    host::{Domain, Host, Locks},
    sync::ReadWriteLock,
};

type ReadGuard<'a, H> =
    <<H as Locks>::ReadWrite<Frames<H>> as ReadWriteLock<Frames<H>>>::ReadGuard<'a>;

/// A domain as granter, and its table if it has one, which is locked for reading.
pub struct OpenTable<'a, H: Host> {
    pub(super) granter: &'a H::Domain,
    pub(super) frames: Option<ReadGuard<'a, H>>,
}

impl<'a, H: Host> OpenTable<'a, H> {
    /// Takes the table's lock for reading, until the value is dropped.
    #[inline]
    pub fn of(granter: &'a H::Domain) -> Self {
        Self {
            granter,
            frames: granter.state().map(|state| state.grants.read()),
        }
    }

    /// Gives the lock back while `work` is done, which may take others of its kind.
    pub fn while_closed<R>(&mut self, work: impl FnOnce(&'a H::Domain) -> R) -> R {
        self.frames = None;
        let result = work(self.granter);
        *self = Self::of(self.granter);
        result
    }

    /// Whose table it is.
    pub fn granter(&self) -> &'a H::Domain {
        self.granter
    }
}
