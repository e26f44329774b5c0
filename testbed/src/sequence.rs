// SPDX-License-Identifier: GPL-2.0-only
//! Sequences of what guests, devices and failing hardware do, judged after every
//! step. Property tests and the fuzzer make the sequences.

pub mod contexts;
pub mod grants;

use arbitrary::{Arbitrary, Unstructured};
use hypercall_abi::{
    arguments::RegisterArgs,
    grant::{GTF_PERMIT_ACCESS, GTF_READONLY},
    mapping::{
        Map, Unmap, XEN_GDMA_GRANT_DMA_BIT, XEN_GDMA_MAP_FIXED, XEN_GDMA_MAP_GRANT,
        XEN_GDMA_MAP_GRANT_DMA, XEN_GDMA_NO_FLUSH,
    },
};

use self::{
    contexts::{ContextAction, DEVICES},
    grants::GrantAction,
};
use crate::{
    elements::{
        READ, READ_WRITE, at, cpu_map, cpu_unmap, lookup_daddr, lookup_gaddr, map_grant, map_own,
        unmap_handle, unmap_range,
    },
    model::{DomainSetup, Preempt, Trigger, domain::Backing},
    oracle::Checked,
};

const HOLE: u64 = DomainSetup::HOLE;
const RAM: u64 = 24;
/// Two holders, which also grant, and a PV domain that only grants.
const DOMAINS: [u16; 3] = [1, 2, 3];

/// A choice that is taken modulo what there is to choose from.
pub type Choice = u8;

/// One thing that happens.
#[derive(Arbitrary, Clone, Debug)]
pub enum Action {
    /// A holder maps, one or several elements.
    Map {
        /// Who.
        holder: Choice,
        /// What.
        elements: Vec<MapChoice>,
    },
    /// A holder unmaps live mappings.
    Unmap {
        /// Who.
        holder: Choice,
        /// Which: the handle, or the range if odd.
        which: Vec<Choice>,
    },
    /// A holder unmaps anything.
    UnmapAnything {
        /// Who.
        holder: Choice,
        /// Handle.
        handle: u64,
        /// Flags.
        flags: u32,
        /// Frames.
        nr_frames: u32,
    },
    /// A holder looks addresses up.
    Lookup {
        /// Who.
        holder: Choice,
        /// Device frame from the hole's first, or guest frame.
        frame: Choice,
        /// Which mapping of a guest frame.
        index: Choice,
    },
    /// A granter writes an entry.
    WriteEntry {
        /// Who.
        granter: Choice,
        /// Which.
        gref: Choice,
        /// Honest for the most part.
        kind: Choice,
        /// For whom.
        holder: Choice,
        /// Which frame.
        gfn: Choice,
    },
    /// A holder maps a grant for its CPU.
    CpuMap {
        /// Who.
        holder: Choice,
        /// Whose.
        granter: Choice,
        /// Which.
        gref: Choice,
        /// Where.
        slot: Choice,
        /// For writing.
        write: bool,
    },
    /// A holder ends a CPU mapping.
    CpuUnmap {
        /// Who.
        holder: Choice,
        /// Which.
        which: Choice,
        /// Names no address.
        no_address: bool,
    },
    /// Devices of a holder read and write.
    Dma {
        /// Whose.
        holder: Choice,
        /// Device frame from the hole's first.
        frame: Choice,
        /// Writes.
        write: bool,
    },
    /// Something fails from now on, once.
    Fail {
        /// Map, unmap, flush or CPU map.
        what: Choice,
        /// At which call.
        nth: Choice,
    },
    /// Preemption from now on.
    Preempt {
        /// Never, always, or at random.
        seed: u8,
    },
    /// A guest frame changes.
    ChangeFrame {
        /// Whose.
        domain: Choice,
        /// Which.
        gfn: Choice,
        /// Memory, paged out, registers, or nothing.
        what: Choice,
    },
    /// A holder's vcpu gets another argument area, or none: calls use it from then on.
    Arguments {
        /// Whose.
        holder: Choice,
        /// First frame.
        gfn: Choice,
        /// How many.
        frames: Choice,
    },
    /// Something about grant tables.
    Grants(GrantAction),
    /// Something about contexts.
    Contexts(ContextAction),
    /// Access control changes its mind.
    Refuse {
        /// Holder.
        holder: Choice,
        /// Granter.
        granter: Choice,
        /// Refuses.
        refuse: bool,
    },
}

/// One element of a `map`.
#[derive(Arbitrary, Clone, Debug)]
pub struct MapChoice {
    /// Own frames, or grants of which domain.
    pub from: Choice,
    /// First guest frame or reference.
    pub source: Choice,
    /// How many.
    pub count: Choice,
    /// Access and whether at a chosen address.
    pub flags: Choice,
    /// The chosen address.
    pub dfn: Choice,
    /// A field with nonsense in it, sometimes.
    pub nonsense: u16,
}

impl MapChoice {
    fn element(&self, contexts: &[u32]) -> Map {
        let count = u32::from(self.count % 12);
        let flags = if self.flags & 1 == 0 {
            READ
        } else {
            READ_WRITE
        };
        let op = if self.from.is_multiple_of(4) {
            map_own(u64::from(self.source % (RAM as u8 + 4)), count, flags)
        } else {
            let granter = DOMAINS[usize::from(self.from % 4) - 1];
            map_grant(granter, u64::from(self.source % 24), count.min(4), flags)
        };
        let context = match contexts {
            [] => 0,
            _ if self.flags & 0x40 == 0 => 0,
            _ => contexts[usize::from(self.dfn) % contexts.len()],
        };
        let first = if context == 0 {
            HOLE
        } else {
            DomainSetup::CONTEXTS
        };
        let op = if self.flags & 6 == 6 {
            at(first + u64::from(self.dfn % 66), op)
        } else {
            op
        };
        let no_flush = if self.flags & 0x30 == 0x30 {
            XEN_GDMA_NO_FLUSH
        } else {
            0
        };
        let op = Map {
            context,
            flags: op.flags | no_flush,
            ..op
        };
        self.with_nonsense(op)
    }

    fn with_nonsense(&self, op: Map) -> Map {
        match self.nonsense {
            0 => Map { pad0: 1, ..op },
            1 => Map { context: 77, ..op },
            9 if op.kind == XEN_GDMA_MAP_GRANT => Map {
                kind: XEN_GDMA_MAP_GRANT_DMA,
                source: 1 << XEN_GDMA_GRANT_DMA_BIT | op.source << 12 | u64::from(self.dfn),
                ..op
            },
            10 if op.kind == XEN_GDMA_MAP_GRANT => Map {
                kind: XEN_GDMA_MAP_GRANT_DMA,
                ..op
            },
            2 => Map { kind: 3, ..op },
            3 => Map { flags: 0, ..op },
            4 => Map { daddr: 12, ..op },
            5 => Map {
                nr_frames: 4000,
                ..op
            },
            6 if op.kind == XEN_GDMA_MAP_GRANT => Map { domid: 77, ..op },
            7 => Map {
                source: u64::MAX - 2,
                ..op
            },
            8 => Map {
                flags: op.flags | XEN_GDMA_MAP_FIXED,
                ..op
            },
            _ => op,
        }
    }
}

/// A machine, its account, and what it is doing.
pub struct Play {
    checked: Checked,
    /// The first holder is PV.
    pv: bool,
}

impl Default for Play {
    fn default() -> Self {
        Self::new()
    }
}

impl Play {
    /// The domains of a play, with small limits that are soon reached.
    pub fn new() -> Self {
        Self::with_first(|holder| holder)
    }

    /// The same, but the first holder works with machine addresses, through an IOMMU that
    /// has what it has if `strict`.
    pub fn with_pv(strict: bool) -> Self {
        let pv = |holder| DomainSetup {
            translated: false,
            strict,
            ..holder
        };
        Self {
            pv: true,
            ..Self::with_first(pv)
        }
    }

    fn with_first(first: impl FnOnce(DomainSetup) -> DomainSetup) -> Self {
        let holder = |id| DomainSetup {
            hole: Some((HOLE, 64)),
            max_pins: 40,
            max_contexts: 12,
            ram_frames: RAM,
            ..DomainSetup::pvh(id)
        };
        let mut checked = Checked::new(&[
            first(holder(1)),
            holder(2),
            DomainSetup {
                translated: false,
                ..holder(3)
            },
        ]);
        for (sbdf, owner, group) in DEVICES {
            checked.machine.plug(sbdf, owner, true);
            let mut state = checked.machine.state();
            if let Some(device) = state.pci.get_mut(&sbdf) {
                device.group = group;
            }
        }
        for granter in DOMAINS {
            for gref in 0..16 {
                let holder = if gref % 5 == 4 { 2 } else { 1 };
                let readonly = if gref % 3 == 2 { GTF_READONLY } else { 0 };
                checked.write_entry(granter, gref, GTF_PERMIT_ACCESS | readonly, holder, gref);
            }
        }
        checked.set_version(DOMAINS[1], 2);
        checked.write_entry(DOMAINS[1], 3, GTF_PERMIT_ACCESS, 1, 3);
        for gref in 8..16 {
            let readonly = if gref % 3 == 2 { GTF_READONLY } else { 0 };
            let holder = if gref % 5 == 4 { 3 } else { 1 };
            checked.write_entry(DOMAINS[1], gref, GTF_PERMIT_ACCESS | readonly, holder, gref);
        }
        Self { checked, pv: false }
    }

    /// A device frame that a mapping in the default context may have.
    fn device_frame(&self, holder: u16, choice: Choice) -> u64 {
        let reference = &self.checked.reference;
        if !reference.is_identity((holder, 0)) {
            return HOLE + u64::from(choice % 70);
        }
        let pages: Vec<u64> = reference
            .pages_in((holder, 0))
            .map(|(_, page)| page.mfn)
            .collect();
        let nth = usize::from(choice) % (pages.len() + 1);
        pages.get(nth).copied().unwrap_or_default()
    }

    fn holder(choice: Choice) -> u16 {
        DOMAINS[usize::from(choice.is_multiple_of(5))]
    }

    fn domain(choice: Choice) -> u16 {
        DOMAINS[usize::from(choice) % DOMAINS.len()]
    }

    /// Does one thing and checks everything.
    pub fn act(&mut self, action: &Action) {
        match action {
            Action::Map { holder, elements } => self.map(Self::holder(*holder), elements),
            Action::Unmap { holder, which } => self.unmap(Self::holder(*holder), which),
            &Action::UnmapAnything {
                holder,
                handle,
                flags,
                nr_frames,
            } => {
                let op = Unmap {
                    handle,
                    flags: flags & 3,
                    nr_frames,
                    ..Unmap::default()
                };
                self.checked.unmap(Self::holder(holder), &mut [op]);
            }
            &Action::Lookup {
                holder,
                frame,
                index,
            } => {
                let dfn = self.device_frame(Self::holder(holder), frame);
                let daddr = dfn * 4096 + u64::from(index);
                let gaddr = u64::from(frame % 30) * 4096 + u64::from(index);
                let mut ops = [
                    lookup_daddr(daddr),
                    lookup_gaddr(gaddr, u32::from(index % 4)),
                ];
                self.checked.lookup(Self::holder(holder), &mut ops);
            }
            &Action::Arguments {
                holder,
                gfn,
                frames,
            } => {
                let nr_frames = u32::from(frames % 6);
                let gfn = if nr_frames == 0 && gfn % 8 != 0 {
                    0
                } else {
                    u64::from(gfn % (RAM as u8 + 4))
                };
                let op = RegisterArgs {
                    gfn,
                    nr_frames,
                    ..RegisterArgs::default()
                };
                self.checked.register_args(Self::holder(holder), &mut [op]);
            }
            Action::Grants(action) => self.act_on_tables(action),
            Action::Contexts(action) => self.act_on_contexts(action),
            Action::Dma { .. } | Action::CpuMap { .. } | Action::CpuUnmap { .. } => {
                self.use_mappings(action);
            }
            _ => self.change_world(action),
        }
        self.checked.check();
    }

    fn map(&mut self, holder: u16, elements: &[MapChoice]) {
        let contexts: Vec<u32> = self
            .checked
            .reference
            .contexts_of(holder)
            .map(|(number, _)| number)
            .collect();
        let mut ops: Vec<_> = elements
            .iter()
            .take(6)
            .map(|choice| choice.element(&contexts))
            .collect();
        if !ops.is_empty() {
            self.checked.map(holder, &mut ops);
            self.checked.query(holder);
        }
    }

    fn unmap(&mut self, holder: u16, which: &[Choice]) {
        let live: Vec<_> = self
            .checked
            .reference
            .mappings_of(holder)
            .map(|(number, handle, mapping)| (number, handle, *mapping))
            .collect();
        let mut ops: Vec<_> = which
            .iter()
            .take(6)
            .filter(|_| !live.is_empty())
            .map(|&choice| {
                let (context, handle, mapping) = live[usize::from(choice / 2) % live.len()];
                let op = if choice % 2 == 0 {
                    unmap_handle(handle)
                } else {
                    let reference = &self.checked.reference;
                    let dfn = reference.dfn_of((holder, context), mapping.dfn);
                    unmap_range(dfn * 4096, mapping.count)
                };
                let flags = if choice >= 192 { XEN_GDMA_NO_FLUSH } else { 0 };
                Unmap {
                    context,
                    flags: op.flags | flags,
                    ..op
                }
            })
            .collect();
        if !ops.is_empty() {
            self.checked.unmap(holder, &mut ops);
            self.checked.query(holder);
        }
    }

    fn use_mappings(&mut self, action: &Action) {
        match *action {
            Action::CpuMap {
                holder,
                granter,
                gref,
                slot,
                write,
            } => {
                let address = (1 << 32) + u64::from(slot % 12) * 4096;
                let op = cpu_map(Self::domain(granter), u32::from(gref % 24), address, write);
                self.checked.cpu_map(Self::holder(holder), &mut [op]);
            }
            Action::CpuUnmap {
                holder,
                which,
                no_address,
            } => {
                let holder = Self::holder(holder);
                let handle = u32::from(which % 16);
                let address = match self.checked.reference.cpu.get(&(holder, handle)) {
                    Some(mapping) if !no_address => mapping.host_addr,
                    _ => 0,
                };
                let op = cpu_unmap(handle, address);
                self.checked.cpu_unmap(holder, &mut [op]);
            }
            Action::Dma {
                holder,
                frame,
                write,
            } => {
                let daddr = self.device_frame(Self::holder(holder), frame) * 4096 + 9;
                let machine = &self.checked.machine;
                if write {
                    let _ = machine.device_write(Self::holder(holder), daddr, frame);
                } else {
                    let _ = machine.device_read(Self::holder(holder), daddr);
                }
            }
            _ => {}
        }
    }

    fn change_world(&mut self, action: &Action) {
        match *action {
            Action::WriteEntry {
                granter,
                gref,
                kind,
                holder,
                gfn,
            } => {
                let flags = match kind % 16 {
                    0 => 0,
                    1 => u16::from(gfn),
                    2..6 => GTF_PERMIT_ACCESS | GTF_READONLY,
                    _ => GTF_PERMIT_ACCESS,
                };
                let domid = if holder % 8 == 7 {
                    0
                } else {
                    Self::holder(holder)
                };
                let gfn = u32::from(gfn % (RAM as u8 + 2));
                let granter = Self::domain(granter);
                self.checked
                    .write_entry(granter, u32::from(gref % 16), flags, domid, gfn);
            }
            Action::Fail { what, nth } => {
                let trigger = Trigger::Nth(1 + u32::from(nth % 3));
                let windows = self.checked.reference.has_windows();
                self.checked.switch(|switches| match what % 4 {
                    // What failures leave of windows has tests of its own.
                    0..3 if windows => {}
                    // So has what is left of mappings at machine addresses.
                    0 | 1 if self.pv => {}
                    0 => switches.map_fails = trigger,
                    1 => switches.unmap_fails = trigger,
                    2 => switches.flush_fails = trigger,
                    _ => switches.cpu_map_fails = trigger,
                });
            }
            Action::Preempt { seed } => self.checked.switch(|switches| {
                switches.preempt = match seed {
                    0..40 => Preempt::Never,
                    40..80 => Preempt::Always,
                    _ => Preempt::Random(u32::from(seed)),
                };
            }),
            Action::ChangeFrame { domain, gfn, what } => {
                self.change_frame(Self::domain(domain), u64::from(gfn) % RAM, what);
            }
            Action::Refuse {
                holder,
                granter,
                refuse,
            } => {
                let pair = (Self::holder(holder), Self::domain(granter));
                let mut state = self.checked.machine.state();
                if refuse {
                    state.access.map.insert(pair);
                    state.access.contexts.insert(pair.0);
                } else {
                    state.access.map.remove(&pair);
                    state.access.contexts.remove(&pair.0);
                }
            }
            _ => {}
        }
    }

    /// A frame that leaves the guest's address space is given back to Xen.
    fn change_frame(&self, domain: u16, gfn: u64, what: Choice) {
        let machine = &self.checked.machine;
        machine.give_back(domain, gfn);
        match what % 4 {
            0 => {
                let mut state = machine.state();
                state.set_backing(domain, gfn, Some(Backing::PagedOut));
            }
            1 => {}
            _ => machine.populate(domain, gfn, 1),
        }
    }

    /// Everybody dies, in some order; nothing may be left.
    pub fn end(mut self, order: Choice) {
        self.checked.switch(|switches| {
            switches.map_fails = Trigger::Never;
            switches.unmap_fails = Trigger::Never;
            switches.flush_fails = Trigger::Never;
            switches.end_copy_fails = Trigger::Never;
        });
        let mut domains = DOMAINS;
        domains.rotate_left(usize::from(order % 3));
        for domain in domains {
            self.checked.kill(domain);
        }
        for domain in DOMAINS {
            if self.checked.machine.find(domain).is_some() {
                self.checked.machine.reap(domain);
            }
            assert!(
                self.checked.machine.find(domain).is_none(),
                "something still holds memory of d{domain}"
            );
        }
        let left = self.checked.machine.state().frames.iter().count();
        assert_eq!(left, 0, "frames nobody gave back");
    }
}

/// Plays the actions, then lets everybody die.
pub fn play(actions: &[Action], order: Choice) {
    let mut play = Play::new();
    for action in actions {
        play.act(action);
    }
    play.end(order);
}

/// The same with a PV holder.
pub fn play_pv(actions: &[Action], order: Choice, strict: bool) {
    let mut play = Play::with_pv(strict);
    for action in actions {
        play.act(action);
    }
    play.end(order);
}

/// The body of the fuzz target: plays what the bytes say.
pub fn fuzz_one(bytes: &[u8]) {
    let mut unstructured = Unstructured::new(bytes);
    let order: Choice = unstructured.arbitrary().unwrap_or(0);
    let mut play = match order % 8 {
        6 => Play::with_pv(true),
        7 => Play::with_pv(false),
        _ => Play::new(),
    };
    for _ in 0..64 {
        if unstructured.is_empty() {
            break;
        }
        let Ok(action) = unstructured.arbitrary::<Action>() else {
            break;
        };
        play.act(&action);
    }
    play.end(order);
}
