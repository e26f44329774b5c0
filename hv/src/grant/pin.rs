// SPDX-License-Identifier: GPL-2.0-only
//! Pins: uses of a grant reference, whoever makes them and whatever for.
//!
//! The one place where pin counts and `GTF_reading`/`GTF_writing` change, always
//! together under the active entry's lock, and always with a page reference taken
//! before the pin and given back after it.

pub mod transitive;

use super::{
    OpenTable,
    active::{ActiveEntry, Part, PinKind, Pins},
    entry::{Granted, Head, Purpose, Request, SharedEntry},
    pin_error::PinError,
    table::{Frames, LockedEntry},
};
use crate::{
    addr::{Access, DomId, Gfn, GrantRef, Mfn},
    host::{Domain, Frame, Host, IoMemory, SharedPage},
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

/// The pins that an entry has when one more is added for the holder of `request`.
#[inline(always)]
fn admit<H: Host>(
    frames: &Frames<H>,
    granter: &H::Domain,
    entry: &LockedEntry<'_, H>,
    request: &Request,
    kind: PinKind,
) -> Result<Pins, PinError> {
    let active = &entry.active;
    if active.pins.is_empty() {
        Ok(Pins::one(kind, request.write))
    } else if active.holder == request.holder {
        let pins = active.pins.added(kind, request.write);
        pins.ok_or(PinError::TooMany)
    } else {
        let holder = active.holder;
        Err(other_holder(frames, granter, entry.index, *request, holder))
    }
}

// What seldom happens is out of line, and looks the entry up again instead of getting
// it by reference: so what the others work with needs not be in memory.

#[cold]
#[inline(never)]
fn other_holder<H: Host>(
    frames: &Frames<H>,
    granter: &H::Domain,
    index: usize,
    request: Request,
    holder: DomId,
) -> PinError {
    let shared = frames.shared_entry(granter, index);
    // Who was not granted anything learns nothing about who uses it.
    match shared.map(|shared| shared.check_grant(request)) {
        Some(Err(error)) => PinError::Entry(error),
        Some(Ok(())) | None => PinError::OtherHolder(holder),
    }
}

/// The in-use flags of an entry with these pins do not say all that the request needs.
#[inline(always)]
fn needs_flags(pins: Pins, request: &Request) -> bool {
    pins.is_empty() || (request.write && !pins.any_writing())
}

/// Sets the in-use flags if the pins do not have them set already.
#[inline(always)]
fn begin_use<D, P: SharedPage<D>>(
    shared: &SharedEntry<'_, D, P>,
    pins: Pins,
    request: Request,
) -> Result<Head, PinError> {
    if needs_flags(pins, &request) {
        shared.begin_use(request, pins).map_err(PinError::Entry)
    } else {
        Ok(shared.head())
    }
}

/// Takes back what [`begin_use`] did, when the use did not come about.
#[cold]
#[inline(never)]
fn give_up<H: Host>(
    frames: &Frames<H>,
    granter: &H::Domain,
    index: usize,
    pins: Pins,
    error: PinError,
) -> PinError {
    if let Some(shared) = frames.shared_entry(granter, index) {
        shared.end_use(pins);
    }
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

/// What is known of a page since it was pinned.
///
/// Not a part of the result, which would be either this or an error, and so in
/// memory.
pub(super) struct Seen {
    /// Its number.
    pub mfn: Mfn,
    /// The flags of its entry.
    pub flags: u16,
    /// The part of it that is granted.
    pub part: Part,
}

impl Seen {
    /// Before it was pinned.
    pub const fn nothing() -> Self {
        Self {
            mfn: Mfn::new(u64::MAX),
            flags: 0,
            part: Part::WHOLE,
        }
    }
}

/// Adds a use to a locked entry that grants a page of `granter` itself: `pins` is
/// what [`admit`] said. `fail` makes the caller's error.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "it is a part of two functions")]
fn pin_entry<H: Host, E>(
    host: &H,
    frames: &Frames<H>,
    granter: &H::Domain,
    entry: &mut LockedEntry<'_, H>,
    gref: GrantRef,
    request: &Request,
    usage: &Usage,
    pins: Pins,
    seen: &mut Seen,
    fail: impl Fn(PinError) -> E,
) -> Result<H::Frame, E> {
    let index = entry.index;
    if !entry.active.pins.is_empty() && !needs_flags(entry.active.pins, request) {
        return match pin_beside(host, granter, entry, request, usage, pins, seen) {
            Ok(frame) => Ok(frame),
            Err(error) => Err(fail(error)),
        };
    }
    if !entry.active.pins.is_empty() {
        let active = &mut *entry.active;
        return match pin_again(host, frames, granter, index, active, *request, *usage) {
            Ok((frame, head)) => {
                seen.mfn = active.mfn;
                seen.flags = head.flags;
                seen.part = active.part;
                Ok(frame)
            }
            Err(error) => Err(fail(error)),
        };
    }
    let give_up = |error| fail(give_up(frames, granter, index, Pins::NONE, error));
    let head = match entry.shared.begin_use(*request, Pins::NONE) {
        Ok(head) => head,
        Err(error) => return Err(fail(PinError::Entry(error))),
    };
    let (gfn, part) = match granted_part(entry.shared.granted(head)) {
        Ok(granted) => granted,
        Err(error) => return Err(give_up(error)),
    };
    let frame = match host.pin_gfn(granter, gfn, usage.access(), usage.take_type, usage.io) {
        Ok(frame) => frame,
        Err(error) => return Err(give_up(PinError::Frame(error))),
    };
    seen.mfn = frame.mfn();
    seen.flags = head.flags;
    seen.part = part;
    *entry.active = ActiveEntry {
        mfn: seen.mfn,
        pins,
        origin_gref: gref,
        origin: granter.id(),
        holder: request.holder,
        part,
    };
    Ok(frame)
}

/// The same if the entry is in use, and no flag has to be set.
#[inline(always)]
fn pin_beside<H: Host>(
    host: &H,
    granter: &H::Domain,
    entry: &mut LockedEntry<'_, H>,
    request: &Request,
    usage: &Usage,
    pins: Pins,
    seen: &mut Seen,
) -> Result<H::Frame, PinError> {
    let active = &mut *entry.active;
    if request.purpose == Purpose::Map && active.part.is_for_copies_only() {
        return Err(PinError::ForCopiesOnly);
    }
    let frame = host.pin_again(granter, active.mfn, usage.write, usage.take_type);
    let frame = frame.map_err(PinError::Frame)?;
    active.pins = pins;
    seen.mfn = active.mfn;
    seen.flags = entry.shared.head().flags;
    seen.part = active.part;
    Ok(frame)
}

/// The same if the entry is in use already.
#[inline(never)]
fn pin_again<H: Host>(
    host: &H,
    frames: &Frames<H>,
    granter: &H::Domain,
    index: usize,
    active: &mut ActiveEntry,
    request: Request,
    usage: Usage,
) -> Result<(H::Frame, Head), PinError> {
    let pins = active.pins.added(usage.kind, usage.write);
    let pins = pins.ok_or(PinError::TooMany)?;
    let entries = frames.entries();
    let shared = frames.shared_entry(granter, index);
    let shared = &shared.ok_or(PinError::OutOfRange { entries })?;
    if request.purpose == Purpose::Map && active.part.is_for_copies_only() {
        return Err(PinError::ForCopiesOnly);
    }
    let first_writer = request.write && !active.pins.any_writing();
    let head = begin_use(shared, active.pins, request)?;
    let frame = if first_writer && request.purpose == Purpose::Copy {
        pin_same(host, granter, shared, active, usage, head)
    } else {
        host.pin_again(granter, active.mfn, usage.write, usage.take_type)
            .map_err(PinError::Frame)
    };
    let frame = frame.map_err(|error| give_up(frames, granter, index, active.pins, error))?;
    active.pins = pins;
    Ok((frame, head))
}

/// Pins what the entry grants now, if that is what is in use: so far it may have
/// been granted for reading only.
fn pin_same<H: Host>(
    host: &H,
    granter: &H::Domain,
    shared: &SharedEntry<'_, H::Domain, H::SharedPage>,
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
    pin_in(host, granter, frames, gref, holder, usage, seen, fail)
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
        host, frames, granter, entry, gref, request, usage, pins, seen, fail,
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
        table: &OpenTable<'_, H>,
        gref: GrantRef,
        holder: DomId,
        usage: Usage,
    ) -> Result<Self, PinError> {
        let granter = table.granter;
        let frames = table.frames.as_deref().ok_or(PinError::NoTable)?;
        let seen = &mut Seen::nothing();
        let frame = pin_in(host, granter, frames, gref, holder, &usage, seen, |error| {
            error
        })?;
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
        host, frames, granter, entry, gref, request, usage, pins, seen, fail,
    )
}
