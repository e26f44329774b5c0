// SPDX-License-Identifier: GPL-2.0-only
//! `faults`: what the IOMMU has stopped a domain's devices from doing.

use alloc::collections::VecDeque;
use core::sync::atomic::Ordering;

use hypercall_abi::{
    Errno,
    fault::{Fault, XEN_GDMA_FAULT_NOTIFY, XEN_GDMA_FAULT_READ, XEN_GDMA_FAULT_WRITE},
};

use crate::{host::Host, state::DomainState, sync::SpinLock};

/// Faults that wait to be read.
const MOST_WAITING: usize = 64;

/// A device access that the IOMMU stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFault {
    /// The device: segment << 16 | bus << 8 | devfn.
    pub sbdf: u32,
    /// Number of the context it was attached to.
    pub context: u32,
    /// The device address.
    pub daddr: u64,
    /// It wanted to write.
    pub write: bool,
}

/// The faults of one domain.
#[derive(Debug, Default)]
pub struct Faults {
    /// Room for [`MOST_WAITING`], or for none before anybody asks.
    waiting: VecDeque<DeviceFault>,
    lost: u32,
    /// Event channel to tell; 0: none.
    port: u32,
}

/// Why a `faults` element failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultsError {
    /// A field is outside its documented range.
    BadField(&'static str),
    /// There are none.
    NothingWaits,
    /// Xen has no memory.
    OutOfMemory,
}

impl From<FaultsError> for Errno {
    fn from(error: FaultsError) -> Self {
        match error {
            FaultsError::BadField(_) => Self::Inval,
            FaultsError::NothingWaits => Self::NoEnt,
            FaultsError::OutOfMemory => Self::NoMem,
        }
    }
}

impl Faults {
    fn make_room(&mut self) -> Result<(), FaultsError> {
        let missing = MOST_WAITING.saturating_sub(self.waiting.capacity());
        self.waiting
            .try_reserve_exact(missing)
            .map_err(|_| FaultsError::OutOfMemory)
    }

    /// Keeps a fault if there is room. Returns the event channel to tell.
    fn add(&mut self, fault: DeviceFault) -> Option<u32> {
        let room = self.waiting.capacity().min(MOST_WAITING);
        if self.waiting.len() >= room {
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        let first = self.waiting.is_empty();
        self.waiting.push_back(fault);
        (first && self.port != 0).then_some(self.port)
    }
}

/// Notes a fault of a device of `holder`, and tells the domain if it wants to know.
///
/// Takes the lock of the domain's faults.
pub fn note<H: Host>(host: &H, holder: &H::Domain, state: &DomainState<H>, fault: DeviceFault) {
    state.dma.counters.faults.fetch_add(1, Ordering::Relaxed);
    let port = state.dma.faults.lock().add(fault);
    if let Some(port) = port {
        host.notify(holder, port);
    }
}

/// Works on one `faults` element.
///
/// Takes the lock of the caller's faults.
pub fn faults<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    op: &mut Fault,
) -> Result<(), FaultsError> {
    let mut faults = state.dma.faults.lock();
    match op.op {
        XEN_GDMA_FAULT_READ if op.port == 0 => {
            faults.make_room()?;
            let fault = faults.waiting.pop_front();
            let fault = fault.ok_or(FaultsError::NothingWaits)?;
            op.id = fault.sbdf.into();
            op.daddr = fault.daddr;
            op.context = fault.context;
            op.flags = if fault.write { XEN_GDMA_FAULT_WRITE } else { 0 };
            op.lost = faults.lost;
            Ok(())
        }
        XEN_GDMA_FAULT_READ => Err(FaultsError::BadField("port")),
        XEN_GDMA_FAULT_NOTIFY => {
            faults.make_room()?;
            faults.port = op.port;
            let waits = !faults.waiting.is_empty();
            drop(faults);
            if waits && op.port != 0 {
                host.notify(caller, op.port);
            }
            Ok(())
        }
        _ => Err(FaultsError::BadField("op")),
    }
}
