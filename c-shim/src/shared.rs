// SPDX-License-Identifier: GPL-2.0-only
//! Values with several owners. `Arc` would do, if it could tell that there is no
//! memory instead of giving up.

use alloc::vec::Vec;
use core::{
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering, fence},
};

use hv::host::OutOfMemory;

/// More owners than this there cannot be; each is a stack frame or a table entry.
const MOST_OWNERS: u32 = u32::MAX / 2;

struct Counted<T> {
    owners: AtomicU32,
    value: T,
}

/// One owner of a value.
///
/// # Invariants
///
/// The pointer came out of the only element of a vector of capacity 1 that was
/// leaked, and is counted in `owners` once.
pub(crate) struct Shared<T>(NonNull<Counted<T>>);

// SAFETY: as for `Arc`: whoever has one may look at the value, and the last one may
// drop it, on any CPU.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: the same.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Result<Self, OutOfMemory> {
        let mut room = Vec::new();
        room.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
        room.push(Counted {
            owners: AtomicU32::new(1),
            value,
        });
        // It has just been filled.
        NonNull::new(room.leak().as_mut_ptr())
            .map(Self)
            .ok_or(OutOfMemory)
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: the invariant: it is there while it is counted.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // There is an owner, so nobody drops the value meanwhile.
        let before = self.counted().owners.fetch_add(1, Ordering::Relaxed);
        assert!(before < MOST_OWNERS, "owners lost without an end");
        Self(self.0)
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // What other owners did to the value comes before its end.
        if self.counted().owners.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: the invariant, and there is no other owner any more. Length and
        // capacity are those with which it was leaked.
        drop(unsafe { Vec::from_raw_parts(self.0.as_ptr(), 1, 1) });
    }
}
