// SPDX-License-Identifier: GPL-2.0-only
//! The boundary: everything the service asks of a hypervisor.
//!
//! Signatures are safe. Whatever an implementation must promise beyond its types
//! is said at each method; the model in `testbed` checks what it can of it.
//!
//! A guest's word is never believed here: `GuestPtr`, `Gfn` and `GrantRef` are
//! allegations, and only an implementation's answer (a [`Host::Frame`], bytes
//! copied in) is something to work with.

use crate::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GuestPtr, Mfn},
    state::DomainState,
    sync::{ReadWriteLock, SpinLock},
};

/// The guest's memory was not accessible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFault;

/// Xen has no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Access control refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The IOMMU, or Xen's code for it, refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IommuError;

/// Why a guest frame could not be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No page there, or not ordinary memory of the domain (MMIO, a foreign or
    /// grant mapping), or its type forbids writing.
    NotMemory,
    /// Paged out or shared: the domain may try again.
    TryAgain,
}

/// A reference to a page: the page stays what it is, and whose it is, until the
/// value is dropped. If taken for writing it includes a writable-type reference.
///
/// The value may outlive every lock and call. A page that a device may still
/// reach must not lose its reference, so the service keeps frames of the IOMMU
/// in [`crate::dma::Unflushed`].
pub trait Frame: Send + Sync + core::fmt::Debug {
    /// The machine frame.
    fn mfn(&self) -> Mfn;
}

/// A page that Xen owns and shares with one guest: a frame of a grant table.
///
/// Until [`SharedPage::share`] no guest knows of the page, and dropping it frees
/// it; from then on it lives until its guest is gone.
///
/// The guest may change it at any moment, so there are only single accesses, each
/// of which reads or writes memory exactly once. Offsets are in bytes, aligned to
/// the access; they are taken modulo the page size.
pub trait SharedPage<D>: Send + Sync {
    /// Shares the page read-write with `owner`.
    fn share(&self, owner: &D);

    /// Machine frame of the page.
    fn mfn(&self) -> Mfn;

    /// Where the guest `owner` has put the page, if anywhere (PV: the machine
    /// frame itself).
    fn gfn(&self, owner: &D) -> Option<Gfn>;

    /// Reads 4 bytes.
    fn load32(&self, offset: usize) -> u32;

    /// If the 4 bytes are `old`, makes them `new`; returns what they were. Full
    /// barrier. Bounded even if the guest `owner` keeps writing there.
    fn compare_exchange32(&self, owner: &D, offset: usize, old: u32, new: u32) -> u32;

    /// Clears bits of 2 bytes atomically, without touching any other byte. Full
    /// barrier. Bounded even if the guest `owner` keeps writing there.
    fn clear_bits16(&self, owner: &D, offset: usize, bits: u16);
}

/// A counted reference to a domain: it does not go away while the value lives.
pub trait Domain<H: Host> {
    /// Its id.
    fn id(&self) -> DomId;

    /// It is being destroyed.
    fn is_dying(&self) -> bool;

    /// It has a guest physical address space of its own, translated by hardware:
    /// HVM and PVH on x86, every domain on Arm. False: x86 PV.
    fn is_translated(&self) -> bool;

    /// Its guest frames are the machine frames of the same number, so that a
    /// device without an IOMMU works with guest addresses.
    fn is_direct_mapped(&self) -> bool;

    /// The service's state of the domain. System domains have none.
    fn state(&self) -> Option<&DomainState<H>>;
}

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

/// Facts about one PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciFacts {
    /// An IOMMU translates or blocks what the device does.
    pub behind_iommu: bool,
}

/// Why there is nothing to say about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// Xen knows no PCI on this architecture.
    NoPci,
    /// No such device, or not the caller's.
    NotYours,
}

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

/// Proof that an IOTLB flush has succeeded. Only a [`Host`] makes one.
#[derive(Debug)]
pub struct Flushed(());

impl Flushed {
    /// For implementations of [`Host::iommu_flush`] alone: the flush asked for
    /// has completed, and no translation made before it can be used any more.
    pub fn completed() -> Self {
        Self(())
    }
}

/// Everything the service asks of the hypervisor it runs in.
pub trait Host: Sized + Send + Sync + 'static {
    /// The kind of lock for short critical sections.
    type Spin<T: Send>: SpinLock<T>;
    /// The kind of lock for tables that are mostly read.
    type ReadWrite<T: Send + Sync>: ReadWriteLock<T>;
    /// Counted reference to a domain.
    type Domain: Domain<Self>;
    /// Counted reference to a page.
    type Frame: Frame;
    /// A page shared with a guest.
    type SharedPage: SharedPage<Self::Domain>;

    /// Whether a writable CPU mapping of a grant takes a writable-type reference
    /// when granter and holder are one domain, or the granter is PV. True on x86,
    /// false on Arm, where pages have no types.
    const CPU_MAP_TAKES_TYPE: bool;

    // Domains and access control.

    /// The domain that makes the hypercall.
    fn current(&self) -> Self::Domain;

    /// The domain with this id, if there is one.
    fn domain(&self, id: DomId) -> Option<Self::Domain>;

    /// Whether `holder` may map grants of `granter` with these `GNTMAP_*` flags.
    fn may_map_grant(
        &self,
        holder: &Self::Domain,
        granter: &Self::Domain,
        gntmap_flags: u32,
    ) -> Result<(), Refused>;

    /// Whether `holder` may undo mappings of grants of `granter`.
    fn may_unmap_grant(&self, holder: &Self::Domain, granter: &Self::Domain)
    -> Result<(), Refused>;

    /// Whether `caller` may set up the grant table of `target`.
    fn may_setup_table(&self, caller: &Self::Domain, target: &Self::Domain) -> Result<(), Refused>;

    /// Whether `caller` may ask about the grant table of `target`.
    fn may_query_table(&self, caller: &Self::Domain, target: &Self::Domain) -> Result<(), Refused>;

    // Frames.

    /// Takes a reference to the page at `gfn` of `owner`, with a writable-type
    /// reference if `take_type`. `access` tells what the page will be used for:
    /// a shared page that is to be written must be unshared first. Refuses pages
    /// that are not `owner`'s own memory.
    fn pin_gfn(
        &self,
        owner: &Self::Domain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
    ) -> Result<Self::Frame, FrameError>;

    /// Takes one more reference to a page of `owner` that is known to be
    /// referenced by someone else at this moment.
    fn pin_again(
        &self,
        owner: &Self::Domain,
        mfn: Mfn,
        take_type: bool,
    ) -> Result<Self::Frame, FrameError>;

    /// A zeroed page that can be shared with a guest, and is not yet.
    fn new_shared_page(&self) -> Result<Self::SharedPage, OutOfMemory>;

    /// Notes that devices or another domain may have written the page, for
    /// live migration of `owner`.
    fn mark_dirty(&self, owner: &Self::Domain, frame: &Self::Frame);

    // CPU mappings of grants, for the calling domain.

    /// The caller's CPU mappings of grants need IOMMU mappings as well, because
    /// its devices work with machine addresses.
    fn cpu_map_needs_identity(&self, holder: &Self::Domain) -> bool;

    /// Maps the frame into the calling domain at `host_addr`. `cache_flags` are
    /// the grant entry's `GTF_PWT`, `GTF_PCD`, `GTF_PAT`. False: refused.
    fn map_for_cpu(
        &self,
        host_addr: u64,
        frame: &Self::Frame,
        gntmap_flags: u32,
        cache_flags: u16,
    ) -> bool;

    /// Takes back what [`Self::map_for_cpu`] made, CPU TLB flush included.
    /// False: that is not what is mapped there.
    fn unmap_for_cpu(&self, host_addr: u64, frame: &Self::Frame, gntmap_flags: u32) -> bool;

    // Guest memory of the calling vcpu.

    /// The guest may use the range of addresses at all. Says nothing about what
    /// is mapped there.
    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool;

    /// Copies in; each byte is read once.
    fn copy_from_guest(&self, at: GuestPtr, into: &mut [u8]) -> Result<(), GuestFault>;

    /// Copies out.
    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault>;

    // Devices and IOMMU.

    /// How the domain's devices are translated when in the default context.
    fn iommu_mode(&self, domain: &Self::Domain) -> IommuMode;

    /// Device frames of the default context that are no guest frames, have no
    /// reserved region and can be translated by every IOMMU of the machine.
    fn device_hole(&self, domain: &Self::Domain) -> Option<DfnRange>;

    /// Whether the domain's own address space has nothing at this frame, so that
    /// a device frame of the same number is free in the default context.
    fn gfn_is_hole(&self, domain: &Self::Domain, gfn: Gfn) -> bool;

    /// Page sizes of the IOMMU, one bit per size.
    fn iommu_page_sizes(&self, domain: &Self::Domain) -> u64;

    /// Maps `count` frames in the domain's default context. On error nothing is
    /// mapped. Not visible to devices for certain before a flush; adds what that
    /// must be to `flush`, on error too (what was mapped for a moment may be cached).
    fn iommu_map(
        &self,
        domain: &Self::Domain,
        dfn: Dfn,
        mfn: Mfn,
        count: u32,
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError>;

    /// Unmaps `count` frames. Devices may use old translations until a flush; adds
    /// what that must be to `flush`.
    fn iommu_unmap(
        &self,
        domain: &Self::Domain,
        dfn: Dfn,
        count: u32,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError>;

    /// Makes the IOTLB forget the range; returns when it has.
    fn iommu_flush(
        &self,
        domain: &Self::Domain,
        range: DfnRange,
        flags: FlushFlags,
    ) -> Result<Flushed, IommuError>;

    /// What is known about a PCI device of `owner`. `sbdf` is segment << 16 |
    /// bus << 8 | devfn.
    fn pci_device(&self, owner: &Self::Domain, sbdf: u32) -> Result<PciFacts, DeviceError>;

    /// Whether the hypervisor can name PCI devices at all.
    fn has_pci(&self) -> bool;

    // Execution.

    /// Something else wants the CPU: a long operation should stop and be
    /// continued later.
    fn preempt_requested(&self) -> bool;

    /// `index` if it is below `len`, else 0, also in speculative execution.
    fn clamp_index(&self, index: usize, len: usize) -> usize;

    /// No later instruction runs speculatively before earlier branches are
    /// decided.
    fn speculation_barrier(&self);
}
