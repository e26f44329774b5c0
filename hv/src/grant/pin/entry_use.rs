// SPDX-License-Identifier: GPL-2.0-only
//! Uses of one entry, which is locked: its pins, its in-use flags, and the page that it
//! grants. Either all of them change or none.

use super::Usage;
use crate::{
    addr::{DomId, Gfn, GrantRef, Mfn},
    grant::{
        active::{ActiveEntry, Part, PinKind, Pins},
        entry::{Granted, Head, Purpose, Request, SharedEntry},
        pin_error::PinError,
        table::{Frames, LockedEntry},
    },
    host::{Domain, Frame, Host, SharedPage},
};

/// The pins that an entry has when one more is added for the holder of `request`.
#[inline(always)]
pub(super) fn admit<H: Host>(
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
pub(super) fn begin_use<D, P: SharedPage<D>>(
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
pub(in crate::grant) struct Seen {
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
/// what [`admit`] said. With `near` it is ordinary memory, and one of several pages; `fail`
/// makes the caller's error.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "it is a part of two functions")]
pub(super) fn pin_entry<H: Host, E>(
    host: &H,
    frames: &Frames<H>,
    granter: &H::Domain,
    entry: &mut LockedEntry<'_, H>,
    gref: GrantRef,
    request: &Request,
    usage: &Usage,
    pins: Pins,
    seen: &mut Seen,
    near: Option<&mut H::Near>,
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
    // Only now that the entry is in use, lest the granter take back what is found.
    let (access, take_type) = (usage.access(), usage.take_type);
    let pinned = match near {
        Some(near) => host.pin_near(granter, gfn, access, take_type, near),
        None => host.pin_gfn(granter, gfn, access, take_type, usage.io),
    };
    let frame = match pinned {
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

/// Pins and flags of a locked entry with one use less. False: there was none.
#[inline(always)]
pub(super) fn end_use<H: Host>(entry: &mut LockedEntry<'_, H>, kind: PinKind, write: bool) -> bool {
    let Some(pins) = entry.active.pins.removed(kind, write) else {
        return false;
    };
    entry.active.pins = pins;
    entry.shared.end_use(pins);
    true
}
