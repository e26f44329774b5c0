// SPDX-License-Identifier: GPL-2.0-only
//! The same for grant-table operations that leave no mapping. They are predicted
//! before the call, because nothing but themselves changes what they find.

use std::collections::BTreeMap;

use hypercall_abi::grant::{
    Copy32, Copy64, CopyPtr64, GNTTABOP_COPY, GNTTABOP_SET_VERSION, GNTTABOP_SWAP_GRANT_REF,
    GNTTABOP_TRANSFER, GTF_PERMIT_ACCESS, GTF_READING, GTF_TRANSFER_COMMITTED,
    GTF_TRANSFER_COMPLETED, GTF_TYPE_MASK, GTF_WRITING, Gntst, NR_RESERVED_ENTRIES, SetVersion,
    SwapGrantRef, Transfer32, Transfer64,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    Checked,
    judge::NOT_WORKED_ON,
    predict::Rules,
    reference::{Entry, Reference},
    tables::Fits,
};
use crate::model::{CallEnd, Machine, hypercall::Number};

type Contents = BTreeMap<u64, Box<[u8; 4096]>>;

/// An element in one of its layouts.
pub trait Wire: FromBytes + IntoBytes + Immutable + Copy {
    /// The layout of 64-bit guests.
    type Native: Copy + std::fmt::Debug;
    /// It is that of 32-bit guests.
    const COMPAT: bool;
    /// The same in the layout of 64-bit guests.
    fn native(&self) -> Self::Native;
    /// Where the status is.
    fn status(&mut self) -> &mut i16;
}

impl Wire for Copy64 {
    type Native = Self;
    const COMPAT: bool = false;
    fn native(&self) -> Self {
        *self
    }
    fn status(&mut self) -> &mut i16 {
        &mut self.status
    }
}

impl Wire for Copy32 {
    type Native = Copy64;
    const COMPAT: bool = true;
    fn native(&self) -> Copy64 {
        let end = |end: &hypercall_abi::grant::CopyPtr32| CopyPtr64 {
            frame_or_gref: u64::from(end.frame_or_gref),
            domid: end.domid,
            offset: end.offset,
            pad: 0,
        };
        Copy64 {
            source: end(&self.source),
            dest: end(&self.dest),
            len: self.len,
            flags: self.flags,
            status: self.status,
            pad: self.pad,
        }
    }
    fn status(&mut self) -> &mut i16 {
        &mut self.status
    }
}

impl Wire for Transfer64 {
    type Native = Self;
    const COMPAT: bool = false;
    fn native(&self) -> Self {
        *self
    }
    fn status(&mut self) -> &mut i16 {
        &mut self.status
    }
}

impl Wire for Transfer32 {
    type Native = Transfer64;
    const COMPAT: bool = true;
    fn native(&self) -> Transfer64 {
        Transfer64 {
            gfn: u64::from(self.gfn),
            domid: self.domid,
            gref: self.gref,
            status: self.status,
            ..Transfer64::default()
        }
    }
    fn status(&mut self) -> &mut i16 {
        &mut self.status
    }
}

fn contents(machine: &Machine) -> Contents {
    let state = machine.state();
    let frames = state.frames.iter();
    frames.map(|(mfn, frame)| (mfn, frame.contents())).collect()
}

impl Checked {
    fn rules(&self, caller: u16) -> Rules<'_> {
        Rules {
            machine: &self.machine,
            reference: &self.reference,
            caller,
        }
    }

    fn call_wire<T: Wire>(&self, caller: u16, cmd: u32, elements: &mut [T]) -> CallEnd {
        for element in elements.iter_mut() {
            *element.status() = NOT_WORKED_ON;
        }
        let vcpu = self.machine.vcpu_of(caller);
        let vcpu = if T::COMPAT {
            vcpu.with_compat_layout()
        } else {
            vcpu
        };
        let before: Vec<T> = elements.to_vec();
        let end = vcpu.call_with(Number::GrantTable, cmd, elements);
        for (mut before, after) in before.into_iter().zip(&mut *elements) {
            *before.status() = *after.status();
            assert_eq!(
                before.as_bytes(),
                after.as_bytes(),
                "only the status changes"
            );
        }
        end
    }

    /// `copy`; all elements must have been worked on.
    pub fn copy<T: Wire<Native = Copy64>>(&mut self, caller: u16, ops: &mut [T]) {
        let mut wanted = contents(&self.machine);
        let mut transitive = false;
        let mut predicted: Vec<(Result<(), Fits>, bool)> = Vec::new();
        for op in &*ops {
            let op = op.native();
            let found = self.rules(caller).copy(&op);
            let answer = found.as_ref().map(|_| ()).map_err(Clone::clone);
            // What an element claimed by a transitive grant stays claimed, for the
            // granter in between, during the next elements.
            predicted.push((answer, transitive));
            if let Ok(Some((source, dest))) = found {
                transitive |= source.transitive || dest.transitive;
            }
        }
        let asked: Vec<Copy64> = ops.iter().map(T::native).collect();
        let end = self.call_wire(caller, GNTTABOP_COPY, ops);
        assert_eq!(end.value, 0, "{asked:?}");
        for ((op, asked), (answer, claimed)) in ops.iter_mut().zip(&asked).zip(predicted) {
            let status = *op.status();
            match answer {
                Ok(()) if claimed && status == Gntst::GeneralError.wire() => continue,
                Ok(()) => assert_eq!(status, 0, "{asked:?}"),
                Err(fits) => {
                    assert!(
                        fits.iter().any(|fit| fit.wire() == status),
                        "{asked:?}: status {status} instead of {fits:?}"
                    );
                    continue;
                }
            }
            if let Ok(Some((source, dest))) = self.rules(caller).copy(asked) {
                let range = |offset: u16| usize::from(offset)..usize::from(offset + asked.len);
                let bytes = wanted[&source.mfn][range(asked.source.offset)].to_vec();
                if let Some(page) = wanted.get_mut(&dest.mfn) {
                    page[range(asked.dest.offset)].copy_from_slice(&bytes);
                }
                let state = self.machine.state();
                let dirty = state.frames.get(dest.mfn).map(|frame| frame.dirty);
                assert_eq!(dirty, Some(true), "a written page is dirty");
            }
        }
        assert!(
            contents(&self.machine) == wanted,
            "contents after {asked:?}"
        );
        self.check();
    }

    /// `swap_grant_ref`; all elements must have been worked on.
    pub fn swap(&mut self, caller: u16, ops: &mut [SwapGrantRef]) {
        let asked = ops.to_vec();
        let vcpu = self.machine.vcpu_of(caller);
        let end = vcpu.call_with(Number::GrantTable, GNTTABOP_SWAP_GRANT_REF, ops);
        assert_eq!(end.value, 0);
        for (op, asked) in ops.iter().zip(&asked) {
            let status = self.rules(caller).swap(asked);
            assert_eq!(op.status, status.wire(), "{asked:?}");
            if status == Gntst::Okay {
                let (a, b) = ((caller, asked.ref_a), (caller, asked.ref_b));
                let (in_a, in_b) = (
                    self.reference.entry(a.0, a.1),
                    self.reference.entry(b.0, b.1),
                );
                self.reference.entries.insert(a, in_b);
                self.reference.entries.insert(b, in_a);
            }
        }
        self.check();
    }

    /// `set_version`. Returns the call's value and the version in use.
    pub fn set_version(&mut self, caller: u16, version: u32) -> (i32, u32) {
        let mut wanted = self.rules(caller).set_version(version);
        let now = self.reference.version(caller);
        let busy = {
            let state = self.machine.state();
            let frames = state.frames.iter();
            let mut owned = frames.filter(|(_, frame)| frame.owner == caller);
            owned.any(|(mfn, _)| state.guest_uses.contains(&mfn))
        };
        if wanted == Ok(true) && version == 1 && busy {
            wanted = Err(hypercall_abi::Errno::Busy);
        }
        let vcpu = self.machine.vcpu_of(caller);
        let mut op = [SetVersion { version }];
        let end = vcpu.call_with(Number::GrantTable, GNTTABOP_SET_VERSION, &mut op);
        let value = match wanted {
            Ok(_) => 0,
            Err(error) => error.wire(),
        };
        assert_eq!(end.value, value, "version {now} to {version}");
        if wanted == Ok(true) {
            self.reference.convert(caller, version);
        }
        let now = self.reference.version(caller);
        assert_eq!(op[0].version, now, "the version in use is told");
        self.check();
        (end.value, op[0].version)
    }

    /// `transfer`; all elements must have been worked on.
    pub fn transfer<T: Wire<Native = Transfer64>>(&mut self, caller: u16, ops: &mut [T]) {
        // One at a time: each changes what the next one finds.
        for op in ops {
            let asked = op.native();
            let wanted = self.rules(caller).transfer(&asked);
            let end = self.call_wire(caller, GNTTABOP_TRANSFER, std::slice::from_mut(op));
            assert_eq!(end.value, 0);
            let status = *op.status();
            match wanted {
                Err(wanted) => {
                    assert_eq!(status, wanted.wire(), "{asked:?}");
                    assert!(self.machine.mfn_of(caller, asked.gfn).is_some() || status == -9);
                }
                Ok(wanted) => {
                    assert_eq!(status, wanted.status.wire(), "{asked:?}");
                    let state = self.machine.state();
                    let owner = state.frames.get(wanted.mfn).map(|frame| frame.owner);
                    assert_eq!(owner, wanted.receiver, "whose page it is");
                    drop(state);
                    if wanted.receiver.is_some() {
                        self.received(&asked, wanted.mfn);
                    }
                }
            }
            self.check();
        }
    }

    fn received(&mut self, op: &Transfer64, mfn: u64) {
        let pv = self.rules(op.domid).is_pv(op.domid);
        let key = (op.domid, op.gref);
        let entry = self.reference.entries.entry(key).or_default();
        entry.flags |= GTF_TRANSFER_COMMITTED | GTF_TRANSFER_COMPLETED;
        if pv {
            entry.gfn = mfn;
        }
        let place = entry.gfn;
        assert_eq!(self.machine.mfn_of(op.domid, place), Some(mfn), "its place");
    }
}

impl Reference {
    /// The table of a domain has another format now: all but the reserved entries
    /// are gone, and of these only grants of whole pages stay on the way to 1.
    fn convert(&mut self, granter: u16, version: u32) {
        let uses = self.uses();
        self.versions.insert(granter, version);
        self.entries.retain(|&(owner, gref), entry| {
            if owner != granter {
                return true;
            }
            let access = entry.flags & GTF_TYPE_MASK == GTF_PERMIT_ACCESS;
            if gref < NR_RESERVED_ENTRIES && (version == 2 || access) {
                entry.middle = 0;
                // One of a transfer's flags is one of those that go to the status,
                // where the granter's next write does not reach it.
                entry.scribbled |= version == 2 && !access;
                if version == 2 {
                    entry.flags &= !(GTF_READING | GTF_WRITING);
                }
                return true;
            }
            // Its granter changed it while in use: the flags of that use are lost.
            *entry = Entry {
                scribbled: true,
                ..Entry::default()
            };
            uses.contains_key(&(owner, gref))
        });
        // What is not kept reads as zeros, which absent entries are.
    }
}
