// SPDX-License-Identifier: GPL-2.0-only
//! The part of random sequences that is about the grant-table hypercall.

use arbitrary::Arbitrary;
use hypercall_abi::grant::{
    Copy32, Copy64, CopyPtr32, CopyPtr64, GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF,
    GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY, GTF_ACCEPT_TRANSFER,
    GTF_PERMIT_ACCESS, GTF_READONLY, GTF_TRANSITIVE, GTF_TYPE_MASK, MapGrantRef, SwapGrantRef,
    Transfer32, Transfer64, UnmapAndReplace, UnmapGrantRef,
};

use super::{Choice, DOMAINS, Play, RAM};
use crate::oracle::{Checked, Part};

const SELF: u16 = 0x7ff0;
/// Where CPU mappings of these sequences go.
const PLACES: u64 = 1 << 33;
/// References that are used.
const GREFS: u8 = 20;

/// One end of a copy.
#[derive(Arbitrary, Clone, Debug)]
pub struct CopyEnd {
    /// Whose, and whether by grant reference.
    pub domain: Choice,
    /// Which.
    pub name: Choice,
    /// Offset in steps of 64 bytes, roughly.
    pub offset: Choice,
}

/// One element of a copy.
#[derive(Arbitrary, Clone, Debug)]
pub struct CopyChoice {
    /// From.
    pub source: CopyEnd,
    /// To.
    pub dest: CopyEnd,
    /// Bytes in steps.
    pub len: Choice,
}

/// One thing that happens to grant tables.
#[derive(Arbitrary, Clone, Debug)]
pub enum GrantAction {
    /// A grant is mapped, with any flags.
    Map {
        /// By whom.
        holder: Choice,
        /// Whose.
        granter: Choice,
        /// Which.
        gref: Choice,
        /// Where.
        slot: Choice,
        /// How.
        flags: Choice,
    },
    /// A mapping, or a part of it, is ended.
    Unmap {
        /// By whom.
        holder: Choice,
        /// Which.
        which: Choice,
        /// Which part, and whether with wrong addresses.
        part: Choice,
    },
    /// A mapping is replaced.
    Replace {
        /// By whom.
        holder: Choice,
        /// Which.
        which: Choice,
        /// By what is where.
        slot: Choice,
    },
    /// The PV domain maps a page of its own.
    OwnMap {
        /// Where.
        slot: Choice,
        /// Which.
        gfn: Choice,
    },
    /// Copies.
    Copy {
        /// Who calls.
        caller: Choice,
        /// What.
        elements: Vec<CopyChoice>,
    },
    /// The format of a table changes.
    SetVersion {
        /// Whose.
        caller: Choice,
        /// To what.
        version: Choice,
    },
    /// Two entries are exchanged.
    Swap {
        /// Whose.
        caller: Choice,
        /// Which.
        refs: [Choice; 2],
    },
    /// A page is given away.
    Transfer {
        /// By whom.
        caller: Choice,
        /// Which.
        gfn: Choice,
        /// To whom.
        to: Choice,
        /// Accepted how.
        gref: Choice,
    },
    /// A granter writes an entry that only grant-table operations understand.
    Write {
        /// Who.
        granter: Choice,
        /// Which.
        gref: Choice,
        /// What.
        kind: Choice,
        /// For whom.
        holder: Choice,
        /// Frame, or reference.
        frame: Choice,
        /// Start and length of a part, or the origin.
        part: [Choice; 2],
    },
    /// A domain writes its memory.
    Fill {
        /// Whose.
        domain: Choice,
        /// Which page.
        gfn: Choice,
        /// With what.
        value: u8,
    },
}

fn place(slot: Choice) -> u64 {
    // Seldom where nothing can be mapped.
    PLACES + u64::from(slot % 10) * 4096 + if slot == 255 { 12 } else { 0 }
}

/// Offsets and lengths at borders and in between.
fn bytes(choice: Choice) -> u16 {
    match choice {
        0..64 => 0,
        224.. => 4096 - u16::from(choice - 224) * 8,
        _ => u16::from(choice - 64) * 25,
    }
}

fn gref(choice: Choice) -> u32 {
    // Seldom outside every table.
    if choice == 255 {
        1 << 30
    } else {
        u32::from(choice % GREFS)
    }
}

/// An entry of a type that is meant for a domain: whose, and which. Mostly what
/// is chosen exists.
fn meant_for(checked: &Checked, holder: u16, kind: [u16; 2], choice: Choice) -> (u16, u32) {
    let entries = checked.reference.entries.iter();
    let entries: Vec<_> = entries
        .filter(|(_, entry)| kind.contains(&(entry.flags & GTF_TYPE_MASK)))
        .filter(|(_, entry)| entry.domid == holder)
        .map(|(&(granter, gref), _)| (granter, gref))
        .collect();
    if choice.is_multiple_of(8) || entries.is_empty() {
        return (Play::domain(choice / 8), gref(choice));
    }
    entries[usize::from(choice) * 31 % entries.len()]
}

const ACCESS: [u16; 2] = [GTF_PERMIT_ACCESS, GTF_TRANSITIVE];

fn copy_end(end: &CopyEnd, is_gref: bool) -> (u64, u16, u16) {
    let domid = match end.domain / 8 % 16 {
        0..3 => SELF,
        14 => 77,
        n => DOMAINS[usize::from(n) % DOMAINS.len()],
    };
    let name = if is_gref {
        u64::from(gref(end.name))
    } else {
        u64::from(end.name % (RAM as u8 + 2))
    };
    let domid = if !is_gref && end.domain % 32 < 28 {
        SELF
    } else {
        domid
    };
    (name, domid, bytes(end.offset))
}

impl CopyChoice {
    fn element(&self, checked: &Checked, caller: u16) -> Copy64 {
        let flag = |end: &CopyEnd, flag| if end.domain & 7 < 5 { flag } else { 0 };
        let flags = flag(&self.source, GNTCOPY_SOURCE_GREF) | flag(&self.dest, GNTCOPY_DEST_GREF);
        let end = |end: &CopyEnd, flag| {
            let is_gref = flags & flag != 0;
            let (mut frame_or_gref, mut domid, offset) = copy_end(end, is_gref);
            if is_gref && end.domain < 200 {
                let (granter, gref) = meant_for(checked, caller, ACCESS, end.name);
                (frame_or_gref, domid) = (gref.into(), granter);
            }
            CopyPtr64 {
                frame_or_gref,
                domid,
                offset,
                pad: 0,
            }
        };
        Copy64 {
            source: end(&self.source, GNTCOPY_SOURCE_GREF),
            dest: end(&self.dest, GNTCOPY_DEST_GREF),
            len: u16::from(self.len) * 8,
            flags,
            ..Copy64::default()
        }
    }
}

fn compat(op: &Copy64) -> Copy32 {
    let end = |end: &CopyPtr64| CopyPtr32 {
        frame_or_gref: end.frame_or_gref as u32,
        domid: end.domid,
        offset: end.offset,
    };
    Copy32 {
        source: end(&op.source),
        dest: end(&op.dest),
        len: op.len,
        flags: op.flags,
        ..Copy32::default()
    }
}

/// A handle of the domain, if it has any, and where it maps what.
fn mapping_of(checked: &Checked, holder: u16, which: Choice) -> (u32, u64, u64) {
    let mappings = checked.reference.cpu.range((holder, 0)..=(holder, !0));
    let mappings: Vec<_> = mappings
        .map(|(&(_, handle), mapping)| (handle, mapping.host_addr, mapping.mfn * 4096))
        .collect();
    if mappings.is_empty() || which == 255 {
        return (u32::from(which), place(which), 0x1000);
    }
    mappings[usize::from(which) % mappings.len()]
}

impl Play {
    /// Does one thing to grant tables.
    pub(super) fn act_on_tables(&mut self, action: &GrantAction) {
        let checked = &mut self.checked;
        match action {
            GrantAction::Map { .. }
            | GrantAction::Unmap { .. }
            | GrantAction::Replace { .. }
            | GrantAction::OwnMap { .. } => map(checked, action),
            GrantAction::Copy { caller, elements } => {
                let (native, caller) = (caller & 1 == 0, Self::domain(caller / 2));
                let elements = elements.iter().take(5);
                let mut ops: Vec<_> = elements.map(|it| it.element(checked, caller)).collect();
                if native {
                    checked.copy(caller, &mut ops);
                } else {
                    let mut ops: Vec<_> = ops.iter().map(compat).collect();
                    checked.copy(caller, &mut ops);
                }
            }
            &GrantAction::SetVersion { caller, version } => {
                let version = if version == 255 { 3 } else { version % 2 + 1 };
                let caller = Self::domain(caller);
                let before = checked.reference.version(caller);
                let (_, after) = checked.set_version(caller, version.into());
                if before != after {
                    // What the change wiped is granted anew.
                    for gref in 8..16 {
                        let holder = DOMAINS[gref as usize % DOMAINS.len()];
                        checked.write_entry(caller, gref, GTF_PERMIT_ACCESS, holder, gref);
                    }
                }
            }
            GrantAction::Swap { caller, refs } => {
                let mut op = [SwapGrantRef {
                    ref_a: gref(refs[0]),
                    ref_b: gref(refs[1]),
                    ..SwapGrantRef::default()
                }];
                checked.swap(Self::domain(*caller), &mut op);
            }
            &GrantAction::Transfer {
                caller,
                gfn,
                to,
                gref: accept,
            } => {
                let gfn = u64::from(gfn) % (RAM + 1);
                let (native, caller) = (caller & 1 == 0, Self::domain(caller / 2));
                let (domid, gref) = match to {
                    255 => (77, gref(accept)),
                    240.. => (Self::domain(to), gref(accept)),
                    _ => meant_for(checked, caller, [GTF_ACCEPT_TRANSFER; 2], accept),
                };
                let op = Transfer64 {
                    gfn,
                    domid,
                    gref,
                    ..Transfer64::default()
                };
                if native {
                    checked.transfer(caller, &mut [op]);
                } else {
                    let op = Transfer32 {
                        gfn: gfn as u32,
                        domid,
                        gref: op.gref,
                        ..Transfer32::default()
                    };
                    checked.transfer(caller, &mut [op]);
                }
            }
            GrantAction::Write { .. } | GrantAction::Fill { .. } => write(checked, action),
        }
    }
}

fn map(checked: &mut Checked, action: &GrantAction) {
    match *action {
        GrantAction::Map {
            holder,
            granter,
            gref: which,
            slot,
            flags,
        } => {
            let known = GNTMAP_HOST_MAP | GNTMAP_DEVICE_MAP | GNTMAP_READONLY | GNTMAP_CONTAINS_PTE;
            let holder = Play::domain(holder);
            let (dom, gref) = if granter < 64 {
                (Play::domain(granter), gref(which))
            } else {
                meant_for(checked, holder, ACCESS, which)
            };
            let pv = holder == DOMAINS[2];
            let flags = if pv || slot < 20 {
                u32::from(flags) & known
            } else {
                GNTMAP_HOST_MAP | u32::from(flags) & GNTMAP_READONLY
            };
            let mut op = [MapGrantRef {
                host_addr: place(slot),
                flags,
                gref,
                dom,
                ..MapGrantRef::default()
            }];
            checked.cpu_map(holder, &mut op);
        }
        GrantAction::Unmap {
            holder,
            which,
            part,
        } => {
            let holder = Play::domain(holder);
            let (handle, host_addr, bus_addr) = mapping_of(checked, holder, which);
            let wrong = if part > 240 { 8 } else { 0 };
            let mut op = [UnmapGrantRef {
                host_addr: if part & 1 != 0 { host_addr } else { 0 },
                dev_bus_addr: if part & 2 != 0 { bus_addr + wrong } else { 0 },
                handle,
                ..UnmapGrantRef::default()
            }];
            checked.cpu_unmap(holder, &mut op);
        }
        GrantAction::Replace {
            holder,
            which,
            slot,
        } => {
            let holder = Play::domain(holder);
            let (handle, host_addr, _) = mapping_of(checked, holder, which);
            let new_addr = if slot % 4 == 0 { 0 } else { place(slot) };
            let mut op = [UnmapAndReplace {
                host_addr,
                new_addr,
                handle,
                ..UnmapAndReplace::default()
            }];
            checked.unmap_and_replace(holder, &mut op);
        }
        GrantAction::OwnMap { slot, gfn } => {
            let (domain, at) = (DOMAINS[2], PLACES + u64::from(slot % 10) * 4096);
            let gfn = u64::from(gfn) % RAM;
            let free = checked.reference.handle_at(domain, at).is_none();
            if free && checked.machine.mfn_of(domain, gfn).is_some() {
                checked.own_map(domain, at, gfn);
            }
        }
        _ => {}
    }
}

fn write(checked: &mut Checked, action: &GrantAction) {
    match *action {
        GrantAction::Write {
            granter,
            gref: which,
            kind,
            holder,
            frame,
            part,
        } => {
            let (granter, holder) = (Play::domain(granter), Play::domain(holder));
            let which = u32::from(which % GREFS);
            let gfn = u64::from(frame) % (RAM + 1);
            match kind % 4 {
                0 => checked.write_entry(granter, which, GTF_ACCEPT_TRANSFER, holder, gfn as u32),
                1 => {
                    let origin = meant_for(checked, granter, ACCESS, part[0]);
                    checked.write_transitive(granter, which, holder, origin);
                }
                _ => {
                    let part = Part {
                        start: bytes(part[0]),
                        length: bytes(part[1]),
                        flags: if kind & 4 != 0 { GTF_READONLY } else { 0 },
                    };
                    checked.write_sub_page(granter, which, holder, gfn, part);
                }
            }
        }
        GrantAction::Fill { domain, gfn, value } => {
            let domain = Play::domain(domain);
            let Some(mfn) = checked.machine.mfn_of(domain, u64::from(gfn) % RAM) else {
                return;
            };
            let bytes: Vec<u8> = (0..=255).map(|n: u8| n.wrapping_add(value)).collect();
            if let Some(frame) = checked.machine.state().frames.get_mut(mfn) {
                for offset in (0..4096).step_by(256) {
                    frame.write_range(offset, &bytes);
                }
            }
        }
        _ => {}
    }
}
