// SPDX-License-Identifier: GPL-2.0-only
//! One grant entry as the guest wrote it: its permission, and the in-use flags
//! that Xen sets for the guest to see.
//!
//! Source of the layout and of the protocol: Xen's `public/grant_table.h`.

use hypercall_abi::grant::{
    ENTRY_V1_SIZE, ENTRY_V2_SIZE, GTF_ACCEPT_TRANSFER, GTF_CACHE_MASK, GTF_PERMIT_ACCESS,
    GTF_READING, GTF_READONLY, GTF_SUB_PAGE, GTF_TRANSFER_COMMITTED, GTF_TRANSFER_COMPLETED,
    GTF_TRANSITIVE, GTF_TYPE_MASK, GTF_WRITING, STATUS_SIZE,
};

use super::active::Pins;
use crate::{
    addr::{DomId, Gfn, GrantRef},
    host::SharedPage,
};

/// How often a change of the shared entry is tried before the guest, which keeps
/// changing it, is taken to misbehave.
const MAX_ATTEMPTS: u32 = 5;

/// Why the shared entry does not permit a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// Granter's side: not an entry of the wanted kind, or not for this domain.
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
pub struct Head {
    /// `GTF_*`.
    pub flags: u16,
    /// The domain that the entry is for.
    pub domid: u16,
}

impl Head {
    const fn from_raw(raw: u32) -> Self {
        Self {
            flags: raw as u16,
            domid: (raw >> 16) as u16,
        }
    }

    /// As in memory.
    pub const fn raw(self) -> u32 {
        (self.domid as u32) << 16 | self.flags as u32
    }

    fn is_transitive(self) -> bool {
        self.flags & GTF_TYPE_MASK == GTF_TRANSITIVE
    }

    fn not_granted(self) -> EntryError {
        EntryError::NotGranted {
            flags: self.flags,
            domid: self.domid,
        }
    }
}

/// What a domain wants to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Map the whole page, for a CPU or a device.
    Map,
    /// Copy from or to the granted part.
    Copy,
}

/// Who wants what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The domain that asks.
    pub holder: DomId,
    /// What for.
    pub purpose: Purpose,
    /// Writing as well as reading.
    pub write: bool,
}

/// What an entry grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// A whole page.
    Page(Gfn),
    /// A part of a page.
    SubPage {
        /// The page.
        gfn: Gfn,
        /// Where the part begins.
        offset: u16,
        /// Its bytes.
        length: u16,
    },
    /// What a third domain granted the granter.
    Transitive {
        /// The third domain.
        granter: DomId,
        /// Its reference.
        gref: GrantRef,
    },
}

/// Format of an entry, and where its status is.
enum Format<'a, P> {
    /// Version 1: the in-use flags are in the entry's own flags.
    V1,
    /// Version 2: they are in a frame of their own.
    V2 {
        /// That frame.
        status: &'a P,
        /// Offset of the status in it.
        at: usize,
    },
}

impl<P> Format<'_, P> {
    /// Whether an entry of this format, as `head` has it, permits the request.
    #[inline(always)]
    fn check(&self, head: Head, request: Request) -> Result<(), EntryError> {
        let kind = head.flags & GTF_TYPE_MASK;
        let for_whom = head.domid == request.holder.0;
        let whole = head.flags & GTF_SUB_PAGE == 0;
        let access = kind == GTF_PERMIT_ACCESS && (whole || request.purpose == Purpose::Copy);
        let transitive = matches!(self, Self::V2 { .. })
            && kind == GTF_TRANSITIVE
            && request.purpose == Purpose::Copy;
        if for_whom && (access || transitive) {
            Ok(())
        } else {
            Err(head.not_granted())
        }
    }

    /// The same, and whether the request may write, for an entry with these pins: if
    /// there are any, type and domain were checked before.
    #[inline(always)]
    fn permits(&self, head: Head, request: Request, pins: Pins) -> Result<(), EntryError> {
        if pins.is_empty() {
            self.check(head, request)?;
        }
        if request.write && head.flags & GTF_READONLY != 0 {
            return Err(EntryError::ReadOnly);
        }
        Ok(())
    }
}

/// Clears the in-use flags at `offset` of a page that the pins do not justify.
#[inline(always)]
fn clear_in_use<D, P: SharedPage<D>>(page: &P, granter: &D, offset: usize, pins: Pins) {
    let mut clear = 0;
    if pins.is_empty() {
        clear |= GTF_READING;
    }
    if !pins.any_writing() {
        clear |= GTF_WRITING;
    }
    if clear != 0 {
        page.clear_bits16(granter, offset, clear);
    }
}

/// An entry in a page shared with the granter: where it is.
pub struct SharedEntry<'a, D, P> {
    page: &'a P,
    granter: &'a D,
    offset: usize,
    format: Format<'a, P>,
}

impl<'a, D, P: SharedPage<D>> SharedEntry<'a, D, P> {
    /// Version 1: entry number `index` of the page.
    #[inline(always)]
    pub fn v1(page: &'a P, granter: &'a D, index: usize) -> Self {
        Self {
            page,
            granter,
            offset: index * ENTRY_V1_SIZE,
            format: Format::V1,
        }
    }

    /// Version 2: entry number `index` of the page, and number `status_index` of
    /// the status frame.
    #[inline(always)]
    pub fn v2(
        page: &'a P,
        granter: &'a D,
        index: usize,
        status: &'a P,
        status_index: usize,
    ) -> Self {
        Self {
            page,
            granter,
            offset: index * ENTRY_V2_SIZE,
            format: Format::V2 {
                status,
                at: status_index * STATUS_SIZE,
            },
        }
    }

    /// The flags and the domain as they are now.
    #[inline(always)]
    pub fn head(&self) -> Head {
        Head::from_raw(self.page.load32(self.offset))
    }

    /// The in-use flags, and in version 1 the others as well.
    pub fn status(&self) -> u16 {
        match self.format {
            Format::V1 => self.head().flags,
            Format::V2 { status, at } => status.load16(at),
        }
    }

    /// Whether the entry, as it is now, grants what is asked. Changes nothing.
    #[inline(always)]
    pub fn check_grant(&self, request: Request) -> Result<(), EntryError> {
        let head = self.head();
        self.format.check(head, request)?;
        if request.write && head.flags & GTF_READONLY != 0 {
            return Err(EntryError::ReadOnly);
        }
        Ok(())
    }

    /// Sets `GTF_reading`, and `GTF_writing` for writing, if the entry permits it.
    /// Returns the entry's head.
    ///
    /// `pins`: who uses the entry already. If anybody does, type and domain were
    /// checked then and the guest must not change them.
    ///
    /// Needs the active entry's lock.
    #[inline(always)]
    pub fn begin_use(&self, request: Request, pins: Pins) -> Result<Head, EntryError> {
        match self.format {
            Format::V1 => self.begin_use_v1(request, pins),
            Format::V2 { status, at } => self.begin_use_v2(request, pins, status, at),
        }
    }

    #[inline(always)]
    fn begin_use_v1(&self, request: Request, pins: Pins) -> Result<Head, EntryError> {
        let (page, granter, offset) = (self.page, self.granter, self.offset);
        match Self::try_begin_use_v1(page, granter, offset, request, pins, self.head())? {
            Ok(head) => Ok(head),
            Err(changed) => Self::keep_trying_v1(page, granter, offset, request, pins, changed),
        }
    }

    /// One attempt. The inner error is what the entry has become meanwhile.
    #[inline(always)]
    fn try_begin_use_v1(
        page: &P,
        granter: &D,
        offset: usize,
        request: Request,
        pins: Pins,
        head: Head,
    ) -> Result<Result<Head, Head>, EntryError> {
        Format::<P>::V1.permits(head, request, pins)?;
        let wanted = Head {
            flags: head.flags | in_use(request.write),
            ..head
        };
        let found = page.compare_exchange32(granter, offset, head.raw(), wanted.raw());
        Ok(if found == head.raw() {
            Ok(head)
        } else {
            Err(Head::from_raw(found))
        })
    }

    /// Gets what it needs of the entry by value, so that nobody else needs the entry
    /// in memory.
    #[cold]
    #[inline(never)]
    fn keep_trying_v1(
        page: &P,
        granter: &D,
        offset: usize,
        request: Request,
        pins: Pins,
        mut head: Head,
    ) -> Result<Head, EntryError> {
        for _ in 1..MAX_ATTEMPTS {
            match Self::try_begin_use_v1(page, granter, offset, request, pins, head)? {
                Ok(head) => return Ok(head),
                Err(changed) => head = changed,
            }
        }
        Err(EntryError::Unstable)
    }

    /// The guest revokes a version 2 entry by clearing its flags and then looking
    /// at the status. So the status is set first, and the flags are looked at
    /// again afterwards: one of the two sees the other.
    #[inline(always)]
    fn begin_use_v2(
        &self,
        request: Request,
        pins: Pins,
        status: &P,
        at: usize,
    ) -> Result<Head, EntryError> {
        let version2 = Format::V2 { status, at };
        version2.permits(self.head(), request, pins)?;
        status.set_bits16(at, in_use(request.write));
        let head = self.head();
        match version2.permits(head, request, pins) {
            Ok(()) => Ok(head),
            Err(_) => {
                clear_in_use(status, self.granter, at, pins);
                Err(EntryError::Unstable)
            }
        }
    }

    /// What the entry grants. Read it after [`Self::begin_use`], which returned
    /// `head`: from then on an honest guest leaves it alone.
    #[inline(always)]
    pub fn granted(&self, head: Head) -> Granted {
        match self.format {
            Format::V1 => Granted::Page(self.frame()),
            Format::V2 { .. } if head.is_transitive() => Granted::Transitive {
                granter: DomId(self.page.load16(self.offset + 4)),
                gref: GrantRef(self.page.load32(self.offset + 8)),
            },
            Format::V2 { .. } if head.flags & GTF_SUB_PAGE != 0 => Granted::SubPage {
                gfn: self.frame(),
                offset: self.page.load16(self.offset + 4),
                length: self.page.load16(self.offset + 6),
            },
            Format::V2 { .. } => Granted::Page(self.frame()),
        }
    }

    /// Where a transitive grant leads, if it is one at the moment.
    #[inline(always)]
    pub fn transitive(&self) -> Option<(DomId, GrantRef)> {
        match self.format {
            Format::V1 => None,
            Format::V2 { .. } => match self.granted(self.head()) {
                Granted::Transitive { granter, gref } => Some((granter, gref)),
                Granted::Page(_) | Granted::SubPage { .. } => None,
            },
        }
    }

    /// The frame that the guest put into the entry.
    #[inline(always)]
    pub fn frame(&self) -> Gfn {
        Gfn::new(match self.format {
            Format::V1 => u64::from(self.page.load32(self.offset + 4)),
            Format::V2 { .. } => self.page.load64(self.offset + 8),
        })
    }

    /// The cache attribute flags as they are now.
    pub fn cache_flags(&self) -> u16 {
        self.head().flags & GTF_CACHE_MASK
    }

    /// Clears the in-use flags that the remaining pins do not justify.
    ///
    /// Needs the active entry's lock, so that pins and flags change together.
    #[inline(always)]
    pub fn end_use(&self, pins: Pins) {
        let (page, at) = match self.format {
            Format::V1 => (self.page, self.offset),
            Format::V2 { status, at } => (status, at),
        };
        clear_in_use(page, self.granter, at, pins);
    }

    /// If the entry accepts a page from `giver`, marks it as taken.
    #[inline(always)]
    pub fn commit_transfer(&self, giver: DomId) -> Result<(), EntryError> {
        let (page, granter, offset) = (self.page, self.granter, self.offset);
        match Self::try_commit_transfer(page, granter, offset, giver, self.head())? {
            Ok(()) => Ok(()),
            Err(changed) => Self::keep_trying_commit(page, granter, offset, giver, changed),
        }
    }

    /// One attempt. The inner error is what the entry has become meanwhile.
    #[inline(always)]
    fn try_commit_transfer(
        page: &P,
        granter: &D,
        offset: usize,
        giver: DomId,
        head: Head,
    ) -> Result<Result<(), Head>, EntryError> {
        if head.flags != GTF_ACCEPT_TRANSFER || head.domid != giver.0 {
            return Err(head.not_granted());
        }
        let wanted = Head {
            flags: head.flags | GTF_TRANSFER_COMMITTED,
            ..head
        };
        let found = page.compare_exchange32(granter, offset, head.raw(), wanted.raw());
        Ok(if found == head.raw() {
            Ok(())
        } else {
            Err(Head::from_raw(found))
        })
    }

    #[cold]
    #[inline(never)]
    fn keep_trying_commit(
        page: &P,
        granter: &D,
        offset: usize,
        giver: DomId,
        mut head: Head,
    ) -> Result<(), EntryError> {
        for _ in 1..MAX_ATTEMPTS {
            match Self::try_commit_transfer(page, granter, offset, giver, head)? {
                Ok(()) => return Ok(()),
                Err(changed) => head = changed,
            }
        }
        Err(EntryError::Unstable)
    }

    /// Tells the guest where the page of a committed transfer is, and that it is
    /// there.
    ///
    /// Needs the active entry's lock.
    #[inline(always)]
    pub fn complete_transfer(&self, frame: Option<Gfn>) {
        if let Some(gfn) = frame {
            match self.format {
                // A PV guest with version 1 entries got a page with a small number.
                Format::V1 => self.page.store32(self.offset + 4, gfn.number() as u32),
                Format::V2 { .. } => self.page.store64(self.offset + 8, gfn.number()),
            }
        }
        // A plain write: nothing but this bit is Xen's in such an entry, and the
        // guest is not to touch it before the bit is set.
        let flags = self.head().flags | GTF_TRANSFER_COMPLETED;
        self.page.store16(self.offset, flags);
    }

    /// Everything in the entry, for moving it elsewhere.
    pub fn contents(&self) -> Contents {
        match self.format {
            Format::V1 => Contents {
                words: [self.page.load64(self.offset), 0],
                status: 0,
            },
            Format::V2 { status, at } => Contents {
                words: [
                    self.page.load64(self.offset),
                    self.page.load64(self.offset + 8),
                ],
                status: status.load16(at),
            },
        }
    }

    /// Overwrites the entry with an access grant, or with nothing.
    pub fn set(&self, head: Head, frame: Gfn, in_use: u16) {
        let raw = u64::from(head.raw());
        match self.format {
            Format::V1 => {
                let first = raw | u64::from(in_use) | frame.number() << 32;
                self.page.store64(self.offset, first);
            }
            Format::V2 { status, at } => {
                status.store16(at, in_use);
                self.page.store64(self.offset + 8, frame.number());
                self.page.store64(self.offset, raw);
            }
        }
    }

    /// Overwrites the entry.
    pub fn replace(&self, contents: Contents) {
        let [first, second] = contents.words;
        match self.format {
            Format::V1 => self.page.store64(self.offset, first),
            Format::V2 { status, at } => {
                self.page.store64(self.offset + 8, second);
                self.page.store64(self.offset, first);
                status.store16(at, contents.status);
            }
        }
    }
}

/// An entry as it is in memory, and its status. Moved as a whole, never looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    words: [u64; 2],
    status: u16,
}

fn in_use(write: bool) -> u16 {
    if write {
        GTF_READING | GTF_WRITING
    } else {
        GTF_READING
    }
}
