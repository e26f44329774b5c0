// SPDX-License-Identifier: GPL-2.0-only
//! [`hv::sync`] with Xen's spin locks and per-CPU read-write locks.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    ops::{Deref, DerefMut},
};

use hv::sync::{Rank, ReadWriteLock, SpinLock};

use crate::ffi;

/// Room for one of Xen's locks.
#[repr(C, align(8))]
struct Storage<const SIZE: usize>(UnsafeCell<[u8; SIZE]>);

impl<const SIZE: usize> Storage<SIZE> {
    fn initialised(init: unsafe extern "C" fn(*mut c_void)) -> Self {
        let storage = Self(UnsafeCell::new([0; SIZE]));
        // SAFETY: `init` is the initialiser of locks.c, which writes at most SIZE
        // bytes (checked there). The lock may be moved in memory while nobody holds
        // it.
        unsafe { init(storage.as_ptr()) };
        storage
    }

    fn as_ptr(&self) -> *mut c_void {
        self.0.get().cast()
    }
}

/// Xen's `spinlock_t` around a value.
pub(crate) struct XenSpin<T> {
    lock: Storage<{ ffi::SPINLOCK_SIZE }>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock is made for sharing, and hands the value to one CPU at a time.
unsafe impl<T: Send> Sync for XenSpin<T> {}
// SAFETY: an unlocked spinlock_t is plain data.
unsafe impl<T: Send> Send for XenSpin<T> {}

/// The lock, held.
pub(crate) struct XenSpinGuard<'a, T>(&'a XenSpin<T>);

impl<T: Send> SpinLock<T> for XenSpin<T> {
    type Guard<'a>
        = XenSpinGuard<'a, T>
    where
        Self: 'a;

    fn new(_rank: Rank, value: T) -> Self {
        Self {
            // SAFETY: a constant of C's: an unlocked spinlock_t, which may be copied.
            lock: Storage(UnsafeCell::new(unsafe { ffi::gdma_spin_unlocked })),
            value: UnsafeCell::new(value),
        }
    }

    fn lock(&self) -> XenSpinGuard<'_, T> {
        // SAFETY: an initialised spinlock_t.
        unsafe { ffi::gdma_spin_lock(self.lock.as_ptr()) };
        XenSpinGuard(self)
    }

    fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T> Deref for XenSpinGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while this CPU holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for XenSpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the same, and there is one guard for one holding of the lock.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for XenSpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this CPU holds the lock, and the value is not used afterwards.
        unsafe { ffi::gdma_spin_unlock(self.0.lock.as_ptr()) }
    }
}

/// Xen's `percpu_rwlock_t` around a value.
pub(crate) struct XenReadWrite<T> {
    lock: Storage<{ ffi::RWLOCK_SIZE }>,
    value: UnsafeCell<T>,
}

// SAFETY: the lock is made for sharing: many readers or one writer.
unsafe impl<T: Send + Sync> Sync for XenReadWrite<T> {}
// SAFETY: an unlocked percpu_rwlock_t is plain data.
unsafe impl<T: Send> Send for XenReadWrite<T> {}

impl<T> XenReadWrite<T> {
    /// Gives back a write lock whose guard was forgotten.
    ///
    /// # Safety
    ///
    /// This CPU holds the lock for writing, its guard has been forgotten, and no
    /// reference from it is alive.
    pub(crate) unsafe fn unlock_forgotten(&self) {
        // SAFETY: held for writing, says the caller.
        unsafe { ffi::gdma_write_unlock(self.lock.as_ptr()) }
    }
}

/// The lock, held for reading.
pub(crate) struct XenReadGuard<'a, T>(&'a XenReadWrite<T>);
/// The lock, held for writing.
pub(crate) struct XenWriteGuard<'a, T>(&'a XenReadWrite<T>);

impl<T: Send + Sync> ReadWriteLock<T> for XenReadWrite<T> {
    type ReadGuard<'a>
        = XenReadGuard<'a, T>
    where
        Self: 'a;
    type WriteGuard<'a>
        = XenWriteGuard<'a, T>
    where
        Self: 'a;

    fn new(_rank: Rank, value: T) -> Self {
        Self {
            lock: Storage::initialised(ffi::gdma_rw_init),
            value: UnsafeCell::new(value),
        }
    }

    fn read(&self) -> XenReadGuard<'_, T> {
        // SAFETY: an initialised percpu_rwlock_t.
        unsafe { ffi::gdma_read_lock(self.lock.as_ptr()) };
        XenReadGuard(self)
    }

    fn write(&self) -> XenWriteGuard<'_, T> {
        // SAFETY: an initialised percpu_rwlock_t.
        unsafe { ffi::gdma_write_lock(self.lock.as_ptr()) };
        XenWriteGuard(self)
    }
}

impl<T> Deref for XenReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: held for reading while the guard exists, so nobody writes.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> Drop for XenReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this CPU holds the lock for reading.
        unsafe { ffi::gdma_read_unlock(self.0.lock.as_ptr()) }
    }
}

impl<T> Deref for XenWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: held for writing while the guard exists.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for XenWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the same, and there is one guard for one holding of the lock.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for XenWriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this CPU holds the lock for writing.
        unsafe { ffi::gdma_write_unlock(self.0.lock.as_ptr()) }
    }
}
