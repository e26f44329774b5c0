// SPDX-License-Identifier: GPL-2.0-only
//! Copies between grants and own pages: `copy`.
//!
//! Source and destination stay claimed from one element of a call to the next,
//! because backends copy many small pieces from and to the same pages.

use core::mem::ManuallyDrop;

use hypercall_abi::grant::Gntst;

use super::{active::Part, pin::CopyPin, pin_error::PinError};
use crate::{
    addr::{Access, DomId, Gfn, GrantRef, PAGE_SIZE},
    host::{Domain, FrameError, Host, IoMemory},
};

/// How the guest names a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A reference of the domain.
    Grant(GrantRef),
    /// A frame of the caller.
    Frame(Gfn),
}

/// One end of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whose page.
    pub domain: DomId,
    /// Which one.
    pub name: Name,
    /// Offset in it.
    pub offset: u16,
}

/// One copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOp {
    /// Where from.
    pub source: End,
    /// Where to.
    pub dest: End,
    /// Bytes.
    pub len: u16,
}

/// A page in use by copies.
enum Claimed<F> {
    Own { gfn: Gfn, frame: F },
    Grant { gref: GrantRef, pin: CopyPin<F> },
}

impl<F: crate::host::Frame> Claimed<F> {
    fn name(&self) -> Name {
        match self {
            Self::Own { gfn, .. } => Name::Frame(*gfn),
            Self::Grant { gref, .. } => Name::Grant(*gref),
        }
    }

    fn frame(&self) -> &F {
        match self {
            Self::Own { frame, .. } => frame,
            Self::Grant { pin, .. } => pin.frame(),
        }
    }

    fn part(&self) -> Part {
        match self {
            Self::Own { .. } => Part::WHOLE,
            Self::Grant { pin, .. } => pin.part(),
        }
    }
}

/// A domain at one end of the copies, and its page that is in use.
struct Side<H: Host> {
    /// As the guest named it.
    named: DomId,
    /// It, unless it is the caller.
    other: Option<H::DomainRef>,
    /// Always given back by [`Copies::release`], so there is nothing to drop: that is
    /// for [`Side::release`] alone, which takes it out.
    page: ManuallyDrop<Option<Claimed<H::Frame>>>,
}

/// What a side is copied from, or to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Source,
    Dest,
}

impl<H: Host> Side<H> {
    /// The caller's own pages.
    const fn own() -> Self {
        Self {
            named: DomId::SELF,
            other: None,
            page: ManuallyDrop::new(None),
        }
    }

    #[inline(always)]
    fn domain<'a>(&'a self, caller: &'a H::Domain) -> &'a H::Domain {
        self.other.as_deref().unwrap_or(caller)
    }

    /// Makes this the side of another domain. No page of it is in use.
    #[inline(always)]
    fn turn_to(&mut self, host: &H, caller: &H::Domain, named: DomId) -> Result<(), Gntst> {
        // Until it is found: a failed look-up must not leave the old one behind.
        (self.named, self.other) = (DomId::SELF, None);
        if named != DomId::SELF && named != caller.id() {
            self.other = Some(host.domain(named).ok_or(Gntst::BadDomain)?);
        }
        self.named = named;
        Ok(())
    }

    /// Makes sure that the page `name` is in use.
    #[inline(always)]
    fn claim(
        &mut self,
        host: &H,
        caller: &H::Domain,
        role: Role,
        name: Name,
    ) -> Result<&Claimed<H::Frame>, Gntst> {
        if self.page.as_ref().is_none_or(|page| page.name() != name) {
            self.turn_to_page(host, caller, role, name)?;
        }
        self.page.as_ref().ok_or(Gntst::GeneralError)
    }

    /// Makes sure that the page `name` is in use, and not another one.
    #[inline(never)]
    fn turn_to_page(
        &mut self,
        host: &H,
        caller: &H::Domain,
        role: Role,
        name: Name,
    ) -> Result<(), Gntst> {
        if self.page.is_some() {
            self.release(host, caller, role);
        }
        let write = role == Role::Dest;
        let (domain, page) = (self.other.as_deref().unwrap_or(caller), &mut self.page);
        match name {
            Name::Grant(gref) => {
                let keep = |pin| *page = ManuallyDrop::new(Some(Claimed::Grant { gref, pin }));
                let fail = |error| not_granted(domain.id(), gref, error);
                CopyPin::take(host, domain, gref, caller.id(), write, keep, fail)?;
            }
            Name::Frame(gfn) => {
                let access = if write {
                    Access::READ_WRITE
                } else {
                    Access::READ
                };
                match host.pin_gfn(domain, gfn, access, write, IoMemory::Refused) {
                    Ok(frame) => *page = ManuallyDrop::new(Some(Claimed::Own { gfn, frame })),
                    Err(error) => return Err(not_there(domain.id(), gfn, error)),
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn release(&mut self, host: &H, caller: &H::Domain, role: Role) {
        match (self.page.take(), role) {
            (None, _) | (Some(Claimed::Own { .. }), Role::Source) => {}
            (Some(Claimed::Own { frame, .. }), Role::Dest) => {
                host.mark_dirty(self.domain(caller), &frame);
            }
            (Some(Claimed::Grant { pin, .. }), _) => pin.release(host, self.domain(caller)),
        }
    }
}

#[cold]
#[inline(never)]
fn not_granted(granter: DomId, gref: GrantRef, error: PinError) -> Gntst {
    log::debug!("{granter} ref {:#x}: {error:?}", gref.0);
    match error {
        // The granter is dying.
        PinError::Frame(FrameError::Gone) => Gntst::BadDomain,
        other => other.into(),
    }
}

#[cold]
#[inline(never)]
fn not_there(owner: DomId, gfn: Gfn, error: FrameError) -> Gntst {
    log::debug!("{owner} frame {:#x}: {error:?}", gfn.number());
    PinError::Frame(error).into()
}

#[cold]
#[inline(never)]
fn outside(what: &str, status: Gntst) -> Gntst {
    log::debug!("copy beyond {what}");
    status
}

/// The pages that the copies of one call have in use. Must end in
/// [`Copies::release`].
pub struct Copies<'a, H: Host> {
    caller: &'a H::Domain,
    source: Side<H>,
    dest: Side<H>,
    /// Access control has seen these two domains. Before, no page is in use.
    allowed: bool,
}

impl<'a, H: Host> Copies<'a, H> {
    /// None.
    pub fn new(caller: &'a H::Domain) -> Self {
        Self {
            caller,
            source: Side::own(),
            dest: Side::own(),
            allowed: false,
        }
    }

    /// Copies. On error nothing was written, and no page stays in use.
    ///
    /// Takes no lock but those of [`CopyPin::take`].
    #[inline(always)]
    pub fn copy(&mut self, host: &H, op: &CopyOp) -> Result<(), Gntst> {
        if op.len == 0 {
            return Ok(());
        }
        let copied = self.copy_some(host, op);
        if copied.is_err() {
            self.release(host);
        }
        copied
    }

    #[inline(always)]
    fn copy_some(&mut self, host: &H, op: &CopyOp) -> Result<(), Gntst> {
        // Others' pages can only be named by what they granted.
        let nameable = |end: &End| end.domain == DomId::SELF || matches!(end.name, Name::Grant(_));
        if !nameable(&op.source) || !nameable(&op.dest) {
            return Err(Gntst::PermissionDenied);
        }
        let known = self.source.named == op.source.domain && self.dest.named == op.dest.domain;
        if !known || !self.allowed {
            self.turn_to(host, op)?;
        }
        let source = self
            .source
            .claim(host, self.caller, Role::Source, op.source.name)?;
        let dest = self
            .dest
            .claim(host, self.caller, Role::Dest, op.dest.name)?;
        let inside = |end: &End| u64::from(end.offset) + u64::from(op.len) <= PAGE_SIZE;
        if !inside(&op.source) || !inside(&op.dest) {
            return Err(outside("page area", Gntst::BadCopyArg));
        }
        if !source.part().contains(op.source.offset, op.len)
            || !dest.part().contains(op.dest.offset, op.len)
        {
            return Err(outside("the granted part", Gntst::GeneralError));
        }
        host.speculation_barrier();
        host.copy_between(
            source.frame(),
            op.source.offset,
            dest.frame(),
            op.dest.offset,
            op.len,
        );
        Ok(())
    }

    /// Turns to the domains of `op`.
    #[inline(always)]
    fn turn_to(&mut self, host: &H, op: &CopyOp) -> Result<(), Gntst> {
        if self.allowed {
            self.release(host);
            self.allowed = false;
        }
        self.source.turn_to(host, self.caller, op.source.domain)?;
        self.dest.turn_to(host, self.caller, op.dest.domain)?;
        let (source, dest) = (
            self.source.domain(self.caller),
            self.dest.domain(self.caller),
        );
        host.may_copy(source, dest)
            .map_err(|_| Gntst::PermissionDenied)?;
        self.allowed = true;
        Ok(())
    }

    /// Gives all pages back.
    #[inline(never)]
    pub fn release(&mut self, host: &H) {
        self.source.release(host, self.caller, Role::Source);
        self.dest.release(host, self.caller, Role::Dest);
    }
}
