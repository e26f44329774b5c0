// SPDX-License-Identifier: GPL-2.0-only
//! [`Host`]: Xen, as the service sees it. For each file of `hv/src/host/` there is one of
//! the same name here.

mod access;
mod contexts;
mod cpu;
mod devices;
mod domains;
mod events;
mod execution;
mod frames;
mod guest;
mod iommu;
mod locks;
mod shared_pages;
mod transfer;

use hv::host::Host;

/// The hypervisor this code is linked into.
pub(crate) struct Xen;

impl Host for Xen {}
