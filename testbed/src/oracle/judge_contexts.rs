// SPDX-License-Identifier: GPL-2.0-only
//! The same for contexts, devices, deferred flushes, revocation and limits.

use hv::host::IommuMode;
use hypercall_abi::{
    Errno,
    context::{ContextCreate, ContextDestroy, DeviceAttach, XEN_GDMA_CONTEXT_MIRROR},
    control::{Revoke, SetLimits, Stats, XEN_GDMA_LIMIT_KEEP},
    device::XEN_GDMA_DEVICE_PCI,
    mapping::Flush,
};

use super::{
    judge::{Element, NOT_WORKED_ON, Step, marked_by_status},
    reference::{Made, Source, Space},
};
use crate::model::{Event, Machine};

const SELF: u16 = 0x7ff0;
/// How many contexts one that is a copy counts for.
pub(super) const MIRROR_WEIGHT: u32 = 8;
/// Numbers that created contexts can have.
const MOST_CONTEXTS: u32 = 65535;

/// The answer is the question with another status.
macro_rules! assert_unchanged {
    ($before:expr, $after:expr) => {
        assert_eq!(
            Self {
                status: $after.status,
                ..*$before
            },
            *$after,
            "an error, or nothing to tell, and more than the status changed"
        )
    };
}

fn iommu_refused(step: &Step<'_>) -> bool {
    step.events.iter().any(|event| {
        matches!(
            event,
            Event::Unmap { ok: false, .. } | Event::Flush { ok: false, .. }
        )
    })
}

impl Step<'_> {
    fn can_create(&self) -> bool {
        let setup = self.rules().setup_of(self.caller);
        setup.is_some_and(|setup| setup.iommu != IommuMode::Absent)
            && !self.machine.state().switches.no_pci
    }

    /// Device frames that a new context may have, before the limit of pins.
    fn context_frames(&self, op: &ContextCreate) -> Option<(u64, u64)> {
        let setup = self.rules().setup_of(self.caller)?;
        let (first, count) = if op.flags == XEN_GDMA_CONTEXT_MIRROR {
            setup.mirror_range?
        } else {
            setup.context_range?
        };
        let last = match op.max_daddr {
            0 | u64::MAX => u64::MAX >> 12,
            highest => ((highest + 1) / 4096).checked_sub(1)?,
        };
        (last >= first).then(|| (first, last.min(first + count - 1)))
    }

    fn predict_create(&self, op: &ContextCreate) -> Result<(u64, u64), Errno> {
        let pages = op.max_daddr.saturating_add(1) / 4096;
        if op.flags & !XEN_GDMA_CONTEXT_MIRROR != 0
            || op.pad0 != 0
            || (op.max_daddr != 0 && pages == 0)
        {
            return Err(Errno::Inval);
        }
        if !self.can_create() {
            return Err(Errno::OpNotSupp);
        }
        if self.may_not_use_contexts() {
            return Err(Errno::Perm);
        }
        let pins = self.rules().limit_of_pins(self.caller);
        let mut made = self.reference.contexts_counted(self.caller);
        if op.flags == 0 {
            // One that makes a copy takes an unfinished one back first.
            made += self.copies_left(self.caller);
        }
        let more = if op.flags == 0 { 1 } else { MIRROR_WEIGHT };
        if pins == 0 || made + more > self.rules().limit_of_contexts(self.caller) {
            return Err(Errno::NoBufs);
        }
        self.context_frames(op).ok_or(Errno::Inval)
    }

    /// Mappings of a reference in identity contexts have ended: of these the events do not
    /// tell, if something else needs the frame there.
    fn end_identity(&mut self, source: Source) {
        let of_source = self.reference.pages.iter();
        let ended: Vec<_> = of_source
            .filter(|(_, page)| page.source == source)
            .filter(|&(&(space, _), _)| self.reference.is_identity(space))
            .filter_map(|(&(space, place), _)| {
                let (_, mapping) = self.reference.mapping_at(space, place)?;
                Some((space, mapping.dfn, mapping.count))
            })
            .collect();
        for (space, first, count) in ended {
            self.reference.end_pages(space, first, count);
        }
    }

    /// What copies that failed and could not be taken back count for: their contexts have
    /// no number that anybody was told.
    fn copies_left(&self, owner: u16) -> u32 {
        let state = self.machine.state();
        let mut contexts = state.iommus.range((owner, 1)..=(owner, u32::MAX));
        let unknown = |number| !self.reference.contexts.contains_key(&(owner, number));
        match contexts.find(|(_, iommu)| iommu.copy.is_some() && unknown(iommu.number)) {
            Some(_) => MIRROR_WEIGHT,
            None => 0,
        }
    }

    fn may_not_use_contexts(&self) -> bool {
        let state = self.machine.state();
        state.access.contexts.contains(&self.caller)
    }

    /// Mappings of the context that have ended as far as the IOMMU is concerned.
    fn forget_ended(&mut self, space: Space) {
        let ended = |dfn: u64, count: u32| {
            let mut pages = self
                .reference
                .pages
                .range((space, dfn)..(space, dfn + u64::from(count)));
            pages.all(|(_, page)| !page.mapped)
        };
        let handles: Vec<u64> = self
            .reference
            .mappings_in(space)
            .filter(|(_, mapping)| !mapping.ending && ended(mapping.dfn, mapping.count))
            .map(|(handle, _)| handle)
            .collect();
        let nameless: Vec<_> = self.reference.nameless.clone();
        self.reference.nameless = nameless
            .into_iter()
            .filter(|&(other, dfn, count)| other != space || !ended(dfn, count))
            .collect();
        for handle in handles {
            self.reference.mappings.remove(&(space, handle));
        }
    }

    /// Everything the IOMMU was told so far.
    pub(super) fn apply_all(&mut self) {
        while let Some(event) = self.events.pop_front() {
            self.reference.apply(event);
        }
    }
}

impl Element for ContextCreate {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        match step.predict_create(before) {
            Ok((first, last)) if after.status == 0 => {
                let range = (after.daddr_first / 4096, after.daddr_last / 4096);
                assert_eq!(after.daddr_first % 4096, 0, "{after:x?}");
                assert_eq!(after.daddr_last % 4096, 4095, "{after:x?}");
                assert!(range.0 >= first && range.1 <= last, "{after:x?}");
                let frames = range.1 - range.0 + 1;
                let pins = u64::from(step.rules().limit_of_pins(step.caller));
                let room = last - first + 1;
                assert!(frames >= pins.min(room), "room for all pins: {after:x?}");
                let space = (step.caller, after.context);
                assert!(after.context != 0 && after.context <= MOST_CONTEXTS);
                let made = Made {
                    range,
                    closed: false,
                    mirror: before.flags != 0,
                };
                let old = step.reference.contexts.insert(space, made);
                assert_eq!(old, None, "number {} is taken", after.context);
                let state = step.machine.state();
                let copy = state
                    .tables_of(space.0, space.1)
                    .and_then(|tables| tables.copy);
                let whole = copy.is_some_and(|copy| copy.whole && copy.end == range.0);
                assert_eq!(whole, before.flags != 0, "the whole of its owner's memory");
            }
            Ok(_) => {
                assert!(step.may_fail, "{before:?}: {}", after.status);
                let fits = [Errno::NoSpc, Errno::NoMem, Errno::Io].map(Errno::wire);
                assert!(fits.contains(&after.status), "{after:?}");
            }
            Err(error) => assert_eq!(after.status, error.wire(), "{before:?}"),
        }
        if after.status != 0 {
            assert_unchanged!(before, after);
        }
    }
}

impl Element for ContextDestroy {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        assert_unchanged!(before, after);
        let space = (step.caller, before.context);
        let known = step.reference.contexts.contains_key(&space);
        let has_devices = step.machine.state().pci.iter().any(|(sbdf, device)| {
            device.owner == step.caller
                && step.reference.attached.get(sbdf) == Some(&before.context)
        });
        let predicted = match (before.context, known, has_devices) {
            (0, _, _) => Err(Errno::Inval),
            _ if step.may_not_use_contexts() => Err(Errno::Perm),
            (_, false, _) => Err(Errno::NoEnt),
            (_, _, true) => Err(Errno::Busy),
            _ => Ok(()),
        };
        match predicted {
            Err(error) => assert_eq!(after.status, error.wire(), "{before:?}"),
            Ok(()) if after.status == 0 => {
                step.apply_all();
                let left = step.reference.pages_in(space).count();
                assert_eq!(left, 0, "frames of a context that is gone");
                step.reference.forget_context(space);
            }
            Ok(()) => {
                assert_eq!(after.status, Errno::Io.wire(), "{before:?}");
                assert!(
                    iommu_refused(step) || step.may_fail,
                    "-EIO although the IOMMU did not refuse"
                );
                step.apply_all();
                if let Some(made) = step.reference.contexts.get_mut(&space) {
                    made.closed = true;
                }
                step.forget_ended(space);
            }
        }
    }
}

/// The devices that cannot be told from one, itself included.
fn alike(machine: &Machine, sbdf: u32) -> Vec<(u32, u16)> {
    let state = machine.state();
    let Some(group) = state.pci.get(&sbdf).map(|device| device.group) else {
        return Vec::new();
    };
    let same = state.pci.iter().filter(|(_, other)| other.group == group);
    same.map(|(&other, device)| (other, device.owner)).collect()
}

impl Step<'_> {
    fn predict_attach(&self, op: &DeviceAttach) -> Result<u32, Errno> {
        let sbdf = u32::try_from(op.id);
        if op.pad0 != 0 || op.kind != XEN_GDMA_DEVICE_PCI || sbdf.is_err() {
            return Err(Errno::Inval);
        }
        let sbdf = sbdf.unwrap_or_default();
        let pair = (self.caller, sbdf);
        if self.machine.state().access.devices.contains(&pair) {
            return Err(Errno::Perm);
        }
        let space = (self.caller, op.context);
        let made = self.reference.contexts.get(&space);
        if op.context != 0 && made.is_none_or(|made| made.closed) {
            return Err(Errno::NoEnt);
        }
        let device = {
            let state = self.machine.state();
            if state.switches.no_pci {
                return Err(Errno::OpNotSupp);
            }
            state.pci.get(&sbdf).copied()
        };
        let device = device.filter(|device| device.owner == self.caller);
        let device = device.ok_or(Errno::NoDev)?;
        if !device.behind_iommu {
            return Err(Errno::OpNotSupp);
        }
        let others = alike(self.machine, sbdf);
        if others.iter().any(|&(_, owner)| owner != self.caller) {
            return Err(Errno::Busy);
        }
        Ok(sbdf)
    }
}

impl Element for DeviceAttach {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        assert_unchanged!(before, after);
        match step.predict_attach(before) {
            Ok(sbdf) if after.status == 0 => {
                for (other, _) in alike(step.machine, sbdf) {
                    step.reference.attached.insert(other, before.context);
                }
            }
            Ok(_) => {
                assert!(step.may_fail, "{before:?}: {}", after.status);
                assert_eq!(after.status, Errno::Io.wire());
            }
            // Of a context that is being destroyed and a device that cannot be moved,
            // either may be found first.
            Err(Errno::NoEnt)
                if step
                    .reference
                    .contexts
                    .contains_key(&(step.caller, before.context)) =>
            {
                assert!(after.status < 0, "{before:?}");
            }
            Err(error) => assert_eq!(after.status, error.wire(), "{before:?}"),
        }
    }
}

impl Element for Flush {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        assert_unchanged!(before, after);
        let space = (step.caller, before.context);
        if before.context != 0 && !step.reference.contexts.contains_key(&space) {
            assert_eq!(after.status, Errno::NoEnt.wire());
            return;
        }
        if after.status == 0 {
            step.apply_all();
            let mut pages = step.reference.pages_in(space);
            assert!(
                pages.all(|(_, page)| page.mapped || page.stuck),
                "frames still wait for a flush"
            );
        } else {
            assert_eq!(after.status, Errno::Io.wire());
            assert!(
                iommu_refused(step),
                "-EIO although the IOMMU did not refuse"
            );
        }
    }
}

impl Element for Revoke {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        assert_unchanged!(before, after);
        if before.gref >= step.machine.table_entries(step.caller) {
            assert_eq!(after.status, Errno::Range.wire(), "{before:?}");
            return;
        }
        let source = Source::Grant(step.caller, before.gref);
        let origin = Some((step.caller, before.gref));
        let spaces = |step: &Step<'_>| -> Vec<Space> {
            let pages = step.reference.pages.iter();
            let mut spaces: Vec<_> = pages
                .filter(|(_, page)| page.source == source || page.origin == origin)
                .map(|(&(space, _), _)| space)
                .collect();
            spaces.dedup();
            spaces
        };
        // A window may have ended in an earlier step of the call.
        let windows = step.reference.mappings.iter();
        let windows = windows.filter(|(_, mapping)| mapping.window);
        let mut touched: Vec<Space> = windows.map(|(&(space, _), _)| space).collect();
        touched.extend(spaces(step));
        if after.status != 0 {
            assert_eq!(after.status, Errno::Io.wire(), "{before:?}");
            let stuck = step.reference.pages.values().any(|page| page.stuck);
            assert!(
                iommu_refused(step) || stuck,
                "-EIO although the IOMMU did not refuse"
            );
        }
        step.end_identity(source);
        step.apply_all();
        for space in touched {
            step.forget_ended(space);
        }
        if after.status == 0 {
            assert_eq!(spaces(step), [], "devices still reach what was revoked");
        }
    }
}

impl Element for SetLimits {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let target = if before.domid == SELF {
            step.caller
        } else {
            before.domid
        };
        let too_many =
            before.max_contexts != XEN_GDMA_LIMIT_KEEP && before.max_contexts > MOST_CONTEXTS;
        let pair = (step.caller, target);
        let refused = step.machine.state().access.limits.contains(&pair);
        let setup = step.rules().setup_of(target);
        let predicted = match setup {
            _ if before.pad0 != 0 || too_many => Err(Errno::Inval),
            None => Err(Errno::Srch),
            Some(_) if refused => Err(Errno::Perm),
            Some(setup) if !setup.has_state => Err(Errno::Srch),
            Some(_) => Ok(()),
        };
        if let Err(error) = predicted {
            assert_eq!(after.status, error.wire(), "{before:?}");
            assert_unchanged!(before, after);
            return;
        }
        let rules = step.rules();
        let old = (rules.limit_of_pins(target), rules.limit_of_contexts(target));
        assert_eq!((after.max_pins, after.max_contexts), old, "old limits");
        let limits = step.reference.limits.entry(target).or_default();
        let keep = |wanted: u32| (wanted != XEN_GDMA_LIMIT_KEEP).then_some(wanted);
        limits.pins = keep(before.max_pins).or(limits.pins);
        limits.contexts = keep(before.max_contexts).or(limits.contexts);
    }
}

impl Element for Stats {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let target = if before.domid == SELF {
            step.caller
        } else {
            before.domid
        };
        if after.status != 0 {
            assert_unchanged!(before, after);
            return;
        }
        let contexts = step.reference.contexts_counted(target) + step.copies_left(target);
        assert_eq!(after.used_pins, step.reference.pinned(target));
        assert_eq!(after.used_contexts, contexts);
        assert!(after.unmaps <= after.maps && after.unmapped_frames <= after.mapped_frames);
    }
}
