// SPDX-License-Identifier: GPL-2.0-only
//! CPU cache maintenance of own and granted pages: `cache_flush`.

use hypercall_abi::{
    Errno,
    grant::{CacheFlush, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, GNTTAB_CACHE_SOURCE_GREF},
};

use crate::{
    addr::{DomId, GrantRef, Mfn, PAGE_SIZE},
    host::{Domain, Frame, FrameError, Host},
};

/// References that are looked at in one step, as in Xen.
const REFS_PER_STEP: u32 = 1 << 12;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The flush is done.
    Done,
    /// The search for the grant goes on at this reference.
    GoOn(u32),
}

/// Flushes what `op` says, for the calling domain. `resume` is 0, or where a
/// search that was preempted goes on.
#[inline(always)]
pub fn cache_flush<H: Host>(
    host: &H,
    caller: &H::Domain,
    op: &CacheFlush,
    resume: u32,
) -> Result<Step, Errno> {
    let end = u64::from(op.offset) + u64::from(op.length);
    if u64::from(op.offset) >= PAGE_SIZE
        || end > PAGE_SIZE
        || op.op & !(GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN) != 0
    {
        return Err(Errno::Inval);
    }
    if op.length == 0 || op.op == 0 {
        // Such an element is never preempted: the caller changed it meanwhile.
        return if resume == 0 {
            Ok(Step::Done)
        } else {
            Err(Errno::IlSeq)
        };
    }
    let mfn = Mfn::of_address(op.dev_bus_addr);
    let (owner, frame) = host.pin_mfn(mfn).map_err(|error| match error {
        FrameError::NotMemory => Errno::Inval,
        FrameError::NotWritable | FrameError::Gone | FrameError::TryAgain => Errno::Perm,
    })?;
    if owner.id() == caller.id() {
        host.flush_cache(&frame, op.offset, op.length, op.op)?;
        return Ok(Step::Done);
    }
    flush_granted(host, caller, &owner, &frame, op, resume)
}

/// Flushes a page of `owner` if it has granted it to the calling domain.
///
/// Takes the owner's table lock for reading, and the entries' locks, one after the
/// other.
#[inline(never)]
fn flush_granted<H: Host>(
    host: &H,
    caller: &H::Domain,
    owner: &H::Domain,
    frame: &H::Frame,
    op: &CacheFlush,
    resume: u32,
) -> Result<Step, Errno> {
    let grants = &owner.state().ok_or(Errno::Perm)?.grants;
    let frames = grants.read();
    let entries = frames.entries();
    let last = resume.saturating_add(REFS_PER_STEP).min(entries);
    for gref in resume..last {
        let Ok(entry) = frames.lock_entry(host, owner, GrantRef(gref)) else {
            break;
        };
        if is_granted(&entry.active, caller.id(), frame.mfn()) {
            // The entry's lock keeps the grant from ending meanwhile.
            host.flush_cache(frame, op.offset, op.length, op.op)?;
            return Ok(Step::Done);
        }
    }
    if last < entries {
        Ok(Step::GoOn(last))
    } else {
        Err(Errno::Inval)
    }
}

fn is_granted(active: &super::active::ActiveEntry, holder: DomId, mfn: Mfn) -> bool {
    !active.pins.is_empty() && active.holder == holder && active.mfn == mfn
}

// Xen has never implemented it, and the check of the other bits refuses it.
const _: () = assert!(GNTTAB_CACHE_SOURCE_GREF & (GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN) == 0);
