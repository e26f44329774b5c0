// SPDX-License-Identifier: GPL-2.0-only
//! Xen's locks.

use hv::host::{Locks, OutOfMemory};

use super::Xen;
use crate::{
    locks::{XenReadWrite, XenSpin},
    shared::Shared,
};

impl Locks for Xen {
    type Spin<T: Send> = XenSpin<T>;
    type ReadWrite<T: Send + Sync> = XenReadWrite<T>;
    type Shared<T: Send + Sync> = Shared<T>;

    fn share<T: Send + Sync>(&self, value: T) -> Result<Shared<T>, OutOfMemory> {
        Shared::new(value)
    }
}
