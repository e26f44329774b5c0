// SPDX-License-Identifier: GPL-2.0-only
//! Access control: what the administrator's policy allows whom.

use super::domains::Domains;

/// Access control refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Questions to access control, and to the command line.
pub trait AccessControl: Domains {
    /// Whether `holder` may map grants of `granter` with these `GNTMAP_*` flags.
    fn may_map_grant(
        &self,
        holder: &Self::Domain,
        granter: &Self::Domain,
        gntmap_flags: u32,
    ) -> Result<(), Refused>;

    /// Whether `holder` may undo mappings of grants of `granter`.
    fn may_unmap_grant(&self, holder: &Self::Domain, granter: &Self::Domain)
    -> Result<(), Refused>;

    /// Whether `caller` may set up the grant table of `target`.
    fn may_setup_table(&self, caller: &Self::Domain, target: &Self::Domain) -> Result<(), Refused>;

    /// Whether `caller` may ask about the grant table of `target`.
    fn may_query_table(&self, caller: &Self::Domain, target: &Self::Domain) -> Result<(), Refused>;

    /// Whether `caller` may give pages to `receiver`.
    fn may_transfer(&self, caller: &Self::Domain, receiver: &Self::Domain) -> Result<(), Refused>;

    /// Whether the caller may copy from grants of `source` to grants of `dest`.
    fn may_copy(&self, source: &Self::Domain, dest: &Self::Domain) -> Result<(), Refused>;

    /// The administrator allows transitive grants.
    fn transitive_allowed(&self) -> bool;

    /// The administrator allows page transfers, and there can be PV domains.
    fn transfer_allowed(&self) -> bool;

    /// Whether `owner`, the caller, may make and end contexts of its own.
    fn may_use_contexts(&self, owner: &Self::Domain) -> Result<(), Refused>;

    /// Whether `owner`, the caller, may move this device between its contexts, should
    /// it be its own. `sbdf` as for [`super::Devices::pci_device`].
    fn may_attach_device(&self, owner: &Self::Domain, sbdf: u32) -> Result<(), Refused>;

    /// Whether the caller may set the limits of `target`.
    fn may_set_limits(&self, target: &Self::Domain) -> Result<(), Refused>;
}
