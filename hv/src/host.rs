// SPDX-License-Identifier: GPL-2.0-only
//! The boundary: everything the service asks of a hypervisor.
//!
//! Signatures are safe. Whatever an implementation must promise beyond its types
//! is said at each method; the model in `testbed` checks what it can of it.
//!
//! A guest's word is never believed here: `GuestPtr`, `Gfn` and `GrantRef` are
//! allegations, and only an implementation's answer (a [`Host::Frame`], bytes
//! copied in) is something to work with.

use alloc::vec::Vec;
use core::ops::Deref;

use hypercall_abi::{Errno, grant::Gntst};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GuestPtr, Mfn},
    hypercall::{Answer, Call},
    state::DomainState,
    sync::{ReadWriteLock, SpinLock},
};

/// Most elements of a guest's array that are copied in at a time. Their copies
/// live on Xen's stack, of which there are only 8 KiB.
pub const ELEMENTS_PER_COPY: usize = 16;

/// The guest's memory was not accessible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFault;

/// Where elements of an array are.
pub enum ElementsAt<'a, H: Host> {
    /// At an address of the calling guest's.
    Guest(GuestPtr),
    /// At an offset in memory that is mapped for Xen.
    Mapped(&'a H::MappedMemory, u64),
}

/// What is done with elements that are copied in.
#[derive(Debug)]
pub enum Elements<'a, K> {
    /// They are read.
    Read,
    /// Results are written to where they were. The host may keep the page that they
    /// are in until then, and look for it only once. It has to be memory of the guest's
    /// own: what is somebody else's may be taken away by the very call.
    Answered,
    /// The same, and they are a part of an array of which other parts come before or
    /// after. What the host keeps here, it may use for those too.
    AnsweredInParts(&'a mut K),
}

/// Where elements came from, while they are worked on.
pub trait Origin {
    /// Copies results there. `offset` is in bytes, from the first element.
    fn write(&self, offset: usize, from: &[u8]) -> Result<(), GuestFault>;
}

/// Frames that Xen has mapped for itself; whoever's they are may change the contents
/// at any moment.
pub trait MappedMemory: Send + Sync {
    /// How much it is.
    fn bytes(&self) -> u64;

    /// Copies there. An error if it does not all fit: then nothing was written.
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), GuestFault>;
}

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
    /// grant mapping).
    NotMemory,
    /// Its type forbids writing.
    NotWritable,
    /// It was the domain's, and is no longer: the domain is dying.
    Gone,
    /// Paged out or shared: the domain may try again.
    TryAgain,
}

/// A reference to a page: the page stays what it is, and whose it is, until the
/// value is dropped. If taken for writing it includes a writable-type reference.
///
/// The value may outlive every lock and call. A page that a device may still
/// reach must not lose its reference, so the service keeps frames of the IOMMU
/// in [`crate::dma::Unflushed`].
pub trait Frame: Sized + Send + Sync + core::fmt::Debug {
    /// The machine frame.
    fn mfn(&self) -> Mfn;

    /// One value that stands for both references, which are to one page. At most
    /// two can be joined.
    #[must_use]
    fn joined(self, other: Self) -> Self;

    /// Takes one of two joined references out: the one with a writable-type
    /// reference if `typed`. The rest stays. `None`: there is only one.
    fn take_one(&mut self, typed: bool) -> Option<Self>;

    /// Gives the reference to the guest's page tables, whose destruction drops it.
    fn leave_to_page_tables(self);
}

/// References to pages that follow each other in the machine, one to each, as
/// [`Frame`] has to one. Dropping the value gives them all back, so one that is to be
/// dropped in bounded time must be small: [`FrameRun::split_last`].
pub trait FrameRun: Sized + Send + Sync + core::fmt::Debug {
    /// Reference to one of the pages.
    type Frame: Frame;

    /// The first machine frame.
    fn first(&self) -> Mfn;

    /// How many: at least one.
    fn count(&self) -> u32;

    /// Adds references to the frames behind these. `Err`: those of `next` are not, or
    /// are of another kind; or there would be more than can be counted.
    fn append(&mut self, next: Self) -> Result<(), Self>;

    /// Takes the last `count` frames out. `None`, if not at least one would be left.
    fn split_last(&mut self, count: u32) -> Option<Self>;

    /// Hands the references over one by one, in order, each as a value of its own.
    fn into_frames(self, take: impl FnMut(Self::Frame));
}

/// Why a page could not be taken back from the guest that it is shared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnshareError {
    /// The guest still uses it. It stays shared.
    Busy,
    /// The guest's address space could not be put right; the guest was crashed.
    Broken,
}

/// A page that Xen owns and shares with one guest: a frame of a grant table.
///
/// Until [`SharedPage::share`] no guest knows of the page, and dropping it frees
/// it; from then on it lives until its guest is gone, or has given it up.
///
/// The guest may change it at any moment, so there are only single accesses, each
/// of which reads or writes memory exactly once. Offsets are in bytes, aligned to
/// the access; they are taken modulo the page size.
pub trait SharedPage<D>: Send + Sync {
    /// Shares the page read-write with `owner`.
    fn share(&self, owner: &D);

    /// Takes the page out of the address space of `owner`, so that it can be
    /// dropped. On error it is still shared.
    fn unshare(&self, owner: &D) -> Result<(), UnshareError>;

    /// Machine frame of the page.
    fn mfn(&self) -> Mfn;

    /// Where the guest `owner` has put the page, if anywhere (PV: the machine
    /// frame itself).
    fn gfn(&self, owner: &D) -> Option<Gfn>;

    /// Reads 2 bytes.
    fn load16(&self, offset: usize) -> u16;

    /// Reads 4 bytes.
    fn load32(&self, offset: usize) -> u32;

    /// Reads 8 bytes.
    fn load64(&self, offset: usize) -> u64;

    /// Writes 2 bytes, after all earlier writes.
    fn store16(&self, offset: usize, value: u16);

    /// Writes 4 bytes, after all earlier writes.
    fn store32(&self, offset: usize, value: u32);

    /// Writes 8 bytes, after all earlier writes.
    fn store64(&self, offset: usize, value: u64);

    /// If the 4 bytes are `old`, makes them `new`; returns what they were. Full
    /// barrier. Bounded even if the guest `owner` keeps writing there.
    fn compare_exchange32(&self, owner: &D, offset: usize, old: u32, new: u32) -> u32;

    /// Sets bits of 2 bytes that only Xen is meant to write, and makes the change
    /// visible before any later read: full barrier. Not atomic against the guest.
    fn set_bits16(&self, offset: usize, bits: u16);

    /// Clears bits of 2 bytes atomically, without touching any other byte. Full
    /// barrier. Bounded even if the guest `owner` keeps writing there.
    fn clear_bits16(&self, owner: &D, offset: usize, bits: u16);

    /// Makes the whole page zeros.
    fn clear(&self);
}

/// A domain. Where it is from, a [`Host::DomainRef`] or the caller, keeps it alive.
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

    /// Ending a grant's CPU mapping of this holder gives its page reference back.
    /// False where the destruction of the holder's page tables does it (x86 PV),
    /// when a holder dies with its mappings.
    fn releases_cpu_mappings(&self) -> bool;

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
    /// Number of the context it is attached to, or
    /// [`hypercall_abi::command::XEN_GDMA_CONTEXT_DEFAULT`].
    pub context: u32,
}

/// The I/O page tables that something is done with.
pub enum IoTables<'a, H: Host> {
    /// Those of the domain's default context.
    Default(&'a H::Domain),
    /// Those of a context.
    Own(&'a H::IoContext),
}

impl<H: Host> Clone for IoTables<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Host> Copy for IoTables<'_, H> {}

/// Why there can be no new I/O page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoIoContext {
    /// The IOMMUs cannot tell more address spaces apart.
    OutOfNumbers,
    /// Xen has no memory.
    OutOfMemory,
}

/// Why a device stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// No such device, or not the caller's; or Xen knows no PCI.
    Device(DeviceError),
    /// Its IOMMU, or Xen's code for it, cannot do that.
    NotMovable,
    /// The IOMMU cannot tell it from another device, which is elsewhere.
    Shared,
    /// The context is being destroyed.
    Closed,
    /// The IOMMU failed.
    Iommu,
}

/// What a context is to have besides mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// A 1:1 copy of its owner's memory.
    Mirror,
}

/// How far a long operation of the host has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is complete.
    Done,
    /// Something else wants the CPU, or another vcpu is at the same work: call again.
    Preempted,
}

/// Why I/O page tables could not be made a copy of a domain's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// Not on this machine.
    Unsupported,
    /// Xen has no memory.
    OutOfMemory,
    /// The IOMMU failed.
    Iommu,
}

/// A context has devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasDevices;

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

/// Why a page could not be taken from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StealError {
    /// No page of the domain there.
    BadPage,
    /// The page is in use, or the domain's kind cannot give pages away.
    InUse,
}

/// Why a page cannot be offered to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferError {
    /// The domain could not name it, nor any page that there is instead.
    TooBig,
    /// The domain has no room for it, or is dying.
    NoRoom,
}

/// What came of giving a page to a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// It is the domain's, who knows it by this frame number.
    At(Gfn),
    /// It is the domain's, but not in its address space.
    Nowhere,
    /// It is nobody's, and freed: the domain is dying.
    Dying,
}

/// A page that belongs to nobody; dropping it frees it.
pub trait LoosePage: Send + core::fmt::Debug {
    /// The machine frame.
    fn mfn(&self) -> Mfn;
}

/// What is told to Xen's trace buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A grant of the named domain was mapped.
    Map,
    /// A mapping of a grant of the named domain is being undone.
    Unmap,
    /// A page was given to the named domain.
    Transfer,
}

/// What may be pinned besides ordinary memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMemory {
    /// Nothing.
    Refused,
    /// Device memory that the owner has access to and the holder, a PV domain,
    /// may map.
    Allowed,
}

/// Everything the service asks of the hypervisor it runs in.
pub trait Host: Sized + Send + Sync + 'static {
    /// The kind of lock for short critical sections.
    type Spin<T: Send>: SpinLock<T>;
    /// The kind of lock for tables that are mostly read.
    type ReadWrite<T: Send + Sync>: ReadWriteLock<T>;
    /// What is known about a domain.
    type Domain: Domain<Self>;
    /// A reference to a domain: it does not go away while the value lives.
    type DomainRef: Deref<Target = Self::Domain>;
    /// Counted reference to a page.
    type Frame: Frame;
    /// Counted references to pages in a row.
    type FrameRun: FrameRun<Frame = Self::Frame>;
    /// A page shared with a guest.
    type SharedPage: SharedPage<Self::Domain>;
    /// A page between two owners.
    type LoosePage: LoosePage;
    /// A page between two owners that the second has set room aside for. Dropping it
    /// frees page and room.
    type OfferedPage<'a>
    where
        Self: 'a;
    /// I/O page tables of a context. No device uses them when the value is dropped:
    /// either [`Host::close_io_context`] has succeeded, or the owner is dead and its
    /// devices have been taken from it.
    type IoContext: Send + Sync;
    /// Frames that Xen has mapped for itself as long as the value lives. Dropping it
    /// unmaps them, then gives them back. Called without locks of the service.
    type MappedMemory: MappedMemory;
    /// What is kept of an array's memory between its parts; by default nothing.
    type Kept: Default;
    /// Where elements of a call came from.
    type Origin<'a>: Origin
    where
        Self: 'a;
    /// A value with several owners; the last one drops it.
    type Shared<T: Send + Sync>: Clone + Deref<Target = T> + Send + Sync;

    /// Whether a writable CPU mapping of a grant takes a writable-type reference
    /// when granter and holder are one domain, or the granter is PV. True on x86,
    /// false on Arm, where pages have no types.
    const CPU_MAP_TAKES_TYPE: bool;

    // Domains and access control.

    /// The domain that makes the hypercall.
    fn current(&self) -> Self::DomainRef;

    /// The caller's registers have 64 bits.
    fn has_wide_registers(&self) -> bool;

    /// The number of the vcpu that makes the hypercall, within its domain.
    fn current_vcpu(&self) -> u32;

    /// The domain with this id, if there is one.
    fn domain(&self, id: DomId) -> Option<Self::DomainRef>;

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

    /// Whether `caller` may give pages to `receiver`.
    fn may_transfer(&self, caller: &Self::Domain, receiver: &Self::Domain) -> Result<(), Refused>;

    /// Whether the caller may copy from grants of `source` to grants of `dest`.
    fn may_copy(&self, source: &Self::Domain, dest: &Self::Domain) -> Result<(), Refused>;

    /// The administrator allows transitive grants.
    fn transitive_allowed(&self) -> bool;

    /// The administrator allows page transfers, and there can be PV domains.
    fn transfer_allowed(&self) -> bool;

    /// Whether `owner`, the caller, may make and end contexts of its own.
    fn may_use_contexts(&self, owner: &Self::Domain) -> Result<(), Refused>;

    /// Whether `owner`, the caller, may move this device between its contexts, should
    /// it be its own. `sbdf` as for [`Self::pci_device`].
    fn may_attach_device(&self, owner: &Self::Domain, sbdf: u32) -> Result<(), Refused>;

    /// Whether the caller may set the limits of `target`.
    fn may_set_limits(&self, target: &Self::Domain) -> Result<(), Refused>;

    // Frames.

    /// Takes a reference to the page at `gfn` of `owner`, with a writable-type
    /// reference if `take_type`. `access` tells what the page will be used for:
    /// a shared page that is to be written must be unshared first. Refuses pages
    /// that are not `owner`'s own memory, except what `io` allows.
    fn pin_gfn(
        &self,
        owner: &Self::Domain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        io: IoMemory,
    ) -> Result<Self::Frame, FrameError>;

    /// Takes a reference to each of some frames from `gfn` on: at least one, at most
    /// `most` (which is not 0), no more than follow each other in the machine, and so
    /// few that it is one bounded step. `owner` is the caller; only its own ordinary
    /// memory will do. With `write`, each has a writable-type reference too, if the
    /// pages of `owner` can have another type at all: those of a translated domain
    /// cannot, and there the page reference says it all.
    fn pin_run(
        &self,
        owner: &Self::Domain,
        gfn: Gfn,
        most: u32,
        write: bool,
    ) -> Result<Self::FrameRun, FrameError>;

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

    /// Copies `len` bytes between two pages. The ranges are inside the pages.
    fn copy_between(
        &self,
        from: &Self::Frame,
        from_offset: u16,
        to: &Self::Frame,
        to_offset: u16,
        len: u16,
    );

    /// A reference to whatever page has this machine frame, and its owner.
    /// [`FrameError::NotMemory`]: there is no such frame. [`FrameError::Gone`]:
    /// nobody owns it.
    fn pin_mfn(&self, mfn: Mfn) -> Result<(Self::DomainRef, Self::Frame), FrameError>;

    /// CPU cache maintenance of a part of a page: `op` is made of
    /// `GNTTAB_CACHE_CLEAN` and `GNTTAB_CACHE_INVAL`.
    fn flush_cache(
        &self,
        frame: &Self::Frame,
        offset: u16,
        length: u16,
        op: u32,
    ) -> Result<(), Errno>;

    // Pages that change their owner.

    /// Takes the page at `gfn` from `owner`, the caller, and out of its address
    /// space, CPU TLB flush included.
    fn steal_page(&self, owner: &Self::Domain, gfn: Gfn) -> Result<Self::LoosePage, StealError>;

    /// Sets room aside with `receiver` for the page, or for a copy of it whose machine
    /// frame `receiver` can name: `wide_frames` says that its entries have room for any.
    /// On error the page is freed. Takes no lock of the tables, so that none is held
    /// while there is a copy to make.
    fn offer_page<'a>(
        &self,
        page: Self::LoosePage,
        receiver: &'a Self::Domain,
        wide_frames: bool,
    ) -> Result<Self::OfferedPage<'a>, OfferError>;

    /// Makes the page one of the domain's that it was offered to, and puts it at `gfn`
    /// of that domain: a PV domain, which knows its pages by their machine frames, gets
    /// to know it as such.
    fn give_page(&self, page: Self::OfferedPage<'_>, gfn: Gfn) -> Given;

    // CPU mappings of grants, for the calling domain.

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

    /// Maps the frame into the calling domain at `host_addr`. `cache_flags` are
    /// the grant entry's `GTF_PWT`, `GTF_PCD`, `GTF_PAT`; they count for device
    /// memory only.
    fn map_for_cpu(
        &self,
        host_addr: u64,
        frame: &Self::Frame,
        gntmap_flags: u32,
        cache_flags: u16,
    ) -> Result<(), Gntst>;

    /// Takes back what [`Self::map_for_cpu`] made, and moves what is mapped at
    /// `new_addr` there if that is not 0. Other CPUs may use the old translation
    /// until [`Self::flush_cpu_tlb`].
    fn unmap_for_cpu(
        &self,
        host_addr: u64,
        frame: &Self::Frame,
        new_addr: u64,
        gntmap_flags: u32,
    ) -> Result<(), Gntst>;

    /// Returns when no CPU uses a translation of the calling domain any more that
    /// [`Self::unmap_for_cpu`] ended.
    fn flush_cpu_tlb(&self);

    /// For the trace buffer.
    fn trace(&self, event: TraceEvent, other: DomId);

    // Guest memory of the calling vcpu.

    /// The guest may use the range of addresses at all. Says nothing about what
    /// is mapped there.
    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool;

    /// Copies `count` elements in, at most [`ELEMENTS_PER_COPY`], each byte once,
    /// and passes them to `work`, with the place for results. They need no other
    /// initialisation, which would cost more than many operations.
    fn with_elements<T, R>(
        &self,
        at: ElementsAt<'_, Self>,
        count: usize,
        then: Elements<'_, Self::Kept>,
        work: impl FnOnce(&mut [T], &Self::Origin<'_>) -> R,
    ) -> Result<R, GuestFault>
    where
        T: FromBytes + IntoBytes + Immutable + Copy;

    /// Maps frames one behind the other for Xen itself to read and write.
    fn map_memory(&self, frames: Vec<Self::Frame>) -> Result<Self::MappedMemory, OutOfMemory>;

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

    /// The domain's own address space has nothing at this frame, nor at any above it.
    fn is_above_memory(&self, domain: &Self::Domain, gfn: Gfn) -> bool;

    /// Page sizes of the IOMMU, one bit per size.
    fn iommu_page_sizes(&self, domain: &Self::Domain) -> u64;

    /// A value that can have several owners.
    fn share<T: Send + Sync>(&self, value: T) -> Result<Self::Shared<T>, OutOfMemory>;

    /// Device frames for mappings in a context of `owner`: none above `last`, `wanted`
    /// of them if there are as many. None has a reserved region of any of the machine's
    /// devices, and every IOMMU of the machine translates them. With
    /// [`Content::Mirror`], all are above what `owner` has at this moment.
    fn context_range(
        &self,
        owner: &Self::Domain,
        last: Dfn,
        wanted: u64,
        content: Content,
    ) -> Option<DfnRange>;

    /// New I/O page tables with nothing in them, for devices of `owner`. `number`
    /// is what [`Self::pci_device`] is to tell of devices there.
    fn new_io_context(
        &self,
        owner: &Self::Domain,
        number: u32,
    ) -> Result<Self::IoContext, NoIoContext>;

    /// Makes I/O page tables of `owner`, the caller, where no device is, a 1:1 copy of
    /// its memory: of what it has at device frames below `end`. From the first call on
    /// the copy is kept in step with the memory: what leaves it, is out of devices'
    /// reach before the page is anybody else's. Bounded: [`Progress::Preempted`] asks
    /// for another call with the same arguments. One vcpu at a time. After an error
    /// there may be parts, which are in step as well.
    ///
    /// No lock of the service is held; none is taken when the memory changes.
    fn mirror_memory(
        &self,
        owner: &Self::Domain,
        context: &Self::IoContext,
        end: Dfn,
    ) -> Result<Progress, CopyError>;

    /// Takes the copy out of the tables, if there is one: devices do not reach it any
    /// more when this is [`Progress::Done`], and it is not kept in step any longer.
    /// Bounded likewise. On error it is in step still, except that nothing is added.
    fn end_mirror(&self, context: &Self::IoContext) -> Result<Progress, IommuError>;

    /// From now on no device can be moved there.
    fn close_io_context(&self, context: &Self::IoContext) -> Result<(), HasDevices>;

    /// Makes a device of `owner` use these tables, with whatever cannot be told
    /// apart from it. `sbdf` as for [`Self::pci_device`]. On return no translation
    /// of the old tables is used any more; at no moment did the device reach anything
    /// but the one or the other. On error it uses the old ones. False: it uses these
    /// tables already.
    fn attach_device(
        &self,
        owner: &Self::Domain,
        sbdf: u32,
        to: IoTables<'_, Self>,
    ) -> Result<bool, AttachError>;

    /// Maps `count` frames. On error nothing is mapped. Not visible to devices for
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

    /// What is known about a PCI device of `owner`. `sbdf` is segment << 16 |
    /// bus << 8 | devfn.
    fn pci_device(&self, owner: &Self::Domain, sbdf: u32) -> Result<PciFacts, DeviceError>;

    /// Signals an event channel as if `domain` itself had. Whatever is wrong with the
    /// port is the domain's own affair.
    fn notify(&self, domain: &Self::Domain, port: u32);

    /// So many contexts, of all domains together, the IOMMUs can tell apart.
    fn most_contexts(&self) -> u32;

    /// Whether the hypervisor can name PCI devices at all.
    fn has_pci(&self) -> bool;

    // Execution.

    /// Something else wants the CPU: a long operation should stop and be
    /// continued later.
    fn preempt_requested(&self) -> bool;

    /// Makes the guest's vcpu call again, with what is left of a preempted call.
    /// The last thing that a hypercall does; what this returns is its answer.
    fn continue_call(&self, rest: Call) -> Answer;

    /// `index` if it is below `len`, else 0, also in speculative execution.
    fn clamp_index(&self, index: usize, len: usize) -> usize;

    /// No later instruction runs speculatively before earlier branches are
    /// decided.
    fn speculation_barrier(&self);
}
