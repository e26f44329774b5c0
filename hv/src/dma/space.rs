// SPDX-License-Identifier: GPL-2.0-only
//! The device address spaces of a domain, by number.

use alloc::vec::Vec;

use hypercall_abi::command::XEN_GDMA_CONTEXT_DEFAULT;

use super::{Dma, attach::CreateError, context::Context};
use crate::{
    addr::Dfn,
    host::{Content, Host, IoTables, Locks, OutOfMemory},
    sync::{Rank, ReadWriteLock, SpinLock},
};

/// Numbers that contexts can have, the default one's included.
pub const CONTEXT_NUMBERS: u32 = 1 << 16;

/// Whose I/O page tables a device address space has.
enum Tables<H: Host> {
    /// The domain's own: the default context.
    Default,
    /// Its own.
    Own(H::IoContext),
}

/// One device address space: its records, and what the IOMMU knows it by.
pub struct Space<H: Host> {
    number: u32,
    /// Tells it from an older one with the same number.
    serial: u64,
    tables: Tables<H>,
    content: Content,
    pub(crate) context: H::Spin<Context<H>>,
}

impl<H: Host> Space<H> {
    /// For the calls of [`Host`] that take I/O page tables. `owner` is the domain
    /// that the space is of.
    pub fn tables<'a>(&'a self, owner: &'a H::Domain) -> IoTables<'a, H> {
        match &self.tables {
            Tables::Default => IoTables::Default(owner),
            Tables::Own(context) => IoTables::Own(context),
        }
    }

    /// What the IOMMU knows it by, unless it is the default context.
    pub fn own_tables(&self) -> Option<&H::IoContext> {
        match &self.tables {
            Tables::Default => None,
            Tables::Own(context) => Some(context),
        }
    }

    /// Pages that memory is held for.
    ///
    /// Takes the context's lock.
    pub fn records(&self) -> usize {
        self.context.lock().records()
    }

    /// Most pages whose place in the index changed because of one other page.
    ///
    /// Takes the context's lock.
    pub fn most_moved(&self) -> u32 {
        self.context.lock().most_moved()
    }

    /// What it has besides mappings.
    pub fn content(&self) -> Content {
        self.content
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

/// A space that more than one vcpu may be at work on.
pub type SharedSpace<H> = <H as Locks>::Shared<Space<H>>;

/// What is at a number that is not the default context's.
enum Slot<H: Host> {
    /// No handle of a context that was here has a later generation.
    Free(u32),
    /// A context is being made; or the number cannot be used again.
    Reserved,
    /// A context is being made, or taken back, in more than one step.
    Making(Making<H>),
    Used(SharedSpace<H>),
}

impl<H: Host> Slot<H> {
    /// Whatever has page tables here.
    fn space(&self) -> Option<&SharedSpace<H>> {
        match self {
            Self::Making(Making { space, .. }) | Self::Used(space) => Some(space),
            Self::Free(_) | Self::Reserved => None,
        }
    }
}

/// A context that cannot be found under its number yet.
pub(super) struct Making<H: Host> {
    pub space: SharedSpace<H>,
    /// The vcpu whose call makes it.
    pub vcpu: u32,
    /// The highest device frame that was asked for.
    pub last: Dfn,
    pub stage: Stage,
}

/// What happens to a context in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It becomes a copy of its owner's memory.
    Copying,
    /// It is being taken back, for this reason.
    Failed(CreateError),
    /// It is being taken back, because nobody wants it any more.
    Abandoned,
}

impl<H: Host> Clone for Making<H> {
    fn clone(&self) -> Self {
        Self {
            space: self.space.clone(),
            ..*self
        }
    }
}

/// A number for a new context.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewNumber {
    pub number: u32,
    serial: u64,
    /// Its handles have later generations.
    pub first_generation: u32,
}

/// A number is used again as long as its handles have more generations left than one
/// mapping can use up in a life.
const MOST_GENERATIONS: u32 = u32::MAX / 2;

/// All contexts of a domain but the default one.
pub(super) struct Spaces<H: Host> {
    /// By number; that of the default context stays free.
    slots: Vec<Slot<H>>,
    /// Numbers that were used and are free.
    free: Vec<u32>,
    /// Contexts ever made.
    made: u64,
    /// [`Slot::Making`] at this moment.
    making: u32,
    /// Of a dying domain: in the slots from here on nothing is mapped.
    unreleased: Option<usize>,
}

impl<H: Host> Spaces<H> {
    /// None.
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            made: 0,
            making: 0,
            unreleased: None,
        }
    }

    fn slot(&self, host: &H, number: u32) -> Option<&Slot<H>> {
        let number = number as usize;
        if number >= self.slots.len() {
            return None;
        }
        self.slots.get(host.clamp_index(number, self.slots.len()))
    }

    /// Sets a number aside. Returns it, and the last generation of its handles.
    fn reserve(&mut self) -> Result<(u32, u32), OutOfMemory> {
        if let Some(number) = self.free.pop() {
            let slot = self.slots.get_mut(number as usize);
            let slot = slot.map(|slot| core::mem::replace(slot, Slot::Reserved));
            if let Some(Slot::Free(generation)) = slot {
                return Ok((number, generation));
            }
        }
        let wanted = self.slots.len().max(1) + 1;
        let grow = wanted - self.slots.len();
        self.slots.try_reserve(grow).map_err(|_| OutOfMemory)?;
        // Room for every number, so that giving one back cannot fail.
        self.free
            .try_reserve(wanted - self.free.len())
            .map_err(|_| OutOfMemory)?;
        self.slots.resize_with(wanted, || Slot::Free(0));
        let number = wanted - 1;
        if let Some(slot) = self.slots.get_mut(number) {
            *slot = Slot::Reserved;
        }
        Ok((number as u32, 0))
    }

    fn put(&mut self, number: u32, slot: Slot<H>) {
        if let Slot::Free(_) = slot {
            self.free.push(number);
        }
        if let Slot::Making(_) = slot {
            self.making += 1;
        }
        if let Some(place) = self.slots.get_mut(number as usize)
            && let Slot::Making(_) = core::mem::replace(place, slot)
        {
            self.making -= 1;
        }
    }
}

impl<H: Host> Dma<H> {
    /// The default context of a new domain.
    pub(super) fn new_default(host: &H) -> Result<SharedSpace<H>, OutOfMemory> {
        host.share(Space {
            number: XEN_GDMA_CONTEXT_DEFAULT,
            serial: 0,
            tables: Tables::Default,
            content: Content::Empty,
            context: SpinLock::new(Rank::Context, Context::new(0)),
        })
    }

    /// The context with this number.
    ///
    /// Takes the lock of the domain's contexts for reading.
    pub fn space(&self, host: &H, number: u32) -> Option<SharedSpace<H>> {
        if number == XEN_GDMA_CONTEXT_DEFAULT {
            return Some(self.default.clone());
        }
        match self.spaces.read().slot(host, number) {
            Some(Slot::Used(space)) => Some(space.clone()),
            Some(Slot::Free(_) | Slot::Reserved | Slot::Making(_)) | None => None,
        }
    }

    /// Calls `each` with every context that mappings can be in, the default one first,
    /// none of them locked.
    pub fn for_each_space(&self, host: &H, mut each: impl FnMut(&Space<H>)) {
        each(&self.default);
        let mut number = XEN_GDMA_CONTEXT_DEFAULT;
        loop {
            number += 1;
            let space = match self.spaces.read().slot(host, number) {
                None => return,
                Some(Slot::Used(space)) => space.clone(),
                Some(Slot::Free(_) | Slot::Reserved | Slot::Making(_)) => continue,
            };
            each(&space);
        }
    }

    /// Sets a number aside for a new context.
    pub(super) fn reserve_number(&self) -> Result<NewNumber, OutOfMemory> {
        let mut spaces = self.spaces.write();
        let (number, first_generation) = spaces.reserve()?;
        spaces.made += 1;
        Ok(NewNumber {
            number,
            serial: spaces.made,
            first_generation,
        })
    }

    /// The number is free again, and was not used.
    pub(super) fn free_number(&self, new: NewNumber) {
        let slot = Slot::Free(new.first_generation);
        self.spaces.write().put(new.number, slot);
    }

    /// A space for a reserved number.
    pub(super) fn new_space(
        host: &H,
        new: NewNumber,
        tables: H::IoContext,
        context: Context<H>,
        content: Content,
    ) -> Result<SharedSpace<H>, OutOfMemory> {
        host.share(Space {
            number: new.number,
            serial: new.serial,
            tables: Tables::Own(tables),
            content,
            context: SpinLock::new(Rank::Context, context),
        })
    }

    /// From now on the number names this space.
    pub(super) fn publish(&self, space: SharedSpace<H>) {
        let number = space.number;
        self.spaces.write().put(number, Slot::Used(space));
    }

    /// The space is being made: nobody finds it under its number, but it is not
    /// forgotten.
    pub(super) fn set_making(&self, making: Making<H>) {
        let number = making.space.number;
        self.spaces.write().put(number, Slot::Making(making));
    }

    /// What the calls of this vcpu have begun to make.
    ///
    /// Takes the lock of the domain's contexts for reading.
    pub(super) fn making_of(&self, vcpu: u32) -> Option<Making<H>> {
        let spaces = self.spaces.read();
        if spaces.making == 0 {
            return None;
        }
        spaces.slots.iter().find_map(|slot| match slot {
            Slot::Making(making) if making.vcpu == vcpu => Some(making.clone()),
            _ => None,
        })
    }

    /// Takes the space, in which nothing is mapped any more, from under its number.
    /// False: somebody else has done so.
    pub(super) fn withdraw(&self, space: &Space<H>) -> bool {
        let generation = space.context.lock().last_generation();
        let slot = if generation < MOST_GENERATIONS {
            Slot::Free(generation)
        } else {
            Slot::Reserved
        };
        let mut spaces = self.spaces.write();
        let found = spaces
            .slots
            .get(space.number as usize)
            .and_then(Slot::space)
            .is_some_and(|found| found.serial == space.serial);
        if found {
            spaces.put(space.number, slot);
        }
        found
    }

    /// Some context of a dying domain of which [`Self::released`] was not called; not
    /// the default one.
    pub(super) fn unreleased(&self) -> Option<SharedSpace<H>> {
        let mut spaces = self.spaces.write();
        let mut left = spaces.unreleased.unwrap_or(spaces.slots.len());
        let found = loop {
            let Some(last) = left.checked_sub(1) else {
                break None;
            };
            if let Some(space) = spaces.slots.get(last).and_then(Slot::space) {
                break Some(space.clone());
            }
            left = last;
        };
        spaces.unreleased = Some(left);
        found
    }

    /// All contexts of a dying domain are to be looked at again.
    pub(super) fn release_again(&self) {
        self.spaces.write().unreleased = None;
    }

    /// Nothing is mapped any more in what [`Self::unreleased`] returned.
    pub(super) fn released(&self) {
        let mut spaces = self.spaces.write();
        spaces.unreleased = spaces.unreleased.map(|left| left.saturating_sub(1));
    }
}
