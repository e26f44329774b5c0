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

/// How a hypercall ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every element was worked on.
    Complete,
    /// The call as a whole failed.
    Failed(Errno),
    /// Preempted. The first elements are done and must not be done again: the
    /// call is to be continued behind them.
    Continue {
        /// Elements done.
        elements: u32,
        /// Bytes of the array they take up.
        bytes: u64,
        /// What the first of the others is to be continued with: bits of the
        /// command's number that the command itself does not use.
        resume: u32,
    },
}
