// SPDX-License-Identifier: GPL-2.0-only
//! The machine's domains.

use hv::{addr::DomId, host::Domains};

use crate::model::{domain::ModelDomain, machine::Machine};

impl Domains for Machine {
    type Domain = ModelDomain;
    type DomainRef = Box<ModelDomain>;

    fn current(&self) -> Box<ModelDomain> {
        Box::new(self.find(self.current).expect("a vcpu of a domain"))
    }

    fn domain(&self, id: DomId) -> Option<Box<ModelDomain>> {
        self.find(id.0).map(Box::new)
    }
}
