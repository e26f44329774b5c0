// SPDX-License-Identifier: GPL-2.0-only
//! `context_create`, `context_destroy`, `device_attach`.

use core::sync::atomic::Ordering;

use hypercall_abi::{
    Errno,
    command::XEN_GDMA_CONTEXT_DEFAULT,
    context::{ContextCreate, DeviceAttach},
    device::XEN_GDMA_DEVICE_PCI,
};

use super::{
    Dma,
    context::Context,
    space::{CONTEXT_NUMBERS, NewNumber, SharedSpace},
    unmap::{Emptied, release_space},
};
use crate::{
    addr::{Dfn, DfnRange, PAGE_SHIFT},
    host::{AttachError, DeviceError, Domain, Host, IommuMode, NoIoContext, OutOfMemory},
    state::DomainState,
    sync::SpinLock,
};

/// Device addresses for each frame that may be pinned: with half of them free, a
/// search from the last one given out ends soon.
const ADDRESSES_PER_PIN: u64 = 2;

/// How much of a range a context of a domain with this limit of pins will use.
pub(super) fn usable(range: DfnRange, max_pins: u32) -> DfnRange {
    DfnRange {
        count: range.count.min(addresses(max_pins)),
        ..range
    }
}

/// At most as many as indices can tell apart.
fn addresses(max_pins: u32) -> u64 {
    (u64::from(max_pins) * ADDRESSES_PER_PIN).min(u64::from(u32::MAX))
}

/// Why a context could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// No IOMMU translates for the domain's devices.
    NoIommu,
    /// The limit of contexts.
    Quota,
    /// The IOMMUs cannot tell more address spaces apart.
    OutOfNumbers,
    /// Xen has no memory.
    OutOfMemory,
}

impl From<CreateError> for Errno {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::BadField(_) => Self::Inval,
            CreateError::NoIommu => Self::OpNotSupp,
            CreateError::Quota => Self::NoBufs,
            CreateError::OutOfNumbers => Self::NoSpc,
            CreateError::OutOfMemory => Self::NoMem,
        }
    }
}

impl From<OutOfMemory> for CreateError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<NoIoContext> for CreateError {
    fn from(error: NoIoContext) -> Self {
        match error {
            NoIoContext::OutOfNumbers => Self::OutOfNumbers,
            NoIoContext::OutOfMemory => Self::OutOfMemory,
        }
    }
}

/// Whether a domain can have contexts besides the default one.
pub fn can_create<H: Host>(host: &H, owner: &H::Domain) -> bool {
    host.has_pci() && host.iommu_mode(owner) != IommuMode::Absent
}

/// The last whole page up to and including an address.
fn last_page(max_daddr: u64) -> Result<Dfn, CreateError> {
    let highest = if max_daddr == 0 { u64::MAX } else { max_daddr };
    let pages = highest.saturating_add(1) >> PAGE_SHIFT;
    pages
        .checked_sub(1)
        .map(Dfn::new)
        .ok_or(CreateError::BadField("max_daddr"))
}

/// Works on one `context_create` element.
///
/// Takes the lock of the caller's contexts for writing, twice.
pub fn create<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    op: &mut ContextCreate,
) -> Result<(), CreateError> {
    if op.flags != 0 || op.pad0 != 0 {
        return Err(CreateError::BadField("flags or pad0"));
    }
    let last = last_page(op.max_daddr)?;
    if !can_create(host, caller) {
        return Err(CreateError::NoIommu);
    }
    let max_pins = state.dma.pins.limit();
    if max_pins == 0 {
        return Err(CreateError::Quota);
    }
    state.dma.contexts.take(1).map_err(|_| CreateError::Quota)?;
    let created = host
        .context_range(caller, last, addresses(max_pins))
        .map(|range| usable(range, max_pins))
        .filter(|range| range.count != 0)
        .ok_or(CreateError::BadField("max_daddr"))
        .and_then(|range| Ok((create_paid(host, caller, &state.dma, range)?, range)));
    let (number, range) = created.inspect_err(|_| state.dma.contexts.give_back(1))?;
    op.context = number;
    (op.daddr_first, op.daddr_last) = range.byte_bounds();
    Ok(())
}

fn create_paid<H: Host>(
    host: &H,
    caller: &H::Domain,
    dma: &Dma<H>,
    range: DfnRange,
) -> Result<u32, CreateError> {
    let new = dma.reserve_number()?;
    let made = make_space(host, caller, new, range);
    match made {
        Ok(space) => {
            dma.publish(space);
            Ok(new.number)
        }
        Err(error) => {
            dma.free_number(new);
            Err(error)
        }
    }
}

fn make_space<H: Host>(
    host: &H,
    caller: &H::Domain,
    new: NewNumber,
    range: DfnRange,
) -> Result<SharedSpace<H>, CreateError> {
    let mut context = Context::new(new.first_generation);
    // Whatever the reason, it is one of memory: the range is new.
    let opened = context.open(range);
    opened.map_err(|_| CreateError::OutOfMemory)?;
    let tables = host.new_io_context(caller, new.number)?;
    Ok(Dma::new_space(host, new, tables, context)?)
}

/// Why a context could not be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestroyError {
    /// The default context cannot be ended.
    Default,
    /// No context with this number.
    NoContext,
    /// It has devices.
    HasDevices,
    /// The IOMMU failed.
    Iommu,
}

impl From<DestroyError> for Errno {
    fn from(error: DestroyError) -> Self {
        match error {
            DestroyError::Default => Self::Inval,
            DestroyError::NoContext => Self::NoEnt,
            DestroyError::HasDevices => Self::Busy,
            DestroyError::Iommu => Self::Io,
        }
    }
}

/// How far the end of a context has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// It is gone.
    Done,
    /// Something else wants the CPU: call again.
    Preempted,
}

/// One step of a `context_destroy` element.
///
/// Takes, one after the other, the lock of the caller's contexts, that of the
/// context, and granters' table locks.
pub fn destroy<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    number: u32,
) -> Result<Destroyed, DestroyError> {
    if number == XEN_GDMA_CONTEXT_DEFAULT {
        return Err(DestroyError::Default);
    }
    let space = state
        .dma
        .space(host, number)
        .ok_or(DestroyError::NoContext)?;
    if let Some(tables) = space.own_tables() {
        host.close_io_context(tables)
            .map_err(|_| DestroyError::HasDevices)?;
    }
    space.context.lock().close();
    match release_space(host, caller, state, &space) {
        Emptied::Preempted => Ok(Destroyed::Preempted),
        Emptied::Refused(_) | Emptied::Stuck => Err(DestroyError::Iommu),
        Emptied::Complete if state.dma.withdraw(&space) => {
            state.dma.contexts.give_back(1);
            Ok(Destroyed::Done)
        }
        // Another vcpu was faster.
        Emptied::Complete => Err(DestroyError::NoContext),
    }
}

/// Why a device was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// No context with this number.
    NoContext,
    /// The host's reason.
    Host(AttachError),
}

impl From<MoveError> for Errno {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::BadField(_) => Self::Inval,
            MoveError::NoContext | MoveError::Host(AttachError::Closed) => Self::NoEnt,
            MoveError::Host(AttachError::Device(DeviceError::NoPci) | AttachError::NotMovable) => {
                Self::OpNotSupp
            }
            MoveError::Host(AttachError::Device(DeviceError::NotYours)) => Self::NoDev,
            MoveError::Host(AttachError::Shared) => Self::Busy,
            MoveError::Host(AttachError::Iommu) => Self::Io,
        }
    }
}

/// Works on one `device_attach` element.
///
/// Takes the lock of the caller's contexts for reading.
pub fn attach<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    op: &DeviceAttach,
) -> Result<(), MoveError> {
    if op.pad0 != 0 {
        return Err(MoveError::BadField("pad0"));
    }
    if op.kind != XEN_GDMA_DEVICE_PCI {
        return Err(MoveError::BadField("kind"));
    }
    let sbdf = u32::try_from(op.id).map_err(|_| MoveError::BadField("id"))?;
    let space = state
        .dma
        .space(host, op.context)
        .ok_or(MoveError::NoContext)?;
    let moved = host
        .attach_device(caller, sbdf, space.tables(caller))
        .map_err(|error| {
            log::debug!("{} device {sbdf:#x}: {error:?}", caller.id());
            MoveError::Host(error)
        })?;
    if moved {
        state.dma.counters.attaches.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

// The numbers that contexts can have, less the default one's.
pub(super) const MOST_CONTEXTS: u32 = CONTEXT_NUMBERS - 1;
