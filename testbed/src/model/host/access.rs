// SPDX-License-Identifier: GPL-2.0-only
//! Access control as a test wants it.

use hv::host::{AccessControl, Domain, Refused};
use hypercall_abi::grant::GNTMAP_READONLY;

use crate::model::{domain::ModelDomain, machine::Machine};

fn refuse_if(refused: bool) -> Result<(), Refused> {
    if refused { Err(Refused) } else { Ok(()) }
}

impl AccessControl for Machine {
    fn may_map_grant(
        &self,
        holder: &ModelDomain,
        granter: &ModelDomain,
        gntmap_flags: u32,
    ) -> Result<(), Refused> {
        let mut state = self.state();
        state.access.asked.push(gntmap_flags);
        let pair = (holder.id().0, granter.id().0);
        let writable = gntmap_flags & GNTMAP_READONLY == 0;
        refuse_if(
            state.access.map.contains(&pair)
                || writable && state.access.map_writable.contains(&pair),
        )
    }

    fn may_unmap_grant(&self, holder: &ModelDomain, granter: &ModelDomain) -> Result<(), Refused> {
        let pair = (holder.id().0, granter.id().0);
        refuse_if(self.state().access.unmap.contains(&pair))
    }

    fn may_setup_table(&self, caller: &ModelDomain, target: &ModelDomain) -> Result<(), Refused> {
        let pair = (caller.id().0, target.id().0);
        refuse_if(self.state().access.table.contains(&pair))
    }

    fn may_query_table(&self, caller: &ModelDomain, target: &ModelDomain) -> Result<(), Refused> {
        self.may_setup_table(caller, target)
    }

    fn may_transfer(&self, caller: &ModelDomain, receiver: &ModelDomain) -> Result<(), Refused> {
        let pair = (caller.id().0, receiver.id().0);
        refuse_if(self.state().access.transfer.contains(&pair))
    }

    fn may_copy(&self, source: &ModelDomain, dest: &ModelDomain) -> Result<(), Refused> {
        let pair = (source.id().0, dest.id().0);
        refuse_if(self.state().access.copy.contains(&pair))
    }

    fn transitive_allowed(&self) -> bool {
        !self.state().switches.no_transitive
    }

    fn transfer_allowed(&self) -> bool {
        !self.state().switches.no_transfer
    }

    fn may_use_contexts(&self, owner: &ModelDomain) -> Result<(), Refused> {
        assert_eq!(owner.id().0, self.current, "only the caller's contexts");
        refuse_if(self.state().access.contexts.contains(&self.current))
    }

    fn may_attach_device(&self, owner: &ModelDomain, sbdf: u32) -> Result<(), Refused> {
        assert_eq!(owner.id().0, self.current, "only the caller's devices");
        refuse_if(self.state().access.devices.contains(&(self.current, sbdf)))
    }

    fn may_set_limits(&self, target: &ModelDomain) -> Result<(), Refused> {
        let pair = (self.current, target.id().0);
        refuse_if(self.state().access.limits.contains(&pair))
    }
}
