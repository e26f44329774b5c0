// SPDX-License-Identifier: GPL-2.0-only
//! The default context of domains whose devices work with machine addresses: PV, and
//! direct-mapped Arm domains.
//!
//! The device address of a frame is its machine address, so `map` chooses nothing: it
//! takes the references, and makes sure that devices reach the frame. What that takes:
//!
//! | I/O page tables | the domain's own frames | frames of others |
//! |---|---|---|
//! | none, or passed by | reached anyway | reached anyway |
//! | all of the machine's memory ("relaxed" dom0) | reached anyway | reached anyway |
//! | what the domain has ("strict", PV domU; Arm) | Xen puts them there: a PV page while it has the writable type | counted and programmed: [`crate::grant::identity`] |
//!
//! In the first two rows no IOMMU keeps devices from a frame that is not mapped any
//! more: `query` and `query_device` say so.

use super::{
    attach::usable,
    context::{Context, FoundSource, Handle, Mapping, Reservation, ReserveError, Settled},
    map::{MapError, Pinning, Place, ProgramError, Request},
    space::Space,
};
use crate::{
    addr::{Dfn, DfnRange, DomId, Mfn},
    grant::{identity::IdentityError, pin_error::PinError},
    host::{Domain, FlushFlags, Host, IommuError, OutOfMemory},
    state::DomainState,
    sync::SpinLock,
};

/// The default context of `holder` has machine addresses.
pub fn is_identity<H: Host>(holder: &H::Domain) -> bool {
    !holder.is_translated() || holder.is_direct_mapped()
}

/// Whether an IOMMU keeps devices of `holder` in an identity context from frames of others
/// that are not mapped there.
pub fn is_protected<H: Host>(host: &H, holder: &H::Domain) -> bool {
    host.cpu_map_needs_identity(holder)
}

/// Whose frame it is.
fn owner_of<H: Host>(holder: &H::Domain, source: FoundSource) -> DomId {
    match source {
        FoundSource::Own(_) => holder.id(),
        FoundSource::Grant { granter, .. } => granter,
    }
}

impl From<IdentityError> for MapError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Iommu(IommuError) => Self::Iommu,
            IdentityError::OutOfMemory(OutOfMemory) => Self::Reserve(ReserveError::OutOfMemory),
            IdentityError::Frame(error) => Self::Frame(error),
            IdentityError::TooMany => Self::Pin(PinError::TooMany),
        }
    }
}

impl<H: Host> Place<'_, H> {
    /// Device addresses of this context are machine addresses.
    pub(super) fn is_identity(&self) -> bool {
        self.space.own_tables().is_none() && is_identity::<H>(self.holder)
    }

    /// Maps in the default context of a domain whose devices work with machine addresses.
    pub(super) fn map_identity(
        &self,
        host: &H,
        request: &Request,
    ) -> Result<(DfnRange, Handle), MapError> {
        let pages = self.open_identity()?;
        let granter = self.find_granter(host, request)?;
        let quota = &self.state.dma.pins;
        let mut reservation = self
            .space
            .context
            .lock()
            .reserve(quota, pages, None, request.count, request.access)
            .map_err(MapError::Reserve)?;
        // A PV page of the holder's own is in the tables as long as it has this type.
        let own = granter
            .as_ref()
            .is_none_or(|it| it.id() == self.holder.id());
        let protected = is_protected(host, self.holder);
        let how = Pinning {
            typed: request.access.write || own && protected,
            // Whose the page is, which says who has to tell the IOMMU of it, is what the
            // granter is: not with a grant that leads to somebody else.
            transitive: !protected,
        };
        let placed = self
            .pin_all(host, granter.as_deref(), request, how, &reservation)
            .and_then(|()| self.settle(request, &mut reservation));
        let extent = match placed {
            Ok(extent) => extent,
            Err(error) => {
                self.withdraw(host, &reservation);
                return Err(error);
            }
        };
        let handle = self.program(host, reservation, request.access)?;
        Ok((extent, handle))
    }

    fn open_identity(&self) -> Result<DfnRange, MapError> {
        let any = DfnRange {
            first: Dfn::new(0),
            count: u64::from(u32::MAX),
        };
        let pages = usable(any, self.state.dma.first_max_pins).count;
        let mut context = self.space.context.lock();
        if context.is_closed() {
            return Err(MapError::Reserve(ReserveError::Closed));
        }
        context.open_identity(pages).map_err(MapError::Reserve)
    }

    /// The device addresses, now that the frames are known.
    fn settle(
        &self,
        request: &Request,
        reservation: &mut Reservation,
    ) -> Result<DfnRange, MapError> {
        let settled = self.space.context.lock().settle(reservation);
        match settled {
            Settled::Scattered => Err(MapError::Reserve(ReserveError::NoSpace)),
            Settled::At(range) if request.wanted.is_none_or(|wanted| wanted == range.first) => {
                Ok(range)
            }
            Settled::At(_) => Err(MapError::Reserve(ReserveError::OutOfRange)),
        }
    }

    /// Makes devices reach the frames of a reservation in an identity context.
    pub(super) fn count_frames(
        &self,
        host: &H,
        context: &mut Context<H>,
        reservation: &Reservation,
        write: bool,
    ) -> Result<FlushFlags, ProgramError> {
        let mut flags = FlushFlags::NONE;
        if !is_protected(host, self.holder) {
            return Ok(flags);
        }
        let (tables, identity) = (self.space.tables(self.holder), &self.state.grants.identity);
        let counted = context.count_pages(reservation, |source, mfn| {
            let foreign = owner_of::<H>(self.holder, source) != self.holder.id();
            if foreign {
                identity.pin(host, tables, mfn, write, &mut flags)?;
            }
            Ok(foreign)
        });
        let Err(error) = counted else {
            return Ok(flags);
        };
        let undone = context.uncount_reserved(reservation, |mfn| {
            identity.unpin(host, tables, mfn, write, &mut flags)
        });
        let error: IdentityError = error;
        log::debug!("{}: identity mapping: {error:?}", self.holder.id());
        match undone {
            Ok(()) => Err(ProgramError::Withdrawn(flags, error.into())),
            Err(IommuError) => {
                log::error!(
                    "{}: IOMMU refuses map and unmap at machine frame {:#x}",
                    self.holder.id(),
                    reservation.range.first.number()
                );
                Err(ProgramError::Stuck(flags))
            }
        }
    }
}

/// Takes the frames of a mapping out of the I/O page tables of `space`, unless something
/// else needs them there. Adds what has to be flushed to `flags`.
///
/// On error the mapping stays, and another call goes on where this one stopped.
pub(super) fn unmap_frames<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
    (context, mapping): (&mut Context<H>, &Mapping),
    flags: &mut FlushFlags,
) -> Result<(), IommuError> {
    let tables = space.tables(holder);
    if !context.is_identity() {
        let frames = mapping.range.count as u32;
        return host.iommu_unmap(tables, mapping.range.first, frames, flags);
    }
    let write = mapping.access.write;
    context.uncount_pages(mapping, |mfn: Mfn| {
        let identity = &state.grants.identity;
        identity.unpin(host, tables, mfn, write, flags)
    })
}
