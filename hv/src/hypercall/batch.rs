// SPDX-License-Identifier: GPL-2.0-only
//! Arrays of elements: copied in once, worked on, copied out, in bounded steps.

use hypercall_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Outcome;
use crate::{
    addr::GuestPtr,
    host::{ELEMENTS_PER_COPY, GuestFault, Host},
};

/// Frames worked on between two looks at whether something else wants the CPU.
const FRAMES_BETWEEN_CHECKS: u32 = 64;

/// An element of an array, as on the wire: any bytes are one.
pub trait Element: FromBytes + IntoBytes + Immutable + Copy {}

impl<T: FromBytes + IntoBytes + Immutable + Copy> Element for T {}

/// Instead of an amount of work: something else wants the CPU, and the call is to be
/// continued with this element again.
pub const UNFINISHED: u32 = 0;

/// What one command does with its elements.
pub trait Command<H: Host> {
    /// The element, as on the wire.
    type Element: Element;

    /// Works on one element and puts results and status into it. Returns how much
    /// work it was, in frames, or [`UNFINISHED`].
    fn work(&mut self, host: &H, element: &mut Self::Element) -> u32;

    /// Called when some elements, at most [`ELEMENTS_PER_COPY`], have been worked
    /// on, before the guest is told their results.
    fn settle(&mut self, _host: &H) {}

    /// The results of these elements did not reach the guest: take back what the
    /// guest does not know of.
    fn undo(&mut self, _host: &H, _elements: &[Self::Element]) {}

    /// Called before the hypercall ends or is preempted, whatever else happened.
    /// `preempted`: there are more elements, and the call will be continued.
    fn finish(&mut self, _host: &H, _preempted: bool) -> Result<(), Errno> {
        Ok(())
    }
}

/// Works through `count` elements at `at`.
#[inline(always)]
pub fn run<H: Host, C: Command<H>>(host: &H, command: &mut C, at: GuestPtr, count: u32) -> Outcome {
    let size = size_of::<C::Element>() as u64;
    // What is copied in at once is checked by the copying.
    let copied_at_once = (1..=ELEMENTS_PER_COPY as u32).contains(&count);
    if !copied_at_once && !host.guest_range_ok(at, u64::from(count) * size) {
        return Outcome::Failed(Errno::Fault);
    }
    let worked = work_through(host, command, at, count);
    // The flush comes first: after it, whatever the elements say is true.
    let preempted = worked.is_ok_and(|done| done != count);
    let finished = command.finish(host, preempted);
    match (worked, finished) {
        (Err(error), _) | (Ok(_), Err(error)) => Outcome::Failed(error),
        (Ok(done), Ok(())) if done == count => Outcome::Complete,
        (Ok(done), Ok(())) => Outcome::Continue {
            elements: done,
            bytes: u64::from(done) * size,
            resume: 0,
        },
    }
}

/// Returns how many elements are done: all, unless preempted.
#[inline(always)]
fn work_through<H: Host, C: Command<H>>(
    host: &H,
    command: &mut C,
    at: GuestPtr,
    count: u32,
) -> Result<u32, Errno> {
    let size = size_of::<C::Element>() as u64;
    let mut done = 0;
    let mut budget = Budget { work: 0 };
    let mut most = ELEMENTS_PER_COPY as u32;
    while done < count {
        let left = count - done;
        let here = at.byte_offset(u64::from(done) * size);
        let wanted = left.min(most) as usize;
        let worked = host.with_elements(here, wanted, |elements: &mut [C::Element]| {
            work_on(host, command, here, elements, left, &mut budget)
        });
        match worked {
            Ok(Ok((worked, false))) => done += worked,
            Ok(Ok((worked, true))) => return Ok(done + worked),
            Ok(Err(error)) => return Err(error),
            Err(GuestFault)
                if wanted == 1 || !host.guest_range_ok(here, u64::from(left) * size) =>
            {
                return Err(Errno::Fault);
            }
            // If they do not all lie in accessible memory, those that do are worked
            // on, one at a time, as if there were no copying ahead.
            Err(GuestFault) => most = 1,
        }
    }
    Ok(done)
}

/// Work done since the last look at whether something else wants the CPU.
struct Budget {
    work: u32,
}

impl Budget {
    /// Counts more work. True: something else wants the CPU.
    #[inline(always)]
    fn spend<H: Host>(&mut self, host: &H, work: u32, is_last: bool) -> bool {
        self.work += work;
        if self.work < FRAMES_BETWEEN_CHECKS {
            return false;
        }
        self.work = 0;
        !is_last && host.preempt_requested()
    }
}

/// Works on elements that were copied in from `at`, the first of `left`. Returns
/// how many are done, and whether to stop there.
#[inline(always)]
fn work_on<H: Host, C: Command<H>>(
    host: &H,
    command: &mut C,
    at: GuestPtr,
    elements: &mut [C::Element],
    left: u32,
    budget: &mut Budget,
) -> Result<(u32, bool), Errno> {
    let mut worked = 0;
    let mut preempted = false;
    for element in elements.iter_mut() {
        let work = command.work(host, element);
        if work == UNFINISHED {
            preempted = true;
            break;
        }
        worked += 1;
        preempted = budget.spend(host, work, worked == left);
        if preempted {
            break;
        }
    }
    command.settle(host);
    let (results, _) = elements.split_at(worked as usize);
    write(host, command, at, results)?;
    Ok((worked, preempted))
}

/// Copies results out; those that cannot be are undone.
fn write<H: Host, C: Command<H>>(
    host: &H,
    command: &mut C,
    to: GuestPtr,
    results: &[C::Element],
) -> Result<(), Errno> {
    if host.copy_to_guest(to, results.as_bytes()).is_ok() {
        return Ok(());
    }
    let size = size_of::<C::Element>() as u64;
    let written = (0..)
        .zip(results)
        .take_while(|(index, result)| {
            let to = to.byte_offset(index * size);
            host.copy_to_guest(to, result.as_bytes()).is_ok()
        })
        .count();
    let (_, lost) = results.split_at(written);
    command.undo(host, lost);
    Err(Errno::Fault)
}
