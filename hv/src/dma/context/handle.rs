// SPDX-License-Identifier: GPL-2.0-only
//! Names of mappings: slots with generations, so that a name is never given out
//! twice.

use super::{Context, Mapping, NONE, ReserveError};
use crate::{addr::Access, host::Host};

/// Names one mapping, once: a slot's number plus the generation of its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(u64);

impl Handle {
    pub(super) fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    /// As on the wire. Never 0: generations start at 1.
    pub const fn wire(self) -> u64 {
        self.0
    }

    /// A guest's allegation of a handle.
    pub const fn alleged(wire: u64) -> Self {
        Self(wire)
    }

    pub(super) const fn slot(self) -> u32 {
        self.0 as u32
    }

    pub(super) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MappingState {
    Free {
        next: u32,
    },
    Reserved,
    Live,
    /// Its records are those of a window.
    Window,
    /// Its generations are used up.
    Retired,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MappingSlot {
    pub generation: u32,
    pub state: MappingState,
    pub first: u32,
    pub count: u32,
    pub access: Access,
    /// It is being made, and its granter has taken back what it is of.
    pub doomed: bool,
}

impl<H: Host> Context<H> {
    pub(super) fn new_mapping(
        &mut self,
        first: u32,
        count: u32,
        access: Access,
    ) -> Result<u32, ReserveError> {
        if self.free_mapping == NONE {
            self.mappings
                .try_reserve(1)
                .map_err(|_| ReserveError::OutOfMemory)?;
            self.free_mapping = self.mappings.len() as u32;
            self.mappings.push(MappingSlot {
                generation: self.first_generation,
                state: MappingState::Free { next: NONE },
                first: 0,
                count: 0,
                access,
                doomed: false,
            });
        }
        let slot = self.free_mapping;
        let mapping = self
            .mappings
            .get_mut(slot as usize)
            .ok_or(ReserveError::OutOfMemory)?;
        if let MappingState::Free { next } = mapping.state {
            self.free_mapping = next;
        }
        *mapping = MappingSlot {
            generation: mapping.generation + 1,
            state: MappingState::Reserved,
            first,
            count,
            access,
            doomed: false,
        };
        self.last_generation = self.last_generation.max(mapping.generation);
        Ok(slot)
    }

    /// No handle has a later generation. For a context in which nothing is mapped any
    /// more.
    pub fn last_generation(&self) -> u32 {
        self.last_generation
    }

    /// The mapping's name may be used for another one, under a new generation.
    pub(super) fn free_mapping(&mut self, slot: u32) {
        let next = self.free_mapping;
        if let Some(mapping) = self.mappings.get_mut(slot as usize) {
            if mapping.generation == u32::MAX {
                mapping.state = MappingState::Retired;
            } else {
                mapping.state = MappingState::Free { next };
                self.free_mapping = slot;
            }
        }
    }

    /// The live mapping with the highest slot, for the release of everything.
    /// `None` also if there is one higher up that another vcpu is making.
    pub fn any_mapping(&mut self) -> Option<Mapping> {
        while let Some(last) = self.mappings.len().checked_sub(1) {
            if let Some(mapping) = self.mapping_of(last as u32) {
                return Some(mapping);
            }
            let state = self.mappings.last().map(|slot| slot.state);
            if matches!(state, Some(MappingState::Reserved | MappingState::Window)) {
                return None;
            }
            // Nobody allocates any more, so the free list may lose its members.
            self.free_mapping = NONE;
            self.mappings.pop();
        }
        None
    }

    /// The mapping cannot be taken back: it loses its name, and its frames stay
    /// pinned for ever.
    pub fn disown(&mut self, mapping: &Mapping) {
        if let Some(slot) = self.mappings.get_mut(mapping.handle.slot() as usize) {
            slot.state = MappingState::Retired;
            self.stuck += mapping.range.count as u32;
        }
        self.disown_window(mapping.handle);
    }
}
