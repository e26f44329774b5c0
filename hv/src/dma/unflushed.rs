// SPDX-License-Identifier: GPL-2.0-only
//! Values that a device may still be using through an IOTLB.

use core::mem::ManuallyDrop;

use crate::host::Flushed;

/// Keeps a value until an IOTLB flush has succeeded. Dropped without that proof,
/// the value stays alive for ever: leaking a page is better than freeing one that
/// a device still writes to.
#[derive(Debug)]
pub struct Unflushed<T>(ManuallyDrop<T>);

impl<T> Unflushed<T> {
    /// From now on a device may reach what `value` stands for.
    pub fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }

    /// A look at the value; devices may be using it.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The value back, because no device can reach it any more.
    pub fn after(self, _proof: &Flushed) -> T {
        ManuallyDrop::into_inner(self.0)
    }
}
