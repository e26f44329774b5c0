// SPDX-License-Identifier: GPL-2.0-only
//! CPU mappings of grants: `map_grant_ref`, and what a dying domain leaves.
//!
//! A mapping is for the holder's CPUs (`GNTMAP_host_map`), for the devices of a
//! PV holder (`GNTMAP_device_map`), or both; each use has its own pin and its own
//! page reference, and they can be undone one after the other.

use hypercall_abi::grant::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP,
    GNTMAP_READONLY, GTF_CACHE_MASK, Gntst, MapGrantRef,
};

use super::{
    active::PinKind,
    maptrack::{CpuMapping, NoHandle, Uses},
    peer::Peer,
    pin::{Seen, Usage, pin_to_map, unpin, unpin_if_held},
    pin_error::PinError,
};
use crate::{
    addr::{DomId, GrantRef, Mfn},
    host::{Domain, Frame, Host, IoMemory, TraceEvent},
    state::DomainState,
};

/// What the elements of one `GNTTABOP_map_grant_ref` have in common.
pub struct Mapper<'a, H: Host> {
    holder: &'a H::Domain,
    vcpu: u32,
    granter: Peer<H>,
}

impl<'a, H: Host> Mapper<'a, H> {
    /// For mappings of the calling domain.
    pub fn new(host: &H, holder: &'a H::Domain) -> Self {
        Self {
            holder,
            vcpu: host.current_vcpu(),
            granter: Peer::new(),
        }
    }

    /// Works on one element. Returns how much work it was, in frames.
    #[inline(always)]
    pub fn map(&mut self, host: &H, op: &mut MapGrantRef) -> u32 {
        let status = match self.try_map(host, op) {
            Ok(()) => Gntst::Okay,
            Err(status) => status,
        };
        op.status = status.wire();
        // The IOMMU of a PV domain may have to be told and to flush.
        if DomId(op.dom) == self.holder.id() || self.holder.is_translated() {
            1
        } else {
            8
        }
    }

    #[inline(always)]
    fn try_map(&mut self, host: &H, op: &mut MapGrantRef) -> Result<(), Gntst> {
        let holder = self.holder;
        check_flags::<H>(holder, op.flags)?;
        let granter = self
            .granter
            .find(host, holder, DomId(op.dom))
            .ok_or_else(|| no_domain(op.dom))?;
        host.may_map_grant(holder, granter, op.flags)
            .map_err(|_| Gntst::PermissionDenied)?;
        let maptrack = &holder.state().ok_or(Gntst::GeneralError)?.grants.maptrack;
        let reserved = maptrack
            .reserve(self.vcpu)
            .map_err(|NoHandle| no_handle())?;
        let uses = match (
            op.flags & GNTMAP_HOST_MAP != 0,
            op.flags & GNTMAP_DEVICE_MAP != 0,
        ) {
            (true, true) => Uses::Both,
            (true, false) => Uses::Host,
            (false, _) => Uses::Device,
        };
        let seen = &mut Seen::nothing();
        match map_reserved(host, holder, granter, op, uses, seen) {
            Ok(frame) => {
                let mapping = recorded(op, uses, frame);
                op.handle = maptrack.insert(reserved, mapping).map_err(unrecorded)?;
                op.dev_bus_addr = seen.mfn.to_address().unwrap_or(0);
                host.trace(TraceEvent::Map, granter.id());
                Ok(())
            }
            Err(status) => {
                maptrack.unreserve(reserved);
                Err(status)
            }
        }
    }
}

/// The record of a mapping.
#[inline(always)]
fn recorded<F>(op: &MapGrantRef, uses: Uses, frame: F) -> CpuMapping<F> {
    CpuMapping {
        frame,
        gref: GrantRef(op.gref),
        granter: DomId(op.dom),
        gntmap_flags: op.flags as u8,
        uses,
    }
}

/// The flags make sense for this kind of domain.
#[inline(always)]
fn check_flags<H: Host>(holder: &H::Domain, flags: u32) -> Result<(), Gntst> {
    let pv_only = GNTMAP_DEVICE_MAP | GNTMAP_APPLICATION_MAP | GNTMAP_CONTAINS_PTE;
    if flags & (GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) == 0 {
        Err(bad_flags(flags, Gntst::BadGntref))
    } else if holder.is_translated() && flags & pv_only != 0 {
        Err(bad_flags(flags, Gntst::GeneralError))
    } else {
        Ok(())
    }
}

// What goes wrong is written down out of line: formatting takes registers and stack
// that the usual case needs.

#[cold]
#[inline(never)]
fn bad_flags(flags: u32, status: Gntst) -> Gntst {
    log::debug!("Bad flags in grant map op: {flags:x}");
    status
}

#[cold]
#[inline(never)]
fn no_domain(id: u16) -> Gntst {
    log::debug!("Could not find domain {id}");
    Gntst::BadDomain
}

#[cold]
#[inline(never)]
fn no_handle() -> Gntst {
    log::debug!("Failed to obtain maptrack handle");
    Gntst::NoSpace
}

#[cold]
#[inline(never)]
fn not_pinned(granter: DomId, gref: GrantRef, error: PinError) -> Gntst {
    log::debug!("{granter} ref {:#x}: {error:?}", gref.0);
    error.into()
}

/// A mapping that exists must be recorded; if it is not, it stays for ever.
#[cold]
#[inline(never)]
fn unrecorded<F: Frame>(mapping: CpuMapping<F>) -> Gntst {
    log::error!("mapping of {:#x} without a handle", mapping.gref.0);
    core::mem::forget(mapping);
    Gntst::GeneralError
}

/// Whether a use takes a writable-type reference. Devices that write do; so do
/// CPUs where a PV guest's page tables count their writable mappings of PV pages.
#[inline(always)]
pub(super) fn takes_type<H: Host>(
    holder: &H::Domain,
    granter: &H::Domain,
    kind: PinKind,
    write: bool,
) -> bool {
    let counted = match kind {
        PinKind::Device => true,
        PinKind::Cpu => {
            H::CPU_MAP_TAKES_TYPE && (holder.id() == granter.id() || !granter.is_translated())
        }
    };
    write && counted
}

/// Needs no lock; takes those of a pin, and that of the identity counts.
#[inline(always)]
fn map_reserved<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: &H::Domain,
    op: &MapGrantRef,
    uses: Uses,
    seen: &mut Seen,
) -> Result<H::Frame, Gntst> {
    let frame = pin_uses(host, holder, granter, op, uses, seen)?;
    match reach(host, holder, granter, op, uses, &frame, seen) {
        Ok(()) => Ok(frame),
        Err(failure) => {
            let mapping = recorded(op, uses, frame);
            Err(take_back(host, holder, granter, mapping, failure))
        }
    }
}

/// Pins the reference for each use, and joins the pages.
#[inline(always)]
fn pin_uses<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: &H::Domain,
    op: &MapGrantRef,
    uses: Uses,
    seen: &mut Seen,
) -> Result<H::Frame, Gntst> {
    let write = op.flags & GNTMAP_READONLY == 0;
    let io = if holder.is_translated() {
        IoMemory::Refused
    } else {
        IoMemory::Allowed
    };
    let kind = uses.first();
    let usage = &Usage {
        kind,
        write,
        take_type: takes_type::<H>(holder, granter, kind, write),
        io,
    };
    let gref = GrantRef(op.gref);
    let fail = |error| not_pinned(granter.id(), gref, error);
    let first = pin_to_map(host, granter, gref, holder.id(), usage, seen, fail)?;
    if uses == Uses::Both {
        pin_for_devices_too(host, holder, granter, gref, *usage, first)
    } else {
        Ok(first)
    }
}

/// Adds a pin for devices to that for CPUs, or takes that back.
#[inline(never)]
fn pin_for_devices_too<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: &H::Domain,
    gref: GrantRef,
    usage: Usage,
    first: H::Frame,
) -> Result<H::Frame, Gntst> {
    let write = usage.write;
    let for_devices = &Usage {
        kind: PinKind::Device,
        take_type: write,
        ..usage
    };
    let seen = &mut Seen::nothing();
    let fail = |error| not_pinned(granter.id(), gref, error);
    match pin_to_map(host, granter, gref, holder.id(), for_devices, seen, fail) {
        Ok(second) => Ok(first.joined(second)),
        Err(status) => {
            if write {
                host.mark_dirty(granter, &first);
            }
            unpin(host, granter, gref, usage.kind, write);
            Err(status)
        }
    }
}

/// Gives the pins of a mapping back that did not come about.
#[cold]
#[inline(never)]
fn take_back<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: &H::Domain,
    mapping: CpuMapping<H::Frame>,
    NotReached { status, kept }: NotReached,
) -> Gntst {
    let write = mapping.is_writing();
    for kind in mapping.uses.kinds() {
        unpin(host, granter, mapping.gref, kind, write);
    }
    if write {
        // CPUs may have reached it for a moment.
        host.mark_dirty(granter, &mapping.frame);
    }
    if kept {
        give_up_cpu_reference::<H>(holder, Some(granter), mapping.frame, write);
    }
    status
}

/// Lets CPUs and devices reach a pinned page.
#[inline(always)]
fn reach<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: &H::Domain,
    op: &MapGrantRef,
    uses: Uses,
    frame: &H::Frame,
    seen: &Seen,
) -> Result<(), NotReached> {
    if uses != Uses::Device {
        host.map_for_cpu(op.host_addr, frame, op.flags, seen.flags & GTF_CACHE_MASK)
            .map_err(|status| NotReached {
                status,
                kept: false,
            })?;
    }
    if needs_identity(host, holder, granter.id()) {
        reach_identity(host, holder, granter, op, uses, frame, seen.mfn)
    } else {
        Ok(())
    }
}

/// Takes a CPU mapping back that was just made. False: another vcpu of the holder
/// has changed the page-table entry meanwhile, and has what the entry owned.
#[cold]
#[inline(never)]
fn undo_map_for_cpu<H: Host>(
    host: &H,
    holder: &H::Domain,
    op: &MapGrantRef,
    frame: &H::Frame,
) -> bool {
    let undone = host.unmap_for_cpu(op.host_addr, frame, 0, op.flags);
    host.flush_cpu_tlb();
    if undone.is_err() {
        log::warn!("{} kept a mapping at {:#x}", holder.id(), op.host_addr);
    }
    undone.is_ok()
}

/// Why neither CPUs nor devices are to reach a page.
struct NotReached {
    status: Gntst,
    /// The page reference of the CPU mapping is not ours any more: it belongs to
    /// the page tables of the holder, or to whoever took it out of them.
    kept: bool,
}

#[inline(never)]
fn reach_identity<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: &H::Domain,
    op: &MapGrantRef,
    uses: Uses,
    frame: &H::Frame,
    mfn: Mfn,
) -> Result<(), NotReached> {
    let state = holder.state().ok_or(NotReached {
        status: Gntst::GeneralError,
        kept: true,
    })?;
    let write = op.flags & GNTMAP_READONLY == 0;
    let added = state.grants.identity.add(host, holder, granter, mfn, write);
    added.map_err(|error| {
        log::debug!("{} IOMMU mapping: {error:?}", holder.id());
        NotReached {
            status: Gntst::GeneralError,
            kept: uses != Uses::Device && !undo_map_for_cpu(host, holder, op, frame),
        }
    })
}

/// A mapping of this granter's page must be known to the IOMMU. A domain's own
/// pages are there anyway.
#[inline(always)]
fn needs_identity<H: Host>(host: &H, holder: &H::Domain, granter: DomId) -> bool {
    holder.id() != granter && host.cpu_map_needs_identity(holder)
}

impl<F: Frame> CpuMapping<F> {
    /// Undoing it, or a part of it, leaves no reason for writing.
    pub(super) fn is_writing(&self) -> bool {
        u32::from(self.gntmap_flags) & GNTMAP_READONLY == 0
    }
}

/// Gives back all CPU mappings of a dying domain. False: preempted, call again.
///
/// The domain's vcpus no longer run, and nothing can translate through its
/// address space any more.
pub fn release_cpu_mappings<H: Host>(host: &H, holder: &H::Domain, state: &DomainState<H>) -> bool {
    const BETWEEN_CHECKS: u32 = 64;
    loop {
        for _ in 0..BETWEEN_CHECKS {
            match state.grants.maptrack.pop() {
                None => return true,
                Some(None) => {}
                Some(Some(mapping)) => release(host, holder, state, mapping),
            }
        }
        if host.preempt_requested() {
            return false;
        }
    }
}

fn release<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    mapping: CpuMapping<H::Frame>,
) {
    log::debug!(
        "Grant release ref {:#x} flags {:#x} {}",
        mapping.gref.0,
        mapping.gntmap_flags,
        mapping.granter
    );
    let (uses, write) = (mapping.uses, mapping.is_writing());
    // A PV holder can drop a CPU mapping's page reference by overwriting the page
    // table entry; then nothing keeps the granter, nor is there anything to give back.
    let granter = host.domain(mapping.granter);
    if let Some(granter) = granter.as_ref().filter(|_| write) {
        host.mark_dirty(granter, &mapping.frame);
    }
    let unreachable = end_identity(host, holder, state, &mapping);
    if let Some(granter) = &granter {
        for kind in uses.kinds() {
            let held = (holder.id(), mapping.frame.mfn());
            unpin_if_held(host, granter, mapping.gref, kind, write, held);
        }
    }
    let frame = mapping.frame;
    if !unreachable {
        // A page that a device may reach must not be anybody else's.
        core::mem::forget(frame);
    } else if uses != Uses::Device && !holder.releases_cpu_mappings() {
        give_up_cpu_reference::<H>(holder, granter.as_deref(), frame, write);
    }
}

/// Leaves the CPU mapping's page reference to the page tables of the holder, which
/// give it back, or have given it back. That of the device is dropped.
fn give_up_cpu_reference<H: Host>(
    holder: &H::Domain,
    granter: Option<&H::Domain>,
    mut frame: H::Frame,
    write: bool,
) {
    let typed =
        granter.is_some_and(|granter| takes_type::<H>(holder, granter, PinKind::Cpu, write));
    match frame.take_one(typed) {
        Some(taken) => taken.leave_to_page_tables(),
        None => frame.leave_to_page_tables(),
    }
}

/// Ends what the devices of `holder` reach by a mapping that ends as a whole.
/// False: that failed, and they may reach the frame still.
#[inline(always)]
pub(super) fn end_identity<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    mapping: &CpuMapping<H::Frame>,
) -> bool {
    if !needs_identity(host, holder, mapping.granter) {
        return true;
    }
    let mfn: Mfn = mapping.frame.mfn();
    let write = mapping.is_writing();
    match state.grants.identity.remove(host, holder, mfn, write) {
        Ok(()) => true,
        Err(error) => {
            log::error!(
                "{}: frame {:#x} stays, its devices may reach it: {error:?}",
                holder.id(),
                mfn.number()
            );
            false
        }
    }
}
