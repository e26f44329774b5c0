// SPDX-License-Identifier: GPL-2.0-only
//! The machine as `hv` sees it.

use std::sync::Arc;

use hv::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GuestPtr, Mfn},
    host::{
        AttachError, Content, CopyError, DeviceError, Domain, ELEMENTS_PER_COPY, Elements,
        ElementsAt, FlushFlags, Flushed, Frame, FrameError, Given, GuestFault, HasDevices, Host,
        IoMemory, IoTables, IommuError, IommuMode, NoIoContext, OfferError, OutOfMemory, PciFacts,
        Progress, Refused, StealError, TraceEvent,
    },
    hypercall::{Answer, Call},
};
use hypercall_abi::{
    Errno,
    grant::{GNTMAP_READONLY, Gntst},
};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    domain::{Backing, ModelDomain},
    frames::{Kind, NOBODY, PinnedFrame, PinnedRun},
    guest::GUEST_LIMIT,
    iommu::{Device, Iommu, ModelIoContext, TABLES_FREED, TablesId},
    locks::{RankedMutex, RankedReadWrite, assert_none_held},
    loose::{ModelLoosePage, ModelOfferedPage},
    machine::{Machine, Moment},
    mapped::MappedFrames,
    observed::Event,
    origin::ModelOrigin,
    shared::{ModelSharedPage, SharedMemory},
};

/// In the log of what was read: an offset in memory that Xen has mapped.
const MAPPED: u64 = 1 << 63;

fn tables_id(tables: IoTables<'_, Machine>) -> TablesId {
    match tables {
        IoTables::Default(domain) => (domain.id().0, 0),
        IoTables::Own(context) => context.id,
    }
}

fn refuse_if(refused: bool) -> Result<(), Refused> {
    if refused { Err(Refused) } else { Ok(()) }
}

impl Machine {
    /// Copies in; each byte is read once.
    fn copy_from_guest(&self, at: GuestPtr, into: &mut [u8]) -> Result<(), GuestFault> {
        let guests = self.inner.guests.lock().expect("guest memory");
        let memory = guests.get(&self.current).ok_or(GuestFault)?;
        if memory.read(at.0, into) != into.len() {
            // Nobody may use what a failed copy has read.
            into.fill(0xee);
            return Err(GuestFault);
        }
        let bytes = into.len() as u64;
        self.reads.lock().expect("read log").note(at.0, bytes);
        Ok(())
    }

    fn take_reference(&self, owner: u16, mfn: u64, typed: bool) -> Result<PinnedFrame, FrameError> {
        let mut state = self.state();
        state.frames.take(owner, mfn, typed)?;
        state.counters.note_reference();
        Ok(PinnedFrame::new(Arc::downgrade(&self.inner), mfn, typed))
    }

    /// A copy of the page, which is given back.
    fn copy_with_small_number(&self, page: ModelLoosePage) -> Option<ModelLoosePage> {
        let mut state = self.state();
        if state.switches.no_low_memory {
            // The page is given back, which needs the state.
            drop(state);
            return None;
        }
        let bytes = state.frames.get(page.number())?.contents();
        let copy = state.frames.allocate(NOBODY, Kind::Ram);
        state.frames.get_mut(copy)?.write_range(0, &bytes[..]);
        drop(state);
        Some(ModelLoosePage::new(Arc::downgrade(&self.inner), copy))
    }
}

impl Host for Machine {
    type Spin<T: Send> = RankedMutex<T>;
    type ReadWrite<T: Send + Sync> = RankedReadWrite<T>;
    type Domain = ModelDomain;
    type DomainRef = Box<ModelDomain>;
    type Frame = PinnedFrame;
    type FrameRun = PinnedRun;
    type SharedPage = ModelSharedPage;
    type MappedMemory = MappedFrames;
    type Kept = ();
    type Origin<'a> = ModelOrigin<'a>;
    type LoosePage = ModelLoosePage;
    type OfferedPage<'a> = ModelOfferedPage<'a>;
    type IoContext = ModelIoContext;
    type Shared<T: Send + Sync> = Arc<T>;

    const CPU_MAP_TAKES_TYPE: bool = true;

    fn current(&self) -> Box<ModelDomain> {
        Box::new(self.find(self.current).expect("a vcpu of a domain"))
    }

    fn has_wide_registers(&self) -> bool {
        self.layout == hv::hypercall::grant_table::GuestLayout::Native
    }

    fn current_vcpu(&self) -> u32 {
        self.vcpu
    }

    fn domain(&self, id: DomId) -> Option<Box<ModelDomain>> {
        self.find(id.0).map(Box::new)
    }

    fn may_map_grant(
        &self,
        holder: &ModelDomain,
        granter: &ModelDomain,
        gntmap_flags: u32,
    ) -> Result<(), Refused> {
        let mut state = self.state();
        state.access.asked.push(gntmap_flags);
        let pair = (holder.id().0, granter.id().0);
        let writable = gntmap_flags & GNTMAP_READONLY == 0;
        refuse_if(
            state.access.map.contains(&pair)
                || writable && state.access.map_writable.contains(&pair),
        )
    }

    fn may_unmap_grant(&self, holder: &ModelDomain, granter: &ModelDomain) -> Result<(), Refused> {
        let pair = (holder.id().0, granter.id().0);
        refuse_if(self.state().access.unmap.contains(&pair))
    }

    fn may_setup_table(&self, caller: &ModelDomain, target: &ModelDomain) -> Result<(), Refused> {
        let pair = (caller.id().0, target.id().0);
        refuse_if(self.state().access.table.contains(&pair))
    }

    fn may_query_table(&self, caller: &ModelDomain, target: &ModelDomain) -> Result<(), Refused> {
        self.may_setup_table(caller, target)
    }

    fn may_transfer(&self, caller: &ModelDomain, receiver: &ModelDomain) -> Result<(), Refused> {
        let pair = (caller.id().0, receiver.id().0);
        refuse_if(self.state().access.transfer.contains(&pair))
    }

    fn may_copy(&self, source: &ModelDomain, dest: &ModelDomain) -> Result<(), Refused> {
        let pair = (source.id().0, dest.id().0);
        refuse_if(self.state().access.copy.contains(&pair))
    }

    fn may_use_contexts(&self, owner: &ModelDomain) -> Result<(), Refused> {
        assert_eq!(owner.id().0, self.current, "only the caller's contexts");
        refuse_if(self.state().access.contexts.contains(&self.current))
    }

    fn may_attach_device(&self, owner: &ModelDomain, sbdf: u32) -> Result<(), Refused> {
        assert_eq!(owner.id().0, self.current, "only the caller's devices");
        refuse_if(self.state().access.devices.contains(&(self.current, sbdf)))
    }

    fn may_set_limits(&self, target: &ModelDomain) -> Result<(), Refused> {
        let pair = (self.current, target.id().0);
        refuse_if(self.state().access.limits.contains(&pair))
    }

    fn transitive_allowed(&self) -> bool {
        !self.state().switches.no_transitive
    }

    fn transfer_allowed(&self) -> bool {
        !self.state().switches.no_transfer
    }

    fn pin_gfn(
        &self,
        owner: &ModelDomain,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        io: IoMemory,
    ) -> Result<PinnedFrame, FrameError> {
        let needless = owner.is_translated() && !access.write && take_type;
        assert!(!needless, "a type only to write");
        let backing = self.state().p2m.get(&(owner.id().0, gfn.number())).copied();
        match backing {
            Some(Backing::Ram(mfn)) => self.take_reference(owner.id().0, mfn, take_type),
            Some(Backing::Io(mfn)) if io == IoMemory::Allowed => {
                self.take_reference(owner.id().0, mfn, take_type)
            }
            Some(Backing::ReadOnly(_)) if access.write => Err(FrameError::NotWritable),
            Some(Backing::ReadOnly(mfn)) => self.take_reference(owner.id().0, mfn, false),
            Some(Backing::PagedOut) => Err(FrameError::TryAgain),
            None if owner.is_dying() => Err(FrameError::Gone),
            Some(Backing::Mmio | Backing::Io(_) | Backing::Foreign(_)) | None => {
                Err(FrameError::NotMemory)
            }
        }
    }

    fn pin_run(
        &self,
        owner: &ModelDomain,
        gfn: Gfn,
        most: u32,
        write: bool,
    ) -> Result<PinnedRun, FrameError> {
        assert_eq!(owner.id().0, self.current, "only the caller's memory");
        assert!(most > 0, "a run of nothing");
        let mut frames: Vec<PinnedFrame> = Vec::new();
        // What one entry of large page tables maps.
        let end = gfn.number() | 511;
        for gfn in (gfn.number()..=end).take(most as usize) {
            let access = Access { read: true, write };
            let pinned = self.pin_gfn(owner, Gfn::new(gfn), access, write, IoMemory::Refused);
            let next = match pinned {
                Ok(next) => next,
                Err(error) if frames.is_empty() => return Err(error),
                Err(_) => break,
            };
            let follows = frames
                .last()
                .is_none_or(|last| last.mfn().checked_add(1) == Some(next.mfn()));
            if !follows {
                break;
            }
            frames.push(next);
        }
        Ok(PinnedRun::new(frames))
    }

    fn pin_again(
        &self,
        owner: &ModelDomain,
        mfn: Mfn,
        take_type: bool,
    ) -> Result<PinnedFrame, FrameError> {
        let referenced = self
            .state()
            .frames
            .get(mfn.number())
            .is_some_and(|frame| frame.refs > 0);
        assert!(referenced, "pin_again of a frame that nobody refers to");
        self.take_reference(owner.id().0, mfn.number(), take_type)
    }

    fn new_shared_page(&self) -> Result<ModelSharedPage, OutOfMemory> {
        let mut state = self.state();
        if state.switches.shared_page_fails.pull() {
            return Err(OutOfMemory);
        }
        let memory = Arc::new(SharedMemory::default());
        let mfn = state
            .frames
            .allocate(u16::MAX, Kind::Shared(Arc::clone(&memory)));
        Ok(ModelSharedPage::new(
            Arc::downgrade(&self.inner),
            mfn,
            memory,
        ))
    }

    fn mark_dirty(&self, owner: &ModelDomain, frame: &PinnedFrame) {
        let mut state = self.state();
        let record = state
            .frames
            .get_mut(frame.mfn().number())
            .expect("a referenced frame");
        assert_eq!(record.owner, owner.id().0, "whose page is dirty");
        record.dirty = true;
    }

    fn copy_between(
        &self,
        from: &PinnedFrame,
        from_offset: u16,
        to: &PinnedFrame,
        to_offset: u16,
        len: u16,
    ) {
        assert_none_held("copy");
        assert!(to.is_typed(), "a copy writes through a typed reference");
        let range = |offset: u16| {
            let range = usize::from(offset)..usize::from(offset) + usize::from(len);
            assert!(range.end <= 4096, "copy leaves the page: {range:?}");
            range
        };
        let (source, dest) = (range(from_offset), range(to_offset));
        let mut state = self.state();
        let read = state.frames.get(from.mfn().number()).expect("a source");
        let bytes = read.contents()[source].to_vec();
        let written = state.frames.get_mut(to.mfn().number());
        let written = written.expect("a destination");
        written.write_range(dest.start, &bytes);
    }

    fn pin_mfn(&self, mfn: Mfn) -> Result<(Box<ModelDomain>, PinnedFrame), FrameError> {
        let owner = {
            let state = self.state();
            let record = state.frames.get(mfn.number());
            record.ok_or(FrameError::NotMemory)?.owner
        };
        let domain = self.find(owner).ok_or(FrameError::Gone)?;
        let frame = self
            .take_reference(owner, mfn.number(), false)
            .map_err(|_| FrameError::Gone)?;
        Ok((Box::new(domain), frame))
    }

    fn flush_cache(
        &self,
        frame: &PinnedFrame,
        offset: u16,
        length: u16,
        op: u32,
    ) -> Result<(), Errno> {
        let mut state = self.state();
        if state.switches.no_cache_flush {
            return Err(Errno::OpNotSupp);
        }
        assert!(offset + length <= 4096 && length > 0, "inside the page");
        let mfn = frame.mfn().number();
        state.cache_flushes.push((mfn, offset, length, op));
        Ok(())
    }

    fn steal_page(&self, owner: &ModelDomain, gfn: Gfn) -> Result<ModelLoosePage, StealError> {
        assert_eq!(owner.id().0, self.current, "only the caller's pages");
        let key = (owner.id().0, gfn.number());
        let mut state = self.state();
        let Some(&Backing::Ram(mfn)) = state.p2m.get(&key) else {
            return Err(StealError::BadPage);
        };
        let record = state.frames.get_mut(mfn).ok_or(StealError::BadPage)?;
        if record.owner != key.0 {
            return Err(StealError::BadPage);
        }
        if record.refs != 0 || !matches!(record.kind, Kind::Ram) {
            return Err(StealError::InUse);
        }
        record.owner = NOBODY;
        state.set_backing(key.0, key.1, None);
        Ok(ModelLoosePage::new(Arc::downgrade(&self.inner), mfn))
    }

    fn offer_page<'a>(
        &self,
        page: ModelLoosePage,
        receiver: &'a ModelDomain,
        wide_frames: bool,
    ) -> Result<ModelOfferedPage<'a>, OfferError> {
        assert_none_held("page offered");
        let page = if wide_frames || u32::try_from(page.number()).is_ok() {
            page
        } else {
            self.copy_with_small_number(page)
                .ok_or(OfferError::TooBig)?
        };
        let room = self.state().memory_of(receiver.id().0) < receiver.setup().max_pages;
        if receiver.is_dying() || !room {
            return Err(OfferError::NoRoom);
        }
        Ok(ModelOfferedPage { page, receiver })
    }

    fn give_page(&self, offered: ModelOfferedPage<'_>, gfn: Gfn) -> Given {
        let ModelOfferedPage { page, receiver } = offered;
        self.at_moment(Moment::Assign);
        if receiver.is_dying() {
            return Given::Dying;
        }
        let owner = receiver.id().0;
        let mfn = page.keep();
        let mut state = self.state();
        let record = state.frames.get_mut(mfn).expect("a page that was kept");
        record.owner = owner;
        if state.switches.place_fails.pull() {
            return Given::Nowhere;
        }
        // A PV domain knows its pages by their machine frames.
        let known_by = if receiver.is_translated() {
            gfn
        } else {
            Gfn::new(mfn)
        };
        let backing = Backing::Ram(mfn);
        state.set_backing(owner, known_by.number(), Some(backing));
        Given::At(known_by)
    }

    fn cpu_map_needs_identity(&self, holder: &ModelDomain) -> bool {
        holder.setup().identity() == Some(true)
    }

    fn identity_map(
        &self,
        holder: &ModelDomain,
        mfn: Mfn,
        access: Access,
    ) -> Result<(), IommuError> {
        let mut state = self.state();
        let key = (holder.id().0, mfn.number());
        if state.switches.identity_map_fails.pull() {
            state.identity_unsure = Some(key);
            return Err(IommuError);
        }
        // After a failure nobody knows what there is.
        let unsure = state.identity_unsure.take() == Some(key);
        let iommu = state.iommus.entry((key.0, 0)).or_default();
        iommu.set_identity(key.1, access, unsure);
        iommu.flush_frame(key.1);
        Ok(())
    }

    fn identity_unmap(&self, holder: &ModelDomain, mfn: Mfn) -> Result<(), IommuError> {
        let mut state = self.state();
        if state.switches.identity_unmap_fails.pull() {
            return Err(IommuError);
        }
        // Nothing there is no error: after a failure nobody knows.
        let iommu = state.iommus.entry((holder.id().0, 0)).or_default();
        iommu.unmap(mfn.number(), 1);
        iommu.flush_frame(mfn.number());
        Ok(())
    }

    fn map_for_cpu(
        &self,
        host_addr: u64,
        frame: &PinnedFrame,
        gntmap_flags: u32,
        cache_flags: u16,
    ) -> Result<(), Gntst> {
        let mut state = self.state();
        if state.switches.cpu_map_fails.pull() {
            return Err(Gntst::GeneralError);
        }
        state.cache_flags = cache_flags;
        let current = self.current;
        state.map_for_cpu(current, host_addr, frame.mfn().number(), gntmap_flags)
    }

    fn unmap_for_cpu(
        &self,
        host_addr: u64,
        frame: &PinnedFrame,
        new_addr: u64,
        gntmap_flags: u32,
    ) -> Result<(), Gntst> {
        let mut state = self.state();
        let frame = frame.mfn().number();
        let current = self.current;
        state.unmap_for_cpu(current, host_addr, frame, new_addr, gntmap_flags)
    }

    fn flush_cpu_tlb(&self) {
        assert_none_held("CPU TLB flush");
        let mut state = self.state();
        state.counters.tlb_flushes += 1;
        state.stale.retain(|&(holder, _, _)| holder != self.current);
    }

    fn trace(&self, event: TraceEvent, other: DomId) {
        self.state().traces.push((event, other.0));
    }

    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool {
        at.0.checked_add(bytes)
            .is_some_and(|end| end <= GUEST_LIMIT)
    }

    fn with_elements<T, R>(
        &self,
        at: ElementsAt<'_, Self>,
        count: usize,
        _then: Elements<'_, ()>,
        work: impl FnOnce(&mut [T], &ModelOrigin<'_>) -> R,
    ) -> Result<R, GuestFault>
    where
        T: FromBytes + IntoBytes + Immutable + Copy,
    {
        assert!(count <= ELEMENTS_PER_COPY, "more than fits on the stack");
        let mut elements = vec![T::new_zeroed(); count];
        let room = elements.as_mut_slice().as_mut_bytes();
        match at {
            ElementsAt::Guest(at) => self.copy_from_guest(at, room)?,
            ElementsAt::Mapped(memory, offset) => {
                memory.read(self, offset, room)?;
                let bytes = room.len() as u64;
                let mut reads = self.reads.lock().expect("read log");
                reads.note(MAPPED | offset, bytes);
            }
        }
        let origin = ModelOrigin {
            host: self,
            at,
            bytes: room.len(),
        };
        Ok(work(&mut elements, &origin))
    }

    fn map_memory(&self, frames: Vec<PinnedFrame>) -> Result<MappedFrames, OutOfMemory> {
        if self.state().switches.map_memory_fails.pull() {
            return Err(OutOfMemory);
        }
        Ok(MappedFrames::new(Arc::downgrade(&self.inner), frames))
    }

    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault> {
        let mut guests = self.inner.guests.lock().expect("guest memory");
        guests
            .get_mut(&self.current)
            .ok_or(GuestFault)?
            .write(at.0, from)
    }

    fn iommu_mode(&self, domain: &ModelDomain) -> IommuMode {
        domain.setup().iommu
    }

    fn device_hole(&self, domain: &ModelDomain) -> Option<DfnRange> {
        domain.hole()
    }

    fn gfn_is_hole(&self, domain: &ModelDomain, gfn: Gfn) -> bool {
        !self
            .state()
            .p2m
            .contains_key(&(domain.id().0, gfn.number()))
    }

    fn is_above_memory(&self, domain: &ModelDomain, gfn: Gfn) -> bool {
        let state = self.state();
        let from = (domain.id().0, gfn.number());
        state.p2m.range(from..=(from.0, u64::MAX)).next().is_none()
    }

    fn iommu_page_sizes(&self, _domain: &ModelDomain) -> u64 {
        if self.state().switches.large_pages {
            1 << 12 | 1 << 21
        } else {
            1 << 12
        }
    }

    fn share<T: Send + Sync>(&self, value: T) -> Result<Arc<T>, OutOfMemory> {
        if self.state().switches.share_fails.pull() {
            return Err(OutOfMemory);
        }
        Ok(Arc::new(value))
    }

    fn context_range(
        &self,
        owner: &ModelDomain,
        last: Dfn,
        wanted: u64,
        content: Content,
    ) -> Option<DfnRange> {
        let (first, count) = match content {
            Content::Empty => owner.setup().context_range?,
            Content::Mirror => owner.setup().mirror_range?,
        };
        let end = (first + count.min(wanted)).min(last.number().saturating_add(1));
        Some(DfnRange {
            first: Dfn::new(first),
            count: end.checked_sub(first)?,
        })
    }

    fn new_io_context(
        &self,
        owner: &ModelDomain,
        number: u32,
    ) -> Result<ModelIoContext, NoIoContext> {
        let mut state = self.state();
        if state.switches.no_io_context.pull() {
            return Err(NoIoContext::OutOfNumbers);
        }
        state.contexts_made += 1;
        let id = (owner.id().0, state.contexts_made);
        let tables = Iommu::of_context(number);
        state.iommus.insert(id, tables);
        Ok(ModelIoContext {
            inner: Arc::downgrade(&self.inner),
            id,
        })
    }

    fn mirror_memory(
        &self,
        owner: &ModelDomain,
        context: &ModelIoContext,
        end: Dfn,
    ) -> Result<Progress, CopyError> {
        assert_none_held("copying memory");
        self.mirror_step(owner, context, end)
    }

    fn end_mirror(&self, context: &ModelIoContext) -> Result<Progress, IommuError> {
        assert_none_held("ending a copy of memory");
        self.end_mirror_step(context)
    }

    fn close_io_context(&self, context: &ModelIoContext) -> Result<(), HasDevices> {
        let mut state = self.state();
        if state.devices_at(context.id).next().is_some() {
            return Err(HasDevices);
        }
        let tables = state.iommus.get_mut(&context.id).expect("its tables");
        tables.closed = true;
        Ok(())
    }

    fn attach_device(
        &self,
        owner: &ModelDomain,
        sbdf: u32,
        to: IoTables<'_, Self>,
    ) -> Result<bool, AttachError> {
        assert_none_held("moving a device");
        let id = tables_id(to);
        let mut state = self.state();
        if state.switches.no_pci {
            return Err(AttachError::Device(DeviceError::NoPci));
        }
        let device = state.pci.get(&sbdf).copied();
        let device = device
            .filter(|device| device.owner == owner.id().0)
            .ok_or(AttachError::Device(DeviceError::NotYours))?;
        if !device.behind_iommu {
            return Err(AttachError::NotMovable);
        }
        let closed = |iommu: &Iommu| iommu.closed;
        if state.iommus.get(&id).is_some_and(closed) {
            return Err(AttachError::Closed);
        }
        let mut alike: Vec<&mut Device> = state
            .pci
            .values_mut()
            .filter(|other| other.group == device.group)
            .collect();
        if alike.iter().any(|other| other.owner != device.owner) {
            return Err(AttachError::Shared);
        }
        for device in &mut alike {
            device.tables = id.1;
        }
        if state.switches.attach_fails.pull() {
            for other in state.pci.values_mut() {
                if other.group == device.group {
                    other.tables = device.tables;
                }
            }
            return Err(AttachError::Iommu);
        }
        Ok(device.tables != id.1)
    }

    fn must_flush_soon(&self, flags: FlushFlags) -> bool {
        flags.0 & TABLES_FREED.0 != 0
    }

    fn iommu_map(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        mfn: Mfn,
        count: u32,
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        let mut state = self.state();
        let id = tables_id(tables);
        let identity = match tables {
            IoTables::Default(domain) => domain.setup().identity().is_some(),
            IoTables::Own(_) => false,
        };
        let ok = !state.switches.map_fails.pull();
        let (domain, context) = state.name_of(id);
        state.events.push(Event::Map {
            domain,
            context,
            dfn: dfn.number(),
            mfn: mfn.number(),
            count,
            ok,
        });
        if !ok {
            return Err(IommuError);
        }
        let iommu = state.iommus.entry(id).or_default();
        if identity {
            assert_eq!((dfn.number(), count), (mfn.number(), 1), "identity only");
            flush.add(iommu.set_identity(mfn.number(), access, false));
        } else {
            flush.add(iommu.map(dfn.number(), mfn.number(), count, access));
        }
        Ok(())
    }

    fn iommu_map_frames(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        mfns: &[Mfn],
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), u32> {
        let follows = |a: &Mfn, b: &Mfn| a.number() + 1 == b.number();
        let mut done = 0;
        for run in mfns.chunk_by(follows) {
            let dfn = Dfn::new(dfn.number() + u64::from(done));
            let count = run.len() as u32;
            self.iommu_map(tables, dfn, run[0], count, access, flush)
                .map_err(|_| done)?;
            done += count;
        }
        Ok(())
    }

    fn iommu_unmap(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        count: u32,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        let mut state = self.state();
        let id = tables_id(tables);
        let ok = !state.switches.unmap_fails.pull();
        if ok && state.switches.unmap_frees_tables {
            flush.add(TABLES_FREED);
        }
        let (domain, context) = state.name_of(id);
        state.events.push(Event::Unmap {
            domain,
            context,
            dfn: dfn.number(),
            count,
            ok,
        });
        if !ok {
            return Err(IommuError);
        }
        let iommu = state.iommus.entry(id).or_default();
        flush.add(iommu.unmap(dfn.number(), count));
        Ok(())
    }

    fn iommu_flush(
        &self,
        tables: IoTables<'_, Self>,
        range: DfnRange,
        flags: FlushFlags,
    ) -> Result<Flushed, IommuError> {
        assert_none_held("IOTLB flush");
        self.at_moment(Moment::Flush);
        let mut state = self.state();
        let id = tables_id(tables);
        let ok = !state.switches.flush_fails.pull();
        let (domain, context) = state.name_of(id);
        state.events.push(Event::Flush {
            domain,
            context,
            dfn: range.first.number(),
            count: range.count,
            flags: flags.0,
            ok,
        });
        if !ok {
            return Err(IommuError);
        }
        let iommu = state.iommus.entry(id).or_default();
        iommu.flush(range, flags);
        Ok(Flushed::completed())
    }

    fn pci_device(&self, owner: &ModelDomain, sbdf: u32) -> Result<PciFacts, DeviceError> {
        let state = self.state();
        if state.switches.no_pci {
            return Err(DeviceError::NoPci);
        }
        match state.pci.get(&sbdf) {
            Some(device) if device.owner == owner.id().0 => Ok(PciFacts {
                behind_iommu: device.behind_iommu,
                context: state.name_of((device.owner, device.tables)).1,
            }),
            _ => Err(DeviceError::NotYours),
        }
    }

    fn notify(&self, domain: &ModelDomain, port: u32) {
        self.state().notified.push((domain.id().0, port));
    }

    fn most_contexts(&self) -> u32 {
        let few = self.state().switches.few_contexts;
        few.unwrap_or(u32::from(u16::MAX))
    }

    fn has_pci(&self) -> bool {
        !self.state().switches.no_pci
    }

    fn preempt_requested(&self) -> bool {
        assert_none_held("preemption check");
        self.poll()
    }

    fn continue_call(&self, rest: Call) -> Answer {
        assert_none_held("continuation");
        self.note_continuation(rest)
    }

    fn clamp_index(&self, index: usize, len: usize) -> usize {
        if index < len { index } else { 0 }
    }

    fn speculation_barrier(&self) {}
}
