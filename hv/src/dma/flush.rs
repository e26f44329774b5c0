// SPDX-License-Identifier: GPL-2.0-only
//! The IOTLB flush, and what may happen only after it.

use core::sync::atomic::Ordering;

use super::{
    PINS_AT_A_TIME,
    context::{Chain, DmaPin},
    space::Space,
};
use crate::{
    addr::DomId,
    grant::{OpenTable, Pin, peer::Peer, pin::transitive},
    host::{Domain, Flushed, Frame, Host},
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
    let Some((chain, range, flags)) = space.context.lock().take_pending() else {
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
    if chain.count != 0 {
        release_chain(host, holder, state, space, chain, &proof);
    }
    Ok(())
}

/// Gives back the frames of a flush that has succeeded.
#[inline(never)]
fn release_chain<H: Host>(
    host: &H,
    holder: &H::Domain,
    state: &DomainState<H>,
    space: &Space<H>,
    mut chain: Chain,
    proof: &Flushed,
) {
    let quota = &state.dma.pins;
    if chain.count == 1 {
        let [pin] = space.context.lock().take_flushed(&mut chain, proof);
        if let Some(pin) = pin {
            quota.give_back(1);
            release(host, holder, pin);
        }
        return;
    }
    let mut granters = Peer::new();
    while chain.count != 0 {
        let waiting = chain.count;
        let mut context = space.context.lock();
        let mut pins = context.take_flushed::<PINS_AT_A_TIME>(&mut chain, proof);
        drop(context);
        if chain.count == waiting {
            return;
        }
        quota.give_back(waiting - chain.count);
        release_some(host, holder, &mut granters, &mut pins);
    }
}

/// Gives back what is in `pins`: for each run of grants of one domain, its table is opened
/// once. `granters` has found the granter of the last one.
fn release_some<H: Host>(
    host: &H,
    holder: &H::Domain,
    granters: &mut Peer<H>,
    mut pins: &mut [Option<DmaPin<H::Frame>>],
) {
    while let Some(first) = pins.first_mut() {
        let mut done = 1;
        match first.as_ref().and_then(direct_granter) {
            Some(id) => match granters.find(host, holder, id) {
                Some(granter) => done = release_run(host, &OpenTable::of(granter), id, pins),
                None => {
                    vanished(id);
                    *first = None;
                }
            },
            None => {
                let pin = first.take();
                pin.into_iter().for_each(|pin| release(host, holder, pin));
            }
        }
        pins = pins.get_mut(done..).unwrap_or_default();
    }
}

/// Gives back the grants of domain `id`, whose table is open, with which `pins` begins. Says
/// how many.
#[inline(always)]
fn release_run<H: Host>(
    host: &H,
    table: &OpenTable<'_, H>,
    id: DomId,
    pins: &mut [Option<DmaPin<H::Frame>>],
) -> usize {
    let mut done = 0;
    for place in pins {
        let pin = place.take_if(|pin| direct_granter(pin) == Some(id));
        let Some(DmaPin::Grant(pin)) = pin else {
            break;
        };
        pin.release_to(host, table);
        done += 1;
    }
    done
}

/// Whose grant it is of, if that grants the page itself.
#[inline]
fn direct_granter<F: Frame>(pin: &DmaPin<F>) -> Option<DomId> {
    match pin {
        DmaPin::Grant(pin) if !pin.is_transitive() => Some(pin.granter()),
        _ => None,
    }
}

/// The page reference keeps its owner in existence.
#[cold]
fn vanished(granter: DomId) {
    log::error!("granter {granter} vanished while pinned");
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
        None => vanished(pin.granter()),
    }
}
