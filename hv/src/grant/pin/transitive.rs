// SPDX-License-Identifier: GPL-2.0-only
//! Transitive grants, pinned: for copies, and for devices.
//!
//! Such a grant of a middle domain leads to one that an origin has made to it, and
//! whoever pins it uses both references. What holds a page in place for a device is a
//! [`Pin`] of the middle's reference with the origin's page; which of the origin's
//! references that is, the origin's [`Passages`] know. So the records of pins have no
//! more to keep than for other grants, the origin finds who uses its page by whom, and
//! neither needs the middle domain, which nothing keeps in existence.
//!
//! Order: a passage is entered before the origin's reference is pinned, and left after
//! that. Who has withdrawn the reference and does not find a passage can be sure that
//! none leads there any more: whoever comes later finds the reference withdrawn.

use alloc::vec::Vec;

use hypercall_abi::grant::{GNTMAP_DEVICE_MAP, GNTMAP_READONLY};

use super::{CopyPin, MAX_ATTEMPTS, Pin, Usage, Way, admit, begin_use, unpin, unpin_if_held};
use crate::{
    addr::{DomId, GrantRef, Mfn},
    grant::{
        OpenTable,
        active::{ActiveEntry, Part, PinKind},
        entry::{EntryError, Granted, Purpose, Request},
        pin_error::PinError,
    },
    host::{Domain, Frame, Host},
    state::Serial,
    sync::SpinLock,
};

/// Most passages to the pages of one domain. The list of them is searched whole, and
/// its elements are moved.
const MOST_PASSAGES: usize = 512;

/// A transitive grant, as the domain that uses it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Through {
    /// Whose.
    pub middle: DomId,
    /// Which.
    pub via: GrantRef,
    /// For whose devices.
    pub holder: DomId,
}

/// A transitive grant that is in use for devices.
#[derive(Clone, Copy, Debug)]
struct Passage {
    through: Through,
    /// The middle domain, which can have died since; its id can be another one's.
    middle: Serial,
    /// Where it leads: a reference of the domain that has this record.
    gref: GrantRef,
    /// Pins, and attempts to pin.
    pins: u32,
}

/// The transitive grants by which devices reach pages of one domain, the origin.
#[derive(Debug, Default)]
pub struct Passages {
    /// In the order of [`Passage::through`], each once.
    list: Vec<Passage>,
}

impl Passages {
    fn place(&self, through: Through) -> Result<usize, usize> {
        let key = |passage: &Passage| passage.through;
        self.list.binary_search_by_key(&through, key)
    }

    /// One pin more. While there are any, a passage is through one domain, and leads to one
    /// reference.
    fn enter(&mut self, through: Through, middle: Serial, gref: GrantRef) -> Result<(), PinError> {
        match self.place(through) {
            Ok(at) => match self.list.get_mut(at) {
                Some(passage) if passage.middle == middle && passage.gref == gref => {
                    passage.pins = passage.pins.checked_add(1).ok_or(PinError::TooMany)?;
                    Ok(())
                }
                _ => Err(PinError::Changed),
            },
            Err(_) if self.list.len() >= MOST_PASSAGES => Err(PinError::TooMany),
            Err(at) => {
                let room = self.list.try_reserve(1);
                room.map_err(|_| PinError::OutOfMemory)?;
                self.list.insert(
                    at,
                    Passage {
                        through,
                        middle,
                        gref,
                        pins: 1,
                    },
                );
                Ok(())
            }
        }
    }

    /// One pin less.
    fn leave(&mut self, through: Through) {
        let Ok(at) = self.place(through) else {
            log::error!("{through:?} left twice");
            return;
        };
        let Some(passage) = self.list.get_mut(at) else {
            return;
        };
        passage.pins -= 1;
        if passage.pins == 0 {
            self.list.remove(at);
            if self.list.is_empty() {
                self.list = Vec::new();
            }
        }
    }

    /// A passage that is in use: through which domain, and where it leads.
    fn find(&self, through: Through) -> Option<(Serial, GrantRef)> {
        let passage = self.list.get(self.place(through).ok()?)?;
        Some((passage.middle, passage.gref))
    }

    /// The first passage to `gref` behind `last`.
    pub fn next_to(&self, gref: GrantRef, last: Option<Through>) -> Option<Through> {
        let mut others = self.list.iter().filter(|passage| passage.gref == gref);
        let found = others.find(|passage| last.is_none_or(|last| passage.through > last));
        found.map(|passage| passage.through)
    }
}

/// An entry could not be pinned because it is, or was when it was pinned before, a
/// transitive one.
fn may_be_transitive(error: PinError) -> bool {
    matches!(
        error,
        PinError::Entry(EntryError::NotGranted { .. }) | PinError::ForCopiesOnly
    )
}

/// Pins `gref` of `granter` for devices of `holder`, as a transitive one if need be and if
/// `allowed`. On error nothing has changed.
///
/// A transitive grant has to be of a whole page in the end. Only one step is allowed,
/// and access control is asked about the origin as it was about `granter`. Ends in
/// [`Pin::release`], or in [`release`] if [`Pin::is_transitive`].
///
/// Takes the entry's lock. For a transitive grant `table` is closed meanwhile, and this
/// takes the granters' table locks for reading, the entries' locks, and the lock of the
/// origin's passages, one after the other.
#[inline(always)]
pub fn take<H: Host>(
    host: &H,
    holder: &H::Domain,
    table: &mut OpenTable<'_, H>,
    gref: GrantRef,
    usage: Usage,
    allowed: bool,
) -> Result<Pin<H::Frame>, PinError> {
    match Pin::take(host, table, gref, holder.id(), usage) {
        Err(error) if allowed && may_be_transitive(error) => {
            table.while_closed(|granter| take_through(host, holder, granter, gref, usage, error))
        }
        pinned => pinned,
    }
}

/// `error` is what it was refused with as an ordinary grant.
#[cold]
#[inline(never)]
fn take_through<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: &H::Domain,
    gref: GrantRef,
    usage: Usage,
    error: PinError,
) -> Result<Pin<H::Frame>, PinError> {
    for _ in 0..MAX_ATTEMPTS {
        let led = leads_to(host, granter, gref, holder.id(), usage)?;
        let (origin, origin_gref) = led.ok_or(error)?;
        if !host.transitive_allowed() || origin == granter.id() {
            return Err(PinError::NotTransitive);
        }
        let origin = host.domain(origin).ok_or(PinError::NoOrigin)?;
        let readonly = if usage.write { 0 } else { GNTMAP_READONLY };
        host.may_map_grant(holder, &origin, GNTMAP_DEVICE_MAP | readonly)
            .map_err(|_| PinError::Refused)?;
        let through = Through {
            middle: granter.id(),
            via: gref,
            holder: holder.id(),
        };
        match pin_both(host, granter, &origin, (through, origin_gref), usage) {
            Err(PinError::Changed) => {}
            pinned => return pinned,
        }
    }
    Err(PinError::Changed)
}

/// Where the entry leads, if it is a transitive one that grants what is asked.
fn leads_to<H: Host>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    holder: DomId,
    usage: Usage,
) -> Result<Option<(DomId, GrantRef)>, PinError> {
    let table = &granter.state().ok_or(PinError::NoTable)?.grants;
    let frames = &*table.read();
    let entry = &frames
        .lock_entry(host, granter, gref)
        .map_err(|entries| PinError::OutOfRange { entries })?;
    let request = &request_of(holder, usage);
    let Some(leads) = entry.shared.transitive() else {
        return Ok(None);
    };
    admit(frames, granter, entry, request, usage.kind)?;
    host.speculation_barrier();
    let granted = entry.shared.check_grant(*request);
    granted.map_err(PinError::Entry)?;
    Ok(Some(leads))
}

/// A transitive entry has no page of its own to map.
fn request_of(holder: DomId, usage: Usage) -> Request {
    Request {
        holder,
        purpose: Purpose::Copy,
        write: usage.write,
    }
}

fn pin_both<H: Host>(
    host: &H,
    granter: &H::Domain,
    origin: &H::Domain,
    (through, origin_gref): (Through, GrantRef),
    usage: Usage,
) -> Result<Pin<H::Frame>, PinError> {
    let middle = granter.state().ok_or(PinError::NoTable)?.serial;
    let passages = &origin.state().ok_or(PinError::NoTable)?.passages;
    passages.lock().enter(through, middle, origin_gref)?;
    let direct = {
        let mut table = OpenTable::of(origin);
        Pin::take(host, &mut table, origin_gref, granter.id(), usage)
    };
    let pinned = direct.and_then(|direct| {
        let page = Page {
            mfn: direct.frame.mfn(),
            origin: origin.id(),
            gref: origin_gref,
            part: Part::WHOLE,
        };
        match pin_middle(host, granter, through.via, through.holder, usage, &page) {
            Ok(()) => Ok(Pin {
                gref: through.via,
                granter: through.middle,
                way: Way::Transitive,
                ..direct
            }),
            Err(error) => {
                direct.release(host, origin);
                Err(error)
            }
        }
    });
    if pinned.is_err() {
        passages.lock().leave(through);
    }
    pinned
}

/// Gives back both uses of a transitive grant pinned for devices of `holder`, then the
/// page reference.
///
/// Takes the granters' table locks for reading, the entries' locks, and the lock of the
/// origin's passages, one after the other.
#[cold]
#[inline(never)]
pub fn release<H: Host>(host: &H, holder: &H::Domain, pin: Pin<H::Frame>) {
    let through = Through {
        middle: pin.granter,
        via: pin.gref,
        holder: holder.id(),
    };
    let mfn = pin.frame.mfn();
    // The page, whose reference is held until the end, keeps its owner in existence.
    let Ok((origin, _)) = host.pin_mfn(mfn) else {
        log::error!("the owner of a page of {through:?} vanished while pinned");
        return;
    };
    if pin.write {
        host.mark_dirty(&origin, &pin.frame);
    }
    let Some(state) = origin.state() else {
        return;
    };
    let led = state.passages.lock().find(through);
    let Some((serial, gref)) = led else {
        log::error!("{through:?} leads nowhere");
        return;
    };
    // The middle domain may be gone, and another one may have its id.
    let middle = host.domain(through.middle);
    let is_it = |it: &H::Domain| it.state().is_some_and(|state| state.serial == serial);
    if let Some(middle) = middle.filter(|it| is_it(it)) {
        let used = (through.holder, mfn);
        unpin_if_held(host, &middle, through.via, PinKind::Device, pin.write, used);
    }
    unpin(host, &origin, gref, PinKind::Device, pin.write);
    state.passages.lock().leave(through);
}

/// A page that a transitive grant led to.
struct Page {
    mfn: Mfn,
    origin: DomId,
    gref: GrantRef,
    part: Part,
}

/// Pins the transitive entry that led to `page`, if it still does.
fn pin_middle<H: Host>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    holder: DomId,
    usage: Usage,
    page: &Page,
) -> Result<(), PinError> {
    let table = &granter.state().ok_or(PinError::NoTable)?.grants;
    let frames = &*table.read();
    let mut entry = frames
        .lock_entry(host, granter, gref)
        .map_err(|entries| PinError::OutOfRange { entries })?;
    let request = request_of(holder, usage);
    let pins = admit(frames, granter, &entry, &request, usage.kind)?;
    host.speculation_barrier();
    let before: ActiveEntry = *entry.active;
    let wanted = ActiveEntry {
        mfn: page.mfn,
        pins,
        origin_gref: page.gref,
        origin: page.origin,
        holder,
        part: page.part.for_copies_only(),
    };
    let same = before.mfn == wanted.mfn
        && before.origin == wanted.origin
        && before.origin_gref == wanted.origin_gref
        && before.part == wanted.part;
    if !before.pins.is_empty() && !same {
        return Err(PinError::Changed);
    }
    let head = begin_use(&entry.shared, before.pins, request)?;
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

/// The same, for a copy from or to `direct`.
pub(super) fn pin_middle_to_copy<H: Host>(
    host: &H,
    granter: &H::Domain,
    gref: GrantRef,
    holder: DomId,
    direct: &CopyPin<H::Frame>,
) -> Result<(), PinError> {
    let page = Page {
        mfn: direct.frame().mfn(),
        origin: direct.pin.granter,
        gref: direct.pin.gref,
        part: direct.part,
    };
    let usage = super::copy_usage(direct.pin.write);
    pin_middle(host, granter, gref, holder, usage, &page)
}
