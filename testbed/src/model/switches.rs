// SPDX-License-Identifier: GPL-2.0-only
//! What tests turn: what fails and when, who wants the CPU, what access control refuses.

use std::collections::BTreeSet;

/// When an operation of the host fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// Not at all.
    #[default]
    Never,
    /// The call with this number from now, counting from 1; once.
    Nth(u32),
    /// Every call.
    Always,
}

impl Trigger {
    /// Counts a call; tells whether it fails.
    pub fn pull(&mut self) -> bool {
        match *self {
            Self::Never => false,
            Self::Always => true,
            Self::Nth(1) => {
                *self = Self::Never;
                true
            }
            Self::Nth(n) => {
                *self = Self::Nth(n.saturating_sub(1));
                false
            }
        }
    }
}

/// When something else wants the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preempt {
    /// Never.
    #[default]
    Never,
    /// At every poll.
    Always,
    /// At the poll with this number from now, counting from 1; once.
    Nth(u32),
    /// At random, from this seed.
    Random(u32),
}

impl Preempt {
    pub(super) fn poll(&mut self) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Nth(1) => {
                *self = Self::Never;
                true
            }
            Self::Nth(n) => {
                *n = n.saturating_sub(1);
                false
            }
            Self::Random(seed) => {
                *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *seed >> 31 != 0
            }
        }
    }
}

/// What fails, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    /// IOMMU map.
    pub map_fails: Trigger,
    /// One that fails, of a window, has mapped its first frame and not taken that back.
    pub map_leaves_one: bool,
    /// IOMMU unmap.
    pub unmap_fails: Trigger,
    /// IOTLB flush.
    pub flush_fails: Trigger,
    /// Mapping of a grant for a CPU.
    pub cpu_map_fails: Trigger,
    /// Making a frame reachable at its machine address, or changing that.
    pub identity_map_fails: Trigger,
    /// Taking that back.
    pub identity_unmap_fails: Trigger,
    /// Allocation of a shared page.
    pub shared_page_fails: Trigger,
    /// Taking a shared page back crashes the guest.
    pub unshare_breaks: Trigger,
    /// Putting a page where its new owner wants it.
    pub place_fails: Trigger,
    /// There is no memory with small machine addresses.
    pub no_low_memory: bool,
    /// CPU cache maintenance is not to be had.
    pub no_cache_flush: bool,
    /// The administrator allows no transitive grants.
    pub no_transitive: bool,
    /// The administrator allows no transfers.
    pub no_transfer: bool,
    /// Preemption.
    pub preempt: Preempt,
    /// Each unmapping empties a page table, which is freed after the hypercall.
    pub unmap_frees_tables: bool,
    /// The IOMMU has pages of 2 MiB.
    pub large_pages: bool,
    /// There is no PCI.
    pub no_pci: bool,
    /// Contexts that the IOMMUs can tell apart, if these are few.
    pub few_contexts: Option<u32>,
    /// Moving a device.
    pub attach_fails: Trigger,
    /// Making I/O page tables, for want of numbers.
    pub no_io_context: Trigger,
    /// Allocation of a value with several owners.
    pub share_fails: Trigger,
    /// Mapping of guest memory for Xen.
    pub map_memory_fails: Trigger,
    /// Copying a domain's memory, for want of memory.
    pub copy_fails: Trigger,
    /// Taking such a copy out of the tables.
    pub end_copy_fails: Trigger,
}

impl Switches {
    /// Something may fail for a reason that only this machine knows.
    pub fn may_fail_unseen(&self) -> bool {
        let unseen = [
            self.cpu_map_fails,
            self.identity_map_fails,
            self.attach_fails,
            self.no_io_context,
            self.share_fails,
            self.map_memory_fails,
            self.copy_fails,
            self.end_copy_fails,
        ];
        unseen != [Trigger::Never; 8]
    }
}

/// What access control refuses.
#[derive(Clone, Debug, Default)]
pub struct AccessControl {
    /// (holder, granter) that may not map.
    pub map: BTreeSet<(u16, u16)>,
    /// (holder, granter) that may map only for reading.
    pub map_writable: BTreeSet<(u16, u16)>,
    /// (holder, granter) that may not unmap.
    pub unmap: BTreeSet<(u16, u16)>,
    /// (caller, target) that may not set up or ask about a table.
    pub table: BTreeSet<(u16, u16)>,
    /// (source, destination) that may not be copied between.
    pub copy: BTreeSet<(u16, u16)>,
    /// Domains that may not make or end contexts.
    pub contexts: BTreeSet<u16>,
    /// (owner, device) that may not be moved between contexts.
    pub devices: BTreeSet<(u16, u32)>,
    /// (caller, target) that may not set limits.
    pub limits: BTreeSet<(u16, u16)>,
    /// (giver, receiver) that may not transfer pages.
    pub transfer: BTreeSet<(u16, u16)>,
    /// `GNTMAP_*` flags of every question about mapping.
    pub asked: Vec<u32>,
}
