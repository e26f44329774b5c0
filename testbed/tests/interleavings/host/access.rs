// SPDX-License-Identifier: GPL-2.0-only
//! Access control: grants may be used, devices may not.

use hv::host::{AccessControl, Refused};

use super::{World, domains::Peer};

impl AccessControl for World {
    fn may_map_grant(&self, _: &Peer, _: &Peer, _: u32) -> Result<(), Refused> {
        Ok(())
    }

    fn may_unmap_grant(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn may_setup_table(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn may_query_table(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn may_transfer(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn may_copy(&self, _: &Peer, _: &Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn transitive_allowed(&self) -> bool {
        true
    }

    fn transfer_allowed(&self) -> bool {
        false
    }

    fn may_use_contexts(&self, _: &Peer) -> Result<(), Refused> {
        Err(Refused)
    }

    fn may_attach_device(&self, _: &Peer, _: u32) -> Result<(), Refused> {
        Err(Refused)
    }

    fn may_set_limits(&self, _: &Peer) -> Result<(), Refused> {
        Err(Refused)
    }
}
