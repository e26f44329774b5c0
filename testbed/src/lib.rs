// SPDX-License-Identifier: GPL-2.0-only
//! Model hypervisor and oracle of the grant-DMA service.
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | a hypervisor in ordinary memory that the service runs on |
//! | [`oracle`] | a second account of what must be true, compared after every step |
//! | [`elements`] | array elements as a guest fills them in |
//! | [`scene`] | domains and grants that most tests begin with |
//! | [`row`] | the same for windows: a domain with memory in a row |
//! | [`sequence`] | random sequences of events, for property tests and the fuzzer |
#![forbid(unsafe_code)]

pub mod elements;
pub mod model;
pub mod oracle;
pub mod row;
pub mod scene;
pub mod sequence;
