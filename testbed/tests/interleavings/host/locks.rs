// SPDX-License-Identifier: GPL-2.0-only
//! Locks of loom's.

use std::sync::Arc;

use hv::{
    host::{Locks, OutOfMemory},
    sync::{Rank, ReadWriteLock, SpinLock},
};
use loom::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::World;

pub struct Spin<T>(Mutex<T>);

impl<T: Send> SpinLock<T> for Spin<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        Self: 'a;

    fn new(_rank: Rank, value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("lock")
    }

    fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("lock")
    }
}

pub struct ReadWrite<T>(RwLock<T>);

impl<T: Send + Sync> ReadWriteLock<T> for ReadWrite<T> {
    type ReadGuard<'a>
        = RwLockReadGuard<'a, T>
    where
        Self: 'a;
    type WriteGuard<'a>
        = RwLockWriteGuard<'a, T>
    where
        Self: 'a;

    fn new(_rank: Rank, value: T) -> Self {
        Self(RwLock::new(value))
    }

    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect("lock")
    }

    fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect("lock")
    }
}

impl Locks for World {
    type Spin<T: Send> = Spin<T>;
    type ReadWrite<T: Send + Sync> = ReadWrite<T>;
    type Shared<T: Send + Sync> = Arc<T>;

    fn share<T: Send + Sync>(&self, value: T) -> Result<Arc<T>, OutOfMemory> {
        Ok(Arc::new(value))
    }
}
