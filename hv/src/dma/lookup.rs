// SPDX-License-Identifier: GPL-2.0-only
//! `lookup`: from a device address to what is there, and from a guest address to
//! where devices see it.

use hypercall_abi::{
    Errno,
    lookup::{Lookup, XEN_GDMA_LOOKUP_DADDR, XEN_GDMA_LOOKUP_GADDR},
    mapping::{XEN_GDMA_MAP_GRANT, XEN_GDMA_MAP_OWN, XEN_GDMA_MAP_READ, XEN_GDMA_MAP_WRITE},
};

use super::context::{Found, FoundSource, Source};
use crate::{
    addr::{Access, Dfn, Gfn, PAGE_SHIFT, PAGE_SIZE},
    host::{Domain, Host},
    sync::SpinLock,
};

/// Why a `lookup` element failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// No context with this number.
    NoContext,
    /// Nothing is mapped there.
    NotFound,
}

impl From<LookupError> for Errno {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::BadField(_) => Self::Inval,
            LookupError::NoContext | LookupError::NotFound => Self::NoEnt,
        }
    }
}

fn check(op: &Lookup) -> Result<(), LookupError> {
    if op.pad0 != 0 || op.pad1 != 0 {
        return Err(LookupError::BadField("padding"));
    }
    match op.kind {
        XEN_GDMA_LOOKUP_GADDR => {}
        XEN_GDMA_LOOKUP_DADDR if op.index == 0 => {}
        XEN_GDMA_LOOKUP_DADDR => return Err(LookupError::BadField("index")),
        _ => return Err(LookupError::BadField("kind")),
    }
    Ok(())
}

fn wire_flags(access: Access) -> u32 {
    let mut flags = 0;
    if access.read {
        flags |= XEN_GDMA_MAP_READ;
    }
    if access.write {
        flags |= XEN_GDMA_MAP_WRITE;
    }
    flags
}

/// Works on one `lookup` element.
///
/// Takes the lock of the holder's contexts for reading, then the context's.
pub fn lookup<H: Host>(host: &H, holder: &H::Domain, op: &mut Lookup) -> Result<(), LookupError> {
    check(op)?;
    let state = holder.state().ok_or(LookupError::NotFound)?;
    let space = state.dma.space(host, op.context);
    let space = space.ok_or(LookupError::NoContext)?;
    let context = space.context.lock();
    let found = if op.kind == XEN_GDMA_LOOKUP_DADDR {
        context.by_dfn(host, Dfn::of_address(op.addr))
    } else {
        context.by_source(Source::own(Gfn::of_address(op.addr)), op.index)
    };
    drop(context);
    let found = found.ok_or(LookupError::NotFound)?;
    describe(holder.id().0, &found, op);
    Ok(())
}

fn describe(holder: u16, found: &Found, op: &mut Lookup) {
    let offset = op.addr % PAGE_SIZE;
    op.handle = found.mapping.handle.wire();
    op.daddr = found.dfn.number() << PAGE_SHIFT | offset;
    op.flags = wire_flags(found.mapping.access);
    op.nr_frames = found.mapping.range.count as u32;
    match found.source {
        FoundSource::Own(gfn) => {
            op.source_kind = XEN_GDMA_MAP_OWN;
            op.domid = holder;
            op.source = gfn.number() << PAGE_SHIFT | offset;
        }
        FoundSource::Grant { granter, gref } => {
            op.source_kind = XEN_GDMA_MAP_GRANT;
            op.domid = granter.0;
            op.source = u64::from(gref.0) << PAGE_SHIFT | offset;
        }
    }
}
