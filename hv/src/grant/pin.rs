// SPDX-License-Identifier: GPL-2.0-only
//! Taking and giving back a use of a grant reference.
//!
//! The one place where pin counts and `GTF_reading`/`GTF_writing` change, always
//! together under the active entry's lock, and always with a page reference taken
//! before the pin and given back after it.

use super::entry::{EntryError, PinKind};
use crate::{
    addr::{Access, DomId, GrantRef},
    host::{Domain, Frame, FrameError, Host},
};

/// What a pin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU or device.
    pub kind: PinKind,
    /// Writing as well as reading.
    pub write: bool,
    /// Take a writable-type reference with the page reference.
    pub take_type: bool,
}

/// Why a reference could not be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinError {
    /// Holder's side: the reference is outside the table.
    OutOfRange {
        /// Entries in the table.
        entries: u32,
    },
    /// The domain has no grant table.
    NoTable,
    /// The entry does not permit it.
    Entry(EntryError),
    /// Another domain uses the reference at the moment.
    OtherHolder(DomId),
    /// Too many uses of one kind.
    TooMany,
    /// Granter's side: the frame.
    Frame(FrameError),
}

/// One use of a grant reference. Must end in [`Pin::release`].
#[derive(Debug)]
#[must_use = "a pin that is not released keeps the granter's page for ever"]
pub struct Pin<F> {
    frame: F,
    gref: GrantRef,
    granter: DomId,
    kind: PinKind,
    write: bool,
}

impl<F: Frame> Pin<F> {
    /// The page.
    pub fn frame(&self) -> &F {
        &self.frame
    }

    /// The reference.
    pub fn gref(&self) -> GrantRef {
        self.gref
    }

    /// Whose reference.
    pub fn granter(&self) -> DomId {
        self.granter
    }

    /// Writing was asked for.
    pub fn is_writing(&self) -> bool {
        self.write
    }
}

impl<F: Frame> Pin<F> {
    /// Pins `gref` of `granter` for `holder`. Returns the cache attribute flags of
    /// the entry with it. On error nothing has changed.
    ///
    /// Takes the granter's table lock for reading, and the entry's lock.
    pub fn take<H: Host<Frame = F>>(
        host: &H,
        granter: &H::Domain,
        gref: GrantRef,
        holder: DomId,
        usage: Usage,
    ) -> Result<(Self, u16), PinError> {
        let table = &granter.state().ok_or(PinError::NoTable)?.grants;
        let frames = table.read();
        let mut entry = frames
            .lock_entry(host, granter, gref)
            .map_err(|entries| PinError::OutOfRange { entries })?;
        let before = *entry.active;
        let pinned = !before.pins.is_empty();
        if pinned && before.holder != holder {
            // Who was not granted anything learns nothing about who uses it.
            entry.shared.check_grant(holder).map_err(PinError::Entry)?;
            return Err(PinError::OtherHolder(before.holder));
        }
        let pins = before
            .pins
            .added(usage.kind, usage.write)
            .ok_or(PinError::TooMany)?;
        host.speculation_barrier();

        let flags_needed = !pinned || (usage.write && !before.pins.any_writing());
        let cache_flags = if flags_needed {
            entry
                .shared
                .begin_use(holder, usage.write, pinned)
                .map_err(PinError::Entry)?
        } else {
            entry.shared.cache_flags()
        };
        let access = if usage.write {
            Access::READ_WRITE
        } else {
            Access::READ
        };
        let frame = if pinned {
            host.pin_again(granter, before.mfn, usage.take_type)
        } else {
            host.pin_gfn(granter, entry.shared.frame(), access, usage.take_type)
        };
        let frame = frame.map_err(|error| {
            entry.shared.end_use(before.pins);
            PinError::Frame(error)
        })?;
        entry.active.pins = pins;
        entry.active.holder = holder;
        entry.active.mfn = frame.mfn();
        let pin = Self {
            frame,
            gref,
            granter: granter.id(),
            kind: usage.kind,
            write: usage.write,
        };
        Ok((pin, cache_flags))
    }

    /// Gives the use back: pin count and flags first, then the page reference.
    ///
    /// `granter` must be the domain with the id [`Self::granter`]. Takes its table
    /// lock for reading, and the entry's lock.
    pub fn release<H: Host<Frame = F>>(self, host: &H, granter: &H::Domain) {
        if self.write {
            host.mark_dirty(granter, &self.frame);
        }
        let Some(state) = granter.state() else {
            return;
        };
        let frames = state.grants.read();
        let Ok(mut entry) = frames.lock_entry(host, granter, self.gref) else {
            log::error!("{} lost its entry {:#x}", granter.id(), self.gref.0);
            return;
        };
        match entry.active.pins.removed(self.kind, self.write) {
            Some(pins) => {
                entry.active.pins = pins;
                entry.shared.end_use(pins);
            }
            None => log::error!("{} ref {:#x}: pin count below 0", granter.id(), self.gref.0),
        }
    }
}
