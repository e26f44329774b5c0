// SPDX-License-Identifier: GPL-2.0-only
//! What the CPUs of domains can reach: mappings of grants, and TLBs.

use hypercall_abi::grant::{GNTMAP_CONTAINS_PTE, GNTMAP_READONLY, Gntst};

use super::{Machine, machine::State};

/// The flags that a mapping is remembered with.
const FLAGS: u32 = 0x1f;

fn is_place(host_addr: u64, gntmap_flags: u32) -> bool {
    let entry = gntmap_flags & GNTMAP_CONTAINS_PTE != 0;
    host_addr.is_multiple_of(if entry { 8 } else { 4096 })
}

impl State {
    /// Maps a frame at an address where no grant is mapped.
    pub(super) fn map_for_cpu(
        &mut self,
        domain: u16,
        host_addr: u64,
        mfn: u64,
        gntmap_flags: u32,
    ) -> Result<(), Gntst> {
        let key = (domain, host_addr);
        if !is_place(host_addr, gntmap_flags) || self.cpu_maps.contains_key(&key) {
            return Err(Gntst::GeneralError);
        }
        self.own_maps.remove(&key);
        self.cpu_maps.insert(key, (mfn, gntmap_flags & FLAGS));
        Ok(())
    }

    /// Ends such a mapping. What is mapped at `new_addr` moves there; only PV
    /// domains have that, and not with page-table entries as addresses.
    pub(super) fn unmap_for_cpu(
        &mut self,
        domain: u16,
        host_addr: u64,
        mfn: u64,
        new_addr: u64,
        gntmap_flags: u32,
    ) -> Result<(), Gntst> {
        let key = (domain, host_addr);
        let replaces = new_addr != 0;
        let can_replace = self.pv.contains(&domain)
            && gntmap_flags & GNTMAP_CONTAINS_PTE == 0
            && self.own_maps.contains_key(&(domain, new_addr));
        if self.cpu_maps.get(&key) != Some(&(mfn, gntmap_flags & FLAGS))
            || (replaces && !can_replace)
        {
            return Err(Gntst::GeneralError);
        }
        self.cpu_maps.remove(&key);
        let writable = gntmap_flags & GNTMAP_READONLY == 0;
        self.stale.push((domain, mfn, writable));
        if let Some(own) = self.own_maps.remove(&(domain, new_addr)) {
            self.own_maps.insert(key, own);
        }
        Ok(())
    }
}

impl Machine {
    /// The PV guest `domain` overwrites the page-table entry of a grant's mapping
    /// at `host_addr`. The references that the entry owned go: one to the page, and
    /// one to its writable type if `typed`. What the hypervisor knows of the
    /// mapping stays.
    pub fn overwrite_entry(&self, domain: u16, host_addr: u64, typed: bool) {
        let mut state = self.state();
        let mapped = state.cpu_maps.remove(&(domain, host_addr));
        let (mfn, _) = mapped.expect("a mapping at that address");
        state.overwritten.push((domain, mfn));
        state.put(mfn, typed);
    }
}
