// SPDX-License-Identifier: GPL-2.0-only
//! Locks that check the documented order, per thread.
//!
//! The order is [`hv::sync::Rank`]: a lock may be taken only while every lock the
//! thread holds already has a smaller rank. A violation panics and names both.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use hv::sync::{Rank, ReadWriteLock, SpinLock};

thread_local! {
    static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
}

/// Notes that this thread holds a lock, for as long as the value lives.
#[derive(Debug)]
struct Held(Rank);

impl Held {
    fn take(rank: Rank) -> Self {
        HELD.with_borrow_mut(|held| {
            if let Some(&worst) = held.iter().max() {
                assert!(
                    worst < rank,
                    "lock order: {rank:?} taken while {worst:?} is held"
                );
            }
            held.push(rank);
        });
        Self(rank)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|&rank| rank == self.0) {
                held.remove(at);
            }
        });
    }
}

/// Panics if this thread holds any lock; `what` names what must not happen then.
pub fn assert_none_held(what: &str) {
    HELD.with_borrow(|held| assert!(held.is_empty(), "{what} while holding {held:?}"));
}

/// A mutex with a place in the lock order.
#[derive(Debug)]
pub struct RankedMutex<T> {
    rank: Rank,
    value: Mutex<T>,
}

/// Access to what a lock protects; gives the lock back when dropped.
#[derive(Debug)]
pub struct Ranked<G> {
    guard: G,
    _held: Held,
}

impl<G: Deref> Deref for Ranked<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Ranked<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

impl<T: Send> SpinLock<T> for RankedMutex<T> {
    type Guard<'a>
        = Ranked<MutexGuard<'a, T>>
    where
        Self: 'a;

    fn new(rank: Rank, value: T) -> Self {
        Self {
            rank,
            value: Mutex::new(value),
        }
    }

    fn lock(&self) -> Self::Guard<'_> {
        let held = Held::take(self.rank);
        Ranked {
            guard: self.value.lock().expect("a thread died with the lock"),
            _held: held,
        }
    }

    fn get_mut(&mut self) -> &mut T {
        self.value.get_mut().expect("a thread died with the lock")
    }
}

/// A read-write lock with a place in the lock order.
#[derive(Debug)]
pub struct RankedReadWrite<T> {
    rank: Rank,
    value: RwLock<T>,
}

impl<T: Send + Sync> ReadWriteLock<T> for RankedReadWrite<T> {
    type ReadGuard<'a>
        = Ranked<RwLockReadGuard<'a, T>>
    where
        Self: 'a;
    type WriteGuard<'a>
        = Ranked<RwLockWriteGuard<'a, T>>
    where
        Self: 'a;

    fn new(rank: Rank, value: T) -> Self {
        Self {
            rank,
            value: RwLock::new(value),
        }
    }

    fn read(&self) -> Self::ReadGuard<'_> {
        let held = Held::take(self.rank);
        Ranked {
            guard: self.value.read().expect("a thread died with the lock"),
            _held: held,
        }
    }

    fn write(&self) -> Self::WriteGuard<'_> {
        let held = Held::take(self.rank);
        Ranked {
            guard: self.value.write().expect("a thread died with the lock"),
            _held: held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_9_increasing_ranks_are_fine() {
        let outer = RankedMutex::new(Rank::Context, 1);
        let inner = RankedReadWrite::new(Rank::Table, 2);
        let first = outer.lock();
        let second = inner.read();
        assert_eq!(*first + *second, 3);
    }

    #[test]
    #[should_panic(expected = "lock order: Context taken while Table is held")]
    fn xsa_73_decreasing_ranks_panic() {
        let outer = RankedMutex::new(Rank::Context, 1);
        let inner = RankedReadWrite::new(Rank::Table, 2);
        let _second = inner.read();
        let _first = outer.lock();
    }

    #[test]
    #[should_panic(expected = "lock order: Entry taken while Entry is held")]
    fn invariant_9_two_locks_of_one_rank_panic() {
        let one = RankedMutex::new(Rank::Entry, 1);
        let other = RankedMutex::new(Rank::Entry, 2);
        let _first = one.lock();
        let _second = other.lock();
    }

    #[test]
    #[should_panic(expected = "flush while holding [Context]")]
    fn invariant_9_waiting_with_a_lock_panics() {
        let lock = RankedMutex::new(Rank::Context, ());
        let _guard = lock.lock();
        assert_none_held("flush");
    }
}
