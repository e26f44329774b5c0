// SPDX-License-Identifier: GPL-2.0-only
//! A table in words, for the debug key `g` and `dump_table`.

use core::{fmt::Arguments, ops::ControlFlow};

use super::{GrantTable, table::FrameKind};
use crate::host::{Domain, Host};

impl<H: Host> GrantTable<H> {
    /// Passes a description of the table to `line`, in the layout of Xen's debug
    /// key `g`, which people and scripts know: at most `most` references.
    ///
    /// Takes the table's lock for reading. Looks at every entry once.
    pub fn show(&self, owner: &H::Domain, most: usize, mut line: impl FnMut(Arguments<'_>)) {
        line(format_args!(
            "      -------- active --------       -------- shared --------"
        ));
        line(format_args!(
            "[ref] localdom mfn      pin          localdom gmfn     flags"
        ));
        line(format_args!(
            "grant-table for remote {} (v{})",
            owner.id(),
            self.version().number()
        ));
        line(format_args!(
            "  {} frames ({} max), {} maptrack frames ({} max)",
            self.frame_count(),
            self.max_frames(FrameKind::Shared),
            self.maptrack_frames(),
            self.limits().max_maptrack_frames
        ));
        let mut shown = 0;
        self.for_each_active(owner, |gref, shared, active| {
            if shown == most {
                line(format_args!("and more"));
                return ControlFlow::Break(());
            }
            shown += 1;
            line(format_args!(
                "[{:#05x}]  {:5} {:#08x} {:#010x}      {:5} {:#08x} {:#04x}",
                gref.0,
                active.holder.0,
                active.mfn.number(),
                active.pins.raw(),
                shared.head().domid,
                shared.frame().number(),
                shared.status()
            ));
            ControlFlow::Continue(())
        });
        if shown == 0 {
            line(format_args!("no active grant table entries"));
        }
    }
}
