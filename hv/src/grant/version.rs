// SPDX-License-Identifier: GPL-2.0-only
//! Changing the format of a table's entries: `set_version`.
//!
//! The reserved entries at the beginning of the table, which the toolstack keeps
//! in use, survive; all others must not be in use and are wiped.

use hypercall_abi::{
    Errno,
    grant::{
        GTF_INVALID, GTF_PERMIT_ACCESS, GTF_READING, GTF_TRANSITIVE, GTF_TYPE_MASK, GTF_WRITING,
        NR_RESERVED_ENTRIES,
    },
};

use super::{
    entry::Head,
    table::{Frames, GrantTable, TableError, Version},
};
use crate::{
    addr::Gfn,
    host::{Domain, Host, UnshareError},
    sync::SpinLock,
};

const IN_USE: u16 = GTF_READING | GTF_WRITING;

/// Why the format could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionError {
    /// There is no such version.
    Unknown,
    /// The domain may not have it.
    NotAllowed,
    /// An entry that would not survive is in use.
    InUse,
    /// A reserved entry that cannot be converted is in use.
    ReservedInUse,
    /// A reserved entry cannot be expressed in the other format.
    NotRepresentable,
    /// No memory for status frames.
    OutOfMemory,
    /// The guest has status frames in use.
    StatusInUse,
}

impl From<VersionError> for Errno {
    fn from(error: VersionError) -> Self {
        match error {
            VersionError::Unknown => Self::Inval,
            VersionError::NotAllowed => Self::NoSys,
            VersionError::InUse | VersionError::StatusInUse => Self::Busy,
            VersionError::ReservedInUse => Self::Again,
            VersionError::NotRepresentable => Self::Range,
            VersionError::OutOfMemory => Self::NoMem,
        }
    }
}

/// A reserved entry on its way from one format to the other.
#[derive(Clone, Copy)]
struct Kept {
    head: Head,
    frame: Gfn,
    in_use: u16,
}

const NOTHING: Kept = Kept {
    head: Head {
        flags: GTF_INVALID,
        domid: 0,
    },
    frame: Gfn::new(0),
    in_use: 0,
};

impl<H: Host> GrantTable<H> {
    /// Changes the format of the entries to version `number`.
    ///
    /// Takes the table's lock for writing.
    pub fn set_version(
        &self,
        host: &H,
        owner: &H::Domain,
        number: u32,
    ) -> Result<(), VersionError> {
        let wanted = match number {
            1 => Version::V1,
            2 if self.limits().max_version < 2 => return Err(VersionError::NotAllowed),
            2 => Version::V2,
            _ => return Err(VersionError::Unknown),
        };
        let mut frames = self.write();
        if frames.version() == wanted {
            return Ok(());
        }
        frames.check_unused().inspect_err(|_| {
            log::debug!("{}: grants in use, version not changed", owner.id());
        })?;
        let kept = frames.reserved(owner)?;
        match wanted {
            Version::V1 => frames.leave_v2(owner).map_err(|error| match error {
                UnshareError::Busy | UnshareError::Broken => VersionError::StatusInUse,
            })?,
            Version::V2 => frames.enter_v2(host, owner).map_err(|error| match error {
                TableError::OutOfMemory
                | TableError::BadLimits
                | TableError::TooLarge { .. }
                | TableError::NoStatus => VersionError::OutOfMemory,
            })?,
        }
        self.publish_version(wanted);
        // Nothing of the old format must be taken for something of the new one.
        frames.clear();
        for (index, kept) in kept.iter().enumerate() {
            if let Some(entry) = frames.shared_entry(owner, index) {
                entry.set(kept.head, kept.frame, kept.in_use);
            }
        }
        Ok(())
    }
}

impl<H: Host> Frames<H> {
    /// Only reserved entries are in use, and none of these for copies that version 1
    /// does not know.
    fn check_unused(&mut self) -> Result<(), VersionError> {
        let entries = self.entries();
        for (index, active) in (0..entries).zip(self.active_entries()) {
            let active = active.get_mut();
            if active.pins.is_empty() {
                continue;
            }
            if index >= NR_RESERVED_ENTRIES {
                return Err(VersionError::InUse);
            }
            if active.part.is_for_copies_only() {
                return Err(VersionError::ReservedInUse);
            }
        }
        Ok(())
    }

    /// The reserved entries.
    fn reserved(
        &self,
        owner: &H::Domain,
    ) -> Result<[Kept; NR_RESERVED_ENTRIES as usize], VersionError> {
        let mut kept = [NOTHING; NR_RESERVED_ENTRIES as usize];
        for (index, kept) in kept.iter_mut().enumerate() {
            let Some(entry) = self.shared_entry(owner, index) else {
                continue;
            };
            let head = entry.head();
            let found = Kept {
                head: Head {
                    flags: head.flags & !IN_USE,
                    ..head
                },
                frame: entry.frame(),
                in_use: entry.status() & IN_USE,
            };
            *kept = match self.version() {
                // Whatever it is, version 2 can say it.
                Version::V1 => found,
                Version::V2 => match head.flags & GTF_TYPE_MASK {
                    GTF_PERMIT_ACCESS if u32::try_from(found.frame.number()).is_ok() => found,
                    GTF_PERMIT_ACCESS | GTF_TRANSITIVE => {
                        return Err(VersionError::NotRepresentable);
                    }
                    _ => NOTHING,
                },
            };
        }
        Ok(kept)
    }
}
