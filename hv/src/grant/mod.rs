// SPDX-License-Identifier: GPL-2.0-only
//! Grant tables: who may use which page of a domain, and who does.
//!
//! | module | holds |
//! |---|---|
//! | [`table`] | a granter's table: frames shared with the guest, growth, limits |
//! | [`entry`] | one entry's two halves: what the guest wrote, and the pins |
//! | [`pin`] | taking and giving back a use of a reference: the one place where pin counts and `GTF_reading`/`GTF_writing` change |
//! | [`maptrack`] | a holder's records of its CPU mappings |
//! | [`cpu_map`] | CPU mappings: `map_grant_ref`, `unmap_grant_ref`, release at death |
//!
//! CPU mappings and DMA mappings of a reference share one active entry and one
//! set of pin counts.

pub mod cpu_map;
pub mod entry;
pub mod maptrack;
pub mod pin;
pub mod table;

pub use entry::EntryError;
pub use pin::{Pin, PinError, Usage};
pub use table::{GrantTable, TableError, TableLimits};
