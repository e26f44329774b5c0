// SPDX-License-Identifier: GPL-2.0-only
//! What C calls. The contracts are in `xen/common/grant-dma/gdma.h`.

use alloc::vec::Vec;
use core::{
    ffi::{c_int, c_long, c_void},
    ptr::NonNull,
};

use hv::{
    addr::GuestPtr,
    dma::unmap::{Release, release_all},
    grant::{TableLimits, cpu_map::release_cpu_mappings},
    host::Domain,
    hypercall::{self, Outcome, grant_table::GuestLayout},
    state::{DomainLimits, DomainState},
};
use hypercall_abi::Errno;

use crate::{
    domain::XenDomain,
    ffi::{self, Progress},
    runtime,
    xen::{XEN, Xen},
};

/// Active grants of a domain that are named in the log.
const NAMED_GRANTS: usize = 10;

/// Once, before anything else.
#[unsafe(no_mangle)]
extern "C" fn gdma_rs_init() {
    runtime::init_log();
}

/// A panic, to see what it looks like.
#[unsafe(no_mangle)]
extern "C" fn gdma_rs_panic_test() {
    panic!("panic test asked for on the command line");
}

fn wire(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.wire(),
    }
}

/// Sets up a domain under construction.
///
/// # Safety
///
/// `domain` is alive and nobody else knows of it yet.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_domain_init(
    domain: NonNull<ffi::Domain>,
    max_frames: u32,
    max_maptrack_frames: u32,
    max_version: u32,
    max_pins: u32,
) -> c_int {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    let limits = DomainLimits {
        table: TableLimits {
            max_frames,
            max_maptrack_frames,
            max_version,
        },
        max_pins,
    };
    // Like `Box::new`, but tells when there is no memory; and before anything is
    // shared with the domain, because that could not be undone here.
    let mut boxed = Vec::new();
    if boxed.try_reserve_exact(1).is_err() {
        return Errno::NoMem.wire();
    }
    match DomainState::<Xen>::new(&XEN, &domain, limits) {
        Ok(state) => {
            boxed.push(state);
            let state = boxed.leak().as_mut_ptr();
            // SAFETY: a live domain without state.
            unsafe { ffi::gdma_domain_set_state(domain.as_ptr(), state.cast()) };
            0
        }
        Err(error) => Errno::from(error).wire(),
    }
}

/// Takes away what [`gdma_rs_domain_init`] set up, if it did.
///
/// # Safety
///
/// No reference to the domain is left but the caller's.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_domain_destroy(domain: NonNull<ffi::Domain>) {
    // SAFETY: alive, says the caller.
    let state = unsafe { ffi::gdma_domain_state(domain.as_ptr()) };
    if state.is_null() {
        return;
    }
    // SAFETY: a live domain.
    unsafe { ffi::gdma_domain_set_state(domain.as_ptr(), core::ptr::null_mut()) };
    // SAFETY: the pointer came from gdma_rs_domain_init(), from a vector with length
    // and capacity 1, and nobody has another way to it any more.
    drop(unsafe { Vec::from_raw_parts(state.cast::<DomainState<Xen>>(), 1, 1) });
}

/// Gives back what a dying domain holds of others.
///
/// # Safety
///
/// `domain` is alive and dying; its vcpus do not run.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_release_mappings(domain: NonNull<ffi::Domain>) -> c_int {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    let Some(state) = domain.state() else {
        return 0;
    };
    // Devices first: a stuck IOMMU keeps its frames, and nothing else.
    let released = release_all(&XEN, &domain, state);
    if released == Release::Preempted || !release_cpu_mappings(&XEN, state) {
        return Errno::Restart.wire();
    }
    0
}

/// Logs the references of a domain that others use.
///
/// # Safety
///
/// `domain` is alive.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_warn_active_grants(domain: NonNull<ffi::Domain>) {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    let Some(state) = domain.state() else {
        return;
    };
    let mut active = 0;
    state.grants.for_each_active(|gref, entry| {
        active += 1;
        if active <= NAMED_GRANTS {
            log::debug!(
                "{} has active grant {:x} (MFN: {:#x}) of {}",
                domain.id(),
                gref.0,
                entry.mfn.number(),
                entry.holder
            );
        }
    });
    if active > NAMED_GRANTS {
        log::debug!(
            "{} has too many ({active}) active grants to report",
            domain.id()
        );
    }
}

/// Finds the machine frame of table frame `index`, and keeps the table locked.
///
/// # Safety
///
/// `domain` is alive, and the caller calls [`gdma_rs_map_frame_end`] on the same
/// CPU after success. `mfn` is writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_map_frame_begin(
    domain: NonNull<ffi::Domain>,
    index: u64,
    mfn: NonNull<u64>,
) -> c_int {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    let Some(state) = domain.state() else {
        return Errno::Inval.wire();
    };
    match state.grants.frame_for_mapping(&XEN, &domain, index) {
        Ok((frame, guard)) => {
            // SAFETY: writable, says the caller.
            unsafe { mfn.write(frame.number()) };
            core::mem::forget(guard);
            0
        }
        // Whatever the reason, Xen's answer has always been this one.
        Err(_) => Errno::Inval.wire(),
    }
}

/// Unlocks the table.
///
/// # Safety
///
/// [`gdma_rs_map_frame_begin`] succeeded for this domain on this CPU.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_map_frame_end(domain: NonNull<ffi::Domain>) {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    if let Some(state) = domain.state() {
        // SAFETY: held for writing by gdma_rs_map_frame_begin(), which forgot the
        // guard.
        unsafe { state.grants.frames_lock().unlock_forgotten() };
    }
}

/// Most frames that [`gdma_rs_acquire_resource`] can give.
///
/// # Safety
///
/// `domain` is alive.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_resource_max_frames(domain: NonNull<ffi::Domain>) -> u32 {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    domain.state().map_or(0, |state| state.grants.max_frames())
}

/// Machine frames of a domain's table.
///
/// # Safety
///
/// `domain` is alive; `mfns` has room for `count` values.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_acquire_resource(
    domain: NonNull<ffi::Domain>,
    first: u32,
    count: u32,
    mfns: NonNull<u64>,
) -> c_int {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    // SAFETY: room for `count` values, says the caller, who has not set them.
    unsafe { mfns.write_bytes(0, count as usize) };
    // SAFETY: the same, and now they are.
    let mfns = unsafe { core::slice::from_raw_parts_mut(mfns.as_ptr(), count as usize) };
    let result = domain.state().ok_or(Errno::Inval).and_then(|state| {
        state
            .grants
            .frames_for_resource(&XEN, &domain, first, mfns)
            // As in gdma_rs_map_frame_begin().
            .map_err(|_| Errno::Inval)
    });
    wire(result)
}

fn finish(outcome: Outcome, progress: &mut Progress) -> c_long {
    match outcome {
        Outcome::Complete => 0,
        Outcome::Failed(error) => c_long::from(error.wire()),
        Outcome::Continue { elements, bytes } => {
            *progress = Progress { elements, bytes };
            1
        }
    }
}

/// Hypercall 20.
#[unsafe(no_mangle)]
extern "C" fn gdma_rs_grant_table_op(
    cmd: u32,
    at: *const c_void,
    count: u32,
    compat: bool,
    progress: &mut Progress,
) -> c_long {
    let layout = if compat {
        GuestLayout::Compat
    } else {
        GuestLayout::Native
    };
    let at = GuestPtr(at.addr() as u64);
    finish(
        hypercall::grant_table::dispatch(&XEN, layout, cmd, at, count),
        progress,
    )
}

/// Hypercall 47.
#[unsafe(no_mangle)]
extern "C" fn gdma_rs_dma_op(
    cmd: u32,
    at: *const c_void,
    count: u32,
    progress: &mut Progress,
) -> c_long {
    let at = GuestPtr(at.addr() as u64);
    finish(
        hypercall::grant_dma::dispatch(&XEN, cmd, at, count),
        progress,
    )
}
