// SPDX-License-Identifier: GPL-2.0-only
//! `unmap`, and the release of what a dying domain leaves.

use hypercall_abi::{
    Errno,
    command::XEN_GDMA_CONTEXT_DEFAULT,
    mapping::{Unmap, XEN_GDMA_UNMAP_BY_DADDR},
};

use super::{
    context::{Context, Handle, Mapping},
    flush,
};
use crate::{
    addr::{Dfn, PAGE_SIZE},
    host::{Domain, FlushFlags, Host},
    state::DomainState,
    sync::SpinLock,
};

/// So many frames may wait for one flush; then it is made, so that giving them
/// back stays a bounded step.
pub const MAX_PENDING: u32 = 1024;

/// Why an `unmap` element failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmapError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// No context with this number.
    NoContext,
    /// Stale or unknown handle, or no mapping of exactly this range.
    NoMapping,
    /// The IOMMU refused; the mapping stays.
    Iommu,
}

impl From<UnmapError> for Errno {
    fn from(error: UnmapError) -> Self {
        match error {
            UnmapError::BadField(_) => Self::Inval,
            UnmapError::NoContext | UnmapError::NoMapping => Self::NoEnt,
            UnmapError::Iommu => Self::Io,
        }
    }
}

/// How the guest names the mapping.
enum Name {
    Handle(Handle),
    Range(Dfn, u32),
}

fn parse(op: &Unmap) -> Result<Name, UnmapError> {
    if op.flags & !XEN_GDMA_UNMAP_BY_DADDR != 0 {
        return Err(UnmapError::BadField("flags"));
    }
    let name = if op.flags & XEN_GDMA_UNMAP_BY_DADDR == 0 {
        if op.daddr != 0 || op.nr_frames != 0 {
            return Err(UnmapError::BadField("daddr or nr_frames"));
        }
        Name::Handle(Handle::alleged(op.handle))
    } else {
        if op.handle != 0 || !op.daddr.is_multiple_of(PAGE_SIZE) {
            return Err(UnmapError::BadField("handle or daddr"));
        }
        Name::Range(Dfn::of_address(op.daddr), op.nr_frames)
    };
    if op.context == XEN_GDMA_CONTEXT_DEFAULT {
        Ok(name)
    } else {
        Err(UnmapError::NoContext)
    }
}

fn find<H: Host>(host: &H, context: &Context<H>, name: &Name) -> Option<Mapping> {
    match *name {
        Name::Handle(handle) => context.by_handle(host, handle),
        Name::Range(first, count) => context
            .by_dfn(host, first)
            .map(|found| found.mapping)
            .filter(|mapping| {
                mapping.range.first == first && mapping.range.count == u64::from(count)
            }),
    }
}

/// What one `unmap` element did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Frames of the mapping that is gone.
    pub frames: u32,
    /// Frames that now wait for a flush.
    pub pending: u32,
}

/// Works on one `unmap` element. The frames come back with the next
/// [`flush::flush`]; the caller makes it before the hypercall returns.
///
/// Takes the holder's context lock.
pub fn unmap<H: Host>(host: &H, holder: &H::Domain, op: &Unmap) -> Result<Unmapped, UnmapError> {
    let name = parse(op)?;
    let state = holder.state().ok_or(UnmapError::NoMapping)?;
    let mut context = state.dma.context.lock();
    let mapping = find(host, &context, &name).ok_or(UnmapError::NoMapping)?;
    take_back(host, holder, &mut context, &mapping)
}

fn take_back<H: Host>(
    host: &H,
    holder: &H::Domain,
    context: &mut Context<H>,
    mapping: &Mapping,
) -> Result<Unmapped, UnmapError> {
    let frames = mapping.range.count as u32;
    let mut flags = FlushFlags::NONE;
    let unmapped = host.iommu_unmap(holder, mapping.range.first, frames, &mut flags);
    if unmapped.is_err() {
        // A part of it may be gone from the tables: the next flush covers that.
        context.note_flush(mapping, flags);
        return Err(UnmapError::Iommu);
    }
    context.retire(mapping, flags);
    Ok(Unmapped {
        frames,
        pending: context.pending(),
    })
}

/// How far the release of a dying domain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Everything is back.
    Complete,
    /// Preempted: call again.
    Preempted,
    /// The IOMMU failed: what a device may still reach stays pinned for ever.
    Stuck,
}

/// Gives back all DMA mappings of a dying domain, in bounded steps.
///
/// The domain's vcpus no longer run. Takes the holder's context lock and, never at
/// the same time, granters' table locks.
pub fn release_all<H: Host>(host: &H, holder: &H::Domain, state: &DomainState<H>) -> Release {
    while let Some(pending) = release_one(host, holder, state) {
        let preempted = host.preempt_requested();
        if pending >= MAX_PENDING || preempted {
            if flush::flush(host, holder, state).is_err() {
                return Release::Stuck;
            }
            if preempted {
                return Release::Preempted;
            }
        }
    }
    let flushed = flush::flush(host, holder, state);
    if flushed.is_err() || state.dma.pinned() != 0 {
        Release::Stuck
    } else {
        Release::Complete
    }
}

/// Takes one mapping back, and returns how many frames wait for a flush. `None`:
/// there are no more mappings.
fn release_one<H: Host>(host: &H, holder: &H::Domain, state: &DomainState<H>) -> Option<u32> {
    let mut context = state.dma.context.lock();
    let mapping = context.any_mapping()?;
    if let Err(error) = take_back(host, holder, &mut context, &mapping) {
        log::error!(
            "{}: {} frames at dfn {:#x} stay pinned for ever: {error:?}",
            holder.id(),
            mapping.range.count,
            mapping.range.first.number()
        );
        context.disown(&mapping);
    }
    Some(context.pending())
}
