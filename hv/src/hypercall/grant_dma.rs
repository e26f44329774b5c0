// SPDX-License-Identifier: GPL-2.0-only
//! Hypercall 47.

use hypercall_abi::{
    Errno,
    command::{
        XEN_GDMA_MAX_BATCH, XEN_GDMA_MAX_FRAMES, XEN_GDMA_OP_LOOKUP, XEN_GDMA_OP_MAP,
        XEN_GDMA_OP_QUERY, XEN_GDMA_OP_QUERY_DEVICE, XEN_GDMA_OP_UNMAP,
    },
    device::QueryDevice,
    lookup::Lookup,
    mapping::{Map, Unmap},
    query::Query,
};

use super::{
    Answer, Call, Hypercall,
    batch::{self, Command},
};
use crate::{
    addr::GuestPtr,
    dma::{
        flush,
        lookup::lookup,
        map::{MapFlush, map},
        query::{query, query_device},
        unmap::{MAX_PENDING, unmap},
    },
    host::{Domain, Host},
    state::DomainState,
};

/// The hypercall: `cmd` with `count` elements at `at`.
pub fn dispatch<H: Host>(host: &H, cmd: u32, at: GuestPtr, count: u32) -> Answer {
    let caller = &*host.current();
    let Some(state) = caller.state() else {
        return Errno::NoSys.into();
    };
    let known = matches!(
        cmd,
        XEN_GDMA_OP_QUERY
            | XEN_GDMA_OP_QUERY_DEVICE
            | XEN_GDMA_OP_MAP
            | XEN_GDMA_OP_UNMAP
            | XEN_GDMA_OP_LOOKUP
    );
    if !known {
        return Errno::NoSys.into();
    }
    if count == 0 {
        return Errno::Inval.into();
    }
    if count > XEN_GDMA_MAX_BATCH {
        return Errno::TooBig.into();
    }
    host.speculation_barrier();
    let call = Call {
        hypercall: Hypercall::GrantDma,
        cmd,
        at,
        count,
    };
    match cmd {
        XEN_GDMA_OP_QUERY => batch::run(host, &mut QueryCommand { caller }, call),
        XEN_GDMA_OP_QUERY_DEVICE => batch::run(host, &mut QueryDeviceCommand { caller }, call),
        XEN_GDMA_OP_MAP => {
            let mut command = MapCommand {
                caller,
                state,
                flush: MapFlush::default(),
            };
            batch::run(host, &mut command, call)
        }
        XEN_GDMA_OP_UNMAP => {
            let mut command = UnmapCommand {
                caller,
                state,
                failed: false,
            };
            batch::run(host, &mut command, call)
        }
        _ => batch::run(host, &mut LookupCommand { caller }, call),
    }
}

fn status<E: Into<Errno>>(result: Result<(), E>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.into().wire(),
    }
}

struct QueryCommand<'a, D> {
    caller: &'a D,
}

impl<H: Host> Command<H> for QueryCommand<'_, H::Domain> {
    type Element = Query;

    fn work(&mut self, host: &H, element: &mut Query) -> u32 {
        element.status = status(query(host, self.caller, element));
        1
    }
}

struct QueryDeviceCommand<'a, D> {
    caller: &'a D,
}

impl<H: Host> Command<H> for QueryDeviceCommand<'_, H::Domain> {
    type Element = QueryDevice;

    fn work(&mut self, host: &H, element: &mut QueryDevice) -> u32 {
        element.status = status(query_device(host, self.caller, element));
        1
    }
}

struct LookupCommand<'a, D> {
    caller: &'a D,
}

impl<H: Host> Command<H> for LookupCommand<'_, H::Domain> {
    type Element = Lookup;

    fn work(&mut self, host: &H, element: &mut Lookup) -> u32 {
        // Each step of the index follows one link of a list.
        let steps = element.index.min(XEN_GDMA_MAX_BATCH);
        element.status = status(lookup(host, self.caller, element));
        1 + steps
    }
}

struct MapCommand<'a, H: Host> {
    caller: &'a H::Domain,
    state: &'a DomainState<H>,
    flush: MapFlush,
}

impl<H: Host> Command<H> for MapCommand<'_, H> {
    type Element = Map;

    fn work(&mut self, host: &H, element: &mut Map) -> u32 {
        let frames = element.nr_frames;
        let result = map(host, self.caller, element, &mut self.flush);
        if let Err(error) = &result {
            log::debug!("{} map: {error:?}", self.caller.id());
        }
        element.status = status(result);
        // A run that failed at its last frame was as much work as one that did not.
        frames.clamp(1, XEN_GDMA_MAX_FRAMES)
    }

    fn undo(&mut self, host: &H, elements: &[Map]) {
        for element in elements.iter().filter(|element| element.status == 0) {
            let _ = unmap(
                host,
                self.caller,
                &Unmap {
                    handle: element.handle,
                    ..Unmap::default()
                },
            );
        }
        // A failure is logged, and the frames stay pinned until a flush succeeds.
        let _ = flush::flush(host, self.caller, self.state);
    }

    fn finish(&mut self, host: &H, _preempted: bool) -> Result<(), Errno> {
        Ok(core::mem::take(&mut self.flush).complete(host, self.caller)?)
    }
}

struct UnmapCommand<'a, H: Host> {
    caller: &'a H::Domain,
    state: &'a DomainState<H>,
    failed: bool,
}

impl<H: Host> Command<H> for UnmapCommand<'_, H> {
    type Element = Unmap;

    fn work(&mut self, host: &H, element: &mut Unmap) -> u32 {
        match unmap(host, self.caller, element) {
            Ok(done) => {
                element.status = 0;
                // A flush that failed would most likely fail again, after another
                // time-out: the next one is at the end of the call.
                if done.pending >= MAX_PENDING && !self.failed {
                    self.failed = flush::flush(host, self.caller, self.state).is_err();
                }
                done.frames
            }
            Err(error) => {
                log::debug!("{} unmap: {error:?}", self.caller.id());
                element.status = Errno::from(error).wire();
                1
            }
        }
    }

    fn finish(&mut self, host: &H, preempted: bool) -> Result<(), Errno> {
        match flush::flush(host, self.caller, self.state) {
            Ok(()) => Ok(()),
            // What failed still waits, and the flush at the end of the continued
            // call covers it: that one decides.
            Err(_) if preempted => Ok(()),
            Err(_) => Err(Errno::Io),
        }
    }
}
