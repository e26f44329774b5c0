// SPDX-License-Identifier: GPL-2.0-only
//! The part of random sequences that is about contexts, devices and their limits.

use arbitrary::Arbitrary;
use hypercall_abi::{
    context::{ContextCreate, ContextDestroy, DeviceAttach},
    control::{Revoke, SetLimits, XEN_GDMA_LIMIT_KEEP},
    mapping::Flush,
    window::{WindowCreate, WindowDestroy},
};

use super::{Choice, DOMAINS, MapChoice, Play};
use crate::model::Trigger;

/// Devices of the play: two of each holder, the last two of which are one to the IOMMU.
pub(super) const DEVICES: [(u32, u16, u32); 4] = [(8, 1, 8), (9, 1, 9), (16, 2, 16), (17, 2, 16)];

/// One thing that happens to contexts.
#[derive(Arbitrary, Clone, Debug)]
pub enum ContextAction {
    /// A context is made.
    Create {
        /// By whom.
        holder: Choice,
        /// Highest address: none, or so many pages behind the first one.
        pages: Choice,
        /// A field with nonsense in it, sometimes.
        nonsense: Choice,
        /// A copy of its owner's memory, sometimes.
        content: Choice,
    },
    /// A context is destroyed.
    Destroy {
        /// By whom.
        holder: Choice,
        /// Which: one of its own, or any number.
        which: Choice,
    },
    /// A device is moved.
    Attach {
        /// By whom.
        holder: Choice,
        /// Which.
        device: Choice,
        /// To which context.
        which: Choice,
    },
    /// A window is made.
    Window {
        /// By whom.
        holder: Choice,
        /// Of what.
        element: MapChoice,
    },
    /// A window is ended.
    EndWindow {
        /// By whom.
        holder: Choice,
        /// Which of the mappings, windows or not.
        which: Choice,
    },
    /// What waits is flushed.
    Flush {
        /// By whom.
        holder: Choice,
        /// In which context.
        which: Choice,
    },
    /// A granter takes back what it granted.
    Revoke {
        /// Who.
        granter: Choice,
        /// Which.
        gref: Choice,
    },
    /// Limits change.
    SetLimits {
        /// By whom.
        caller: Choice,
        /// Whose.
        target: Choice,
        /// Frames.
        pins: Choice,
        /// Contexts.
        contexts: Choice,
    },
    /// A device reads or writes.
    Dma {
        /// Which.
        device: Choice,
        /// Where, from the first frame of contexts on.
        frame: Choice,
        /// Writes.
        write: bool,
    },
    /// Something fails from now on, once.
    Fail {
        /// What.
        what: Choice,
        /// At which call.
        nth: Choice,
    },
}

impl Play {
    /// One of a domain's contexts, the default one, or a number that is none.
    fn context(&self, holder: u16, which: Choice) -> u32 {
        let numbers: Vec<u32> = self
            .checked
            .reference
            .contexts_of(holder)
            .map(|(number, _)| number)
            .collect();
        match (which % 8, numbers.len()) {
            (0, _) => 0,
            (1, _) => u32::from(which),
            (_, 0) => 1,
            (_, count) => numbers[usize::from(which / 8) % count],
        }
    }

    /// Not while the IOMMU is about to fail: what is left then has tests of its own.
    fn make_window(&mut self, holder: u16, element: &MapChoice) {
        let switches = self.checked.machine.state().switches;
        let failing = [
            switches.map_fails,
            switches.unmap_fails,
            switches.flush_fails,
        ];
        if failing != [Trigger::Never; 3] {
            return;
        }
        let made = self.checked.reference.contexts_of(holder);
        let contexts: Vec<u32> = made.map(|(number, _)| number).collect();
        let op = element.element(&contexts);
        let op = WindowCreate {
            context: op.context,
            kind: op.kind,
            domid: op.domid,
            source: op.source,
            nr_frames: op.nr_frames,
            flags: op.flags,
            daddr: op.daddr,
            pad0: op.pad0,
            ..WindowCreate::default()
        };
        self.checked.window_create(holder, &mut [op]);
    }

    pub(super) fn act_on_contexts(&mut self, action: &ContextAction) {
        let first = crate::model::DomainSetup::CONTEXTS;
        match *action {
            ContextAction::Create {
                holder,
                pages,
                nonsense,
                content,
            } => {
                let mirror = content.is_multiple_of(3);
                let first = if mirror {
                    crate::model::DomainSetup::MIRRORS
                } else {
                    first
                };
                let max_daddr = match pages % 4 {
                    0 => 0,
                    1 => u64::from(pages),
                    _ => (first + u64::from(pages)) * 4096 - 1,
                };
                let op = ContextCreate {
                    max_daddr,
                    flags: u32::from(mirror) | u32::from(nonsense == 1) << 1,
                    pad0: u32::from(nonsense == 2),
                    ..ContextCreate::default()
                };
                self.checked.context_create(Self::holder(holder), &mut [op]);
            }
            ContextAction::Destroy { holder, which } => {
                let holder = Self::holder(holder);
                let context = self.context(holder, which);
                let op = ContextDestroy { context, status: 0 };
                self.checked.context_destroy(holder, &mut [op]);
            }
            ContextAction::Attach {
                holder,
                device,
                which,
            } => {
                let holder = Self::holder(holder);
                let (sbdf, ..) = DEVICES[usize::from(device) % DEVICES.len()];
                let op = DeviceAttach {
                    id: u64::from(sbdf),
                    context: self.context(holder, which),
                    ..DeviceAttach::default()
                };
                self.checked.device_attach(holder, &mut [op]);
            }
            ContextAction::Window {
                holder,
                ref element,
            } => {
                self.make_window(Self::holder(holder), element);
            }
            ContextAction::EndWindow { holder, which } => {
                let holder = Self::holder(holder);
                let mappings: Vec<_> = self
                    .checked
                    .reference
                    .mappings_of(holder)
                    .map(|(context, handle, _)| (context, handle))
                    .collect();
                let any = mappings.get(usize::from(which) % mappings.len().max(1));
                let (context, handle) = any.copied().unwrap_or_default();
                let op = WindowDestroy {
                    handle,
                    context,
                    status: 0,
                };
                self.checked.window_destroy(holder, &mut [op]);
            }
            ContextAction::Flush { holder, which } => {
                let holder = Self::holder(holder);
                let context = self.context(holder, which);
                self.checked
                    .flush(holder, &mut [Flush { context, status: 0 }]);
            }
            ContextAction::Revoke { granter, gref } => {
                let op = Revoke {
                    gref: u32::from(gref % 24),
                    status: 0,
                };
                self.checked.revoke(Self::domain(granter), &mut [op]);
            }
            ContextAction::SetLimits {
                caller,
                target,
                pins,
                contexts,
            } => {
                let keep = |limit: Choice| match limit % 4 {
                    0 => XEN_GDMA_LIMIT_KEEP,
                    _ => u32::from(limit / 2),
                };
                let op = SetLimits {
                    domid: Self::domain(target),
                    max_pins: keep(pins),
                    max_contexts: keep(contexts),
                    ..SetLimits::default()
                };
                self.checked.set_limits(Self::domain(caller), &mut [op]);
                self.checked
                    .stats(Self::domain(caller), DOMAINS[usize::from(target) % 3]);
            }
            ContextAction::Dma {
                device,
                frame,
                write,
            } => {
                let (sbdf, ..) = DEVICES[usize::from(device) % DEVICES.len()];
                let first = match device / 4 % 3 {
                    0 => 0,
                    1 => crate::model::DomainSetup::MIRRORS,
                    _ => first,
                };
                let daddr = (first + u64::from(frame % 66)) * 4096 + 5;
                let machine = &self.checked.machine;
                if machine.state().pci.contains_key(&sbdf) {
                    if write {
                        let _ = machine.pci_write(sbdf, daddr, frame);
                    } else {
                        let _ = machine.pci_read(sbdf, daddr);
                    }
                }
            }
            ContextAction::Fail { what, nth } => {
                let trigger = Trigger::Nth(1 + u32::from(nth % 3));
                self.checked.switch(|switches| match what % 5 {
                    0 => switches.attach_fails = trigger,
                    1 => switches.no_io_context = trigger,
                    2 => switches.share_fails = trigger,
                    3 => switches.copy_fails = trigger,
                    _ => switches.end_copy_fails = trigger,
                });
            }
        }
    }
}
