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
        XEN_GDMA_CAP_GRANT_V2, XEN_GDMA_CAP_OWN_FRAMES, XEN_GDMA_CAP_PCI,
        XEN_GDMA_CAP_REGISTERED_ARGS, XEN_GDMA_CAP_WINDOWS,
    },
};

use super::{attach::can_create, map::default_range};
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
    let hole = default_range(host, caller);
    let space = state
        .dma
        .space(host, XEN_GDMA_CONTEXT_DEFAULT)
        .ok_or(QueryError::NoDomain(domid))?;
    let range = space.context.lock().range().or(hole);
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
    if range.is_some() {
        op.capabilities |= XEN_GDMA_CAP_DEFAULT_CONTEXT;
    }
    op.max_batch = XEN_GDMA_MAX_BATCH;
    op.max_frames = XEN_GDMA_MAX_FRAMES;
    (op.daddr_first, op.daddr_last) = range.map_or((0, 0), DfnRange::byte_bounds);
    op.page_sizes = host.iommu_page_sizes(caller);
    op.flushes = state.dma.counters.flushes.load(Ordering::Relaxed);
    Ok(())
}

/// What a device of the caller needs, and whether an IOMMU confines it.
///
/// | caller | IOMMU | device address | protected |
/// |---|---|---|---|
/// | PV | at work | machine | yes |
/// | PV | passing through, or none | machine | no |
/// | translated | at work | guest | yes |
/// | direct mapped | passing through, or none | machine (= guest) | no |
/// | translated | passing through, or none | none: bounce | no |
fn treatment<H: Host>(host: &H, caller: &H::Domain, behind_iommu: bool) -> (u32, u16) {
    let confined = behind_iommu
        && matches!(
            host.iommu_mode(caller),
            IommuMode::OwnTables | IommuMode::SharedTables
        );
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
