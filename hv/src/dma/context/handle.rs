// SPDX-License-Identifier: GPL-2.0-only
//! Names of mappings: slots with generations, so that a name is never given out
//! twice.

use super::{Context, Mapping, NONE, ReserveError, identity::ByFrame};
use crate::{
    addr::Access,
    blocks::Blocks,
    host::{Host, OutOfMemory},
};

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
    Free,
    Reserved,
    /// The same, and its granter has taken back what it is of.
    Doomed,
    Live,
    /// Its records are those of a window.
    Window,
    /// Its generations are used up.
    Retired,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MappingSlot {
    pub generation: u32,
    /// Index of its first page; of a free slot, the next free one.
    pub first: u32,
    pub count: u32,
    pub access: Access,
    pub state: MappingState,
}

/// 256 of them in a page of memory.
const _: () = assert!(size_of::<MappingSlot>() == 16);
const SLOTS_PER_BLOCK: usize = 256;

/// Slots that are dropped in one step.
const SLOTS_SHED: u32 = 1024;

/// All slots of a context.
pub(super) struct Slots {
    slots: Blocks<MappingSlot, SLOTS_PER_BLOCK>,
    /// Those that were ever used.
    len: u32,
    /// First of those that are free and were used.
    free: u32,
}

impl Slots {
    /// None.
    pub const NONE: Self = Self {
        slots: Blocks::EMPTY,
        len: 0,
        free: NONE,
    };

    /// There will be at most so many, but for those that are retired.
    pub fn plan(&mut self, slots: usize) -> Result<(), OutOfMemory> {
        self.slots.plan(slots)
    }

    /// Slots that were ever used.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// One of them.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&MappingSlot> {
        self.slots.get(slot)
    }

    /// The same.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut MappingSlot> {
        self.slots.get_mut(slot)
    }

    /// Makes sure that there is a free one. New ones have this generation.
    #[inline]
    fn make_free(&mut self, generation: u32) -> Result<(), OutOfMemory> {
        if self.free != NONE {
            return Ok(());
        }
        if self.len() == self.slots.len() {
            self.slots.grow(|| MappingSlot {
                generation,
                first: NONE,
                count: 0,
                access: Access::READ,
                state: MappingState::Free,
            })?;
        }
        self.free = self.len;
        self.len += 1;
        Ok(())
    }

    /// Drops a bounded number of those at the end that no mapping has. False: there are
    /// none. Nothing is allocated any more.
    fn shed(&mut self) -> bool {
        let before = self.len;
        self.free = NONE;
        while before - self.len < SLOTS_SHED
            && let Some(last) = self.len.checked_sub(1)
            && let Some(MappingState::Free | MappingState::Retired) =
                self.get(last).map(|slot| slot.state)
        {
            self.len = last;
        }
        self.slots.shrink(self.len());
        self.len != before
    }
}

impl<H: Host> Context<H> {
    pub(super) fn new_mapping(
        &mut self,
        first: u32,
        count: u32,
        access: Access,
    ) -> Result<u32, ReserveError> {
        let slots = &mut self.mappings;
        slots
            .make_free(self.first_generation)
            .map_err(|_| ReserveError::OutOfMemory)?;
        let slot = slots.free;
        let mapping = slots.slots.get_mut(slot);
        let mapping = mapping.ok_or(ReserveError::OutOfMemory)?;
        slots.free = mapping.first;
        *mapping = MappingSlot {
            generation: mapping.generation + 1,
            first,
            count,
            access,
            state: MappingState::Reserved,
        };
        self.last_generation = self.last_generation.max(mapping.generation);
        Ok(slot)
    }

    /// A mapping that was reserved is what `state` says from now on. Its name.
    #[inline]
    pub(super) fn name_mapping(&mut self, slot: u32, state: MappingState) -> Option<Handle> {
        let mapping = self.mappings.get_mut(slot)?;
        mapping.state = state;
        Some(Handle::new(slot, mapping.generation))
    }

    /// No handle has a later generation. For a context in which nothing is mapped any
    /// more.
    pub fn last_generation(&self) -> u32 {
        self.last_generation
    }

    /// The mapping's name may be used for another one, under a new generation.
    pub(super) fn free_mapping(&mut self, slot: u32) {
        let next = self.mappings.free;
        if let Some(mapping) = self.mappings.get_mut(slot) {
            if mapping.generation == u32::MAX {
                mapping.state = MappingState::Retired;
            } else {
                mapping.state = MappingState::Free;
                mapping.first = next;
                self.mappings.free = slot;
            }
        }
    }

    /// The mapping in the last slot, for the release of everything. `None` also if that slot
    /// is nobody's, which [`Self::shed`] drops, or another vcpu's that makes a mapping.
    pub fn last_mapping(&self) -> Option<Mapping> {
        self.mapping_of(self.mappings.len.checked_sub(1)?)
    }

    /// Frees a bounded part of what mappings needed that are no more, in a context that
    /// will have no new ones. False: nothing is left to be freed.
    pub fn shed(&mut self) -> bool {
        // Who makes a mapping has been promised room in the index.
        let promised = self.unplaced != 0;
        self.mappings.shed()
            || !promised
                && (self.by_source.shed() || self.by_frame.as_mut().is_some_and(ByFrame::shed))
    }

    /// The mapping cannot be taken back: it loses its name, and its frames stay
    /// pinned for ever.
    pub fn disown(&mut self, mapping: &Mapping) {
        if let Some(slot) = self.mappings.get_mut(mapping.handle.slot()) {
            slot.state = MappingState::Retired;
            self.stuck += mapping.range.count as u32;
        }
        self.disown_window(mapping.handle);
    }
}
