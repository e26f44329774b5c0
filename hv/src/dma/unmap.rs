// SPDX-License-Identifier: GPL-2.0-only
//! `unmap`, and the release of what a dying domain or a destroyed context leaves.

use core::sync::atomic::Ordering;

use hypercall_abi::{
    Errno,
    command::XEN_GDMA_CONTEXT_DEFAULT,
    mapping::{Flush, Unmap, XEN_GDMA_NO_FLUSH, XEN_GDMA_UNMAP_BY_DADDR},
};

use super::{
    arguments,
    context::{Context, Handle, Mapping},
    flush, identity,
    map::MapError,
    space::Space,
    turn::{NoContext, Turn},
    window::{Ended, Ending},
};
use crate::{
    addr::{Dfn, PAGE_SIZE},
    host::{Domain, FlushFlags, Host, IommuError, Progress},
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
    /// It is a window.
    IsWindow,
    /// The IOMMU refused; the mapping stays.
    Iommu,
}

impl From<NoContext> for UnmapError {
    fn from(_: NoContext) -> Self {
        Self::NoContext
    }
}

impl From<UnmapError> for Errno {
    fn from(error: UnmapError) -> Self {
        match error {
            UnmapError::BadField(_) => Self::Inval,
            UnmapError::NoContext | UnmapError::NoMapping => Self::NoEnt,
            UnmapError::IsWindow => Self::OpNotSupp,
            UnmapError::Iommu => Self::Io,
        }
    }
}

/// The status of an element.
#[inline]
pub fn status<H: Host, T>(holder: &H::Domain, result: Result<T, UnmapError>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => {
            log::debug!("{} unmap: {error:?}", holder.id());
            Errno::from(error).wire()
        }
    }
}

/// How the guest names the mapping.
pub(super) enum Name {
    Handle(Handle),
    Range(Dfn, u32),
}

pub(super) fn parse(op: &Unmap) -> Result<Name, UnmapError> {
    if op.flags & !(XEN_GDMA_UNMAP_BY_DADDR | XEN_GDMA_NO_FLUSH) != 0 {
        return Err(UnmapError::BadField("flags"));
    }
    if op.flags & XEN_GDMA_UNMAP_BY_DADDR == 0 {
        if op.daddr != 0 || op.nr_frames != 0 {
            return Err(UnmapError::BadField("daddr or nr_frames"));
        }
        Ok(Name::Handle(Handle::alleged(op.handle)))
    } else {
        if op.handle != 0 || !op.daddr.is_multiple_of(PAGE_SIZE) {
            return Err(UnmapError::BadField("handle or daddr"));
        }
        Ok(Name::Range(Dfn::of_address(op.daddr), op.nr_frames))
    }
}

pub(super) fn find<H: Host>(
    host: &H,
    context: &Context<H>,
    name: &Name,
) -> Result<Mapping, UnmapError> {
    match *name {
        Name::Handle(handle) => context.by_handle(host, handle).ok_or_else(|| {
            if context.is_live_window(handle) {
                UnmapError::IsWindow
            } else {
                UnmapError::NoMapping
            }
        }),
        Name::Range(first, count) => match context.by_range(host, first, count) {
            Some(mapping) if context.is_live_window(mapping.handle) => Err(UnmapError::IsWindow),
            named => named.ok_or(UnmapError::NoMapping),
        },
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

/// The `unmap` elements of one call: mappings that end, and the flush at the end,
/// one for each run of elements of one context.
pub struct Unmaps<'a, H: Host> {
    pub(super) turn: Turn<'a, H>,
    /// A flush of the context at work failed, and the one at the end tries again.
    failed: bool,
}

impl<'a, H: Host> Unmaps<'a, H> {
    /// None yet.
    pub fn new(holder: &'a H::Domain, state: &'a DomainState<H>) -> Self {
        Self {
            turn: Turn::new(holder, state),
            failed: false,
        }
    }

    /// Works on one element. Returns how many frames it was about. The frames come
    /// back with the flush.
    ///
    /// Takes the context's lock; that of the holder's contexts for reading, if it is
    /// not the context of the last element.
    pub fn unmap(&mut self, host: &H, op: &Unmap) -> Result<u32, UnmapError> {
        let name = parse(op)?;
        self.enter(host, op.context)?;
        let deferred = op.flags & XEN_GDMA_NO_FLUSH != 0;
        if !deferred {
            // Even if there is nothing to unmap: an earlier flush may have failed.
            self.turn.want_flush();
        }
        let (holder, state) = (self.turn.holder, self.turn.state);
        let space = self.turn.space().ok_or(UnmapError::NoContext)?;
        let mut context = space.context.lock();
        let mapping = find(host, &context, &name)?;
        let done = take_back(host, holder, state, space, &mut context, &mapping);
        let (pending, flags) = (context.pending(), context.pending_flags());
        drop(context);
        self.after(host, deferred, pending, flags);
        Ok(done?.frames)
    }

    /// What may have to be flushed after elements, `pending` frames and these `flags`.
    pub(super) fn after(&mut self, host: &H, deferred: bool, pending: u32, flags: FlushFlags) {
        // A flush that failed would most likely fail again, after another time-out:
        // the next one is at the end of the call.
        if pending >= MAX_PENDING && !self.failed {
            let (holder, state) = (self.turn.holder, self.turn.state);
            let space = self.turn.space();
            self.failed =
                space.is_some_and(|space| flush::flush(host, holder, state, space).is_err());
        }
        if !deferred || host.must_flush_soon(flags) {
            self.turn.want_flush();
        }
    }

    /// Works on one `flush` element. Returns how many frames waited for it.
    pub fn flush(&mut self, host: &H, op: &Flush) -> Result<u32, UnmapError> {
        self.enter(host, op.context)?;
        let space = self.turn.space().ok_or(UnmapError::NoContext)?;
        let pending = space.context.lock().pending();
        flush::flush(host, self.turn.holder, self.turn.state, space)
            .map(|()| pending)
            .map_err(|_| UnmapError::Iommu)
    }

    pub(super) fn enter(&mut self, host: &H, number: u32) -> Result<(), UnmapError> {
        if self.turn.enter(host, number)? {
            self.failed = false;
        }
        Ok(())
    }

    /// What is left to be done when the call ends, or when it is preempted and will
    /// be continued.
    pub fn finish(&mut self, host: &H, preempted: bool) -> Result<(), flush::FlushFailed> {
        let failed = self.turn.finish(host).is_err();
        let owed = &self.turn.state.dma.owes_flush;
        if preempted {
            // The elements behind must be worked on: the end of the call decides.
            if failed {
                owed.store(true, Ordering::Relaxed);
            }
            return Ok(());
        }
        let paid = !owed.load(Ordering::Relaxed) || self.pay(host);
        if failed || !paid {
            Err(flush::FlushFailed)
        } else {
            Ok(())
        }
    }

    /// The flushes that failed when a call was preempted, in whichever context that
    /// was. False: one fails again.
    #[cold]
    fn pay(&self, host: &H) -> bool {
        let (holder, state) = (self.turn.holder, self.turn.state);
        state.dma.owes_flush.store(false, Ordering::Relaxed);
        let mut paid = true;
        state.dma.for_each_space(host, |space| {
            paid &= flush::flush(host, holder, state, space).is_ok();
        });
        if !paid {
            // Whoever else waits for it must not be told that all is well.
            state.dma.owes_flush.store(true, Ordering::Relaxed);
        }
        paid
    }
}

/// Ends a mapping of `space`, whose `context` the caller has locked.
pub(super) fn take_back<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
    context: &mut Context<H>,
    mapping: &Mapping,
) -> Result<Unmapped, UnmapError> {
    let frames = mapping.range.count as u32;
    let mut flags = FlushFlags::NONE;
    let unmapped =
        identity::unmap_frames(host, holder, state, space, (context, mapping), &mut flags);
    if unmapped.is_err() {
        // A part of it may be gone from the tables: the next flush covers that.
        context.note_flush(mapping, flags);
        return Err(UnmapError::Iommu);
    }
    context.retire(mapping, flags);
    state.dma.counters.unmapped(1, mapping.range.count);
    Ok(Unmapped {
        frames,
        pending: context.pending(),
    })
}

/// How far the release of a context, or of all that a dying domain has, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Everything is back.
    Complete,
    /// Preempted, or somebody else is at work there: call again.
    Preempted,
    /// The IOMMU failed.
    Stuck,
}

/// Gives back all DMA mappings of a dying domain, and what its vcpus passed arguments
/// in, in bounded steps. Contexts stay,
/// with nothing in them: devices may be there until they are taken from the domain.
/// [`Release::Stuck`]: what a device may still reach stays pinned for ever.
///
/// The domain's vcpus no longer run. Takes contexts' locks and, never at the same
/// time, granters' table locks.
pub fn release_all<H: Host>(host: &H, holder: &H::Domain, state: &DomainState<H>) -> Release {
    if !arguments::release_all(host, state) {
        return Release::Preempted;
    }
    while let Some(space) = state.dma.unreleased() {
        match release_dying(host, holder, state, &space) {
            // What is stuck in one context is no reason to keep the others.
            Release::Complete | Release::Stuck => state.dma.released(),
            Release::Preempted => return Release::Preempted,
        }
        if host.preempt_requested() {
            return Release::Preempted;
        }
    }
    let default = state.dma.space(host, XEN_GDMA_CONTEXT_DEFAULT);
    let released = default.map(|space| release_dying(host, holder, state, &space));
    while state.grants.identity.shed() {
        if host.preempt_requested() {
            return Release::Preempted;
        }
    }
    match released {
        Some(Release::Complete) | None if state.dma.pinned() != 0 => {
            // Others still wait for a flush that failed: once more from the start.
            state.dma.release_again();
            Release::Stuck
        }
        Some(released) => released,
        None => Release::Complete,
    }
}

/// Gives back what is mapped in a context of a dying domain. What the IOMMU does
/// not give up stays pinned.
fn release_dying<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
) -> Release {
    space.context.lock().close();
    loop {
        let mapping = match release_space(host, holder, state, space) {
            Emptied::Complete => return Release::Complete,
            Emptied::Preempted => return Release::Preempted,
            Emptied::Stuck => return Release::Stuck,
            Emptied::Refused(mapping) => mapping,
        };
        log::error!(
            "{}: {} frames at dfn {:#x} stay pinned for ever",
            holder.id(),
            mapping.range.count,
            mapping.range.first.number()
        );
        space.context.lock().disown(&mapping);
    }
}

/// How far the end of all mappings of a context has come.
pub(super) enum Emptied {
    /// There are none.
    Complete,
    /// Preempted, or another vcpu is at work there: call again.
    Preempted,
    /// The IOMMU does not give this one up.
    Refused(Mapping),
    /// The flush failed, or frames stay pinned for ever.
    Stuck,
}

/// Ends all mappings of a context in which nothing can be mapped any more, and the
/// copy of its owner's memory if it is one, in bounded steps.
pub(super) fn release_space<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
) -> Emptied {
    // What devices reach of the owner's own memory first: it is not pinned.
    let ended = space.own_tables().map(|tables| host.end_mirror(tables));
    match ended {
        Some(Ok(Progress::Preempted)) => Emptied::Preempted,
        Some(Ok(Progress::Done)) | None => release_mappings(host, holder, state, space),
        Some(Err(IommuError)) => {
            log::error!(
                "{}: the copy of its memory stays in context {}",
                holder.id(),
                space.number()
            );
            match release_mappings(host, holder, state, space) {
                Emptied::Complete => Emptied::Stuck,
                emptied => emptied,
            }
        }
    }
}

fn release_mappings<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
) -> Emptied {
    if let Some(not_yet) = release_windows(host, holder, state, space) {
        return not_yet;
    }
    loop {
        let mut context = space.context.lock();
        if let Some(mapping) = context.last_mapping() {
            let done = take_back(host, holder, state, space, &mut context, &mapping);
            if done.is_err() {
                drop(context);
                // Before anything else: tables may have been freed. What fails still waits.
                let _ = flush::flush(host, holder, state, space);
                return Emptied::Refused(mapping);
            }
        } else if !context.shed() {
            break;
        }
        let pending = context.pending();
        drop(context);
        let preempted = host.preempt_requested();
        if pending >= MAX_PENDING || preempted {
            if flush::flush(host, holder, state, space).is_err() {
                return Emptied::Stuck;
            }
            if preempted {
                return Emptied::Preempted;
            }
        }
    }
    if flush::flush(host, holder, state, space).is_err() {
        return Emptied::Stuck;
    }
    let context = space.context.lock();
    match context.pinned() {
        0 => Emptied::Complete,
        pinned if pinned == context.stuck() => Emptied::Stuck,
        // Another vcpu has not finished what it began before.
        _ => Emptied::Preempted,
    }
}

/// Ends all windows of such a context. `None`: there are none any more.
fn release_windows<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
) -> Option<Emptied> {
    let ending = Ending {
        host,
        holder,
        state,
        space,
    };
    loop {
        let (handle, range, access) = {
            let mut context = space.context.lock();
            let handle = context.any_window()?;
            context.end_window(&state.dma.pins, handle, MapError::NoContext);
            let access = context.window(handle)?.access();
            (handle, context.window_range(handle)?, access)
        };
        match ending.end(handle) {
            Ended::Gone => {}
            Ended::Preempted => return Some(Emptied::Preempted),
            Ended::Refused if flush::flush(host, holder, state, space).is_err() => {
                return Some(Emptied::Stuck);
            }
            Ended::Refused => {
                return Some(Emptied::Refused(Mapping {
                    handle,
                    range,
                    access,
                }));
            }
        }
    }
}
