// SPDX-License-Identifier: GPL-2.0-only
//! Where the elements of a call came from.

use hv::host::{ElementsAt, GuestFault, GuestMemory, MappedMemory, Origin};

use super::machine::Machine;

/// Writes results by the guest's addresses, or into the memory mapped for Xen.
pub struct ModelOrigin<'a> {
    pub(super) host: &'a Machine,
    pub(super) at: ElementsAt<'a, Machine>,
    /// Bytes that were copied in.
    pub(super) bytes: usize,
}

impl Origin for ModelOrigin<'_> {
    /// # Panics
    ///
    /// Results that are not where elements were: Xen may have kept no more than their
    /// page.
    fn write(&self, offset: usize, from: &[u8]) -> Result<(), GuestFault> {
        assert!(
            offset + from.len() <= self.bytes,
            "a result outside the elements"
        );
        let offset = offset as u64;
        match self.at {
            ElementsAt::Guest(at) => self.host.copy_to_guest(at.byte_offset(offset), from),
            ElementsAt::Mapped(memory, start) => memory.write(start + offset, from),
        }
    }
}
