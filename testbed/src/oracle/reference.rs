// SPDX-License-Identifier: GPL-2.0-only
//! The account of what is mapped, for whom, and what it pins.

use std::collections::{BTreeMap, BTreeSet};

use super::judge_contexts::MIRROR_WEIGHT;
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
    /// It has a writable-type reference.
    pub typed: bool,
    /// Where it comes from.
    pub source: Source,
    /// Of a transitive grant: the domain and reference that it leads to.
    pub origin: Option<(u16, u32)>,
    /// Of a transitive grant: its granter is gone. Another domain may have the id.
    pub middle_gone: bool,
    /// The IOMMU translates it.
    pub mapped: bool,
    /// The IOMMU has translated it at some time.
    pub reached: bool,
    /// It belongs to a mapping without a name; or, in an identity context, to one whose
    /// end the IOMMU refused, so that it may be in the tables or not.
    pub stuck: bool,
}

/// A live mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First device frame, or in an identity context the first of its [`PLACES`].
    pub dfn: u64,
    /// How many.
    pub count: u32,
    /// When it was made.
    pub born: u64,
    /// It was made by `window_create`.
    pub window: bool,
    /// It is a window whose end has begun.
    pub ending: bool,
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

/// A device address space: the holder, and the number of the context.
pub type Space = (u16, u32);

/// In an identity context several pages can be at one device frame. There, pages are
/// entered at places that nobody else has, from here on.
pub const PLACES: u64 = 1 << 60;
/// More than one mapping has.
const PLACES_PER_MAPPING: u64 = 256;

/// There is no context with this number, or it is being destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoContext;

/// A context that a domain has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// First and last device frame.
    pub range: (u64, u64),
    /// It is being destroyed, and accepts no mapping any more.
    pub closed: bool,
    /// It is a copy of its owner's memory as well.
    pub mirror: bool,
}

impl Made {
    fn weight(&self) -> u32 {
        if self.mirror { MIRROR_WEIGHT } else { 1 }
    }
}

/// Limits of a domain that are not those it was created with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Frames pinned.
    pub pins: Option<u32>,
    /// Contexts besides the default one.
    pub contexts: Option<u32>,
}

/// The account.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// Live mappings by context and handle.
    pub mappings: BTreeMap<(Space, u64), Mapping>,
    /// Pinned frames by context and device frame, those that wait for a flush
    /// included.
    pub pages: BTreeMap<(Space, u64), Page>,
    /// Mappings that no handle was told for: context, first device frame, count.
    /// The IOMMU refused both to make them whole and to take them back.
    pub nameless: Vec<(Space, u64, u32)>,
    /// Contexts made and not destroyed.
    pub contexts: BTreeMap<Space, Made>,
    /// The contexts that devices were moved to.
    pub attached: BTreeMap<u32, u32>,
    /// Limits that were changed.
    pub limits: BTreeMap<u16, Limits>,
    /// CPU mappings by (holder, handle).
    pub cpu: BTreeMap<(u16, u32), CpuMapping>,
    /// Addresses at which PV domains have mapped pages of their own.
    pub own_maps: BTreeSet<(u16, u64)>,
    /// Every handle ever given out, by context number: also of contexts that are gone.
    pub handles: BTreeSet<(Space, u64)>,
    /// Grant entries by (granter, reference); absent: never written.
    pub entries: BTreeMap<(u16, u32), Entry>,
    /// Formats of the tables that do not have version 1.
    pub versions: BTreeMap<u16, u32>,
    /// Frames of argument areas, by domain and vcpu.
    pub areas: BTreeMap<(u16, u32), Vec<u64>>,
    /// First and last device frame of each domain's default context.
    pub ranges: BTreeMap<u16, (u64, u64)>,
    /// Domains whose default context has machine addresses: whether the IOMMU there has no
    /// more than their memory and their mappings.
    pub identity: BTreeMap<u16, bool>,
    /// The IOMMU refused something in the middle of a call that makes or ends windows.
    pub refused: bool,
    born: u64,
    placed: u64,
}

impl Reference {
    /// Frames a domain has pinned for DMA.
    pub fn pinned(&self, holder: u16) -> u32 {
        let pages = self
            .pages
            .range(((holder, 0), 0)..=((holder, u32::MAX), u64::MAX));
        pages.count() as u32
    }

    /// Contexts of a domain besides the default one.
    pub fn contexts_of(&self, holder: u16) -> impl Iterator<Item = (u32, &Made)> {
        let made = self.contexts.range((holder, 0)..=(holder, u32::MAX));
        made.map(|(&(_, number), made)| (number, made))
    }

    /// The same, as they count against the limit.
    pub fn contexts_counted(&self, holder: u16) -> u32 {
        let weights = self.contexts_of(holder).map(|(_, made)| made.weight());
        weights.sum()
    }

    /// First and last device frame of a context that accepts mappings. `Err`: there is
    /// no such context. `None`: it accepts none.
    pub fn range_of(&self, space: Space) -> Result<Option<(u64, u64)>, NoContext> {
        if space.1 == 0 {
            return Ok(self.ranges.get(&space.0).copied());
        }
        match self.contexts.get(&space) {
            Some(made) if !made.closed => Ok(Some(made.range)),
            _ => Err(NoContext),
        }
    }

    /// Whether device addresses of a context are machine addresses.
    pub fn is_identity(&self, space: Space) -> bool {
        space.1 == 0 && self.identity.contains_key(&space.0)
    }

    /// Whether own frames must have a writable type there to be reached.
    pub fn types_own_frames(&self, space: Space) -> bool {
        space.1 == 0 && self.identity.get(&space.0) == Some(&true)
    }

    /// The device frame of a pinned page.
    pub fn dfn_of(&self, space: Space, place: u64) -> u64 {
        if self.is_identity(space) {
            self.pages[&(space, place)].mfn
        } else {
            place
        }
    }

    /// Pages of an identity context that devices may reach because they are mapped, by
    /// machine frame, and whether they may write; own frames they reach anyway.
    pub fn identity_pages(&self, holder: u16) -> impl Iterator<Item = &Page> {
        let protected = self.identity.get(&holder) == Some(&true);
        let own = move |page: &Page| match page.source {
            Source::Own(_) => true,
            Source::Grant(granter, _) => granter == holder,
        };
        self.pages_in((holder, 0))
            .map(|(_, page)| page)
            .filter(move |page| protected && !own(page))
    }

    /// The pages of a mapping are not mapped any more.
    pub fn end_pages(&mut self, space: Space, first: u64, count: u32) {
        let places = (space, first)..(space, first + u64::from(count));
        for (_, page) in self.pages.range_mut(places) {
            page.mapped = false;
            page.stuck = false;
        }
    }

    /// Where to enter pages that are at `dfn`.
    pub fn place_for(&mut self, space: Space, dfn: u64) -> u64 {
        if self.is_identity(space) {
            self.placed += PLACES_PER_MAPPING;
            PLACES + self.placed
        } else {
            dfn
        }
    }

    /// Pinned frames of a context, by device frame.
    pub fn pages_in(&self, space: Space) -> impl Iterator<Item = (u64, &Page)> {
        self.pages
            .range((space, 0)..=(space, u64::MAX))
            .map(|(&(_, dfn), page)| (dfn, page))
    }

    /// Live mappings of a context.
    pub fn mappings_in(&self, space: Space) -> impl Iterator<Item = (u64, &Mapping)> {
        self.mappings
            .range((space, 0)..=(space, u64::MAX))
            .map(|(&(_, handle), mapping)| (handle, mapping))
    }

    /// Live mappings of a domain, with the number of their context.
    pub fn mappings_of(&self, holder: u16) -> impl Iterator<Item = (u32, u64, &Mapping)> {
        self.mappings
            .range(((holder, 0), 0)..=((holder, u32::MAX), u64::MAX))
            .map(|(&((_, number), handle), mapping)| (number, handle, mapping))
    }

    /// Somebody has a window.
    pub fn has_windows(&self) -> bool {
        self.mappings.values().any(|mapping| mapping.window)
    }

    /// The live mapping that a device frame belongs to.
    pub fn mapping_at(&self, space: Space, dfn: u64) -> Option<(u64, &Mapping)> {
        self.mappings_in(space).find(|(_, mapping)| {
            (mapping.dfn..mapping.dfn + u64::from(mapping.count)).contains(&dfn)
        })
    }

    /// Whether a device frame belongs to a mapping without a name.
    pub fn is_nameless(&self, space: Space, dfn: u64) -> bool {
        self.nameless.iter().any(|&(other, first, count)| {
            other == space && (first..first + u64::from(count)).contains(&dfn)
        })
    }

    /// What the I/O page table of a context must be.
    pub fn table_of(&self, space: Space) -> BTreeMap<u64, Translation> {
        self.pages_in(space)
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
        for (&((holder, _), _), page) in &self.pages {
            if let Source::Grant(granter, gref) = page.source {
                let write = usize::from(page.write);
                if !page.middle_gone {
                    entry_for(&mut uses, granter, gref, holder, page.mfn).dma[write] += 1;
                }
                if let Some((origin, inner)) = page.origin {
                    // It is the middle domain that uses the origin's.
                    entry_for(&mut uses, origin, inner, granter, page.mfn).dma[write] += 1;
                }
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
            counts.1 += u32::from(page.typed);
        }
        for mapping in self.cpu.values() {
            let counts = references.entry(mapping.mfn).or_default();
            counts.0 += u32::from(mapping.host) + u32::from(mapping.device);
            counts.1 += u32::from(mapping.host && mapping.typed);
            counts.1 += u32::from(mapping.device && mapping.write);
        }
        for mfn in self.areas.values().flatten() {
            let counts = references.entry(*mfn).or_default();
            counts.0 += 1;
            counts.1 += 1;
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
    pub fn add_mapping(&mut self, space: Space, handle: u64, dfn: u64, pages: &[Page]) {
        assert_ne!(handle, 0, "handle 0");
        assert!(
            self.handles.insert((space, handle)),
            "handle {handle:#x} given out twice"
        );
        self.born += 1;
        let dfn = self.place_for(space, dfn);
        let mapping = Mapping {
            dfn,
            count: pages.len() as u32,
            born: self.born,
            window: false,
            ending: false,
        };
        self.mappings.insert((space, handle), mapping);
        self.add_pages(space, dfn, pages);
    }

    /// Enters pinned frames.
    pub fn add_pages(&mut self, space: Space, dfn: u64, pages: &[Page]) {
        for (at, page) in (dfn..).zip(pages) {
            let old = self.pages.insert((space, at), *page);
            assert_eq!(old, None, "device frame {at:#x} used twice");
        }
    }

    /// A context is gone, with everything in it.
    pub fn forget_context(&mut self, space: Space) {
        self.contexts.remove(&space);
        self.pages.retain(|&(other, _), _| other != space);
        self.mappings.retain(|&(other, _), _| other != space);
        self.nameless.retain(|&(other, _, _)| other != space);
    }

    /// Enters what the IOMMU was told. Maps are entered with their elements.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Unmap {
                domain,
                context,
                dfn,
                count,
                ok: true,
            } => {
                let space = (domain, context);
                for (_, page) in self
                    .pages
                    .range_mut((space, dfn)..(space, dfn + u64::from(count)))
                {
                    page.mapped = false;
                    // What was refused before has succeeded now.
                    page.stuck = false;
                }
            }
            Event::Flush {
                domain,
                context,
                dfn,
                count,
                flags,
                ok: true,
            } => self.pages.retain(|&(space, at), page| {
                let identity = at >= PLACES;
                let at = if identity { page.mfn } else { at };
                let covered = space == (domain, context) && at >= dfn && at - dfn < count;
                // What else needs a frame there keeps it in the tables.
                let flushed = flags & REMOVED.0 != 0 || !page.reached || identity;
                page.mapped || page.stuck || !covered || !flushed
            }),
            _ => {}
        }
    }

    /// A domain is gone that granted: its entries, and its part in transitive grants.
    pub fn forget_granter(&mut self, granter: u16) {
        self.entries.retain(|&(domain, _), _| domain != granter);
        self.versions.remove(&granter);
        for page in self.pages.values_mut() {
            let its = matches!(page.source, Source::Grant(domain, _) if domain == granter);
            page.middle_gone |= its && page.origin.is_some();
        }
    }

    /// Forgets everything a dead holder had.
    pub fn forget_holder(&mut self, holder: u16) {
        let mine = |space: Space| space.0 == holder;
        self.pages.retain(|&(space, _), _| !mine(space));
        self.mappings.retain(|&(space, _), _| !mine(space));
        self.nameless.retain(|&(space, _, _)| !mine(space));
        self.contexts.retain(|&space, _| !mine(space));
        self.handles.retain(|&(space, _)| !mine(space));
        self.limits.remove(&holder);
        self.areas.retain(|&(domain, _), _| domain != holder);
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
