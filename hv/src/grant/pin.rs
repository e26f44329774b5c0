// SPDX-License-Identifier: GPL-2.0-only
//! Pins: uses of a grant reference, whoever makes them and whatever for.
//!
//! The one place where pin counts and `GTF_reading`/`GTF_writing` change, always
//! together under the active entry's lock, and always with a page reference taken
//! before the pin and given back after it.

mod copy;
mod entry_use;
pub mod transitive;

use super::{
    OpenTable,
    active::PinKind,
    entry::{Purpose, Request},
    pin_error::PinError,
    table::Frames,
};
use crate::{
    addr::{Access, DomId, GrantRef, Mfn},
    host::{Domain, Frame, Host, IoMemory},
};
pub use copy::CopyPin;
use copy::{MAX_ATTEMPTS, copy_usage};
pub(super) use entry_use::Seen;
use entry_use::{admit, begin_use, end_use, pin_entry};

/// What a pin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU or device.
    pub kind: PinKind,
    /// Writing as well as reading.
    pub write: bool,
    /// Take a writable-type reference with the page reference.
    pub take_type: bool,
    /// Whether it may be device memory.
    pub io: IoMemory,
}

impl Usage {
    fn access(self) -> Access {
        if self.write {
            Access::READ_WRITE
        } else {
            Access::READ
        }
    }
}

/// How a pin came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a reference that grants the page itself.
    Direct(PinKind),
    /// For devices, by a transitive one.
    Transitive,
}

/// One use of a grant reference. Must end in [`Pin::release`], or in
/// [`transitive::release`].
#[derive(Debug)]
#[must_use = "a pin that is not released keeps the granter's page for ever"]
pub struct Pin<F> {
    frame: F,
    gref: GrantRef,
    granter: DomId,
    way: Way,
    write: bool,
}

impl<F: Frame> Pin<F> {
    /// The reference is a transitive one: the page is another domain's.
    pub fn is_transitive(&self) -> bool {
        self.way == Way::Transitive
    }

    fn kind(&self) -> PinKind {
        match self.way {
            Way::Direct(kind) => kind,
            Way::Transitive => PinKind::Device,
        }
    }

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
}

/// Takes one use of an entry back: pins and flags.
///
/// Takes the granter's table lock for reading, and the entry's lock.
#[inline(never)]
pub(super) fn unpin<H: Host>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    kind: PinKind,
    write: bool,
) {
    let Some(state) = granter.state() else {
        return;
    };
    unpin_in(host, granter, &state.grants.read(), gref, kind, write);
}

/// The same, with the table locked already.
#[inline(always)]
fn unpin_in<H: Host>(
    host: &H,
    granter: &H::Domain,
    frames: &Frames<H>,
    gref: GrantRef,
    kind: PinKind,
    write: bool,
) {
    let Ok(mut entry) = frames.lock_entry(host, granter, gref) else {
        log::error!("{} lost its entry {:#x}", granter.id(), gref.0);
        return;
    };
    if !end_use(&mut entry, kind, write) {
        log::error!("{} ref {:#x}: pin count below 0", granter.id(), gref.0);
    }
}

/// The same if the entry is in use by this holder, for this frame: a record may be
/// older than the domain that has the granter's id by now.
pub(super) fn unpin_if_held<H: Host>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    kind: PinKind,
    write: bool,
    (holder, mfn): (DomId, Mfn),
) {
    let Some(state) = granter.state() else {
        return;
    };
    let frames = state.grants.read();
    let Ok(mut entry) = frames.lock_entry(host, granter, gref) else {
        return;
    };
    if entry.active.holder == holder && entry.active.mfn == mfn {
        // There may be no use of this kind: then it was another mapping's.
        end_use(&mut entry, kind, write);
    }
}

/// Pins `gref` of `granter` for `holder`, to map it. On error nothing has changed.
///
/// For who keeps elsewhere what a [`Pin`] has besides the page. Ends in [`unpin`].
/// Takes the granter's table lock for reading, and the entry's lock. `fail` makes the
/// caller's error.
#[inline(always)]
pub(super) fn pin_to_map<H: Host, E>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    holder: DomId,
    usage: &Usage,
    seen: &mut Seen,
    fail: impl Fn(PinError) -> E,
) -> Result<H::Frame, E> {
    let Some(state) = granter.state() else {
        return Err(fail(PinError::NoTable));
    };
    let frames = &*state.grants.read();
    pin_in(host, granter, frames, gref, holder, usage, seen, None, fail)
}

/// The same, with the table locked already.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "it is a part of two functions")]
fn pin_in<H: Host, E>(
    host: &H,
    granter: &H::Domain,
    frames: &Frames<H>,
    gref: GrantRef,
    holder: DomId,
    usage: &Usage,
    seen: &mut Seen,
    near: Option<&mut H::Near>,
    fail: impl Fn(PinError) -> E,
) -> Result<H::Frame, E> {
    let entry = &mut match frames.lock_entry(host, granter, gref) {
        Ok(entry) => entry,
        Err(entries) => return Err(fail(PinError::OutOfRange { entries })),
    };
    let request = &Request {
        holder,
        purpose: Purpose::Map,
        write: usage.write,
    };
    let pins = match admit(frames, granter, entry, request, usage.kind) {
        Ok(pins) => pins,
        Err(error) => return Err(fail(error)),
    };
    host.speculation_barrier();
    pin_entry(
        host, frames, granter, entry, gref, request, usage, pins, seen, near, fail,
    )
}

impl<F: Frame> Pin<F> {
    /// Pins `gref` of a granter whose table is open for `holder`, to map it. On error
    /// nothing has changed.
    ///
    /// Takes the entry's lock.
    #[inline]
    pub fn take<H: Host<Frame = F>>(
        host: &H,
        table: &mut OpenTable<'_, H>,
        gref: GrantRef,
        holder: DomId,
        usage: Usage,
    ) -> Result<Self, PinError> {
        let OpenTable {
            granter,
            frames,
            near,
        } = table;
        let frames = frames.as_deref().ok_or(PinError::NoTable)?;
        let seen = &mut Seen::nothing();
        let near = (usage.io == IoMemory::Refused).then_some(near);
        let same = |error| error;
        let frame = pin_in(
            host, granter, frames, gref, holder, &usage, seen, near, same,
        )?;
        Ok(Self {
            frame,
            gref,
            granter: granter.id(),
            way: Way::Direct(usage.kind),
            write: usage.write,
        })
    }

    /// As [`Self::release`], with the granter's table open. Takes the entry's lock.
    pub fn release_to<H: Host<Frame = F>>(self, host: &H, table: &OpenTable<'_, H>) {
        let granter = table.granter;
        if self.write {
            host.mark_dirty(granter, &self.frame);
        }
        if let Some(frames) = &table.frames {
            unpin_in(host, granter, frames, self.gref, self.kind(), self.write);
        }
    }

    /// Gives the use back: pin count and flags first, then the page reference.
    ///
    /// `granter` must be the domain with the id [`Self::granter`], and the reference
    /// no transitive one. Takes its table lock for reading, and the entry's lock.
    #[inline(always)]
    pub fn release<H: Host<Frame = F>>(self, host: &H, granter: &H::Domain) {
        if self.write {
            host.mark_dirty(granter, &self.frame);
        }
        unpin(host, granter, self.gref, self.kind(), self.write);
    }
}
