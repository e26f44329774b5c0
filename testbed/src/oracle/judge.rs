// SPDX-License-Identifier: GPL-2.0-only
//! Comparing one element's answer with what the rules predict, and entering it.

use std::collections::VecDeque;

use hypercall_abi::{
    Errno,
    lookup::Lookup,
    mapping::{Map, Unmap, XEN_GDMA_MAP_FIXED, XEN_GDMA_MAP_GRANT_DMA, XEN_GDMA_NO_FLUSH},
    query::{Query, XEN_GDMA_CAP_DEFAULT_CONTEXT},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    predict::{MAX_FRAMES, Rules},
    reference::{Page, Reference, Space},
};
use crate::model::{Event, Machine};

/// Put into `status` before a call: an element that still has it was not worked
/// on.
pub const NOT_WORKED_ON: i16 = 0x5555;

/// One step of a call, as the oracle follows it.
pub struct Step<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The account.
    pub reference: &'a mut Reference,
    /// Who calls.
    pub caller: u16,
    /// Something may have failed that cannot be seen otherwise.
    pub may_fail: bool,
    /// What the IOMMU was told in this step and is not yet entered.
    pub events: &'a mut VecDeque<Event>,
    /// The context that the elements of this step were about last.
    pub at_work: Option<u32>,
    /// One of them wants a flush of that context before another one's turn.
    pub wants_flush: bool,
}

/// An element of an array that a hypercall works through.
pub trait Element: Copy + FromBytes + IntoBytes + Immutable + std::fmt::Debug {
    /// It makes a window, of which the account knows nothing until it is complete.
    const WINDOWS: bool = false;

    /// Marks it as not worked on.
    fn mark(&mut self);

    /// It was worked on.
    fn worked_on(&self) -> bool;

    /// Checks the answer `after` to the question `before` and enters it.
    fn judge(step: &mut Step<'_>, before: &Self, after: &Self);
}

/// An element is marked by its status.
macro_rules! marked_by_status {
    () => {
        fn mark(&mut self) {
            self.status = i32::from(NOT_WORKED_ON);
        }

        fn worked_on(&self) -> bool {
            self.status != i32::from(NOT_WORKED_ON)
        }
    };
}
pub(super) use marked_by_status;

impl Step<'_> {
    pub(super) fn rules(&self) -> Rules<'_> {
        Rules {
            machine: self.machine,
            reference: self.reference,
            caller: self.caller,
        }
    }

    /// Enters everything the IOMMU was told up to the next map call.
    pub fn apply_until_map(&mut self) {
        while let Some(&event) = self.events.front() {
            if matches!(event, Event::Map { .. }) {
                return;
            }
            self.events.pop_front();
            self.reference.apply(event);
        }
    }

    /// The next element is about this context. What an earlier one of the call wants to
    /// have flushed is flushed first, so the frames that waited for it count no more.
    fn enter(&mut self, context: u32) {
        let exists = context == 0
            || self
                .reference
                .contexts
                .contains_key(&(self.caller, context));
        if !exists {
            return;
        }
        let Some(left) = self
            .at_work
            .replace(context)
            .filter(|&left| left != context)
        else {
            return;
        };
        if !std::mem::take(&mut self.wants_flush) {
            return;
        }
        while let Some(&event) = self.events.front() {
            if matches!(event, Event::Map { .. }) {
                return;
            }
            self.apply_next(|_| true);
            if matches!(event, Event::Flush { context, .. } if context == left) {
                return;
            }
        }
    }

    /// Follows the map calls of one element: where it began, and how many frames
    /// were mapped before one call failed.
    fn follow_maps(&mut self, frames: u32) -> Option<(u64, u32, bool)> {
        self.apply_until_map();
        let (mut first, mut done) = (None, 0);
        while done < frames {
            let Some(&event @ Event::Map { dfn, count, ok, .. }) = self.events.front() else {
                break;
            };
            self.events.pop_front();
            first.get_or_insert(dfn);
            if !ok {
                return first.map(|first| (first, done, false));
            }
            let taken = count.min(frames - done);
            self.leave_to_next(event, taken);
            done += taken;
        }
        first.map(|first| (first, done, true))
    }

    /// What the IOMMU was told of at once may be of several elements: what is behind the
    /// first `taken` frames is of the next.
    fn leave_to_next(&mut self, event: Event, taken: u32) {
        if let Event::Map {
            domain,
            context,
            dfn,
            mfn,
            count,
            ok,
        } = event
            && count > taken
        {
            self.events.push_front(Event::Map {
                domain,
                context,
                dfn: dfn + u64::from(taken),
                mfn: mfn + u64::from(taken),
                count: count - taken,
                ok,
            });
        }
    }

    /// Passes over what the IOMMU was told of these frames of an identity context: what
    /// its tables must be in the end is checked after the step. If it was told nothing,
    /// because devices reach them anyway, a flush that is to come is of a later element or
    /// of the end of the call.
    fn follow_identity(&mut self, pages: &[Page]) {
        let caller = self.caller;
        let own = |event: &Event| match *event {
            Event::Map {
                domain,
                context: 0,
                mfn,
                ok: true,
                ..
            } => domain == caller && pages.iter().any(|page| page.mfn == mfn),
            _ => false,
        };
        let mut maps = self.events.iter();
        let next = maps.find(|event| matches!(event, Event::Map { .. }));
        if !next.is_some_and(own) {
            return;
        }
        self.apply_until_map();
        while self.events.front().is_some_and(own) {
            self.events.pop_front();
        }
    }

    /// The IOMMU refused; what was done has been taken back, and waits for a flush.
    fn identity_refused(&mut self, space: Space, mut pages: Vec<Page>) {
        let refused = self.events.iter().any(Event::refused);
        assert!(refused, "-EIO although the IOMMU did not refuse");
        for page in &mut pages {
            page.mapped = false;
        }
        let place = self.reference.place_for(space, 0);
        self.reference.add_pages(space, place, &pages);
        self.apply_all();
    }

    pub(super) fn check_place(&self, op: &Map, daddr: u64) {
        let offset = if op.kind == XEN_GDMA_MAP_GRANT_DMA {
            op.source % 4096
        } else {
            0
        };
        assert_eq!(daddr % 4096, offset, "device address {daddr:#x}");
        let space = (self.caller, op.context);
        let (first, last) = self
            .reference
            .range_of(space)
            .ok()
            .flatten()
            .expect("a range");
        let dfn = daddr / 4096;
        assert!(
            dfn >= first && dfn + u64::from(op.nr_frames) - 1 <= last,
            "dfn {dfn:#x} outside {first:#x}..={last:#x}"
        );
        if op.flags & XEN_GDMA_MAP_FIXED != 0 {
            assert_eq!(daddr, op.daddr + offset, "FIXED address");
        }
    }

    /// The IOMMU may have a mapping of an identity context or not: its end was refused.
    fn note_unsure(&mut self, space: Space, handle: u64) {
        let mapping = self.reference.mappings.get(&(space, handle)).copied();
        if let Some(mapping) = mapping.filter(|_| self.reference.is_identity(space)) {
            let places = (space, mapping.dfn)..(space, mapping.dfn + u64::from(mapping.count));
            for (_, page) in self.reference.pages.range_mut(places) {
                page.stuck = true;
            }
        }
    }

    /// The answer to a look-up is a mapping without a name, or one that such mappings of the
    /// same frame have moved to a later place.
    fn is_beside_nameless(&self, before: &Lookup, after: &Lookup) -> bool {
        let space = (self.caller, before.context);
        let named_at = |index| {
            let answer = self.rules().lookup(&Lookup { index, ..*before });
            answer.is_ok_and(|answer| {
                let index = before.index;
                Lookup { index, ..answer } == *after
            })
        };
        let nameless = self.reference.nameless.iter();
        let nameless = nameless.filter(|(other, _, _)| *other == space).count() as u32;
        self.reference.is_nameless(space, after.daddr / 4096)
            || (before.index.saturating_sub(nameless)..before.index).any(named_at)
    }

    fn map_failed_in_iommu(&mut self, space: Space, mut pages: Vec<Page>) {
        let (dfn, done, ok) = self
            .follow_maps(pages.len() as u32)
            .expect("-EIO without an IOMMU call");
        assert!(!ok, "-EIO although the IOMMU did not refuse");
        let stuck = matches!(
            self.events.front(),
            Some(Event::Unmap { dfn: first, ok: false, .. }) if *first == dfn
        );
        for (nth, page) in pages.iter_mut().enumerate() {
            page.mapped = (nth as u32) < done;
            page.reached = page.mapped;
            page.stuck = stuck;
        }
        if stuck {
            let nameless = (space, dfn, pages.len() as u32);
            self.reference.nameless.push(nameless);
        }
        self.reference.add_pages(space, dfn, &pages);
        self.follow_way_back(stuck);
    }

    /// What a map that failed had done is undone before the next element's turn: if a part
    /// was mapped, that is unmapped, and if that worked, or nothing was, a flush follows.
    /// Any flush behind that one is made at the end of the call.
    fn follow_way_back(&mut self, stuck: bool) {
        self.apply_next(|event| matches!(event, Event::Unmap { .. }));
        if !stuck {
            self.apply_next(|event| matches!(event, Event::Flush { .. }));
        }
    }

    /// Enters the next thing that the IOMMU was told, if it is as wanted.
    fn apply_next(&mut self, wanted: impl Fn(&Event) -> bool) -> bool {
        let Some(&event) = self.events.front().filter(|event| wanted(event)) else {
            return false;
        };
        self.events.pop_front();
        self.reference.apply(event);
        true
    }
}

fn same_but_status<T: IntoBytes + Immutable>(before: &T, after: &T) -> bool {
    before.as_bytes() == after.as_bytes()
}

impl Element for Map {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let unchanged = Self {
            status: after.status,
            ..*before
        };
        if after.status != 0 {
            assert!(same_but_status(&unchanged, after), "{before:?} {after:?}");
        }
        if Rules::fields_fit(before, MAX_FRAMES) {
            step.enter(before.context);
        }
        match step.rules().map(before) {
            Ok(pages) if step.reference.is_identity((step.caller, before.context)) => {
                let space = (step.caller, before.context);
                let no_room = after.status == Errno::NoSpc.wire();
                if no_room && step.rules().may_lack_room(before) {
                    return;
                }
                if after.status != 0 {
                    assert_eq!(after.status, Errno::Io.wire(), "{before:?}");
                    step.identity_refused(space, pages);
                    return;
                }
                step.follow_identity(&pages);
                step.check_place(before, after.daddr);
                assert_eq!(after.daddr / 4096, pages[0].mfn, "a machine address");
                step.reference.add_mapping(space, after.handle, 0, &pages);
            }
            Ok(pages) if after.status == 0 => {
                let (dfn, done, ok) = step
                    .follow_maps(after.nr_frames)
                    .expect("success without an IOMMU call");
                assert_eq!((dfn, done, ok), (after.daddr / 4096, after.nr_frames, true));
                step.check_place(before, after.daddr);
                let space = (step.caller, before.context);
                step.reference.add_mapping(space, after.handle, dfn, &pages);
            }
            Ok(pages) => {
                assert_eq!(after.status, Errno::Io.wire(), "{before:?}");
                step.map_failed_in_iommu((step.caller, before.context), pages);
            }
            Err(fits) => assert!(
                fits.iter().any(|error| error.wire() == after.status),
                "{before:?}: status {} instead of {fits:?}",
                after.status
            ),
        }
        step.wants_flush |= after.status == 0 && before.flags & XEN_GDMA_NO_FLUSH == 0;
    }
}

impl Element for Unmap {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let unchanged = Self {
            status: after.status,
            ..*before
        };
        assert!(same_but_status(&unchanged, after), "{before:?} {after:?}");
        if after.status == 0 {
            step.enter(before.context);
            step.wants_flush |= before.flags & XEN_GDMA_NO_FLUSH == 0;
        }
        match step.rules().unmap(before) {
            Ok(handle) if after.status == 0 => {
                let space = (step.caller, before.context);
                let ended = step.reference.mappings.remove(&(space, handle));
                if let Some(mapping) = ended.filter(|_| step.reference.is_identity(space)) {
                    step.reference.end_pages(space, mapping.dfn, mapping.count);
                }
            }
            Ok(handle) => {
                step.note_unsure((step.caller, before.context), handle);
                assert_eq!(after.status, Errno::Io.wire(), "{before:?}");
                let refused = |event: &Event| matches!(event, Event::Unmap { ok: false, .. });
                assert!(
                    step.events.iter().any(refused),
                    "-EIO although the IOMMU did not refuse"
                );
            }
            Err(error) => assert_eq!(after.status, error.wire(), "{before:?}"),
        }
    }
}

impl Element for Lookup {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        match step.rules().lookup(before) {
            _ if after.status == 0 && step.is_beside_nameless(before, after) => {}
            Ok(answer) => assert_eq!(answer, *after, "{before:?}"),
            Err(error) => assert_eq!(after.status, error.wire(), "{before:?}"),
        }
    }
}

impl Element for Query {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let caller = step.caller;
        if before.pad0 != 0 {
            assert_eq!(after.status, Errno::Inval.wire());
        } else if before.domid != caller && before.domid != 0x7ff0 {
            assert_eq!(after.status, Errno::Srch.wire());
        } else {
            assert_eq!(after.status, 0);
            assert_eq!(after.used_pins, step.reference.pinned(caller), "used_pins");
            let nameless = step.reference.nameless.iter();
            let mappings = step.reference.mappings_of(caller).count()
                + nameless
                    .filter(|((domain, _), _, _)| *domain == caller)
                    .count();
            assert_eq!(after.mappings as usize, mappings, "mappings");
            let mappable = step.reference.ranges.contains_key(&caller);
            let capability = after.capabilities & XEN_GDMA_CAP_DEFAULT_CONTEXT != 0;
            assert_eq!(capability, mappable);
        }
    }
}
