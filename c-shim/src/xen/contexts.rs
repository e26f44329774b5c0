// SPDX-License-Identifier: GPL-2.0-only
//! Pseudo-domains with I/O page tables.

use hv::{
    addr::{Dfn, DfnRange},
    host::{Content, Contexts, CopyError, HasDevices, IommuError, NoIoContext, Progress},
};

use super::Xen;
use crate::{context::XenIoContext, domain::XenDomain};

impl Contexts for Xen {
    type IoContext = XenIoContext;

    fn context_range(
        &self,
        owner: &XenDomain,
        last: Dfn,
        wanted: u64,
        content: Content,
    ) -> Option<DfnRange> {
        XenIoContext::range(owner, last, wanted, content)
    }

    fn new_io_context(&self, owner: &XenDomain, number: u32) -> Result<XenIoContext, NoIoContext> {
        XenIoContext::new(owner, number)
    }

    fn mirror_memory(
        &self,
        _owner: &XenDomain,
        context: &XenIoContext,
        end: Dfn,
    ) -> Result<Progress, CopyError> {
        context.mirror(end)
    }

    fn end_mirror(&self, context: &XenIoContext) -> Result<Progress, IommuError> {
        context.end_mirror()
    }

    fn close_io_context(&self, context: &XenIoContext) -> Result<(), HasDevices> {
        context.close()
    }

    fn most_contexts(&self) -> u32 {
        XenIoContext::most()
    }
}
