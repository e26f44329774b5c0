// SPDX-License-Identifier: GPL-2.0-only
//! The account of what is mapped, for whom, and what it pins.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Event,
    iommu::{REMOVED, Translation},
};

/// Where a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The holder's guest frame.
    Own(u64),
    /// A granter's reference.
    Grant(u16, u32),
}

/// A pinned frame of a device address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The machine frame.
    pub mfn: u64,
    /// Devices may read it.
    pub read: bool,
    /// Devices may write it.
    pub write: bool,
    /// Where it comes from.
    pub source: Source,
    /// The IOMMU translates it.
    pub mapped: bool,
    /// The IOMMU has translated it at some time.
    pub reached: bool,
    /// It belongs to a mapping without a name.
    pub stuck: bool,
}

/// A live mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First device frame.
    pub dfn: u64,
    /// How many.
    pub count: u32,
    /// When it was made.
    pub born: u64,
}

/// A mapping made by the grant-table hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMapping {
    /// Whose reference.
    pub granter: u16,
    /// Which.
    pub gref: u32,
    /// For writing.
    pub write: bool,
    /// There is a mapping for CPUs.
    pub host: bool,
    /// There is a mapping for a PV domain's devices.
    pub device: bool,
    /// The one for CPUs has a writable-type reference.
    pub typed: bool,
    /// The machine frame.
    pub mfn: u64,
    /// Where.
    pub host_addr: u64,
    /// `GNTMAP_*`.
    pub flags: u32,
}

/// A grant entry as its granter wrote it last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Flags.
    pub flags: u16,
    /// Who may use it.
    pub domid: u16,
    /// Version 2: what a sub-page or transitive grant has besides.
    pub middle: u32,
    /// Guest frame, or what a transitive grant has in its place.
    pub gfn: u64,
    /// Written while in use, or with bits that are Xen's: the in-use bits say
    /// nothing until the next honest write.
    pub scribbled: bool,
}

/// Uses of one reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// By whom.
    pub holder: u16,
    /// Of which frame.
    pub mfn: u64,
    /// CPU mappings: reading, writing.
    pub cpu: [u32; 2],
    /// DMA pins and device mappings: reading, writing.
    pub dma: [u32; 2],
}

impl Uses {
    /// Somebody writes.
    pub fn writing(&self) -> bool {
        self.cpu[1] + self.dma[1] != 0
    }
}

/// The account.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// Live mappings by (holder, handle).
    pub mappings: BTreeMap<(u16, u64), Mapping>,
    /// Pinned frames by (holder, device frame), those that wait for a flush
    /// included.
    pub pages: BTreeMap<(u16, u64), Page>,
    /// Mappings that no handle was told for: (holder, first device frame, count).
    /// The IOMMU refused both to make them whole and to take them back.
    pub nameless: Vec<(u16, u64, u32)>,
    /// CPU mappings by (holder, handle).
    pub cpu: BTreeMap<(u16, u32), CpuMapping>,
    /// Addresses at which PV domains have mapped pages of their own.
    pub own_maps: BTreeSet<(u16, u64)>,
    /// Every (holder, handle) ever given out.
    pub handles: BTreeSet<(u16, u64)>,
    /// Grant entries by (granter, reference); absent: never written.
    pub entries: BTreeMap<(u16, u32), Entry>,
    /// Formats of the tables that do not have version 1.
    pub versions: BTreeMap<u16, u32>,
    /// First and last device frame of each domain's default context.
    pub ranges: BTreeMap<u16, (u64, u64)>,
    born: u64,
}

impl Reference {
    /// Frames a domain has pinned for DMA.
    pub fn pinned(&self, holder: u16) -> u32 {
        self.pages_of(holder).count() as u32
    }

    /// A domain's pinned frames, by device frame.
    pub fn pages_of(&self, holder: u16) -> impl Iterator<Item = (u64, &Page)> {
        self.pages
            .range((holder, 0)..=(holder, u64::MAX))
            .map(|(&(_, dfn), page)| (dfn, page))
    }

    /// Live mappings of a domain.
    pub fn mappings_of(&self, holder: u16) -> impl Iterator<Item = (u64, &Mapping)> {
        self.mappings
            .range((holder, 0)..=(holder, u64::MAX))
            .map(|(&(_, handle), mapping)| (handle, mapping))
    }

    /// The live mapping that a device frame belongs to.
    pub fn mapping_at(&self, holder: u16, dfn: u64) -> Option<(u64, &Mapping)> {
        self.mappings_of(holder).find(|(_, mapping)| {
            (mapping.dfn..mapping.dfn + u64::from(mapping.count)).contains(&dfn)
        })
    }

    /// Whether a device frame belongs to a mapping without a name.
    pub fn is_nameless(&self, holder: u16, dfn: u64) -> bool {
        self.nameless.iter().any(|&(domain, first, count)| {
            domain == holder && (first..first + u64::from(count)).contains(&dfn)
        })
    }

    /// What the I/O page table of a domain must be.
    pub fn table_of(&self, holder: u16) -> BTreeMap<u64, Translation> {
        self.pages_of(holder)
            .filter(|(_, page)| page.mapped)
            .map(|(dfn, page)| {
                let translation = Translation {
                    mfn: page.mfn,
                    read: page.read,
                    write: page.write,
                };
                (dfn, translation)
            })
            .collect()
    }

    /// Uses of every reference that is in use.
    pub fn uses(&self) -> BTreeMap<(u16, u32), Uses> {
        let mut uses = BTreeMap::new();
        for (&(holder, _), page) in &self.pages {
            if let Source::Grant(granter, gref) = page.source {
                entry_for(&mut uses, granter, gref, holder, page.mfn).dma
                    [usize::from(page.write)] += 1;
            }
        }
        for (&(holder, _), mapping) in &self.cpu {
            let &CpuMapping {
                granter,
                gref,
                mfn,
                write,
                ..
            } = mapping;
            let uses = entry_for(&mut uses, granter, gref, holder, mfn);
            uses.cpu[usize::from(write)] += u32::from(mapping.host);
            uses.dma[usize::from(write)] += u32::from(mapping.device);
        }
        uses
    }

    /// Uses of one reference.
    pub fn uses_of(&self, granter: u16, gref: u32) -> Option<Uses> {
        self.uses().remove(&(granter, gref))
    }

    /// References each frame must have: all, and writable types.
    pub fn references(&self) -> BTreeMap<u64, (u32, u32)> {
        let mut references = BTreeMap::<u64, (u32, u32)>::new();
        for page in self.pages.values() {
            let counts = references.entry(page.mfn).or_default();
            counts.0 += 1;
            counts.1 += u32::from(page.write);
        }
        for mapping in self.cpu.values() {
            let counts = references.entry(mapping.mfn).or_default();
            counts.0 += u32::from(mapping.host) + u32::from(mapping.device);
            counts.1 += u32::from(mapping.host && mapping.typed);
            counts.1 += u32::from(mapping.device && mapping.write);
        }
        references
    }

    /// Format of a domain's table.
    pub fn version(&self, granter: u16) -> u32 {
        self.versions.get(&granter).copied().unwrap_or(1)
    }

    /// What was last written to an entry.
    pub fn entry(&self, granter: u16, gref: u32) -> Entry {
        let entry = self.entries.get(&(granter, gref));
        entry.copied().unwrap_or_default()
    }

    /// The handle of a domain's CPU mapping at an address.
    pub fn handle_at(&self, holder: u16, host_addr: u64) -> Option<u32> {
        let mappings = self.cpu.range((holder, 0)..=(holder, u32::MAX));
        mappings
            .filter(|(_, mapping)| mapping.host && mapping.host_addr == host_addr)
            .map(|(&(_, handle), _)| handle)
            .next()
    }

    /// Enters a new mapping.
    pub fn add_mapping(&mut self, holder: u16, handle: u64, dfn: u64, pages: &[Page]) {
        assert_ne!(handle, 0, "handle 0");
        assert!(
            self.handles.insert((holder, handle)),
            "handle {handle:#x} given out twice"
        );
        self.born += 1;
        let mapping = Mapping {
            dfn,
            count: pages.len() as u32,
            born: self.born,
        };
        self.mappings.insert((holder, handle), mapping);
        self.add_pages(holder, dfn, pages);
    }

    /// Enters pinned frames.
    pub fn add_pages(&mut self, holder: u16, dfn: u64, pages: &[Page]) {
        for (at, page) in (dfn..).zip(pages) {
            let old = self.pages.insert((holder, at), *page);
            assert_eq!(old, None, "device frame {at:#x} used twice");
        }
    }

    /// Enters what the IOMMU was told. Maps are entered with their elements.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Unmap {
                domain,
                dfn,
                count,
                ok: true,
            } => {
                for (_, page) in self
                    .pages
                    .range_mut((domain, dfn)..(domain, dfn + u64::from(count)))
                {
                    page.mapped = false;
                }
            }
            Event::Flush {
                domain,
                dfn,
                count,
                flags,
                ok: true,
            } => self.pages.retain(|&(holder, at), page| {
                let covered = holder == domain && at >= dfn && at - dfn < count;
                let flushed = flags & REMOVED.0 != 0 || (flags == 0 && !page.reached);
                page.mapped || page.stuck || !covered || !flushed
            }),
            _ => {}
        }
    }

    /// Forgets everything a dead holder had.
    pub fn forget_holder(&mut self, holder: u16) {
        self.pages.retain(|&(domain, _), _| domain != holder);
        self.mappings.retain(|&(domain, _), _| domain != holder);
        self.nameless.retain(|&(domain, _, _)| domain != holder);
        self.cpu.retain(|&(domain, _), _| domain != holder);
        self.own_maps.retain(|&(domain, _)| domain != holder);
    }
}

fn entry_for(
    uses: &mut BTreeMap<(u16, u32), Uses>,
    granter: u16,
    gref: u32,
    holder: u16,
    mfn: u64,
) -> &mut Uses {
    let entry = uses.entry((granter, gref)).or_insert(Uses {
        holder,
        mfn,
        cpu: [0; 2],
        dma: [0; 2],
    });
    assert_eq!(
        (entry.holder, entry.mfn),
        (holder, mfn),
        "reference {gref} of d{granter} used by two domains or for two frames"
    );
    entry
}
