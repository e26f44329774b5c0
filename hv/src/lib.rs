// SPDX-License-Identifier: GPL-2.0-only
//! Grant tables and grant-DMA for Xen.
//!
//! All policy of the service, none of its mechanism: this crate has no `unsafe`
//! code and knows no Xen symbol. Whatever it needs of a hypervisor it asks of a
//! [`host::Host`]. Two exist: Xen itself (crate `c-shim`) and a model in
//! ordinary memory (crate `testbed`), so every line here runs in `cargo test`.
//!
//! The way of a hypercall through the crate, from guest to IOMMU:
//!
//! | module | step |
//! |---|---|
//! | [`hypercall`] | number 47 and the grant-table hypercall: copy in once, dispatch, copy out |
//! | [`dma`] | the DMA service: validation, mappings, look-ups, flushes |
//! | [`grant`] | the grant tables: entries, pins, CPU mappings |
//! | [`host`] | the boundary: frames, guest memory, IOMMU |
//!
//! [`state`] is what hangs off each domain, [`addr`] the address spaces,
//! [`sync`] the locks, [`hash`] what keeps chains of the indices short.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod addr;
mod blocks;
pub mod dma;
pub mod grant;
pub mod hash;
pub mod host;
pub mod hypercall;
mod index;
pub mod state;
pub mod sync;
