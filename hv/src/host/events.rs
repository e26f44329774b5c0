// SPDX-License-Identifier: GPL-2.0-only
//! What others are told: guests by event channels, the administrator by traces.

use super::domains::Domains;
use crate::addr::DomId;

/// What is told to Xen's trace buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// A grant of the named domain was mapped.
    Map,
    /// A mapping of a grant of the named domain is being undone.
    Unmap,
    /// A page was given to the named domain.
    Transfer,
}

/// Telling others.
pub trait Events: Domains {
    /// For the trace buffer.
    fn trace(&self, event: TraceEvent, other: DomId);

    /// Signals an event channel as if `domain` itself had. Whatever is wrong with the
    /// port is the domain's own affair.
    fn notify(&self, domain: &Self::Domain, port: u32);
}
