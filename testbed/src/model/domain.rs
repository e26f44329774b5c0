// SPDX-License-Identifier: GPL-2.0-only
//! A domain: identity, limits, and the way it dies.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use hv::{
    addr::{Dfn, DfnRange, DomId},
    dma::{
        DmaLimits,
        unmap::{Release, release_all},
    },
    grant::{TableLimits, cpu_map::release_cpu_mappings},
    host::{Domain, IommuMode},
    state::{DomainLimits, DomainState},
};

use super::{
    frames::{FrameRecord, Kind},
    machine::Machine,
};

/// What is at a guest frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Memory: the machine frame.
    Ram(u64),
    /// Memory that its guest can only read: the machine frame.
    ReadOnly(u64),
    /// Memory that is paged out or shared with another domain.
    PagedOut,
    /// A device's registers.
    Mmio,
    /// A device's registers that the domain has access to: the machine frame.
    Io(u64),
    /// Another domain's memory, mapped here.
    Foreign(u64),
}

/// How a domain starts out.
#[derive(Clone, Copy, Debug)]
pub struct DomainSetup {
    /// Its id.
    pub id: u16,
    /// HVM, PVH or Arm; not x86 PV.
    pub translated: bool,
    /// Guest frames are machine frames.
    pub direct_mapped: bool,
    /// Whether the service has state for it; system domains have none.
    pub has_state: bool,
    /// How the IOMMU treats its devices.
    pub iommu: IommuMode,
    /// Tables of its own, if it works with machine addresses, have what it has; else all
    /// of the machine's memory.
    pub strict: bool,
    /// Free device frames: first and count.
    pub hole: Option<(u64, u64)>,
    /// Device frames that its contexts can have: first and count.
    pub context_range: Option<(u64, u64)>,
    /// Device frames for mappings in copies of its memory: first and count.
    pub mirror_range: Option<(u64, u64)>,
    /// Most frames pinned for DMA.
    pub max_pins: u32,
    /// Most contexts besides the default one.
    pub max_contexts: u32,
    /// Most frames of its grant table.
    pub max_table_frames: u32,
    /// Most frames of maptrack records.
    pub max_maptrack_frames: u32,
    /// Newest entry format that it may choose.
    pub max_version: u32,
    /// Its vcpus.
    pub vcpus: u32,
    /// Most frames of memory it may have.
    pub max_pages: u64,
    /// Guest frames 0 up to here are memory.
    pub ram_frames: u64,
}

impl DomainSetup {
    /// First device frame of the hole of every domain set up here.
    pub const HOLE: u64 = 0x10_0000;

    /// First device frame of mappings in copies of a domain's memory: above all memory
    /// and all machine frames.
    pub const MIRRORS: u64 = 0x40_0000;

    /// First device frame of every created context.
    pub const CONTEXTS: u64 = 0x100;

    /// A PVH domain with devices behind an IOMMU with tables of its own.
    pub const fn pvh(id: u16) -> Self {
        Self {
            id,
            translated: true,
            direct_mapped: false,
            has_state: true,
            iommu: IommuMode::OwnTables,
            strict: true,
            hole: Some((Self::HOLE, 1 << 20)),
            context_range: Some((Self::CONTEXTS, 1 << 24)),
            mirror_range: Some((Self::MIRRORS, 1 << 20)),
            max_pins: 1024,
            max_contexts: 4,
            max_table_frames: 4,
            max_maptrack_frames: 4,
            max_version: 2,
            vcpus: 1,
            max_pages: 200,
            ram_frames: 160,
        }
    }

    /// Its default context has machine addresses: whether the IOMMU there has no more
    /// than its memory and its mappings.
    pub fn identity(&self) -> Option<bool> {
        let tables = match self.iommu {
            IommuMode::Absent | IommuMode::PassThrough => false,
            IommuMode::OwnTables => self.strict,
            IommuMode::SharedTables => self.direct_mapped,
        };
        (!self.translated || self.direct_mapped).then_some(tables)
    }

    /// A PV domain whose devices work with machine addresses through an IOMMU.
    pub const fn pv(id: u16) -> Self {
        Self {
            translated: false,
            hole: None,
            ..Self::pvh(id)
        }
    }
}

/// A domain, however many refer to it.
pub struct DomainRecord {
    setup: DomainSetup,
    dying: AtomicBool,
    state: OnceLock<DomainState<Machine>>,
}

/// A counted reference to a domain.
#[derive(Clone)]
pub struct ModelDomain(Arc<DomainRecord>);

impl ModelDomain {
    pub(super) fn of(record: Arc<DomainRecord>) -> Self {
        Self(record)
    }

    pub(super) fn record(&self) -> &Arc<DomainRecord> {
        &self.0
    }

    pub(super) fn create(machine: &Machine, setup: DomainSetup) -> Option<Self> {
        let domain = Self(Arc::new(DomainRecord {
            setup,
            dying: AtomicBool::new(false),
            state: OnceLock::new(),
        }));
        if setup.has_state {
            let limits = DomainLimits {
                table: TableLimits {
                    max_frames: setup.max_table_frames,
                    max_maptrack_frames: setup.max_maptrack_frames,
                    max_version: setup.max_version,
                    vcpus: setup.vcpus,
                },
                dma: DmaLimits {
                    max_pins: setup.max_pins,
                    max_contexts: setup.max_contexts,
                },
            };
            let state = DomainState::new(machine, &domain, limits).ok()?;
            domain.0.state.set(state).ok()?;
        }
        Some(domain)
    }

    /// How it started out.
    pub fn setup(&self) -> &DomainSetup {
        &self.0.setup
    }

    /// Its free device frames.
    pub fn hole(&self) -> Option<DfnRange> {
        self.0.setup.hole.map(|(first, count)| DfnRange {
            first: Dfn::new(first),
            count,
        })
    }
}

impl Domain<Machine> for ModelDomain {
    fn id(&self) -> DomId {
        DomId(self.0.setup.id)
    }

    fn is_dying(&self) -> bool {
        self.0.dying.load(Ordering::SeqCst)
    }

    fn is_translated(&self) -> bool {
        self.0.setup.translated
    }

    fn is_direct_mapped(&self) -> bool {
        self.0.setup.direct_mapped
    }

    fn releases_cpu_mappings(&self) -> bool {
        self.0.setup.translated
    }

    fn state(&self) -> Option<&DomainState<Machine>> {
        self.0.state.get()
    }
}

/// How far the death of a domain got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nothing of it is left.
    Gone,
    /// Others still hold pages of it.
    Zombie,
    /// The IOMMU failed; call [`Machine::kill`] again.
    Stuck,
}

impl Machine {
    /// From now on the domain is dying.
    pub fn doom(&self, id: u16) {
        let domain = self.find(id).expect("a domain to kill");
        domain.0.dying.store(true, Ordering::SeqCst);
    }

    /// One step of giving back what a dying domain holds of others' and has pinned of its
    /// own. It runs no more.
    pub fn release_step(&self, id: u16) -> Release {
        let domain = self.find(id).expect("a domain that dies");
        let Some(state) = domain.state() else {
            return Release::Complete;
        };
        self.state().stop_cpus(id, domain.is_translated());
        match release_all(self, &domain, state) {
            Release::Complete if !release_cpu_mappings(self, &domain, state) => Release::Preempted,
            released => released,
        }
    }

    /// Destroys a domain as Xen does: its mappings, then its memory, and when
    /// nobody refers to that any more, the domain. Tells the steps it took.
    pub fn kill(&self, id: u16) -> (Death, u32) {
        self.doom(id);
        let mut steps = 1;
        loop {
            match self.release_step(id) {
                Release::Complete => return (self.bury(id), steps),
                Release::Preempted => steps += 1,
                Release::Stuck => return (Death::Stuck, steps),
            }
        }
    }

    /// What comes after the last [`Self::release_step`]: the dying domain loses its devices
    /// and its memory.
    pub fn bury(&self, id: u16) -> Death {
        // Its devices are fenced.
        self.state().pci.retain(|_, device| device.owner != id);
        self.state().destroy_page_tables(id);
        self.relinquish_memory(id);
        self.reap(id)
    }

    fn relinquish_memory(&self, id: u16) {
        let mut state = self.state();
        state.p2m.forget(id);
        let owned: Vec<_> = state
            .frames
            .iter()
            .filter(|(_, frame)| is_memory_of(frame, id))
            .map(|(mfn, _)| mfn)
            .collect();
        for mfn in owned {
            state.deallocate(mfn);
        }
    }

    /// Removes a dead domain if nobody refers to its memory any more.
    pub fn reap(&self, id: u16) -> Death {
        let held = {
            let state = self.state();
            state
                .frames
                .iter()
                .any(|(_, frame)| is_memory_of(frame, id))
        };
        if held {
            return Death::Zombie;
        }
        let record = self.inner.domains.lock().expect("domains").remove(&id);
        drop(record);
        self.state().forget(id);
        Death::Gone
    }
}

fn is_memory_of(frame: &FrameRecord, domain: u16) -> bool {
    frame.owner == domain && !matches!(frame.kind, Kind::Shared(_))
}
