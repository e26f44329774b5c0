// SPDX-License-Identifier: GPL-2.0-only
//! Locks, as the host provides them.
//!
//! `hv` names the data a lock protects by owning it in the lock; the host says
//! how waiting is done (Xen's ticket and per-CPU read-write locks, or the
//! model's, which also checks the order of `docs/locking.md`).

use core::ops::{Deref, DerefMut};

/// Place of a lock in the order of `docs/locking.md`. A lock may be taken only
/// while every lock already held has a smaller rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The contexts of a holder.
    Spaces = 0,
    /// The mappings of a holder's device address space.
    Context = 1,
    /// The number of frames of a holder's maptrack records, while it grows.
    MaptrackGrowth = 2,
    /// The maptrack records of a holder.
    Maptrack = 3,
    /// The frames of others that a holder's devices reach at machine addresses.
    Identity = 4,
    /// The frames and version of a granter's table.
    Table = 5,
    /// One active entry of a granter's table.
    Entry = 6,
    /// The faults of a holder's devices.
    Faults = 7,
    /// The argument area of a vcpu.
    Arguments = 8,
    /// The transitive grants by which devices reach pages of an origin.
    Passages = 9,
}

/// A lock with one owner at a time. Held for bounded time, never across a
/// preemption point.
pub trait SpinLock<T>: Send + Sync {
    /// Access while held; gives the lock back when dropped.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a;

    /// An unlocked lock around `value`.
    fn new(rank: Rank, value: T) -> Self;

    /// Waits for the lock.
    fn lock(&self) -> Self::Guard<'_>;

    /// Access without the lock, by who has exclusive access to it anyway.
    fn get_mut(&mut self) -> &mut T;
}

/// A lock with many readers or one writer.
pub trait ReadWriteLock<T>: Send + Sync {
    /// Shared access while held.
    type ReadGuard<'a>: Deref<Target = T>
    where
        Self: 'a;
    /// Exclusive access while held.
    type WriteGuard<'a>: DerefMut<Target = T>
    where
        Self: 'a;

    /// An unlocked lock around `value`.
    fn new(rank: Rank, value: T) -> Self;

    /// Waits until no writer holds the lock.
    fn read(&self) -> Self::ReadGuard<'_>;

    /// Waits until nobody holds the lock.
    fn write(&self) -> Self::WriteGuard<'_>;
}
