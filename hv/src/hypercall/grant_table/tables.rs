// SPDX-License-Identifier: GPL-2.0-only
//! The sub-operations about a table as a whole.

use core::{mem::offset_of, ops::ControlFlow};

use hypercall_abi::{
    Errno,
    grant::{
        DumpTable, GetStatusFrames32, GetStatusFrames64, GetVersion, Gntst, QuerySize, SetVersion,
        SetupTable32, SetupTable64,
    },
};

use super::{
    GuestLayout,
    layout::{FrameList, FrameListElement},
    read, write, write_rest,
};
use crate::{
    addr::{DomId, GuestPtr},
    grant::{TableError, peer::Peer, table::GrantTable},
    host::{Domain, Host, SharedPage},
    hypercall::Answer,
};

/// The domain a table operation is about. `peer` finds it.
fn target<'a, H: Host>(
    host: &H,
    caller: &'a H::Domain,
    peer: &'a mut Peer<H>,
    domid: DomId,
) -> Option<&'a H::Domain> {
    if domid == DomId::SELF {
        Some(caller)
    } else {
        peer.find(host, caller, domid)
    }
}

/// One function for each layout, as in [`super::dispatch`].
#[inline(always)]
pub(super) fn setup_table<H: Host>(
    host: &H,
    caller: &H::Domain,
    at: GuestPtr,
    layout: GuestLayout,
) -> Answer {
    match layout {
        GuestLayout::Native => setup_table_as::<H, SetupTable64>(host, caller, at),
        GuestLayout::Compat => setup_table_as::<H, SetupTable32>(host, caller, at),
    }
}

#[inline(never)]
fn setup_table_as<H: Host, E: FrameListElement>(
    host: &H,
    caller: &H::Domain,
    at: GuestPtr,
) -> Answer {
    let set_up = |owner: &_, list: &FrameList, table: &GrantTable<H>, each: &mut Each<'_, H>| {
        table.setup(host, owner, list.nr_frames, each)
    };
    list_frames::<H, E>(host, caller, at, set_up).into()
}

/// One function for each layout, as in [`super::dispatch`].
#[inline(always)]
pub(super) fn get_status_frames<H: Host>(
    host: &H,
    caller: &H::Domain,
    at: GuestPtr,
    layout: GuestLayout,
) -> Answer {
    match layout {
        GuestLayout::Native => status_frames_as::<H, GetStatusFrames64>(host, caller, at),
        GuestLayout::Compat => status_frames_as::<H, GetStatusFrames32>(host, caller, at),
    }
}

#[inline(never)]
fn status_frames_as<H: Host, E: FrameListElement>(
    host: &H,
    caller: &H::Domain,
    at: GuestPtr,
) -> Answer {
    let list = |_: &_, list: &FrameList, table: &GrantTable<H>, each: &mut Each<'_, H>| {
        table.status_frames(list.nr_frames, each)
    };
    list_frames::<H, E>(host, caller, at, list).into()
}

/// What is done with each frame of a table.
type Each<'a, H> = dyn FnMut(&<H as Host>::SharedPage) -> ControlFlow<()> + 'a;

/// Writes frame numbers of a table to the guest's array: those that `walk` passes
/// to its last argument. Then the status.
#[inline(always)]
fn list_frames<H: Host, E: FrameListElement>(
    host: &H,
    caller: &H::Domain,
    at: GuestPtr,
    walk: impl FnOnce(
        &H::Domain,
        &FrameList,
        &GrantTable<H>,
        &mut Each<'_, H>,
    ) -> Result<(), TableError>,
) -> Result<(), Errno> {
    let list = &read::<H, E>(host, at)?.decoded();
    let status = try_list_frames(host, caller, list, walk)?;
    write(host, at.byte_offset(E::STATUS as u64), &status.wire())
}

#[inline(always)]
fn try_list_frames<H: Host>(
    host: &H,
    caller: &H::Domain,
    list: &FrameList,
    walk: impl FnOnce(
        &H::Domain,
        &FrameList,
        &GrantTable<H>,
        &mut Each<'_, H>,
    ) -> Result<(), TableError>,
) -> Result<Gntst, Errno> {
    if !host.guest_range_ok(list.at, u64::from(list.nr_frames) * list.entry_size) {
        return Err(Errno::Fault);
    }
    let mut peer = Peer::new();
    let Some(owner) = target(host, caller, &mut peer, list.dom) else {
        return Ok(Gntst::BadDomain);
    };
    if host.may_setup_table(caller, owner).is_err() {
        return Ok(Gntst::PermissionDenied);
    }
    let Some(state) = owner.state() else {
        return Ok(Gntst::BadDomain);
    };
    let mut status = Gntst::Okay;
    let mut at = list.at;
    let mut each = |page: &H::SharedPage| {
        let gfn = page.gfn(owner).map_or(u64::MAX, |gfn| gfn.number());
        let written = write_frame(host, at, list.entry_size, gfn);
        at = at.byte_offset(list.entry_size);
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                status = error;
                ControlFlow::Break(())
            }
        }
    };
    match walk(owner, list, &state.grants, &mut each) {
        Ok(()) => Ok(status),
        Err(error) => {
            log::debug!("{} grant table: {error:?}", owner.id());
            Ok(Gntst::GeneralError)
        }
    }
}

#[inline(always)]
fn write_frame<H: Host>(host: &H, at: GuestPtr, size: u64, gfn: u64) -> Result<(), Gntst> {
    let written = match (size, u32::try_from(gfn)) {
        (8, _) => write(host, at, &gfn),
        (_, Ok(gfn)) => write(host, at, &gfn),
        // What has no place yet has all bits set, in any width.
        (_, Err(_)) if gfn == u64::MAX => write(host, at, &u32::MAX),
        (_, Err(_)) => return Err(Gntst::AddressTooBig),
    };
    written.map_err(|_| Gntst::BadVirtAddr)
}

#[inline(never)]
pub(super) fn query_size<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Answer {
    try_query_size(host, caller, at).into()
}

#[inline(always)]
fn try_query_size<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Result<(), Errno> {
    let mut op: QuerySize = read(host, at)?;
    let mut peer = Peer::new();
    op.status = match target(host, caller, &mut peer, DomId(op.dom)) {
        None => Gntst::BadDomain,
        Some(owner) if host.may_query_table(caller, owner).is_err() => Gntst::PermissionDenied,
        Some(owner) => match owner.state() {
            None => Gntst::BadDomain,
            Some(state) => {
                op.nr_frames = state.grants.frame_count();
                op.max_nr_frames = state.grants.limits().max_frames;
                Gntst::Okay
            }
        },
    }
    .wire();
    write_rest(host, at, &op, offset_of!(QuerySize, nr_frames))
}

/// References that `dump_table` shows: a guest must not keep the console busy.
const SHOWN_TO_GUEST: usize = 16;

#[inline(never)]
pub(super) fn dump_table<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Answer {
    try_dump_table(host, caller, at).into()
}

/// Shows a table on Xen's console, in the guests' rate-limited part of the log.
#[inline(always)]
fn try_dump_table<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Result<(), Errno> {
    let mut op: DumpTable = read(host, at)?;
    let mut peer = Peer::new();
    op.status = match target(host, caller, &mut peer, DomId(op.dom)) {
        None => Gntst::BadDomain,
        Some(owner) if host.may_query_table(caller, owner).is_err() => Gntst::PermissionDenied,
        Some(owner) => match owner.state() {
            None => Gntst::BadDomain,
            Some(state) => {
                state
                    .grants
                    .show(owner, SHOWN_TO_GUEST, |line| log::info!("{line}"));
                Gntst::Okay
            }
        },
    }
    .wire();
    write(host, at, &op)
}

#[inline(never)]
pub(super) fn set_version<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Answer {
    try_set_version(host, caller, at).into()
}

#[inline(always)]
fn try_set_version<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Result<(), Errno> {
    let mut op: SetVersion = read(host, at)?;
    let state = caller.state().ok_or(Errno::NoSys)?;
    let result = state.grants.set_version(host, caller, op.version);
    op.version = state.grants.version().number();
    write(host, at, &op)?;
    Ok(result?)
}

#[inline(never)]
pub(super) fn get_version<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Answer {
    try_get_version(host, caller, at).into()
}

#[inline(always)]
fn try_get_version<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Result<(), Errno> {
    let op: GetVersion = read(host, at)?;
    let mut peer = Peer::new();
    let owner = target(host, caller, &mut peer, DomId(op.dom)).ok_or(Errno::Srch)?;
    host.may_query_table(caller, owner)
        .map_err(|_| Errno::Perm)?;
    let version = owner.state().ok_or(Errno::Srch)?.grants.version().number();
    let at = at.byte_offset(offset_of!(GetVersion, version) as u64);
    write(host, at, &version)
}

// A table error has no number of its own in `setup_table`.
impl From<TableError> for Errno {
    fn from(error: TableError) -> Self {
        match error {
            TableError::BadLimits | TableError::TooLarge { .. } | TableError::NoStatus => {
                Self::Inval
            }
            TableError::OutOfMemory => Self::NoMem,
        }
    }
}
