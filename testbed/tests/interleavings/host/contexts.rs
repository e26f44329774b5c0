// SPDX-License-Identifier: GPL-2.0-only
//! There are none.

use hv::{
    addr::{Dfn, DfnRange},
    host::{Content, Contexts, CopyError, HasDevices, IommuError, NoIoContext, Progress},
};

use super::{OUTSIDE, World, domains::Peer};

impl Contexts for World {
    type IoContext = ();

    fn context_range(&self, _: &Peer, _: Dfn, _: u64, _: Content) -> Option<DfnRange> {
        None
    }

    fn new_io_context(&self, _: &Peer, _: u32) -> Result<(), NoIoContext> {
        Err(NoIoContext::OutOfNumbers)
    }

    fn mirror_memory(&self, _: &Peer, _: &(), _: Dfn) -> Result<Progress, CopyError> {
        unimplemented!("{OUTSIDE}")
    }

    fn end_mirror(&self, _: &()) -> Result<Progress, IommuError> {
        unimplemented!("{OUTSIDE}")
    }

    fn close_io_context(&self, _: &()) -> Result<(), HasDevices> {
        unimplemented!("{OUTSIDE}")
    }

    fn most_contexts(&self) -> u32 {
        0
    }
}
