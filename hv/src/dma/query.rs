// SPDX-License-Identifier: GPL-2.0-only
//! `query` and `query_device`: what the service offers, what the caller uses of
//! it, and which DMA treatment a device needs.

use core::sync::atomic::Ordering;

use hypercall_abi::{
    Errno,
    command::{
        XEN_GDMA_ABI_VERSION, XEN_GDMA_CONTEXT_DEFAULT, XEN_GDMA_MAX_BATCH, XEN_GDMA_MAX_FRAMES,
    },
    device::{
        QueryDevice, XEN_GDMA_DEVICE_PCI, XEN_GDMA_DEVICE_PROTECTED, XEN_GDMA_TREATMENT_BOUNCE,
        XEN_GDMA_TREATMENT_CONTEXT, XEN_GDMA_TREATMENT_IDENTITY, XEN_GDMA_TREATMENT_TRANSLATED,
    },
    query::{
        Query, XEN_GDMA_CAP_CONTEXTS, XEN_GDMA_CAP_DEFAULT_CONTEXT, XEN_GDMA_CAP_GRANT_V1,
        XEN_GDMA_CAP_GRANT_V2, XEN_GDMA_CAP_IDENTITY, XEN_GDMA_CAP_OWN_FRAMES, XEN_GDMA_CAP_PCI,
        XEN_GDMA_CAP_PROTECTED, XEN_GDMA_CAP_REGISTERED_ARGS, XEN_GDMA_CAP_WINDOWS,
    },
};

use super::{
    attach::can_create,
    identity::{is_identity, is_protected},
    map::default_range,
};
use crate::{
    addr::{DfnRange, DomId},
    host::{DeviceError, Domain, Host, IommuMode},
    sync::SpinLock,
};

/// Why a `query` element failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// Not the caller.
    NoDomain(DomId),
    /// No device with this id, or not the caller's.
    Device(DeviceError),
}

impl From<QueryError> for Errno {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::BadField(_) => Self::Inval,
            QueryError::NoDomain(_) => Self::Srch,
            QueryError::Device(DeviceError::NoPci) => Self::OpNotSupp,
            QueryError::Device(DeviceError::NotYours) => Self::NoDev,
        }
    }
}

/// Works on one `query` element.
///
/// Takes the lock of the default context.
pub fn query<H: Host>(host: &H, caller: &H::Domain, op: &mut Query) -> Result<(), QueryError> {
    if op.pad0 != 0 {
        return Err(QueryError::BadField("pad0"));
    }
    let domid = DomId(op.domid);
    if domid != DomId::SELF && domid != caller.id() {
        return Err(QueryError::NoDomain(domid));
    }
    let state = caller.state().ok_or(QueryError::NoDomain(domid))?;
    let addresses = default_addresses(host, caller).ok_or(QueryError::NoDomain(domid))?;
    op.mappings = state.dma.live();
    op.max_pins = state.dma.pins.limit();
    op.used_pins = state.dma.pins.used();
    op.abi_version = XEN_GDMA_ABI_VERSION;
    op.capabilities = XEN_GDMA_CAP_OWN_FRAMES
        | XEN_GDMA_CAP_GRANT_V1
        | XEN_GDMA_CAP_GRANT_V2
        | XEN_GDMA_CAP_REGISTERED_ARGS
        | XEN_GDMA_CAP_WINDOWS;
    op.max_contexts = 0;
    if can_create(host, caller) {
        op.capabilities |= XEN_GDMA_CAP_CONTEXTS;
        op.max_contexts = state.dma.contexts.limit().min(host.most_contexts());
    }
    if host.has_pci() {
        op.capabilities |= XEN_GDMA_CAP_PCI;
    }
    if addresses != Addresses::None {
        op.capabilities |= XEN_GDMA_CAP_DEFAULT_CONTEXT;
    }
    if addresses == Addresses::Machine {
        op.capabilities |= XEN_GDMA_CAP_IDENTITY;
    }
    if confines(host, caller) {
        op.capabilities |= XEN_GDMA_CAP_PROTECTED;
    }
    op.max_batch = XEN_GDMA_MAX_BATCH;
    op.max_frames = XEN_GDMA_MAX_FRAMES;
    (op.daddr_first, op.daddr_last) = addresses.byte_bounds();
    op.page_sizes = host.iommu_page_sizes(caller);
    op.flushes = state.dma.counters.flushes.load(Ordering::Relaxed);
    Ok(())
}

/// Device addresses that `map` gives out in the default context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    None,
    Hole(DfnRange),
    Machine,
}

impl Addresses {
    fn byte_bounds(self) -> (u64, u64) {
        match self {
            Self::None => (0, 0),
            Self::Hole(range) => range.byte_bounds(),
            Self::Machine => (0, u64::MAX),
        }
    }
}

/// `None`: the domain has no default context.
///
/// Takes the lock of the default context.
fn default_addresses<H: Host>(host: &H, caller: &H::Domain) -> Option<Addresses> {
    if is_identity::<H>(caller) {
        return Some(Addresses::Machine);
    }
    let hole = default_range(host, caller);
    let space = caller.state()?.dma.space(host, XEN_GDMA_CONTEXT_DEFAULT)?;
    let range = space.context.lock().range().or(hole);
    Some(range.map_or(Addresses::None, Addresses::Hole))
}

/// Whether the IOMMU, for a device behind it in the caller's default context, has no more
/// than the caller's own memory and what is mapped.
fn confines<H: Host>(host: &H, caller: &H::Domain) -> bool {
    match host.iommu_mode(caller) {
        IommuMode::Absent | IommuMode::PassThrough => false,
        IommuMode::OwnTables | IommuMode::SharedTables => {
            !is_identity::<H>(caller) || is_protected(host, caller)
        }
    }
}

/// What a device of the caller needs, and whether an IOMMU confines it.
///
/// | caller | IOMMU | device address | protected |
/// |---|---|---|---|
/// | PV | at work | machine | yes |
/// | PV | at work, with all of the machine's memory in its tables | machine | no |
/// | PV | passing through, or none | machine | no |
/// | translated | at work | guest (direct mapped: = machine) | yes |
/// | direct mapped | passing through, or none | machine (= guest) | no |
/// | translated | passing through, or none | none: bounce | no |
fn treatment<H: Host>(host: &H, caller: &H::Domain, behind_iommu: bool) -> (u32, u16) {
    let confined = behind_iommu && confines(host, caller);
    let treatment = if !caller.is_translated() {
        XEN_GDMA_TREATMENT_IDENTITY
    } else if confined {
        XEN_GDMA_TREATMENT_TRANSLATED
    } else if caller.is_direct_mapped() {
        XEN_GDMA_TREATMENT_IDENTITY
    } else {
        XEN_GDMA_TREATMENT_BOUNCE
    };
    let flags = if confined {
        XEN_GDMA_DEVICE_PROTECTED
    } else {
        0
    };
    (treatment, flags)
}

/// Works on one `query_device` element.
pub fn query_device<H: Host>(
    host: &H,
    caller: &H::Domain,
    op: &mut QueryDevice,
) -> Result<(), QueryError> {
    if op.pad0 != 0 {
        return Err(QueryError::BadField("pad0"));
    }
    if op.kind != XEN_GDMA_DEVICE_PCI {
        return Err(QueryError::BadField("kind"));
    }
    let sbdf = u32::try_from(op.id).map_err(|_| QueryError::BadField("id"))?;
    let facts = host.pci_device(caller, sbdf).map_err(QueryError::Device)?;
    (op.treatment, op.flags) = if facts.context == XEN_GDMA_CONTEXT_DEFAULT {
        treatment(host, caller, facts.behind_iommu)
    } else {
        (XEN_GDMA_TREATMENT_CONTEXT, XEN_GDMA_DEVICE_PROTECTED)
    };
    op.context = facts.context;
    op.backend = caller.id().0;
    Ok(())
}
