// SPDX-License-Identifier: GPL-2.0-only
//! I/O page tables besides those of the default contexts.

use std::sync::Arc;

use hv::{
    addr::{Dfn, DfnRange},
    host::{Content, Contexts, CopyError, Domain, HasDevices, IommuError, NoIoContext, Progress},
};

use crate::model::{
    domain::ModelDomain,
    iommu::{Iommu, ModelIoContext},
    locks::assert_none_held,
    machine::Machine,
};

impl Contexts for Machine {
    type IoContext = ModelIoContext;

    fn context_range(
        &self,
        owner: &ModelDomain,
        last: Dfn,
        wanted: u64,
        content: Content,
    ) -> Option<DfnRange> {
        let (first, count) = match content {
            Content::Empty => owner.setup().context_range?,
            Content::Mirror => owner.setup().mirror_range?,
        };
        let end = (first + count.min(wanted)).min(last.number().saturating_add(1));
        Some(DfnRange {
            first: Dfn::new(first),
            count: end.checked_sub(first)?,
        })
    }

    fn new_io_context(
        &self,
        owner: &ModelDomain,
        number: u32,
    ) -> Result<ModelIoContext, NoIoContext> {
        let mut state = self.state();
        if state.switches.no_io_context.pull() {
            return Err(NoIoContext::OutOfNumbers);
        }
        state.contexts_made += 1;
        let id = (owner.id().0, state.contexts_made);
        let tables = Iommu::of_context(number);
        state.iommus.insert(id, tables);
        Ok(ModelIoContext {
            inner: Arc::downgrade(&self.inner),
            id,
        })
    }

    fn mirror_memory(
        &self,
        owner: &ModelDomain,
        context: &ModelIoContext,
        end: Dfn,
    ) -> Result<Progress, CopyError> {
        assert_none_held("copying memory");
        self.mirror_step(owner, context, end)
    }

    fn end_mirror(&self, context: &ModelIoContext) -> Result<Progress, IommuError> {
        assert_none_held("ending a copy of memory");
        self.end_mirror_step(context)
    }

    fn close_io_context(&self, context: &ModelIoContext) -> Result<(), HasDevices> {
        let mut state = self.state();
        if state.devices_at(context.id).next().is_some() {
            return Err(HasDevices);
        }
        let tables = state.iommus.get_mut(&context.id).expect("its tables");
        tables.closed = true;
        Ok(())
    }

    fn most_contexts(&self) -> u32 {
        let few = self.state().switches.few_contexts;
        few.unwrap_or(u32::from(u16::MAX))
    }
}
