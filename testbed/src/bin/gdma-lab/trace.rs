// SPDX-License-Identifier: GPL-2.0-only
//! Counting IOTLB invalidations in QEMU's trace of its emulated IOMMUs.
//!
//! VT-d: every descriptor for the IOTLB (`vtd_inv_desc_iotlb_pages`, `_domain`, `_global`), not those
//! for the context cache and for interrupts, and not the wait descriptors. AMD-Vi: the commands
//! INVALIDATE_IOMMU_PAGES (`amdvi_pages_inval`) and INVALIDATE_IOMMU_ALL (`amdvi_all_inval`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What all trace events of descriptors for VT-d's IOTLB begin with; the rest is the granularity.
const VTD_EVENTS: &str = "vtd_inv_desc_iotlb_";
/// AMD-Vi's, and their granularities.
const AMDVI_EVENTS: [(&str, &str); 2] =
    [("amdvi_pages_inval", "pages"), ("amdvi_all_inval", "all")];

/// QEMU arguments that trace invalidations into a file.
pub fn qemu_args(file: &str) -> Vec<String> {
    let vtd = format!("{VTD_EVENTS}*");
    let amdvi = AMDVI_EVENTS.map(|(event, _)| event.to_owned());
    let traced = std::iter::once(vtd).chain(amdvi);
    ["-D".to_owned(), file.to_owned()]
        .into_iter()
        .chain(traced.flat_map(|events| ["-trace".to_owned(), events]))
        .collect()
}

fn granularity(event: &str) -> Option<&str> {
    let of_amdvi = || AMDVI_EVENTS.iter().find(|(name, _)| *name == event);
    event
        .strip_prefix(VTD_EVENTS)
        .or_else(|| of_amdvi().map(|(_, granularity)| *granularity))
}

/// Invalidations by granularity: `global`, `domain`, `pages`, …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalidations(BTreeMap<String, u64>);

impl Invalidations {
    pub fn parse(trace: &str) -> Self {
        let mut counts = BTreeMap::new();
        for line in trace.lines() {
            // With some back-ends a line opens with a process id and a time.
            let event = line.split_whitespace().find_map(|word| {
                granularity(word.rsplit_once(':').map_or(word, |(_, event)| event))
            });
            if let Some(granularity) = event {
                *counts.entry(granularity.to_owned()).or_insert(0) += 1;
            }
        }
        Self(counts)
    }

    pub fn read(path: &Path) -> Result<Self> {
        let trace =
            fs::read(path).with_context(|| format!("QEMU left no trace at {}", path.display()))?;
        Ok(Self::parse(&String::from_utf8_lossy(&trace)))
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Invalidations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self
            .0
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        match kinds.as_slice() {
            [] => f.write_str("0"),
            kinds => write!(f, "{} ({})", self.total(), kinds.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_iotlb_invalidations_count() {
        let trace = "vtd_inv_desc_iotlb_global iotlb invalidate global\n\
                     vtd_inv_desc_cc_global context invalidate\n\
                     vtd_inv_desc_iotlb_domain iotlb invalidate whole domain 0x1\n\
                     vtd_inv_desc_wait_sw vtd_inv_desc_iotlb\n\
                     vtd_inv_desc_iotlb_domain iotlb invalidate whole domain 0x2\n";
        let counted = Invalidations::parse(trace);
        assert_eq!(counted.total(), 3);
        assert_eq!(counted.to_string(), "3 (2 domain, 1 global)");
    }

    #[test]
    fn amd_vi_commands_for_pages_count_and_others_do_not() {
        let trace = "amdvi_all_inval All invalidation \n\
                     amdvi_devtab_inval device table entry for devid: 00:00.0 invalidated\n\
                     amdvi_intr_inval Interrupt table invalidated\n\
                     amdvi_iotlb_inval IOTLB pages invalidated\n\
                     amdvi_completion_wait completion wait requested\n\
                     amdvi_pages_inval AMD-Vi pages for domain 0x1 invalidated\n";
        let counted = Invalidations::parse(trace);
        assert_eq!(counted.to_string(), "2 (1 all, 1 pages)");
    }

    #[test]
    fn every_event_that_counts_is_traced() {
        let args = qemu_args("f").join(" ");
        let events = "-trace vtd_inv_desc_iotlb_* -trace amdvi_pages_inval -trace amdvi_all_inval";
        assert_eq!(args, format!("-D f {events}"));
    }

    #[test]
    fn a_time_stamp_may_come_before() {
        let counted = Invalidations::parse(
            "4711@1700000000.5:vtd_inv_desc_iotlb_pages iotlb invalidate domain 0x1 addr 0x2",
        );
        assert_eq!(counted.to_string(), "1 (1 pages)");
    }

    #[test]
    fn an_empty_trace_counts_nothing() {
        assert_eq!(Invalidations::parse("").total(), 0);
        assert_eq!(Invalidations::parse("").to_string(), "0");
    }
}
