// SPDX-License-Identifier: GPL-2.0-only
//! Locks that check their order.

use std::sync::Arc;

use hv::host::{Locks, OutOfMemory};

use crate::model::{
    locks::{RankedMutex, RankedReadWrite},
    machine::Machine,
};

impl Locks for Machine {
    type Spin<T: Send> = RankedMutex<T>;
    type ReadWrite<T: Send + Sync> = RankedReadWrite<T>;
    type Shared<T: Send + Sync> = Arc<T>;

    fn share<T: Send + Sync>(&self, value: T) -> Result<Arc<T>, OutOfMemory> {
        if self.state().switches.share_fails.pull() {
            return Err(OutOfMemory);
        }
        Ok(Arc::new(value))
    }
}
