// SPDX-License-Identifier: GPL-2.0-only
//! The boundary: everything the service asks of a hypervisor, a room for each subject.
//!
//! | what is asked for | trait | in |
//! |---|---|---|
//! | who there is, and who calls | [`Domains`] | `domains.rs` |
//! | what policy allows whom | [`AccessControl`] | `access.rs` |
//! | references to frames of memory, and their contents | [`Frames`] | `frames.rs` |
//! | pages that Xen shares with a guest | [`SharedPages`] | `shared_pages.rs` |
//! | pages that change their owner | [`Transfers`] | `transfer.rs` |
//! | mappings of grants for CPUs | [`CpuMappings`] | `cpu.rs` |
//! | arguments and results in the caller's memory | [`GuestMemory`] | `guest.rs` |
//! | address spaces of devices | [`Contexts`] | `contexts.rs` |
//! | what is in them, and flushes | [`Iommu`] | `iommu.rs` |
//! | PCI devices | [`Devices`] | `devices.rs` |
//! | what guests and the administrator are told | [`Events`] | `events.rs` |
//! | the calling vcpu, preemption, speculation | [`Execution`] | `execution.rs` |
//! | locks, and values with several owners | [`Locks`] | `locks.rs` |
//!
//! [`Host`] is all of them together. Each implementation has files of the same names:
//! Xen's are in `c-shim/src/xen/`, the model's in `testbed/src/model/host/`, and those
//! that try all interleavings in `testbed/tests/interleavings/host/`.
//!
//! Signatures are safe. Whatever an implementation must promise beyond its types
//! is said at each method; the model in `testbed` checks what it can of it.
//!
//! A guest's word is never believed here: `GuestPtr`, `Gfn` and `GrantRef` are
//! allegations, and only an implementation's answer (a [`Frame`], bytes
//! copied in) is something to work with.

mod access;
mod contexts;
mod cpu;
mod devices;
mod domains;
mod events;
mod execution;
mod frames;
mod guest;
mod iommu;
mod locks;
mod shared_pages;
mod transfer;

pub use access::{AccessControl, Refused};
pub use contexts::{Content, Contexts, CopyError, HasDevices, NoIoContext, Progress};
pub use cpu::CpuMappings;
pub use devices::{AttachError, DeviceError, Devices, PciFacts};
pub use domains::{Domain, Domains};
pub use events::{Events, TraceEvent};
pub use execution::Execution;
pub use frames::{Frame, FrameError, FrameRun, Frames, IoMemory};
pub use guest::{
    ELEMENTS_PER_COPY, Elements, ElementsAt, GuestFault, GuestMemory, MappedMemory, Origin,
};
pub use iommu::{FlushFlags, Flushed, IoTables, Iommu, IommuError, IommuMode};
pub use locks::Locks;
pub use shared_pages::{SharedPage, SharedPages, UnshareError};
pub use transfer::{Given, LoosePage, OfferError, StealError, Transfers};

/// Xen has no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Everything the service asks of the hypervisor it runs in.
pub trait Host:
    Domains<Domain: Domain<Self>>
    + AccessControl
    + Frames
    + SharedPages
    + Transfers
    + CpuMappings
    + GuestMemory
    + Contexts
    + Iommu
    + Devices
    + Events
    + Execution
    + Locks
    + Send
    + Sync
    + 'static
{
}
