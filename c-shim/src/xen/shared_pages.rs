// SPDX-License-Identifier: GPL-2.0-only
//! Pages for grant tables.

use hv::host::{OutOfMemory, SharedPages};

use super::Xen;
use crate::page::XenSharedPage;

impl SharedPages for Xen {
    type SharedPage = XenSharedPage;

    fn new_shared_page(&self) -> Result<XenSharedPage, OutOfMemory> {
        XenSharedPage::new()
    }
}
