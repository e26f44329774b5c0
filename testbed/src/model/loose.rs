// SPDX-License-Identifier: GPL-2.0-only
//! Pages between two owners.

use std::sync::Weak;

use hv::{addr::Mfn, host::LoosePage};

use super::{domain::ModelDomain, machine::Inner};

/// A page that belongs to nobody; dropping it frees it.
#[derive(Debug)]
pub struct ModelLoosePage {
    machine: Weak<Inner>,
    mfn: u64,
}

impl ModelLoosePage {
    pub(super) fn new(machine: Weak<Inner>, mfn: u64) -> Self {
        Self { machine, mfn }
    }

    pub(super) fn number(&self) -> u64 {
        self.mfn
    }

    /// Somebody owns it from now on.
    pub(super) fn keep(mut self) -> u64 {
        self.machine = Weak::new();
        self.mfn
    }
}

/// A page that belongs to nobody, for which a domain has room.
pub struct ModelOfferedPage<'a> {
    pub(super) page: ModelLoosePage,
    pub(super) receiver: &'a ModelDomain,
}

impl LoosePage for ModelLoosePage {
    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }
}

impl Drop for ModelLoosePage {
    fn drop(&mut self) {
        if let Some(machine) = self.machine.upgrade() {
            machine.state().deallocate(self.mfn);
        }
    }
}
