// SPDX-License-Identifier: GPL-2.0-only
//! The third implementation of `Host`: only what pins and CPU mappings need, on
//! the locks and atomics of `loom`, which tries their interleavings.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use hv::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GuestPtr, Mfn},
    dma::DmaLimits,
    grant::TableLimits,
    host::{
        AttachError, Content, CopyError, DeviceError, Domain, Elements, ElementsAt, FlushFlags,
        Flushed, Frame, FrameError, FrameRun, Given, GuestFault, HasDevices, Host, IoMemory,
        IoTables, IommuError, IommuMode, LoosePage, MappedMemory, NoIoContext, OfferError, Origin,
        OutOfMemory, PciFacts, Progress, Refused, SharedPage, StealError, TraceEvent, UnshareError,
    },
    hypercall::{
        Answer, Call,
        grant_table::{self, GuestLayout},
    },
    state::{DomainLimits, DomainState},
    sync::{Rank, ReadWriteLock, SpinLock},
};
use hypercall_abi::{Errno, grant::Gntst};
use loom::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU32, fence},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Words of a page that these tests use.
const WORDS: usize = 64;

pub struct Spin<T>(Mutex<T>);

impl<T: Send> SpinLock<T> for Spin<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        Self: 'a;

    fn new(_rank: Rank, value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("lock")
    }

    fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("lock")
    }
}

pub struct ReadWrite<T>(RwLock<T>);

impl<T: Send + Sync> ReadWriteLock<T> for ReadWrite<T> {
    type ReadGuard<'a>
        = RwLockReadGuard<'a, T>
    where
        Self: 'a;
    type WriteGuard<'a>
        = RwLockWriteGuard<'a, T>
    where
        Self: 'a;

    fn new(_rank: Rank, value: T) -> Self {
        Self(RwLock::new(value))
    }

    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect("lock")
    }

    fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect("lock")
    }
}

/// References to pages: nothing waits for them, so no atomics of loom.
#[derive(Debug, Default)]
pub struct References(AtomicU64);

#[derive(Debug)]
pub struct Page {
    references: Arc<References>,
    mfn: u64,
}

impl Page {
    fn take(references: &Arc<References>, mfn: u64) -> Self {
        references.0.fetch_add(1, Ordering::SeqCst);
        Self {
            references: Arc::clone(references),
            mfn,
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.references.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Frame for Page {
    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }

    fn joined(self, _other: Self) -> Self {
        unimplemented!("translated domains have no device mappings")
    }

    fn take_one(&mut self, _typed: bool) -> Option<Self> {
        None
    }

    fn leave_to_page_tables(self) {}
}

impl LoosePage for Page {
    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }
}

/// A page shared with a guest. Plain accesses are relaxed, as those of Xen to
/// volatile memory; what must be ordered is ordered by fences.
pub struct Shared {
    words: Arc<[AtomicU32; WORDS]>,
    mfn: u64,
}

impl Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[offset / 4]
    }

    fn shift(offset: usize) -> usize {
        offset % 4 * 8
    }
}

impl SharedPage<Peer> for Shared {
    fn share(&self, owner: &Peer) {
        let mut pages = owner.0.pages.lock().expect("pages");
        pages.push(Arc::clone(&self.words));
    }

    fn unshare(&self, owner: &Peer) -> Result<(), UnshareError> {
        let mut pages = owner.0.pages.lock().expect("pages");
        pages.retain(|page| !Arc::ptr_eq(page, &self.words));
        Ok(())
    }

    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }

    fn gfn(&self, _owner: &Peer) -> Option<Gfn> {
        None
    }

    fn load16(&self, offset: usize) -> u16 {
        let word = self.word(offset).load(Ordering::Relaxed);
        (word >> Self::shift(offset)) as u16
    }

    fn load32(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Relaxed)
    }

    fn load64(&self, offset: usize) -> u64 {
        u64::from(self.load32(offset + 4)) << 32 | u64::from(self.load32(offset))
    }

    fn store16(&self, offset: usize, value: u16) {
        let other =
            self.word(offset).load(Ordering::Relaxed) & 0xffff << (16 - Self::shift(offset));
        let word = other | u32::from(value) << Self::shift(offset);
        self.word(offset).store(word, Ordering::Release);
    }

    fn store32(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    fn store64(&self, offset: usize, value: u64) {
        self.store32(offset + 4, (value >> 32) as u32);
        self.store32(offset, value as u32);
    }

    fn compare_exchange32(&self, _owner: &Peer, offset: usize, old: u32, new: u32) -> u32 {
        self.word(offset)
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .unwrap_or_else(|found| found)
    }

    fn set_bits16(&self, offset: usize, bits: u16) {
        let old = self.load16(offset);
        self.store16(offset, old | bits);
        fence(Ordering::SeqCst);
    }

    fn clear_bits16(&self, _owner: &Peer, offset: usize, bits: u16) {
        let bits = u32::from(bits) << Self::shift(offset);
        self.word(offset).fetch_and(!bits, Ordering::SeqCst);
    }

    fn clear(&self) {
        for word in self.words.iter() {
            word.store(0, Ordering::Relaxed);
        }
    }
}

pub struct Record {
    id: u16,
    state: OnceLock<DomainState<World>>,
    /// Pages shared with it, oldest first.
    pages: std::sync::Mutex<Vec<Arc<[AtomicU32; WORDS]>>>,
}

/// A domain.
#[derive(Clone)]
pub struct Peer(Arc<Record>);

impl Peer {
    /// A word of one of its pages: the guest's view.
    pub fn word(&self, page: usize, index: usize) -> Word {
        let pages = self.0.pages.lock().expect("pages");
        Word(Arc::clone(&pages[page]), index)
    }
}

/// A word of a shared page.
pub struct Word(Arc<[AtomicU32; WORDS]>, usize);

impl std::ops::Deref for Word {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        &self.0[self.1]
    }
}

impl Domain<World> for Peer {
    fn id(&self) -> DomId {
        DomId(self.0.id)
    }

    fn is_dying(&self) -> bool {
        false
    }

    fn is_translated(&self) -> bool {
        true
    }

    fn is_direct_mapped(&self) -> bool {
        false
    }

    fn releases_cpu_mappings(&self) -> bool {
        true
    }

    fn state(&self) -> Option<&DomainState<World>> {
        self.0.state.get()
    }
}

/// Domains and references.
pub struct Inner {
    domains: OnceLock<Vec<Peer>>,
    references: Arc<References>,
    next: AtomicU64,
    /// Arguments of hypercalls: bytes by address.
    arguments: std::sync::Mutex<BTreeMap<u64, u8>>,
}

/// The world as one vcpu of domain 1 sees it.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
    vcpu: u32,
}

impl World {
    /// Copies in; each byte is read once.
    fn copy_from_guest(&self, at: GuestPtr, into: &mut [u8]) -> Result<(), GuestFault> {
        let arguments = self.inner.arguments.lock().expect("arguments");
        for (at, byte) in (at.0..).zip(into) {
            *byte = *arguments.get(&at).ok_or(GuestFault)?;
        }
        Ok(())
    }

    /// Two domains, 1 and 2, with two vcpus and records for 256 mappings each.
    pub fn new() -> Self {
        let world = Self {
            inner: Arc::new(Inner {
                domains: OnceLock::new(),
                references: Arc::default(),
                next: AtomicU64::new(0x1000),
                arguments: std::sync::Mutex::default(),
            }),
            vcpu: 0,
        };
        let domains = [1, 2].map(|id| {
            let peer = Peer(Arc::new(Record {
                id,
                state: OnceLock::new(),
                pages: std::sync::Mutex::default(),
            }));
            let limits = DomainLimits {
                table: TableLimits {
                    max_frames: 1,
                    max_maptrack_frames: 1,
                    max_version: 2,
                    vcpus: 2,
                },
                dma: DmaLimits {
                    max_pins: 0,
                    max_contexts: 0,
                },
            };
            let state = DomainState::new(&world, &peer, limits).expect("memory");
            assert!(peer.0.state.set(state).is_ok());
            peer
        });
        assert!(world.inner.domains.set(domains.into()).is_ok());
        world
    }

    pub fn with_vcpu(&self, vcpu: u32) -> Self {
        Self {
            vcpu,
            ..self.clone()
        }
    }

    pub fn peer(&self, id: u16) -> Peer {
        *self.domain(DomId(id)).expect("a domain")
    }

    /// A hypercall of this vcpu with one element.
    pub fn call<T: FromBytes + IntoBytes + Immutable>(&self, cmd: u32, element: &mut T) {
        let at = GuestPtr(0x1000 * u64::from(self.vcpu + 1));
        assert_eq!(self.copy_to_guest(at, element.as_bytes()), Ok(()));
        let caller = &*self.current();
        let answer = grant_table::dispatch(self, caller, GuestLayout::Native, cmd, at, 1);
        assert_eq!(answer, Answer::COMPLETE);
        assert_eq!(self.copy_from_guest(at, element.as_mut_bytes()), Ok(()));
    }

    /// References to all pages.
    pub fn references(&self) -> u64 {
        self.inner.references.0.load(Ordering::SeqCst)
    }
}

/// No memory is mapped here.
pub enum Unmappable {}

impl MappedMemory for Unmappable {
    fn bytes(&self) -> u64 {
        match *self {}
    }

    fn write(&self, _offset: u64, _from: &[u8]) -> Result<(), GuestFault> {
        match *self {}
    }
}

/// Where the arguments of a call came from.
pub struct ArgumentsOf<'a>(&'a World, GuestPtr);

impl Origin for ArgumentsOf<'_> {
    fn write(&self, offset: usize, from: &[u8]) -> Result<(), GuestFault> {
        let Self(world, at) = self;
        world.copy_to_guest(at.byte_offset(offset as u64), from)
    }
}

const OUTSIDE: &str = "no part of what is checked here";

/// There is none.
#[derive(Debug)]
pub enum NoRun {}

impl FrameRun for NoRun {
    type Frame = Page;

    fn first(&self) -> Mfn {
        match *self {}
    }

    fn count(&self) -> u32 {
        match *self {}
    }

    fn append(&mut self, next: Self) -> Result<(), Self> {
        match next {}
    }

    fn split_last(&mut self, _: u32) -> Option<Self> {
        match *self {}
    }

    fn into_frames(self, _: impl FnMut(Page)) {
        match self {}
    }
}

impl Host for World {
    type Spin<T: Send> = Spin<T>;
    type ReadWrite<T: Send + Sync> = ReadWrite<T>;
    type Domain = Peer;
    type DomainRef = Box<Peer>;
    type Frame = Page;
    type FrameRun = NoRun;
    type SharedPage = Shared;
    type LoosePage = Page;
    type MappedMemory = Unmappable;
    type Kept = ();
    type Origin<'a> = ArgumentsOf<'a>;
    type OfferedPage<'a> = Page;
    type IoContext = ();
    type Shared<T: Send + Sync> = Arc<T>;

    const CPU_MAP_TAKES_TYPE: bool = false;

    fn current(&self) -> Box<Peer> {
        Box::new(self.peer(1))
    }

    fn has_wide_registers(&self) -> bool {
        true
    }

    fn current_vcpu(&self) -> u32 {
        self.vcpu
    }

    fn domain(&self, id: DomId) -> Option<Box<Peer>> {
        let domains = self.inner.domains.get()?;
        let found = domains.iter().find(|peer| peer.0.id == id.0)?;
        Some(Box::new(found.clone()))
    }

    fn may_map_grant(&self, _: &Peer, _: &Peer, _: u32) -> Result<(), Refused> {
        Ok(())
    }

    fn may_unmap_grant(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn may_setup_table(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn may_query_table(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn may_transfer(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn may_copy(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn transitive_allowed(&self) -> bool {
        true
    }

    fn transfer_allowed(&self) -> bool {
        false
    }

    fn pin_gfn(
        &self,
        owner: &Peer,
        gfn: Gfn,
        _access: Access,
        _take_type: bool,
        _io: IoMemory,
    ) -> Result<Page, FrameError> {
        let mfn = u64::from(owner.0.id) << 20 | gfn.number();
        Ok(Page::take(&self.inner.references, mfn))
    }

    fn pin_run(&self, _: &Peer, _: Gfn, _: u32, _: bool) -> Result<NoRun, FrameError> {
        unreachable!("no windows here")
    }

    fn pin_again(&self, _owner: &Peer, mfn: Mfn, _typed: bool) -> Result<Page, FrameError> {
        assert!(self.references() > 0, "somebody refers to it");
        Ok(Page::take(&self.inner.references, mfn.number()))
    }

    fn new_shared_page(&self) -> Result<Shared, OutOfMemory> {
        Ok(Shared {
            words: Arc::new(std::array::from_fn(|_| AtomicU32::new(0))),
            mfn: self.inner.next.fetch_add(1, Ordering::SeqCst),
        })
    }

    fn mark_dirty(&self, _owner: &Peer, _frame: &Page) {}

    fn copy_between(&self, _: &Page, _: u16, _: &Page, _: u16, _: u16) {}

    fn pin_mfn(&self, _mfn: Mfn) -> Result<(Box<Peer>, Page), FrameError> {
        unimplemented!("{OUTSIDE}")
    }

    fn flush_cache(&self, _: &Page, _: u16, _: u16, _: u32) -> Result<(), Errno> {
        unimplemented!("{OUTSIDE}")
    }

    fn steal_page(&self, _owner: &Peer, _gfn: Gfn) -> Result<Page, StealError> {
        unimplemented!("{OUTSIDE}")
    }

    fn offer_page(&self, _page: Page, _receiver: &Peer, _wide: bool) -> Result<Page, OfferError> {
        unimplemented!("{OUTSIDE}")
    }

    fn give_page(&self, _page: Page, _gfn: Gfn) -> Given {
        unimplemented!("{OUTSIDE}")
    }

    fn cpu_map_needs_identity(&self, _holder: &Peer) -> bool {
        false
    }

    fn identity_map(&self, _: &Peer, _: Mfn, _: Access) -> Result<(), IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn identity_unmap(&self, _holder: &Peer, _mfn: Mfn) -> Result<(), IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn map_for_cpu(&self, _: u64, _: &Page, _: u32, _: u16) -> Result<(), Gntst> {
        Ok(())
    }

    fn unmap_for_cpu(&self, _: u64, _: &Page, _: u64, _: u32) -> Result<(), Gntst> {
        Ok(())
    }

    fn flush_cpu_tlb(&self) {}

    fn trace(&self, _event: TraceEvent, _other: DomId) {}

    fn guest_range_ok(&self, _at: GuestPtr, _bytes: u64) -> bool {
        true
    }

    fn with_elements<T, R>(
        &self,
        at: ElementsAt<'_, Self>,
        count: usize,
        _then: Elements<'_, ()>,
        work: impl FnOnce(&mut [T], &ArgumentsOf<'_>) -> R,
    ) -> Result<R, GuestFault>
    where
        T: FromBytes + IntoBytes + Immutable + Copy,
    {
        let mut elements = vec![T::new_zeroed(); count];
        let ElementsAt::Guest(at) = at else {
            unreachable!("{OUTSIDE}");
        };
        self.copy_from_guest(at, elements.as_mut_slice().as_mut_bytes())?;
        Ok(work(&mut elements, &ArgumentsOf(self, at)))
    }

    fn map_memory(&self, _frames: Vec<Page>) -> Result<Unmappable, OutOfMemory> {
        Err(OutOfMemory)
    }

    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault> {
        let mut arguments = self.inner.arguments.lock().expect("arguments");
        arguments.extend((at.0..).zip(from.iter().copied()));
        Ok(())
    }

    fn iommu_mode(&self, _domain: &Peer) -> IommuMode {
        IommuMode::Absent
    }

    fn device_hole(&self, _domain: &Peer) -> Option<DfnRange> {
        None
    }

    fn gfn_is_hole(&self, _domain: &Peer, _gfn: Gfn) -> bool {
        false
    }

    fn is_above_memory(&self, _domain: &Peer, _gfn: Gfn) -> bool {
        false
    }

    fn iommu_page_sizes(&self, _domain: &Peer) -> u64 {
        1 << 12
    }

    fn share<T: Send + Sync>(&self, value: T) -> Result<Arc<T>, OutOfMemory> {
        Ok(Arc::new(value))
    }

    fn context_range(&self, _: &Peer, _: Dfn, _: u64, _: Content) -> Option<DfnRange> {
        None
    }

    fn mirror_memory(&self, _: &Peer, _: &(), _: Dfn) -> Result<Progress, CopyError> {
        unimplemented!("{OUTSIDE}")
    }

    fn end_mirror(&self, _: &()) -> Result<Progress, IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn new_io_context(&self, _: &Peer, _: u32) -> Result<(), NoIoContext> {
        Err(NoIoContext::OutOfNumbers)
    }

    fn close_io_context(&self, _: &()) -> Result<(), HasDevices> {
        unimplemented!("{OUTSIDE}")
    }

    fn attach_device(&self, _: &Peer, _: u32, _: IoTables<'_, Self>) -> Result<bool, AttachError> {
        unimplemented!("{OUTSIDE}")
    }

    fn must_flush_soon(&self, _: FlushFlags) -> bool {
        unimplemented!("{OUTSIDE}")
    }

    fn may_use_contexts(&self, _: &Peer) -> Result<(), Refused> {
        Err(Refused)
    }

    fn may_attach_device(&self, _: &Peer, _: u32) -> Result<(), Refused> {
        Err(Refused)
    }

    fn may_set_limits(&self, _: &Peer) -> Result<(), Refused> {
        Err(Refused)
    }

    fn iommu_map(
        &self,
        _: IoTables<'_, Self>,
        _: Dfn,
        _: Mfn,
        _: u32,
        _: Access,
        _: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn iommu_map_frames(
        &self,
        _: IoTables<'_, Self>,
        _: Dfn,
        _: &[Mfn],
        _: Access,
        _: &mut FlushFlags,
    ) -> Result<(), u32> {
        unimplemented!("{OUTSIDE}")
    }

    fn iommu_unmap(
        &self,
        _: IoTables<'_, Self>,
        _: Dfn,
        _: u32,
        _: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn iommu_flush(
        &self,
        _: IoTables<'_, Self>,
        _: DfnRange,
        _: FlushFlags,
    ) -> Result<Flushed, IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn pci_device(&self, _owner: &Peer, _sbdf: u32) -> Result<PciFacts, DeviceError> {
        Err(DeviceError::NoPci)
    }

    fn notify(&self, _: &Peer, _: u32) {}

    fn most_contexts(&self) -> u32 {
        0
    }

    fn has_pci(&self) -> bool {
        false
    }

    fn preempt_requested(&self) -> bool {
        false
    }

    fn continue_call(&self, _: Call) -> Answer {
        unimplemented!("{OUTSIDE}")
    }

    fn clamp_index(&self, index: usize, len: usize) -> usize {
        if index < len { index } else { 0 }
    }

    fn speculation_barrier(&self) {}
}
