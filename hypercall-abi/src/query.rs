// SPDX-License-Identifier: MIT
//! `query`: version, capabilities, limits and usage.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Capability: own frames can be mapped.
pub const XEN_GDMA_CAP_OWN_FRAMES: u32 = 1 << 0;
/// Capability: grant references of version 1 tables can be mapped.
pub const XEN_GDMA_CAP_GRANT_V1: u32 = 1 << 1;
/// Capability: the caller's default context accepts mappings. Clear for a domain whose
/// devices work with guest addresses when they are not behind an IOMMU that Xen programs
/// for it alone, or when the IOMMU shares its page tables with the CPU.
pub const XEN_GDMA_CAP_DEFAULT_CONTEXT: u32 = 1 << 2;
/// Capability: PCI devices can be asked for with `query_device`.
pub const XEN_GDMA_CAP_PCI: u32 = 1 << 3;

/// Capability: grant references of version 2 tables can be mapped: full-page
/// entries, in tables of the granter's own pages.
pub const XEN_GDMA_CAP_GRANT_V2: u32 = 1 << 4;
/// Capability: the caller can create contexts.
pub const XEN_GDMA_CAP_CONTEXTS: u32 = 1 << 5;
/// Capability: arguments can be passed in memory that the vcpu registered.
pub const XEN_GDMA_CAP_REGISTERED_ARGS: u32 = 1 << 6;
/// Capability: there are windows.
pub const XEN_GDMA_CAP_WINDOWS: u32 = 1 << 7;
/// Capability: device addresses of the default context are machine addresses (PV, and
/// direct-mapped Arm domains). `map` gives out that of the frame; a frame can be mapped
/// there several times. There are no windows.
pub const XEN_GDMA_CAP_IDENTITY: u32 = 1 << 8;
/// Capability: in the default context, an IOMMU keeps the devices behind it from all but
/// the caller's own memory and what is mapped. Clear without an IOMMU, with one that
/// devices pass by (`dom0-iommu=passthrough`), and for a PV dom0 whose devices reach all
/// memory that is not Xen's (without `dom0-iommu=strict`): there `map` does no more than
/// to keep frames in place, and devices reach them after `unmap` and `revoke` as well.
pub const XEN_GDMA_CAP_PROTECTED: u32 = 1 << 9;

/// One element of `XEN_GDMA_OP_QUERY`.
///
/// Element errors: `-EINVAL` padding not zero; `-ESRCH` no such domain, and any
/// domain but the caller (`XEN_GDMA_DOMID_SELF` or its own id) in this version.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Query {
    /// IN: whose usage is asked for.
    pub domid: u16,
    /// IN: zero.
    pub pad0: u16,
    /// OUT: 0 or a negative error number.
    pub status: i32,
    /// OUT: `XEN_GDMA_ABI_VERSION` of the hypervisor.
    pub abi_version: u32,
    /// OUT: `XEN_GDMA_CAP_*`.
    pub capabilities: u32,
    /// OUT: most elements of one call.
    pub max_batch: u32,
    /// OUT: most frames of one `xen_gdma_map`.
    pub max_frames: u32,
    /// OUT: most frames the domain may have pinned at once.
    pub max_pins: u32,
    /// OUT: frames it has pinned now.
    pub used_pins: u32,
    /// OUT: mappings (handles) it holds now.
    pub mappings: u32,
    /// OUT: most contexts it may have besides the default one: its quota, or what the
    /// hardware can tell apart, of all domains together, if that is less; 0 when its
    /// devices are not behind an IOMMU that Xen programs.
    pub max_contexts: u32,
    /// OUT: first device address that `map` gives out or accepts in the default
    /// context; 0 when the default context accepts no mapping, and with
    /// `XEN_GDMA_CAP_IDENTITY`.
    pub daddr_first: u64,
    /// OUT: last device address (inclusive) of that range; 0 when there is none, all ones
    /// with `XEN_GDMA_CAP_IDENTITY`.
    pub daddr_last: u64,
    /// OUT: page sizes of the default context, one bit per size (bit 12: 4 KiB).
    pub page_sizes: u64,
    /// OUT: successful IOTLB flushes by which mappings of this domain ended, since
    /// it was created.
    pub flushes: u64,
}

const _: () = assert!(size_of::<Query>() == 72);
