// SPDX-License-Identifier: GPL-2.0-only
//! One grant entry: what the guest wrote (shared) and who uses it (active).

use hypercall_abi::grant::{
    ENTRY_V1_SIZE, GTF_CACHE_MASK, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_SUB_PAGE,
    GTF_TYPE_MASK, GTF_WRITING,
};

use crate::{
    addr::{DomId, Gfn, Mfn},
    host::SharedPage,
};

/// How often a change of the shared entry is tried before the guest, which keeps
/// changing it, is taken to misbehave.
const MAX_ATTEMPTS: u32 = 5;

/// Why the shared entry does not permit a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// Granter's side: not an access grant, or not for this domain.
    NotGranted {
        /// Flags found.
        flags: u16,
        /// Domain found.
        domid: u16,
    },
    /// Holder's side: wants to write through a read-only grant.
    ReadOnly,
    /// Granter's side: the entry keeps changing.
    Unstable,
}

/// The first four bytes of an entry, read or changed in one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    flags: u16,
    domid: u16,
}

impl Head {
    const fn from_raw(raw: u32) -> Self {
        Self {
            flags: raw as u16,
            domid: (raw >> 16) as u16,
        }
    }

    const fn raw(self) -> u32 {
        (self.domid as u32) << 16 | self.flags as u32
    }

    fn check_grant(self, holder: DomId) -> Result<(), EntryError> {
        let kind = self.flags & (GTF_TYPE_MASK | GTF_SUB_PAGE);
        if kind == GTF_PERMIT_ACCESS && self.domid == holder.0 {
            Ok(())
        } else {
            Err(EntryError::NotGranted {
                flags: self.flags,
                domid: self.domid,
            })
        }
    }
}

/// A version 1 entry in a page shared with the granter.
pub struct SharedEntryV1<'a, D, P: SharedPage<D>> {
    page: &'a P,
    granter: &'a D,
    offset: usize,
}

impl<'a, D, P: SharedPage<D>> SharedEntryV1<'a, D, P> {
    /// Entry number `index` of the page.
    pub fn new(page: &'a P, granter: &'a D, index: usize) -> Self {
        Self {
            page,
            granter,
            offset: index * ENTRY_V1_SIZE,
        }
    }

    /// Sets `GTF_reading`, and `GTF_writing` for `write`, if the entry permits it.
    /// Returns the cache attribute flags.
    ///
    /// `pinned`: somebody uses the entry already, so that type and domain were
    /// checked then and the guest must not change them. `holder` is who asks.
    ///
    /// Needs the active entry's lock.
    pub fn begin_use(&self, holder: DomId, write: bool, pinned: bool) -> Result<u16, EntryError> {
        let mut head = Head::from_raw(self.page.load32(self.offset));
        for _ in 0..MAX_ATTEMPTS {
            if !pinned {
                head.check_grant(holder)?;
            }
            if write && head.flags & GTF_READONLY != 0 {
                return Err(EntryError::ReadOnly);
            }
            let in_use = if write {
                GTF_READING | GTF_WRITING
            } else {
                GTF_READING
            };
            let wanted = Head {
                flags: head.flags | in_use,
                ..head
            };
            let found =
                self.page
                    .compare_exchange32(self.granter, self.offset, head.raw(), wanted.raw());
            if found == head.raw() {
                return Ok(head.flags & GTF_CACHE_MASK);
            }
            head = Head::from_raw(found);
        }
        Err(EntryError::Unstable)
    }

    /// Whether the entry, as it is now, grants `holder` anything.
    pub fn check_grant(&self, holder: DomId) -> Result<(), EntryError> {
        Head::from_raw(self.page.load32(self.offset)).check_grant(holder)
    }

    /// The frame the guest put into the entry. Read it after
    /// [`Self::begin_use`]: from then on an honest guest leaves it alone.
    pub fn frame(&self) -> Gfn {
        Gfn::new(u64::from(self.page.load32(self.offset + 4)))
    }

    /// The cache attribute flags as they are now.
    pub fn cache_flags(&self) -> u16 {
        Head::from_raw(self.page.load32(self.offset)).flags & GTF_CACHE_MASK
    }

    /// Clears the in-use flags that the remaining pins do not justify.
    ///
    /// Needs the active entry's lock, so that pins and flags change together.
    pub fn end_use(&self, pins: Pins) {
        let mut clear = 0;
        if pins.is_empty() {
            clear |= GTF_READING;
        }
        if !pins.any_writing() {
            clear |= GTF_WRITING;
        }
        if clear != 0 {
            self.page.clear_bits16(self.granter, self.offset, clear);
        }
    }
}

/// What a use of a reference is for. Each kind is counted apart, as in Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinKind {
    /// A CPU mapping.
    Cpu,
    /// A DMA mapping.
    Device,
}

/// Numbers of uses of one reference: CPU or device, reading or writing, one byte
/// each, as small as Xen's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    cpu_write: u8,
    cpu_read: u8,
    device_write: u8,
    device_read: u8,
}

impl Pins {
    fn counter(&mut self, kind: PinKind, write: bool) -> &mut u8 {
        match (kind, write) {
            (PinKind::Cpu, true) => &mut self.cpu_write,
            (PinKind::Cpu, false) => &mut self.cpu_read,
            (PinKind::Device, true) => &mut self.device_write,
            (PinKind::Device, false) => &mut self.device_read,
        }
    }

    /// One more use; `None` if the counter is full.
    #[must_use]
    pub fn added(mut self, kind: PinKind, write: bool) -> Option<Self> {
        let counter = self.counter(kind, write);
        *counter = counter.checked_add(1)?;
        Some(self)
    }

    /// One use less; `None` if there was none.
    #[must_use]
    pub fn removed(mut self, kind: PinKind, write: bool) -> Option<Self> {
        let counter = self.counter(kind, write);
        *counter = counter.checked_sub(1)?;
        Some(self)
    }

    /// Nobody uses the reference.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Somebody uses it for writing.
    pub fn any_writing(self) -> bool {
        self.cpu_write != 0 || self.device_write != 0
    }

    /// All uses together.
    pub fn total(self) -> u32 {
        [
            self.cpu_write,
            self.cpu_read,
            self.device_write,
            self.device_read,
        ]
        .iter()
        .map(|&count| u32::from(count))
        .sum()
    }
}

/// The hypervisor's half of an entry: valid while there are pins.
#[derive(Clone, Copy, Debug)]
pub struct ActiveEntry {
    /// Uses.
    pub pins: Pins,
    /// Who uses it, while there are pins.
    pub holder: DomId,
    /// Which frame, while there are pins.
    pub mfn: Mfn,
}

impl ActiveEntry {
    /// An entry that nobody uses.
    pub const UNUSED: Self = Self {
        pins: Pins {
            cpu_write: 0,
            cpu_read: 0,
            device_write: 0,
            device_read: 0,
        },
        holder: DomId(0),
        mfn: Mfn::new(u64::MAX),
    };
}
