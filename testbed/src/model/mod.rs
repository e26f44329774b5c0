// SPDX-License-Identifier: GPL-2.0-only
//! A hypervisor in ordinary memory: the second implementation of
//! [`hv::host::Host`].
//!
//! It is pessimistic where hardware may be: every translation that ever existed
//! is in the IOTLB until a flush that covers it succeeds, and a page that loses a
//! reference while such a translation needs it is a panic, not a wrong answer
//! later. Tests switch failures, preemption and races on from outside.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | the machine: domains, vcpus |
//! | [`switches`] | what tests turn: failures, preemption, access control |
//! | [`observed`] | what tests look at: events and counts |
//! | [`domain`] | a domain: identity, limits, guest frames |
//! | [`frames`] | machine frames, their references and types |
//! | [`cpu`] | CPU mappings of grants, TLBs |
//! | [`loose`] | pages between two owners |
//! | [`iommu`] | I/O page tables, IOTLB, devices |
//! | [`mirror`] | copies of a domain's memory in I/O page tables |
//! | [`guest`] | guest memory for hypercall arguments, with holes |
//! | [`mapped`] | guest memory that Xen has mapped for itself |
//! | [`p2m`] | what domains have at their guest frames |
//! | `origin` | where the elements of a call came from |
//! | [`shared`] | pages shared with a guest: grant table frames |
//! | [`table`] | a grant table as its granter sees it |
//! | [`locks`] | locks that check their order |
//! | [`host`] | the `Host` implementation itself |
//! | [`hypercall`] | the guest's side: issuing calls and continuations |

pub mod cpu;
pub mod domain;
pub mod frames;
pub mod guest;
pub mod host;
pub mod hypercall;
pub mod iommu;
pub mod locks;
pub mod loose;
pub mod machine;
pub mod mapped;
pub mod mirror;
pub mod observed;
mod origin;
pub mod p2m;
pub mod shared;
pub mod switches;
pub mod table;

pub use domain::{DomainSetup, ModelDomain};
pub use frames::PinnedFrame;
pub use hypercall::CallEnd;
pub use machine::{Machine, Moment};
pub use observed::Event;
pub use switches::{Preempt, Trigger};
