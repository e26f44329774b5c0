// SPDX-License-Identifier: GPL-2.0-only
//! Event channels and the trace buffer, noted for tests.

use hv::{
    addr::DomId,
    host::{Domain, Events, TraceEvent},
};

use crate::model::{domain::ModelDomain, machine::Machine};

impl Events for Machine {
    fn trace(&self, event: TraceEvent, other: DomId) {
        self.state().traces.push((event, other.0));
    }

    fn notify(&self, domain: &ModelDomain, port: u32) {
        self.state().notified.push((domain.id().0, port));
    }
}
