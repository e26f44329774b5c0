// SPDX-License-Identifier: GPL-2.0-only
//! The same for mappings that the grant-table hypercall makes and ends.

use hypercall_abi::grant::{
    GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY, Gntst, MapGrantRef,
    UnmapAndReplace, UnmapGrantRef,
};

use super::{
    judge::{Element, NOT_WORKED_ON, Step},
    reference::CpuMapping,
};

impl Element for MapGrantRef {
    fn mark(&mut self) {
        self.status = NOT_WORKED_ON;
    }

    fn worked_on(&self) -> bool {
        self.status != NOT_WORKED_ON
    }

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let predicted = step.rules().cpu_map(before);
        let typed = step.rules().cpu_typed(before);
        match predicted {
            Ok(mfn) if after.status == 0 => {
                assert_eq!(after.dev_bus_addr, mfn * 4096);
                let mapping = CpuMapping {
                    granter: before.dom,
                    gref: before.gref,
                    write: before.flags & GNTMAP_READONLY == 0,
                    host: before.flags & GNTMAP_HOST_MAP != 0,
                    device: before.flags & GNTMAP_DEVICE_MAP != 0,
                    typed,
                    mfn,
                    host_addr: before.host_addr,
                    flags: before.flags,
                };
                if mapping.host {
                    let place = (step.caller, before.host_addr);
                    step.reference.own_maps.remove(&place);
                }
                let old = step
                    .reference
                    .cpu
                    .insert((step.caller, after.handle), mapping);
                assert_eq!(old, None, "CPU handle {} in use", after.handle);
            }
            Ok(_) => {
                assert!(step.may_fail, "{before:?}: refused without a reason");
                assert_eq!(after.status, Gntst::GeneralError.wire(), "{before:?}");
            }
            Err(status) => assert_eq!(after.status, status.wire(), "{before:?}"),
        }
        if after.status != 0 {
            let unchanged = Self {
                status: after.status,
                ..*before
            };
            assert_eq!(unchanged, *after, "a failing element changes nothing");
        }
    }
}

/// What an element wants ended.
struct End {
    handle: u32,
    host_addr: u64,
    bus_addr: u64,
    new_addr: u64,
}

fn judge_end(step: &mut Step<'_>, end: &End) -> Gntst {
    let key = (step.caller, end.handle);
    let Some(mapping) = step.reference.cpu.get(&key).copied() else {
        return Gntst::BadHandle;
    };
    let pair = (step.caller, mapping.granter);
    if step.machine.state().access.unmap.contains(&pair) {
        return Gntst::PermissionDenied;
    }
    let host = end.host_addr != 0 && mapping.host;
    let device = end.bus_addr != 0 && mapping.device;
    if device && end.bus_addr != mapping.mfn * 4096 {
        return Gntst::BadDevAddr;
    }
    if host {
        // Any mapping of the same frame with the same flags will do.
        let Some(there) = step.reference.handle_at(step.caller, end.host_addr) else {
            return Gntst::GeneralError;
        };
        let other = step.reference.cpu[&(step.caller, there)];
        let flags = 0x1f & (other.flags ^ mapping.flags);
        if other.mfn != mapping.mfn || flags != 0 {
            return Gntst::GeneralError;
        }
        let in_entry = mapping.flags & GNTMAP_CONTAINS_PTE != 0;
        let pv = step.rules().is_pv(step.caller);
        if end.new_addr != 0 {
            let own = step
                .reference
                .own_maps
                .contains(&(step.caller, end.new_addr));
            if !pv || in_entry || !own {
                return Gntst::GeneralError;
            }
            step.reference.own_maps.remove(&(step.caller, end.new_addr));
            step.reference.own_maps.insert((step.caller, end.host_addr));
        }
        if let Some(other) = step.reference.cpu.get_mut(&(step.caller, there)) {
            other.host_addr = mapping.host_addr;
        }
    }
    let left = CpuMapping {
        host: mapping.host && !host,
        device: mapping.device && !device,
        ..mapping
    };
    if left.host || left.device {
        let host_addr = step.reference.cpu[&key].host_addr;
        let left = CpuMapping { host_addr, ..left };
        step.reference.cpu.insert(key, left);
    } else {
        step.reference.cpu.remove(&key);
    }
    Gntst::Okay
}

impl Element for UnmapGrantRef {
    fn mark(&mut self) {
        self.status = NOT_WORKED_ON;
    }

    fn worked_on(&self) -> bool {
        self.status != NOT_WORKED_ON
    }

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let end = End {
            handle: before.handle,
            host_addr: before.host_addr,
            bus_addr: before.dev_bus_addr,
            new_addr: 0,
        };
        assert_eq!(after.status, judge_end(step, &end).wire(), "{before:?}");
    }
}

impl Element for UnmapAndReplace {
    fn mark(&mut self) {
        self.status = NOT_WORKED_ON;
    }

    fn worked_on(&self) -> bool {
        self.status != NOT_WORKED_ON
    }

    fn judge(step: &mut Step<'_>, before: &Self, after: &Self) {
        let end = End {
            handle: before.handle,
            host_addr: before.host_addr,
            bus_addr: 0,
            new_addr: before.new_addr,
        };
        assert_eq!(after.status, judge_end(step, &end).wire(), "{before:?}");
    }
}
