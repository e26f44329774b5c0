// SPDX-License-Identifier: GPL-2.0-only
//! The same for windows.

use hypercall_abi::{
    Errno,
    window::{WindowCreate, WindowDestroy},
};

use super::{
    judge::{Element, NOT_WORKED_ON, Step, marked_by_status},
    predict::window_as_map,
};
use crate::model::Event;

/// The IOMMU has refused something since the call began.
fn refused(step: &mut Step<'_>) -> bool {
    let before = std::mem::take(&mut step.reference.refused);
    before || step.events.iter().any(Event::refused)
}

impl Element for WindowCreate {
    const WINDOWS: bool = true;

    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let predicted = step.rules().window(before);
        let refused = refused(step);
        // What was begun and given up has left nothing behind before this is entered.
        step.apply_all();
        match predicted {
            Ok(pages) if after.status == 0 => {
                step.check_place(&window_as_map(before), after.daddr);
                let space = (step.caller, before.context);
                let dfn = after.daddr / 4096;
                step.reference.add_mapping(space, after.handle, dfn, &pages);
                if let Some(mapping) = step.reference.mappings.get_mut(&(space, after.handle)) {
                    mapping.window = true;
                }
                return;
            }
            Ok(_) => {
                let way = [Errno::NoSpc.wire(), Errno::Exist.wire()];
                let in_the_way = before.context == 0 && way.contains(&after.status);
                let io = after.status == Errno::Io.wire() && refused;
                assert!(io || in_the_way, "{before:?}: {}", after.status);
            }
            Err(fits) => assert!(
                fits.iter().any(|error| error.wire() == after.status),
                "{before:?}: status {} instead of {fits:?}",
                after.status
            ),
        }
        let unchanged = Self {
            status: after.status,
            ..*before
        };
        assert_eq!(unchanged, *after, "an error, and more than the status");
    }
}

impl Element for WindowDestroy {
    marked_by_status!();

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let space = (step.caller, before.context);
        let key = (space, before.handle);
        let known = step.reference.mappings.get(&key).copied();
        let Some(window) = known.filter(|mapping| mapping.window) else {
            assert_eq!(after.status, Errno::NoEnt.wire(), "{before:?}");
            return;
        };
        let refused = refused(step);
        step.apply_all();
        if after.status == 0 {
            let end = window.dfn + u64::from(window.count);
            let inside = (space, window.dfn)..(space, end);
            step.reference.pages.retain(|place, page| {
                // Those of an end that failed wait for this one, flushed or not.
                !(inside.contains(place) && page.stuck && !page.mapped)
            });
            let mut pages = step.reference.pages.range(inside);
            assert_eq!(pages.next(), None, "frames of a window that is gone");
            step.reference.mappings.remove(&key);
        } else {
            assert_eq!(after.status, Errno::Io.wire(), "{before:?}");
            assert!(refused, "-EIO although the IOMMU did not refuse");
            if let Some(mapping) = step.reference.mappings.get_mut(&key) {
                mapping.ending = true;
            }
            let end = window.dfn + u64::from(window.count);
            let inside = (space, window.dfn)..(space, end);
            for (_, page) in step.reference.pages.range_mut(inside) {
                page.stuck = true;
            }
        }
    }
}
