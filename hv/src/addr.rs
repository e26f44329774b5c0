// SPDX-License-Identifier: GPL-2.0-only
//! Address spaces and names, one type each, so that none is taken for another.
//!
//! | type | counts | of |
//! |---|---|---|
//! | [`Gfn`] | pages | a domain's guest physical address space |
//! | [`Mfn`] | pages | the machine |
//! | [`Dfn`] | pages | a device address space (what the IOMMU translates) |
//! | [`GuestPtr`] | bytes | the calling vcpu's view: virtual (PV, HVM), as in any hypercall |

use core::hash::{Hash, Hasher};

use crate::hash::hash_number;

/// log2 of the page size that grants, pins and the IOMMU work in.
pub const PAGE_SHIFT: u32 = 12;
/// The page size.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

macro_rules! frame_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl Hash for $name {
            fn hash<S: Hasher>(&self, state: &mut S) {
                hash_number(self.0, state);
            }
        }

        impl $name {
            /// The frame with this number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The frame's number.
            pub const fn number(self) -> u64 {
                self.0
            }

            /// The frame `count` further on, unless that leaves the number space.
            pub const fn checked_add(self, count: u64) -> Option<Self> {
                match self.0.checked_add(count) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// Address of the frame's first byte, unless it does not fit.
            pub const fn to_address(self) -> Option<u64> {
                if self.0 > u64::MAX >> PAGE_SHIFT {
                    None
                } else {
                    Some(self.0 << PAGE_SHIFT)
                }
            }

            /// The frame that holds this address.
            pub const fn of_address(address: u64) -> Self {
                Self(address >> PAGE_SHIFT)
            }
        }
    };
}

frame_number! {
    /// Guest frame number.
    Gfn
}
frame_number! {
    /// Machine frame number.
    Mfn
}
frame_number! {
    /// Device frame number.
    Dfn
}

/// `count` consecutive device frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DfnRange {
    /// The first.
    pub first: Dfn,
    /// How many.
    pub count: u64,
}

impl DfnRange {
    /// Offset of `dfn` from the first frame, if it is in the range.
    pub fn index_of(self, dfn: Dfn) -> Option<u64> {
        let index = dfn.number().checked_sub(self.first.number())?;
        (index < self.count).then_some(index)
    }

    /// Addresses of its first and its last byte.
    pub fn byte_bounds(self) -> (u64, u64) {
        let first = self.first.number();
        let last = first + self.count.saturating_sub(1);
        (
            first << PAGE_SHIFT,
            (last << PAGE_SHIFT) | ((1 << PAGE_SHIFT) - 1),
        )
    }
}

/// Identifies a domain. Not every value names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomId(pub u16);

impl DomId {
    /// The caller (`DOMID_SELF` of Xen's public headers).
    pub const SELF: Self = Self(hypercall_abi::command::XEN_GDMA_DOMID_SELF);
}

impl core::fmt::Display for DomId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "d{}", self.0)
    }
}

/// A grant reference: index into the granter's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRef(pub u32);

/// A pointer that the calling guest passed. Only the host can dereference it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPtr(pub u64);

impl GuestPtr {
    /// The pointer `bytes` further on; wraps like the guest's own arithmetic
    /// would, because the host checks each access anyway.
    pub const fn byte_offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// What may be done through a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
}

impl Access {
    /// Reading only.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
    /// Reading and writing.
    pub const READ_WRITE: Self = Self {
        read: true,
        write: true,
    };
}
