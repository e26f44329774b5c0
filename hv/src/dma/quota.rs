// SPDX-License-Identifier: GPL-2.0-only
//! How much a domain may make the hypervisor hold.

use core::sync::atomic::{AtomicU32, Ordering};

/// The limit would be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached;

/// A counter with a limit. Whatever it counts is counted before it is taken.
#[derive(Debug)]
pub struct Quota {
    used: AtomicU32,
    limit: AtomicU32,
}

impl Quota {
    /// Nothing used.
    pub fn new(limit: u32) -> Self {
        Self {
            used: AtomicU32::new(0),
            limit: AtomicU32::new(limit),
        }
    }

    /// Counts `count` more, if there is room for them.
    pub fn take(&self, count: u32) -> Result<(), LimitReached> {
        let limit = self.limit();
        let room = |used: u32| used.checked_add(count).filter(|&total| total <= limit);
        // The counter guards nothing but itself.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .map(|_| ())
            .map_err(|_| LimitReached)
    }

    /// Gives back what was taken.
    pub fn give_back(&self, count: u32) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    /// How much is used.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// How much may be.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit. What is used stays used. Returns the old one.
    pub fn set_limit(&self, limit: u32) -> u32 {
        self.limit.swap(limit, Ordering::Relaxed)
    }
}
