// SPDX-License-Identifier: GPL-2.0-only
//! What the grant-table operations that leave no mapping must answer: copy,
//! transfer, swap, set_version. From the words of Xen's `public/grant_table.h`,
//! and its C code where they are silent.

use hypercall_abi::{
    Errno,
    grant::{
        Copy64, GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GTF_ACCEPT_TRANSFER, GTF_PERMIT_ACCESS,
        GTF_READONLY, GTF_SUB_PAGE, GTF_TRANSITIVE, GTF_TYPE_MASK, Gntst, NR_RESERVED_ENTRIES,
        SwapGrantRef, Transfer64,
    },
};

use super::predict::Rules;
use crate::model::{domain::Backing, frames::Kind};

const SELF: u16 = 0x7ff0;
const MAX_USES: u32 = 128;
/// Any status but success: what the header leaves open.
const ANY_ERROR: [Gntst; 4] = [
    Gntst::GeneralError,
    Gntst::EAgain,
    Gntst::BadGntref,
    Gntst::BadPage,
];

/// The statuses that fit a mistake.
pub type Fits = Vec<Gntst>;

/// Bytes of a page that a copy may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The page.
    pub mfn: u64,
    /// The first.
    pub start: u32,
    /// How many.
    pub length: u32,
    /// A transitive grant led there.
    pub transitive: bool,
}

impl Part {
    const fn whole(mfn: u64) -> Self {
        Self {
            mfn,
            start: 0,
            length: 4096,
            transitive: false,
        }
    }

    fn contains(&self, offset: u16, length: u16) -> bool {
        let (from, to) = (u32::from(offset), u32::from(offset) + u32::from(length));
        from >= self.start && to <= self.start + self.length
    }
}

/// What a transfer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The page.
    pub mfn: u64,
    /// The receiver, if it gets the page.
    pub receiver: Option<u16>,
    /// What the element answers.
    pub status: Gntst,
}

fn one<T>(status: Gntst) -> Result<T, Fits> {
    Err(vec![status])
}

impl Rules<'_> {
    /// The part of a page that `holder` may copy from, or to for `write`.
    fn copy_grant(
        &self,
        granter: u16,
        gref: u32,
        holder: u16,
        write: bool,
        inner: bool,
    ) -> Result<Part, Fits> {
        if self.setup_of(granter).is_none_or(|setup| !setup.has_state) {
            return one(Gntst::BadDomain);
        }
        if gref >= self.machine.table_entries(granter) {
            return one(Gntst::BadGntref);
        }
        let entry = self.reference.entry(granter, gref);
        let v2 = self.reference.version(granter) == 2;
        let kind = entry.flags & GTF_TYPE_MASK;
        let transitive = v2 && kind == GTF_TRANSITIVE;
        let readonly = write && entry.flags & GTF_READONLY != 0;
        // Devices use it as a transitive one, and it still leads there.
        let led = self.led(granter, gref);
        let leads = transitive.then_some((entry.middle as u16, entry.gfn as u32));
        if let Some(uses) = self.reference.uses_of(granter, gref) {
            let full = uses.cpu[usize::from(write)] == MAX_USES;
            if uses.holder != holder || full || (readonly && !uses.writing()) {
                return one(Gntst::GeneralError);
            }
            if leads != led {
                // Changed by the granter while in use.
                return Err(ANY_ERROR.to_vec());
            }
        }
        if led.is_none()
            && let Some(uses) = self.reference.uses_of(granter, gref)
        {
            if write && !uses.writing() {
                // Granted for reading so far: for writing only what it names now.
                let whole = !v2 || entry.flags & GTF_SUB_PAGE == 0;
                match self.memory_at(granter, entry.gfn, write, false) {
                    Ok(mfn) if whole && mfn == uses.mfn => {}
                    Ok(_) => return one(Gntst::GeneralError),
                    Err(why) => return Err(vec![Gntst::GeneralError, why.gntst]),
                }
            }
            return match self.usable(uses.mfn, write) {
                Ok(mfn) => Ok(Part::whole(mfn)),
                Err(why) => one(why.gntst),
            };
        }
        if entry.domid != holder || readonly || (kind != GTF_PERMIT_ACCESS && !transitive) {
            return one(Gntst::GeneralError);
        }
        if transitive {
            let origin = entry.middle as u16;
            let refused = inner || self.machine.state().switches.no_transitive;
            if refused || origin == granter || self.setup_of(origin).is_none() {
                return one(Gntst::GeneralError);
            }
            let found = self.copy_grant(origin, entry.gfn as u32, granter, write, true)?;
            return Ok(Part {
                transitive: true,
                ..found
            });
        }
        let part = if v2 && entry.flags & GTF_SUB_PAGE != 0 {
            (entry.middle & 0xffff, entry.middle >> 16)
        } else {
            (0, 4096)
        };
        let found = self.memory_at(granter, entry.gfn, write, false);
        if part.0 >= 1 << 15 {
            return Err(vec![Gntst::GeneralError, Gntst::BadCopyArg]);
        }
        match found {
            Ok(mfn) => Ok(Part {
                mfn,
                start: part.0,
                length: part.1,
                transitive: false,
            }),
            Err(why) => one(why.gntst),
        }
    }

    fn copy_end(&self, end: (u64, u16), is_gref: bool, write: bool) -> Result<Part, Fits> {
        let (name, domid) = end;
        let domain = if domid == SELF { self.caller } else { domid };
        if is_gref {
            return self.copy_grant(domain, name as u32, self.caller, write, false);
        }
        match self.memory_at(domain, name, write, false) {
            Ok(mfn) => Ok(Part::whole(mfn)),
            Err(why) => one(why.gntst),
        }
    }

    /// One element of `copy`: source and destination, if anything is copied.
    pub fn copy(&self, op: &Copy64) -> Result<Option<(Part, Part)>, Fits> {
        if op.len == 0 {
            return Ok(None);
        }
        let mut fits = Vec::new();
        let ends = [
            (op.source, op.flags & GNTCOPY_SOURCE_GREF != 0),
            (op.dest, op.flags & GNTCOPY_DEST_GREF != 0),
        ];
        for (end, is_gref) in ends {
            if end.domid != SELF && !is_gref {
                fits.push(Gntst::PermissionDenied);
            } else if end.domid != SELF && self.setup_of(end.domid).is_none() {
                fits.push(Gntst::BadDomain);
            }
        }
        if !fits.is_empty() {
            return Err(fits);
        }
        let who = |domid| if domid == SELF { self.caller } else { domid };
        let pair = (who(op.source.domid), who(op.dest.domid));
        if self.machine.state().access.copy.contains(&pair) {
            return one(Gntst::PermissionDenied);
        }
        let end = |end: (u64, u16), index: usize| self.copy_end(end, ends[index].1, index == 1);
        let source = end((op.source.frame_or_gref, op.source.domid), 0)?;
        let dest = end((op.dest.frame_or_gref, op.dest.domid), 1)?;
        let beyond = |offset: u16| u32::from(offset) + u32::from(op.len) > 4096;
        if beyond(op.source.offset) || beyond(op.dest.offset) {
            return one(Gntst::BadCopyArg);
        }
        if !source.contains(op.source.offset, op.len) || !dest.contains(op.dest.offset, op.len) {
            return one(Gntst::GeneralError);
        }
        Ok(Some((source, dest)))
    }

    /// One element of `swap_grant_ref`.
    pub fn swap(&self, op: &SwapGrantRef) -> Gntst {
        let entries = self.machine.table_entries(self.caller);
        let in_use = |gref| self.reference.uses_of(self.caller, gref).is_some();
        if op.ref_a >= entries || op.ref_b >= entries {
            Gntst::BadGntref
        } else if op.ref_a != op.ref_b && (in_use(op.ref_a) || in_use(op.ref_b)) {
            Gntst::EAgain
        } else {
            Gntst::Okay
        }
    }

    /// `set_version`: whether the format changes, or the error.
    pub fn set_version(&self, version: u32) -> Result<bool, Errno> {
        let limit = self.setup_of(self.caller).map_or(0, |it| it.max_version);
        let now = self.reference.version(self.caller);
        match version {
            1 => {}
            2 if limit < 2 => return Err(Errno::NoSys),
            2 => {}
            _ => return Err(Errno::Inval),
        }
        if version == now {
            return Ok(false);
        }
        // The references are looked at in their order, so these come first.
        if (0..NR_RESERVED_ENTRIES).any(|gref| self.led(self.caller, gref).is_some()) {
            return Err(Errno::Again);
        }
        let mut used = self.reference.uses().into_keys();
        if used.any(|(granter, gref)| granter == self.caller && gref >= NR_RESERVED_ENTRIES) {
            return Err(Errno::Busy);
        }
        if version == 1 {
            let lost = (0..NR_RESERVED_ENTRIES)
                .map(|gref| self.reference.entry(self.caller, gref))
                .any(|entry| match entry.flags & GTF_TYPE_MASK {
                    GTF_TRANSITIVE => true,
                    GTF_PERMIT_ACCESS => entry.gfn >> 32 != 0,
                    _ => false,
                });
            if lost {
                return Err(Errno::Range);
            }
        }
        Ok(true)
    }

    /// Flags of an entry that is in the table, as a transfer finds them. One that was written
    /// while in use may have bits of that use, which mean something else to a transfer.
    fn transfer_flags(&self, granter: u16, gref: u32) -> u16 {
        let entry = self.reference.entry(granter, gref);
        if entry.scribbled && self.reference.version(granter) == 1 {
            self.machine.read_entry(granter, gref).0
        } else {
            entry.flags
        }
    }

    /// One element of `transfer`. `Err`: the caller keeps the page.
    pub fn transfer(&self, op: &Transfer64) -> Result<Transfer, Gntst> {
        let state = self.machine.state();
        let Some(&Backing::Ram(mfn)) = state.p2m.get(&(self.caller, op.gfn)) else {
            return Err(Gntst::BadPage);
        };
        let frame = state.frames.get(mfn).ok_or(Gntst::BadPage)?;
        if frame.refs != 0 || !matches!(frame.kind, Kind::Ram) {
            return Err(Gntst::GeneralError);
        }
        let room = state.memory_of(op.domid);
        let refused = state.access.transfer.contains(&(self.caller, op.domid));
        drop(state);
        let lost = |status| Transfer {
            mfn,
            receiver: None,
            status,
        };
        let Some(receiver) = self.setup_of(op.domid) else {
            return Ok(lost(Gntst::BadDomain));
        };
        if refused {
            return Ok(lost(Gntst::PermissionDenied));
        }
        let entry = self.reference.entry(op.domid, op.gref);
        // A page that the receiver gets from itself was its own before.
        let own = u64::from(op.domid == self.caller);
        let accepts = op.gref < self.machine.table_entries(op.domid)
            && self.transfer_flags(op.domid, op.gref) == GTF_ACCEPT_TRANSFER
            && entry.domid == self.caller;
        if !receiver.has_state || room - own >= receiver.max_pages || !accepts {
            return Ok(lost(Gntst::GeneralError));
        }
        Ok(Transfer {
            mfn,
            receiver: Some(op.domid),
            status: Gntst::Okay,
        })
    }
}
