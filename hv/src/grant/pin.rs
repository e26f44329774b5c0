// SPDX-License-Identifier: GPL-2.0-only
//! Pins: uses of a grant reference, whoever makes them and whatever for.
//!
//! The one place where pin counts and `GTF_reading`/`GTF_writing` change, always
//! together under the active entry's lock, and always with a page reference taken
//! before the pin and given back after it.

use super::{
    active::{ActiveEntry, Part, PinKind, Pins},
    entry::{EntryError, Granted, Head, Purpose, Request, SharedEntry},
    table::LockedEntry,
};
use crate::{
    addr::{Access, DomId, Gfn, GrantRef, Mfn},
    host::{Domain, Frame, FrameError, Host, IoMemory, SharedPage},
};

/// How often a transitive grant is resolved again because it changed meanwhile.
const MAX_ATTEMPTS: u32 = 5;

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
    /// Holder's side: the grant is for copies only, and in use.
    ForCopiesOnly,
    /// Granter's side: the part of the page begins outside of it.
    BadPart,
    /// Transitive grants are not allowed, or not here.
    NotTransitive,
    /// Granter's side: a transitive grant leads to a domain that is not there.
    NoOrigin,
    /// Granter's side: a transitive grant kept changing. The holder may try again.
    Changed,
    /// Granter's side: the entry names another page, or part of it, than is in use.
    OtherPage,
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

/// The pins that an entry has when one more is added for `holder`.
#[inline(always)]
fn admit<H: Host>(
    entry: &LockedEntry<'_, H>,
    request: Request,
    usage: Usage,
) -> Result<Pins, PinError> {
    let pins = entry.active.pins;
    if !pins.is_empty() && entry.active.holder != request.holder {
        return Err(other_holder(entry.shared, entry.active.holder, request));
    }
    pins.added(usage.kind, usage.write).ok_or(PinError::TooMany)
}

// What seldom happens is out of line, and gets the entry by value: nothing of it has
// to be in memory for the others.

#[cold]
#[inline(never)]
fn other_holder<D, P: SharedPage<D>>(
    shared: SharedEntry<'_, D, P>,
    holder: DomId,
    request: Request,
) -> PinError {
    // Who was not granted anything learns nothing about who uses it.
    match shared.check_grant(request) {
        Ok(()) => PinError::OtherHolder(holder),
        Err(error) => PinError::Entry(error),
    }
}

/// Sets the in-use flags if the pins do not have them set already.
#[inline(always)]
fn begin_use<D, P: SharedPage<D>>(
    shared: SharedEntry<'_, D, P>,
    pins: Pins,
    request: Request,
) -> Result<Head, PinError> {
    let flags_needed = pins.is_empty() || (request.write && !pins.any_writing());
    if flags_needed {
        shared.begin_use(request, pins).map_err(PinError::Entry)
    } else {
        Ok(shared.head())
    }
}

/// Takes back what [`begin_use`] did, when the use did not come about.
#[cold]
#[inline(never)]
fn give_up<D, P: SharedPage<D>>(
    shared: SharedEntry<'_, D, P>,
    pins: Pins,
    error: PinError,
) -> PinError {
    shared.end_use(pins);
    error
}

/// The page and the part of it that an unpinned entry grants.
#[inline(always)]
fn granted_part(granted: Granted) -> Result<(Gfn, Part), PinError> {
    match granted {
        Granted::Page(gfn) => Ok((gfn, Part::WHOLE)),
        Granted::SubPage {
            gfn,
            offset,
            length,
        } => Part::sub_page(offset, length)
            .map(|part| (gfn, part))
            .ok_or(PinError::BadPart),
        Granted::Transitive { .. } => Err(PinError::NotTransitive),
    }
}

/// A use that was added to an entry, and what the entry says of it.
pub(super) struct Pinned<F> {
    /// The page.
    pub frame: F,
    /// Its number.
    pub mfn: Mfn,
    /// The entry's flags.
    pub head: Head,
}

/// Adds a use to a locked entry that grants a page of `granter` itself: `pins` is
/// what [`admit`] said.
#[inline(always)]
fn pin_entry<H: Host>(
    host: &H,
    granter: &H::Domain,
    entry: &mut LockedEntry<'_, H>,
    gref: GrantRef,
    request: Request,
    usage: Usage,
    pins: Pins,
) -> Result<Pinned<H::Frame>, PinError> {
    let (shared, active) = (entry.shared, &mut *entry.active);
    if !active.pins.is_empty() {
        return pin_entry_again(host, granter, shared, active, request, usage, pins);
    }
    let head = begin_use(shared, Pins::NONE, request)?;
    let (gfn, part) =
        granted_part(shared.granted(head)).map_err(|error| give_up(shared, Pins::NONE, error))?;
    let frame = host
        .pin_gfn(granter, gfn, usage.access(), usage.take_type, usage.io)
        .map_err(|error| give_up(shared, Pins::NONE, PinError::Frame(error)))?;
    let mfn = frame.mfn();
    *active = ActiveEntry {
        mfn,
        pins,
        origin_gref: gref,
        origin: granter.id(),
        holder: request.holder,
        part,
    };
    Ok(Pinned { frame, mfn, head })
}

/// The same if the entry is in use already.
#[inline(never)]
fn pin_entry_again<H: Host>(
    host: &H,
    granter: &H::Domain,
    shared: SharedEntry<'_, H::Domain, H::SharedPage>,
    active: &mut ActiveEntry,
    request: Request,
    usage: Usage,
    pins: Pins,
) -> Result<Pinned<H::Frame>, PinError> {
    if request.purpose == Purpose::Map && active.part.is_for_copies_only() {
        return Err(PinError::ForCopiesOnly);
    }
    let first_writer = request.write && !active.pins.any_writing();
    let head = begin_use(shared, active.pins, request)?;
    let frame = if first_writer && request.purpose == Purpose::Copy {
        pin_same(host, granter, shared, active, usage, head)
    } else {
        host.pin_again(granter, active.mfn, usage.take_type)
            .map_err(PinError::Frame)
    };
    let frame = frame.map_err(|error| give_up(shared, active.pins, error))?;
    active.pins = pins;
    Ok(Pinned {
        frame,
        mfn: active.mfn,
        head,
    })
}

/// Pins what the entry grants now, if that is what is in use: so far it may have
/// been granted for reading only.
fn pin_same<H: Host>(
    host: &H,
    granter: &H::Domain,
    shared: SharedEntry<'_, H::Domain, H::SharedPage>,
    active: &ActiveEntry,
    usage: Usage,
    head: Head,
) -> Result<H::Frame, PinError> {
    let (gfn, part) = granted_part(shared.granted(head))?;
    let frame = host
        .pin_gfn(granter, gfn, usage.access(), usage.take_type, usage.io)
        .map_err(PinError::Frame)?;
    if frame.mfn() == active.mfn && part == active.part {
        Ok(frame)
    } else {
        Err(PinError::OtherPage)
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
    let frames = state.grants.read();
    let Ok(mut entry) = frames.lock_entry(host, granter, gref) else {
        log::error!("{} lost its entry {:#x}", granter.id(), gref.0);
        return;
    };
    if !end_use(&mut entry, kind, write) {
        log::error!("{} ref {:#x}: pin count below 0", granter.id(), gref.0);
    }
}

/// Pins and flags of a locked entry with one use less. False: there was none.
#[inline(always)]
fn end_use<H: Host>(entry: &mut LockedEntry<'_, H>, kind: PinKind, write: bool) -> bool {
    let Some(pins) = entry.active.pins.removed(kind, write) else {
        return false;
    };
    entry.active.pins = pins;
    entry.shared.end_use(pins);
    true
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
/// Takes the granter's table lock for reading, and the entry's lock.
#[inline(always)]
pub(super) fn pin_to_map<H: Host>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    holder: DomId,
    usage: Usage,
) -> Result<Pinned<H::Frame>, PinError> {
    let table = &granter.state().ok_or(PinError::NoTable)?.grants;
    let frames = table.read();
    let mut entry = frames
        .lock_entry(host, granter, gref)
        .map_err(|entries| PinError::OutOfRange { entries })?;
    let request = Request {
        holder,
        purpose: Purpose::Map,
        write: usage.write,
    };
    let pins = admit(&entry, request, usage)?;
    host.speculation_barrier();
    pin_entry(host, granter, &mut entry, gref, request, usage, pins)
}

impl<F: Frame> Pin<F> {
    /// Pins `gref` of `granter` for `holder`, to map it. On error nothing has
    /// changed.
    ///
    /// Takes the granter's table lock for reading, and the entry's lock.
    pub fn take<H: Host<Frame = F>>(
        host: &H,
        granter: &H::Domain,
        gref: GrantRef,
        holder: DomId,
        usage: Usage,
    ) -> Result<Self, PinError> {
        let pinned = pin_to_map(host, granter, gref, holder, usage)?;
        Ok(Self {
            frame: pinned.frame,
            gref,
            granter: granter.id(),
            kind: usage.kind,
            write: usage.write,
        })
    }

    /// Gives the use back: pin count and flags first, then the page reference.
    ///
    /// `granter` must be the domain with the id [`Self::granter`]. Takes its table
    /// lock for reading, and the entry's lock.
    #[inline(always)]
    pub fn release<H: Host<Frame = F>>(self, host: &H, granter: &H::Domain) {
        if self.write {
            host.mark_dirty(granter, &self.frame);
        }
        unpin(host, granter, self.gref, self.kind, self.write);
    }
}

/// A grant in use as source or destination of copies. Must end in
/// [`CopyPin::release`].
#[derive(Debug)]
#[must_use = "a pin that is not released keeps the granter's page for ever"]
pub struct CopyPin<F> {
    /// The use of the reference by which the page was granted at first.
    pin: Pin<F>,
    part: Part,
    /// The reference of the transitive grant that led there, if any, which is in
    /// use as well.
    via: Option<GrantRef>,
}

/// How a look at an entry ended.
enum Looked<F> {
    /// It grants a page of the granter's own, which is pinned now.
    Pinned(CopyPin<F>),
    /// It grants on what this one granted the granter; nothing is pinned.
    Transitive(DomId, GrantRef),
}

impl<F: Frame> CopyPin<F> {
    /// Pins `gref` of `granter` so that `holder` can copy from it, or to it for
    /// `write`. On error nothing has changed.
    ///
    /// A transitive grant is resolved first, with no lock held; then both pins
    /// are there, or none. Only one step is allowed: what a transitive grant
    /// leads to must not be one itself.
    ///
    /// Takes the table locks of the granters for reading, and the entries' locks,
    /// one after the other.
    #[inline(never)]
    pub fn take<H: Host<Frame = F>>(
        host: &H,
        granter: &H::Domain,
        gref: GrantRef,
        holder: DomId,
        write: bool,
    ) -> Result<Self, PinError> {
        match look(host, granter, gref, holder, write)? {
            Looked::Pinned(pin) => Ok(pin),
            Looked::Transitive(..) => Self::take_transitive(host, granter, gref, holder, write),
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
        for _ in 0..MAX_ATTEMPTS {
            let (origin, origin_gref) = match look(host, granter, gref, holder, write)? {
                Looked::Pinned(pin) => return Ok(pin),
                Looked::Transitive(origin, origin_gref) => (origin, origin_gref),
            };
            if !host.transitive_allowed() || origin == granter.id() {
                return Err(PinError::NotTransitive);
            }
            let origin = host.domain(origin).ok_or(PinError::NoOrigin)?;
            let direct = match look(host, &origin, origin_gref, granter.id(), write)? {
                Looked::Pinned(pin) => pin,
                Looked::Transitive(..) => return Err(PinError::NotTransitive),
            };
            match pin_transitive(host, granter, gref, holder, write, &direct) {
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
            Some(gref) => self.release_transitive(host, granter, gref),
        }
    }

    #[cold]
    #[inline(never)]
    fn release_transitive<H: Host<Frame = F>>(self, host: &H, granter: &H::Domain, gref: GrantRef) {
        unpin(host, granter, gref, self.pin.kind, self.pin.write);
        match host.domain(self.pin.granter) {
            Some(origin) => self.pin.release(host, &origin),
            // It cannot go away while its page is referenced.
            None => log::error!("{} vanished while pinned", self.pin.granter),
        }
    }
}

fn copy_usage(write: bool) -> Usage {
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
) -> Result<Looked<H::Frame>, PinError> {
    let table = &granter.state().ok_or(PinError::NoTable)?.grants;
    let frames = table.read();
    let mut entry = frames
        .lock_entry(host, granter, gref)
        .map_err(|entries| PinError::OutOfRange { entries })?;
    let usage = copy_usage(write);
    let request = Request {
        holder,
        purpose: Purpose::Copy,
        write,
    };
    let pins = admit(&entry, request, usage)?;
    host.speculation_barrier();
    if let Some((granter, gref)) = entry.shared.transitive() {
        entry.shared.check_grant(request).map_err(PinError::Entry)?;
        return Ok(Looked::Transitive(granter, gref));
    }
    let pinned = pin_entry(host, granter, &mut entry, gref, request, usage, pins)?;
    Ok(Looked::Pinned(CopyPin {
        pin: Pin {
            frame: pinned.frame,
            gref,
            granter: granter.id(),
            kind: usage.kind,
            write,
        },
        part: entry.active.part,
        via: None,
    }))
}

/// Pins the transitive entry that led to `direct`, if it still does.
fn pin_transitive<H: Host>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    holder: DomId,
    write: bool,
    direct: &CopyPin<H::Frame>,
) -> Result<(), PinError> {
    let table = &granter.state().ok_or(PinError::NoTable)?.grants;
    let frames = table.read();
    let mut entry = frames
        .lock_entry(host, granter, gref)
        .map_err(|entries| PinError::OutOfRange { entries })?;
    let usage = copy_usage(write);
    let request = Request {
        holder,
        purpose: Purpose::Copy,
        write,
    };
    let pins = admit(&entry, request, usage)?;
    host.speculation_barrier();
    let before: ActiveEntry = *entry.active;
    let wanted = ActiveEntry {
        mfn: direct.frame().mfn(),
        pins,
        origin_gref: direct.pin.gref,
        origin: direct.pin.granter,
        holder,
        part: direct.part.for_copies_only(),
    };
    let same = before.mfn == wanted.mfn
        && before.origin == wanted.origin
        && before.origin_gref == wanted.origin_gref
        && before.part == wanted.part;
    if !before.pins.is_empty() && !same {
        return Err(PinError::Changed);
    }
    let head = begin_use(entry.shared, before.pins, request)?;
    let leads_there = Granted::Transitive {
        granter: wanted.origin,
        gref: wanted.origin_gref,
    };
    if entry.shared.granted(head) != leads_there {
        entry.shared.end_use(before.pins);
        return Err(PinError::Changed);
    }
    *entry.active = wanted;
    Ok(())
}
