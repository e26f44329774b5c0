// SPDX-License-Identifier: GPL-2.0-only
//! What C calls. The contracts are in `xen/common/grant-dma/gdma.h`.

use core::{
    ffi::{c_int, c_long, c_void},
    ops::ControlFlow,
    ptr::NonNull,
};

use hv::{
    addr::{GrantRef, GuestPtr},
    dma::{
        DmaLimits,
        faults::{self, DeviceFault},
        unmap::{Release, release_all},
    },
    grant::{TableLimits, cpu_map::release_cpu_mappings, table::FrameKind},
    host::Domain,
    hypercall::{self, grant_table::GuestLayout},
    state::{DomainLimits, DomainState},
};
use hypercall_abi::Errno;

use crate::{domain::XenDomain, ffi, runtime, xen::Xen};

/// Active grants of a domain that are named in the log.
const NAMED_GRANTS: usize = 10;

/// Xen's `XENMAPIDX_grant_table_status`: a bit of an index that says that a status
/// frame is meant.
const STATUS_INDEX: u64 = 1 << 31;

fn kind(status: bool) -> FrameKind {
    if status {
        FrameKind::Status
    } else {
        FrameKind::Shared
    }
}

/// Once, before anything else.
#[unsafe(no_mangle)]
extern "C" fn gdma_rs_init(verbose: bool, random: u64) {
    runtime::init_log(verbose);
    hv::hash::set_secret(random);
}

/// A panic, to see what it looks like.
#[unsafe(no_mangle)]
extern "C" fn gdma_rs_panic_test() {
    panic!("panic test asked for on the command line");
}

/// The domain with its state, if it has any.
fn with_state(domain: Option<&XenDomain>) -> Option<(&XenDomain, &DomainState<Xen>)> {
    domain.and_then(|domain| Some((domain, domain.state()?)))
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
    vcpus: u32,
    max_pins: u32,
    max_contexts: u32,
) -> c_int {
    // SAFETY: alive, says the caller, and gdma_rs_domain_destroy() comes before its end.
    let Some(this) = (unsafe { XenDomain::allocate(domain) }) else {
        return Errno::NoMem.wire();
    };
    // SAFETY: made just now.
    let owner = unsafe { this.as_ref() };
    let limits = DomainLimits {
        table: TableLimits {
            max_frames,
            max_maptrack_frames,
            max_version,
            vcpus,
        },
        dma: DmaLimits {
            max_pins,
            max_contexts,
        },
    };
    match DomainState::<Xen>::new(&Xen, owner, limits) {
        Ok(state) => {
            // SAFETY: nobody else knows of the domain, says the caller.
            unsafe { owner.set_state(state) };
            // SAFETY: a live domain without a table.
            unsafe { ffi::gdma_domain_set_table(domain.as_ptr(), this.as_ptr().cast()) };
            0
        }
        Err(error) => {
            // SAFETY: made above, and not used any more.
            unsafe { XenDomain::free(this) };
            Errno::from(error).wire()
        }
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
    let table = unsafe { ffi::gdma_domain_table(domain.as_ptr()) };
    let Some(table) = NonNull::new(table) else {
        return;
    };
    // SAFETY: a live domain.
    unsafe { ffi::gdma_domain_set_table(domain.as_ptr(), core::ptr::null_mut()) };
    // SAFETY: gdma_rs_domain_init() made it, and nobody has another way to it any
    // more.
    unsafe { XenDomain::free(table.cast()) };
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
    let Some((domain, state)) = with_state(domain) else {
        return 0;
    };
    // Devices first: a stuck IOMMU keeps its frames, and nothing else.
    let released = release_all(&Xen, domain, state);
    if released == Release::Preempted || !release_cpu_mappings(&Xen, domain, state) {
        return Errno::Restart.wire();
    }
    0
}

/// The IOMMU has stopped a device of a domain, which was attached to a context.
///
/// # Safety
///
/// `domain` is alive.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_fault(
    domain: NonNull<ffi::Domain>,
    context: u32,
    sbdf: u32,
    daddr: u64,
    write: bool,
) {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    if let Some((domain, state)) = with_state(domain) {
        let fault = DeviceFault {
            sbdf,
            context,
            daddr,
            write,
        };
        faults::note(&Xen, domain, state, fault);
    }
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
    let Some((domain, state)) = with_state(domain) else {
        return;
    };
    let mut active = 0;
    state.grants.for_each_active(domain, |gref, _, entry| {
        active += 1;
        if active <= NAMED_GRANTS {
            log::info!(
                "{} has active grant {:x} (MFN: {:#x}) of {}",
                domain.id(),
                gref.0,
                entry.mfn.number(),
                entry.holder
            );
        }
        ControlFlow::Continue(())
    });
    if active > NAMED_GRANTS {
        log::info!(
            "{} has too many ({active}) active grants to report",
            domain.id()
        );
    }
}

/// Writes what others use of a domain's grants to the console.
///
/// # Safety
///
/// `domain` is alive.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_show(domain: NonNull<ffi::Domain>) {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    if let Some((domain, state)) = with_state(domain) {
        state.grants.show(domain, usize::MAX, runtime::print);
    }
}

/// Writes to the console what a domain has made reachable to devices, if anything.
///
/// # Safety
///
/// `domain` is alive.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_show_dma(domain: NonNull<ffi::Domain>) {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    if let Some((domain, state)) = with_state(domain) {
        state.dma.show(&Xen, domain, runtime::print);
    }
}

/// The frame that an entry grants, and the entry's flags or status.
///
/// # Safety
///
/// `table` is that of a domain that is alive; `gfn` and `flags` are writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_granted_frame(
    table: *const ffi::GrantTable,
    gref: u32,
    gfn: NonNull<u64>,
    flags: NonNull<u16>,
) -> c_int {
    // SAFETY: alive, says the caller.
    let domain = unsafe { table.cast::<XenDomain>().as_ref() };
    let granted = with_state(domain)
        .ok_or(Errno::Inval)
        .and_then(|(domain, state)| state.grants.granted_frame(&Xen, domain, GrantRef(gref)));
    match granted {
        Ok((frame, status)) => {
            // SAFETY: writable, says the caller.
            unsafe { gfn.write(frame.number()) };
            // SAFETY: writable, says the caller.
            unsafe { flags.write(status) };
            0
        }
        Err(error) => error.wire(),
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
    status: bool,
    index: u64,
    mfn: NonNull<u64>,
) -> c_int {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    let Some((domain, state)) = with_state(domain) else {
        return Errno::Inval.wire();
    };
    let index = if status { index & !STATUS_INDEX } else { index };
    match state.grants.frame_for_mapping(&Xen, domain, status, index) {
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
    if let Some((_, state)) = with_state(domain) {
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
unsafe extern "C" fn gdma_rs_resource_max_frames(
    domain: NonNull<ffi::Domain>,
    status: bool,
) -> u32 {
    // SAFETY: alive, says the caller.
    let domain = unsafe { XenDomain::borrowed(domain) };
    with_state(domain).map_or(0, |(_, state)| state.grants.max_frames(kind(status)))
}

/// Machine frames of a domain's table.
///
/// # Safety
///
/// `domain` is alive; `mfns` has room for `count` values.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_acquire_resource(
    domain: NonNull<ffi::Domain>,
    status: bool,
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
    let result = with_state(domain)
        .ok_or(Errno::Inval)
        .and_then(|(domain, state)| {
            state
                .grants
                .frames_for_resource(&Xen, domain, kind(status), first, mfns)
                // As in gdma_rs_map_frame_begin().
                .map_err(|_| Errno::Inval)
        });
    wire(result)
}

/// Hypercall 20.
///
/// # Safety
///
/// `caller` is the table of the domain that makes the hypercall.
#[unsafe(no_mangle)]
unsafe extern "C" fn gdma_rs_grant_table_op(
    cmd: u32,
    at: *const c_void,
    count: u32,
    compat: bool,
    caller: NonNull<ffi::GrantTable>,
) -> c_long {
    // SAFETY: the domain is alive, says the caller, and so is what it has for a table.
    let caller = unsafe { caller.cast::<XenDomain>().as_ref() };
    let layout = if compat {
        GuestLayout::Compat
    } else {
        GuestLayout::Native
    };
    let at = GuestPtr(at.addr() as u64);
    hypercall::grant_table::dispatch(&Xen, caller, layout, cmd, at, count).register()
}

/// Hypercall 47.
#[unsafe(no_mangle)]
extern "C" fn gdma_rs_dma_op(cmd: u32, at: *const c_void, count: u32) -> c_long {
    let at = GuestPtr(at.addr() as u64);
    hypercall::grant_dma::dispatch(&Xen, cmd, at, count).register()
}
