// SPDX-License-Identifier: GPL-2.0-only
//! `map`: from a guest's wish to frames that devices reach.
//!
//! Order of work, so that a failure at any point leaves nothing behind:
//! validate; find the granter and ask access control; set device frames, a handle
//! and quota aside; pin the frames; program the IOMMU; only then name the mapping.

use hypercall_abi::{
    Errno,
    command::XEN_GDMA_MAX_FRAMES,
    grant::{GNTMAP_DEVICE_MAP, GNTMAP_READONLY},
    mapping::{
        Map, Unmap, XEN_GDMA_GRANT_DMA_BIT, XEN_GDMA_MAP_FIXED, XEN_GDMA_MAP_GRANT,
        XEN_GDMA_MAP_GRANT_DMA, XEN_GDMA_MAP_OWN, XEN_GDMA_MAP_READ, XEN_GDMA_MAP_WRITE,
        XEN_GDMA_NO_FLUSH,
    },
};

use super::{
    PINS_AT_A_TIME,
    attach::usable,
    context::{Context, DmaPin, Handle, Reservation, ReserveError},
    flush,
    space::Space,
    turn::{NoContext, Turn},
    unmap::Unmaps,
};
use crate::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GrantRef, PAGE_SHIFT, PAGE_SIZE},
    grant::{EntryError, OpenTable, Pin, PinError, Usage, active::PinKind, pin::transitive},
    host::{Domain, FlushFlags, FrameError, FrameRun, Host, IoMemory, IommuMode},
    state::DomainState,
    sync::SpinLock,
};

/// Why a `map` element failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// No context with this number.
    NoContext,
    /// The default context accepts no mapping for this domain.
    NotMappable,
    /// No domain with this id.
    NoGranter(DomId),
    /// Access control.
    Refused,
    /// No device frames, handle or quota.
    Reserve(ReserveError),
    /// The grant.
    Pin(PinError),
    /// The holder's own frame.
    Frame(FrameError),
    /// The granter took it back while it was being mapped.
    Revoked,
    /// The IOMMU.
    Iommu,
}

impl From<NoContext> for MapError {
    fn from(_: NoContext) -> Self {
        Self::NoContext
    }
}

impl From<MapError> for Errno {
    fn from(error: MapError) -> Self {
        match error {
            MapError::BadField(_) | MapError::Reserve(ReserveError::OutOfRange) => Self::Inval,
            MapError::NoContext | MapError::Reserve(ReserveError::Closed) => Self::NoEnt,
            MapError::NotMappable => Self::OpNotSupp,
            MapError::NoGranter(_) | MapError::Pin(PinError::NoTable) => Self::Srch,
            MapError::Refused | MapError::Pin(PinError::Refused) => Self::Perm,
            MapError::Reserve(ReserveError::Quota) => Self::NoBufs,
            MapError::Reserve(ReserveError::InUse) => Self::Exist,
            MapError::Reserve(ReserveError::NoSpace) => Self::NoSpc,
            MapError::Reserve(ReserveError::OutOfMemory) | MapError::Pin(PinError::OutOfMemory) => {
                Self::NoMem
            }
            MapError::Pin(PinError::OutOfRange { .. }) => Self::Range,
            MapError::Pin(PinError::Entry(
                EntryError::NotGranted { .. } | EntryError::ReadOnly,
            )) => Self::Acces,
            MapError::Revoked
            | MapError::Pin(PinError::BadPart | PinError::NotTransitive | PinError::NoOrigin) => {
                Self::Acces
            }
            MapError::Pin(
                PinError::Entry(EntryError::Unstable)
                | PinError::OtherHolder(_)
                | PinError::ForCopiesOnly,
            ) => Self::Busy,
            MapError::Pin(PinError::TooMany) => Self::MLink,
            MapError::Frame(error) | MapError::Pin(PinError::Frame(error)) => match error {
                FrameError::NotMemory | FrameError::NotWritable | FrameError::Gone => Self::Fault,
                FrameError::TryAgain => Self::Again,
            },
            MapError::Pin(PinError::Changed | PinError::OtherPage) => Self::Again,
            MapError::Iommu => Self::Io,
        }
    }
}

/// Marks a grant-DMA address.
const GRANT_DMA_ADDR: u64 = 1 << XEN_GDMA_GRANT_DMA_BIT;

/// Where the frames come from, as the guest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The caller's, from this frame on.
    Own(Gfn),
    /// Grants of a domain, from this reference on.
    Grant(DomId, u64),
}

/// A `map` or `window_create` element that makes sense by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be mapped.
    pub source: Source,
    /// How many frames.
    pub count: u32,
    /// What devices may do.
    pub access: Access,
    /// Where the guest wants it.
    pub wanted: Option<Dfn>,
    /// The flush can wait until another call.
    pub(super) no_flush: bool,
}

impl Request {
    pub(super) fn parse(op: &Map) -> Result<Self, MapError> {
        const KNOWN: u32 =
            XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE | XEN_GDMA_MAP_FIXED | XEN_GDMA_NO_FLUSH;
        if op.pad0 != 0 {
            return Err(MapError::BadField("pad0"));
        }
        let access = Access {
            read: op.flags & XEN_GDMA_MAP_READ != 0,
            write: op.flags & XEN_GDMA_MAP_WRITE != 0,
        };
        if op.flags & !KNOWN != 0 || !(access.read || access.write) {
            return Err(MapError::BadField("flags"));
        }
        if op.nr_frames == 0 || op.nr_frames > XEN_GDMA_MAX_FRAMES {
            return Err(MapError::BadField("nr_frames"));
        }
        let fixed = op.flags & XEN_GDMA_MAP_FIXED != 0;
        if !op.daddr.is_multiple_of(PAGE_SIZE) || (!fixed && op.daddr != 0) {
            return Err(MapError::BadField("daddr"));
        }
        Ok(Self {
            source: Self::parse_source(op)?,
            count: op.nr_frames,
            access,
            wanted: fixed.then_some(Dfn::of_address(op.daddr)),
            no_flush: op.flags & XEN_GDMA_NO_FLUSH != 0,
        })
    }

    /// The same, with a device address that the guest has chosen inside `range`, also as far
    /// as the processor guesses. `None`: it is not.
    pub(super) fn within<H: Host>(&self, host: &H, range: DfnRange) -> Option<Self> {
        let Some(first) = self.wanted else {
            return Some(*self);
        };
        let index = range.index_of(first)?;
        if u64::from(self.count) > range.count - index {
            return None;
        }
        let index = host.clamp_index(index as usize, range.count as usize);
        let wanted = range.first.checked_add(index as u64);
        Some(Self { wanted, ..*self })
    }

    pub(super) fn parse_source(op: &Map) -> Result<Source, MapError> {
        match op.kind {
            XEN_GDMA_MAP_OWN if op.domid == 0 => Ok(Source::Own(Gfn::new(op.source))),
            XEN_GDMA_MAP_OWN => Err(MapError::BadField("domid")),
            XEN_GDMA_MAP_GRANT => Ok(Source::Grant(DomId(op.domid), op.source)),
            XEN_GDMA_MAP_GRANT_DMA => {
                let gref = (op.source & !GRANT_DMA_ADDR) >> PAGE_SHIFT;
                if op.source & GRANT_DMA_ADDR == 0 || gref > u64::from(u32::MAX) {
                    return Err(MapError::BadField("source"));
                }
                Ok(Source::Grant(DomId(op.domid), gref))
            }
            _ => Err(MapError::BadField("kind")),
        }
    }
}

/// Frames of the holder's own that are pinned, and noted in their context, in one step.
const OWN_PINS_AT_A_TIME: u32 = 64;

/// How many of the guest's own frames in the way of new mappings are stepped over
/// at a time. Only a guest that fills the hole on purpose has so many there.
const RESERVE_ATTEMPTS: u32 = 64;

/// The `map` elements of one call: new mappings, and what makes them visible at the
/// end, once for each run of elements of one context.
pub struct Maps<'a, H: Host> {
    pub(super) turn: Turn<'a, H>,
    /// The holder, for frames of its own.
    pub(super) own: OpenTable<'a, H>,
}

impl<'a, H: Host> Maps<'a, H> {
    /// None yet.
    pub fn new(holder: &'a H::Domain, state: &'a DomainState<H>) -> Self {
        Self {
            turn: Turn::new(holder, state),
            own: OpenTable::closed(holder),
        }
    }

    /// Works on one element. On success `op` carries device address and handle.
    ///
    /// Takes the context's lock and inside it the granter's table lock; that of the
    /// holder's contexts for reading, if it is not the context of the last element.
    pub fn map(&mut self, host: &H, op: &mut Map) -> Result<(), MapError> {
        let request = Request::parse(op)?;
        self.turn.enter(host, op.context)?;
        let space = self.turn.space().ok_or(MapError::NoContext)?;
        let place = Place {
            holder: self.turn.holder,
            state: self.turn.state,
            space,
        };
        let mapped = place.map(host, &request);
        // Also if it failed: tables may have been freed on the way.
        if (mapped.is_ok() && !request.no_flush)
            || host.must_flush_soon(space.context.lock().pending_flags())
        {
            self.turn.want_flush();
        }
        let (extent, handle) = mapped?;
        name(op, extent.first, handle)
    }

    /// Takes back mappings that the guest was not told of.
    pub fn undo<'e>(&mut self, host: &H, lost: impl Iterator<Item = &'e Map>) {
        let mut unmaps = Unmaps::new(self.turn.holder, self.turn.state);
        for element in lost {
            // A failure is logged, and the frames stay pinned until a flush succeeds.
            let _ = unmaps.unmap(
                host,
                &Unmap {
                    handle: element.handle,
                    context: element.context,
                    ..Unmap::default()
                },
            );
        }
        let _ = unmaps.finish(host, false);
    }

    /// What is left to be done when the call ends or is preempted.
    pub fn finish(&mut self, host: &H) -> Result<(), MapError> {
        self.turn.finish(host).map_err(|_| MapError::Iommu)
    }
}

/// Tells the guest where a mapping begins, and what it is called.
pub(super) fn name(op: &mut Map, first: Dfn, handle: Handle) -> Result<(), MapError> {
    let offset = match op.kind {
        XEN_GDMA_MAP_GRANT_DMA => op.source % PAGE_SIZE,
        _ => 0,
    };
    op.daddr = first
        .to_address()
        .and_then(|address| address.checked_add(offset))
        .ok_or(MapError::Iommu)?;
    op.handle = handle.wire();
    Ok(())
}

/// The status of an element.
#[inline]
pub fn status<H: Host>(holder: &H::Domain, result: Result<(), MapError>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            log::debug!("{} map: {error:?}", holder.id());
            Errno::from(error).wire()
        }
    }
}

/// The device frames of the holder's default context, if it is a hole in the guest's own
/// address space.
pub fn default_range<H: Host>(host: &H, holder: &H::Domain) -> Option<DfnRange> {
    if !holder.is_translated() || host.iommu_mode(holder) != IommuMode::OwnTables {
        return None;
    }
    let max_pins = holder.state()?.dma.first_max_pins;
    host.device_hole(holder)
        .map(|hole| usable(hole, max_pins))
        .filter(|range| range.count != 0)
}

/// Where a mapping goes.
pub(super) struct Place<'a, H: Host> {
    pub holder: &'a H::Domain,
    pub state: &'a DomainState<H>,
    pub space: &'a Space<H>,
}

impl<H: Host> Place<'_, H> {
    fn map(&self, host: &H, request: &Request) -> Result<(DfnRange, Handle), MapError> {
        if self.is_identity() {
            return self.map_identity(host, request);
        }
        let range = self.open(host)?;
        let request = &request
            .within(host, range)
            .ok_or(MapError::Reserve(ReserveError::OutOfRange))?;
        let granter = self.find_granter(host, request)?;
        let reservation = self.reserve(host, range, request)?;
        let how = Pinning::of(request.access);
        let pinned = self.pin_all(host, granter.as_deref(), request, how, &reservation);
        if let Err(error) = pinned {
            self.withdraw(host, &reservation);
            return Err(error);
        }
        let extent = reservation.range;
        let handle = self.program(host, reservation, request.access)?;
        Ok((extent, handle))
    }

    /// The context's device frames.
    pub fn open(&self, host: &H) -> Result<DfnRange, MapError> {
        let context = self.space.context.lock();
        if context.is_closed() {
            return Err(MapError::Reserve(ReserveError::Closed));
        }
        if let Some(range) = context.range() {
            return Ok(range);
        }
        drop(context);
        let range = default_range(host, self.holder).ok_or(MapError::NotMappable)?;
        let mut context = self.space.context.lock();
        context.open(range).map_err(MapError::Reserve)
    }

    /// The granter, if there is to be one, and if access control agrees.
    pub fn find_granter(
        &self,
        host: &H,
        request: &Request,
    ) -> Result<Option<H::DomainRef>, MapError> {
        let Source::Grant(domid, _) = request.source else {
            return Ok(None);
        };
        let granter = if domid == DomId::SELF {
            host.current()
        } else {
            host.domain(domid).ok_or(MapError::NoGranter(domid))?
        };
        let readonly = if request.access.write {
            0
        } else {
            GNTMAP_READONLY
        };
        host.may_map_grant(self.holder, &granter, GNTMAP_DEVICE_MAP | readonly)
            .map_err(|_| MapError::Refused)?;
        Ok(Some(granter))
    }

    /// Sets device frames, a handle and quota aside, where the guest has nothing of
    /// its own.
    fn reserve(
        &self,
        host: &H,
        range: DfnRange,
        request: &Request,
    ) -> Result<Reservation, MapError> {
        let quota = &self.state.dma.pins;
        for _ in 0..RESERVE_ATTEMPTS {
            let mut context = self.space.context.lock();
            let reservation = context
                .reserve(quota, range, request.wanted, request.count, request.access)
                .map_err(MapError::Reserve)?;
            let Some(taken) = self.in_the_way(host, reservation.range) else {
                return Ok(reservation);
            };
            // The guest has put something there since the context was opened.
            while context.withdraw_next(quota, &reservation).is_some() {}
            if request.wanted.is_some() {
                return Err(MapError::Reserve(ReserveError::InUse));
            }
            context.search_behind(taken);
        }
        Err(MapError::Reserve(ReserveError::NoSpace))
    }

    /// A frame of the guest's own among device frames. Only the default context has
    /// any.
    pub fn in_the_way(&self, host: &H, range: DfnRange) -> Option<Dfn> {
        if self.space.own_tables().is_some() {
            return None;
        }
        let first = range.first.number();
        (first..first + range.count)
            .find(|&frame| !host.gfn_is_hole(self.holder, Gfn::new(frame)))
            .map(Dfn::new)
    }

    /// Pins all frames.
    pub(super) fn pin_all(
        &self,
        host: &H,
        granter: Option<&H::Domain>,
        request: &Request,
        how: Pinning,
        reservation: &Reservation,
    ) -> Result<(), MapError> {
        if let Source::Own(first) = request.source
            && request.count > 1
            && how.typed == request.access.write
        {
            return self.pin_own(host, first, request, reservation);
        }
        let mut frames = 0..request.count;
        let mut table = OpenTable::closed(granter.unwrap_or(self.holder));
        while !frames.is_empty() {
            // Pinned and placed at once: who takes a grant back and sees that it is
            // pinned has to find it here.
            let mut context = self.space.context.lock();
            if granter.is_some() {
                table.open();
            }
            for nth in frames.by_ref().take(PINS_AT_A_TIME) {
                let pin = pin_one(host, self.holder, &mut table, request, (nth, how))?;
                context.place(reservation, nth, pin);
            }
            table.close();
        }
        Ok(())
    }

    /// Pins frames of the holder's own, as many with one look-up as lie in a row.
    fn pin_own(
        &self,
        host: &H,
        first: Gfn,
        request: &Request,
        reservation: &Reservation,
    ) -> Result<(), MapError> {
        let mut nth = 0;
        while let left @ 1.. = request.count - nth {
            let gfn = first.checked_add(nth.into());
            let gfn = gfn.ok_or(MapError::Frame(FrameError::NotMemory))?;
            let most = left.min(OWN_PINS_AT_A_TIME);
            let run = host.pin_run(self.holder, gfn, most, request.access.write);
            let run = run.map_err(MapError::Frame)?;
            let mut context = self.space.context.lock();
            run.into_frames(|frame| {
                // No frame number is so high that there is none behind it.
                let gfn = first.checked_add(nth.into()).unwrap_or(gfn);
                context.place(reservation, nth, DmaPin::Own { frame, gfn });
                nth += 1;
            });
        }
        Ok(())
    }

    /// Gives back a reservation that the IOMMU never saw.
    pub(super) fn withdraw(&self, host: &H, reservation: &Reservation) {
        let quota = &self.state.dma.pins;
        loop {
            let pin = self.space.context.lock().withdraw_next(quota, reservation);
            match pin {
                Some(pin) => flush::release(host, self.holder, pin),
                None => return,
            }
        }
    }

    /// Programs the IOMMU and turns the reservation into a mapping.
    pub(super) fn program(
        &self,
        host: &H,
        reservation: Reservation,
        access: Access,
    ) -> Result<Handle, MapError> {
        let mut context = self.space.context.lock();
        if context.is_doomed(&reservation) {
            drop(context);
            self.withdraw(host, &reservation);
            return Err(MapError::Revoked);
        }
        let programmed = if context.is_identity() {
            self.count_frames(host, &mut context, &reservation, access.write)
        } else {
            self.program_runs(host, &context, &reservation, access)
        };
        match programmed {
            Ok(flags) => {
                self.state.dma.counters.mapped(1, reservation.range.count);
                context.note_mapped(&reservation, flags);
                context.commit(reservation).ok_or(MapError::Iommu)
            }
            Err(ProgramError::Withdrawn(flags, error)) => {
                context.abandon(reservation, flags);
                drop(context);
                // If this fails too the frames stay pinned until a flush succeeds.
                let _ = flush::flush(host, self.holder, self.state, self.space);
                Err(error)
            }
            Err(ProgramError::Stuck(flags)) => {
                context.note_mapped(&reservation, flags);
                // Devices reach a part of it, so it must be a mapping, though the
                // guest is not told its name: an unmap by address, or the holder's
                // death, tries again.
                self.state.dma.counters.mapped(1, reservation.range.count);
                let _ = context.commit(reservation);
                Err(MapError::Iommu)
            }
        }
    }

    fn program_runs(
        &self,
        host: &H,
        context: &Context<H>,
        reservation: &Reservation,
        access: Access,
    ) -> Result<FlushFlags, ProgramError> {
        let tables = self.space.tables(self.holder);
        let mut flags = FlushFlags::NONE;
        let mut done = 0;
        let mapped = context.try_for_each_batch(reservation, |dfn, mfns| {
            let mapped = host.iommu_map_frames(tables, dfn, mfns, access, &mut flags);
            done += mapped.err().unwrap_or(mfns.len() as u32);
            mapped
        });
        if mapped.is_ok() {
            return Ok(flags);
        }
        if done != 0
            && host
                .iommu_unmap(tables, reservation.range.first, done, &mut flags)
                .is_err()
        {
            log::error!(
                "{}: IOMMU refuses map and unmap at dfn {:#x}",
                self.holder.id(),
                reservation.range.first.number()
            );
            return Err(ProgramError::Stuck(flags));
        }
        Err(ProgramError::Withdrawn(flags, MapError::Iommu))
    }
}

/// What kind of pins a mapping needs.
#[derive(Clone, Copy)]
pub(super) struct Pinning {
    /// With a writable-type reference each.
    pub typed: bool,
    /// A grant may be a transitive one.
    pub transitive: bool,
}

impl Pinning {
    /// As it follows from what devices may do.
    pub fn of(access: Access) -> Self {
        Self {
            typed: access.write,
            transitive: true,
        }
    }
}

/// Pins a frame of those that the guest names. `owner` is the granter with its table open,
/// or the holder.
#[inline(always)]
pub(super) fn pin_one<H: Host>(
    host: &H,
    holder: &H::Domain,
    owner: &mut OpenTable<'_, H>,
    request: &Request,
    (nth, how): (u32, Pinning),
) -> Result<DmaPin<H::Frame>, MapError> {
    match request.source {
        Source::Grant(_, first) => {
            pin_grant_as(host, holder, owner, (first, nth), (request.access, how))
                .map(DmaPin::Grant)
        }
        Source::Own(first) => {
            let gfn = first
                .checked_add(u64::from(nth))
                .ok_or(MapError::Frame(FrameError::NotMemory))?;
            owner
                .pin_page(host, gfn, request.access, how.typed)
                .map(|frame| DmaPin::Own { frame, gfn })
                .map_err(MapError::Frame)
        }
    }
}

/// Pins the reference `nth` places behind `first`, for devices of `holder`.
#[inline]
pub(super) fn pin_grant<H: Host>(
    host: &H,
    holder: &H::Domain,
    table: &mut OpenTable<'_, H>,
    first: u64,
    nth: u32,
    access: Access,
) -> Result<Pin<H::Frame>, MapError> {
    let how = Pinning::of(access);
    pin_grant_as(host, holder, table, (first, nth), (access, how))
}

/// The same, if it is not as usual.
#[inline(always)]
fn pin_grant_as<H: Host>(
    host: &H,
    holder: &H::Domain,
    table: &mut OpenTable<'_, H>,
    (first, nth): (u64, u32),
    (access, how): (Access, Pinning),
) -> Result<Pin<H::Frame>, MapError> {
    // A reference of more than 32 bits is outside every table.
    let gref = first
        .checked_add(u64::from(nth))
        .and_then(|gref| u32::try_from(gref).ok())
        .ok_or(MapError::Pin(PinError::OutOfRange { entries: 0 }))?;
    let usage = Usage {
        kind: PinKind::Device,
        write: access.write,
        take_type: how.typed,
        io: IoMemory::Refused,
    };
    transitive::take(host, holder, table, GrantRef(gref), usage, how.transitive)
        .map_err(MapError::Pin)
}

/// How far the IOMMU got when it refused to map, or could not be asked.
pub(super) enum ProgramError {
    /// What was mapped has been unmapped again and wants this flush; why.
    Withdrawn(FlushFlags, MapError),
    /// It refuses to unmap as well; what it did wants this flush.
    Stuck(FlushFlags),
}
