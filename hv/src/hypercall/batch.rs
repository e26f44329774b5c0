// SPDX-License-Identifier: GPL-2.0-only
//! Arrays of elements: copied in once, worked on, copied out, in bounded steps.

use core::{ops::Range, slice};

use hypercall_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Answer, Call, Hypercall};
use crate::{
    addr::GuestPtr,
    host::{ELEMENTS_PER_COPY, Elements, ElementsAt, GuestFault, Host, MappedMemory, Origin},
};

/// Frames worked on between two looks at whether something else wants the CPU.
const FRAMES_BETWEEN_CHECKS: u32 = 64;

/// An element of an array, as on the wire: any bytes are one.
pub trait Element: FromBytes + IntoBytes + Immutable + Copy {}

impl<T: FromBytes + IntoBytes + Immutable + Copy> Element for T {}

/// Where a call has its array.
pub trait Place<H: Host> {
    /// `at` is an address or an offset in the same place.
    fn at(&self, at: GuestPtr) -> ElementsAt<'_, H>;
}

/// The ordinary place: addresses of the calling guest.
pub struct GuestMemory;

impl<H: Host> Place<H> for GuestMemory {
    #[inline(always)]
    fn at(&self, at: GuestPtr) -> ElementsAt<'_, H> {
        ElementsAt::Guest(at)
    }
}

/// Instead of an amount of work: something else wants the CPU, and the call is to be
/// continued with this element again.
pub const UNFINISHED: u32 = 0;

/// What one command does with its elements.
pub trait Command<H: Host> {
    /// The element, as on the wire.
    type Element: Element;

    /// Where in an element the results are: [`Command::work`] changes nothing else.
    /// May be empty.
    const RESULTS: Range<usize> = 0..size_of::<Self::Element>();

    /// Works on one element and puts results and status into it. Returns how much
    /// work it was, in frames, or [`UNFINISHED`].
    fn work(&mut self, host: &H, element: &mut Self::Element) -> u32;

    /// Works on the first of `elements`, of which there is at least one, and on those
    /// behind it that are less work if done with it. Returns how many these are, and how
    /// much work they were all together.
    ///
    /// Whatever becomes of them is as if [`Command::work`] had been called for each, one
    /// after the other.
    #[inline(always)]
    fn work_on_some(&mut self, host: &H, elements: &mut [Self::Element]) -> (u32, u32) {
        match elements.first_mut() {
            Some(element) => (1, self.work(host, element)),
            None => (0, UNFINISHED),
        }
    }

    /// Called when some elements, at most [`ELEMENTS_PER_COPY`], have been worked
    /// on, before the guest is told their results.
    fn settle(&mut self, _host: &H) {}

    /// The results of these elements did not reach the guest: take back what the
    /// guest does not know of.
    fn undo(&mut self, _host: &H, _elements: &[Self::Element]) {}

    /// Bits of the command that say where a call whose next element is [`UNFINISHED`]
    /// goes on in it.
    fn resume_at(&self) -> u32 {
        0
    }

    /// Called before the hypercall ends or is preempted, whatever else happened.
    /// `preempted`: there are more elements, and the call will be continued.
    fn finish(&mut self, _host: &H, _preempted: bool) -> Result<(), Errno> {
        Ok(())
    }
}

/// The command has results.
const fn answers<H: Host, C: Command<H>>() -> bool {
    C::RESULTS.start < C::RESULTS.end
}

/// Works through the elements of `call`, which are in `place`.
#[inline(always)]
pub fn run<H: Host, C: Command<H>>(
    host: &H,
    place: &impl Place<H>,
    command: &mut C,
    call: Call,
) -> Answer {
    if call.count == 1 {
        run_single(host, place, command, call)
    } else {
        run_many(host, place, command, call)
    }
}

/// Works on the one element of `call`: what is known of its size, and that nothing comes
/// after it, saves a good part of the work around it.
#[inline(always)]
pub fn run_single<H: Host, C: Command<H>>(
    host: &H,
    place: &impl Place<H>,
    command: &mut C,
    call: Call,
) -> Answer {
    let at = place.at(call.at);
    let work = |elements: &mut [C::Element], origin: &H::Origin<'_>| {
        let Some(element) = elements.first_mut() else {
            return Ok(UNFINISHED);
        };
        let work = command.work(host, element);
        command.settle(host);
        if work == UNFINISHED {
            return Ok(UNFINISHED);
        }
        if write_single::<H, C>(origin, element).is_err() {
            command.undo(host, slice::from_ref(element));
            return Err(Errno::Fault);
        }
        Ok(work)
    };
    let then = match answers::<H, C>() {
        true => Elements::Answered,
        false => Elements::Read,
    };
    let worked = host.with_elements(at, 1, then, work);
    let worked = worked.unwrap_or(Err(Errno::Fault));
    let preempted = worked == Ok(UNFINISHED);
    match (worked, command.finish(host, preempted)) {
        (Err(error), _) | (Ok(_), Err(error)) => error.into(),
        (Ok(UNFINISHED), Ok(())) => {
            let cmd = call.cmd | command.resume_at();
            continue_call(host, call.hypercall, cmd, call.at, call.count)
        }
        (Ok(_), Ok(())) => Answer::COMPLETE,
    }
}

/// Has the rest of a preempted call made again. Its parts are arguments of their own:
/// nobody has to lay them out in memory for the case that they are needed.
#[cold]
#[inline(never)]
fn continue_call<H: Host>(
    host: &H,
    hypercall: Hypercall,
    cmd: u32,
    at: GuestPtr,
    count: u32,
) -> Answer {
    host.continue_call(Call {
        hypercall,
        cmd,
        at,
        count,
    })
}

/// Works through any number of elements.
#[inline(always)]
pub fn run_many<H: Host, C: Command<H>>(
    host: &H,
    place: &impl Place<H>,
    command: &mut C,
    call: Call,
) -> Answer {
    // What is copied in at once is checked by the copying.
    let copied_at_once = (1..=ELEMENTS_PER_COPY as u32).contains(&call.count);
    if !copied_at_once && !range_ok::<H, C>(host, place, &call) {
        return Errno::Fault.into();
    }
    let mut rest = call;
    let worked = work_through(host, place, command, &mut rest);
    // The flush comes first: after it, whatever the elements say is true.
    let preempted = worked.is_ok() && rest.count != 0;
    let finished = command.finish(host, preempted);
    match (worked, finished) {
        (Err(error), _) | (Ok(()), Err(error)) => error.into(),
        (Ok(()), Ok(())) if rest.count == 0 => Answer::COMPLETE,
        (Ok(()), Ok(())) => {
            let cmd = rest.cmd | command.resume_at();
            continue_call(host, rest.hypercall, cmd, rest.at, rest.count)
        }
    }
}

/// Bytes of so many elements.
fn bytes<E>(count: u32) -> u64 {
    u64::from(count) * size_of::<E>() as u64
}

/// The elements of `call` are where there can be any.
fn range_ok<H: Host, C: Command<H>>(host: &H, place: &impl Place<H>, call: &Call) -> bool {
    let bytes = bytes::<C::Element>(call.count);
    match place.at(call.at) {
        ElementsAt::Guest(at) => host.guest_range_ok(at, bytes),
        ElementsAt::Mapped(memory, offset) => offset
            .checked_add(bytes)
            .is_some_and(|end| end <= memory.bytes()),
    }
}

/// Works through `rest`, and leaves of it what is not done: nothing, unless
/// preempted.
#[inline(always)]
fn work_through<H: Host, C: Command<H>>(
    host: &H,
    place: &impl Place<H>,
    command: &mut C,
    rest: &mut Call,
) -> Result<(), Errno> {
    let mut budget = Budget {
        left: FRAMES_BETWEEN_CHECKS,
    };
    let mut most = ELEMENTS_PER_COPY as u32;
    let mut kept = H::Kept::default();
    while rest.count != 0 {
        let wanted = rest.count.min(most) as usize;
        let at = place.at(rest.at);
        let work = |elements: &mut [C::Element], origin: &H::Origin<'_>| {
            work_on(host, origin, command, elements, rest, &mut budget)
        };
        let then = match answers::<H, C>() {
            true => Elements::AnsweredInParts(&mut kept),
            false => Elements::Read,
        };
        let worked = host.with_elements(at, wanted, then, work);
        match worked {
            Ok(Ok(Worked::All)) => {}
            Ok(Ok(Worked::Preempted)) => break,
            Ok(Err(error)) => return Err(error),
            Err(GuestFault) if wanted == 1 || !range_ok::<H, C>(host, place, rest) => {
                return Err(Errno::Fault);
            }
            // If they do not all lie in accessible memory, those that do are worked
            // on, one at a time, as if there were no copying ahead.
            Err(GuestFault) => most = 1,
        }
    }
    Ok(())
}

/// Work that is left to do before the next look at whether something else wants the CPU.
struct Budget {
    left: u32,
}

impl Budget {
    /// Counts more work. True: something else wants the CPU.
    #[inline(always)]
    fn spend<H: Host>(&mut self, host: &H, work: u32, is_last: bool) -> bool {
        if work < self.left {
            self.left -= work;
            return false;
        }
        self.left = FRAMES_BETWEEN_CHECKS;
        !is_last && host.preempt_requested()
    }
}

/// How far elements that were copied in at once were worked on.
enum Worked {
    All,
    /// Not all of them, perhaps: something else wants the CPU.
    Preempted,
}

/// Works on elements that were copied in, the first of `rest`. Those that are done
/// are not in `rest` any more.
#[inline(always)]
fn work_on<H: Host, C: Command<H>>(
    host: &H,
    origin: &H::Origin<'_>,
    command: &mut C,
    elements: &mut [C::Element],
    rest: &mut Call,
    budget: &mut Budget,
) -> Result<Worked, Errno> {
    let mut done = 0;
    let mut worked = Worked::All;
    while let Some(left @ [_, ..]) = elements.get_mut(done as usize..) {
        let (count, work) = command.work_on_some(host, left);
        if work == UNFINISHED {
            worked = Worked::Preempted;
            break;
        }
        done += count;
        if budget.spend(host, work, done == rest.count) {
            worked = Worked::Preempted;
            break;
        }
    }
    command.settle(host);
    let (results, _) = elements.split_at(done as usize);
    write(host, origin, command, results)?;
    rest.at = rest.at.byte_offset(bytes::<C::Element>(done));
    rest.count -= done;
    Ok(worked)
}

/// Copies results out; those that cannot be are undone.
fn write<H: Host, C: Command<H>>(
    host: &H,
    origin: &H::Origin<'_>,
    command: &mut C,
    results: &[C::Element],
) -> Result<(), Errno> {
    if write_some::<H, C>(origin, 0, results).is_ok() {
        return Ok(());
    }
    let written = results
        .chunks(1)
        .enumerate()
        .take_while(|(index, result)| {
            let offset = index * size_of::<C::Element>();
            write_some::<H, C>(origin, offset, result).is_ok()
        })
        .count();
    let (_, lost) = results.split_at(written);
    command.undo(host, lost);
    Err(Errno::Fault)
}

/// Copies elements out, from the first result to the last: what is before and after
/// did not change. `offset`: of these elements from the first that was copied in.
#[inline(always)]
fn write_some<H: Host, C: Command<H>>(
    origin: &H::Origin<'_>,
    offset: usize,
    elements: &[C::Element],
) -> Result<(), GuestFault> {
    if C::RESULTS.is_empty() {
        return Ok(());
    }
    let after = size_of::<C::Element>() - C::RESULTS.end;
    let bytes = elements.as_bytes();
    let end = bytes.len().saturating_sub(after);
    write_range(origin, offset, bytes, C::RESULTS.start..end)
}

/// The same for a single element.
#[inline(always)]
fn write_single<H: Host, C: Command<H>>(
    origin: &H::Origin<'_>,
    element: &C::Element,
) -> Result<(), GuestFault> {
    write_range(origin, 0, element.as_bytes(), C::RESULTS)
}

/// Copies a range of `bytes` out, which were copied in from `offset` on.
#[inline(always)]
fn write_range(
    origin: &impl Origin,
    offset: usize,
    bytes: &[u8],
    range: Range<usize>,
) -> Result<(), GuestFault> {
    let at = offset + range.start;
    match bytes.get(range) {
        Some(results) if !results.is_empty() => origin.write(at, results),
        Some(_) | None => Ok(()),
    }
}
