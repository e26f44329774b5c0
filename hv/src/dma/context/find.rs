// SPDX-License-Identifier: GPL-2.0-only
//! Finding a mapping: by handle, by device frame, by guest frame.

use super::{Context, Handle, NONE, Source, handle::MappingState, page::Reach};
use crate::{
    addr::{Access, Dfn, DfnRange, DomId, Gfn, GrantRef},
    host::Host,
    index::Links,
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
    #[inline]
    pub(super) fn link(&mut self, source: Source, index: u32) {
        self.by_source.add(source, index, &mut self.pages);
        if let Some(by_frame) = &mut self.by_frame {
            by_frame.link(index, &self.pages);
        }
    }

    /// What is pinned at a page, which has or had these links, is not to be found any more.
    #[inline]
    pub(super) fn unlink(&mut self, source: Source, index: u32, links: Links) {
        if let Some(by_frame) = &mut self.by_frame {
            by_frame.unlink(index, &self.pages);
        }
        self.by_source.remove(source, index, links, &mut self.pages);
    }

    pub(super) fn mapping_of(&self, slot: u32) -> Option<Mapping> {
        let mapping = self.mappings.get(slot)?;
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
        let page = self.pages.get(index)?;
        if page.reach() != Some(Reach::Mapped) {
            return None;
        }
        Some(Found {
            mapping: self.mapping_of(page.mapping())?,
            dfn: self.dfn_at(index)?,
            source: page.names()?,
        })
    }

    /// What a device frame leads to; in an identity context the newest mapping.
    pub fn by_dfn(&self, host: &H, dfn: Dfn) -> Option<Found> {
        let index = self.index_at(host, dfn)?;
        self.found(index).or_else(|| self.window_at(index))
    }

    fn newest_of(&self, source: Source) -> Option<u32> {
        self.by_source.newest(source, &self.pages)
    }

    /// Pages of a frame or reference, newest first: of mappings, of such as are being
    /// made, and of such as the IOMMU did not give up.
    fn pages_of(&self, source: Source) -> impl Iterator<Item = u32> {
        let first = self.newest_of(source);
        core::iter::successors(first, |&index| {
            let next = self.pages.get(index)?.links.next;
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
            let Some((slot, next)) = self
                .pages
                .get(index)
                .map(|page| (page.mapping(), page.links.next))
            else {
                break;
            };
            page = (next != NONE).then_some(next);
            let mapping = self.mappings.get_mut(slot);
            match mapping.map(|mapping| &mut mapping.state) {
                Some(state @ (MappingState::Reserved | MappingState::Doomed)) => {
                    *state = MappingState::Doomed;
                }
                Some(MappingState::Live) => {}
                _ => given_up = false,
            }
        }
        given_up
    }
}
