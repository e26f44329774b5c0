// SPDX-License-Identifier: GPL-2.0-only
//! Undoing CPU mappings of grants: `unmap_grant_ref` and `unmap_and_replace`.
//!
//! In two steps, because CPUs and devices may use old translations for a while:
//! first the mappings of a batch go, then the CPUs' TLBs are flushed once, and
//! only then the references are given back.

use hypercall_abi::grant::{Gntst, MapGrantRef, UnmapAndReplace, UnmapGrantRef};

use super::{
    active::PinKind,
    cpu_map::{end_identity, takes_type},
    maptrack::{CpuMapping, Uses},
    peer::Peer,
    pin::unpin,
};
use crate::{
    addr::{DomId, GrantRef, Mfn},
    host::{Domain, Frame, Host, TraceEvent},
    state::DomainState,
};

/// What an operation wants undone.
struct Wanted {
    handle: u32,
    /// Address of the CPU mapping.
    host_addr: Option<u64>,
    /// Address of the device mapping.
    bus_addr: Option<u64>,
    /// Address whose mapping takes the place of the CPU mapping, or 0.
    new_addr: u64,
}

/// Uses of a reference that ended, but may be in a TLB. Ends in [`Self::release`],
/// after a TLB flush.
#[must_use = "the granter's page is kept until release"]
pub struct Ended<H: Host> {
    /// A page reference for each use.
    frame: H::Frame,
    gref: GrantRef,
    granter: DomId,
    uses: Uses,
    write: bool,
    /// Devices may reach the page for ever: an IOMMU failed.
    reachable: bool,
}

impl<H: Host> Ended<H> {
    /// Gives pins and page references back. CPU TLBs have been flushed.
    #[inline(always)]
    pub fn release(self, host: &H, granter: &H::Domain) {
        if self.write {
            host.mark_dirty(granter, &self.frame);
        }
        unpin(host, granter, self.gref, self.uses.first(), self.write);
        if self.uses == Uses::Both {
            unpin(host, granter, self.gref, PinKind::Device, self.write);
        }
        if self.reachable {
            core::mem::forget(self.frame);
        }
    }

    /// Whose reference.
    #[inline(always)]
    pub fn granter(&self) -> DomId {
        self.granter
    }
}

/// First step of one element of `GNTTABOP_unmap_grant_ref`. `peer` finds granters,
/// `keep` gets the uses that ended.
#[inline(always)]
pub fn unmap_grant_ref<H: Host>(
    host: &H,
    holder: &H::Domain,
    peer: &mut Peer<H>,
    op: &mut UnmapGrantRef,
    keep: impl FnOnce(Ended<H>),
) {
    let wanted = Wanted {
        handle: op.handle,
        host_addr: named(op.host_addr),
        bus_addr: named(op.dev_bus_addr),
        new_addr: 0,
    };
    op.status = unmap(host, holder, peer, &wanted, keep).wire();
}

/// First step of undoing what an element of `GNTTABOP_map_grant_ref` did.
pub fn undo_map_grant_ref<H: Host>(
    host: &H,
    holder: &H::Domain,
    peer: &mut Peer<H>,
    op: &MapGrantRef,
    keep: impl FnOnce(Ended<H>),
) {
    let wanted = Wanted {
        handle: op.handle,
        host_addr: Some(op.host_addr),
        bus_addr: Some(op.dev_bus_addr),
        new_addr: 0,
    };
    unmap(host, holder, peer, &wanted, keep);
}

/// An address of which 0 says that there is none.
#[inline(always)]
fn named(address: u64) -> Option<u64> {
    (address != 0).then_some(address)
}

/// First step of one element of `GNTTABOP_unmap_and_replace`, in the same way.
#[inline(always)]
pub fn unmap_and_replace<H: Host>(
    host: &H,
    holder: &H::Domain,
    peer: &mut Peer<H>,
    op: &mut UnmapAndReplace,
    keep: impl FnOnce(Ended<H>),
) {
    let wanted = Wanted {
        handle: op.handle,
        host_addr: named(op.host_addr),
        bus_addr: None,
        new_addr: op.new_addr,
    };
    op.status = unmap(host, holder, peer, &wanted, keep).wire();
}

#[inline(always)]
fn unmap<H: Host>(
    host: &H,
    holder: &H::Domain,
    peer: &mut Peer<H>,
    wanted: &Wanted,
    keep: impl FnOnce(Ended<H>),
) -> Gntst {
    let Some(state) = holder.state() else {
        return Gntst::BadHandle;
    };
    let maptrack = &state.grants.maptrack;
    let Some(mapping) = maptrack.take(host, wanted.handle) else {
        return bad_handle(holder.id(), wanted.handle);
    };
    match undo(host, holder, peer, &mapping, wanted) {
        Ok(Some(uses)) if uses == mapping.uses => {
            end(host, holder, state, wanted.handle, mapping, keep)
        }
        Ok(Some(uses)) => {
            if let Some(ended) = end_one(host, holder, state, wanted.handle, mapping, uses) {
                keep(ended);
            }
            Gntst::Okay
        }
        Ok(None) => {
            maptrack.put_back(wanted.handle, mapping);
            Gntst::Okay
        }
        Err(status) => {
            maptrack.put_back(wanted.handle, mapping);
            status
        }
    }
}

#[cold]
#[inline(never)]
fn bad_handle(holder: DomId, handle: u32) -> Gntst {
    log::debug!("Bad {holder} handle {handle:#x}");
    Gntst::BadHandle
}

#[cold]
#[inline(never)]
fn bad_bus_address(holder: DomId) -> Gntst {
    log::debug!("{holder}: bus address doesn't match gntref");
    Gntst::BadDevAddr
}

/// Undoes the wanted uses, and says which these were: all of them, or none.
#[inline(always)]
fn undo<H: Host>(
    host: &H,
    holder: &H::Domain,
    peer: &mut Peer<H>,
    mapping: &CpuMapping<H::Frame>,
    wanted: &Wanted,
) -> Result<Option<Uses>, Gntst> {
    let granter = peer
        .find(host, holder, mapping.granter)
        .ok_or(Gntst::BadDomain)?;
    host.may_unmap_grant(holder, granter)
        .map_err(|_| Gntst::PermissionDenied)?;
    host.trace(TraceEvent::Unmap, mapping.granter);
    let for_host = wanted.host_addr.filter(|_| mapping.uses != Uses::Device);
    let for_device = wanted.bus_addr.filter(|_| mapping.uses != Uses::Host);
    if for_device.is_some() && Mfn::to_address(mapping.frame.mfn()) != for_device {
        return Err(bad_bus_address(holder.id()));
    }
    if let Some(host_addr) = for_host {
        let flags = u32::from(mapping.gntmap_flags);
        host.unmap_for_cpu(host_addr, &mapping.frame, wanted.new_addr, flags)?;
    }
    Ok(match (for_host.is_some(), for_device.is_some()) {
        (true, true) => Some(Uses::Both),
        (true, false) => Some(Uses::Host),
        (false, true) => Some(Uses::Device),
        (false, false) => None,
    })
}

/// Ends a mapping as a whole, and frees its handle.
#[inline(always)]
fn end<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    handle: u32,
    mapping: CpuMapping<H::Frame>,
    keep: impl FnOnce(Ended<H>),
) -> Gntst {
    let unreachable = end_identity(host, holder, state, &mapping);
    state.grants.maptrack.discard(handle);
    keep(Ended {
        gref: mapping.gref,
        granter: mapping.granter,
        uses: mapping.uses,
        write: mapping.is_writing(),
        reachable: !unreachable,
        frame: mapping.frame,
    });
    if unreachable {
        Gntst::Okay
    } else {
        Gntst::GeneralError
    }
}

/// Takes one of a mapping's two uses out of its record.
#[inline(never)]
fn end_one<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    handle: u32,
    mut mapping: CpuMapping<H::Frame>,
    uses: Uses,
) -> Option<Ended<H>> {
    let write = mapping.is_writing();
    let granter = host.domain(mapping.granter);
    let frame = granter.and_then(|granter| {
        let typed = takes_type::<H>(holder, &granter, uses.first(), write);
        mapping.frame.take_one(typed)
    });
    let ended = frame.map(|frame| Ended {
        frame,
        gref: mapping.gref,
        granter: mapping.granter,
        uses,
        write,
        reachable: false,
    });
    if ended.is_some() {
        mapping.uses = match uses {
            Uses::Host | Uses::Both => Uses::Device,
            Uses::Device => Uses::Host,
        };
    }
    state.grants.maptrack.put_back(handle, mapping);
    ended
}
