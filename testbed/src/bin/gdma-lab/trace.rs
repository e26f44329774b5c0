// SPDX-License-Identifier: GPL-2.0-only
//! Counting IOTLB invalidations in QEMU's trace of its emulated VT-d.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The trace events of invalidation descriptors for the IOTLB.
const EVENTS: &str = "vtd_inv_desc_iotlb";

/// QEMU arguments that trace invalidations into a file.
pub fn qemu_args(file: &str) -> [String; 4] {
    [
        "-D".to_owned(),
        file.to_owned(),
        "-trace".to_owned(),
        format!("{EVENTS}*"),
    ]
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
                let word = word.rsplit_once(':').map_or(word, |(_, event)| event);
                word.strip_prefix(EVENTS)?.strip_prefix('_')
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
