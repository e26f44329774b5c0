// SPDX-License-Identifier: GPL-2.0-only
//! What one element must answer, by the tables in `hypercall-abi`.

use std::collections::BTreeSet;

use hv::host::IommuMode;
use hypercall_abi::{
    Errno,
    grant::{
        GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP,
        GNTMAP_READONLY, GTF_PERMIT_ACCESS, GTF_READONLY, GTF_SUB_PAGE, GTF_TRANSITIVE,
        GTF_TYPE_MASK, Gntst, MapGrantRef,
    },
    lookup::{Lookup, XEN_GDMA_LOOKUP_DADDR, XEN_GDMA_LOOKUP_GADDR},
    mapping::{
        Map, Unmap, XEN_GDMA_MAP_FIXED, XEN_GDMA_MAP_GRANT, XEN_GDMA_MAP_GRANT_DMA,
        XEN_GDMA_MAP_OWN, XEN_GDMA_MAP_READ, XEN_GDMA_MAP_WRITE, XEN_GDMA_NO_FLUSH,
        XEN_GDMA_UNMAP_BY_DADDR,
    },
    window::WindowCreate,
};

use super::reference::{Mapping, Page, Reference, Source, Space, Uses};
use crate::model::{DomainSetup, Machine, domain::Backing, frames::Kind};

const SELF: u16 = 0x7ff0;
/// Frames that an element of `map` can be about.
pub(super) const MAX_FRAMES: u32 = 128;
const MAX_WINDOWS: usize = 64;
/// Uses of one kind that a reference can have.
const MAX_USES: u32 = 128;
/// Transitive references by which devices reach pages of one domain.
const MOST_PASSAGES: usize = 512;

/// The frame that devices reach by a reference; and, if that is a transitive one, where
/// it leads.
type Reached = (u64, Option<(u16, u32)>);

/// The rules, applied to one machine and its account.
pub struct Rules<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The account.
    pub reference: &'a Reference,
    /// Who calls.
    pub caller: u16,
}

/// Why a reference cannot be used: what the DMA service answers (one of several
/// where the documentation leaves the order open) and what the grant-table
/// operations answer.
pub struct NoUse {
    dma: &'static [Errno],
    pub(super) gntst: Gntst,
}

/// What a reference is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UseKind {
    /// A CPU mapping.
    Cpu,
    /// A PV domain's device mapping.
    Device,
    /// A DMA mapping.
    Dma,
}

const fn no_use(dma: &'static [Errno], gntst: Gntst) -> NoUse {
    NoUse { dma, gntst }
}

/// A window is a mapping of any size.
pub(super) fn window_as_map(op: &WindowCreate) -> Map {
    Map {
        context: op.context,
        kind: op.kind,
        domid: op.domid,
        source: op.source,
        nr_frames: op.nr_frames,
        flags: op.flags,
        daddr: op.daddr,
        pad0: op.pad0,
        ..Map::default()
    }
}

impl Rules<'_> {
    pub(super) fn setup_of(&self, domain: u16) -> Option<DomainSetup> {
        self.machine.find(domain).map(|found| *found.setup())
    }

    /// `map`: the pinned frames, or the errors that fit.
    pub fn map(&self, op: &Map) -> Result<Vec<Page>, Vec<Errno>> {
        self.map_fields(op, MAX_FRAMES)?;
        let granter = self.map_granter(op)?;
        self.map_room(op)?;
        let pages: Vec<Page> = (0..op.nr_frames)
            .map(|nth| self.map_page(op, granter, u64::from(nth)))
            .collect::<Result<_, _>>()?;
        if self.reference.is_identity((self.caller, op.context)) {
            Self::map_identity(op, &pages)?;
        }
        Ok(pages)
    }

    /// Frames whose device addresses are their machine addresses.
    fn map_identity(op: &Map, pages: &[Page]) -> Result<(), Vec<Errno>> {
        let first = pages[0].mfn;
        if !pages.iter().zip(first..).all(|(page, mfn)| page.mfn == mfn) {
            return Err(vec![Errno::NoSpc]);
        }
        if op.flags & XEN_GDMA_MAP_FIXED != 0 && op.daddr / 4096 != first {
            return Err(vec![Errno::Inval]);
        }
        Ok(())
    }

    /// In an identity context, whether the service may have no room for so many frames
    /// together: it has for twice as many as may be pinned, but the free places may be
    /// anywhere between those in use.
    pub(super) fn may_lack_room(&self, op: &Map) -> bool {
        let places = self
            .setup_of(self.caller)
            .map_or(0, |setup| 2 * setup.max_pins);
        let used = self.reference.pages_in((self.caller, op.context)).count() as u32;
        places.saturating_sub(used).div_ceil(used + 1) < op.nr_frames
    }

    /// `window_create`: the same for any number of frames.
    pub fn window(&self, op: &WindowCreate) -> Result<Vec<Page>, Vec<Errno>> {
        let map = window_as_map(op);
        if op.kind > XEN_GDMA_MAP_GRANT || op.flags & XEN_GDMA_NO_FLUSH != 0 {
            return Err(vec![Errno::Inval]);
        }
        self.map_fields(&map, u32::MAX)?;
        if self.reference.is_identity((self.caller, op.context)) {
            return Err(vec![Errno::OpNotSupp]);
        }
        let granter = self.map_granter(&map)?;
        let space = (self.caller, op.context);
        let windows = self.reference.mappings_in(space);
        if windows.filter(|(_, mapping)| mapping.window).count() >= MAX_WINDOWS {
            return Err(vec![Errno::NoBufs]);
        }
        self.map_room(&map)?;
        (0..op.nr_frames)
            .map(|nth| self.map_page(&map, granter, u64::from(nth)))
            .collect()
    }

    /// Every field is right by itself: the element gets as far as its context.
    pub(super) fn fields_fit(op: &Map, most: u32) -> bool {
        let access = XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE;
        let fixed = op.flags & XEN_GDMA_MAP_FIXED != 0;
        !(op.pad0 != 0
            || op.kind > XEN_GDMA_MAP_GRANT_DMA
            || op.flags & !(access | XEN_GDMA_MAP_FIXED | XEN_GDMA_NO_FLUSH) != 0
            || (op.kind == XEN_GDMA_MAP_GRANT_DMA && op.source >> 44 != 1 << 19)
            || op.flags & access == 0
            || op.nr_frames == 0
            || op.nr_frames > most
            || (op.kind == XEN_GDMA_MAP_OWN && op.domid != 0)
            || (!fixed && op.daddr != 0)
            || (fixed && !op.daddr.is_multiple_of(4096)))
    }

    fn map_fields(&self, op: &Map, most: u32) -> Result<(), Vec<Errno>> {
        if !Self::fields_fit(op, most) {
            return Err(vec![Errno::Inval]);
        }
        let fixed = op.flags & XEN_GDMA_MAP_FIXED != 0;
        let Ok(range) = self.reference.range_of((self.caller, op.context)) else {
            return Err(vec![Errno::NoEnt]);
        };
        let Some((first, last)) = range else {
            return Err(vec![Errno::OpNotSupp]);
        };
        let dfn = op.daddr / 4096;
        if fixed && (dfn < first || dfn + u64::from(op.nr_frames) - 1 > last) {
            return Err(vec![Errno::Inval]);
        }
        Ok(())
    }

    fn map_granter(&self, op: &Map) -> Result<u16, Vec<Errno>> {
        if op.kind == XEN_GDMA_MAP_OWN {
            return Ok(self.caller);
        }
        let granter = if op.domid == SELF {
            self.caller
        } else {
            op.domid
        };
        if self.setup_of(granter).is_none_or(|setup| !setup.has_state) {
            return Err(vec![Errno::Srch]);
        }
        let state = self.machine.state();
        let pair = (self.caller, granter);
        let write = op.flags & XEN_GDMA_MAP_WRITE != 0;
        if state.access.map.contains(&pair) || write && state.access.map_writable.contains(&pair) {
            return Err(vec![Errno::Perm]);
        }
        Ok(granter)
    }

    fn map_room(&self, op: &Map) -> Result<(), Vec<Errno>> {
        let limit = self.limit_of_pins(self.caller);
        let pinned = u64::from(self.reference.pinned(self.caller));
        if pinned + u64::from(op.nr_frames) > u64::from(limit) {
            return Err(vec![Errno::NoBufs]);
        }
        let space = (self.caller, op.context);
        if self.reference.is_identity(space) {
            return Ok(());
        }
        let (first, last) = self
            .reference
            .range_of(space)
            .ok()
            .flatten()
            .expect("a range");
        let free = |dfn: u64| {
            let guest_frame = self.machine.state().p2m.contains_key(&(self.caller, dfn));
            !self.reference.pages.contains_key(&(space, dfn)) && (op.context != 0 || !guest_frame)
        };
        if op.flags & XEN_GDMA_MAP_FIXED != 0 {
            let dfn = op.daddr / 4096;
            let all_free = (dfn..dfn + u64::from(op.nr_frames)).all(free);
            return if all_free {
                Ok(())
            } else {
                Err(vec![Errno::Exist])
            };
        }
        let mut run = 0;
        let fits = (first..=last).any(|dfn| {
            run = if free(dfn) { run + 1 } else { 0 };
            run == op.nr_frames
        });
        if fits {
            Ok(())
        } else {
            Err(vec![Errno::NoSpc])
        }
    }

    /// Frames that a domain may pin.
    pub(super) fn limit_of_pins(&self, domain: u16) -> u32 {
        let changed = self
            .reference
            .limits
            .get(&domain)
            .and_then(|limits| limits.pins);
        let created = || self.setup_of(domain).map_or(0, |setup| setup.max_pins);
        changed.unwrap_or_else(created)
    }

    /// Contexts that a domain may have.
    pub(super) fn limit_of_contexts(&self, domain: u16) -> u32 {
        let changed = self
            .reference
            .limits
            .get(&domain)
            .and_then(|limits| limits.contexts);
        let created = || self.setup_of(domain).map_or(0, |setup| setup.max_contexts);
        changed.unwrap_or_else(created)
    }

    fn map_page(&self, op: &Map, granter: u16, nth: u64) -> Result<Page, Vec<Errno>> {
        let write = op.flags & XEN_GDMA_MAP_WRITE != 0;
        let space = (self.caller, op.context);
        let own = granter == self.caller;
        let typed = write || own && self.reference.types_own_frames(space);
        let first = if op.kind == XEN_GDMA_MAP_GRANT_DMA {
            (op.source & !(1 << 63)) / 4096
        } else {
            op.source
        };
        let number = first.checked_add(nth);
        let (mfn, source, origin) = if op.kind == XEN_GDMA_MAP_OWN {
            let gfn = number.ok_or(vec![Errno::Fault])?;
            let mfn = self
                .memory_at(self.caller, gfn, typed, false)
                .map_err(|why| why.dma.to_vec())?;
            (mfn, Source::Own(gfn), None)
        } else {
            let gref = number
                .and_then(|number| u32::try_from(number).ok())
                .ok_or(vec![Errno::Range])?;
            let (mfn, origin) = self.granted_to_devices(
                granter,
                gref,
                (write, typed),
                !self.reference.types_own_frames(space),
            )?;
            (mfn, Source::Grant(granter, gref), origin)
        };
        Ok(Page {
            mfn,
            read: op.flags & XEN_GDMA_MAP_READ != 0,
            write,
            typed,
            source,
            origin,
            mapped: true,
            reached: true,
            middle_gone: false,
            stuck: false,
        })
    }

    /// Where a reference leads that somebody uses as a transitive one.
    pub(super) fn led(&self, granter: u16, gref: u32) -> Option<(u16, u32)> {
        let mut pages = self.reference.pages.values();
        let page =
            pages.find(|page| page.source == Source::Grant(granter, gref) && !page.middle_gone)?;
        page.origin
    }

    /// The frame that devices reach by a reference, and which one it leads to if it is
    /// a transitive one.
    fn granted_to_devices(
        &self,
        granter: u16,
        gref: u32,
        (write, typed): (bool, bool),
        transitive: bool,
    ) -> Result<Reached, Vec<Errno>> {
        let direct = self.grant(granter, gref, self.caller, write, typed, UseKind::Dma);
        let entry = self.reference.entry(granter, gref);
        let is_transitive = transitive
            && self.reference.version(granter) == 2
            && entry.flags & GTF_TYPE_MASK == GTF_TRANSITIVE
            && gref < self.machine.table_entries(granter);
        let uses = self.reference.uses_of(granter, gref);
        let led = self.led(granter, gref);
        if is_transitive && (uses.is_none() || led.is_some()) {
            return self.led_to((granter, gref), write, (uses, led));
        }
        // While somebody uses an entry that was an ordinary one, it counts as that.
        direct
            .map(|mfn| (mfn, None))
            .map_err(|why| why.dma.to_vec())
    }

    /// The transitive references, and for whom, that lead to pages of a domain.
    fn passages_to(&self, origin: u16) -> BTreeSet<(Source, u16)> {
        let pages = self.reference.pages.iter();
        pages
            .filter(|(_, page)| page.origin.is_some_and(|(domain, _)| domain == origin))
            .map(|(&((holder, _), _), page)| (page.source, holder))
            .collect()
    }

    /// The same for a transitive reference that nobody uses, or somebody as such.
    fn led_to(
        &self,
        (granter, gref): (u16, u32),
        write: bool,
        (uses, led): (Option<Uses>, Option<(u16, u32)>),
    ) -> Result<Reached, Vec<Errno>> {
        let entry = self.reference.entry(granter, gref);
        if let Some(uses) = uses {
            if uses.holder != self.caller {
                return Err(vec![Errno::Acces, Errno::Busy]);
            }
            if uses.dma[usize::from(write)] == MAX_USES {
                return Err(vec![Errno::MLink]);
            }
        }
        let readonly = write && entry.flags & GTF_READONLY != 0;
        if entry.domid != self.caller || readonly {
            return Err(vec![Errno::Acces]);
        }
        let (origin, inner) = (entry.middle as u16, entry.gfn as u32);
        if self.machine.state().switches.no_transitive || origin == granter {
            return Err(vec![Errno::Acces]);
        }
        let setup = self.setup_of(origin).ok_or(vec![Errno::Acces])?;
        let pair = (self.caller, origin);
        let refused = {
            let state = self.machine.state();
            state.access.map.contains(&pair) || write && state.access.map_writable.contains(&pair)
        };
        if refused {
            return Err(vec![Errno::Perm]);
        }
        if !setup.has_state {
            return Err(vec![Errno::Srch]);
        }
        let passages = self.passages_to(origin);
        let passage = (Source::Grant(granter, gref), self.caller);
        let mut pages = self.reference.pages.iter();
        if pages.any(|(&((holder, _), _), page)| {
            page.middle_gone
                && (page.source, holder) == passage
                && page.origin.is_some_and(|(domain, _)| domain == origin)
        }) {
            // Its granter is another domain with the same id.
            return Err(vec![Errno::Again]);
        }
        if passages.len() >= MOST_PASSAGES && !passages.contains(&passage) {
            return Err(vec![Errno::MLink]);
        }
        let mfn = self
            .grant(origin, inner, granter, write, write, UseKind::Dma)
            .map_err(|why| why.dma.to_vec())?;
        let leads = (origin, inner);
        if led.is_some_and(|led| led != leads) || uses.is_some_and(|uses| uses.mfn != mfn) {
            return Err(vec![Errno::Again]);
        }
        Ok((mfn, Some(leads)))
    }

    /// The frame at a guest frame, if it can be pinned to be written.
    pub(super) fn memory_to_write(&self, owner: u16, gfn: u64) -> Result<u64, Vec<Errno>> {
        self.memory_at(owner, gfn, true, false)
            .map_err(|why| why.dma.to_vec())
    }

    /// The frame at a guest frame, if it is one that can be pinned.
    pub(super) fn memory_at(
        &self,
        owner: u16,
        gfn: u64,
        typed: bool,
        io: bool,
    ) -> Result<u64, NoUse> {
        let backing = self.machine.state().p2m.get(&(owner, gfn)).copied();
        match backing {
            Some(Backing::Ram(mfn)) => self.usable(mfn, typed),
            Some(Backing::ReadOnly(mfn)) if !typed => self.usable(mfn, false),
            Some(Backing::Io(mfn)) if io => Ok(mfn),
            Some(Backing::PagedOut) => Err(no_use(&[Errno::Again], Gntst::EAgain)),
            _ => Err(no_use(&[Errno::Fault], Gntst::BadPage)),
        }
    }

    pub(super) fn usable(&self, mfn: u64, typed: bool) -> Result<u64, NoUse> {
        let state = self.machine.state();
        match state.frames.get(mfn).map(|frame| &frame.kind) {
            Some(Kind::Ram | Kind::Io) => Ok(mfn),
            Some(Kind::PageTable) if !typed => Ok(mfn),
            Some(Kind::PageTable) => Err(no_use(&[Errno::Fault], Gntst::GeneralError)),
            _ => Err(no_use(&[Errno::Fault], Gntst::BadPage)),
        }
    }

    /// The frame that a use of a reference by `holder` gives, or why it is refused.
    fn grant(
        &self,
        granter: u16,
        gref: u32,
        holder: u16,
        write: bool,
        typed: bool,
        kind: UseKind,
    ) -> Result<u64, NoUse> {
        if gref >= self.machine.table_entries(granter) {
            return Err(no_use(&[Errno::Range], Gntst::BadGntref));
        }
        let entry = self.reference.entry(granter, gref);
        let granted = entry.flags & (GTF_TYPE_MASK | GTF_SUB_PAGE) == GTF_PERMIT_ACCESS
            && entry.domid == holder;
        let readonly = write && entry.flags & GTF_READONLY != 0;
        let Some(uses) = self.reference.uses_of(granter, gref) else {
            if !granted || readonly {
                return Err(no_use(&[Errno::Acces], Gntst::GeneralError));
            }
            let io = kind != UseKind::Dma && self.is_pv(self.caller);
            return self.memory_at(granter, entry.gfn, typed, io);
        };
        if uses.holder != holder {
            // The table has -EACCES before -EBUSY; both fit if both apply.
            let fits: &[_] = if granted && !readonly {
                &[Errno::Busy]
            } else {
                &[Errno::Acces, Errno::Busy]
            };
            return Err(no_use(fits, Gntst::GeneralError));
        }
        if self.led(granter, gref).is_some() {
            // It has no page of its own.
            let fits = &[Errno::Busy, Errno::MLink];
            return Err(no_use(fits, Gntst::GeneralError));
        }
        let counts = match kind {
            UseKind::Cpu => uses.cpu,
            UseKind::Dma | UseKind::Device => uses.dma,
        };
        let full = counts[usize::from(write)] == MAX_USES;
        match (full, readonly && !uses.writing()) {
            (true, true) => Err(no_use(&[Errno::MLink, Errno::Acces], Gntst::GeneralError)),
            (true, false) => Err(no_use(&[Errno::MLink], Gntst::GeneralError)),
            (false, true) => Err(no_use(&[Errno::Acces], Gntst::GeneralError)),
            (false, false) => self.usable_again(uses.mfn, typed),
        }
    }

    /// The same for a frame that a use keeps. Its granter may have given it back before:
    /// then it is gone if the call that is judged has ended with the flush it waited for.
    fn usable_again(&self, mfn: u64, typed: bool) -> Result<u64, NoUse> {
        let gone = self.machine.state().frames.get(mfn).is_none();
        if gone {
            return Ok(mfn);
        }
        self.usable(mfn, typed)
    }

    /// `unmap`: the handle of the mapping it ends, or the error.
    pub fn unmap(&self, op: &Unmap) -> Result<u64, Errno> {
        let by_daddr = op.flags & XEN_GDMA_UNMAP_BY_DADDR != 0;
        let foreign_fields = if by_daddr {
            op.handle != 0
        } else {
            op.daddr != 0 || op.nr_frames != 0
        };
        let aligned = !by_daddr || op.daddr.is_multiple_of(4096);
        let known = XEN_GDMA_UNMAP_BY_DADDR | XEN_GDMA_NO_FLUSH;
        if op.flags & !known != 0 || foreign_fields || !aligned {
            return Err(Errno::Inval);
        }
        let space = (self.caller, op.context);
        self.reference
            .mappings_in(space)
            .filter(|&(handle, mapping)| {
                if by_daddr {
                    let dfn = self.reference.dfn_of(space, mapping.dfn);
                    dfn * 4096 == op.daddr && mapping.count == op.nr_frames
                } else {
                    handle == op.handle
                }
            })
            // In an identity context there may be several.
            .max_by_key(|(_, mapping)| mapping.born)
            .ok_or(Errno::NoEnt)
            .and_then(|(handle, mapping)| match mapping {
                Mapping { ending: true, .. } => Err(Errno::NoEnt),
                Mapping { window: true, .. } => Err(Errno::OpNotSupp),
                _ => Ok(handle),
            })
    }

    /// `lookup`: the element as it must come back.
    pub fn lookup(&self, op: &Lookup) -> Result<Lookup, Errno> {
        let daddr = op.kind == XEN_GDMA_LOOKUP_DADDR;
        if op.pad0 != 0 || op.pad1 != 0 || op.kind > XEN_GDMA_LOOKUP_GADDR {
            return Err(Errno::Inval);
        }
        if daddr && op.index != 0 {
            return Err(Errno::Inval);
        }
        let space = (self.caller, op.context);
        let place = if daddr {
            self.newest_at(space, op.addr / 4096).ok_or(Errno::NoEnt)?
        } else {
            self.nth_mapping_of(space, op.addr / 4096, op.index)
                .ok_or(Errno::NoEnt)?
        };
        let (handle, mapping) = self
            .reference
            .mapping_at(space, place)
            .filter(|(_, mapping)| !mapping.ending)
            .ok_or(Errno::NoEnt)?;
        let page = self.reference.pages[&(space, place)];
        let offset = op.addr % 4096;
        let mut answer = *op;
        (answer.source_kind, answer.domid, answer.source) = match page.source {
            Source::Own(gfn) => (XEN_GDMA_MAP_OWN, self.caller, gfn * 4096 + offset),
            Source::Grant(granter, gref) => {
                (XEN_GDMA_MAP_GRANT, granter, u64::from(gref) * 4096 + offset)
            }
        };
        answer.status = 0;
        answer.handle = handle;
        answer.daddr = self.reference.dfn_of(space, place) * 4096 + offset;
        answer.flags =
            u32::from(page.read) * XEN_GDMA_MAP_READ + u32::from(page.write) * XEN_GDMA_MAP_WRITE;
        answer.nr_frames = mapping.count;
        Ok(answer)
    }

    /// What is entered for a device frame: of several mappings the newest.
    fn newest_at(&self, space: Space, dfn: u64) -> Option<u64> {
        if !self.reference.is_identity(space) {
            return Some(dfn);
        }
        self.reference
            .pages_in(space)
            .filter(|(_, page)| page.mfn == dfn)
            .filter_map(|(place, _)| {
                let (_, mapping) = self.reference.mapping_at(space, place)?;
                Some((mapping.born, place))
            })
            .max()
            .map(|(_, place)| place)
    }

    /// Device frame of the `nth` mapping of an own frame, newest first, windows last.
    fn nth_mapping_of(&self, space: Space, gfn: u64, nth: u32) -> Option<u64> {
        let mut found: Vec<_> = self
            .reference
            .pages_in(space)
            .filter(|(_, page)| page.source == Source::Own(gfn))
            .filter_map(|(dfn, _)| {
                let (_, mapping) = self.reference.mapping_at(space, dfn)?;
                (!mapping.ending).then_some((!mapping.window, mapping.born, dfn))
            })
            .collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.get(nth as usize).map(|&(_, _, dfn)| dfn)
    }

    /// `map_grant_ref`: the frame, or the status.
    pub fn cpu_map(&self, op: &MapGrantRef) -> Result<u64, Gntst> {
        if op.flags & (GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) == 0 {
            return Err(Gntst::BadGntref);
        }
        let pv_only = GNTMAP_DEVICE_MAP | GNTMAP_APPLICATION_MAP | GNTMAP_CONTAINS_PTE;
        if op.flags & pv_only != 0 && !self.is_pv(self.caller) {
            return Err(Gntst::GeneralError);
        }
        let granter = self.setup_of(op.dom).ok_or(Gntst::BadDomain)?;
        let write = op.flags & GNTMAP_READONLY == 0;
        let pair = (self.caller, op.dom);
        let refused = {
            let state = self.machine.state();
            state.access.map.contains(&pair) || write && state.access.map_writable.contains(&pair)
        };
        if refused {
            return Err(Gntst::PermissionDenied);
        }
        if !granter.has_state {
            return Err(Gntst::BadDomain);
        }
        let (host, device) = (GNTMAP_HOST_MAP, GNTMAP_DEVICE_MAP);
        let mut mfn = Err(Gntst::GeneralError);
        for (flag, typed, kind) in [
            (host, self.cpu_typed(op), UseKind::Cpu),
            (device, write, UseKind::Device),
        ] {
            if op.flags & flag != 0 {
                let found = self.grant(op.dom, op.gref, self.caller, write, typed, kind);
                mfn = Ok(found.map_err(|why| why.gntst)?);
            }
        }
        let in_entry = op.flags & GNTMAP_CONTAINS_PTE != 0;
        let aligned = op.host_addr.is_multiple_of(if in_entry { 8 } else { 4096 });
        let taken = self
            .reference
            .handle_at(self.caller, op.host_addr)
            .is_some();
        if op.flags & host != 0 && (taken || !aligned) {
            return Err(Gntst::GeneralError);
        }
        mfn
    }

    pub(super) fn is_pv(&self, domain: u16) -> bool {
        self.setup_of(domain).is_some_and(|setup| !setup.translated)
    }

    /// Whether a CPU mapping takes a writable-type reference.
    pub fn cpu_typed(&self, op: &MapGrantRef) -> bool {
        op.flags & GNTMAP_READONLY == 0 && (op.dom == self.caller || self.is_pv(op.dom))
    }

    /// Whether the caller's default context accepts mappings.
    pub fn mappable(setup: &DomainSetup) -> bool {
        setup.identity().is_some()
            || setup.translated
                && setup.iommu == IommuMode::OwnTables
                && setup.hole.is_some_and(|(_, count)| count != 0)
    }
}
