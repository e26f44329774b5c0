// SPDX-License-Identifier: GPL-2.0-only
//! Giving pages away: `transfer`.
//!
//! As Xen's header says, the page is lost to the caller even if the transfer
//! fails, unless the error is `GNTST_bad_page`.

use hypercall_abi::grant::Gntst;

use super::{
    entry::EntryError,
    peer::Peer,
    table::{GrantTable, Version},
};
use crate::{
    addr::{DomId, Gfn, GrantRef},
    host::{CannotPlace, Domain, Host, StealError, TraceEvent},
};

/// Gives the caller's page at `gfn` to the domain `to`, which accepts it by
/// `gref`. `peer` finds receivers.
#[inline(always)]
pub fn transfer<H: Host>(
    host: &H,
    caller: &H::Domain,
    peer: &mut Peer<H>,
    gfn: Gfn,
    to: DomId,
    gref: GrantRef,
) -> Result<(), Gntst> {
    let page = host.steal_page(caller, gfn).map_err(|error| match error {
        StealError::BadPage => Gntst::BadPage,
        StealError::InUse => Gntst::GeneralError,
    })?;
    let receiver = peer
        .find(host, caller, to)
        .ok_or_else(|| failed(to, gref, Gntst::BadDomain))?;
    host.may_transfer(caller, receiver)
        .map_err(|_| Gntst::PermissionDenied)?;
    let state = receiver.state().ok_or(Gntst::GeneralError)?;
    let wide = receiver.is_translated() || state.grants.version() == Version::V2;
    let page = host
        .page_for(page, receiver, wide)
        .ok_or(Gntst::AddressTooBig)?;
    let given = give(host, caller.id(), receiver, &state.grants, gref, page);
    let placed = given.ok_or_else(|| failed(to, gref, Gntst::GeneralError))?;
    host.trace(TraceEvent::Transfer, to);
    placed.map_err(|CannotPlace| Gntst::GeneralError)
}

#[cold]
#[inline(never)]
fn failed(to: DomId, gref: GrantRef, status: Gntst) -> Gntst {
    log::debug!("no page given to {to} by {:#x}: {status:?}", gref.0);
    status
}

/// Makes the page one of the receiver's, puts it where the entry wants it and says
/// so there. `None`: the receiver does not get it. The inner error: it cannot be there.
///
/// Takes the receiver's table lock for reading, and the entry's lock: the entry is
/// the same from beginning to end.
#[inline(always)]
fn give<H: Host>(
    host: &H,
    giver: DomId,
    receiver: &H::Domain,
    table: &GrantTable<H>,
    gref: GrantRef,
    page: H::LoosePage,
) -> Option<Result<(), CannotPlace>> {
    let frames = table.read();
    let entry = frames.lock_entry(host, receiver, gref).ok()?;
    let commit = || match entry.shared.commit_transfer(giver) {
        Ok(()) => true,
        Err(error) => not_accepted(receiver.id(), gref, error),
    };
    let mfn = host.assign_page(page, receiver, commit).ok()?;
    let placed = host.place_page(receiver, entry.shared.frame(), mfn);
    let known_by = placed.ok().filter(|_| !receiver.is_translated());
    entry.shared.complete_transfer(known_by);
    Some(placed.map(|_| ()))
}

#[cold]
#[inline(never)]
fn not_accepted(receiver: DomId, gref: GrantRef, error: EntryError) -> bool {
    log::debug!("{receiver} ref {:#x}: {error:?}", gref.0);
    false
}
