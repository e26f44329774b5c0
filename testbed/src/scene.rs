// SPDX-License-Identifier: GPL-2.0-only
//! A scene that most tests begin with: a backend, a frontend that grants to it,
//! and a bystander.

use hypercall_abi::{
    context::{ContextDestroy, DeviceAttach},
    grant::{Copy64, GTF_PERMIT_ACCESS, GTF_READONLY, MapGrantRef},
    mapping::{Map, Unmap},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    elements::{cpu_map, unmap_handle},
    model::{DomainSetup, Event, hypercall::Number, switches::Switches},
    oracle::Checked,
};

/// The domain with devices: holder of mappings.
pub const BACKEND: u16 = 1;
/// The domain that grants.
pub const FRONTEND: u16 = 2;
/// A domain that has nothing to do with them.
pub const BYSTANDER: u16 = 3;
/// References from 8 on up to here are granted to the backend: reference r is
/// guest frame r, read-only if odd.
pub const LAST_GRANTED: u32 = 71;

/// Backend, frontend, bystander; the frontend's grants are written.
pub fn scene() -> Checked {
    scene_with(DomainSetup::pvh(BACKEND))
}

/// The same with another backend.
pub fn scene_with(backend: DomainSetup) -> Checked {
    let mut checked = Checked::new(&[
        backend,
        DomainSetup::pvh(FRONTEND),
        DomainSetup::pvh(BYSTANDER),
    ]);
    for gref in 8..=LAST_GRANTED {
        let readonly = if gref % 2 == 1 { GTF_READONLY } else { 0 };
        checked.write_entry(FRONTEND, gref, GTF_PERMIT_ACCESS | readonly, BACKEND, gref);
    }
    checked.check();
    checked
}

impl Checked {
    /// Changes what fails.
    pub fn switch(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.machine.state().switches);
    }

    /// From now on the domain's IOMMU caches that there is no translation.
    pub fn cache_absent_translations(&self, domain: u16) {
        let mut state = self.machine.state();
        state.iommus.entry((domain, 0)).or_default().caches_absent = true;
    }

    /// One `map` element of the backend; the call itself must succeed.
    pub fn map_one(&mut self, op: Map) -> Map {
        let mut elements = [op];
        assert_eq!(self.map(BACKEND, &mut elements).value, 0, "{op:?}");
        elements[0]
    }

    /// The same, and the element must succeed.
    pub fn mapped(&mut self, op: Map) -> Map {
        let op = self.map_one(op);
        assert_eq!(op.status, 0, "{op:?}");
        op
    }

    /// The same, and the element must fail with this number. That nothing has
    /// changed is the oracle's to check.
    pub fn map_refused(&mut self, op: Map, status: i32) {
        let pinned = self.query(BACKEND).used_pins;
        let answer = self.map_one(op);
        assert_eq!(answer.status, status, "{op:?}");
        assert_eq!((answer.handle, answer.daddr), (op.handle, op.daddr));
        assert_eq!(self.query(BACKEND).used_pins, pinned);
    }

    /// One `unmap` element of the backend: its status; the call must succeed.
    pub fn unmap_one(&mut self, op: Unmap) -> i32 {
        let mut elements = [op];
        assert_eq!(self.unmap(BACKEND, &mut elements).value, 0, "{op:?}");
        elements[0].status
    }

    /// Ends a mapping by its handle.
    pub fn unmapped(&mut self, handle: u64) {
        assert_eq!(self.unmap_one(unmap_handle(handle)), 0);
    }

    /// Maps a grant for the backend's CPU.
    pub fn cpu_mapped(&mut self, gref: u32, host_addr: u64, write: bool) -> MapGrantRef {
        let mut elements = [cpu_map(FRONTEND, gref, host_addr, write)];
        assert_eq!(self.cpu_map(BACKEND, &mut elements).value, 0);
        elements[0]
    }

    /// Flags of one of the frontend's entries.
    pub fn entry_flags(&self, gref: u32) -> u16 {
        self.machine.read_entry(FRONTEND, gref).0
    }

    /// One `copy` element of the backend: its status.
    pub fn copied(&mut self, op: Copy64) -> i16 {
        let mut ops = [op];
        self.copy(BACKEND, &mut ops);
        ops[0].status
    }

    /// Writes a domain's memory.
    pub fn fill(&self, domain: u16, gfn: u64, value: u8) {
        let mfn = self.machine.mfn_of(domain, gfn).expect("memory");
        let mut state = self.machine.state();
        let frame = state.frames.get_mut(mfn).expect("a frame in use");
        frame.write_range(0, &[value; 4096]);
    }

    /// Reads a byte of a domain's memory.
    pub fn byte(&self, domain: u16, gfn: u64, offset: usize) -> u8 {
        let mfn = self.machine.mfn_of(domain, gfn).expect("memory");
        let state = self.machine.state();
        state.frames.get(mfn).expect("a frame in use").read(offset)
    }

    /// One call of hypercall 20 by `caller` with one element; checks everything.
    pub fn ask<T: FromBytes + IntoBytes + Immutable + Copy>(
        &self,
        caller: u16,
        cmd: u32,
        op: T,
    ) -> (i32, T) {
        let vcpu = self.machine.vcpu_of(caller);
        let mut ops = [op];
        let end = vcpu.call_with(Number::GrantTable, cmd, &mut ops);
        self.check();
        (end.value, ops[0])
    }

    /// The IOMMU was told to unmap something, and a flush came after that.
    pub fn assert_flushed_after_unmap(&self) {
        let state = self.machine.state();
        let unmapped = |event: &Event| matches!(event, Event::Unmap { ok: true, .. });
        let flushed = |event: &Event| matches!(event, Event::Flush { ok: true, .. });
        let unmap = state.events.iter().position(unmapped);
        let flush = state.events.iter().rposition(flushed);
        assert!(unmap.is_some() && flush > unmap, "{:?}", state.events);
    }

    /// Page and type references of a domain's frame.
    pub fn references_of(&self, domain: u16, gfn: u64) -> (u32, u32) {
        let mfn = self.machine.mfn_of(domain, gfn).expect("memory");
        let state = self.machine.state();
        let frame = state.frames.get(mfn).expect("a frame in use");
        (frame.refs, frame.writable)
    }
}

/// Moves a device of the backend; the status.
pub fn attach(checked: &mut Checked, sbdf: u32, context: u32) -> i32 {
    let mut ops = [DeviceAttach {
        id: sbdf.into(),
        context,
        ..DeviceAttach::default()
    }];
    assert_eq!(checked.device_attach(BACKEND, &mut ops).value, 0);
    ops[0].status
}

/// Ends a context of the backend; the status.
pub fn destroy(checked: &mut Checked, context: u32) -> i32 {
    let mut ops = [ContextDestroy { context, status: 0 }];
    assert_eq!(checked.context_destroy(BACKEND, &mut ops).value, 0);
    ops[0].status
}
