// SPDX-License-Identifier: GPL-2.0-only
//! `register_args`: memory that a vcpu passes its arguments in.
//!
//! An area is its vcpu's alone: only calls of this vcpu use it or change it, until the
//! domain dies and none of its vcpus runs. A call that uses it holds a share of its own.

use alloc::vec::Vec;

use hypercall_abi::{
    Errno,
    arguments::{RegisterArgs, XEN_GDMA_MAX_ARGS_FRAMES},
};

use crate::{
    addr::{Access, Gfn, GuestPtr},
    host::{ElementsAt, FrameError, GuestMemory, Host, IoMemory, Locks, OutOfMemory},
    hypercall::batch::Place,
    state::DomainState,
    sync::{Rank, SpinLock},
};

/// What a vcpu has registered.
type Area<H> = <H as Locks>::Shared<<H as GuestMemory>::MappedMemory>;

/// The argument areas of a domain's vcpus.
pub(super) struct Areas<H: Host> {
    /// By number of the vcpu.
    of_vcpus: Vec<H::Spin<Option<Area<H>>>>,
}

impl<H: Host> Areas<H> {
    /// None yet, of so many vcpus.
    pub fn new(vcpus: u32) -> Result<Self, OutOfMemory> {
        let mut of_vcpus = Vec::new();
        of_vcpus
            .try_reserve_exact(vcpus as usize)
            .map_err(|_| OutOfMemory)?;
        of_vcpus.resize_with(vcpus as usize, || H::Spin::new(Rank::Arguments, None));
        Ok(Self { of_vcpus })
    }

    fn of_current(&self, host: &H) -> Option<&H::Spin<Option<Area<H>>>> {
        self.of_vcpus.get(host.current_vcpu() as usize)
    }

    /// Takes away what some vcpu has. False: none has anything.
    fn drop_one(&self) -> bool {
        self.of_vcpus.iter().any(|area| {
            // No lock is held when the memory goes.
            let taken = area.lock().take();
            taken.is_some()
        })
    }
}

/// Why a `register_args` element failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// A frame cannot be pinned.
    Frame(FrameError),
    /// For records, or for Xen's page tables.
    OutOfMemory,
}

impl From<OutOfMemory> for RegisterError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<RegisterError> for Errno {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::BadField(_) => Self::Inval,
            RegisterError::Frame(FrameError::TryAgain) => Self::Again,
            RegisterError::Frame(
                FrameError::NotMemory | FrameError::NotWritable | FrameError::Gone,
            ) => Self::Fault,
            RegisterError::OutOfMemory => Self::NoMem,
        }
    }
}

/// Works on one element of `register_args`, for the calling vcpu.
///
/// Takes the area's lock.
pub fn register<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    op: &RegisterArgs,
) -> Result<(), RegisterError> {
    if op.nr_frames > XEN_GDMA_MAX_ARGS_FRAMES {
        return Err(RegisterError::BadField("nr_frames"));
    }
    let area = if op.nr_frames == 0 {
        if op.gfn != 0 {
            return Err(RegisterError::BadField("gfn"));
        }
        None
    } else {
        let memory = host.map_memory(pin(host, caller, op)?)?;
        Some(host.share(memory)?)
    };
    // A domain has no more vcpus than it was made for.
    let Some(place) = state.dma.arguments.of_current(host) else {
        return Err(RegisterError::OutOfMemory);
    };
    // No lock is held when the old one goes.
    let old = core::mem::replace(&mut *place.lock(), area);
    drop(old);
    Ok(())
}

/// The frames of an area: its vcpu and Xen write to them.
fn pin<H: Host>(
    host: &H,
    caller: &H::Domain,
    op: &RegisterArgs,
) -> Result<Vec<H::Frame>, RegisterError> {
    let mut frames = Vec::new();
    frames
        .try_reserve_exact(op.nr_frames as usize)
        .map_err(|_| RegisterError::OutOfMemory)?;
    let first = Gfn::new(op.gfn);
    for nth in 0..u64::from(op.nr_frames) {
        let gfn = first
            .checked_add(nth)
            .ok_or(RegisterError::Frame(FrameError::NotMemory))?;
        let access = Access {
            read: true,
            write: true,
        };
        let frame = host
            .pin_gfn(caller, gfn, access, true, IoMemory::Refused)
            .map_err(RegisterError::Frame)?;
        frames.push(frame);
    }
    Ok(frames)
}

/// Gives back the argument areas of a dying domain, whose vcpus no longer run. False:
/// something else wants the CPU first.
pub fn release_all<H: Host>(host: &H, state: &DomainState<H>) -> bool {
    while state.dma.arguments.drop_one() {
        if host.preempt_requested() {
            return false;
        }
    }
    true
}

/// Where a call has its array.
pub enum ArgumentPlace<H: Host> {
    /// At an address of the guest's.
    Guest,
    /// In the area of the calling vcpu.
    Registered(Area<H>),
}

impl<H: Host> ArgumentPlace<H> {
    /// The area of the calling vcpu, for a call with its array at `offset`.
    ///
    /// Takes the area's lock.
    pub fn registered(host: &H, state: &DomainState<H>, offset: GuestPtr) -> Result<Self, Errno> {
        if !offset.0.is_multiple_of(8) {
            return Err(Errno::Inval);
        }
        state
            .dma
            .arguments
            .of_current(host)
            .and_then(|area| area.lock().clone())
            .map(Self::Registered)
            .ok_or(Errno::NoEnt)
    }
}

impl<H: Host> Place<H> for ArgumentPlace<H> {
    fn at(&self, at: GuestPtr) -> ElementsAt<'_, H> {
        match self {
            Self::Guest => ElementsAt::Guest(at),
            Self::Registered(area) => ElementsAt::Mapped(&**area, at.0),
        }
    }
}
