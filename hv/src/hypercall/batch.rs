// SPDX-License-Identifier: GPL-2.0-only
//! Arrays of elements: copied in once, worked on, copied out, in bounded steps.

use hypercall_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Outcome;
use crate::{addr::GuestPtr, host::Host};

/// Elements copied at a time. Their copies live on Xen's stack, of which there
/// are only 8 KiB.
const ELEMENTS_PER_COPY: usize = 16;
/// Frames worked on between two looks at whether something else wants the CPU.
const FRAMES_BETWEEN_CHECKS: u32 = 64;

/// What one command does with its elements.
pub trait Command<H: Host> {
    /// The element, as on the wire.
    type Element: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Default;

    /// Works on one element and puts results and status into it. Returns how much
    /// work it was, in frames (at least 1).
    fn work(&mut self, host: &H, element: &mut Self::Element) -> u32;

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
pub fn run<H: Host, C: Command<H>>(host: &H, command: &mut C, at: GuestPtr, count: u32) -> Outcome {
    let size = size_of::<C::Element>() as u64;
    if !host.guest_range_ok(at, u64::from(count) * size) {
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
        },
    }
}

/// Returns how many elements are done: all, unless preempted.
fn work_through<H: Host, C: Command<H>>(
    host: &H,
    command: &mut C,
    at: GuestPtr,
    count: u32,
) -> Result<u32, Errno> {
    let size = size_of::<C::Element>() as u64;
    let mut buffer = [C::Element::default(); ELEMENTS_PER_COPY];
    let mut done = 0;
    let mut work = 0;
    while done < count {
        let room = (count - done).min(ELEMENTS_PER_COPY as u32) as usize;
        let (elements, _) = buffer.split_at_mut(room);
        let from = at.byte_offset(u64::from(done) * size);
        host.copy_from_guest(from, elements.as_mut_bytes())
            .map_err(|_| Errno::Fault)?;
        let mut worked = 0;
        let mut preempted = false;
        for element in elements.iter_mut() {
            work += command.work(host, element);
            worked += 1;
            if work >= FRAMES_BETWEEN_CHECKS {
                work = 0;
                preempted = host.preempt_requested();
                if preempted {
                    break;
                }
            }
        }
        let (results, _) = elements.split_at(worked);
        if host.copy_to_guest(from, results.as_bytes()).is_err() {
            command.undo(host, results);
            return Err(Errno::Fault);
        }
        done += worked as u32;
        if preempted {
            break;
        }
    }
    Ok(done)
}
