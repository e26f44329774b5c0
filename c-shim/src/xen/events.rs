// SPDX-License-Identifier: GPL-2.0-only
//! Event channels and the trace buffer.

use hv::{
    addr::DomId,
    host::{Events, TraceEvent},
};

use super::Xen;
use crate::{domain::XenDomain, ffi};

impl Events for Xen {
    #[inline]
    fn trace(&self, event: TraceEvent, other: DomId) {
        // SAFETY: a constant of C's.
        let tracing = unsafe { ffi::gdma_tracing };
        // SAFETY: a variable of Xen's, read as Xen's own macros do.
        if !unsafe { tracing.read_volatile() } {
            return;
        }
        let event = match event {
            TraceEvent::Map => ffi::TRACE_MAP,
            TraceEvent::Unmap => ffi::TRACE_UNMAP,
            TraceEvent::Transfer => ffi::TRACE_TRANSFER,
        };
        ffi::gdma_trace(event, other.0);
    }

    fn notify(&self, domain: &XenDomain, port: u32) {
        // SAFETY: a live domain.
        unsafe { ffi::gdma_notify(domain.as_ptr(), port) }
    }
}
