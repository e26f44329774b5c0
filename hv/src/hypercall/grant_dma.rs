// SPDX-License-Identifier: GPL-2.0-only
//! Hypercall 47.

use core::marker::PhantomData;

use hypercall_abi::{
    Errno,
    arguments::RegisterArgs,
    command::{
        XEN_GDMA_ARGS_REGISTERED, XEN_GDMA_MAX_BATCH, XEN_GDMA_MAX_FRAMES,
        XEN_GDMA_OP_CONTEXT_CREATE, XEN_GDMA_OP_CONTEXT_DESTROY, XEN_GDMA_OP_DEVICE_ATTACH,
        XEN_GDMA_OP_FAULTS, XEN_GDMA_OP_FLUSH, XEN_GDMA_OP_LOOKUP, XEN_GDMA_OP_MAP,
        XEN_GDMA_OP_MAP_REG, XEN_GDMA_OP_QUERY, XEN_GDMA_OP_QUERY_DEVICE,
        XEN_GDMA_OP_REGISTER_ARGS, XEN_GDMA_OP_REVOKE, XEN_GDMA_OP_SET_LIMITS, XEN_GDMA_OP_STATS,
        XEN_GDMA_OP_UNMAP, XEN_GDMA_OP_UNMAP_REG, XEN_GDMA_OP_WINDOW_CREATE,
        XEN_GDMA_OP_WINDOW_DESTROY,
    },
    context::{ContextCreate, ContextDestroy, DeviceAttach},
    control::{Revoke, SetLimits, Stats},
    device::QueryDevice,
    fault::Fault,
    lookup::Lookup,
    mapping::{Flush, Map, Unmap},
    query::Query,
    window::{WindowCreate, WindowDestroy},
};

use super::{
    Answer, Call, Hypercall,
    batch::{self, Command, Element, UNFINISHED},
};
use crate::{
    addr::GuestPtr,
    dma::{
        arguments::{self, ArgumentPlace},
        attach,
        control::{self, Revoked},
        faults,
        lookup::lookup,
        map::{self, Maps},
        query::{query, query_device},
        single,
        unmap::{self, Unmaps},
        window,
    },
    host::{Domain, Host, Progress},
    state::DomainState,
};

/// Moving a device, making or ending a context, a flush: so much work it is, in
/// frames. After each of them Xen looks whether something else wants the CPU.
const HEAVY: u32 = 64;

/// The hypercall: `cmd` with `count` elements at `at`.
pub fn dispatch<H: Host>(host: &H, cmd: u32, at: GuestPtr, count: u32) -> Answer {
    let caller = &*host.current();
    let Some(state) = caller.state() else {
        return Errno::NoSys.into();
    };
    let number = cmd & !XEN_GDMA_ARGS_REGISTERED;
    let place = if number == cmd {
        ArgumentPlace::Guest
    } else {
        match in_area(host, state, number, at) {
            Ok(place) => place,
            Err(error) => return error.into(),
        }
    };
    let call = Arguments {
        place: &place,
        call: Call {
            hypercall: Hypercall::GrantDma,
            cmd,
            at,
            count,
        },
    };
    match number {
        XEN_GDMA_OP_QUERY => each(host, call, |op: &mut Query| {
            (status(query(host, caller, op)), 1)
        }),
        XEN_GDMA_OP_QUERY_DEVICE => each(host, call, |op: &mut QueryDevice| {
            (status(query_device(host, caller, op)), 1)
        }),
        XEN_GDMA_OP_CONTEXT_CREATE => each(host, call, |op: &mut ContextCreate| {
            progress(attach::create(host, caller, state, op))
        }),
        XEN_GDMA_OP_CONTEXT_DESTROY => each(host, call, |op: &mut ContextDestroy| {
            progress(attach::destroy(host, caller, state, op.context))
        }),
        XEN_GDMA_OP_DEVICE_ATTACH => each(host, call, |op: &mut DeviceAttach| {
            (status(attach::attach(host, caller, state, op)), HEAVY)
        }),
        XEN_GDMA_OP_REGISTER_ARGS => each(host, call, |op: &mut RegisterArgs| {
            (status(arguments::register(host, caller, state, op)), HEAVY)
        }),
        XEN_GDMA_OP_MAP => {
            let mut command = MapCommand::<H> {
                caller,
                maps: Maps::new(caller, state),
            };
            run(host, &mut command, call)
        }
        XEN_GDMA_OP_UNMAP => {
            let mut command = UnmapCommand::<H> {
                caller,
                unmaps: Unmaps::new(caller, state),
            };
            run(host, &mut command, call)
        }
        XEN_GDMA_OP_FLUSH => {
            let mut unmaps = Unmaps::new(caller, state);
            each(host, call, |op: &mut Flush| match unmaps.flush(host, op) {
                Ok(frames) => (0, HEAVY + frames),
                Err(error) => (Errno::from(error).wire(), HEAVY),
            })
        }
        XEN_GDMA_OP_WINDOW_CREATE => run(host, &mut WindowCommand::<H> { caller, state }, call),
        XEN_GDMA_OP_WINDOW_DESTROY => each(host, call, |op: &mut WindowDestroy| {
            match window::destroy(host, caller, state, op) {
                Ok(Progress::Done) => (0, HEAVY),
                Ok(Progress::Preempted) => (0, UNFINISHED),
                Err(error) => (Errno::from(error).wire(), HEAVY),
            }
        }),
        XEN_GDMA_OP_LOOKUP => each(host, call, |op: &mut Lookup| {
            // Each step of the index follows one link of a list.
            let steps = op.index.min(XEN_GDMA_MAX_BATCH);
            (status(lookup(host, caller, op)), 1 + steps)
        }),
        XEN_GDMA_OP_REVOKE => each(host, call, |op: &mut Revoke| {
            match control::revoke(host, caller, state, op) {
                Ok(Revoked::All(work)) => (0, work),
                Ok(Revoked::GoOn) => (0, UNFINISHED),
                Err(error) => (Errno::from(error).wire(), HEAVY),
            }
        }),
        XEN_GDMA_OP_SET_LIMITS => each(host, call, |op: &mut SetLimits| {
            (status(control::set_limits(host, caller, op)), 1)
        }),
        XEN_GDMA_OP_FAULTS => each(host, call, |op: &mut Fault| {
            (status(faults::faults(host, caller, state, op)), 1)
        }),
        XEN_GDMA_OP_STATS => each(host, call, |op: &mut Stats| {
            (status(control::stats(host, caller, op)), 1)
        }),
        XEN_GDMA_OP_MAP_REG | XEN_GDMA_OP_UNMAP_REG if !host.has_wide_registers() => {
            Errno::OpNotSupp.into()
        }
        XEN_GDMA_OP_MAP_REG => {
            host.speculation_barrier();
            match single::map(host, caller, state, at.0, count) {
                Ok(daddr) => Answer::value(daddr),
                Err(error) => error.into(),
            }
        }
        XEN_GDMA_OP_UNMAP_REG => {
            host.speculation_barrier();
            single::unmap(host, caller, state, at.0, count).into()
        }
        _ => Errno::NoSys.into(),
    }
}

/// The place of an array in the calling vcpu's area.
fn in_area<H: Host>(
    host: &H,
    state: &DomainState<H>,
    number: u32,
    at: GuestPtr,
) -> Result<ArgumentPlace<H>, Errno> {
    match number {
        // It takes the area away under its own results.
        XEN_GDMA_OP_REGISTER_ARGS => Err(Errno::NoSys),
        XEN_GDMA_OP_QUERY..=XEN_GDMA_OP_STATS => ArgumentPlace::registered(host, state, at),
        // Unknown, or without an array.
        _ => Err(Errno::NoSys),
    }
}

/// A call, and where its array is.
struct Arguments<'a, H: Host> {
    place: &'a ArgumentPlace<H>,
    call: Call,
}

/// Works through the elements of a known command. One function for each command:
/// what one needs of the stack is no burden for another.
#[inline(never)]
fn run<H: Host, C: Command<H>>(host: &H, command: &mut C, arguments: Arguments<'_, H>) -> Answer {
    let Arguments { place, call } = arguments;
    if call.count == 0 {
        return Errno::Inval.into();
    }
    if call.count > XEN_GDMA_MAX_BATCH {
        return Errno::TooBig.into();
    }
    host.speculation_barrier();
    batch::run(host, place, command, call)
}

fn status<E: Into<Errno>>(result: Result<(), E>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.into().wire(),
    }
}

/// The status, and the amount of work, of one step of an element that may take more.
fn progress<E: Into<Errno>>(result: Result<Progress, E>) -> (i32, u32) {
    match result {
        Ok(Progress::Preempted) => (0, UNFINISHED),
        done => (status(done.map(|_| ())), HEAVY),
    }
}

/// An element with a status.
trait WithStatus: Element {
    fn set_status(&mut self, status: i32);
}

macro_rules! with_status {
    ($($name:ident),*) => {
        $(impl WithStatus for $name {
            fn set_status(&mut self, status: i32) {
                self.status = status;
            }
        })*
    };
}

with_status!(
    ContextCreate,
    ContextDestroy,
    DeviceAttach,
    Fault,
    Flush,
    Lookup,
    Query,
    QueryDevice,
    RegisterArgs,
    Revoke,
    SetLimits,
    Stats,
    WindowDestroy
);

/// A command whose elements have nothing to do with each other. The function returns
/// the status, and how much work the element was.
struct Each<E, F> {
    work: F,
    element: PhantomData<E>,
}

impl<H: Host, E: WithStatus, F: FnMut(&mut E) -> (i32, u32)> Command<H> for Each<E, F> {
    type Element = E;

    fn work(&mut self, _host: &H, element: &mut E) -> u32 {
        let (status, work) = (self.work)(element);
        element.set_status(status);
        work
    }
}

fn each<H: Host, E: WithStatus>(
    host: &H,
    call: Arguments<'_, H>,
    work: impl FnMut(&mut E) -> (i32, u32),
) -> Answer {
    let mut command = Each {
        work,
        element: PhantomData,
    };
    run(host, &mut command, call)
}

struct MapCommand<'a, H: Host> {
    caller: &'a H::Domain,
    maps: Maps<'a, H>,
}

impl<H: Host> Command<H> for MapCommand<'_, H> {
    type Element = Map;

    fn work(&mut self, host: &H, element: &mut Map) -> u32 {
        let frames = element.nr_frames;
        let result = self.maps.map(host, element);
        element.status = map::status::<H>(self.caller, result);
        // A run that failed at its last frame was as much work as one that did not.
        frames.clamp(1, XEN_GDMA_MAX_FRAMES)
    }

    fn work_on_some(&mut self, host: &H, elements: &mut [Map]) -> (u32, u32) {
        match (self.maps.map_neighbours(host, elements), elements) {
            (0, [first, ..]) => (1, self.work(host, first)),
            (count, _) => (count, count),
        }
    }

    fn undo(&mut self, host: &H, elements: &[Map]) {
        let lost = elements.iter().filter(|element| element.status == 0);
        self.maps.undo(host, lost);
    }

    fn finish(&mut self, host: &H, _preempted: bool) -> Result<(), Errno> {
        Ok(self.maps.finish(host)?)
    }
}

struct UnmapCommand<'a, H: Host> {
    caller: &'a H::Domain,
    unmaps: Unmaps<'a, H>,
}

impl<H: Host> Command<H> for UnmapCommand<'_, H> {
    type Element = Unmap;

    fn work(&mut self, host: &H, element: &mut Unmap) -> u32 {
        match self.unmaps.unmap(host, element) {
            Ok(frames) => {
                element.status = 0;
                frames
            }
            Err(error) => {
                element.status = unmap::status::<H, ()>(self.caller, Err(error));
                1
            }
        }
    }

    fn work_on_some(&mut self, host: &H, elements: &mut [Unmap]) -> (u32, u32) {
        match (self.unmaps.unmap_neighbours(host, elements), elements) {
            (Some((count, frames)), _) => (count, frames),
            (None, [first, ..]) => (1, self.work(host, first)),
            (None, []) => (0, UNFINISHED),
        }
    }

    fn finish(&mut self, host: &H, preempted: bool) -> Result<(), Errno> {
        self.unmaps.finish(host, preempted).map_err(|_| Errno::Io)
    }
}

struct WindowCommand<'a, H: Host> {
    caller: &'a H::Domain,
    state: &'a DomainState<H>,
}

impl<H: Host> Command<H> for WindowCommand<'_, H> {
    type Element = WindowCreate;

    fn work(&mut self, host: &H, element: &mut WindowCreate) -> u32 {
        match window::create(host, self.caller, self.state, element) {
            Ok(Progress::Preempted) => return UNFINISHED,
            Ok(Progress::Done) => element.status = 0,
            Err(error) => {
                log::debug!("{} window: {error:?}", self.caller.id());
                element.status = Errno::from(error).wire();
            }
        }
        HEAVY
    }

    fn undo(&mut self, host: &H, elements: &[WindowCreate]) {
        for lost in elements.iter().filter(|element| element.status == 0) {
            window::lose(host, self.state, lost);
        }
    }
}
