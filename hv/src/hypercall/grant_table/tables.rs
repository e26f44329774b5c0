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
use zerocopy::IntoBytes;

use super::{
    GuestLayout,
    layout::{FrameList, FrameListElement},
    with_element, write, write_rest,
};
use crate::{
    addr::{DomId, GuestPtr},
    grant::{TableError, table::GrantTable},
    host::{Domain, Host, Origin, SharedPage, SharedPages},
    hypercall::Answer,
};

/// Passes the domain that an operation is about to `work`, if there is such a domain.
#[inline(always)]
fn with_target<H: Host, R>(
    host: &H,
    caller: &H::Domain,
    domid: DomId,
    work: impl FnOnce(Option<&H::Domain>) -> R,
) -> R {
    if domid == DomId::SELF || domid == caller.id() {
        work(Some(caller))
    } else {
        with_other(host, domid, work)
    }
}

/// The same for another domain than the caller. What its reference needs is no burden
/// for the usual case.
#[cold]
#[inline(never)]
fn with_other<H: Host, R>(host: &H, domid: DomId, work: impl FnOnce(Option<&H::Domain>) -> R) -> R {
    work(host.domain(domid).as_deref())
}

/// Passes the table of a domain that the caller may ask about to `work`. Returns the
/// status of the operation.
#[inline(always)]
fn ask_about<H: Host>(
    host: &H,
    caller: &H::Domain,
    domid: DomId,
    work: impl FnOnce(&H::Domain, &GrantTable<H>),
) -> Gntst {
    with_target(host, caller, domid, |owner| match owner {
        None => Gntst::BadDomain,
        Some(owner) if host.may_query_table(caller, owner).is_err() => Gntst::PermissionDenied,
        Some(owner) => match owner.state() {
            None => Gntst::BadDomain,
            Some(state) => {
                work(owner, &state.grants);
                Gntst::Okay
            }
        },
    })
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
    list_frames::<H, E>(host, caller, at, set_up)
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
    list_frames::<H, E>(host, caller, at, list)
}

/// What is done with each frame of a table.
type Each<'a, H> = dyn FnMut(&<H as SharedPages>::SharedPage) -> ControlFlow<()> + 'a;

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
) -> Answer {
    with_element(host, at, |element: &mut E, origin| {
        let status = try_list_frames(host, caller, &element.decoded(), walk)?;
        write(origin, E::STATUS, &status.wire())
    })
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
    // Not with_target(): the walk is to be there once, inlined.
    let other;
    let owner = if list.dom == DomId::SELF || list.dom == caller.id() {
        caller
    } else {
        other = host.domain(list.dom);
        match &other {
            Some(owner) => owner,
            None => return Ok(Gntst::BadDomain),
        }
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
        (8, _) => host.copy_to_guest(at, gfn.as_bytes()),
        (_, Ok(gfn)) => host.copy_to_guest(at, gfn.as_bytes()),
        // What has no place yet has all bits set, in any width.
        (_, Err(_)) if gfn == u64::MAX => host.copy_to_guest(at, u32::MAX.as_bytes()),
        (_, Err(_)) => return Err(Gntst::AddressTooBig),
    };
    written.map_err(|_| Gntst::BadVirtAddr)
}

#[inline(never)]
pub(super) fn query_size<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Answer {
    with_element(host, at, |op: &mut QuerySize, origin| {
        try_query_size(host, caller, op, origin)
    })
}

#[inline(always)]
fn try_query_size<H: Host>(
    host: &H,
    caller: &H::Domain,
    op: &mut QuerySize,
    origin: &impl Origin,
) -> Result<(), Errno> {
    let status = ask_about(host, caller, DomId(op.dom), |_, table| {
        op.nr_frames = table.frame_count();
        op.max_nr_frames = table.limits().max_frames;
    });
    op.status = status.wire();
    write_rest(origin, op, offset_of!(QuerySize, nr_frames))
}

/// References that `dump_table` shows: a guest must not keep the console busy.
const SHOWN_TO_GUEST: usize = 16;

#[inline(never)]
pub(super) fn dump_table<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Answer {
    with_element(host, at, |op: &mut DumpTable, origin| {
        try_dump_table(host, caller, op, origin)
    })
}

/// Shows a table on Xen's console, in the guests' rate-limited part of the log.
#[inline(always)]
fn try_dump_table<H: Host>(
    host: &H,
    caller: &H::Domain,
    op: &mut DumpTable,
    origin: &impl Origin,
) -> Result<(), Errno> {
    let status = ask_about(host, caller, DomId(op.dom), |owner, table| {
        table.show(owner, SHOWN_TO_GUEST, |line| log::info!("{line}"));
    });
    op.status = status.wire();
    write(origin, 0, op)
}

#[inline(never)]
pub(super) fn set_version<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Answer {
    with_element(host, at, |op: &mut SetVersion, origin| {
        try_set_version(host, caller, op, origin)
    })
}

#[inline(always)]
fn try_set_version<H: Host>(
    host: &H,
    caller: &H::Domain,
    op: &mut SetVersion,
    origin: &impl Origin,
) -> Result<(), Errno> {
    let state = caller.state().ok_or(Errno::NoSys)?;
    let result = state.grants.set_version(host, caller, op.version);
    op.version = state.grants.version().number();
    write(origin, 0, op)?;
    Ok(result?)
}

#[inline(never)]
pub(super) fn get_version<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Answer {
    with_element(host, at, |op: &mut GetVersion, origin| {
        try_get_version(host, caller, op, origin)
    })
}

#[inline(always)]
fn try_get_version<H: Host>(
    host: &H,
    caller: &H::Domain,
    op: &GetVersion,
    origin: &impl Origin,
) -> Result<(), Errno> {
    let version = with_target(host, caller, DomId(op.dom), |owner| {
        let owner = owner.ok_or(Errno::Srch)?;
        host.may_query_table(caller, owner)
            .map_err(|_| Errno::Perm)?;
        let state = owner.state().ok_or(Errno::Srch)?;
        Ok::<_, Errno>(state.grants.version().number())
    })?;
    write(origin, offset_of!(GetVersion, version), &version)
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
