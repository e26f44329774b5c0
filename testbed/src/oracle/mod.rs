// SPDX-License-Identifier: GPL-2.0-only
//! The oracle: what must be true of the machine after every step.
//!
//! It keeps a second account of mappings, pins and quota, from the guest's side
//! of the ABI alone: which elements a call was given, which statuses came back,
//! and what the IOMMU was told. Rules come from the documentation in
//! `hypercall-abi` and from the design's invariants; no code of `hv` is used.
//!
//! | module | holds |
//! |---|---|
//! | [`reference`] | the account: mappings, pages, pins, in maps |
//! | [`predict`] | what one element must answer, by the documented tables |
//! | [`judge`] | comparing answers with predictions and entering them |
//! | [`judge_grants`] | the same for CPU mappings of grants |
//! | [`judge_arguments`] | the same for argument areas, and arrays in them |
//! | [`judge_contexts`] | the same for contexts, devices, revocation and limits |
//! | [`judge_windows`] | the same for windows |
//! | [`tables`] | what copy, transfer, swap and set_version must answer |
//! | [`operations`] | calling them, and comparing |
//! | [`invariants`] | comparing the machine with the account |
//! | [`checked`] | a machine whose every call is judged |

pub mod checked;
pub mod invariants;
pub mod judge;
pub mod judge_arguments;
pub mod judge_contexts;
pub mod judge_grants;
pub mod judge_windows;
pub mod operations;
pub mod predict;
pub mod reference;
pub mod tables;

pub use checked::{Checked, Part};
