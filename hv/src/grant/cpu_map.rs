// SPDX-License-Identifier: GPL-2.0-only
//! CPU mappings of grants: `map_grant_ref`, `unmap_grant_ref`, and what a dying
//! domain leaves.
//!
//! This version maps version 1 grants for domains with a translated address
//! space; PV domains get `GNTST_general_error`.

use hypercall_abi::grant::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP,
    GNTMAP_READONLY, Gntst, MapGrantRef, UnmapGrantRef,
};

use super::{
    entry::PinKind,
    maptrack::CpuMapping,
    pin::{Pin, PinError, Usage},
};
use crate::{
    addr::{DomId, GrantRef},
    host::{Domain, Frame, FrameError, Host},
    state::DomainState,
    sync::SpinLock,
};

/// A CPU mapping that was made.
struct Mapped {
    handle: u32,
    bus_address: u64,
}

impl From<PinError> for Gntst {
    fn from(error: PinError) -> Self {
        match error {
            PinError::OutOfRange { .. } => Self::BadGntref,
            PinError::NoTable => Self::BadDomain,
            PinError::Entry(_) | PinError::OtherHolder(_) | PinError::TooMany => Self::GeneralError,
            PinError::Frame(FrameError::NotMemory) => Self::BadPage,
            PinError::Frame(FrameError::TryAgain) => Self::EAgain,
        }
    }
}

/// Works on one element of `GNTTABOP_map_grant_ref`.
pub fn map_grant_ref<H: Host>(host: &H, holder: &H::Domain, op: &mut MapGrantRef) {
    match map(host, holder, op) {
        Ok(mapped) => {
            op.handle = mapped.handle;
            op.dev_bus_addr = mapped.bus_address;
            op.status = Gntst::Okay.wire();
        }
        Err(status) => op.status = status.wire(),
    }
}

/// The flags make sense for this kind of domain.
fn check_flags<H: Host>(host: &H, holder: &H::Domain, flags: u32) -> Result<(), Gntst> {
    if flags & (GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) == 0 {
        log::info!("Bad flags in grant map op: {flags:x}");
        return Err(Gntst::BadGntref);
    }
    let pv_only = GNTMAP_DEVICE_MAP | GNTMAP_APPLICATION_MAP | GNTMAP_CONTAINS_PTE;
    if holder.is_translated() && flags & pv_only != 0 {
        log::info!("No device mapping in HVM domain");
        return Err(Gntst::GeneralError);
    }
    if !holder.is_translated() || host.cpu_map_needs_identity(holder) {
        log::info!(
            "{}: grant mapping for this kind of domain is not built yet",
            holder.id()
        );
        return Err(Gntst::GeneralError);
    }
    Ok(())
}

fn map<H: Host>(host: &H, holder: &H::Domain, op: &MapGrantRef) -> Result<Mapped, Gntst> {
    check_flags(host, holder, op.flags)?;
    let granter = host.domain(DomId(op.dom)).ok_or(Gntst::BadDomain)?;
    host.may_map_grant(holder, &granter, op.flags)
        .map_err(|_| Gntst::PermissionDenied)?;
    let state = holder.state().ok_or(Gntst::GeneralError)?;
    let handle = state
        .grants
        .maptrack
        .lock()
        .reserve()
        .map_err(|_| Gntst::NoSpace)?;
    map_reserved(host, holder, &granter, op)
        .map(|mapping| {
            let mfn = mapping.pin.frame().mfn();
            state.grants.maptrack.lock().fill(handle, mapping);
            Mapped {
                handle,
                bus_address: mfn.to_address().unwrap_or(0),
            }
        })
        .inspect_err(|_| state.grants.maptrack.lock().discard(handle))
}

fn map_reserved<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: &H::Domain,
    op: &MapGrantRef,
) -> Result<CpuMapping<H::Frame>, Gntst> {
    let write = op.flags & GNTMAP_READONLY == 0;
    let loopback = holder.id() == granter.id();
    let usage = Usage {
        kind: PinKind::Cpu,
        write,
        take_type: H::CPU_MAP_TAKES_TYPE && write && (loopback || !granter.is_translated()),
    };
    let (pin, cache_flags) = Pin::take(host, granter, GrantRef(op.gref), holder.id(), usage)
        .inspect_err(|error| {
            log::info!("{} ref {:#x}: {error:?}", granter.id(), op.gref);
        })?;
    if host.map_for_cpu(op.host_addr, pin.frame(), op.flags, cache_flags) {
        Ok(CpuMapping {
            pin,
            gntmap_flags: op.flags,
        })
    } else {
        pin.release(host, granter);
        Err(Gntst::GeneralError)
    }
}

/// Works on one element of `GNTTABOP_unmap_grant_ref`. False: the holder has a
/// mapping of a domain that no longer exists, which only a bug can bring about.
pub fn unmap_grant_ref<H: Host>(host: &H, holder: &H::Domain, op: &mut UnmapGrantRef) {
    op.status = match unmap(host, holder, op) {
        Ok(()) => Gntst::Okay.wire(),
        Err(status) => status.wire(),
    };
}

fn unmap<H: Host>(host: &H, holder: &H::Domain, op: &UnmapGrantRef) -> Result<(), Gntst> {
    let state = holder.state().ok_or(Gntst::BadHandle)?;
    let mapping = state
        .grants
        .maptrack
        .lock()
        .take(host, op.handle)
        .ok_or_else(|| {
            log::info!("Bad {} handle {:#x}", holder.id(), op.handle);
            Gntst::BadHandle
        })?;
    match unmap_taken(host, holder, &mapping, op.host_addr) {
        Ok(Some(granter)) => {
            mapping.pin.release(host, &granter);
            state.grants.maptrack.lock().discard(op.handle);
            Ok(())
        }
        Ok(None) => {
            state.grants.maptrack.lock().fill(op.handle, mapping);
            Ok(())
        }
        Err(status) => {
            state.grants.maptrack.lock().fill(op.handle, mapping);
            Err(status)
        }
    }
}

/// Undoes the CPU mapping. Returns the granter if the whole mapping is done for,
/// nothing if nothing was to be done.
fn unmap_taken<H: Host>(
    host: &H,
    holder: &H::Domain,
    mapping: &CpuMapping<H::Frame>,
    host_addr: u64,
) -> Result<Option<H::Domain>, Gntst> {
    let granter = host.domain(mapping.pin.granter()).ok_or(Gntst::BadDomain)?;
    host.may_unmap_grant(holder, &granter)
        .map_err(|_| Gntst::PermissionDenied)?;
    if host_addr == 0 {
        return Ok(None);
    }
    if !host.unmap_for_cpu(host_addr, mapping.pin.frame(), mapping.gntmap_flags) {
        return Err(Gntst::GeneralError);
    }
    Ok(Some(granter))
}

/// Gives back all CPU mappings of a dying domain. False: preempted, call again.
///
/// The domain's vcpus no longer run, and nothing can translate through its
/// address space any more.
pub fn release_cpu_mappings<H: Host>(host: &H, state: &DomainState<H>) -> bool {
    const BETWEEN_CHECKS: u32 = 64;
    loop {
        for _ in 0..BETWEEN_CHECKS {
            let popped = state.grants.maptrack.lock().pop();
            match popped {
                None => return true,
                Some(None) => {}
                Some(Some(mapping)) => {
                    if let Some(granter) = host.domain(mapping.pin.granter()) {
                        mapping.pin.release(host, &granter);
                    }
                }
            }
        }
        if host.preempt_requested() {
            return false;
        }
    }
}
