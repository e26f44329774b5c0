// SPDX-License-Identifier: GPL-2.0-only
//! Address spaces of devices, each with I/O page tables of its own.

use super::{domains::Domains, iommu::IommuError};
use crate::addr::{Dfn, DfnRange};

/// Why there can be no new I/O page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoIoContext {
    /// The IOMMUs cannot tell more address spaces apart.
    OutOfNumbers,
    /// Xen has no memory.
    OutOfMemory,
}

/// What a context is to have besides mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// A 1:1 copy of its owner's memory.
    Mirror,
}

/// How far a long operation of the host has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is complete.
    Done,
    /// Something else wants the CPU, or another vcpu is at the same work: call again.
    Preempted,
}

/// Why I/O page tables could not be made a copy of a domain's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// Not on this machine.
    Unsupported,
    /// Xen has no memory.
    OutOfMemory,
    /// The IOMMU failed.
    Iommu,
}

/// A context has devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasDevices;

/// Making and ending I/O page tables, and what they are filled with from the start.
pub trait Contexts: Domains {
    /// I/O page tables of a context. No device uses them when the value is dropped:
    /// either [`Contexts::close_io_context`] has succeeded, or the owner is dead and its
    /// devices have been taken from it.
    type IoContext: Send + Sync;

    /// Device frames for mappings in a context of `owner`: none above `last`, `wanted`
    /// of them if there are as many. None has a reserved region of any of the machine's
    /// devices, and every IOMMU of the machine translates them. With
    /// [`Content::Mirror`], all are above what `owner` has at this moment.
    fn context_range(
        &self,
        owner: &Self::Domain,
        last: Dfn,
        wanted: u64,
        content: Content,
    ) -> Option<DfnRange>;

    /// New I/O page tables with nothing in them, for devices of `owner`. `number`
    /// is what [`super::Devices::pci_device`] is to tell of devices there.
    fn new_io_context(
        &self,
        owner: &Self::Domain,
        number: u32,
    ) -> Result<Self::IoContext, NoIoContext>;

    /// Makes I/O page tables of `owner`, the caller, where no device is, a 1:1 copy of
    /// its memory: of what it has at device frames below `end`. From the first call on
    /// the copy is kept in step with the memory: what leaves it, is out of devices'
    /// reach before the page is anybody else's. Bounded: [`Progress::Preempted`] asks
    /// for another call with the same arguments. One vcpu at a time. After an error
    /// there may be parts, which are in step as well.
    ///
    /// No lock of the service is held; none is taken when the memory changes.
    fn mirror_memory(
        &self,
        owner: &Self::Domain,
        context: &Self::IoContext,
        end: Dfn,
    ) -> Result<Progress, CopyError>;

    /// Takes the copy out of the tables, if there is one: devices do not reach it any
    /// more when this is [`Progress::Done`], and it is not kept in step any longer.
    /// Bounded likewise. On error it is in step still, except that nothing is added.
    fn end_mirror(&self, context: &Self::IoContext) -> Result<Progress, IommuError>;

    /// From now on no device can be moved there.
    fn close_io_context(&self, context: &Self::IoContext) -> Result<(), HasDevices>;

    /// So many contexts, of all domains together, the IOMMUs can tell apart.
    fn most_contexts(&self) -> u32;
}
