// SPDX-License-Identifier: GPL-2.0-only
//! I/O page tables and flushes.

use hv::{
    addr::{Access, Dfn, DfnRange, Gfn, Mfn},
    host::{Domain, FlushFlags, Flushed, IoTables, Iommu, IommuError, IommuMode},
};

use crate::model::{
    domain::ModelDomain,
    iommu::{TABLES_FREED, TablesId},
    locks::assert_none_held,
    machine::{Machine, Moment},
    observed::Event,
};

/// Which tables these are.
pub(super) fn tables_id(tables: IoTables<'_, Machine>) -> TablesId {
    match tables {
        IoTables::Default(domain) => (domain.id().0, 0),
        IoTables::Own(context) => context.id,
    }
}

impl Iommu for Machine {
    fn iommu_mode(&self, domain: &ModelDomain) -> IommuMode {
        domain.setup().iommu
    }

    fn device_hole(&self, domain: &ModelDomain) -> Option<DfnRange> {
        domain.hole()
    }

    fn gfn_is_hole(&self, domain: &ModelDomain, gfn: Gfn) -> bool {
        !self
            .state()
            .p2m
            .contains_key(&(domain.id().0, gfn.number()))
    }

    fn is_above_memory(&self, domain: &ModelDomain, gfn: Gfn) -> bool {
        let state = self.state();
        let from = (domain.id().0, gfn.number());
        state.p2m.range(from..=(from.0, u64::MAX)).next().is_none()
    }

    fn iommu_page_sizes(&self, _domain: &ModelDomain) -> u64 {
        if self.state().switches.large_pages {
            1 << 12 | 1 << 21
        } else {
            1 << 12
        }
    }

    fn iommu_map(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        mfn: Mfn,
        count: u32,
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        let mut state = self.state();
        let id = tables_id(tables);
        let identity = match tables {
            IoTables::Default(domain) => domain.setup().identity().is_some(),
            IoTables::Own(_) => false,
        };
        let ok = !state.switches.map_fails.pull();
        let (domain, context) = state.name_of(id);
        state.events.push(Event::Map {
            domain,
            context,
            dfn: dfn.number(),
            mfn: mfn.number(),
            count,
            ok,
        });
        let leaves_one = state.switches.map_leaves_one && count > 1;
        let iommu = state.iommus.entry(id).or_default();
        if !ok {
            if leaves_one {
                flush.add(iommu.map(dfn.number(), mfn.number(), 1, access));
            }
            return Err(IommuError);
        }
        if identity {
            assert_eq!((dfn.number(), count), (mfn.number(), 1), "identity only");
            flush.add(iommu.set_identity(mfn.number(), access, false));
        } else {
            flush.add(iommu.map(dfn.number(), mfn.number(), count, access));
        }
        Ok(())
    }

    fn iommu_map_frames(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        mfns: &[Mfn],
        access: Access,
        flush: &mut FlushFlags,
    ) -> Result<(), u32> {
        let follows = |a: &Mfn, b: &Mfn| a.number() + 1 == b.number();
        let mut done = 0;
        for run in mfns.chunk_by(follows) {
            let dfn = Dfn::new(dfn.number() + u64::from(done));
            let count = run.len() as u32;
            self.iommu_map(tables, dfn, run[0], count, access, flush)
                .map_err(|_| done)?;
            done += count;
        }
        Ok(())
    }

    fn iommu_unmap(
        &self,
        tables: IoTables<'_, Self>,
        dfn: Dfn,
        count: u32,
        flush: &mut FlushFlags,
    ) -> Result<(), IommuError> {
        let mut state = self.state();
        let id = tables_id(tables);
        let ok = !state.switches.unmap_fails.pull();
        if ok && state.switches.unmap_frees_tables {
            flush.add(TABLES_FREED);
        }
        let (domain, context) = state.name_of(id);
        state.events.push(Event::Unmap {
            domain,
            context,
            dfn: dfn.number(),
            count,
            ok,
        });
        if !ok {
            return Err(IommuError);
        }
        let iommu = state.iommus.entry(id).or_default();
        flush.add(iommu.unmap(dfn.number(), count));
        Ok(())
    }

    fn must_flush_soon(&self, flags: FlushFlags) -> bool {
        flags.0 & TABLES_FREED.0 != 0
    }

    fn iommu_flush(
        &self,
        tables: IoTables<'_, Self>,
        range: DfnRange,
        flags: FlushFlags,
    ) -> Result<Flushed, IommuError> {
        assert_none_held("IOTLB flush");
        self.at_moment(Moment::Flush);
        let mut state = self.state();
        let id = tables_id(tables);
        let ok = !state.switches.flush_fails.pull();
        let (domain, context) = state.name_of(id);
        state.events.push(Event::Flush {
            domain,
            context,
            dfn: range.first.number(),
            count: range.count,
            flags: flags.0,
            ok,
        });
        if !ok {
            return Err(IommuError);
        }
        let iommu = state.iommus.entry(id).or_default();
        iommu.flush(range, flags);
        Ok(Flushed::completed())
    }

    fn cpu_map_needs_identity(&self, holder: &ModelDomain) -> bool {
        holder.setup().identity() == Some(true)
    }

    fn identity_map(
        &self,
        holder: &ModelDomain,
        mfn: Mfn,
        access: Access,
    ) -> Result<(), IommuError> {
        let mut state = self.state();
        let key = (holder.id().0, mfn.number());
        if state.switches.identity_map_fails.pull() {
            state.identity_unsure = Some(key);
            return Err(IommuError);
        }
        // After a failure nobody knows what there is.
        let unsure = state.identity_unsure.take() == Some(key);
        let iommu = state.iommus.entry((key.0, 0)).or_default();
        iommu.set_identity(key.1, access, unsure);
        iommu.flush_frame(key.1);
        Ok(())
    }

    fn identity_unmap(&self, holder: &ModelDomain, mfn: Mfn) -> Result<(), IommuError> {
        let mut state = self.state();
        if state.switches.identity_unmap_fails.pull() {
            return Err(IommuError);
        }
        // Nothing there is no error: after a failure nobody knows.
        let iommu = state.iommus.entry((holder.id().0, 0)).or_default();
        iommu.unmap(mfn.number(), 1);
        iommu.flush_frame(mfn.number());
        Ok(())
    }
}
