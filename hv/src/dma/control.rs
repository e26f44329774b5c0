// SPDX-License-Identifier: GPL-2.0-only
//! `revoke`, `set_limits`, `stats`.

use core::sync::atomic::Ordering;

use hypercall_abi::{
    Errno,
    control::{Revoke, SetLimits, Stats, XEN_GDMA_LIMIT_KEEP},
};

use super::{
    attach::MOST_CONTEXTS,
    context::Source,
    flush,
    map::MapError,
    space::Space,
    unmap::take_back,
    window::{Ending, Step},
};
use crate::{
    addr::{DomId, GrantRef},
    host::{Domain, Host},
    state::DomainState,
    sync::SpinLock,
};

/// Why a `revoke` element failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeError {
    /// The reference is outside the table.
    OutOfRange,
    /// The IOMMU failed.
    Iommu,
}

impl From<RevokeError> for Errno {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::OutOfRange => Self::Range,
            RevokeError::Iommu => Self::Io,
        }
    }
}

/// How far a `revoke` element has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is done; so much work it was, in frames.
    All(u32),
    /// Some mappings are ended, perhaps not all: call again.
    GoOn,
}

/// So many frames of mappings are ended in one step.
const FRAMES_PER_STEP: u32 = 1024;

/// One step of a `revoke` element: of all uses by devices, those by transitive grants of
/// others included that lead to the reference.
///
/// Takes the granter's table lock for reading and the entry's; then, one after the
/// other, the lock of its passages and those of holders' contexts.
pub fn revoke<H: Host>(
    host: &H,
    granter: &H::Domain,
    state: &DomainState<H>,
    op: &Revoke,
) -> Result<Revoked, RevokeError> {
    let gref = GrantRef(op.gref);
    let holder = state
        .grants
        .holder_of(host, granter, gref)
        .map_err(|_| RevokeError::OutOfRange)?;
    let Some(holder) = holder else {
        return Ok(Revoked::All(1));
    };
    let (mut work, mut failed) = (1, false);
    let mut end = |holder, source| {
        if let Some(holder) = host.domain(holder) {
            failed |= revoke_from(host, &holder, source, &mut work).is_err();
        }
        work
    };
    end(holder, (Source::grant(granter.id(), gref), gref));
    let mut last = None;
    loop {
        let next = state.passages.lock().next_to(gref, last);
        let Some(through) = next else {
            break;
        };
        let source = Source::grant(through.middle, through.via);
        if end(through.holder, (source, through.via)) > FRAMES_PER_STEP {
            break;
        }
        last = next;
    }
    if failed {
        Err(RevokeError::Iommu)
    } else if work > FRAMES_PER_STEP {
        Ok(Revoked::GoOn)
    } else {
        Ok(Revoked::All(work))
    }
}

/// The IOMMU failed.
struct RevokeFailed;

/// Ends mappings of a reference in all contexts of `holder`, as far as `work` allows.
fn revoke_from<H: Host>(
    host: &H,
    holder: &H::Domain,
    source: (Source, GrantRef),
    work: &mut u32,
) -> Result<(), RevokeFailed> {
    let Some(held) = holder.state() else {
        return Ok(());
    };
    let mut result = Ok(());
    held.dma.for_each_space(host, |space| {
        // Only what ends counts: the next step looks at all of them again.
        if *work <= FRAMES_PER_STEP
            && let Err(failed) = revoke_in(host, holder, held, space, source, work)
        {
            result = Err(failed);
        }
    });
    result
}

/// Ends mappings of a reference in one context, until there are none or until `work`
/// is enough. Counts their frames.
fn revoke_in<H: Host>(
    host: &H,
    holder: &H::Domain,
    held: &DomainState<H>,
    space: &Space<H>,
    (source, gref): (Source, GrantRef),
    work: &mut u32,
) -> Result<(), RevokeFailed> {
    let mut given_up = true;
    while *work <= FRAMES_PER_STEP {
        let mut context = space.context.lock();
        given_up = context.doom(source);
        let Some(found) = context.page_by_source(source) else {
            break;
        };
        match take_back(host, holder, held, space, &mut context, &found.mapping) {
            Ok(ended) => *work += ended.frames,
            Err(_) => {
                given_up = false;
                break;
            }
        }
        held.dma.counters.revoked.fetch_add(1, Ordering::Relaxed);
    }
    let ending = Ending {
        host,
        holder,
        state: held,
        space,
    };
    given_up &= revoke_windows(&ending, (source, gref), work);
    // What the holder itself has unmapped and not flushed is reachable as well; and
    // whatever failed, freed tables must not be walked any more.
    let flushed = flush::flush(host, holder, held, space);
    if given_up && flushed.is_ok() {
        Ok(())
    } else {
        Err(RevokeFailed)
    }
}

/// Ends windows that have a reference, as far as `work` allows. False: the IOMMU has
/// refused to give one up.
fn revoke_windows<H: Host>(
    ending: &Ending<'_, H>,
    (source, gref): (Source, GrantRef),
    work: &mut u32,
) -> bool {
    while *work <= FRAMES_PER_STEP {
        let handle = {
            let mut context = ending.space.context.lock();
            let Some((handle, can_end)) = context.window_with(source) else {
                return true;
            };
            if !can_end {
                return false;
            }
            let pins = &ending.state.dma.pins;
            context.keep_last(handle, gref);
            if context.end_window(pins, handle, MapError::Revoked) {
                let counters = &ending.state.dma.counters;
                counters.revoked.fetch_add(1, Ordering::Relaxed);
            }
            handle
        };
        match ending.step(handle) {
            Step::More(done) => *work += done,
            Step::Gone(_) => *work += 1,
            Step::Refused | Step::Complete => return false,
        }
    }
    true
}

/// Why a `set_limits` or `stats` element failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// No domain with this id, or none that has anything.
    NoDomain(DomId),
    /// Access control.
    Refused,
}

impl From<ControlError> for Errno {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::BadField(_) => Self::Inval,
            ControlError::NoDomain(_) => Self::Srch,
            ControlError::Refused => Self::Perm,
        }
    }
}

/// The domain a guest means: `None` for itself.
fn other<H: Host>(
    host: &H,
    caller: &H::Domain,
    domid: u16,
) -> Result<Option<H::DomainRef>, ControlError> {
    let id = DomId(domid);
    if id == DomId::SELF || id == caller.id() {
        return Ok(None);
    }
    host.domain(id).map(Some).ok_or(ControlError::NoDomain(id))
}

/// Works on one `set_limits` element.
pub fn set_limits<H: Host>(
    host: &H,
    caller: &H::Domain,
    op: &mut SetLimits,
) -> Result<(), ControlError> {
    if op.pad0 != 0 {
        return Err(ControlError::BadField("pad0"));
    }
    if op.max_contexts != XEN_GDMA_LIMIT_KEEP && op.max_contexts > MOST_CONTEXTS {
        return Err(ControlError::BadField("max_contexts"));
    }
    let other = other(host, caller, op.domid)?;
    let target = other.as_deref().unwrap_or(caller);
    host.may_set_limits(target)
        .map_err(|_| ControlError::Refused)?;
    let dma = &target
        .state()
        .ok_or(ControlError::NoDomain(target.id()))?
        .dma;
    let set = |quota: &super::quota::Quota, limit: &mut u32| {
        *limit = if *limit == XEN_GDMA_LIMIT_KEEP {
            quota.limit()
        } else {
            quota.set_limit(*limit)
        };
    };
    set(&dma.pins, &mut op.max_pins);
    set(&dma.contexts, &mut op.max_contexts);
    Ok(())
}

/// Works on one `stats` element.
pub fn stats<H: Host>(host: &H, caller: &H::Domain, op: &mut Stats) -> Result<(), ControlError> {
    if op.pad0 != 0 {
        return Err(ControlError::BadField("pad0"));
    }
    let other = other(host, caller, op.domid)?;
    let target = other.as_deref().unwrap_or(caller);
    host.may_query_table(caller, target)
        .map_err(|_| ControlError::Refused)?;
    let dma = &target
        .state()
        .ok_or(ControlError::NoDomain(target.id()))?
        .dma;
    let counters = &dma.counters;
    for (field, counter) in [
        (&mut op.maps, &counters.maps),
        (&mut op.mapped_frames, &counters.mapped_frames),
        (&mut op.unmaps, &counters.unmaps),
        (&mut op.unmapped_frames, &counters.unmapped_frames),
        (&mut op.flushes, &counters.flushes),
        (&mut op.failed_flushes, &counters.failed_flushes),
        (&mut op.revoked, &counters.revoked),
        (&mut op.attaches, &counters.attaches),
        (&mut op.faults, &counters.faults),
    ] {
        *field = counter.load(Ordering::Relaxed);
    }
    op.used_pins = dma.pins.used();
    op.used_contexts = dma.contexts.used();
    Ok(())
}
