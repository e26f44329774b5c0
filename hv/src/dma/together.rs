// SPDX-License-Identifier: GPL-2.0-only
//! Neighbouring elements of one call that the IOMMU is told of at once.
//!
//! A walk of the I/O page tables for each page is what an array of one-page elements would
//! cost most. So elements that follow each other in the array, and whose device frames
//! follow each other too, share one critical section of their context and one call of the
//! driver. Nothing else of them is shared: each has its pin, its handle and its status, and
//! what happens to each is what would happen if it were worked on alone.

use arrayvec::ArrayVec;
use hypercall_abi::mapping::{
    Map, Unmap, XEN_GDMA_MAP_FIXED, XEN_GDMA_MAP_GRANT_DMA, XEN_GDMA_NO_FLUSH,
};

use super::{
    context::{Context, Mapping, Neighbours},
    flush,
    map::{self, MapError, Maps, Pinning, Place, Request, pin_one},
    space::Space,
    unmap::{self, Unmaps, take_back},
};
use crate::{
    addr::{Access, DfnRange, Mfn, PAGE_SIZE},
    grant::OpenTable,
    host::{ELEMENTS_PER_COPY, FlushFlags, Host},
    state::DomainState,
    sync::SpinLock,
};

/// Frames of mappings that are ended together: what the IOMMU is told of at once, and then
/// one at a time if it refuses.
const MOST_FRAMES: u64 = 64;

/// The elements after the first, of which `request` is what was made, that can be worked
/// on with it: each is one page of the same domain, for the same access, and wants to be
/// where the one before it ends, if the guest has a wish at all.
fn count_alike(first: &Map, rest: &[Map]) -> usize {
    let fixed = first.flags & XEN_GDMA_MAP_FIXED != 0;
    let mut wanted = first.daddr;
    let alike = rest.iter().take_while(|op| {
        if fixed {
            // At the end of the address space nothing follows.
            wanted = wanted.saturating_add(PAGE_SIZE);
        }
        op.nr_frames == 1
            && op.kind == first.kind
            && op.domid == first.domid
            && op.flags == first.flags
            && op.context == first.context
            && op.pad0 == 0
            && op.daddr == wanted
            && (op.kind != XEN_GDMA_MAP_GRANT_DMA || Request::parse_source(op).is_ok())
    });
    alike.count()
}

/// What came of neighbouring `map` elements, for the flush.
struct Mapped {
    any: bool,
    flush_soon: bool,
}

impl<H: Host> Maps<'_, H> {
    /// Works on the first of `elements` and those behind it that go with it, results and
    /// status included. Returns how many; 0: the first one is to be worked on alone.
    ///
    /// Locks as for [`Maps::map`].
    pub fn map_neighbours(&mut self, host: &H, elements: &mut [Map]) -> u32 {
        let Some((first, rest)) = elements.split_first() else {
            return 0;
        };
        let count = match first.nr_frames {
            1 => 1 + count_alike(first, rest),
            _ => 1,
        };
        let (Ok(request), 2..=ELEMENTS_PER_COPY) = (Request::parse(first), count) else {
            return 0;
        };
        let Self { turn, own } = self;
        if turn.enter(host, first.context).is_err() {
            return 0;
        }
        let (Some(space), Some(elements)) = (turn.space(), elements.get_mut(..count)) else {
            return 0;
        };
        let place = Place {
            holder: turn.holder,
            state: turn.state,
            space,
        };
        if place.is_identity() {
            // Where frames are in the machine says where they are mapped.
            return 0;
        }
        let Some(mapped) = place.map_neighbours(host, own, &request, elements) else {
            return 0;
        };
        if (mapped.any && !request.no_flush) || mapped.flush_soon {
            turn.want_flush();
        }
        count as u32
    }
}

impl<H: Host> Place<'_, H> {
    /// `None`: nothing has happened, and the elements are to be worked on one by one.
    fn map_neighbours(
        &self,
        host: &H,
        own: &mut OpenTable<'_, H>,
        request: &Request,
        elements: &mut [Map],
    ) -> Option<Mapped> {
        let quota = &self.state.dma.pins;
        let granter = self.find_granter(host, request).ok()?;
        let mut context = self.space.context.lock();
        let range = context.range()?;
        let request = &request.within(host, range)?;
        let count = elements.len() as u32;
        let neighbours = context
            .reserve_neighbours(quota, range, request.wanted, count, request.access)
            .ok()?;
        if self.in_the_way(host, neighbours.range).is_some() {
            context.withdraw_neighbours(quota, &neighbours, count);
            return None;
        }
        let mut row = Row {
            host,
            place: self,
            context: &mut context,
            neighbours,
            access: request.access,
            refused: false,
        };
        // Pinned and made mappings in one critical section: no granter who takes something
        // back can come between the one and the other.
        let mut mfns = [const { Mfn::new(0) }; ELEMENTS_PER_COPY];
        match granter.as_deref() {
            Some(granter) => {
                row.pin_all(&mut OpenTable::of(granter), request, elements, &mut mfns);
            }
            None => row.pin_all(own, request, elements, &mut mfns),
        }
        row.program(elements, &mfns);
        let refused = row.refused;
        let flush_soon = host.must_flush_soon(context.pending_flags());
        drop(context);
        if refused {
            // If this fails too the frames stay pinned until a flush succeeds.
            let _ = flush::flush(host, self.holder, self.state, self.space);
        }
        Some(Mapped {
            any: elements.iter().any(|op| op.status == 0),
            flush_soon,
        })
    }
}

/// Neighbouring `map` elements at work, in a context that is locked.
struct Row<'a, H: Host> {
    host: &'a H,
    place: &'a Place<'a, H>,
    context: &'a mut Context<H>,
    neighbours: Neighbours,
    access: Access,
    /// The IOMMU has refused one: a flush has to follow.
    refused: bool,
}

impl<H: Host> Row<'_, H> {
    /// Pins what the elements name, and tells each how that went.
    #[inline(always)]
    fn pin_all(
        &mut self,
        owner: &mut OpenTable<'_, H>,
        request: &Request,
        elements: &mut [Map],
        mfns: &mut [Mfn],
    ) {
        for ((nth, op), mfn) in (0..).zip(elements).zip(mfns) {
            let pinned = self.pin(owner, request, nth, op);
            let status = pinned.map(|pinned| *mfn = pinned);
            op.status = map::status::<H>(self.place.holder, status);
        }
    }

    /// Pins what an element names, or gives back what was set aside for it.
    fn pin(
        &mut self,
        owner: &mut OpenTable<'_, H>,
        request: &Request,
        nth: u32,
        op: &Map,
    ) -> Result<Mfn, MapError> {
        // All else is as with the first.
        let pin = Request::parse_source(op).and_then(|source| {
            let request = Request { source, ..*request };
            let how = Pinning::of(request.access);
            pin_one(self.host, self.place.holder, owner, &request, (0, how))
        });
        match pin {
            Ok(pin) => {
                let mfn = pin.mfn();
                self.context.place_neighbour(&self.neighbours, nth, pin);
                Ok(mfn)
            }
            Err(error) => {
                // It has no pin, so once is enough.
                let quota = &self.place.state.dma.pins;
                if let Some(reservation) = self.context.neighbour(&self.neighbours, nth) {
                    let _ = self.context.withdraw_next(quota, &reservation);
                }
                Err(error)
            }
        }
    }

    /// Has the IOMMU translate the elements that are pinned, those with status 0, and makes
    /// them mappings.
    fn program(&mut self, elements: &mut [Map], mfns: &[Mfn]) {
        let (mut left, mut mfns, mut nth) = (elements, mfns, 0);
        loop {
            let pinned = left.iter().take_while(|op| op.status == 0).count();
            let (run, _) = mfns.split_at(pinned);
            let (done, flags) = self.translate(nth, run);
            self.context
                .note_neighbours(&self.neighbours, nth, done as u32, flags);
            let counters = &self.place.state.dma.counters;
            counters.mapped(done as u64, done as u64);
            let (made, rest) = left.split_at_mut(done);
            for op in made {
                let named = self.commit(nth, op);
                op.status = map::status::<H>(self.place.holder, named);
                nth += 1;
            }
            // Behind them is one that the IOMMU refused, or that is not pinned.
            let Some((stopped, rest)) = rest.split_first_mut() else {
                return;
            };
            if done < pinned {
                self.abandon(nth, flags);
                stopped.status = map::status::<H>(self.place.holder, Err(MapError::Iommu));
            }
            (_, mfns) = mfns.split_at(done + 1);
            left = rest;
            nth += 1;
        }
    }

    /// Tells the IOMMU of frames, from the neighbour number `nth` on. Returns how many it
    /// translates, and what flush that needs.
    fn translate(&self, nth: u32, mfns: &[Mfn]) -> (usize, FlushFlags) {
        let mut flags = FlushFlags::NONE;
        let first = self.neighbours.range.first.checked_add(u64::from(nth));
        let (Some(first), [_, ..]) = (first, mfns) else {
            return (0, flags);
        };
        let tables = self.place.space.tables(self.place.holder);
        let mapped = self
            .host
            .iommu_map_frames(tables, first, mfns, self.access, &mut flags);
        let done = mapped.map_or_else(|done| mfns.len().min(done as usize), |()| mfns.len());
        (done, flags)
    }

    /// What the IOMMU translates becomes a mapping.
    fn commit(&mut self, nth: u32, op: &mut Map) -> Result<(), MapError> {
        let made = self.context.commit_neighbour(&self.neighbours, nth);
        let (first, handle) = made.ok_or(MapError::Iommu)?;
        map::name(op, first, handle)
    }

    /// What the IOMMU refused waits for a flush, if it was seen for a moment.
    fn abandon(&mut self, nth: u32, flags: FlushFlags) {
        self.refused = true;
        if let Some(reservation) = self.context.neighbour(&self.neighbours, nth) {
            self.context.abandon(reservation, flags);
        }
    }
}

impl<H: Host> Unmaps<'_, H> {
    /// Works on the first of `elements` and those behind it that go with it, status
    /// included. Returns how many, and how many frames they were about; `None`: the first
    /// one is to be worked on alone.
    ///
    /// Locks as for [`Unmaps::unmap`].
    pub fn unmap_neighbours(&mut self, host: &H, elements: &mut [Unmap]) -> Option<(u32, u32)> {
        let first = *elements.first()?;
        self.enter(host, first.context).ok()?;
        let (holder, state) = (self.turn.holder, self.turn.state);
        let space = self.turn.space()?;
        let mut context = space.context.lock();
        if context.is_identity() {
            return None;
        }
        let (row, range) = find_row(host, &context, elements)?;
        let count = row.len() as u32;
        let (done, _) = elements.split_at_mut(row.len());
        match unmap_row(host, holder, state, space, (count, range)) {
            Ok(flags) => {
                context.retire_row(&row, range, flags);
                done.iter_mut().for_each(|op| op.status = 0);
            }
            // Whichever it was that the IOMMU did not like: only that one fails.
            Err(flags) => {
                for (op, mapping) in done.iter_mut().zip(&row) {
                    context.note_flush(mapping, flags);
                    let ended = take_back(host, holder, state, space, &mut context, mapping);
                    op.status = unmap::status::<H, _>(holder, ended);
                }
            }
        }
        let pending = context.pending();
        let flags = context.pending_flags();
        drop(context);
        self.after(host, first.flags & XEN_GDMA_NO_FLUSH != 0, pending, flags);
        Some((count, range.count as u32))
    }
}

/// Mappings that are neighbours.
type MappingRow = ArrayVec<Mapping, ELEMENTS_PER_COPY>;

/// The mappings that the first of `elements` and those behind it name, as far as they are
/// neighbours, and their device frames. `None`: the first one is to be worked on alone.
fn find_row<H: Host>(
    host: &H,
    context: &Context<H>,
    elements: &[Unmap],
) -> Option<(MappingRow, DfnRange)> {
    let first = elements.first()?;
    let (mut row, mut range) = (MappingRow::new(), None::<DfnRange>);
    for op in elements {
        let wanted = |mapping: &Mapping| match range {
            Some(range) => range.first.checked_add(range.count) == Some(mapping.range.first),
            None => true,
        };
        let frames = range.map_or(0, |range| range.count);
        let mapping = unmap::parse(op)
            .and_then(|name| unmap::find(host, context, &name))
            .ok()
            .filter(wanted)
            .filter(|mapping| frames + mapping.range.count <= MOST_FRAMES)
            .filter(|_| op.context == first.context)
            .filter(|_| (op.flags ^ first.flags) & XEN_GDMA_NO_FLUSH == 0);
        let Some(mapping) = mapping else {
            break;
        };
        if row.try_push(mapping).is_err() {
            break;
        }
        range = Some(DfnRange {
            first: range.map_or(mapping.range.first, |range| range.first),
            count: frames + mapping.range.count,
        });
    }
    range.map(|range| (row, range))
}

/// Has the IOMMU forget `range`, in which there are `count` mappings. Returns what flush
/// that needs; on error too, because parts may be gone from the tables.
fn unmap_row<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
    (count, range): (u32, DfnRange),
) -> Result<FlushFlags, FlushFlags> {
    let mut flags = FlushFlags::NONE;
    let tables = space.tables(holder);
    match host.iommu_unmap(tables, range.first, range.count as u32, &mut flags) {
        Ok(()) => {
            state.dma.counters.unmapped(count.into(), range.count);
            Ok(flags)
        }
        Err(_) => Err(flags),
    }
}
