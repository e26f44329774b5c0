// SPDX-License-Identifier: GPL-2.0-only
//! Exchanging two entries: `swap_grant_ref`.

use hypercall_abi::grant::Gntst;

use super::table::{Frames, GrantTable};
use crate::{
    addr::{DomId, GrantRef},
    host::{Domain, Host},
    sync::SpinLock,
};

/// Why two entries could not be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapError {
    /// One is outside the table.
    OutOfRange(GrantRef),
    /// One is in use.
    InUse(GrantRef),
}

impl From<SwapError> for Gntst {
    fn from(error: SwapError) -> Self {
        match error {
            SwapError::OutOfRange(_) => Self::BadGntref,
            SwapError::InUse(_) => Self::EAgain,
        }
    }
}

#[cold]
#[inline(never)]
fn out_of_range(owner: DomId, gref: GrantRef) -> SwapError {
    log::debug!("{owner}: bad ref {:#x} to swap", gref.0);
    SwapError::OutOfRange(gref)
}

impl<H: Host> GrantTable<H> {
    /// Exchanges the entries of two references that nobody uses.
    ///
    /// Takes the table's lock for writing.
    pub fn swap(
        &self,
        host: &H,
        owner: &H::Domain,
        a: GrantRef,
        b: GrantRef,
    ) -> Result<(), SwapError> {
        let mut frames = self.write();
        let entries = frames.entries();
        for gref in [a, b] {
            if gref.0 >= entries {
                return Err(out_of_range(owner.id(), gref));
            }
        }
        if a == b {
            return Ok(());
        }
        let clamp = |gref: GrantRef| host.clamp_index(gref.0 as usize, entries as usize);
        let (at_a, at_b) = (clamp(a), clamp(b));
        host.speculation_barrier();
        for (gref, index) in [(a, at_a), (b, at_b)] {
            if frames.in_use(index) {
                return Err(SwapError::InUse(gref));
            }
        }
        if let (Some(entry_a), Some(entry_b)) = (
            frames.shared_entry(owner, at_a),
            frames.shared_entry(owner, at_b),
        ) {
            let contents = entry_a.contents();
            entry_a.replace(entry_b.contents());
            entry_b.replace(contents);
        }
        Ok(())
    }
}

impl<H: Host> Frames<H> {
    fn in_use(&mut self, index: usize) -> bool {
        self.active_entry_mut(index)
            .is_some_and(|active| !active.get_mut().pins.is_empty())
    }
}
