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
    host::{Domain, Given, Host, OfferError, StealError, TraceEvent},
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
        .offer_page(page, receiver, wide)
        .map_err(|error| match error {
            OfferError::TooBig => Gntst::AddressTooBig,
            OfferError::NoRoom => failed(to, gref, Gntst::GeneralError),
        })?;
    match give(host, caller.id(), receiver, &state.grants, gref, page) {
        Some(Given::At(_)) => {
            host.trace(TraceEvent::Transfer, to);
            Ok(())
        }
        Some(Given::Nowhere) => {
            host.trace(TraceEvent::Transfer, to);
            Err(Gntst::GeneralError)
        }
        Some(Given::Dying) | None => Err(failed(to, gref, Gntst::GeneralError)),
    }
}

#[cold]
#[inline(never)]
fn failed(to: DomId, gref: GrantRef, status: Gntst) -> Gntst {
    log::debug!("no page given to {to} by {:#x}: {status:?}", gref.0);
    status
}

/// Makes the page one of the receiver's, puts it where the entry wants it and says
/// so there. `None`: the entry does not want it.
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
    page: H::OfferedPage<'_>,
) -> Option<Given> {
    let frames = table.read();
    let entry = frames.lock_entry(host, receiver, gref).ok()?;
    if let Err(error) = entry.shared.commit_transfer(giver) {
        not_accepted(receiver.id(), gref, error);
        return None;
    }
    let given = host.give_page(page, entry.shared.frame());
    match given {
        Given::Dying => {}
        Given::At(gfn) if !receiver.is_translated() => entry.shared.complete_transfer(Some(gfn)),
        Given::At(_) | Given::Nowhere => entry.shared.complete_transfer(None),
    }
    Some(given)
}

#[cold]
#[inline(never)]
fn not_accepted(receiver: DomId, gref: GrantRef, error: EntryError) {
    log::debug!("{receiver} ref {:#x}: {error:?}", gref.0);
}
