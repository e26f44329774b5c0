// SPDX-License-Identifier: GPL-2.0-only
//! The sub-operations that work on arrays.

use core::{
    marker::PhantomData,
    mem::{self, offset_of},
    ops::Range,
};

use arrayvec::ArrayVec;
use hypercall_abi::{
    Errno,
    grant::{CacheFlush, Gntst, MapGrantRef, SwapGrantRef, UnmapAndReplace, UnmapGrantRef},
};

use super::layout::{CopyElement, TransferElement};
use crate::{
    addr::GrantRef,
    grant::{
        cache::{self, Step},
        copy::Copies,
        cpu_map::Mapper,
        cpu_unmap::{self, Ended},
        peer::Peer,
        transfer::transfer,
    },
    host::{Domain, ELEMENTS_PER_COPY, Host},
    hypercall::batch::{Command, Element, UNFINISHED},
};

/// The bytes of a status.
const fn status_at(offset: usize) -> Range<usize> {
    offset..offset + size_of::<i16>()
}

fn status(result: Result<(), Gntst>) -> Gntst {
    match result {
        Ok(()) => Gntst::Okay,
        Err(status) => status,
    }
}

pub(super) struct MapCommand<'a, H: Host> {
    caller: &'a H::Domain,
    mapper: Mapper<'a, H>,
}

impl<'a, H: Host> MapCommand<'a, H> {
    pub(super) fn new(host: &H, caller: &'a H::Domain) -> Self {
        Self {
            caller,
            mapper: Mapper::new(host, caller),
        }
    }
}

impl<H: Host> Command<H> for MapCommand<'_, H> {
    type Element = MapGrantRef;

    const RESULTS: Range<usize> = offset_of!(MapGrantRef, status)..size_of::<MapGrantRef>();

    #[inline(always)]
    fn work(&mut self, host: &H, element: &mut MapGrantRef) -> u32 {
        self.mapper.map(host, element)
    }

    #[cold]
    #[inline(never)]
    fn undo(&mut self, host: &H, elements: &[MapGrantRef]) {
        let mut undoing = UnmapCommand::<H, UnmapGrantRef>::new(self.caller);
        for element in elements.iter().filter(|element| element.status == 0) {
            undoing.add(|granter, keep| {
                cpu_unmap::undo_map_grant_ref(host, self.caller, granter, element, keep);
            });
        }
        undoing.settle(host);
    }
}

/// An element that undoes a mapping.
pub(super) trait UnmapElement: Element {
    /// Where the status is.
    const STATUS: usize;

    fn unmap<H: Host>(
        &mut self,
        host: &H,
        caller: &H::Domain,
        peer: &mut Peer<H>,
        keep: impl FnOnce(Ended<H>),
    );
}

impl UnmapElement for UnmapGrantRef {
    const STATUS: usize = offset_of!(Self, status);

    #[inline(always)]
    fn unmap<H: Host>(
        &mut self,
        host: &H,
        caller: &H::Domain,
        peer: &mut Peer<H>,
        keep: impl FnOnce(Ended<H>),
    ) {
        cpu_unmap::unmap_grant_ref(host, caller, peer, self, keep);
    }
}

impl UnmapElement for UnmapAndReplace {
    const STATUS: usize = offset_of!(Self, status);

    #[inline(always)]
    fn unmap<H: Host>(
        &mut self,
        host: &H,
        caller: &H::Domain,
        peer: &mut Peer<H>,
        keep: impl FnOnce(Ended<H>),
    ) {
        cpu_unmap::unmap_and_replace(host, caller, peer, self, keep);
    }
}

pub(super) struct UnmapCommand<'a, H: Host, E> {
    caller: &'a H::Domain,
    granter: Peer<H>,
    /// What elements ended, until the next TLB flush.
    ended: ArrayVec<Ended<H>, ELEMENTS_PER_COPY>,
    element: PhantomData<E>,
}

impl<'a, H: Host, E> UnmapCommand<'a, H, E> {
    pub(super) fn new(caller: &'a H::Domain) -> Self {
        Self {
            caller,
            granter: Peer::new(),
            ended: ArrayVec::new(),
            element: PhantomData,
        }
    }

    /// Keeps what `unmap` ended, which it passes to its second argument, for the next
    /// TLB flush.
    #[inline(always)]
    fn add(&mut self, unmap: impl FnOnce(&mut Peer<H>, &mut dyn FnMut(Ended<H>))) {
        let ended = &mut self.ended;
        unmap(&mut self.granter, &mut |it| {
            // There is room for one of each element.
            if let Err(full) = ended.try_push(it) {
                core::mem::forget(full);
            }
        });
    }
}

impl<H: Host, E: UnmapElement> Command<H> for UnmapCommand<'_, H, E> {
    type Element = E;

    const RESULTS: Range<usize> = status_at(E::STATUS);

    #[inline(always)]
    fn work(&mut self, host: &H, element: &mut E) -> u32 {
        let caller = self.caller;
        self.add(|granter, keep| element.unmap(host, caller, granter, keep));
        1
    }

    #[inline(always)]
    fn settle(&mut self, host: &H) {
        if self.ended.is_empty() {
            return;
        }
        host.flush_cpu_tlb();
        while let Some(ended) = self.ended.pop() {
            match self.granter.find(host, self.caller, ended.granter()) {
                Some(granter) => ended.release(host, granter),
                // It cannot go away while its page is referenced.
                None => core::mem::forget(ended),
            }
        }
    }
}

pub(super) struct CopyCommand<'a, H: Host, E> {
    copies: Copies<'a, H>,
    element: PhantomData<E>,
}

impl<'a, H: Host, E> CopyCommand<'a, H, E> {
    pub(super) fn new(caller: &'a H::Domain) -> Self {
        Self {
            copies: Copies::new(caller),
            element: PhantomData,
        }
    }
}

impl<H, E> Command<H> for CopyCommand<'_, H, E>
where
    H: Host,
    E: CopyElement,
{
    type Element = E;

    const RESULTS: Range<usize> = status_at(E::STATUS);

    #[inline(always)]
    fn work(&mut self, host: &H, element: &mut E) -> u32 {
        let copied = self.copies.copy(host, &element.decoded());
        element.set_status(status(copied));
        // A page of bytes is more work than changing an entry.
        4
    }

    fn finish(&mut self, host: &H, _preempted: bool) -> Result<(), Errno> {
        self.copies.release(host);
        Ok(())
    }
}

pub(super) struct TransferCommand<'a, H: Host, E> {
    caller: &'a H::Domain,
    receiver: Peer<H>,
    element: PhantomData<E>,
}

impl<'a, H: Host, E> TransferCommand<'a, H, E> {
    pub(super) fn new(caller: &'a H::Domain) -> Self {
        Self {
            caller,
            receiver: Peer::new(),
            element: PhantomData,
        }
    }
}

impl<H, E> Command<H> for TransferCommand<'_, H, E>
where
    H: Host,
    E: TransferElement,
{
    type Element = E;

    const RESULTS: Range<usize> = status_at(E::STATUS);

    #[inline(always)]
    fn work(&mut self, host: &H, element: &mut E) -> u32 {
        let (gfn, to, gref) = element.decoded();
        let given = transfer(host, self.caller, &mut self.receiver, gfn, to, gref);
        element.set_status(status(given));
        8
    }
}

pub(super) struct SwapCommand<'a, D> {
    pub caller: &'a D,
}

impl<H: Host> Command<H> for SwapCommand<'_, H::Domain> {
    type Element = SwapGrantRef;

    const RESULTS: Range<usize> = status_at(offset_of!(SwapGrantRef, status));

    fn work(&mut self, host: &H, element: &mut SwapGrantRef) -> u32 {
        let (a, b) = (GrantRef(element.ref_a), GrantRef(element.ref_b));
        let swapped = match self.caller.state() {
            None => Err(Gntst::GeneralError),
            Some(state) => state
                .grants
                .swap(host, self.caller, a, b)
                .map_err(Gntst::from),
        };
        element.status = status(swapped).wire();
        1
    }
}

/// `cache_flush`, the only sub-operation without a status for each element: the
/// first that fails ends the call.
pub(super) struct CacheFlushCommand<'a, D> {
    caller: &'a D,
    /// Where the search for the grant of the next element goes on.
    resume: u32,
    failed: Option<Errno>,
}

impl<'a, D> CacheFlushCommand<'a, D> {
    /// `resume`: where the search for the first element's grant goes on.
    pub(super) fn new(caller: &'a D, resume: u32) -> Self {
        Self {
            caller,
            resume,
            failed: None,
        }
    }
}

/// As with copies, a page of bytes is more work than an entry.
const CACHE_FLUSH: u32 = 4;

/// What is left to do after a step that was not the only one; own pages, the usual
/// case, have no other. Returns where a preempted search goes on.
#[inline(never)]
fn search_on<H: Host>(
    host: &H,
    caller: &H::Domain,
    element: &CacheFlush,
    mut step: Result<Step, Errno>,
) -> Result<Option<u32>, Errno> {
    loop {
        match step? {
            Step::Done => return Ok(None),
            Step::GoOn(next) if host.preempt_requested() => return Ok(Some(next)),
            Step::GoOn(next) => step = cache::cache_flush(host, caller, element, next),
        }
    }
}

impl<H: Host> Command<H> for CacheFlushCommand<'_, H::Domain> {
    type Element = CacheFlush;

    const RESULTS: Range<usize> = 0..0;

    #[inline(always)]
    fn work(&mut self, host: &H, element: &mut CacheFlush) -> u32 {
        let resume = mem::take(&mut self.resume);
        let step = cache::cache_flush(host, self.caller, element, resume);
        if step == Ok(Step::Done) {
            return CACHE_FLUSH;
        }
        match search_on(host, self.caller, element, step) {
            Ok(None) => return CACHE_FLUSH,
            Ok(Some(resume)) => self.resume = resume,
            Err(error) => self.failed = Some(error),
        }
        UNFINISHED
    }

    fn resume_at(&self) -> u32 {
        self.resume
    }

    #[inline(always)]
    fn finish(&mut self, _host: &H, _preempted: bool) -> Result<(), Errno> {
        self.failed.map_or(Ok(()), Err)
    }
}
