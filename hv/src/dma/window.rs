// SPDX-License-Identifier: GPL-2.0-only
//! `window_create` and `window_destroy`: large mappings, made and ended in bounded steps.
//!
//! What has been done of a window is in the context's records alone, under its lock.
//! Each step looks there what comes next, so it does not matter who does it: the vcpu
//! that makes the call, or one that destroys the context, revokes a grant, or finds a
//! window that somebody began and left.

use hypercall_abi::{
    mapping::{Map, XEN_GDMA_MAP_GRANT, XEN_GDMA_MAP_OWN, XEN_GDMA_NO_FLUSH},
    window::{WindowCreate, WindowDestroy},
};

use super::{
    context::{
        Context, FoundSource, Handle, Maker, NewWindow, Phase, Piece, ReserveError, Taken, Window,
    },
    flush,
    map::{MapError, Place, Request, Source, pin_grant},
    space::Space,
    unmap::UnmapError,
};
use crate::{
    addr::{Dfn, DfnRange, Gfn, GrantRef, PAGE_SHIFT},
    grant::OpenTable,
    host::{Domain, FlushFlags, FrameError, FrameRun, Host, Progress},
    state::DomainState,
    sync::SpinLock,
};

/// Large pages of I/O page tables, in frames.
const LARGE: [u64; 2] = [1 << 18, 1 << 9];
/// About so much work, in entries of page tables and pins of single frames, is done
/// with the context locked.
const WORK_PER_STEP: u32 = 64;
/// So many frames of one page of the guest's own tables are pinned with the work of one
/// single frame.
const FRAMES_PER_WORK: u32 = 16;
/// Pieces given back in one step: of own frames, hundreds of frames each.
const PIECES_PER_STEP: u32 = 4;
/// The same, of one grant each.
const GRANTS_PER_STEP: u32 = 64;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do; this was so much work, in frames.
    More(u32),
    /// Devices reach all of it, as soon as the next flush has been made.
    Complete,
    /// The window is gone. Its maker is to be told this, if it waits for an answer.
    Gone(Option<MapError>),
    /// The IOMMU does not give it up, or the flush fails.
    Refused,
}

fn parse(op: &WindowCreate) -> Result<Request, MapError> {
    if op.flags & XEN_GDMA_NO_FLUSH != 0 {
        return Err(MapError::BadField("flags"));
    }
    if !matches!(op.kind, XEN_GDMA_MAP_OWN | XEN_GDMA_MAP_GRANT) {
        return Err(MapError::BadField("kind"));
    }
    if op.nr_frames == 0 {
        return Err(MapError::BadField("nr_frames"));
    }
    // For the rest, what holds for one frame holds for all.
    let mut request = Request::parse(&Map {
        context: op.context,
        kind: op.kind,
        domid: op.domid,
        source: op.source,
        nr_frames: 1,
        flags: op.flags,
        daddr: op.daddr,
        pad0: op.pad0,
        ..Map::default()
    })?;
    request.count = op.nr_frames;
    Ok(request)
}

/// Works on a `window_create` element. On success `op` carries device address and
/// handle. When the call is continued, the same vcpu finds what it has begun.
///
/// Takes the lock of the holder's contexts for reading; then the context's, and inside it
/// the granter's table lock.
pub fn create<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    op: &mut WindowCreate,
) -> Result<Progress, MapError> {
    let request = parse(op)?;
    let space = state.dma.space(host, op.context);
    let space = &*space.ok_or(MapError::NoContext)?;
    let ending = Ending {
        host,
        holder: caller,
        state,
        space,
    };
    let maker = Maker {
        vcpu: host.current_vcpu(),
        request,
    };
    if ending.sweep(maker)? == Progress::Preempted {
        return Ok(Progress::Preempted);
    }
    let begun = space.context.lock().window_of(maker.vcpu);
    let making = Making { ending, request };
    let handle = match begun {
        Some((handle, _)) => handle,
        None => making.begin(maker)?,
    };
    let made = making.go_on(handle)?;
    if let Some(range) = made {
        op.daddr = range.first.to_address().ok_or(MapError::Iommu)?;
        op.handle = handle.wire();
        return Ok(Progress::Done);
    }
    Ok(Progress::Preempted)
}

/// Ends a window that the guest was not told of, the next time that somebody makes one
/// in its context.
pub fn lose<H: Host>(host: &H, state: &DomainState<H>, op: &WindowCreate) {
    let Some(space) = state.dma.space(host, op.context) else {
        return;
    };
    let mut context = space.context.lock();
    let handle = Handle::alleged(op.handle);
    context.end_window(&state.dma.pins, handle, MapError::Iommu);
    context.abandon_window(handle);
}

/// Works on a `window_destroy` element.
///
/// Takes, one after the other, the lock of the caller's contexts for reading, that of
/// the context, and granters' table locks.
pub fn destroy<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    op: &WindowDestroy,
) -> Result<Progress, UnmapError> {
    let space = state.dma.space(host, op.context);
    let space = &*space.ok_or(UnmapError::NoContext)?;
    let ending = Ending {
        host,
        holder: caller,
        state,
        space,
    };
    let handle = Handle::alleged(op.handle);
    {
        let mut context = space.context.lock();
        if !context.is_window(handle) {
            return Err(UnmapError::NoMapping);
        }
        context.end_window(&state.dma.pins, handle, MapError::Iommu);
    }
    match ending.end(handle) {
        Ended::Gone => Ok(Progress::Done),
        Ended::Preempted => Ok(Progress::Preempted),
        Ended::Refused => Err(UnmapError::Iommu),
    }
}

/// How the end of a window went.
pub(super) enum Ended {
    /// It is gone.
    Gone,
    /// Something else wants the CPU.
    Preempted,
    /// The IOMMU failed.
    Refused,
}

/// The end of windows of one context.
pub(super) struct Ending<'a, H: Host> {
    pub host: &'a H,
    pub holder: &'a H::Domain,
    pub state: &'a DomainState<H>,
    pub space: &'a Space<H>,
}

impl<H: Host> Ending<'_, H> {
    /// Takes a window that is on its way out to its end, or to where something else
    /// wants the CPU.
    pub fn end(&self, handle: Handle) -> Ended {
        loop {
            match self.step(handle) {
                Step::Gone(_) => return Ended::Gone,
                Step::Refused | Step::Complete => {
                    // What fails still waits.
                    let _ = self.settle();
                    return Ended::Refused;
                }
                Step::More(_) => {}
            }
            if self.host.preempt_requested() {
                return match self.settle() {
                    Ok(()) => Ended::Preempted,
                    Err(flush::FlushFailed) => Ended::Refused,
                };
            }
        }
    }

    /// Flushes, if tables were freed that hardware may walk: that cannot wait until the
    /// call is continued.
    fn settle(&self) -> Result<(), flush::FlushFailed> {
        let flags = self.space.context.lock().pending_flags();
        if self.host.must_flush_soon(flags) {
            return flush::flush(self.host, self.holder, self.state, self.space);
        }
        Ok(())
    }

    /// Ends what others have left here, and what this vcpu has begun if that is not
    /// what it asks for now.
    fn sweep(&self, maker: Maker) -> Result<Progress, MapError> {
        loop {
            let orphan = {
                let mut context = self.space.context.lock();
                let other = context
                    .window_of(maker.vcpu)
                    .filter(|&(_, request)| request != maker.request);
                if let Some((handle, _)) = other {
                    context.end_window(&self.state.dma.pins, handle, MapError::Revoked);
                    context.abandon_window(handle);
                }
                context.orphan()
            };
            let Some(orphan) = orphan else {
                return Ok(Progress::Done);
            };
            match self.end(orphan) {
                Ended::Gone => {}
                Ended::Preempted => return Ok(Progress::Preempted),
                Ended::Refused => return Err(MapError::Iommu),
            }
        }
    }

    /// One step towards the end of a window that is on its way out.
    pub fn step(&self, handle: Handle) -> Step {
        let mut context = self.space.context.lock();
        match context.window(handle).map(|window| window.phase()) {
            None => Step::Gone(None),
            Some(Phase::Unmapping) => self.unmap(&mut context, handle),
            Some(Phase::FlushPending(_)) => {
                drop(context);
                match flush::flush(self.host, self.holder, self.state, self.space) {
                    Ok(()) => Step::More(1),
                    Err(flush::FlushFailed) => Step::Refused,
                }
            }
            Some(Phase::Releasing) => {
                drop(context);
                self.release(handle)
            }
            Some(Phase::Pinning | Phase::Mapping | Phase::Live | Phase::Stuck) => Step::Refused,
        }
    }

    fn unmap(&self, context: &mut Context<H>, handle: Handle) -> Step {
        let sizes = self.host.iommu_page_sizes(self.holder);
        let mut work = 0;
        while work < WORK_PER_STEP {
            let (Some(range), Some(window)) =
                (context.window_range(handle), context.window(handle))
            else {
                return Step::Gone(None);
            };
            let (from, left) = window.next_to_unmap();
            if left == 0 {
                if context.window_unmapped(handle) {
                    self.state.dma.counters.unmapped(1, range.count);
                }
                return Step::More(work.max(1));
            }
            let dfn = range.first.number() + u64::from(from);
            let (count, entries) = piece(dfn, 0, left, WORK_PER_STEP - work, sizes);
            let mut flags = FlushFlags::NONE;
            let tables = self.space.tables(self.holder);
            let unmapped = self
                .host
                .iommu_unmap(tables, Dfn::new(dfn), count, &mut flags);
            context.note_window_flush(handle, from, count, flags);
            if unmapped.is_err() {
                return Step::Refused;
            }
            if let Some(window) = context.window(handle) {
                window.note_unmapped(count);
            }
            work += entries;
        }
        Step::More(work)
    }

    fn release(&self, handle: Handle) -> Step {
        let quota = &self.state.dma.pins;
        let (mut work, mut own, mut grants) = (0, 0, 0);
        while own < PIECES_PER_STEP && grants < GRANTS_PER_STEP {
            let taken = self.space.context.lock().take_piece(quota, handle);
            let (piece, gone) = match taken {
                Taken::Some(piece) => (Some(piece), None),
                Taken::Gone(last, failure) => (last, Some(failure)),
            };
            match piece {
                Some(Piece::Own(run)) => {
                    own += 1;
                    work += 1 + run.count() / FRAMES_PER_WORK;
                }
                Some(Piece::Grant(pin)) => {
                    grants += 1;
                    work += 1;
                    flush::release_grant(self.host, self.holder, pin);
                }
                None => {}
            }
            if let Some(failure) = gone {
                return Step::Gone(failure);
            }
        }
        Step::More(work)
    }
}

/// How many of `left` frames are handed to the IOMMU at once, and how much work that
/// is: large pages if they can begin at `dfn`, and at `mfn` too, else what lies before
/// the next such place; `most` pages at most.
fn piece(dfn: u64, mfn: u64, left: u32, most: u32, sizes: u64) -> (u32, u32) {
    let most = most.max(1);
    let fits = |size: u64| {
        let supported = sizes & (size << PAGE_SHIFT) != 0;
        supported && u64::from(left) >= size && (dfn | mfn).is_multiple_of(size)
    };
    let [huge, large] = LARGE;
    if fits(huge) {
        // Where there were tables below it, unmapping it frees them one by one.
        return (huge as u32, most);
    }
    if fits(large) {
        let before = huge - dfn % huge;
        let pages = (u64::from(left).min(before) / large).min(most.into());
        return ((pages * large) as u32, pages as u32);
    }
    let before = (large - dfn % large) as u32;
    let count = left.min(before).min(most);
    (count, count)
}

/// The making of one window.
struct Making<'a, H: Host> {
    ending: Ending<'a, H>,
    request: Request,
}

impl<H: Host> Making<'_, H> {
    fn place(&self) -> Place<'_, H> {
        Place {
            holder: self.ending.holder,
            state: self.ending.state,
            space: self.ending.space,
        }
    }

    /// Sets everything aside that the window needs.
    fn begin(&self, maker: Maker) -> Result<Handle, MapError> {
        let Ending {
            host,
            holder,
            state,
            space,
        } = self.ending;
        let place = self.place();
        if place.is_identity() {
            return Err(MapError::NotMappable);
        }
        let range = place.open(host)?;
        let request = self
            .request
            .within(host, range)
            .ok_or(MapError::Reserve(ReserveError::OutOfRange))?;
        let maker = Maker { request, ..maker };
        let granter = place.find_granter(host, &self.request)?;
        let (names, congruent) = match (self.request.source, &granter) {
            (Source::Grant(_, first), Some(granter)) => {
                // One that does not fit is found when it is to be pinned.
                let gref = GrantRef(u32::try_from(first).unwrap_or(u32::MAX));
                let granter = granter.id();
                (FoundSource::Grant { granter, gref }, 0)
            }
            (Source::Grant(domid, _), None) => return Err(MapError::NoGranter(domid)),
            (Source::Own(gfn), _) => (FoundSource::Own(gfn), gfn.number()),
        };
        let sizes = host.iommu_page_sizes(holder);
        let large = LARGE.map(|size| {
            if sizes & (size << PAGE_SHIFT) != 0 {
                size
            } else {
                0
            }
        });
        let new = NewWindow {
            maker,
            names,
            congruent,
            large,
        };
        let mut context = space.context.lock();
        context
            .begin_window(&state.dma.pins, range, &new)
            .map_err(MapError::Reserve)
    }

    /// Takes the window on until it is complete. `None`: something else wants the CPU.
    fn go_on(&self, handle: Handle) -> Result<Option<DfnRange>, MapError> {
        let Ending { host, space, .. } = self.ending;
        let granter = self.place().find_granter(host, &self.request);
        let granter = granter.map_err(|error| self.fail(handle, error));
        loop {
            let step = match &granter {
                Ok(granter) => self.step(handle, granter.as_deref()),
                Err(()) => self.ending.step(handle),
            };
            match step {
                Step::Complete => return self.complete(handle).map(Some),
                Step::Gone(failure) => return Err(failure.unwrap_or_else(|| self.taken_away())),
                Step::Refused => {
                    // What fails still waits.
                    let _ = self.ending.settle();
                    space.context.lock().abandon_window(handle);
                    return Err(MapError::Iommu);
                }
                Step::More(_) => {}
            }
            if host.preempt_requested() {
                let settled = self.ending.settle();
                if settled.is_err() {
                    self.fail(handle, MapError::Iommu);
                    space.context.lock().abandon_window(handle);
                    return Err(MapError::Iommu);
                }
                return Ok(None);
            }
        }
    }

    /// Why another vcpu has ended the window.
    fn taken_away(&self) -> MapError {
        if self.ending.space.context.lock().is_closed() {
            MapError::NoContext
        } else {
            MapError::Revoked
        }
    }

    /// The window will not be.
    fn fail(&self, handle: Handle, error: MapError) {
        let mut context = self.ending.space.context.lock();
        context.end_window(&self.ending.state.dma.pins, handle, error);
    }

    /// The only flush, if the hardware needs one to see the window.
    fn complete(&self, handle: Handle) -> Result<DfnRange, MapError> {
        let Ending {
            host,
            holder,
            state,
            space,
        } = self.ending;
        if flush::flush(host, holder, state, space).is_err() {
            self.fail(handle, MapError::Iommu);
            space.context.lock().abandon_window(handle);
            return Err(MapError::Iommu);
        }
        let mut context = space.context.lock();
        let range = context.window_range(handle);
        // A revocation, or the end of the context, may have been here meanwhile.
        let mapping = context
            .window(handle)
            .is_some_and(|window| window.phase() == Phase::Mapping);
        match range {
            Some(range) if mapping => {
                context.publish_window(handle);
                state.dma.counters.mapped(1, range.count);
                Ok(range)
            }
            _ => {
                context.abandon_window(handle);
                Err(MapError::Revoked)
            }
        }
    }

    /// One step of a window that is being made, or of its end.
    fn step(&self, handle: Handle, granter: Option<&H::Domain>) -> Step {
        let mut context = self.ending.space.context.lock();
        let Some(window) = context.window(handle) else {
            return Step::Gone(None);
        };
        let done = match window.phase() {
            Phase::Pinning => self.pin(window, granter),
            Phase::Mapping => self.map(&mut context, handle),
            _ => {
                drop(context);
                return self.ending.step(handle);
            }
        };
        match done {
            Ok(step) => step,
            Err(error) => {
                context.end_window(&self.ending.state.dma.pins, handle, error);
                Step::More(1)
            }
        }
    }

    fn pin(&self, window: &mut Window<H>, granter: Option<&H::Domain>) -> Result<Step, MapError> {
        let Ending { host, holder, .. } = self.ending;
        let mut work = 0;
        let mut table = granter.map(OpenTable::of);
        while work < WORK_PER_STEP {
            let left = window.to_pin();
            if left == 0 {
                window.start_mapping();
                break;
            }
            let nth = window.pinned();
            match self.request.source {
                Source::Own(first) => {
                    let gfn = first
                        .checked_add(u64::from(nth))
                        .ok_or(MapError::Frame(FrameError::NotMemory))?;
                    let run = host
                        .pin_run(holder, gfn, left, window.access().write)
                        .map_err(MapError::Frame)?;
                    work += 1 + run.count() / FRAMES_PER_WORK;
                    window.add_run(run)?;
                }
                Source::Grant(domid, first) => {
                    let table = table.as_mut().ok_or(MapError::NoGranter(domid))?;
                    window.make_room()?;
                    let access = window.access();
                    window.add_pin(pin_grant(host, holder, table, first, nth, access)?);
                    work += 1;
                }
            }
        }
        Ok(Step::More(work))
    }

    fn map(&self, context: &mut Context<H>, handle: Handle) -> Result<Step, MapError> {
        let Ending {
            host,
            holder,
            space,
            ..
        } = self.ending;
        let sizes = host.iommu_page_sizes(holder);
        let mut work = 0;
        while work < WORK_PER_STEP {
            let (Some(range), Some(window)) =
                (context.window_range(handle), context.window(handle))
            else {
                return Ok(Step::Gone(None));
            };
            let access = window.access();
            let Some((from, mfn, follow)) = window.next_to_map(range.first) else {
                return Ok(Step::Complete);
            };
            let dfn = Dfn::new(range.first.number() + u64::from(from));
            let (count, entries) = if self.may_be_in_the_way(dfn) {
                self.check_way(dfn)?;
                (1, 1)
            } else {
                let most = WORK_PER_STEP - work;
                piece(dfn.number(), mfn.number(), follow, most, sizes)
            };
            let mut flags = FlushFlags::NONE;
            let tables = space.tables(holder);
            let mapped = host.iommu_map(tables, dfn, mfn, count, access, &mut flags);
            context.note_window_flush(handle, from, count, flags);
            if let Some(window) = context.window(handle) {
                // Also if that failed: unmapping all of it tells whether something is left.
                window.note_mapped(count);
            }
            mapped.map_err(|_| MapError::Iommu)?;
            work += entries;
        }
        Ok(Step::More(work))
    }

    /// The guest may have something of its own there. Only in the default context, and
    /// only if it has put it there on purpose.
    fn may_be_in_the_way(&self, dfn: Dfn) -> bool {
        let Ending {
            host,
            holder,
            space,
            ..
        } = self.ending;
        space.own_tables().is_none() && !host.is_above_memory(holder, Gfn::new(dfn.number()))
    }

    fn check_way(&self, dfn: Dfn) -> Result<(), MapError> {
        let Ending { host, holder, .. } = self.ending;
        if host.gfn_is_hole(holder, Gfn::new(dfn.number())) {
            return Ok(());
        }
        Err(MapError::Reserve(if self.request.wanted.is_some() {
            ReserveError::InUse
        } else {
            ReserveError::NoSpace
        }))
    }
}
