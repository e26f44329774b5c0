// SPDX-License-Identifier: GPL-2.0-only
//! Locks, and values with several owners.

use core::ops::Deref;

use super::OutOfMemory;
use crate::sync::{ReadWriteLock, SpinLock};

/// The kinds of locks that the service is built on.
pub trait Locks: Sized {
    /// The kind of lock for short critical sections.
    type Spin<T: Send>: SpinLock<T>;

    /// The kind of lock for tables that are mostly read.
    type ReadWrite<T: Send + Sync>: ReadWriteLock<T>;

    /// A value with several owners; the last one drops it.
    type Shared<T: Send + Sync>: Clone + Deref<Target = T> + Send + Sync;

    /// A value that can have several owners.
    fn share<T: Send + Sync>(&self, value: T) -> Result<Self::Shared<T>, OutOfMemory>;
}
