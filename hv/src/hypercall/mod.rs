// SPDX-License-Identifier: GPL-2.0-only
//! From the guest's registers to the service and back.
//!
//! | module | holds |
//! |---|---|
//! | [`grant_dma`] | hypercall 47: the DMA service |
//! | [`grant_table`] | hypercall 20: the grant tables |
//! | [`batch`] | arrays of elements: copied in once, worked on, copied out, in bounded steps |

pub mod batch;
pub mod grant_dma;
pub mod grant_table;

use hypercall_abi::Errno;

use crate::addr::GuestPtr;

/// What the guest finds in its register: 0, a negative error number, or while a call
/// is to be continued whatever the host wants there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the guest waits for it"]
pub struct Answer(i64);

impl Answer {
    /// Every element was worked on.
    pub const COMPLETE: Self = Self(0);

    /// A result that is not an error: what does not fit is one.
    pub fn value(value: u64) -> Self {
        i64::try_from(value).map_or_else(|_| Errno::Range.into(), Self)
    }

    /// For implementations of [`crate::host::Execution::continue_call`] alone.
    pub const fn continued(register: i64) -> Self {
        Self(register)
    }

    /// The value of the register.
    pub const fn register(self) -> i64 {
        self.0
    }
}

/// The call as a whole failed.
impl From<Errno> for Answer {
    #[inline(always)]
    fn from(error: Errno) -> Self {
        Self(i64::from(error.wire()))
    }
}

impl From<Result<(), Errno>> for Answer {
    #[inline(always)]
    fn from(result: Result<(), Errno>) -> Self {
        match result {
            Ok(()) => Self::COMPLETE,
            Err(error) => error.into(),
        }
    }
}

/// Which hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypercall {
    /// Number 20.
    GrantTable,
    /// Number 47.
    GrantDma,
}

/// A hypercall with an array as the guest makes it, or as it is to be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which hypercall.
    pub hypercall: Hypercall,
    /// Its command.
    pub cmd: u32,
    /// The array.
    pub at: GuestPtr,
    /// Elements.
    pub count: u32,
}
