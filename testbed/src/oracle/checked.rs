// SPDX-License-Identifier: GPL-2.0-only
//! A machine whose every call is judged by the oracle.

use std::collections::VecDeque;

use hypercall_abi::{
    arguments::RegisterArgs,
    command::{
        XEN_GDMA_ARGS_REGISTERED, XEN_GDMA_OP_CONTEXT_CREATE, XEN_GDMA_OP_CONTEXT_DESTROY,
        XEN_GDMA_OP_DEVICE_ATTACH, XEN_GDMA_OP_FLUSH, XEN_GDMA_OP_LOOKUP, XEN_GDMA_OP_MAP,
        XEN_GDMA_OP_MAP_REG, XEN_GDMA_OP_QUERY, XEN_GDMA_OP_QUERY_DEVICE,
        XEN_GDMA_OP_REGISTER_ARGS, XEN_GDMA_OP_REVOKE, XEN_GDMA_OP_SET_LIMITS, XEN_GDMA_OP_STATS,
        XEN_GDMA_OP_UNMAP, XEN_GDMA_OP_UNMAP_REG, XEN_GDMA_OP_WINDOW_CREATE,
        XEN_GDMA_OP_WINDOW_DESTROY, XEN_GDMA_REG_CONTEXT, XEN_GDMA_REG_GRANT,
        XEN_GDMA_REG_NO_FLUSH, XEN_GDMA_REG_READ, XEN_GDMA_REG_WRITE,
    },
    context::{ContextCreate, ContextDestroy, DeviceAttach},
    control::{Revoke, SetLimits, Stats},
    device::QueryDevice,
    grant::{
        GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_AND_REPLACE, GNTTABOP_UNMAP_GRANT_REF,
        GTF_PERMIT_ACCESS, GTF_READING, GTF_SUB_PAGE, GTF_TRANSITIVE, GTF_WRITING, MapGrantRef,
        UnmapAndReplace, UnmapGrantRef,
    },
    lookup::Lookup,
    mapping::{
        Flush, Map, Unmap, XEN_GDMA_MAP_READ, XEN_GDMA_MAP_WRITE, XEN_GDMA_NO_FLUSH,
        XEN_GDMA_UNMAP_BY_DADDR,
    },
    query::Query,
    window::{WindowCreate, WindowDestroy},
};

use super::{
    invariants,
    judge::{Element, Step},
    predict::Rules,
    reference::{Entry, Reference},
};
use crate::model::{
    CallEnd, DomainSetup, Machine,
    domain::Death,
    hypercall::{Number, Outcome},
};

/// The part of a page that is granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// Where it begins.
    pub start: u16,
    /// Its bytes.
    pub length: u16,
    /// More flags.
    pub flags: u16,
}

/// Machine and account together.
pub struct Checked {
    /// The machine.
    pub machine: Machine,
    /// The account.
    pub reference: Reference,
}

impl Checked {
    /// A machine with these domains.
    pub fn new(domains: &[DomainSetup]) -> Self {
        let mut checked = Self {
            machine: Machine::new(),
            reference: Reference::default(),
        };
        for setup in domains {
            checked.add_domain(*setup);
        }
        checked
    }

    /// Adds a domain and notes the device addresses it is told to have.
    pub fn add_domain(&mut self, setup: DomainSetup) {
        self.machine.add_domain(setup).expect("memory for a domain");
        if !setup.has_state || !Rules::mappable(&setup) {
            return;
        }
        let mut op = [Query {
            domid: setup.id,
            ..Query::default()
        }];
        let vcpu = self.machine.vcpu_of(setup.id);
        vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_QUERY, &mut op);
        if let Some(protected) = setup.identity() {
            self.reference.identity.insert(setup.id, protected);
        }
        let range = (op[0].daddr_first / 4096, op[0].daddr_last / 4096);
        self.reference.ranges.insert(setup.id, range);
    }

    /// Calls and judges every element and every step.
    fn run<T: Element>(
        &mut self,
        caller: u16,
        number: Number,
        cmd: u32,
        elements: &mut [T],
    ) -> CallEnd {
        let before: Vec<T> = elements.to_vec();
        elements.iter_mut().for_each(T::mark);
        let vcpu = self.machine.vcpu_of(caller);
        // Whoever has an argument area uses it.
        let bytes = size_of_val(elements);
        let can = number == Number::GrantDma && cmd != XEN_GDMA_OP_REGISTER_ARGS;
        let area = if can {
            self.place_in_area(caller, bytes)
        } else {
            None
        };
        let (cmd, at) = match area {
            Some(offset) => {
                self.store_in_area(caller, offset, elements);
                (cmd | XEN_GDMA_ARGS_REGISTERED, offset as u64)
            }
            None => (cmd, vcpu.store_elements(elements)),
        };
        let may_fail = self.machine.state().switches.may_fail_unseen();
        let mut worked = 0;
        let end = vcpu.call_observed(number, cmd, at, elements.len() as u32, |outcome| {
            match area {
                Some(offset) => self.load_from_area(caller, offset, elements),
                None => vcpu.load_elements(elements),
            }
            worked = self.judge_step((caller, may_fail), outcome, &before, elements, worked);
        });
        if end.value == 0 {
            assert_eq!(worked, elements.len(), "elements without a status");
        }
        end
    }

    fn judge_step<T: Element>(
        &mut self,
        (caller, may_fail): (u16, bool),
        outcome: Outcome,
        before: &[T],
        after: &[T],
        mut worked: usize,
    ) -> usize {
        let started = worked;
        let events = std::mem::take(&mut self.machine.state().events);
        let mut events = VecDeque::from(events);
        let mut step = Step {
            machine: &self.machine,
            reference: &mut self.reference,
            caller,
            may_fail,
            events: &mut events,
            at_work: None,
            wants_flush: false,
        };
        while worked < after.len() && after[worked].worked_on() {
            let mut question = before[worked];
            question.mark();
            T::judge(&mut step, &question, &after[worked]);
            worked += 1;
        }
        step.apply_until_map();
        for event in events {
            self.reference.refused |= event.refused();
            self.reference.apply(event);
        }
        if let Outcome::Continue { elements, .. } = outcome {
            assert_eq!(worked - started, elements as usize, "elements done");
        }
        let midway = matches!(outcome, Outcome::Continue { .. });
        if midway && (T::WINDOWS || self.reference.has_windows()) {
            invariants::check_midway(&self.machine);
        } else {
            self.check();
        }
        worked
    }

    /// `map`.
    pub fn map(&mut self, caller: u16, elements: &mut [Map]) -> CallEnd {
        self.run(caller, Number::GrantDma, XEN_GDMA_OP_MAP, elements)
    }

    /// `unmap`.
    pub fn unmap(&mut self, caller: u16, elements: &mut [Unmap]) -> CallEnd {
        self.run(caller, Number::GrantDma, XEN_GDMA_OP_UNMAP, elements)
    }

    /// `register_args`, for the first vcpu.
    pub fn register_args(&mut self, caller: u16, elements: &mut [RegisterArgs]) -> CallEnd {
        let cmd = XEN_GDMA_OP_REGISTER_ARGS;
        self.run(caller, Number::GrantDma, cmd, elements)
    }

    /// `window_create`.
    pub fn window_create(&mut self, caller: u16, elements: &mut [WindowCreate]) -> CallEnd {
        let cmd = XEN_GDMA_OP_WINDOW_CREATE;
        self.run(caller, Number::GrantDma, cmd, elements)
    }

    /// `window_destroy`.
    pub fn window_destroy(&mut self, caller: u16, elements: &mut [WindowDestroy]) -> CallEnd {
        let cmd = XEN_GDMA_OP_WINDOW_DESTROY;
        self.run(caller, Number::GrantDma, cmd, elements)
    }

    /// `lookup`.
    pub fn lookup(&mut self, caller: u16, elements: &mut [Lookup]) -> CallEnd {
        self.run(caller, Number::GrantDma, XEN_GDMA_OP_LOOKUP, elements)
    }

    /// The register form of `map`, which must answer what the array form would. Returns
    /// the register.
    pub fn map_register(&mut self, caller: u16, what: u64, word: u32) -> i64 {
        let vcpu = self.machine.vcpu_of(caller);
        let register = vcpu.call_register(XEN_GDMA_OP_MAP_REG, what, word);
        let grant = word & XEN_GDMA_REG_GRANT != 0;
        let flags = [
            (XEN_GDMA_REG_READ, XEN_GDMA_MAP_READ),
            (XEN_GDMA_REG_WRITE, XEN_GDMA_MAP_WRITE),
            (XEN_GDMA_REG_NO_FLUSH, XEN_GDMA_NO_FLUSH),
        ];
        let flags = flags.iter().filter(|(bit, _)| word & bit != 0);
        let before = Map {
            context: word & XEN_GDMA_REG_CONTEXT,
            kind: u16::from(grant),
            domid: if grant { (what >> 32) as u16 } else { 0 },
            source: if grant { what & 0xffff_ffff } else { what },
            nr_frames: 1,
            flags: flags.fold(0, |all, (_, flag)| all | flag),
            ..Map::default()
        };
        let mut after = before;
        if register < 0 {
            after.status = register as i32;
        } else {
            after.daddr = register as u64;
            after.handle = self.handle_at(caller, before.context, after.daddr);
        }
        self.judge_one(caller, &before, &after);
        register
    }

    fn handle_at(&self, caller: u16, context: u32, addr: u64) -> u64 {
        let mut op = [Lookup {
            context,
            addr,
            ..Lookup::default()
        }];
        let vcpu = self.machine.vcpu_of(caller);
        vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_LOOKUP, &mut op);
        assert_eq!(op[0].status, 0, "what was mapped can be looked up");
        op[0].handle
    }

    /// The register form of `unmap`, likewise.
    pub fn unmap_register(&mut self, caller: u16, daddr: u64, word: u32) -> i64 {
        let vcpu = self.machine.vcpu_of(caller);
        let register = vcpu.call_register(XEN_GDMA_OP_UNMAP_REG, daddr, word);
        let no_flush = word & XEN_GDMA_REG_NO_FLUSH != 0;
        let before = Unmap {
            context: word & XEN_GDMA_REG_CONTEXT,
            daddr,
            nr_frames: 1,
            flags: XEN_GDMA_UNMAP_BY_DADDR | if no_flush { XEN_GDMA_NO_FLUSH } else { 0 },
            ..Unmap::default()
        };
        let after = Unmap {
            status: register as i32,
            ..before
        };
        self.judge_one(caller, &before, &after);
        register
    }

    fn judge_one<T: Element>(&mut self, caller: u16, before: &T, after: &T) {
        let whole = std::slice::from_ref;
        let done = Outcome::Complete;
        self.judge_step((caller, false), done, whole(before), whole(after), 0);
    }

    /// `context_create`.
    pub fn context_create(&mut self, caller: u16, elements: &mut [ContextCreate]) -> CallEnd {
        let cmd = XEN_GDMA_OP_CONTEXT_CREATE;
        self.run(caller, Number::GrantDma, cmd, elements)
    }

    /// `context_destroy`.
    pub fn context_destroy(&mut self, caller: u16, elements: &mut [ContextDestroy]) -> CallEnd {
        let cmd = XEN_GDMA_OP_CONTEXT_DESTROY;
        self.run(caller, Number::GrantDma, cmd, elements)
    }

    /// `device_attach`.
    pub fn device_attach(&mut self, caller: u16, elements: &mut [DeviceAttach]) -> CallEnd {
        let cmd = XEN_GDMA_OP_DEVICE_ATTACH;
        self.run(caller, Number::GrantDma, cmd, elements)
    }

    /// `flush`.
    pub fn flush(&mut self, caller: u16, elements: &mut [Flush]) -> CallEnd {
        self.run(caller, Number::GrantDma, XEN_GDMA_OP_FLUSH, elements)
    }

    /// `revoke`.
    pub fn revoke(&mut self, caller: u16, elements: &mut [Revoke]) -> CallEnd {
        self.run(caller, Number::GrantDma, XEN_GDMA_OP_REVOKE, elements)
    }

    /// `set_limits`.
    pub fn set_limits(&mut self, caller: u16, elements: &mut [SetLimits]) -> CallEnd {
        self.run(caller, Number::GrantDma, XEN_GDMA_OP_SET_LIMITS, elements)
    }

    /// `stats`.
    pub fn stats(&mut self, caller: u16, domid: u16) -> Stats {
        let mut elements = [Stats {
            domid,
            ..Stats::default()
        }];
        self.run(caller, Number::GrantDma, XEN_GDMA_OP_STATS, &mut elements);
        elements[0]
    }

    /// `query`.
    pub fn query(&mut self, caller: u16) -> Query {
        let mut elements = [Query {
            domid: caller,
            ..Query::default()
        }];
        self.run(caller, Number::GrantDma, XEN_GDMA_OP_QUERY, &mut elements);
        elements[0]
    }

    /// `query_device`.
    pub fn query_device(&mut self, caller: u16, mut op: QueryDevice) -> QueryDevice {
        let vcpu = self.machine.vcpu_of(caller);
        let mut elements = [op];
        let end = vcpu.call_with(Number::GrantDma, XEN_GDMA_OP_QUERY_DEVICE, &mut elements);
        assert_eq!(end.value, 0);
        [op] = elements;
        self.check();
        op
    }

    /// `map_grant_ref`.
    pub fn cpu_map(&mut self, caller: u16, elements: &mut [MapGrantRef]) -> CallEnd {
        self.run(caller, Number::GrantTable, GNTTABOP_MAP_GRANT_REF, elements)
    }

    /// `unmap_grant_ref`.
    pub fn cpu_unmap(&mut self, caller: u16, elements: &mut [UnmapGrantRef]) -> CallEnd {
        self.run(
            caller,
            Number::GrantTable,
            GNTTABOP_UNMAP_GRANT_REF,
            elements,
        )
    }

    /// `unmap_and_replace`.
    pub fn unmap_and_replace(&mut self, caller: u16, elements: &mut [UnmapAndReplace]) -> CallEnd {
        let cmd = GNTTABOP_UNMAP_AND_REPLACE;
        self.run(caller, Number::GrantTable, cmd, elements)
    }

    /// A PV domain maps a page of its own.
    pub fn own_map(&mut self, domain: u16, at: u64, gfn: u64) {
        let mfn = self.machine.mfn_of(domain, gfn).expect("memory");
        self.machine.state().own_maps.insert((domain, at), mfn);
        self.reference.own_maps.insert((domain, at));
    }

    /// The granter writes an entry, honestly or not.
    pub fn write_entry(&mut self, granter: u16, gref: u32, flags: u16, domid: u16, gfn: u32) {
        self.write_whole_entry(granter, gref, flags, domid, 0, u64::from(gfn));
    }

    /// The same with everything that a version 2 entry has.
    pub fn write_whole_entry(
        &mut self,
        granter: u16,
        gref: u32,
        flags: u16,
        domid: u16,
        middle: u32,
        last: u64,
    ) {
        self.machine
            .write_whole_entry(granter, gref, flags, domid, middle, last);
        let in_use = self.reference.uses_of(granter, gref).is_some();
        let v2 = self.reference.version(granter) == 2;
        // In version 2 the granter's write does not reach the status.
        let scribbled = v2 && self.reference.entry(granter, gref).scribbled;
        let entry = Entry {
            flags,
            domid,
            middle: if v2 { middle } else { 0 },
            gfn: if v2 { last } else { last & 0xffff_ffff },
            scribbled: scribbled || in_use || flags & (GTF_READING | GTF_WRITING) != 0,
        };
        self.reference.entries.insert((granter, gref), entry);
    }

    /// A version 2 grant of a part of a page.
    pub fn write_sub_page(&mut self, granter: u16, gref: u32, domid: u16, gfn: u64, part: Part) {
        let flags = GTF_PERMIT_ACCESS | GTF_SUB_PAGE | part.flags;
        let middle = u32::from(part.length) << 16 | u32::from(part.start);
        self.write_whole_entry(granter, gref, flags, domid, middle, gfn);
    }

    /// A version 2 grant of what `origin` granted the granter by `inner`.
    pub fn write_transitive(
        &mut self,
        granter: u16,
        gref: u32,
        domid: u16,
        (origin, inner): (u16, u32),
    ) {
        let last = u64::from(inner);
        self.write_whole_entry(granter, gref, GTF_TRANSITIVE, domid, origin.into(), last);
    }

    /// Destroys a domain; everything it held must come back.
    pub fn kill(&mut self, domain: u16) -> (Death, u32) {
        let killed = self.machine.kill(domain);
        self.reference
            .areas
            .retain(|&(owner, _), _| owner != domain);
        if killed.0 == Death::Stuck {
            return killed;
        }
        self.reference.forget_holder(domain);
        let state = self.machine.state();
        let attached = &mut self.reference.attached;
        attached.retain(|sbdf, _| state.pci.contains_key(sbdf));
        drop(state);
        if killed.0 == Death::Gone {
            self.reference.forget_granter(domain);
        }
        self.machine.state().events.clear();
        self.check();
        killed
    }

    /// Takes a device out of the machine.
    pub fn unplug(&mut self, sbdf: u32) {
        self.machine.unplug(sbdf);
        self.reference.attached.remove(&sbdf);
        self.check();
    }

    /// Everything that must hold between two steps.
    pub fn check(&self) {
        invariants::check(&self.machine, &self.reference);
    }

    /// Everything given back: no mapping, no reference, no flag anywhere.
    pub fn assert_nothing_held(&self) {
        self.check();
        assert!(self.reference.pages.is_empty(), "frames still pinned");
        assert!(self.reference.cpu.is_empty(), "CPU mappings left");
        for (mfn, frame) in self.machine.state().frames.iter() {
            assert_eq!((frame.refs, frame.writable), (0, 0), "frame {mfn:#x}");
        }
    }
}
