// SPDX-License-Identifier: GPL-2.0-only
//! Grant-DMA: making frames reachable to devices without mapping them for any
//! CPU.
//!
//! | module | holds |
//! |---|---|
//! | [`arguments`] | the memory that vcpus pass their arguments in |
//! | [`attach`] | contexts: making and ending them, moving devices |
//! | [`mirror`] | contexts that are a copy of their owner's memory |
//! | [`map`] | validation of `map`, pinning of the frames, programming of the IOMMU |
//! | `together` | elements of `map` and `unmap` that the IOMMU is told of at once |
//! | [`unmap`] | `unmap`, and the release of what a dying domain leaves |
//! | [`window`] | large mappings, made and ended in bounded steps |
//! | [`identity`] | the default context of domains whose devices work with machine addresses |
//! | [`flush`] | the IOTLB flush, and what may happen only after it |
//! | [`lookup`] | both directions of the look-up |
//! | [`faults`] | what the IOMMU has stopped devices from doing |
//! | [`control`] | revocation by the granter, limits, counters |
//! | [`query`] | what the service offers, and which treatment a device needs |
//! | `show` | what a person sees at Xen's console |
//! | [`single`] | `map` and `unmap` of one frame, with everything in registers |
//! | [`space`] | the device address spaces of a domain, by number |
//! | [`context`] | a device address space: pages, mappings, free addresses |
//! | [`quota`] | how much a domain may hold |
//! | `turn` | the context that a call is at work on |
//! | [`unflushed`] | values that an IOTLB may still use |
//!
//! A page of a context goes through these states; nothing else is possible:
//!
//! ```text
//!  Free -> Reserved -> Pinned -> Mapped -> FlushPending -> Free
//!             |          |
//!             +----------+--> Free          (the map failed before the IOMMU saw it)
//! ```

pub mod arguments;
pub mod attach;
pub mod context;
pub mod control;
pub mod faults;
pub mod flush;
pub mod identity;
pub mod lookup;
pub mod map;
pub mod mirror;
pub mod query;
pub mod quota;
mod show;
pub mod single;
pub mod space;
mod together;
mod turn;
pub mod unflushed;
pub mod unmap;
pub mod window;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use context::{Context, DmaPin, Handle};
pub use unflushed::Unflushed;

use self::{
    arguments::Areas,
    faults::Faults,
    quota::Quota,
    space::{SharedSpace, Spaces},
};
use crate::{
    host::{Host, OutOfMemory},
    sync::{Rank, ReadWriteLock, SpinLock},
};

/// So many pins are taken, or given back, in one critical section of their context.
const PINS_AT_A_TIME: usize = 16;

/// What happened since the domain was created.
#[derive(Debug, Default)]
pub struct Counters {
    /// Mappings made.
    pub maps: AtomicU64,
    /// Frames in them.
    pub mapped_frames: AtomicU64,
    /// Mappings ended.
    pub unmaps: AtomicU64,
    /// Frames in them.
    pub unmapped_frames: AtomicU64,
    /// Flushes that gave frames back.
    pub flushes: AtomicU64,
    /// Flushes that failed.
    pub failed_flushes: AtomicU64,
    /// Mappings that their granters ended.
    pub revoked: AtomicU64,
    /// Devices moved.
    pub attaches: AtomicU64,
    /// Faults of devices.
    pub faults: AtomicU64,
}

/// Limits of a domain as holder of DMA mappings.
#[derive(Clone, Copy, Debug)]
pub struct DmaLimits {
    /// Most frames pinned at once.
    pub max_pins: u32,
    /// Most contexts besides the default one.
    pub max_contexts: u32,
}

/// A domain as holder of DMA mappings.
pub struct Dma<H: Host> {
    default: SharedSpace<H>,
    spaces: H::ReadWrite<Spaces<H>>,
    /// Frames pinned, those waiting for a flush included.
    pub(crate) pins: Quota,
    /// Their limit when the domain was created: the default context's range has room
    /// for these, whatever the limit is later.
    pub(crate) first_max_pins: u32,
    /// Contexts besides the default one.
    pub(crate) contexts: Quota,
    pub(crate) counters: Counters,
    pub(crate) faults: H::Spin<Faults>,
    /// A flush that an element wanted failed when its call was preempted: whichever
    /// call ends next makes it, or fails.
    pub(crate) owes_flush: AtomicBool,
    arguments: Areas<H>,
}

impl Counters {
    /// Mappings were made, with so many frames all together.
    fn mapped(&self, maps: u64, frames: u64) {
        self.maps.fetch_add(maps, Ordering::Release);
        self.mapped_frames.fetch_add(frames, Ordering::Relaxed);
    }

    /// Mappings were ended, with so many frames all together.
    fn unmapped(&self, unmaps: u64, frames: u64) {
        self.unmaps.fetch_add(unmaps, Ordering::Release);
        self.unmapped_frames.fetch_add(frames, Ordering::Relaxed);
    }
}

impl<H: Host> Dma<H> {
    /// No mappings and no contexts yet, of a domain with so many vcpus at most.
    pub fn new(host: &H, limits: DmaLimits, vcpus: u32) -> Result<Self, OutOfMemory> {
        Ok(Self {
            default: Self::new_default(host)?,
            spaces: H::ReadWrite::new(Rank::Spaces, Spaces::new()),
            pins: Quota::new(limits.max_pins),
            first_max_pins: limits.max_pins,
            contexts: Quota::new(limits.max_contexts),
            counters: Counters::default(),
            faults: H::Spin::new(Rank::Faults, Faults::default()),
            owes_flush: AtomicBool::new(false),
            arguments: Areas::new(vcpus)?,
        })
    }

    /// Mappings that have not ended.
    pub fn live(&self) -> u32 {
        // In this order: no mapping ends before it is made.
        let ended = self.counters.unmaps.load(Ordering::Acquire);
        let made = self.counters.maps.load(Ordering::Acquire);
        made.saturating_sub(ended) as u32
    }

    /// Frames pinned now, those waiting for a flush included.
    pub fn pinned(&self) -> u32 {
        self.pins.used()
    }
}
