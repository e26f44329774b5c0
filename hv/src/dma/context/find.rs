// SPDX-License-Identifier: GPL-2.0-only
//! Finding a mapping: by handle, by device frame, by guest frame.

use super::{
    Context, DmaPin, Handle, NONE, PAGES_PER_CHUNK, Source, handle::MappingState, page::PageState,
    source_at,
};
use crate::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GrantRef},
    host::Host,
};

/// A live mapping, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its name.
    pub handle: Handle,
    /// Its device frames.
    pub range: DfnRange,
    /// What devices may do.
    pub access: Access,
}

/// Where a device address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The mapping it belongs to.
    pub mapping: Mapping,
    /// The device frame.
    pub dfn: Dfn,
    /// What is there.
    pub source: FoundSource,
}

/// What a device frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundSource {
    /// The holder's own frame.
    Own(Gfn),
    /// A reference of another domain (or the holder's own).
    Grant {
        /// Whose.
        granter: DomId,
        /// Which.
        gref: GrantRef,
    },
}

impl<H: Host> Context<H> {
    /// There is room in the index: [`Self::reserve`] has seen to it.
    pub(super) fn link(&mut self, source: Source, index: u32) {
        let pages = &self.chunks;
        let source_of = |index| source_at(pages, index);
        let older = self.by_source.newest(source, source_of);
        self.by_source.put(source, index, older, source_of);
        let older = older.unwrap_or(NONE);
        if let Some(page) = self.page_mut(older) {
            page.newer = index;
        }
        if let Some(page) = self.page_mut(index) {
            page.next = older;
            page.newer = NONE;
        }
        if self.is_identity()
            && let Some(mfn) = self.mfn_at(index)
            && let Some(by_frame) = &mut self.by_frame
        {
            by_frame.link(mfn, index);
        }
    }

    pub(super) fn unlink(&mut self, source: Source, index: u32) {
        let Some((newer, next)) = self.page(index).map(|page| (page.newer, page.next)) else {
            return;
        };
        if let Some(by_frame) = &mut self.by_frame {
            by_frame.unlink(index);
        }
        if let Some(page) = self.page_mut(next) {
            page.newer = newer;
        }
        if let Some(page) = self.page_mut(newer) {
            page.next = next;
        } else if next == NONE {
            self.by_source.remove(source, index);
        } else {
            let pages = &self.chunks;
            let source_of = |index| source_at(pages, index);
            self.by_source.put(source, next, Some(index), source_of);
        }
    }

    pub(super) fn mapping_of(&self, slot: u32) -> Option<Mapping> {
        let mapping = self.mappings.get(slot as usize)?;
        if mapping.state != MappingState::Live {
            return None;
        }
        Some(Mapping {
            handle: Handle::new(slot, mapping.generation),
            range: DfnRange {
                first: self.dfn_at(mapping.first)?,
                count: u64::from(mapping.count),
            },
            access: mapping.access,
        })
    }

    /// The mapping with this handle, unless it is stale.
    pub fn by_handle(&self, host: &H, handle: Handle) -> Option<Mapping> {
        let slot = handle.slot() as usize;
        if slot >= self.mappings.len() {
            return None;
        }
        let slot = host.clamp_index(slot, self.mappings.len()) as u32;
        self.mapping_of(slot)
            .filter(|mapping| mapping.handle.generation() == handle.generation())
    }

    pub(super) fn found(&self, index: u32) -> Option<Found> {
        let page = self.page(index)?;
        let PageState::Mapped(pin) = &page.state else {
            return None;
        };
        Some(Found {
            mapping: self.mapping_of(page.mapping)?,
            dfn: self.dfn_at(index)?,
            source: match pin.get() {
                DmaPin::Own { gfn, .. } => FoundSource::Own(*gfn),
                DmaPin::Grant(pin) => FoundSource::Grant {
                    granter: pin.granter(),
                    gref: pin.gref(),
                },
            },
        })
    }

    /// What a device frame leads to; in an identity context the newest mapping.
    pub fn by_dfn(&self, host: &H, dfn: Dfn) -> Option<Found> {
        let index = self.index_at(host, dfn)?;
        self.found(index).or_else(|| self.window_at(index))
    }

    fn newest_of(&self, source: Source) -> Option<u32> {
        let source_of = |index| source_at(&self.chunks, index);
        self.by_source.newest(source, source_of)
    }

    /// Pages of a frame or reference, newest first: of mappings, of such as are being
    /// made, and of such as the IOMMU did not give up.
    fn pages_of(&self, source: Source) -> impl Iterator<Item = u32> {
        let first = self.newest_of(source);
        core::iter::successors(first, |&index| {
            let next = self.page(index)?.next;
            (next != NONE).then_some(next)
        })
    }

    /// The `nth` mapping, newest first, of a frame or reference; windows come last.
    pub fn by_source(&self, source: Source, nth: u32) -> Option<Found> {
        let mut pages = 0;
        for found in self.pages_of(source).filter_map(|index| self.found(index)) {
            if pages == nth {
                return Some(found);
            }
            pages += 1;
        }
        self.window_by_source(source, nth - pages)
    }

    /// The newest mapping of a frame or reference that is no window.
    pub fn page_by_source(&self, source: Source) -> Option<Found> {
        let mut found = self.pages_of(source).filter_map(|index| self.found(index));
        found.next()
    }

    /// What a granter takes back must not become a mapping any more: those that are
    /// being made of it will fail. False: the IOMMU has refused to give it up.
    pub fn doom(&mut self, source: Source) -> bool {
        let mut page = self.newest_of(source);
        let mut given_up = true;
        while let Some(index) = page {
            let Some((slot, next)) = self.page(index).map(|page| (page.mapping, page.next)) else {
                break;
            };
            page = (next != NONE).then_some(next);
            match self.mappings.get_mut(slot as usize) {
                Some(mapping) if mapping.state == MappingState::Reserved => mapping.doomed = true,
                Some(mapping) if mapping.state == MappingState::Live => {}
                _ => given_up = false,
            }
        }
        given_up
    }

    /// Calls `each` with every frame that is pinned: device frame, machine frame,
    /// and whether the IOMMU translates it (if not, it waits for a flush). For
    /// diagnosis and for the oracle of the tests.
    pub fn for_each_page(&self, mut each: impl FnMut(Dfn, &DmaPin<H::Frame>, bool)) {
        let Some(range) = self.range else {
            return;
        };
        let identity = self.is_identity();
        for (index, page) in self.chunks.iter().enumerate().flat_map(|(chunk, pages)| {
            let first = chunk * PAGES_PER_CHUNK;
            pages
                .pages
                .iter()
                .enumerate()
                .map(move |(offset, page)| (first + offset, page))
        }) {
            let dfn = |pin: &DmaPin<H::Frame>| {
                Dfn::new(if identity {
                    pin.mfn().number()
                } else {
                    range.first.number() + index as u64
                })
            };
            match &page.state {
                PageState::Mapped(pin) => each(dfn(pin.get()), pin.get(), true),
                PageState::FlushPending(pin) => each(dfn(pin.get()), pin.get(), false),
                PageState::Free | PageState::Reserved | PageState::Pinned(_) => {}
            }
        }
    }
}
