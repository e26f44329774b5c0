// SPDX-License-Identifier: GPL-2.0-only
//! The IOTLB flush, and what may happen only after it.

use core::sync::atomic::Ordering;

use super::{context::DmaPin, space::Space};
use crate::{
    grant::{Pin, pin::transitive},
    host::{Domain, Host},
    state::DomainState,
    sync::SpinLock,
};

/// The flush failed: the frames that wait for it stay pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushFailed;

/// Flushes once for everything that waits in `space`, then gives the frames back; those
/// of windows are left to whoever ends the window.
///
/// Takes the context's lock and, never at the same time, granters' table locks.
/// Bounded by the number of frames waiting, which callers keep small.
pub fn flush<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
) -> Result<(), FlushFailed> {
    let Some((mut chain, range, flags)) = space.context.lock().take_pending() else {
        return Ok(());
    };
    let flushed = host.iommu_flush(space.tables(holder), range, flags);
    let mut context = space.context.lock();
    context.flush_ended();
    let Ok(proof) = flushed else {
        log::error!(
            "{}: IOTLB flush failed: {} frames stay pinned until one succeeds",
            holder.id(),
            chain.count
        );
        context.return_pending(chain);
        drop(context);
        let failed = &state.dma.counters.failed_flushes;
        failed.fetch_add(1, Ordering::Relaxed);
        return Err(FlushFailed);
    };
    let windows = context.windows_flushed(chain.number, &proof);
    drop(context);
    if chain.count != 0 || windows {
        state.dma.counters.flushes.fetch_add(1, Ordering::Relaxed);
    }
    let quota = &state.dma.pins;
    loop {
        let pin = space.context.lock().take_flushed(quota, &mut chain, &proof);
        match pin {
            Some(pin) => release(host, holder, pin),
            None => return Ok(()),
        }
    }
}

/// Gives one frame back that no device of `holder` can reach.
pub(super) fn release<H: Host>(host: &H, holder: &H::Domain, pin: DmaPin<H::Frame>) {
    match pin {
        DmaPin::Own { frame, .. } => drop(frame),
        DmaPin::Grant(pin) => release_grant(host, holder, pin),
    }
}

/// The same, of a grant.
pub(super) fn release_grant<H: Host>(host: &H, holder: &H::Domain, pin: Pin<H::Frame>) {
    if pin.is_transitive() {
        return transitive::release(host, holder, pin);
    }
    match host.domain(pin.granter()) {
        Some(granter) => pin.release(host, &granter),
        // The page reference keeps its owner in existence.
        None => log::error!("granter {} vanished while pinned", pin.granter()),
    }
}
