// SPDX-License-Identifier: GPL-2.0-only
//! References to pages, counted for all together.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hv::{
    addr::{Access, Gfn, Mfn},
    host::{Frame, FrameError, FrameRun, Frames, IoMemory},
};
use hypercall_abi::Errno;

use super::{OUTSIDE, World, domains::Peer};

/// References to pages: nothing waits for them, so no atomics of loom.
#[derive(Debug, Default)]
pub struct References(pub(super) AtomicU64);

#[derive(Debug)]
pub struct Page {
    references: Arc<References>,
    pub(super) mfn: u64,
}

impl Page {
    pub(super) fn take(references: &Arc<References>, mfn: u64) -> Self {
        references.0.fetch_add(1, Ordering::SeqCst);
        Self {
            references: Arc::clone(references),
            mfn,
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.references.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Frame for Page {
    fn mfn(&self) -> Mfn {
        Mfn::new(self.mfn)
    }

    fn joined(self, _other: Self) -> Self {
        unimplemented!("translated domains have no device mappings")
    }

    fn take_one(&mut self, _typed: bool) -> Option<Self> {
        None
    }

    fn leave_to_page_tables(self) {}
}

/// There is none.
#[derive(Debug)]
pub enum NoRun {}

impl FrameRun for NoRun {
    type Frame = Page;

    fn first(&self) -> Mfn {
        match *self {}
    }

    fn count(&self) -> u32 {
        match *self {}
    }

    fn append(&mut self, next: Self) -> Result<(), Self> {
        match next {}
    }

    fn split_last(&mut self, _: u32) -> Option<Self> {
        match *self {}
    }

    fn into_frames(self, _: impl FnMut(Page)) {
        match self {}
    }
}

impl Frames for World {
    type Frame = Page;
    type FrameRun = NoRun;
    type Near = ();

    fn pin_gfn(
        &self,
        owner: &Peer,
        gfn: Gfn,
        _access: Access,
        _take_type: bool,
        _io: IoMemory,
    ) -> Result<Page, FrameError> {
        let mfn = u64::from(owner.0.id) << 20 | gfn.number();
        Ok(Page::take(&self.inner.references, mfn))
    }

    fn pin_near(
        &self,
        owner: &Peer,
        gfn: Gfn,
        access: Access,
        take_type: bool,
        (): &mut (),
    ) -> Result<Page, FrameError> {
        self.pin_gfn(owner, gfn, access, take_type, IoMemory::Refused)
    }

    fn pin_run(&self, _: &Peer, _: Gfn, _: u32, _: bool) -> Result<NoRun, FrameError> {
        unreachable!("no windows here")
    }

    fn pin_again(&self, _: &Peer, mfn: Mfn, _: bool, _: bool) -> Result<Page, FrameError> {
        assert!(self.references() > 0, "somebody refers to it");
        Ok(Page::take(&self.inner.references, mfn.number()))
    }

    fn pin_mfn(&self, _mfn: Mfn) -> Result<(Box<Peer>, Page), FrameError> {
        unimplemented!("{OUTSIDE}")
    }

    fn mark_dirty(&self, _owner: &Peer, _frame: &Page) {}

    fn copy_between(&self, _: &Page, _: u16, _: &Page, _: u16, _: u16) {}

    fn flush_cache(&self, _: &Page, _: u16, _: u16, _: u32) -> Result<(), Errno> {
        unimplemented!("{OUTSIDE}")
    }
}
