// SPDX-License-Identifier: GPL-2.0-only
//! Why a reference could not be used.

use hypercall_abi::grant::Gntst;

use super::entry::EntryError;
use crate::{addr::DomId, host::FrameError};

/// Why a reference could not be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinError {
    /// Holder's side: the reference is outside the table.
    OutOfRange {
        /// Entries in the table.
        entries: u32,
    },
    /// The domain has no grant table.
    NoTable,
    /// The entry does not permit it.
    Entry(EntryError),
    /// Another domain uses the reference at the moment.
    OtherHolder(DomId),
    /// Too many uses of one kind.
    TooMany,
    /// Holder's side: the grant is for copies only, and in use.
    ForCopiesOnly,
    /// Granter's side: the part of the page begins outside of it.
    BadPart,
    /// Transitive grants are not allowed, or not here.
    NotTransitive,
    /// Granter's side: a transitive grant leads to a domain that is not there.
    NoOrigin,
    /// Granter's side: a transitive grant kept changing. The holder may try again.
    Changed,
    /// Granter's side: the entry names another page, or part of it, than is in use.
    OtherPage,
    /// Access control: of the domain that a transitive grant leads to.
    Refused,
    /// Xen has no memory.
    OutOfMemory,
    /// Granter's side: the frame.
    Frame(FrameError),
}

impl From<PinError> for Gntst {
    fn from(error: PinError) -> Self {
        match error {
            PinError::OutOfRange { .. } => Self::BadGntref,
            PinError::NoTable => Self::BadDomain,
            PinError::Entry(_)
            | PinError::OtherHolder(_)
            | PinError::TooMany
            | PinError::ForCopiesOnly
            | PinError::BadPart
            | PinError::NotTransitive
            | PinError::NoOrigin
            | PinError::OtherPage
            | PinError::OutOfMemory
            | PinError::Frame(FrameError::NotWritable | FrameError::Gone) => Self::GeneralError,
            PinError::Refused => Self::PermissionDenied,
            PinError::Frame(FrameError::NotMemory) => Self::BadPage,
            PinError::Changed | PinError::Frame(FrameError::TryAgain) => Self::EAgain,
        }
    }
}
