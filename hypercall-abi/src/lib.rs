// SPDX-License-Identifier: MIT
//! Everything a guest and the grant-DMA service in Xen agree on.
//!
//! One hypercall, number [`HYPERCALL_NR`], in the shape of the grant-table
//! hypercall: `(command, guest pointer to an array, number of elements)`. Each
//! element carries its own input, output and `status`; the call itself returns
//! 0 when every element was worked on, or a whole-call error.
//!
//! The same definitions, as C, are in `include/public/grant_dma.h`, generated
//! from this crate and checked for staleness by `make check`.
//!
//! | module | holds |
//! |---|---|
//! | [`command`] | command numbers and the limits that hold for every command |
//! | [`arguments`] | the memory that a vcpu passes its arguments in |
//! | [`query`] | what the service offers and what the caller uses of it |
//! | [`device`] | which DMA treatment one device needs |
//! | [`context`] | device address spaces of a domain's own, and moving devices to them |
//! | [`mapping`] | `map` and `unmap`: making frames reachable to devices |
//! | [`window`] | `window_create` and `window_destroy`: memory that stays mapped |
//! | [`lookup`] | from device address to source and back |
//! | [`fault`] | what the IOMMU has stopped |
//! | [`control`] | revocation, limits, counters |
//! | [`errno`] | the error numbers on the wire |
//! | [`grant`] | the parts of Xen's grant-table ABI that the service shares |
#![no_std]
#![forbid(unsafe_code)]

pub mod arguments;
pub mod command;
pub mod context;
pub mod control;
pub mod device;
pub mod errno;
pub mod fault;
/// cbindgen:ignore
pub mod grant;
pub mod lookup;
pub mod mapping;
pub mod query;
pub mod window;

pub use errno::Errno;

/// The hypercall's number.
///
/// 43 to 46 are left alone: 43 is claimed by the PV-IOMMU proposals. Not in the
/// generated header: Xen's own `public/xen.h` gets it from the series.
///
/// cbindgen:ignore
pub const HYPERCALL_NR: u32 = 47;

// Between Xen's last common number and the first architecture-specific one.
const _: () = assert!(HYPERCALL_NR > xen_sys::__HYPERVISOR_hypfs_op);
const _: () = assert!(HYPERCALL_NR < xen_sys::__HYPERVISOR_arch_0);

/// A domain id as it appears on the wire (`domid_t` of Xen's public headers).
pub type WireDomid = u16;

// Spelt `u16` above so that the header generator sees a plain C type.
const _: () = assert!(size_of::<xen_sys::domid_t>() == size_of::<WireDomid>());
