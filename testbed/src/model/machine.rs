// SPDX-License-Identifier: GPL-2.0-only
//! The machine: everything behind one lock, the switches tests turn, and the
//! events they look at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering},
};

use super::{
    domain::{Backing, DomainRecord, DomainSetup, ModelDomain},
    frames::{FrameTable, Kind},
    guest::{GuestMemory, ReadLog},
    iommu::{DmaFault, Iommu},
    shared::SharedMemory,
};

/// When an operation of the host fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// Not at all.
    #[default]
    Never,
    /// The call with this number from now, counting from 1; once.
    Nth(u32),
    /// Every call.
    Always,
}

impl Trigger {
    /// Counts a call; tells whether it fails.
    pub fn pull(&mut self) -> bool {
        match *self {
            Self::Never => false,
            Self::Always => true,
            Self::Nth(1) => {
                *self = Self::Never;
                true
            }
            Self::Nth(n) => {
                *self = Self::Nth(n.saturating_sub(1));
                false
            }
        }
    }
}

/// When something else wants the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preempt {
    /// Never.
    #[default]
    Never,
    /// At every poll.
    Always,
    /// At the poll with this number from now, counting from 1; once.
    Nth(u32),
    /// At random, from this seed.
    Random(u32),
}

impl Preempt {
    fn poll(&mut self) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Nth(1) => {
                *self = Self::Never;
                true
            }
            Self::Nth(n) => {
                *n = n.saturating_sub(1);
                false
            }
            Self::Random(seed) => {
                *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *seed >> 31 != 0
            }
        }
    }
}

/// What the service did to the IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A map call.
    Map {
        /// Whose device address space.
        domain: u16,
        /// First device frame.
        dfn: u64,
        /// First machine frame.
        mfn: u64,
        /// How many.
        count: u32,
        /// It succeeded.
        ok: bool,
    },
    /// An unmap call.
    Unmap {
        /// Whose device address space.
        domain: u16,
        /// First device frame.
        dfn: u64,
        /// How many.
        count: u32,
        /// It succeeded.
        ok: bool,
    },
    /// A flush call.
    Flush {
        /// Whose device address space.
        domain: u16,
        /// First device frame.
        dfn: u64,
        /// How many.
        count: u64,
        /// What is flushed for: [`super::iommu::ADDED`], [`super::iommu::REMOVED`].
        flags: u32,
        /// It succeeded.
        ok: bool,
    },
}

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
}

type Hook = Arc<dyn Fn(&Machine, Moment<'_>) + Send + Sync>;

/// How often things happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Hypercall steps: calls and continuations.
    pub steps: u32,
    /// Looks whether something else wants the CPU.
    pub polls: u32,
    /// Atomic accesses to grant entries.
    pub atomics: u32,
    /// References taken to frames.
    pub references: u32,
    /// Most references taken between two polls.
    pub most_references_between_polls: u32,
    references_at_poll: u32,
}

impl Counters {
    pub(super) fn note_reference(&mut self) {
        self.references += 1;
        self.most_references_between_polls = self
            .most_references_between_polls
            .max(self.references - self.references_at_poll);
    }

    pub(super) fn note_poll(&mut self) {
        self.polls += 1;
        self.references_at_poll = self.references;
    }
}

/// What fails, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    /// IOMMU map.
    pub map_fails: Trigger,
    /// IOMMU unmap.
    pub unmap_fails: Trigger,
    /// IOTLB flush.
    pub flush_fails: Trigger,
    /// Mapping of a grant for a CPU.
    pub cpu_map_fails: Trigger,
    /// Allocation of a shared page.
    pub shared_page_fails: Trigger,
    /// Preemption.
    pub preempt: Preempt,
    /// There is no PCI.
    pub no_pci: bool,
}

/// What access control refuses.
#[derive(Clone, Debug, Default)]
pub struct AccessControl {
    /// (holder, granter) that may not map.
    pub map: BTreeSet<(u16, u16)>,
    /// (holder, granter) that may map only for reading.
    pub map_writable: BTreeSet<(u16, u16)>,
    /// (holder, granter) that may not unmap.
    pub unmap: BTreeSet<(u16, u16)>,
    /// (caller, target) that may not set up or ask about a table.
    pub table: BTreeSet<(u16, u16)>,
    /// `GNTMAP_*` flags of every question about mapping.
    pub asked: Vec<u32>,
}

/// Everything that changes, except guest memory.
#[derive(Default)]
pub struct State {
    /// Machine frames.
    pub frames: FrameTable,
    /// (domain, guest frame) to what is there.
    pub p2m: BTreeMap<(u16, u64), Backing>,
    /// Device address spaces by domain.
    pub iommus: BTreeMap<u16, Iommu>,
    /// Shared pages by granter, in table order.
    pub grant_frames: BTreeMap<u16, Vec<Arc<SharedMemory>>>,
    /// (domain, address) to frame and `GNTMAP_*` flags of CPU mappings of grants.
    pub cpu_maps: BTreeMap<(u16, u64), (u64, u32)>,
    /// PCI devices: owner, and whether behind an IOMMU.
    pub pci: BTreeMap<u32, (u16, bool)>,
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
    /// Translations that lead to a frame, from any domain: all, and writable.
    pub fn reach_of(&self, mfn: u64) -> (u32, u32) {
        let mut reach = (0, 0);
        for iommu in self.iommus.values() {
            let (all, writable) = iommu.reach_of(mfn);
            reach.0 += all;
            reach.1 += writable;
        }
        reach
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
    pub(super) reads: Arc<Mutex<ReadLog>>,
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
            reads: Arc::default(),
        }
    }

    /// The machine as a vcpu of `domain` sees it.
    pub fn vcpu_of(&self, domain: u16) -> Self {
        Self {
            current: domain,
            ..Self::from_inner(Arc::clone(&self.inner))
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

    /// Writes a grant entry as the granter does: frame first, then the head.
    pub fn write_entry(&self, granter: u16, gref: u32, flags: u16, domid: u16, gfn: u32) {
        let (page, offset) = self.entry(granter, gref);
        page.word(offset + 4).store(gfn, Ordering::SeqCst);
        page.word(offset)
            .store(u32::from(domid) << 16 | u32::from(flags), Ordering::SeqCst);
    }

    /// A grant entry: flags, domain, frame.
    pub fn read_entry(&self, granter: u16, gref: u32) -> (u16, u16, u32) {
        let (page, offset) = self.entry(granter, gref);
        let head = page.word(offset).load(Ordering::SeqCst);
        let frame = page.word(offset + 4).load(Ordering::SeqCst);
        (head as u16, (head >> 16) as u16, frame)
    }

    /// The page of a grant entry, and the entry's offset in it.
    pub fn entry(&self, granter: u16, gref: u32) -> (Arc<SharedMemory>, usize) {
        let state = self.state();
        let page = &state.grant_frames[&granter][gref as usize / 512];
        (Arc::clone(page), gref as usize % 512 * 8)
    }

    /// Entries in a domain's grant table.
    pub fn table_entries(&self, granter: u16) -> u32 {
        self.state()
            .grant_frames
            .get(&granter)
            .map_or(0, |frames| frames.len() as u32 * 512)
    }

    /// A device of `domain` reads a byte.
    pub fn device_read(&self, domain: u16, daddr: u64) -> Result<u8, DmaFault> {
        let state = self.state();
        let mfn = translate(&state, domain, daddr, false)?;
        let frame = state
            .frames
            .get(mfn)
            .expect("a device reached a free frame");
        Ok(frame.read((daddr % 4096) as usize))
    }

    /// A device of `domain` writes a byte.
    pub fn device_write(&self, domain: u16, daddr: u64, value: u8) -> Result<(), DmaFault> {
        let mut state = self.state();
        let mfn = translate(&state, domain, daddr, true)?;
        let frame = state
            .frames
            .get_mut(mfn)
            .expect("a device reached a free frame");
        frame.write((daddr % 4096) as usize, value);
        Ok(())
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
        self.populate(setup.id, 0, setup.ram_frames);
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

fn translate(state: &State, domain: u16, daddr: u64, write: bool) -> Result<u64, DmaFault> {
    let dfn = daddr / 4096;
    state
        .iommus
        .get(&domain)
        .ok_or(DmaFault { dfn, write })
        .and_then(|iommu| iommu.translate(dfn, write))
}
