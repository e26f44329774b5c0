// SPDX-License-Identifier: GPL-2.0-only
//! Memory of the calling guest: arguments of hypercalls and their results.

use alloc::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{OutOfMemory, frames::Frames};
use crate::addr::GuestPtr;

/// Most elements of a guest's array that are copied in at a time. Their copies
/// live on Xen's stack, of which there are only 8 KiB.
pub const ELEMENTS_PER_COPY: usize = 16;

/// The guest's memory was not accessible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFault;

/// Where elements of an array are.
pub enum ElementsAt<'a, H: GuestMemory> {
    /// At an address of the calling guest's.
    Guest(GuestPtr),
    /// At an offset in memory that is mapped for Xen.
    Mapped(&'a H::MappedMemory, u64),
}

/// What is done with elements that are copied in.
#[derive(Debug)]
pub enum Elements<'a, K> {
    /// They are read.
    Read,
    /// Results are written to where they were. The host may keep the page that they
    /// are in until then, and look for it only once. It has to be memory of the guest's
    /// own: what is somebody else's may be taken away by the very call.
    Answered,
    /// The same, and they are a part of an array of which other parts come before or
    /// after. What the host keeps here, it may use for those too.
    AnsweredInParts(&'a mut K),
}

/// Where elements came from, while they are worked on.
pub trait Origin {
    /// Copies results there. `offset` is in bytes, from the first element.
    fn write(&self, offset: usize, from: &[u8]) -> Result<(), GuestFault>;
}

/// Frames that Xen has mapped for itself; whoever's they are may change the contents
/// at any moment.
pub trait MappedMemory: Send + Sync {
    /// How much it is.
    fn bytes(&self) -> u64;

    /// Copies there. An error if it does not all fit: then nothing was written.
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), GuestFault>;
}

/// Reading and writing memory of the calling vcpu.
pub trait GuestMemory: Frames {
    /// Frames that Xen has mapped for itself as long as the value lives. Dropping it
    /// unmaps them, then gives them back. Called without locks of the service.
    type MappedMemory: MappedMemory;

    /// What is kept of an array's memory between its parts; by default nothing.
    type Kept: Default;

    /// Where elements of a call came from.
    type Origin<'a>: Origin
    where
        Self: 'a;

    /// The guest may use the range of addresses at all. Says nothing about what
    /// is mapped there.
    fn guest_range_ok(&self, at: GuestPtr, bytes: u64) -> bool;

    /// Copies `count` elements in, at most [`ELEMENTS_PER_COPY`], each byte once,
    /// and passes them to `work`, with the place for results. They need no other
    /// initialisation, which would cost more than many operations.
    fn with_elements<T, R>(
        &self,
        at: ElementsAt<'_, Self>,
        count: usize,
        then: Elements<'_, Self::Kept>,
        work: impl FnOnce(&mut [T], &Self::Origin<'_>) -> R,
    ) -> Result<R, GuestFault>
    where
        T: FromBytes + IntoBytes + Immutable + Copy;

    /// Maps frames one behind the other for Xen itself to read and write.
    fn map_memory(&self, frames: Vec<Self::Frame>) -> Result<Self::MappedMemory, OutOfMemory>;

    /// Copies out.
    fn copy_to_guest(&self, at: GuestPtr, from: &[u8]) -> Result<(), GuestFault>;
}
