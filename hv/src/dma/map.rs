// SPDX-License-Identifier: GPL-2.0-only
//! `map`: from a guest's wish to frames that devices reach.
//!
//! Order of work, so that a failure at any point leaves nothing behind:
//! validate; find the granter and ask access control; set device frames, a handle
//! and quota aside; pin the frames; program the IOMMU; only then name the mapping.

use hypercall_abi::{
    Errno,
    command::{XEN_GDMA_CONTEXT_DEFAULT, XEN_GDMA_MAX_FRAMES},
    grant::{GNTMAP_DEVICE_MAP, GNTMAP_READONLY},
    mapping::{
        Map, XEN_GDMA_MAP_FIXED, XEN_GDMA_MAP_GRANT, XEN_GDMA_MAP_OWN, XEN_GDMA_MAP_READ,
        XEN_GDMA_MAP_WRITE,
    },
};

use super::{
    context::{Context, DmaPin, Handle, Reservation, ReserveError},
    flush,
};
use crate::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GrantRef, PAGE_SIZE},
    grant::{EntryError, Pin, PinError, Usage, active::PinKind},
    host::{Domain, FlushFlags, FrameError, Host, IoMemory, IommuMode},
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
    /// The IOMMU.
    Iommu,
}

impl From<MapError> for Errno {
    fn from(error: MapError) -> Self {
        match error {
            MapError::BadField(_) | MapError::Reserve(ReserveError::OutOfRange) => Self::Inval,
            MapError::NoContext => Self::NoEnt,
            MapError::NotMappable => Self::OpNotSupp,
            MapError::NoGranter(_) | MapError::Pin(PinError::NoTable) => Self::Srch,
            MapError::Refused => Self::Perm,
            MapError::Reserve(ReserveError::Quota) => Self::NoBufs,
            MapError::Reserve(ReserveError::InUse) => Self::Exist,
            MapError::Reserve(ReserveError::NoSpace) => Self::NoSpc,
            MapError::Reserve(ReserveError::OutOfMemory) => Self::NoMem,
            MapError::Pin(PinError::OutOfRange { .. }) => Self::Range,
            MapError::Pin(PinError::Entry(
                EntryError::NotGranted { .. } | EntryError::ReadOnly,
            )) => Self::Acces,
            MapError::Pin(PinError::BadPart | PinError::NotTransitive | PinError::NoOrigin) => {
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

/// Where the frames come from, as the guest says.
#[derive(Clone, Copy, Debug)]
enum Source {
    Own(Gfn),
    Grant(DomId, u64),
}

/// A `map` element that makes sense by itself.
#[derive(Clone, Copy, Debug)]
struct Request {
    source: Source,
    count: u32,
    access: Access,
    wanted: Option<Dfn>,
}

impl Request {
    fn parse(op: &Map) -> Result<Self, MapError> {
        const KNOWN: u32 = XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE | XEN_GDMA_MAP_FIXED;
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
        let request = Self {
            source: Self::parse_source(op)?,
            count: op.nr_frames,
            access,
            wanted: fixed.then_some(Dfn::of_address(op.daddr)),
        };
        if op.context == XEN_GDMA_CONTEXT_DEFAULT {
            Ok(request)
        } else {
            Err(MapError::NoContext)
        }
    }

    /// A device address that the guest has chosen is inside `range`.
    fn fits(&self, range: DfnRange) -> bool {
        self.wanted.is_none_or(|first| {
            range
                .index_of(first)
                .is_some_and(|index| u64::from(self.count) <= range.count - index)
        })
    }

    fn parse_source(op: &Map) -> Result<Source, MapError> {
        match op.kind {
            XEN_GDMA_MAP_OWN if op.domid == 0 => Ok(Source::Own(Gfn::new(op.source))),
            XEN_GDMA_MAP_OWN => Err(MapError::BadField("domid")),
            XEN_GDMA_MAP_GRANT => Ok(Source::Grant(DomId(op.domid), op.source)),
            _ => Err(MapError::BadField("kind")),
        }
    }
}

/// How many of the guest's own frames in the way of new mappings are stepped over
/// at a time. Only a guest that fills the hole on purpose has so many there.
const RESERVE_ATTEMPTS: u32 = 64;

/// Works on one `map` element. On success `op` carries device address and handle,
/// and `flush` what is left to be flushed before devices see the mapping.
///
/// Takes the holder's context lock and, never at the same time, the granter's
/// table lock.
pub fn map<H: Host>(
    host: &H,
    holder: &H::Domain,
    op: &mut Map,
    flush: &mut MapFlush,
) -> Result<(), MapError> {
    let request = Request::parse(op)?;
    let state = holder.state().ok_or(MapError::NotMappable)?;
    let range = open_default_context(host, holder, state)?;
    if !request.fits(range) {
        return Err(MapError::Reserve(ReserveError::OutOfRange));
    }
    let granter = find_granter(host, holder, &request)?;
    let reservation = reserve(host, holder, state, range, &request)?;
    if let Err(error) = pin_all(
        host,
        holder,
        state,
        granter.as_deref(),
        &request,
        &reservation,
    ) {
        withdraw(host, state, reservation);
        return Err(error);
    }
    let extent = reservation.range;
    let handle = program(host, holder, state, reservation, request.access, flush)?;
    flush.extend(extent);
    op.daddr = extent.first.to_address().ok_or(MapError::Iommu)?;
    op.handle = handle.wire();
    Ok(())
}

/// Device frames that became translated and what Xen's IOMMU code wants flushed
/// for them (nothing, on hardware that does not cache absent entries).
#[derive(Debug, Default)]
pub struct MapFlush {
    range: Option<DfnRange>,
    flags: FlushFlags,
}

impl MapFlush {
    fn extend(&mut self, new: DfnRange) {
        self.range = Some(match self.range {
            None => new,
            Some(old) => {
                let first = old.first.min(new.first);
                let end = (old.first.number() + old.count).max(new.first.number() + new.count);
                DfnRange {
                    first,
                    count: end - first.number(),
                }
            }
        });
    }

    /// Makes the new mappings visible to devices.
    pub fn complete<H: Host>(self, host: &H, holder: &H::Domain) -> Result<(), MapError> {
        let Some(range) = self.range else {
            return Ok(());
        };
        host.iommu_flush(holder, range, self.flags)
            .map(|_proof| ())
            .map_err(|_| MapError::Iommu)
    }
}

/// The device frames of the holder's default context.
pub fn default_range<H: Host>(host: &H, holder: &H::Domain) -> Option<DfnRange> {
    if !holder.is_translated() || host.iommu_mode(holder) != IommuMode::OwnTables {
        return None;
    }
    host.device_hole(holder).filter(|hole| hole.count != 0)
}

fn open_default_context<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
) -> Result<DfnRange, MapError> {
    if let Some(range) = state.dma.context.lock().range() {
        return Ok(range);
    }
    let hole = default_range(host, holder).ok_or(MapError::NotMappable)?;
    state
        .dma
        .context
        .lock()
        .open(hole)
        .map_err(MapError::Reserve)
}

fn find_granter<H: Host>(
    host: &H,
    holder: &H::Domain,
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
    host.may_map_grant(holder, &granter, GNTMAP_DEVICE_MAP | readonly)
        .map_err(|_| MapError::Refused)?;
    Ok(Some(granter))
}

/// Sets device frames, a handle and quota aside, where the guest has nothing of its
/// own.
fn reserve<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    range: DfnRange,
    request: &Request,
) -> Result<Reservation, MapError> {
    for _ in 0..RESERVE_ATTEMPTS {
        let mut context = state.dma.context.lock();
        let reservation = context
            .reserve(range, request.wanted, request.count, request.access)
            .map_err(MapError::Reserve)?;
        let first = reservation.range.first.number();
        let taken = (first..first + reservation.range.count)
            .find(|&frame| !host.gfn_is_hole(holder, Gfn::new(frame)));
        let Some(taken) = taken else {
            return Ok(reservation);
        };
        // The guest has put something there since the context was opened.
        while context.withdraw_next(&reservation).is_some() {}
        if request.wanted.is_some() {
            return Err(MapError::Reserve(ReserveError::InUse));
        }
        context.search_behind(Dfn::new(taken));
    }
    Err(MapError::Reserve(ReserveError::NoSpace))
}

fn pin_all<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    granter: Option<&H::Domain>,
    request: &Request,
    reservation: &Reservation,
) -> Result<(), MapError> {
    for nth in 0..request.count {
        let pin = pin_one(host, holder, granter, request, nth)?;
        state.dma.context.lock().place(reservation, nth, pin);
    }
    Ok(())
}

fn pin_one<H: Host>(
    host: &H,
    holder: &H::Domain,
    granter: Option<&H::Domain>,
    request: &Request,
    nth: u32,
) -> Result<DmaPin<H::Frame>, MapError> {
    let write = request.access.write;
    match (request.source, granter) {
        (Source::Grant(_, first), Some(granter)) => {
            // A reference of more than 32 bits is outside every table.
            let gref = first
                .checked_add(u64::from(nth))
                .and_then(|gref| u32::try_from(gref).ok())
                .ok_or(MapError::Pin(PinError::OutOfRange { entries: 0 }))?;
            let usage = Usage {
                kind: PinKind::Device,
                write,
                take_type: write,
                io: IoMemory::Refused,
            };
            Pin::take(host, granter, GrantRef(gref), holder.id(), usage)
                .map(DmaPin::Grant)
                .map_err(MapError::Pin)
        }
        (Source::Grant(domid, _), None) => Err(MapError::NoGranter(domid)),
        (Source::Own(first), _) => {
            let gfn = first
                .checked_add(u64::from(nth))
                .ok_or(MapError::Frame(FrameError::NotMemory))?;
            host.pin_gfn(holder, gfn, request.access, write, IoMemory::Refused)
                .map(|frame| DmaPin::Own { frame, gfn })
                .map_err(MapError::Frame)
        }
    }
}

/// Gives back a reservation that the IOMMU never saw.
fn withdraw<H: Host>(host: &H, state: &DomainState<H>, reservation: Reservation) {
    loop {
        let pin = state.dma.context.lock().withdraw_next(&reservation);
        match pin {
            Some(pin) => flush::release(host, pin),
            None => return,
        }
    }
}

/// Programs the IOMMU and turns the reservation into a mapping.
fn program<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    reservation: Reservation,
    access: Access,
    flush: &mut MapFlush,
) -> Result<Handle, MapError> {
    let mut context = state.dma.context.lock();
    if let Err(error) = context.prepare_commit(&reservation) {
        drop(context);
        withdraw(host, state, reservation);
        return Err(MapError::Reserve(error));
    }
    match program_runs(host, holder, &context, &reservation, access) {
        Ok(flags) => {
            flush.flags.add(flags);
            context.commit(reservation).ok_or(MapError::Iommu)
        }
        Err(ProgramError::Withdrawn(flags)) => {
            context.abandon(reservation, flags);
            drop(context);
            // If this fails too the frames stay pinned until a flush succeeds.
            let _ = flush::flush(host, holder, state);
            Err(MapError::Iommu)
        }
        Err(ProgramError::Stuck) => {
            // Devices reach a part of it, so it must be a mapping, though the
            // guest is not told its name: an unmap by address, or the holder's
            // death, tries again.
            let _ = context.commit(reservation);
            Err(MapError::Iommu)
        }
    }
}

/// How far the IOMMU got when it refused to map.
enum ProgramError {
    /// What was mapped has been unmapped again and wants this flush.
    Withdrawn(FlushFlags),
    /// It refuses to unmap as well.
    Stuck,
}

fn program_runs<H: Host>(
    host: &H,
    holder: &H::Domain,
    context: &Context<H>,
    reservation: &Reservation,
    access: Access,
) -> Result<FlushFlags, ProgramError> {
    let mut flags = FlushFlags::NONE;
    let mut done = 0;
    let mapped = context.try_for_each_run(reservation, |dfn, mfn, length| {
        host.iommu_map(holder, dfn, mfn, length, access, &mut flags)?;
        done += length;
        Ok::<(), crate::host::IommuError>(())
    });
    if mapped.is_ok() {
        return Ok(flags);
    }
    if done != 0
        && host
            .iommu_unmap(holder, reservation.range.first, done, &mut flags)
            .is_err()
    {
        log::error!(
            "{}: IOMMU refuses map and unmap at dfn {:#x}",
            holder.id(),
            reservation.range.first.number()
        );
        return Err(ProgramError::Stuck);
    }
    Err(ProgramError::Withdrawn(flags))
}
