// SPDX-License-Identifier: GPL-2.0-only
//! Grant-DMA: making frames reachable to devices without mapping them for any
//! CPU.
//!
//! | module | holds |
//! |---|---|
//! | [`map`] | validation of `map`, pinning of the frames, programming of the IOMMU |
//! | [`unmap`] | `unmap`, and the release of what a dying domain leaves |
//! | [`flush`] | the IOTLB flush, and what may happen only after it |
//! | [`lookup`] | both directions of the look-up |
//! | [`query`] | what the service offers, and which treatment a device needs |
//! | [`context`] | a device address space: pages, mappings, free addresses |
//! | [`unflushed`] | values that an IOTLB may still use |
//!
//! A page of a context goes through these states; nothing else is possible:
//!
//! ```text
//!  Free -> Reserved -> Pinned -> Mapped -> FlushPending -> Free
//!             |          |
//!             +----------+--> Free          (the map failed before the IOMMU saw it)
//! ```

pub mod context;
pub mod flush;
pub mod lookup;
pub mod map;
pub mod query;
pub mod unflushed;
pub mod unmap;

use core::sync::atomic::AtomicU64;

pub use context::{Context, DmaPin, Handle};
pub use unflushed::Unflushed;

use crate::{
    host::Host,
    sync::{Rank, SpinLock},
};

/// A domain as holder of DMA mappings.
pub struct Dma<H: Host> {
    /// The default context.
    pub(crate) context: H::Spin<Context<H>>,
    /// Flushes that gave frames back.
    pub(crate) flushes: AtomicU64,
}

impl<H: Host> Dma<H> {
    /// No mappings yet, and never more than `max_pins` frames.
    pub fn new(max_pins: u32) -> Self {
        Self {
            context: H::Spin::new(Rank::Context, Context::new(max_pins)),
            flushes: AtomicU64::new(0),
        }
    }

    /// Frames pinned now, those waiting for a flush included.
    pub fn pinned(&self) -> u32 {
        self.context.lock().pinned()
    }
}
