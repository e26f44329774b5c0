// SPDX-License-Identifier: GPL-2.0-only
//! The machine as `hv` sees it.

use std::sync::Arc;

use hv::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GuestPtr, Mfn},
    host::{
        DeviceError, Domain, FlushFlags, Flushed, Frame, FrameError, GuestFault, Host, IommuError,
        IommuMode, OutOfMemory, PciFacts, Refused,
    },
};
use hypercall_abi::grant::{GNTMAP_CONTAINS_PTE, GNTMAP_READONLY};

use super::{
    domain::{Backing, ModelDomain},
    frames::{Kind, PinnedFrame},
    guest::GUEST_LIMIT,
    locks::{RankedMutex, RankedReadWrite, assert_none_held},
    machine::{Event, Machine, Moment},
    shared::{ModelSharedPage, SharedMemory},
};

fn refuse_if(refused: bool) -> Result<(), Refused> {
    if refused { Err(Refused) } else { Ok(()) }
}

impl Machine {
    fn take_reference(&self, owner: u16, mfn: u64, typed: bool) -> Result<PinnedFrame, FrameError> {
        let mut state = self.state();
        state.frames.take(owner, mfn, typed)?;
        state.counters.note_reference();
        Ok(PinnedFrame::new(Arc::downgrade(&self.inner), mfn, typed))
    }
}

impl Host for Machine {
    type Spin<T: Send> = RankedMutex<T>;
    type ReadWrite<T: Send + Sync> = RankedReadWrite<T>;
    type Domain = ModelDomain;
    type Frame = PinnedFrame;
    type SharedPage = ModelSharedPage;

    const CPU_MAP_TAKES_TYPE: bool = true;

    fn current(&self) -> ModelDomain {
        self.find(self.current).expect("a vcpu of a domain")
    }

    fn domain(&self, id: DomId) -> Option<ModelDomain> {
        self.find(id.0)
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

    fn pin_gfn(
        &self,
        owner: &ModelDomain,
        gfn: Gfn,
        _access: Access,
        take_type: bool,
    ) -> Result<PinnedFrame, FrameError> {
        let backing = self.state().p2m.get(&(owner.id().0, gfn.number())).copied();
        match backing {
            Some(Backing::Ram(mfn)) => self.take_reference(owner.id().0, mfn, take_type),
            Some(Backing::PagedOut) => Err(FrameError::TryAgain),
            Some(Backing::Mmio | Backing::Foreign(_)) | None => Err(FrameError::NotMemory),
        }
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

    fn cpu_map_needs_identity(&self, holder: &ModelDomain) -> bool {
        !holder.is_translated() && self.iommu_mode(holder) == IommuMode::OwnTables
    }

    fn map_for_cpu(
        &self,
        host_addr: u64,
        frame: &PinnedFrame,
        gntmap_flags: u32,
        _cache_flags: u16,
    ) -> bool {
        let mut state = self.state();
        let key = (self.current, host_addr);
        let refused = state.switches.cpu_map_fails.pull()
            || gntmap_flags & GNTMAP_CONTAINS_PTE != 0
            || !host_addr.is_multiple_of(4096)
            || state.cpu_maps.contains_key(&key);
        if !refused {
            let mapping = (frame.mfn().number(), gntmap_flags);
            state.cpu_maps.insert(key, mapping);
        }
        !refused
    }

    fn unmap_for_cpu(&self, host_addr: u64, frame: &PinnedFrame, gntmap_flags: u32) -> bool {
        let mut state = self.state();
        let key = (self.current, host_addr);
        let ours = state.cpu_maps.get(&key) == Some(&(frame.mfn().number(), gntmap_flags));
        if ours {
            state.cpu_maps.remove(&key);
        }
        ours
    }

    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool {
        at.0.checked_add(bytes)
            .is_some_and(|end| end <= GUEST_LIMIT)
    }

    fn copy_from_guest(&self, at: GuestPtr, into: &mut [u8]) -> Result<(), GuestFault> {
        let guests = self.inner.guests.lock().expect("guest memory");
        let memory = guests.get(&self.current).ok_or(GuestFault)?;
        let done = memory.read(at.0, into);
        self.reads.lock().expect("read log").note(at.0, done as u64);
        if done == into.len() {
            Ok(())
        } else {
            Err(GuestFault)
        }
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

    fn iommu_page_sizes(&self, _domain: &ModelDomain) -> u64 {
        1 << 12
    }

    fn iommu_map(
        &self,
        domain: &ModelDomain,
        dfn: Dfn,
        mfn: Mfn,
        count: u32,
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        let mut state = self.state();
        let ok = !state.switches.map_fails.pull();
        state.events.push(Event::Map {
            domain: domain.id().0,
            dfn: dfn.number(),
            mfn: mfn.number(),
            count,
            ok,
        });
        if !ok {
            return Err(IommuError);
        }
        let iommu = state.iommus.entry(domain.id().0).or_default();
        flush.add(iommu.map(dfn.number(), mfn.number(), count, access));
        Ok(())
    }

    fn iommu_unmap(
        &self,
        domain: &ModelDomain,
        dfn: Dfn,
        count: u32,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        let mut state = self.state();
        let ok = !state.switches.unmap_fails.pull();
        state.events.push(Event::Unmap {
            domain: domain.id().0,
            dfn: dfn.number(),
            count,
            ok,
        });
        if !ok {
            return Err(IommuError);
        }
        let iommu = state.iommus.entry(domain.id().0).or_default();
        flush.add(iommu.unmap(dfn.number(), count));
        Ok(())
    }

    fn iommu_flush(
        &self,
        domain: &ModelDomain,
        range: DfnRange,
        flags: FlushFlags,
    ) -> Result<Flushed, IommuError> {
        assert_none_held("IOTLB flush");
        self.at_moment(Moment::Flush);
        let mut state = self.state();
        let ok = !state.switches.flush_fails.pull();
        state.events.push(Event::Flush {
            domain: domain.id().0,
            dfn: range.first.number(),
            count: range.count,
            flags: flags.0,
            ok,
        });
        if !ok {
            return Err(IommuError);
        }
        let iommu = state.iommus.entry(domain.id().0).or_default();
        iommu.flush(range, flags);
        Ok(Flushed::completed())
    }

    fn pci_device(&self, owner: &ModelDomain, sbdf: u32) -> Result<PciFacts, DeviceError> {
        let state = self.state();
        if state.switches.no_pci {
            return Err(DeviceError::NoPci);
        }
        match state.pci.get(&sbdf) {
            Some(&(domain, behind_iommu)) if domain == owner.id().0 => {
                Ok(PciFacts { behind_iommu })
            }
            _ => Err(DeviceError::NotYours),
        }
    }

    fn has_pci(&self) -> bool {
        !self.state().switches.no_pci
    }

    fn preempt_requested(&self) -> bool {
        assert_none_held("preemption check");
        self.poll()
    }

    fn clamp_index(&self, index: usize, len: usize) -> usize {
        if index < len { index } else { 0 }
    }

    fn speculation_barrier(&self) {}
}
