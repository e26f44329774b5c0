// SPDX-License-Identifier: GPL-2.0-only
//! `context_create`, `context_destroy`, `device_attach`.

use core::sync::atomic::Ordering;

use hypercall_abi::{
    Errno,
    command::XEN_GDMA_CONTEXT_DEFAULT,
    context::{ContextCreate, DeviceAttach, XEN_GDMA_CONTEXT_MIRROR},
    device::XEN_GDMA_DEVICE_PCI,
};

use super::{
    Dma,
    context::Context,
    mirror,
    space::{CONTEXT_NUMBERS, NewNumber, SharedSpace, Space},
    unmap::{Emptied, release_space},
};
use crate::{
    addr::{Dfn, DfnRange, PAGE_SHIFT},
    host::{
        AttachError, Content, CopyError, DeviceError, Domain, Host, IommuMode, NoIoContext,
        OutOfMemory, Progress,
    },
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
    /// Access control.
    Refused,
    /// The machine cannot have such a context.
    Unsupported,
    /// The limit of contexts.
    Quota,
    /// The IOMMUs cannot tell more address spaces apart.
    OutOfNumbers,
    /// Xen has no memory.
    OutOfMemory,
    /// The IOMMU failed.
    Iommu,
}

impl From<CreateError> for Errno {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::BadField(_) => Self::Inval,
            CreateError::NoIommu | CreateError::Unsupported => Self::OpNotSupp,
            CreateError::Refused => Self::Perm,
            CreateError::Quota => Self::NoBufs,
            CreateError::OutOfNumbers => Self::NoSpc,
            CreateError::OutOfMemory => Self::NoMem,
            CreateError::Iommu => Self::Io,
        }
    }
}

impl From<CopyError> for CreateError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Unsupported => Self::Unsupported,
            CopyError::OutOfMemory => Self::OutOfMemory,
            CopyError::Iommu => Self::Iommu,
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

/// One step of a `context_create` element.
///
/// Takes the lock of the caller's contexts for writing, twice.
pub fn create<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    op: &mut ContextCreate,
) -> Result<Progress, CreateError> {
    if op.flags & !XEN_GDMA_CONTEXT_MIRROR != 0 || op.pad0 != 0 {
        return Err(CreateError::BadField("flags or pad0"));
    }
    let last = last_page(op.max_daddr)?;
    if !can_create(host, caller) {
        return Err(CreateError::NoIommu);
    }
    let created = if op.flags & XEN_GDMA_CONTEXT_MIRROR != 0 {
        match mirror::create(host, caller, state, last)? {
            Some(space) => space,
            None => return Ok(Progress::Preempted),
        }
    } else {
        let space = new_space(host, caller, &state.dma, last, Content::Empty)?;
        state.dma.publish(space.clone());
        space
    };
    let range = created.context.lock().range();
    op.context = created.number();
    (op.daddr_first, op.daddr_last) = range.map_or((0, 0), DfnRange::byte_bounds);
    Ok(Progress::Done)
}

/// A space for a new context of the caller's, if access control allows one: counted
/// against the quota, with a number under which nobody finds it yet.
pub(super) fn new_space<H: Host>(
    host: &H,
    caller: &H::Domain,
    dma: &Dma<H>,
    last: Dfn,
    content: Content,
) -> Result<SharedSpace<H>, CreateError> {
    host.may_use_contexts(caller)
        .map_err(|_| CreateError::Refused)?;
    let max_pins = dma.pins.limit();
    if max_pins == 0 {
        return Err(CreateError::Quota);
    }
    let weight = mirror::weight(content);
    dma.contexts.take(weight).map_err(|_| CreateError::Quota)?;
    host.context_range(caller, last, addresses(max_pins), content)
        .map(|range| usable(range, max_pins))
        .filter(|range| range.count != 0)
        .ok_or(CreateError::BadField("max_daddr"))
        .and_then(|range| numbered_space(host, caller, dma, range, content))
        .inspect_err(|_| dma.contexts.give_back(weight))
}

fn numbered_space<H: Host>(
    host: &H,
    caller: &H::Domain,
    dma: &Dma<H>,
    range: DfnRange,
    content: Content,
) -> Result<SharedSpace<H>, CreateError> {
    let new = dma.reserve_number()?;
    make_space(host, caller, new, range, content).inspect_err(|_| dma.free_number(new))
}

fn make_space<H: Host>(
    host: &H,
    caller: &H::Domain,
    new: NewNumber,
    range: DfnRange,
    content: Content,
) -> Result<SharedSpace<H>, CreateError> {
    let mut context = Context::new(new.first_generation);
    // Whatever the reason, it is one of memory: the range is new.
    let opened = context.open(range);
    opened.map_err(|_| CreateError::OutOfMemory)?;
    let tables = host.new_io_context(caller, new.number)?;
    Ok(Dma::new_space(host, new, tables, context, content)?)
}

/// Why a context could not be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestroyError {
    /// The default context cannot be ended.
    Default,
    /// Access control.
    Refused,
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
            DestroyError::Refused => Self::Perm,
            DestroyError::NoContext => Self::NoEnt,
            DestroyError::HasDevices => Self::Busy,
            DestroyError::Iommu => Self::Io,
        }
    }
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
) -> Result<Progress, DestroyError> {
    if number == XEN_GDMA_CONTEXT_DEFAULT {
        return Err(DestroyError::Default);
    }
    host.may_use_contexts(caller)
        .map_err(|_| DestroyError::Refused)?;
    let space = state
        .dma
        .space(host, number)
        .ok_or(DestroyError::NoContext)?;
    destroy_space(host, caller, state, &space)
}

/// One step of the end of a context.
///
/// Takes locks as [`destroy`].
pub(super) fn destroy_space<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
) -> Result<Progress, DestroyError> {
    if let Some(tables) = space.own_tables() {
        host.close_io_context(tables)
            .map_err(|_| DestroyError::HasDevices)?;
    }
    space.context.lock().close();
    match release_space(host, caller, state, space) {
        Emptied::Preempted => Ok(Progress::Preempted),
        Emptied::Refused(_) | Emptied::Stuck => Err(DestroyError::Iommu),
        Emptied::Complete if state.dma.withdraw(space) => {
            state
                .dma
                .contexts
                .give_back(mirror::weight(space.content()));
            Ok(Progress::Done)
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
    /// Access control.
    Refused,
    /// No context with this number.
    NoContext,
    /// The host's reason.
    Host(AttachError),
}

impl From<MoveError> for Errno {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::BadField(_) => Self::Inval,
            MoveError::Refused => Self::Perm,
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
    host.may_attach_device(caller, sbdf)
        .map_err(|_| MoveError::Refused)?;
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
