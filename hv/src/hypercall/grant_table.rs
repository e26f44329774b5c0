// SPDX-License-Identifier: GPL-2.0-only
//! Hypercall 20, the grant tables, as far as this version has them: mapping and
//! unmapping of version 1 grants, table set-up, sizes and versions.

use core::{mem::offset_of, ops::ControlFlow};

use hypercall_abi::{
    Errno,
    grant::{
        GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF, GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION,
        GNTTABOP_SETUP_TABLE, GNTTABOP_UNMAP_GRANT_REF, GetVersion, Gntst, MapGrantRef, QuerySize,
        SetVersion, SetupTable32, SetupTable64, UnmapGrantRef,
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Outcome,
    batch::{self, Command},
};
use crate::{
    addr::{DomId, GuestPtr},
    grant::{
        TableError,
        cpu_map::{map_grant_ref, unmap_grant_ref},
        table::MAX_VERSION,
    },
    host::{Domain, Host, SharedPage},
};

/// Which layout the caller uses for structures that contain pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestLayout {
    /// Pointers of 64 bits (on Arm also for 32-bit guests).
    Native,
    /// x86 with pointers of 32 bits.
    Compat,
}

/// The hypercall: `cmd` with `count` elements at `at`.
pub fn dispatch<H: Host>(
    host: &H,
    layout: GuestLayout,
    cmd: u32,
    at: GuestPtr,
    count: u32,
) -> Outcome {
    if i32::try_from(count).is_err() {
        return Outcome::Failed(Errno::Inval);
    }
    let caller = host.current();
    match cmd {
        GNTTABOP_MAP_GRANT_REF => batch::run(host, &mut MapCommand { caller }, at, count),
        GNTTABOP_UNMAP_GRANT_REF => batch::run(host, &mut UnmapCommand { caller }, at, count),
        GNTTABOP_SETUP_TABLE => once(count, || setup_table(host, &caller, layout, at)),
        GNTTABOP_QUERY_SIZE => once(count, || query_size(host, &caller, at)),
        GNTTABOP_SET_VERSION => whole(set_version(host, &caller, at)),
        GNTTABOP_GET_VERSION => whole(get_version(host, &caller, at)),
        _ => Outcome::Failed(Errno::NoSys),
    }
}

fn whole(result: Result<(), Errno>) -> Outcome {
    match result {
        Ok(()) => Outcome::Complete,
        Err(error) => Outcome::Failed(error),
    }
}

/// For operations that take exactly one element.
fn once(count: u32, operation: impl FnOnce() -> Result<(), Errno>) -> Outcome {
    if count == 1 {
        whole(operation())
    } else {
        Outcome::Failed(Errno::Inval)
    }
}

struct MapCommand<D> {
    caller: D,
}

impl<H: Host> Command<H> for MapCommand<H::Domain> {
    type Element = MapGrantRef;

    fn work(&mut self, host: &H, element: &mut MapGrantRef) -> u32 {
        map_grant_ref(host, &self.caller, element);
        1
    }
}

struct UnmapCommand<D> {
    caller: D,
}

impl<H: Host> Command<H> for UnmapCommand<H::Domain> {
    type Element = UnmapGrantRef;

    fn work(&mut self, host: &H, element: &mut UnmapGrantRef) -> u32 {
        unmap_grant_ref(host, &self.caller, element);
        1
    }
}

fn read<H: Host, T: FromBytes + IntoBytes + Immutable + KnownLayout>(
    host: &H,
    at: GuestPtr,
) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    host.copy_from_guest(at, value.as_mut_bytes())
        .map_err(|_| Errno::Fault)?;
    Ok(value)
}

fn write<H: Host, T: IntoBytes + Immutable>(
    host: &H,
    at: GuestPtr,
    value: &T,
) -> Result<(), Errno> {
    host.copy_to_guest(at, value.as_bytes())
        .map_err(|_| Errno::Fault)
}

/// The domain a table operation is about.
fn target<H: Host>(host: &H, domid: u16) -> Option<H::Domain> {
    if DomId(domid) == DomId::SELF {
        Some(host.current())
    } else {
        host.domain(DomId(domid))
    }
}

/// `setup_table` without the differences between the layouts.
struct Setup {
    dom: u16,
    nr_frames: u32,
    frame_list: GuestPtr,
    entry_size: u64,
    status_at: GuestPtr,
}

fn read_setup<H: Host>(host: &H, layout: GuestLayout, at: GuestPtr) -> Result<Setup, Errno> {
    Ok(match layout {
        GuestLayout::Native => {
            let op: SetupTable64 = read(host, at)?;
            Setup {
                dom: op.dom,
                nr_frames: op.nr_frames,
                frame_list: GuestPtr(op.frame_list),
                entry_size: 8,
                status_at: at.byte_offset(offset_of!(SetupTable64, status) as u64),
            }
        }
        GuestLayout::Compat => {
            let op: SetupTable32 = read(host, at)?;
            Setup {
                dom: op.dom,
                nr_frames: op.nr_frames,
                frame_list: GuestPtr(u64::from(op.frame_list)),
                entry_size: 4,
                status_at: at.byte_offset(offset_of!(SetupTable32, status) as u64),
            }
        }
    })
}

fn setup_table<H: Host>(
    host: &H,
    caller: &H::Domain,
    layout: GuestLayout,
    at: GuestPtr,
) -> Result<(), Errno> {
    let op = read_setup(host, layout, at)?;
    if !host.guest_range_ok(op.frame_list, u64::from(op.nr_frames) * op.entry_size) {
        return Err(Errno::Fault);
    }
    let status = match target(host, op.dom) {
        None => Gntst::BadDomain,
        Some(owner) if host.may_setup_table(caller, &owner).is_err() => Gntst::PermissionDenied,
        Some(owner) => setup_frames(host, &owner, &op),
    };
    write(host, op.status_at, &status.wire())
}

fn setup_frames<H: Host>(host: &H, owner: &H::Domain, op: &Setup) -> Gntst {
    let Some(state) = owner.state() else {
        return Gntst::BadDomain;
    };
    let mut status = Gntst::Okay;
    let grown = state
        .grants
        .setup(host, owner, op.nr_frames, |index, page| {
            let gfn = page.gfn(owner).map_or(u64::MAX, |gfn| gfn.number());
            let at = op.frame_list.byte_offset(u64::from(index) * op.entry_size);
            let written = if op.entry_size == 8 {
                write(host, at, &gfn)
            } else {
                write(host, at, &(gfn as u32))
            };
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => {
                    status = Gntst::BadVirtAddr;
                    ControlFlow::Break(())
                }
            }
        });
    match grown {
        Ok(()) => status,
        Err(error) => {
            log::info!("{} grant table: {error:?}", owner.id());
            Gntst::GeneralError
        }
    }
}

fn query_size<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Result<(), Errno> {
    let mut op: QuerySize = read(host, at)?;
    let asked = target(host, op.dom);
    op.status = match &asked {
        None => Gntst::BadDomain,
        Some(owner) if host.may_query_table(caller, owner).is_err() => Gntst::PermissionDenied,
        Some(owner) => match owner.state() {
            None => Gntst::BadDomain,
            Some(state) => {
                op.nr_frames = state.grants.frame_count();
                op.max_nr_frames = state.grants.max_frames();
                Gntst::Okay
            }
        },
    }
    .wire();
    write(host, at, &op)
}

fn set_version<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Result<(), Errno> {
    let mut op: SetVersion = read(host, at)?;
    let state = caller.state().ok_or(Errno::NoSys)?;
    let result = match op.version {
        1 => Ok(()),
        2 if MAX_VERSION < 2 => Err(Errno::NoSys),
        _ => Err(Errno::Inval),
    };
    op.version = state.grants.version();
    write(host, at, &op)?;
    result
}

fn get_version<H: Host>(host: &H, caller: &H::Domain, at: GuestPtr) -> Result<(), Errno> {
    let mut op: GetVersion = read(host, at)?;
    let owner = target(host, op.dom).ok_or(Errno::Srch)?;
    host.may_query_table(caller, &owner)
        .map_err(|_| Errno::Perm)?;
    op.version = owner.state().ok_or(Errno::Srch)?.grants.version();
    write(host, at, &op)
}

// A table error has no number of its own in `setup_table`.
impl From<TableError> for Errno {
    fn from(error: TableError) -> Self {
        match error {
            TableError::BadLimits | TableError::TooLarge { .. } => Self::Inval,
            TableError::OutOfMemory => Self::NoMem,
        }
    }
}
