// SPDX-License-Identifier: GPL-2.0-only
//! Grant tables: who may use which page of a domain, and who does.
//!
//! | module | holds |
//! |---|---|
//! | [`table`] | a granter's table: frames shared with the guest, growth, limits |
//! | [`entry`] | what the guest wrote about a reference, and the in-use flags in it |
//! | [`active`] | who uses a reference, and how often |
//! | [`pin`] | taking and giving back a use of a reference: the one place where pin counts and `GTF_reading`/`GTF_writing` change |
//! | [`pin_error`] | why a reference could not be used |
//! | [`maptrack`] | a holder's records of its CPU mappings |
//! | [`identity`] | frames of others that a holder's devices reach at machine addresses |
//! | [`open_table`] | a table that is locked for several references |
//! | [`peer`] | the other domain of an operation |
//! | [`cpu_map`], [`cpu_unmap`] | CPU mappings: making, undoing, release at death |
//! | [`show`] | a table in words |
//! | [`copy`], [`transfer`], [`swap`], [`version`], [`cache`] | the other operations, by name |
//!
//! CPU mappings, copies and DMA mappings of a reference share one active entry and
//! one set of pin counts.

pub mod active;
pub mod cache;
pub mod copy;
pub mod cpu_map;
pub mod cpu_unmap;
pub mod entry;
mod frame_records;
pub mod identity;
pub mod maptrack;
pub mod open_table;
pub mod peer;
pub mod pin;
pub mod pin_error;
pub mod show;
pub mod swap;
pub mod table;
pub mod transfer;
pub mod version;

pub use entry::EntryError;
pub use open_table::OpenTable;
pub use pin::{Pin, Usage};
pub use pin_error::PinError;
pub use table::{FrameKind, GrantTable, TableError, TableLimits};
