// SPDX-License-Identifier: GPL-2.0-only
//! Pages for grant tables.

use std::sync::Arc;

use hv::host::{OutOfMemory, SharedPages};

use crate::model::{
    frames::Kind,
    machine::Machine,
    shared::{ModelSharedPage, SharedMemory},
};

impl SharedPages for Machine {
    type SharedPage = ModelSharedPage;

    fn new_shared_page(&self) -> Result<ModelSharedPage, OutOfMemory> {
        let mut state = self.state();
        if state.switches.shared_page_fails.pull() {
            return Err(OutOfMemory);
        }
        let memory = Arc::new(SharedMemory::default());
        let mfn = state
            .frames
            .allocate(u16::MAX, Kind::Shared(Arc::clone(&memory)));
        Ok(ModelSharedPage::new(
            Arc::downgrade(&self.inner),
            mfn,
            memory,
        ))
    }
}
