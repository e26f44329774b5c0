// SPDX-License-Identifier: GPL-2.0-only
//! Giving pages away: `transfer`.
//!
//! As Xen's header says, the page is lost to the caller even if the transfer
//! fails, unless the error is `GNTST_bad_page`.

use hypercall_abi::grant::Gntst;

use super::{peer::Peer, table::Version};
use crate::{
    addr::{DomId, Gfn, GrantRef, Mfn},
    host::{Domain, Host, StealError, TraceEvent},
};

/// Gives the caller's page at `gfn` to the domain `to`, which accepts it by
/// `gref`. `peer` finds receivers.
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
    let mut committed = None;
    let commit = || {
        committed = commit(host, caller.id(), receiver, gref);
        committed.is_some()
    };
    let mfn = host
        .assign_page(page, receiver, commit)
        .map_err(|_| failed(to, gref, Gntst::GeneralError))?;
    host.trace(TraceEvent::Transfer, receiver.id());
    match committed {
        Some(version) if complete(host, receiver, gref, version, mfn) => Ok(()),
        _ => Err(Gntst::GeneralError),
    }
}

#[cold]
#[inline(never)]
fn failed(to: DomId, gref: GrantRef, status: Gntst) -> Gntst {
    log::debug!("no page given to {to} by {:#x}: {status:?}", gref.0);
    status
}

/// Marks the receiver's entry as taken. Returns the format it has.
///
/// Takes the receiver's table lock for reading, and the entry's lock.
fn commit<H: Host>(
    host: &H,
    giver: DomId,
    receiver: &H::Domain,
    gref: GrantRef,
) -> Option<Version> {
    let frames = receiver.state()?.grants.read();
    let entry = frames.lock_entry(host, receiver, gref).ok()?;
    entry
        .shared
        .commit_transfer(giver)
        .inspect_err(|error| log::debug!("{} ref {:#x}: {error:?}", receiver.id(), gref.0))
        .ok()?;
    Some(frames.version())
}

/// Puts the page where the receiver wants it and tells it so. False: it cannot be
/// there, or the entry is another one by now.
///
/// Takes the receiver's table lock for reading, and the entry's lock.
fn complete<H: Host>(
    host: &H,
    receiver: &H::Domain,
    gref: GrantRef,
    version: Version,
    mfn: Mfn,
) -> bool {
    let Some(state) = receiver.state() else {
        return false;
    };
    let frames = state.grants.read();
    if frames.version() != version {
        return false;
    }
    let Ok(entry) = frames.lock_entry(host, receiver, gref) else {
        return false;
    };
    let placed = host.place_page(receiver, entry.shared.frame(), mfn);
    let known_by = placed.ok().filter(|_| !receiver.is_translated());
    entry.shared.complete_transfer(known_by);
    placed.is_ok()
}
