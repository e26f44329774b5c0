// SPDX-License-Identifier: GPL-2.0-only
//! What a person sees who asks at Xen's console.

use core::{fmt::Arguments, sync::atomic::Ordering};

use super::{Dma, space::Space};
use crate::{
    host::{Domain, Host},
    sync::SpinLock,
};

impl<H: Host> Dma<H> {
    /// Passes a description to `line`: what the domain uses of its quotas, then each of
    /// its contexts.
    ///
    /// Takes the lock of the holder's contexts for reading, and contexts' locks, one
    /// after the other; holds none while `line` runs.
    pub fn show(&self, host: &H, holder: &H::Domain, mut line: impl FnMut(Arguments<'_>)) {
        let counters = &self.counters;
        line(format_args!(
            "{}: {} of {} frames pinned, {} mappings, {} of {} contexts",
            holder.id(),
            self.pins.used(),
            self.pins.limit(),
            self.live(),
            self.contexts.used(),
            self.contexts.limit(),
        ));
        line(format_args!(
            "{}: {} flushes, {} failed; {} faults; {} mappings revoked",
            holder.id(),
            counters.flushes.load(Ordering::Relaxed),
            counters.failed_flushes.load(Ordering::Relaxed),
            counters.faults.load(Ordering::Relaxed),
            counters.revoked.load(Ordering::Relaxed),
        ));
        self.for_each_space(host, |space| show_space(holder, space, &mut line));
    }
}

/// One line for a context in use.
fn show_space<H: Host>(holder: &H::Domain, space: &Space<H>, line: &mut impl FnMut(Arguments<'_>)) {
    let (identity, range, pinned, pending, stuck) = {
        let context = space.context.lock();
        let Some(range) = context.range() else {
            return;
        };
        let identity = context.is_identity();
        let (pinned, pending) = (context.pinned(), context.pending());
        (identity, range, pinned, pending, context.stuck())
    };
    if identity {
        line(format_args!(
            "{}: context {}: machine addresses: {pinned} frames pinned, {pending} of them until \
             a flush, {stuck} for ever",
            holder.id(),
            space.number(),
        ));
        return;
    }
    line(format_args!(
        "{}: context {}: dfn {:#x} to {:#x}: {pinned} frames pinned, {pending} of them until a \
         flush, {stuck} for ever",
        holder.id(),
        space.number(),
        range.first.number(),
        range.first.number() + (range.count - 1),
    ));
}
