// SPDX-License-Identifier: GPL-2.0-only
//! The IOMMU: what is in a domain's or a context's I/O page tables, and flushes.

use super::contexts::Contexts;
use crate::addr::{Access, Dfn, DfnRange, Gfn, Mfn};

/// The IOMMU, or Xen's code for it, refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IommuError;

/// How the IOMMU treats a domain's devices in the default context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuMode {
    /// No IOMMU at work for this domain.
    Absent,
    /// There is one, but it lets the domain's devices through untranslated.
    PassThrough,
    /// The IOMMU walks the CPU's own second-stage tables.
    SharedTables,
    /// The domain has I/O page tables of its own.
    OwnTables,
}

/// The I/O page tables that something is done with.
pub enum IoTables<'a, H: Contexts> {
    /// Those of the domain's default context.
    Default(&'a H::Domain),
    /// Those of a context.
    Own(&'a H::IoContext),
}

impl<H: Contexts> Clone for IoTables<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Contexts> Copy for IoTables<'_, H> {}

/// What Xen's IOMMU code wants flushed for the changes so far: opaque bits that
/// are added up and handed back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushFlags(pub u32);

impl FlushFlags {
    /// Nothing to flush.
    pub const NONE: Self = Self(0);

    /// Adds what another change needs.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Proof that an IOTLB flush has succeeded. Only a [`super::Host`] makes one.
#[derive(Debug)]
pub struct Flushed(());

impl Flushed {
    /// For implementations of [`Iommu::iommu_flush`] alone: the flush asked for
    /// has completed, and no translation made before it can be used any more.
    pub fn completed() -> Self {
        Self(())
    }
}

/// Changing I/O page tables.
pub trait Iommu: Contexts {
    /// How the domain's devices are translated when in the default context.
    fn iommu_mode(&self, domain: &Self::Domain) -> IommuMode;

    /// Device frames of the default context that are no guest frames, have no
    /// reserved region and can be translated by every IOMMU of the machine.
    fn device_hole(&self, domain: &Self::Domain) -> Option<DfnRange>;

    /// Whether the domain's own address space has nothing at this frame, so that
    /// a device frame of the same number is free in the default context.
    fn gfn_is_hole(&self, domain: &Self::Domain, gfn: Gfn) -> bool;

    /// The domain's own address space has nothing at this frame, nor at any above it.
    fn is_above_memory(&self, domain: &Self::Domain, gfn: Gfn) -> bool;

    /// Page sizes of the IOMMU, one bit per size.
    fn iommu_page_sizes(&self, domain: &Self::Domain) -> u64;

    /// Maps `count` frames. On error none of them is to be mapped, but some may be: they
    /// are taken back, and nobody is told if that fails. Not visible to devices for
    /// certain before a flush; adds what that must be to `flush`, on error too (what
    /// was mapped for a moment may be cached).
    fn iommu_map(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        mfn: Mfn,
        count: u32,
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError>;

    /// Maps frames that may lie anywhere in the machine, from `dfn` on. Otherwise like
    /// [`Self::iommu_map`], but on error some are mapped, the first ones: how many. Of the
    /// default context of a holder that works with machine addresses, one frame at its own
    /// address may be there already: then what devices may do there changes, or on error
    /// does not.
    fn iommu_map_frames(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        mfns: &[Mfn],
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), u32>;

    /// Unmaps `count` frames. Devices may use old translations until a flush; adds
    /// what that must be to `flush`.
    fn iommu_unmap(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        count: u32,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError>;

    /// A flush that needs `flags` has to come before the hypercall ends or is
    /// preempted: what the IOMMU may still walk is not protected by references.
    fn must_flush_soon(&self, flags: FlushFlags) -> bool;

    /// Makes the IOTLB forget the range; returns when it has.
    fn iommu_flush(
        &self,
        tables: IoTables<'_, Self>,
        range: DfnRange,
        flags: FlushFlags,
    ) -> Result<Flushed, IommuError>;

    /// What the holder maps of others' frames needs IOMMU mappings, because its devices
    /// work with machine addresses, through an IOMMU that has nothing else of others. The
    /// answer never changes. If yes, a PV domain's own frames are there as long as they
    /// have the writable type.
    fn cpu_map_needs_identity(&self, holder: &Self::Domain) -> bool;

    /// Makes a frame reachable for the devices of `holder` at its machine address,
    /// or changes the access. Visible to devices on return.
    fn identity_map(
        &self,
        holder: &Self::Domain,
        mfn: Mfn,
        access: Access,
    ) -> Result<(), IommuError>;

    /// Takes back what [`Self::identity_map`] made, IOTLB flush included.
    fn identity_unmap(&self, holder: &Self::Domain, mfn: Mfn) -> Result<(), IommuError>;
}
