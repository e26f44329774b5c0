// SPDX-License-Identifier: GPL-2.0-only
//! The grant-DMA service inside Xen.
//!
//! Everything `unsafe` of the project is here, and nothing else: Rust's side of
//! the boundary that `xen/common/grant-dma/gdma.h` describes from C's side.
//!
//! | module | holds |
//! |---|---|
//! | [`entry`] | what C calls: `gdma_rs_*` |
//! | [`ffi`] | what C offers: `gdma_*` |
//! | [`xen`] | [`hv::host::Host`] on top of it |
//! | [`guest`] | memory of the calling guest |
//! | [`domain`], [`page`], [`mapped`], [`context`], [`shared`], [`locks`] | the values that `Host` deals in |
//! | [`runtime`] | allocator, log, panic |
#![no_std]

extern crate alloc;

mod context;
mod domain;
mod entry;
mod ffi;
mod guest;
mod locks;
mod mapped;
mod page;
mod runtime;
mod shared;
mod xen;
