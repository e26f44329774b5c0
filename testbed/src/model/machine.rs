// SPDX-License-Identifier: GPL-2.0-only
//! The machine: everything behind one lock, as its vcpus see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use hv::{
    dma::faults::{self, DeviceFault},
    host::{Domain, TraceEvent},
    hypercall::{Call, grant_table::GuestLayout},
};
use hypercall_abi::grant::GNTMAP_READONLY;

use super::{
    domain::{Backing, DomainRecord, DomainSetup, ModelDomain},
    frames::{FrameRecord, FrameTable, Kind},
    guest::{GuestMemory, ReadLog},
    iommu::{Device, DmaFault, Iommu, TablesId},
    observed::{Counters, Event},
    p2m::P2m,
    shared::SharedMemory,
    switches::{AccessControl, Switches},
    table::GuestTable,
};

/// Moments at which a test may interfere.
pub enum Moment<'a> {
    /// Before an atomic access to a grant entry.
    EntryAccess {
        /// The page.
        page: &'a SharedMemory,
        /// Byte offset of the access.
        offset: usize,
    },
    /// At a look whether something else wants the CPU.
    Poll,
    /// An IOTLB flush has begun and not ended.
    Flush,
    /// A page is about to be another domain's: after the check that there is room,
    /// and after the receiver's entry was marked.
    Assign,
}

type Hook = Arc<dyn Fn(&Machine, Moment<'_>) + Send + Sync>;

/// Everything that changes, except guest memory.
#[derive(Default)]
pub struct State {
    /// Machine frames.
    pub frames: FrameTable,
    /// Guest frames.
    pub p2m: P2m,
    /// Device address spaces.
    pub iommus: BTreeMap<TablesId, Iommu>,
    /// Contexts ever made.
    pub contexts_made: u32,
    /// Grant tables as their granters see them.
    pub tables: BTreeMap<u16, GuestTable>,
    /// Shared pages that a guest cannot give up now.
    pub guest_uses: BTreeSet<u64>,
    /// (domain, address) to frame and `GNTMAP_*` flags of CPU mappings of grants.
    pub cpu_maps: BTreeMap<(u16, u64), (u64, u32)>,
    /// (domain, address) to a PV domain's own page that it has mapped there.
    pub own_maps: BTreeMap<(u16, u64), u64>,
    /// Translations that are in a CPU's TLB only: domain, frame, writable.
    pub stale: Vec<(u16, u64, bool)>,
    /// Domains whose default context has machine addresses: whether the IOMMU there has no
    /// more than their memory and their mappings.
    pub identity: BTreeMap<u16, bool>,
    /// The identity mapping that failed last.
    pub identity_unsure: Option<(u16, u64)>,
    /// References that page tables have for their own: frame, with a type.
    pub left_to_page_tables: Vec<(u64, bool)>,
    /// Page-table entries of PV domains that mapped a grant until the guest
    /// overwrote them: the domain, and the frame.
    pub overwritten: Vec<(u16, u64)>,
    /// Domains that are PV, whose pages have types.
    pub pv: BTreeSet<u16>,
    /// Cache attributes of the CPU mapping made last.
    pub cache_flags: u16,
    /// CPU cache maintenance: frame, offset, length, what.
    pub cache_flushes: Vec<(u64, u16, u16, u32)>,
    /// Event channels that were signalled: domain and port.
    pub notified: Vec<(u16, u32)>,
    /// What the trace buffer was told.
    pub traces: Vec<(TraceEvent, u16)>,
    /// PCI devices.
    pub pci: BTreeMap<u32, Device>,
    /// What fails.
    pub switches: Switches,
    /// What access control refuses.
    pub access: AccessControl,
    /// What the service did to the IOMMU since the test last looked.
    pub events: Vec<Event>,
    /// How often things happened.
    pub counters: Counters,
}

impl State {
    /// References that must be there because a frame can be reached: by devices
    /// and CPUs, from any domain; all, and those with a writable type.
    pub fn reach_of(&self, mfn: u64) -> (u32, u32) {
        let mut reach = (0, 0);
        for iommu in self.iommus.values() {
            let (all, writable) = iommu.reach_of(mfn);
            reach.0 += all;
            reach.1 += writable;
        }
        // Only PV domains' pages have types.
        let has_types = self
            .frames
            .get(mfn)
            .is_some_and(|frame| self.pv.contains(&frame.owner));
        let count = |writable: &mut dyn Iterator<Item = bool>| {
            writable.fold((0, 0), |(all, typed), write| {
                (all + 1, typed + u32::from(write && has_types))
            })
        };
        let live = self.cpu_maps.values().filter(|&&(to, _)| to == mfn);
        let live = live.map(|&(_, flags)| flags & GNTMAP_READONLY == 0);
        let stale = self.stale.iter().filter(|&&(_, to, _)| to == mfn);
        let stale = stale.map(|&(_, _, write)| write);
        let cpus = count(&mut live.chain(stale));
        reach.0 += cpus.0;
        reach.1 += cpus.1;
        reach
    }

    /// The devices that use some I/O page tables.
    pub fn devices_at(&self, (domain, tables): TablesId) -> impl Iterator<Item = u32> {
        let there = move |device: &Device| device.owner == domain && device.tables == tables;
        let devices = self.pci.iter().filter(move |(_, device)| there(device));
        devices.map(|(&sbdf, _)| sbdf)
    }

    /// Domain and number of the context that has some tables.
    pub fn name_of(&self, id: TablesId) -> (u16, u32) {
        let number = self.iommus.get(&id).map_or(0, |iommu| iommu.number);
        (id.0, number)
    }

    /// The tables of the context that a domain knows by this number.
    pub fn tables_of(&self, domain: u16, number: u32) -> Option<&Iommu> {
        let mut all = self.iommus.range((domain, 0)..=(domain, u32::MAX));
        all.rfind(|(_, iommu)| iommu.number == number)
            .map(|(_, iommu)| iommu)
    }

    /// Gives a reference back.
    pub(super) fn put(&mut self, mfn: u64, typed: bool) {
        self.counters.note_return();
        let reach = self.reach_of(mfn);
        self.frames.put(mfn, typed, reach);
        self.assert_unreachable_if_free(mfn);
    }

    /// The vcpus of a dying domain will not run again. What a translated domain
    /// has mapped, nobody can use any more; page tables of PV domains stay.
    pub(super) fn stop_cpus(&mut self, id: u16, translated: bool) {
        self.stale.retain(|&(holder, _, _)| holder != id);
        if translated {
            self.cpu_maps.retain(|&(holder, _), _| holder != id);
        }
    }

    /// Destroys what is left of a dying domain's page tables, and drops the
    /// references they have.
    pub(super) fn destroy_page_tables(&mut self, id: u16) {
        self.own_maps.retain(|&(domain, _), _| domain != id);
        let mut mapped: Vec<u64> = Vec::new();
        self.cpu_maps.retain(|&(holder, _), &mut (mfn, _)| {
            if holder == id {
                mapped.push(mfn);
            }
            holder != id
        });
        let mut left = std::mem::take(&mut self.left_to_page_tables);
        // What the guest overwrote owned nothing any more.
        self.overwritten.retain(|&(domain, mfn)| {
            if domain == id {
                let place = left.iter().position(|&(to, _)| to == mfn);
                left.swap_remove(place.expect("a record of the mapping"));
            }
            domain != id
        });
        let mut referenced: Vec<u64> = left.iter().map(|&(mfn, _)| mfn).collect();
        mapped.sort_unstable();
        referenced.sort_unstable();
        assert_eq!(
            mapped, referenced,
            "frames mapped by the page tables of d{id}, and references they have"
        );
        for (mfn, typed) in left {
            self.put(mfn, typed);
        }
    }

    /// Forgets what only a living domain has.
    pub(super) fn forget(&mut self, id: u16) {
        self.tables.remove(&id);
        self.pv.remove(&id);
        self.identity.remove(&id);
    }

    /// Frames of memory that a domain has.
    pub fn memory_of(&self, id: u16) -> u64 {
        let owned = |frame: &FrameRecord| frame.owner == id && frame.allocated;
        let memory = |frame: &FrameRecord| matches!(frame.kind, Kind::Ram | Kind::PageTable);
        let frames = self.frames.iter();
        frames
            .filter(|(_, frame)| owned(frame) && memory(frame))
            .count() as u64
    }
}

/// What all views of a machine share.
pub struct Inner {
    state: Mutex<State>,
    pub(super) domains: Mutex<BTreeMap<u16, Arc<DomainRecord>>>,
    pub(super) guests: Mutex<BTreeMap<u16, GuestMemory>>,
    hook: Mutex<Option<Hook>>,
}

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a test died with the machine")
    }
}

/// The machine as seen by one vcpu.
#[derive(Clone)]
pub struct Machine {
    pub(super) inner: Arc<Inner>,
    pub(super) current: u16,
    pub(super) vcpu: u32,
    pub(super) layout: GuestLayout,
    pub(super) reads: Arc<Mutex<ReadLog>>,
    /// What the service asked to be continued in this step.
    pub(super) continuation: Arc<Mutex<Option<Call>>>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine without domains.
    pub fn new() -> Self {
        Self::from_inner(Arc::new(Inner {
            state: Mutex::default(),
            domains: Mutex::default(),
            guests: Mutex::default(),
            hook: Mutex::default(),
        }))
    }

    pub(super) fn from_inner(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            current: 0,
            vcpu: 0,
            layout: GuestLayout::Native,
            reads: Arc::default(),
            continuation: Arc::default(),
        }
    }

    /// The machine as a vcpu of `domain` sees it.
    pub fn vcpu_of(&self, domain: u16) -> Self {
        Self {
            current: domain,
            ..Self::from_inner(Arc::clone(&self.inner))
        }
    }

    /// The same with another vcpu of the domain.
    pub fn with_vcpu(self, vcpu: u32) -> Self {
        Self { vcpu, ..self }
    }

    /// The same with the structures of a 32-bit guest.
    pub fn with_compat_layout(self) -> Self {
        Self {
            layout: GuestLayout::Compat,
            ..self
        }
    }

    /// Everything that changes. Do not call the service while holding it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }

    /// Calls `hook` at every [`Moment`] from now on.
    pub fn set_hook(&self, hook: impl Fn(&Self, Moment<'_>) + Send + Sync + 'static) {
        *self.inner.hook.lock().expect("hook") = Some(Arc::new(hook));
    }

    /// No more interference.
    pub fn clear_hook(&self) {
        *self.inner.hook.lock().expect("hook") = None;
    }

    pub(super) fn at_moment(&self, moment: Moment<'_>) {
        let hook = self.inner.hook.lock().expect("hook").clone();
        if let Some(hook) = hook {
            hook(self, moment);
        }
    }

    pub(super) fn poll(&self) -> bool {
        self.at_moment(Moment::Poll);
        let mut state = self.state();
        state.counters.note_poll();
        state.switches.preempt.poll()
    }

    /// Puts a new frame at each of `count` guest frames of a domain. Every fourth
    /// neighbour is not consecutive in the machine.
    pub fn populate(&self, domain: u16, first: u64, count: u64) {
        let mut state = self.state();
        for gfn in first..first + count {
            if gfn % 4 == 0 {
                state.frames.skip();
            }
            let mfn = state.frames.allocate(domain, Kind::Ram);
            state.set_backing(domain, gfn, Some(Backing::Ram(mfn)));
        }
    }

    /// The same, with machine frames that follow each other, the first of which is
    /// congruent to the guest frame modulo pages of 2 MiB.
    pub fn populate_in_a_row(&self, domain: u16, first: u64, count: u64) {
        let mut state = self.state();
        let base = 0x100_0000 * (1 + u64::from(domain));
        for gfn in first..first + count {
            let mfn = base + gfn;
            state.frames.allocate_at(mfn, domain, Kind::Ram);
            state.p2m.insert((domain, gfn), Backing::Ram(mfn));
        }
    }

    /// Machine frame of a domain's ordinary memory.
    pub fn mfn_of(&self, domain: u16, gfn: u64) -> Option<u64> {
        match self.state().p2m.get(&(domain, gfn)) {
            Some(&Backing::Ram(mfn)) => Some(mfn),
            _ => None,
        }
    }

    /// A device of `domain` in its default context reads a byte.
    pub fn device_read(&self, domain: u16, daddr: u64) -> Result<u8, DmaFault> {
        self.read_through((domain, 0), daddr)
    }

    /// A device of `domain` in its default context writes a byte.
    pub fn device_write(&self, domain: u16, daddr: u64, value: u8) -> Result<(), DmaFault> {
        self.write_through((domain, 0), daddr, value)
    }

    /// A PCI device reads a byte.
    pub fn pci_read(&self, sbdf: u32, daddr: u64) -> Result<u8, DmaFault> {
        let device = self.state().pci[&sbdf];
        self.read_through((device.owner, device.tables), daddr)
    }

    /// A PCI device writes a byte.
    pub fn pci_write(&self, sbdf: u32, daddr: u64, value: u8) -> Result<(), DmaFault> {
        let device = self.state().pci[&sbdf];
        self.write_through((device.owner, device.tables), daddr, value)
    }

    fn read_through(&self, tables: TablesId, daddr: u64) -> Result<u8, DmaFault> {
        let state = self.state();
        let mfn = translate(&state, tables, daddr, false)?;
        let frame = state
            .frames
            .get(mfn)
            .expect("a device reached a free frame");
        Ok(frame.read((daddr % 4096) as usize))
    }

    fn write_through(&self, tables: TablesId, daddr: u64, value: u8) -> Result<(), DmaFault> {
        let mut state = self.state();
        let mfn = translate(&state, tables, daddr, true)?;
        let frame = state
            .frames
            .get_mut(mfn)
            .expect("a device reached a free frame");
        frame.write((daddr % 4096) as usize, value);
        Ok(())
    }

    /// Tells the service, as the IOMMU's driver does, of an access that was stopped.
    pub fn report_fault(&self, sbdf: u32, fault: DmaFault) {
        let (owner, context) = {
            let state = self.state();
            let device = state.pci[&sbdf];
            state.name_of((device.owner, device.tables))
        };
        let domain = self.find(owner).expect("the owner of a device");
        let fault = DeviceFault {
            sbdf,
            context,
            daddr: fault.dfn * 4096,
            write: fault.write,
        };
        let state = domain.state().expect("a domain with devices");
        faults::note(self, &domain, state, fault);
    }

    /// Plugs a device in that can be told apart from all others.
    pub fn plug(&self, sbdf: u32, owner: u16, behind_iommu: bool) {
        let device = Device {
            owner,
            behind_iommu,
            tables: 0,
            group: sbdf,
        };
        self.state().pci.insert(sbdf, device);
    }

    /// Takes a device out of the machine. The IOMMU lets it reach nothing any more.
    pub fn unplug(&self, sbdf: u32) {
        let removed = self.state().pci.remove(&sbdf);
        removed.expect("a device to take out");
    }

    /// Adds a domain. `None`: there was no memory for its state.
    pub fn add_domain(&self, setup: DomainSetup) -> Option<ModelDomain> {
        let domain = ModelDomain::create(self, setup)?;
        let record = Arc::clone(domain.record());
        self.inner
            .domains
            .lock()
            .expect("domains")
            .insert(setup.id, record);
        if !setup.translated {
            self.state().pv.insert(setup.id);
        }
        if let Some(protected) = setup.identity() {
            self.state().identity.insert(setup.id, protected);
        }
        self.populate(setup.id, 0, setup.ram_frames);
        self.look_at_table(setup.id);
        Some(domain)
    }

    /// Every domain.
    pub fn domains(&self) -> Vec<ModelDomain> {
        let domains = self.inner.domains.lock().expect("domains");
        domains.values().cloned().map(ModelDomain::of).collect()
    }

    /// The domain with this id.
    pub fn find(&self, id: u16) -> Option<ModelDomain> {
        let domains = self.inner.domains.lock().expect("domains");
        domains
            .get(&id)
            .map(|record| ModelDomain::of(Arc::clone(record)))
    }
}

fn translate(state: &State, tables: TablesId, daddr: u64, write: bool) -> Result<u64, DmaFault> {
    let dfn = daddr / 4096;
    let (domain, table) = tables;
    match state.identity.get(&domain).filter(|_| table == 0) {
        // Whatever there is.
        Some(false) => {
            let ram = |frame: &FrameRecord| matches!(frame.kind, Kind::Ram);
            let there = state.frames.get(dfn).is_some_and(ram);
            return there.then_some(dfn).ok_or(DmaFault { dfn, write });
        }
        Some(true) => {
            let mut own = state.own_memory(domain);
            if own.any(|(at, entry)| at == dfn && (entry.write || !write)) {
                return Ok(dfn);
            }
        }
        _ => {}
    }
    state
        .iommus
        .get(&tables)
        .ok_or(DmaFault { dfn, write })
        .and_then(|iommu| iommu.translate(dfn, write))
}
