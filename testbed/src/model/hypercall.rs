// SPDX-License-Identifier: GPL-2.0-only
//! The guest's side of the ABI: putting elements into memory, issuing the call
//! and its continuations as Xen does, taking the results out again.

use hv::{
    addr::GuestPtr,
    host::Domains,
    hypercall::{Answer, Call, Hypercall, grant_dma, grant_table},
};
use hypercall_abi::{
    command::{
        XEN_GDMA_ARGS_REGISTERED, XEN_GDMA_OP_CONTEXT_CREATE, XEN_GDMA_OP_CONTEXT_DESTROY,
        XEN_GDMA_OP_REVOKE, XEN_GDMA_OP_WINDOW_CREATE, XEN_GDMA_OP_WINDOW_DESTROY,
    },
    grant::{GNTTABOP_CMD_MASK, GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{guest::ReadLog, locks::assert_none_held, machine::Machine};

/// Where arguments go. The array begins behind [`GUARD`] bytes that must not
/// change.
pub const ARGUMENTS: u64 = 0x4000_0000;
/// Bytes before and after the array that are checked.
pub const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xa5;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallEnd {
    /// What the guest finds in its register.
    pub value: i32,
    /// The call and its continuations.
    pub steps: u32,
}

pub use hv::hypercall::Hypercall as Number;

/// How one step of a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every element was worked on.
    Complete,
    /// The call as a whole failed, with this number.
    Failed(i32),
    /// Preempted: the service asked for a continuation.
    Continue {
        /// Elements done.
        elements: u32,
        /// Bytes of the array they take up.
        bytes: u64,
        /// Bits of the command's number, that the command itself does not use.
        resume: u32,
    },
}

/// What a vcpu's register holds when its call is to be continued. No answer of the
/// service's own is positive.
const CONTINUED: Answer = Answer::continued(0x5a5a);

impl Machine {
    /// Notes the continuation that the service asks for.
    pub(super) fn note_continuation(&self, rest: Call) -> Answer {
        let before = self
            .continuation
            .lock()
            .expect("continuation")
            .replace(rest);
        assert_eq!(before, None, "one continuation of a step");
        CONTINUED
    }

    /// A call of hypercall 47 whose answer is the register as it is. It is not continued.
    pub fn call_register(&self, cmd: u32, second: u64, third: u32) -> i64 {
        *self.reads.lock().expect("read log") = ReadLog::default();
        self.state().counters.steps += 1;
        let answer = grant_dma::dispatch(self, cmd, GuestPtr(second), third);
        assert_none_held("end of the hypercall");
        let rest = self.continuation.lock().expect("continuation").take();
        assert_eq!(rest, None, "nothing to continue");
        answer.register()
    }

    /// One step: the call as it would run without being continued.
    pub fn step(&self, number: Number, cmd: u32, at: u64, count: u32) -> Outcome {
        *self.reads.lock().expect("read log") = ReadLog::default();
        self.state().counters.steps += 1;
        let answer = match number {
            Hypercall::GrantDma => grant_dma::dispatch(self, cmd, GuestPtr(at), count),
            Hypercall::GrantTable => {
                let caller = &*Domains::current(self);
                let at = GuestPtr(at);
                let answer = grant_table::dispatch(self, caller, self.layout, cmd, at, count);
                assert_none_held("end of the hypercall");
                if matches!(cmd, GNTTABOP_SETUP_TABLE | GNTTABOP_SET_VERSION) {
                    for domain in self.domains() {
                        self.look_at_table(domain.setup().id);
                    }
                }
                answer
            }
        };
        let rest = self.continuation.lock().expect("continuation").take();
        let Some(rest) = rest else {
            return match i32::try_from(answer.register()).expect("an error number") {
                0 => Outcome::Complete,
                error => Outcome::Failed(error),
            };
        };
        assert_eq!(answer, CONTINUED, "a continuation's answer is the host's");
        assert_eq!(rest.hypercall, number, "the same hypercall is continued");
        assert_eq!(
            rest.cmd & GNTTABOP_CMD_MASK,
            cmd & GNTTABOP_CMD_MASK,
            "the same command is continued"
        );
        Outcome::Continue {
            elements: count - rest.count,
            bytes: rest.at.0 - at,
            resume: rest.cmd & !GNTTABOP_CMD_MASK,
        }
    }

    /// The call with its continuations; `each` sees every step end.
    pub fn call_observed(
        &self,
        number: Number,
        mut cmd: u32,
        at: u64,
        count: u32,
        mut each: impl FnMut(Outcome),
    ) -> CallEnd {
        let (mut at, mut left, mut steps) = (at, count, 0);
        loop {
            steps += 1;
            let outcome = self.step(number, cmd, at, left);
            each(outcome);
            match outcome {
                Outcome::Complete => return CallEnd { value: 0, steps },
                Outcome::Failed(value) => {
                    assert!(value < 0, "an error must be negative");
                    return CallEnd { value, steps };
                }
                Outcome::Continue {
                    elements,
                    bytes,
                    resume,
                } => {
                    assert_eq!(resume & GNTTABOP_CMD_MASK, 0, "bits of the command");
                    // A copy of a domain's memory, windows, the end of a context, and that of
                    // all mappings of a reference take several steps, of which each does
                    // something for one element.
                    let in_steps = number == Number::GrantDma
                        && matches!(
                            cmd & !XEN_GDMA_ARGS_REGISTERED,
                            XEN_GDMA_OP_CONTEXT_CREATE
                                | XEN_GDMA_OP_CONTEXT_DESTROY
                                | XEN_GDMA_OP_REVOKE
                                | XEN_GDMA_OP_WINDOW_CREATE
                                | XEN_GDMA_OP_WINDOW_DESTROY
                        );
                    let progress = elements > 0 || resume > cmd & !GNTTABOP_CMD_MASK || in_steps;
                    assert!(progress && elements < left, "a continuation progresses");
                    assert!(steps < 100_000, "a call that never ends");
                    assert!(elements == 0 || bytes % u64::from(elements) == 0);
                    assert!(elements != 0 || bytes == 0, "bytes of no elements");
                    at += bytes;
                    left -= elements;
                    cmd = cmd & GNTTABOP_CMD_MASK | resume;
                }
            }
        }
    }

    /// The call with its continuations.
    pub fn call(&self, number: Number, cmd: u32, at: u64, count: u32) -> CallEnd {
        self.call_observed(number, cmd, at, count, |_| {})
    }

    /// Puts an array into the current domain's memory; tells where.
    pub fn store_elements<T: IntoBytes + Immutable>(&self, elements: &[T]) -> u64 {
        let mut guests = self.inner.guests.lock().expect("guest memory");
        let memory = guests.entry(self.current).or_default();
        let bytes = elements.as_bytes();
        memory.store(ARGUMENTS, &[GUARD_BYTE; GUARD]);
        memory.store(ARGUMENTS + GUARD as u64, bytes);
        let end = ARGUMENTS + (GUARD + bytes.len()) as u64;
        memory.store(end, &[GUARD_BYTE; GUARD]);
        ARGUMENTS + GUARD as u64
    }

    /// Takes the array out again, and checks the bytes around it.
    pub fn load_elements<T: FromBytes + IntoBytes>(&self, elements: &mut [T]) {
        let guests = self.inner.guests.lock().expect("guest memory");
        let Some(memory) = guests.get(&self.current) else {
            return;
        };
        let mut guard = [0; GUARD];
        memory.read(ARGUMENTS, &mut guard);
        assert_eq!(guard, [GUARD_BYTE; GUARD], "bytes before the array changed");
        let bytes = elements.as_mut_bytes();
        let length = bytes.len() as u64;
        memory.read(ARGUMENTS + GUARD as u64, bytes);
        memory.read(ARGUMENTS + GUARD as u64 + length, &mut guard);
        assert_eq!(guard, [GUARD_BYTE; GUARD], "bytes after the array changed");
    }

    /// Calls with an array of elements, which carry the results afterwards.
    pub fn call_with<T: FromBytes + IntoBytes + Immutable>(
        &self,
        number: Number,
        cmd: u32,
        elements: &mut [T],
    ) -> CallEnd {
        let at = self.store_elements(elements);
        let end = self.call(number, cmd, at, elements.len() as u32);
        self.load_elements(elements);
        end
    }

    /// Changes the current domain's memory for arguments.
    pub fn with_guest_memory(&self, change: impl FnOnce(&mut super::guest::GuestMemory)) {
        let mut guests = self.inner.guests.lock().expect("guest memory");
        change(guests.entry(self.current).or_default());
    }
}
