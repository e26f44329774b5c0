// SPDX-License-Identifier: GPL-2.0-only
//! Pins for copies, which end with the call that made them. Only these can be of a part of
//! a page.

use super::{
    Pin, Usage, Way,
    entry_use::{Seen, admit, pin_entry},
    transitive, unpin,
};
use crate::{
    addr::{DomId, GrantRef},
    grant::{
        active::{Part, PinKind},
        entry::{Purpose, Request},
        pin_error::PinError,
    },
    host::{Domain, Frame, Host, IoMemory},
};

/// How often a transitive grant is resolved again because it changed meanwhile.
pub(super) const MAX_ATTEMPTS: u32 = 5;

/// A grant in use as source or destination of copies. Must end in
/// [`CopyPin::release`].
#[derive(Debug)]
#[must_use = "a pin that is not released keeps the granter's page for ever"]
pub struct CopyPin<F> {
    /// The use of the reference by which the page was granted at first.
    pub(super) pin: Pin<F>,
    pub(super) part: Part,
    /// The reference of the transitive grant that led there, if any, which is in
    /// use as well.
    via: Option<GrantRef>,
}

/// Why a look at an entry pinned nothing.
enum NotPinned {
    Failed(PinError),
    /// It grants on what this one granted the granter.
    Transitive(DomId, GrantRef),
}

impl From<PinError> for NotPinned {
    fn from(error: PinError) -> Self {
        Self::Failed(error)
    }
}

impl<F: Frame> CopyPin<F> {
    /// Pins `gref` of `granter` so that `holder` can copy from it, or to it for
    /// `write`, and passes the pin to `keep`. On error, of which `fail` makes the
    /// caller's, nothing has changed.
    ///
    /// A transitive grant is resolved first, with no lock held; then both pins
    /// are there, or none. Only one step is allowed: what a transitive grant
    /// leads to must not be one itself.
    ///
    /// Takes the table locks of the granters for reading, and the entries' locks,
    /// one after the other.
    #[inline(always)]
    pub fn take<H: Host<Frame = F>, E>(
        host: &H,
        granter: &H::Domain,
        gref: GrantRef,
        holder: DomId,
        write: bool,
        keep: impl FnOnce(Self),
        fail: impl Fn(PinError) -> E,
    ) -> Result<(), E> {
        let seen = &mut Seen::nothing();
        match look(host, granter, gref, holder, write, seen) {
            Ok(frame) => keep(Self::direct::<H>(frame, granter, gref, write, seen)),
            Err(NotPinned::Failed(error)) => return Err(fail(error)),
            Err(NotPinned::Transitive(..)) => {
                match Self::take_transitive(host, granter, gref, holder, write) {
                    Ok(pin) => keep(pin),
                    Err(error) => return Err(fail(error)),
                }
            }
        }
        Ok(())
    }

    /// The pin of a page that is the granter's own.
    #[inline(always)]
    fn direct<H: Host<Frame = F>>(
        frame: F,
        granter: &H::Domain,
        gref: GrantRef,
        write: bool,
        seen: &Seen,
    ) -> Self {
        Self {
            pin: Pin {
                frame,
                gref,
                granter: granter.id(),
                way: Way::Direct(PinKind::Cpu),
                write,
            },
            part: seen.part,
            via: None,
        }
    }

    #[cold]
    #[inline(never)]
    fn take_transitive<H: Host<Frame = F>>(
        host: &H,
        granter: &H::Domain,
        gref: GrantRef,
        holder: DomId,
        write: bool,
    ) -> Result<Self, PinError> {
        let seen = &mut Seen::nothing();
        for _ in 0..MAX_ATTEMPTS {
            let (origin, origin_gref) = match look(host, granter, gref, holder, write, seen) {
                Ok(frame) => return Ok(Self::direct::<H>(frame, granter, gref, write, seen)),
                Err(NotPinned::Failed(error)) => return Err(error),
                Err(NotPinned::Transitive(origin, origin_gref)) => (origin, origin_gref),
            };
            if !host.transitive_allowed() || origin == granter.id() {
                return Err(PinError::NotTransitive);
            }
            let origin = host.domain(origin).ok_or(PinError::NoOrigin)?;
            let direct = match look(host, &origin, origin_gref, granter.id(), write, seen) {
                Ok(frame) => Self::direct::<H>(frame, &origin, origin_gref, write, seen),
                Err(NotPinned::Failed(error)) => return Err(error),
                Err(NotPinned::Transitive(..)) => return Err(PinError::NotTransitive),
            };
            match transitive::pin_middle_to_copy(host, granter, gref, holder, &direct) {
                Ok(()) => {
                    return Ok(Self {
                        via: Some(gref),
                        ..direct
                    });
                }
                Err(error) => {
                    direct.release(host, &origin);
                    if error != PinError::Changed {
                        return Err(error);
                    }
                }
            }
        }
        Err(PinError::Changed)
    }

    /// The page.
    pub fn frame(&self) -> &F {
        &self.pin.frame
    }

    /// The part of it that is granted.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Gives the uses back, then the page reference. `granter` is the domain that
    /// [`Self::take`] was called for.
    #[inline(always)]
    pub fn release<H: Host<Frame = F>>(self, host: &H, granter: &H::Domain) {
        match self.via {
            None => self.pin.release(host, granter),
            Some(via) => release_transitive(host, granter, via, self.pin),
        }
    }
}

/// Gives back both uses of a transitive grant: that of `via`, which led to the page,
/// and `pin`.
#[cold]
#[inline(never)]
fn release_transitive<H: Host>(host: &H, granter: &H::Domain, via: GrantRef, pin: Pin<H::Frame>) {
    unpin(host, granter, via, pin.kind(), pin.write);
    match host.domain(pin.granter) {
        Some(origin) => pin.release(host, &origin),
        // It cannot go away while its page is referenced.
        None => log::error!("{} vanished while pinned", pin.granter),
    }
}

pub(super) fn copy_usage(write: bool) -> Usage {
    Usage {
        kind: PinKind::Cpu,
        write,
        take_type: write,
        io: IoMemory::Refused,
    }
}

/// Pins an entry for a copy, unless it is a transitive one.
#[inline(always)]
fn look<H: Host>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    holder: DomId,
    write: bool,
    seen: &mut Seen,
) -> Result<H::Frame, NotPinned> {
    let table = &granter.state().ok_or(PinError::NoTable)?.grants;
    let frames = &*table.read();
    let entry = &mut frames
        .lock_entry(host, granter, gref)
        .map_err(|entries| PinError::OutOfRange { entries })?;
    let usage = &copy_usage(write);
    let request = &Request {
        holder,
        purpose: Purpose::Copy,
        write,
    };
    let pins = admit(frames, granter, entry, request, usage.kind)?;
    host.speculation_barrier();
    if let Some((granter, gref)) = entry.shared.transitive() {
        let granted = entry.shared.check_grant(*request);
        granted.map_err(PinError::Entry)?;
        return Err(NotPinned::Transitive(granter, gref));
    }
    let fail = NotPinned::Failed;
    pin_entry(
        host, frames, granter, entry, gref, request, usage, pins, seen, None, fail,
    )
}
