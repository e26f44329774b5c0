// SPDX-License-Identifier: GPL-2.0-only
//! Whether a run passed, decided from its console log, how QEMU ended, and what the catalogue expects.
//!
//! Pure: no file, process or clock is touched here.

use std::fmt;

use regex::Regex;

use crate::console::{self, GuestResult, Reading};

/// QEMU's exit status when the test guest ended the machine itself: `isa-debug-exit` turns the value
/// 0x10 written to its port into `(0x10 << 1) | 1`.
pub const GUEST_ENDED: i32 = 33;

/// How a QEMU process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By a signal that the runner did not send.
    Signalled(i32),
    /// Killed by the runner at the end of the run's time.
    TimedOut,
    /// Killed by the runner because the console had shown all that was waited for.
    Satisfied,
    /// Killed by the runner because Xen had panicked and only waited for its reboot.
    AfterCrash,
    /// Killed by the runner because the console would not stop talking.
    Flooded,
    /// Killed by the runner because a person asked it to stop.
    Interrupted,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "QEMU exited with status {status}"),
            Self::Signalled(signal) => write!(f, "QEMU died of signal {signal}"),
            Self::TimedOut => f.write_str("time-out"),
            Self::Satisfied => f.write_str("stopped after the expected lines"),
            Self::AfterCrash => f.write_str("stopped after Xen went down"),
            Self::Flooded => f.write_str("stopped because the console was flooded"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Whose word decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// The test guest's result line.
    Guest { expects: GuestResult },
    /// The required lines of the console alone: there is no guest, or it is not expected to live.
    Console,
}

/// What the catalogue expects of one run.
#[derive(Clone, Debug)]
pub struct Expectations {
    pub judge: Judge,
    pub must: Vec<Regex>,
    pub must_not: Vec<Regex>,
}

/// The kind of outcome, as reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Success,
    /// The test found that it cannot run here.
    Skip,
    /// The test is broken.
    Error,
    /// The subject of the test is broken.
    Failure,
    /// The time ran out.
    Timeout,
    /// Xen or the guest went down, or QEMU ended with no result line.
    Crash,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::Skip => "SKIP",
            Self::Error => "ERROR",
            Self::Failure => "FAILURE",
            Self::Timeout => "TIMEOUT",
            Self::Crash => "CRASH",
        }
    }
}

impl From<GuestResult> for Verdict {
    fn from(result: GuestResult) -> Self {
        match result {
            GuestResult::Success => Self::Success,
            GuestResult::Skip => Self::Skip,
            GuestResult::Error => Self::Error,
            GuestResult::Failure => Self::Failure,
        }
    }
}

/// How a run counts in the totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    Passed,
    Failed,
    /// Skipped where the catalogue says it would.
    Skipped,
}

/// The decision about one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub tally: Tally,
    /// Why, one line a cause; empty on an unremarkable success.
    pub reasons: Vec<String>,
}

/// Decide about a run.
pub fn judge(expected: &Expectations, log: &str, ending: Ending) -> Judgement {
    let (verdict, mut reasons) = match expected.judge {
        Judge::Guest { .. } => guest_verdict(&console::read(log), ending),
        Judge::Console => console_verdict(&expected.must, log, ending),
    };
    let mut broken = broken_expectations(expected, log);
    if let Judge::Guest { expects } = expected.judge
        && verdict == Verdict::Success
        && expects != GuestResult::Success
    {
        broken.push(format!(
            "the catalogue expects {expects} here: bring lab.toml up to date"
        ));
    }
    // A guest that calls a run a success does not outrank what the console shows.
    let verdict = if verdict == Verdict::Success && !broken.is_empty() {
        Verdict::Failure
    } else {
        verdict
    };
    let tally = match (expected.judge, verdict) {
        (
            Judge::Guest {
                expects: GuestResult::Skip,
            },
            Verdict::Skip,
        ) if broken.is_empty() => Tally::Skipped,
        (_, Verdict::Success) => Tally::Passed,
        _ => Tally::Failed,
    };
    reasons.extend(broken);
    reasons.dedup();
    Judgement {
        verdict,
        tally,
        reasons,
    }
}

/// What the guest's result line and QEMU's end say together.
fn guest_verdict(reading: &Reading, ending: Ending) -> (Verdict, Vec<String>) {
    if let Some(crash) = &reading.xen_crash {
        return (Verdict::Crash, vec![crash.clone()]);
    }
    if let Some(panic) = &reading.guest_panic {
        return (Verdict::Crash, vec![format!("the guest: {panic}")]);
    }
    let Some(result) = reading.result else {
        return match ending {
            Ending::TimedOut => (Verdict::Timeout, vec!["no result line in time".to_owned()]),
            _ => (Verdict::Crash, vec![format!("no result line; {ending}")]),
        };
    };
    let reasons: Vec<String> = reading.reason.clone().into_iter().collect();
    match (result, ending) {
        (_, Ending::Exited(GUEST_ENDED)) => (result.into(), reasons),
        (GuestResult::Success, Ending::TimedOut) => (
            Verdict::Timeout,
            vec!["hung after reporting SUCCESS".to_owned()],
        ),
        (GuestResult::Success, _) => (
            Verdict::Crash,
            vec![format!(
                "{ending} after SUCCESS, expected status {GUEST_ENDED}"
            )],
        ),
        // A guest may end the machine with another status for another result.
        (_, Ending::Exited(_)) => (result.into(), reasons),
        // The guest's own complaint is worth more than how the machine ended.
        (_, _) => (
            result.into(),
            reasons.into_iter().chain([ending.to_string()]).collect(),
        ),
    }
}

/// What a run without a guest's word amounts to.
fn console_verdict(must: &[Regex], log: &str, ending: Ending) -> (Verdict, Vec<String>) {
    if all_seen(must, log) {
        return (Verdict::Success, Vec::new());
    }
    let crash = console::read(log).xen_crash;
    match (ending, crash) {
        (Ending::TimedOut, None) => (
            Verdict::Timeout,
            vec!["the expected lines did not come in time".to_owned()],
        ),
        (_, Some(crash)) => (Verdict::Crash, vec![crash]),
        (_, None) => (Verdict::Failure, vec![ending.to_string()]),
    }
}

/// Whether the console shows every required line.
pub fn all_seen(must: &[Regex], log: &str) -> bool {
    must.iter()
        .all(|pattern| log.lines().any(|line| pattern.is_match(line)))
}

/// The log expectations that were not met, in words.
fn broken_expectations(expected: &Expectations, log: &str) -> Vec<String> {
    let absent = expected
        .must
        .iter()
        .filter(|pattern| !log.lines().any(|line| pattern.is_match(line)))
        .map(|pattern| format!("console never shows /{pattern}/"));
    let present = expected.must_not.iter().filter_map(|pattern| {
        let line = log.lines().find(|line| pattern.is_match(line))?;
        Some(format!("console shows /{pattern}/: {}", line.trim()))
    });
    absent.chain(present).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Ending = Ending::Exited(GUEST_ENDED);

    fn patterns(of: &[&str]) -> Vec<Regex> {
        of.iter().map(|p| Regex::new(p).unwrap()).collect()
    }

    fn guest(must: &[&str], must_not: &[&str]) -> Expectations {
        Expectations {
            judge: Judge::Guest {
                expects: GuestResult::Success,
            },
            must: patterns(must),
            must_not: patterns(must_not),
        }
    }

    fn console(must: &[&str], must_not: &[&str]) -> Expectations {
        Expectations {
            judge: Judge::Console,
            must: patterns(must),
            must_not: patterns(must_not),
        }
    }

    fn outcome(expected: &Expectations, log: &str, ending: Ending) -> (Verdict, Tally) {
        let judgement = judge(expected, log, ending);
        (judgement.verdict, judgement.tally)
    }

    #[test]
    fn success_needs_the_line_and_the_status() {
        let plain = guest(&[], &[]);
        assert_eq!(
            outcome(&plain, "Test result: SUCCESS", DONE),
            (Verdict::Success, Tally::Passed)
        );
        assert_eq!(
            outcome(&plain, "Test result: SUCCESS", Ending::Exited(0)),
            (Verdict::Crash, Tally::Failed)
        );
        assert_eq!(
            outcome(&plain, "Test result: SUCCESS", Ending::Exited(35)),
            (Verdict::Crash, Tally::Failed)
        );
        assert_eq!(
            outcome(&plain, "Test result: SUCCESS", Ending::Signalled(11)),
            (Verdict::Crash, Tally::Failed)
        );
        assert_eq!(
            outcome(&plain, "Test result: SUCCESS", Ending::TimedOut),
            (Verdict::Timeout, Tally::Failed)
        );
        assert_eq!(outcome(&plain, "", DONE), (Verdict::Crash, Tally::Failed));
    }

    #[test]
    fn what_the_guest_says_is_kept_apart() {
        let plain = guest(&[], &[]);
        assert_eq!(
            outcome(&plain, "Test result: ERROR", DONE),
            (Verdict::Error, Tally::Failed)
        );
        assert_eq!(
            outcome(&plain, "Test result: FAILURE", DONE),
            (Verdict::Failure, Tally::Failed)
        );
        assert_eq!(
            outcome(&plain, "Test result: FAILURE", Ending::TimedOut),
            (Verdict::Failure, Tally::Failed)
        );
        assert_eq!(
            outcome(&plain, "nothing", Ending::TimedOut),
            (Verdict::Timeout, Tally::Failed)
        );
    }

    #[test]
    fn a_skip_fails_unless_it_is_expected() {
        let log = "Skip: no service\nTest result: SKIP";
        let unexpected = judge(&guest(&[], &[]), log, DONE);
        assert_eq!(
            (unexpected.verdict, unexpected.tally),
            (Verdict::Skip, Tally::Failed)
        );
        assert_eq!(unexpected.reasons, ["Skip: no service"]);

        let mut expected = guest(&[], &["Xen BUG"]);
        expected.judge = Judge::Guest {
            expects: GuestResult::Skip,
        };
        assert_eq!(
            outcome(&expected, log, DONE),
            (Verdict::Skip, Tally::Skipped)
        );
        assert_eq!(
            outcome(&expected, &format!("{log}\nXen BUG"), DONE),
            (Verdict::Skip, Tally::Failed)
        );
        assert_eq!(
            outcome(&expected, "Test result: SUCCESS", DONE),
            (Verdict::Failure, Tally::Failed)
        );
    }

    #[test]
    fn a_panic_outranks_the_result_line() {
        let log = "Test result: SUCCESS\n(XEN) Panic on CPU 0:\n(XEN) GENERAL PROTECTION FAULT\n";
        let judgement = judge(&guest(&[], &[]), log, DONE);
        assert_eq!(
            (judgement.verdict, judgement.tally),
            (Verdict::Crash, Tally::Failed)
        );
        assert_eq!(
            judgement.reasons,
            ["Panic on CPU 0: GENERAL PROTECTION FAULT"]
        );
        assert_eq!(
            outcome(&guest(&[], &[]), "PANIC: trap 13\n", Ending::TimedOut),
            (Verdict::Crash, Tally::Failed)
        );
    }

    #[test]
    fn log_expectations_bind_a_successful_guest() {
        let fault = r"\[VT-D\]DMAR:\[DMA (Read|Write)\] Request device";
        let with_fault = "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:00:03.0] fault addr 1000\nTest result: SUCCESS";
        let without = "Test result: SUCCESS";
        assert_eq!(
            outcome(&guest(&[fault], &[]), with_fault, DONE),
            (Verdict::Success, Tally::Passed)
        );
        assert_eq!(
            outcome(&guest(&[fault], &[]), without, DONE),
            (Verdict::Failure, Tally::Failed)
        );
        assert_eq!(
            outcome(&guest(&[], &[fault]), with_fault, DONE),
            (Verdict::Failure, Tally::Failed)
        );
        assert_eq!(
            outcome(&guest(&[], &[fault]), without, DONE),
            (Verdict::Success, Tally::Passed)
        );
    }

    #[test]
    fn a_broken_expectation_is_told_in_words() {
        let judgement = judge(
            &guest(&["wanted"], &["un.*ted"]),
            "an unwelcome\nan unexpected line \nTest result: SUCCESS",
            DONE,
        );
        assert_eq!(
            judgement.reasons,
            [
                "console never shows /wanted/",
                "console shows /un.*ted/: an unexpected line"
            ]
        );
    }

    #[test]
    fn a_pattern_sees_one_line_at_a_time() {
        assert!(!all_seen(&patterns(&[r"first\s+second"]), "first\nsecond"));
        assert!(all_seen(&patterns(&["^second$"]), "first\nsecond"));
        assert!(!all_seen(&patterns(&["first", "third"]), "first\nsecond"));
    }

    #[test]
    fn the_console_alone_can_decide() {
        let banner = console(&[r"Xen version 4\.20", "Rust"], &["Xen BUG"]);
        let good = "(XEN) Xen version 4.20.3\n(XEN) grants by Rust\n";
        assert_eq!(
            outcome(&banner, good, Ending::Satisfied),
            (Verdict::Success, Tally::Passed)
        );
        assert_eq!(
            outcome(&banner, good, Ending::Exited(0)),
            (Verdict::Success, Tally::Passed)
        );
        assert_eq!(
            outcome(
                &banner,
                &format!("{good}(XEN) Xen BUG at x.c:1\n"),
                Ending::Satisfied
            ),
            (Verdict::Failure, Tally::Failed)
        );
        let stock = "(XEN) Xen version 4.20.3\n";
        assert_eq!(
            outcome(&banner, stock, Ending::TimedOut),
            (Verdict::Timeout, Tally::Failed)
        );
        assert_eq!(
            outcome(&banner, stock, Ending::Exited(0)),
            (Verdict::Failure, Tally::Failed)
        );
        assert_eq!(
            outcome(
                &banner,
                &format!("{stock}(XEN) Panic on CPU 0:\n"),
                Ending::TimedOut
            ),
            (Verdict::Crash, Tally::Failed)
        );
    }

    #[test]
    fn an_expected_panic_is_a_success() {
        let panic = console(
            &["grant-dma: panic.*panic test", "Panic on CPU"],
            &["Xen BUG"],
        );
        let log = "(XEN) grant-dma: panic at hv/src/lib.rs:7: panic test\n(XEN) Panic on CPU 0:\n(XEN) rust\n";
        assert_eq!(
            outcome(&panic, log, Ending::AfterCrash),
            (Verdict::Success, Tally::Passed)
        );
        let other = "(XEN) Panic on CPU 0:\n(XEN) something else\n";
        assert_eq!(
            outcome(&panic, other, Ending::AfterCrash),
            (Verdict::Crash, Tally::Failed)
        );
    }

    #[test]
    fn a_guest_result_does_not_pass_a_console_test() {
        assert_eq!(
            outcome(&console(&["x"], &[]), "Test result: SUCCESS", DONE),
            (Verdict::Failure, Tally::Failed)
        );
    }
}
