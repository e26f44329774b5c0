// SPDX-License-Identifier: GPL-2.0-only
//! What a console log says: who spoke each line, how the guest ended, whether Xen or the guest crashed.
//!
//! Everything here is a pure function of the log's text. Deciding whether that is good news is
//! [`crate::verdict`]'s work.

use std::fmt;

/// What a test guest reported of itself, in rising order of gravity, as XTF ranks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuestResult {
    Success,
    Skip,
    Error,
    Failure,
}

impl GuestResult {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "SUCCESS" => Self::Success,
            "SKIP" => Self::Skip,
            "ERROR" => Self::Error,
            "FAILURE" => Self::Failure,
            _ => return None,
        })
    }

    /// How a line that explains this result begins, by XTF's habit.
    fn reason_openings(self) -> &'static [&'static str] {
        match self {
            Self::Success => &[],
            Self::Skip => &["Skip"],
            Self::Error => &["Error"],
            // `BAD` opens the lines by which this project's steps report a mismatch.
            Self::Failure => &["Fail", "Failure", "BAD"],
        }
    }
}

impl fmt::Display for GuestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "SUCCESS",
            Self::Skip => "SKIP",
            Self::Error => "ERROR",
            Self::Failure => "FAILURE",
        })
    }
}

/// Who printed a console line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Xen,
    /// The first domain, whose lines Xen passes on with no prefix or with `(d0)`.
    TestGuest,
    /// A domain the test guest built.
    Domain(u16),
}

/// All that the verdict needs to know of a console log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The gravest `Test result:` the test guest printed.
    pub result: Option<GuestResult>,
    /// The guest's own words for that result, when it is not a success.
    pub reason: Option<String>,
    /// The line by which Xen announced that it or the first domain went down.
    pub xen_crash: Option<String>,
    /// The line by which the test guest announced a panic or a trap nobody handles.
    pub guest_panic: Option<String>,
}

/// Split a console line into its speaker and its text, less Xen's prefixes and time stamps.
pub fn attribute(line: &str) -> (Speaker, &str) {
    let mut speaker = Speaker::TestGuest;
    let mut text = line.trim_end();
    loop {
        if let Some(rest) = text.strip_prefix("(XEN) ") {
            (speaker, text) = (Speaker::Xen, rest);
        } else if let Some((domain, rest)) = domain_prefix(text) {
            speaker = if domain == 0 {
                Speaker::TestGuest
            } else {
                Speaker::Domain(domain)
            };
            text = rest;
        } else if let Some(rest) = time_stamp(text) {
            text = rest;
        } else {
            return (speaker, text);
        }
    }
}

/// `(d7) rest` or `(d7v0) rest`.
fn domain_prefix(text: &str) -> Option<(u16, &str)> {
    let (inside, rest) = text.strip_prefix("(d")?.split_once(')')?;
    let id = inside.split('v').next()?;
    Some((id.parse().ok()?, rest.strip_prefix(' ').unwrap_or(rest)))
}

/// `[    1.234567] rest`, the form of `console_timestamps=boot`, or, before Xen knows its clock's rate,
/// `[0000000045ba7778] rest`.
fn time_stamp(text: &str) -> Option<&str> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let stamp = inside.trim();
    let seconds = stamp.contains('.') && stamp.chars().all(|c| c.is_ascii_digit() || c == '.');
    let ticks = stamp.len() == 16 && stamp.chars().all(|c| c.is_ascii_hexdigit());
    (seconds || ticks).then(|| rest.strip_prefix(' ').unwrap_or(rest))
}

/// Whether a line means that Xen, or the first domain with it, is going down and nothing more will come.
pub fn is_xen_crash(line: &str) -> bool {
    let (speaker, text) = attribute(line);
    speaker == Speaker::Xen
        && (text.starts_with("Panic on CPU")
            || text.starts_with("Domain 0 crashed")
            || text.starts_with("Hardware Dom0 crashed")
            || text.starts_with("FATAL TRAP")
            || text.starts_with("FATAL PAGE FAULT"))
}

/// Whether Xen has said its last word: it now only waits before a reboot.
pub fn is_last_word(line: &str) -> bool {
    let (speaker, text) = attribute(line);
    speaker == Speaker::Xen
        && (text.starts_with("Reboot in five seconds")
            || text.starts_with("Manual reset required")
            || text.contains("crashed: rebooting machine")
            || text.contains("crashed: 'noreboot' set"))
}

/// XTF opens such a line with `PANIC:`, this project's runtime with the trap's name.
fn is_guest_panic(text: &str) -> bool {
    text.starts_with("PANIC: ") || text.starts_with("Unhandled exception")
}

/// The result a line reports, if it is a test guest's result line.
fn result_line(text: &str) -> Option<GuestResult> {
    let words = text.strip_prefix("Test result: ")?;
    GuestResult::parse(words.strip_suffix(" with warnings").unwrap_or(words))
}

/// Read a whole console log.
pub fn read(console: &str) -> Reading {
    let mut reading = Reading::default();
    let mut guest_lines: Vec<&str> = Vec::new();
    for line in console.lines() {
        if reading.xen_crash.is_none() && is_xen_crash(line) {
            reading.xen_crash = Some(panic_text(console, line));
        }
        let (speaker, text) = attribute(line);
        if speaker != Speaker::TestGuest || text.is_empty() {
            continue;
        }
        if is_guest_panic(text) && reading.guest_panic.is_none() {
            reading.guest_panic = Some(text.to_owned());
        }
        if let Some(result) = result_line(text) {
            if reading.result.is_none_or(|known| result > known) {
                reading.result = Some(result);
                reading.reason = reason_of(result, &guest_lines);
            }
        } else {
            guest_lines.push(text);
        }
    }
    reading
}

/// `Panic on CPU 0:` alone says little: the next line of Xen's carries the message.
fn panic_text(console: &str, announcement: &str) -> String {
    let (_, head) = attribute(announcement);
    let message = console
        .lines()
        .skip_while(|line| *line != announcement)
        .skip(1)
        .map(attribute)
        .find(|(speaker, text)| *speaker == Speaker::Xen && !text.is_empty());
    match message {
        Some((_, text)) if head.starts_with("Panic on CPU") => format!("{head} {text}"),
        _ => head.to_owned(),
    }
}

/// The line that explains a result: the first that opens with its name, or else the last one printed.
fn reason_of(result: GuestResult, guest_lines: &[&str]) -> Option<String> {
    let openings = result.reason_openings();
    if openings.is_empty() {
        return None;
    }
    let named = guest_lines.iter().find(|line| {
        openings.iter().any(|word| {
            line.strip_prefix(word)
                .is_some_and(|rest| rest.starts_with([':', ' ', '.']))
        })
    });
    named.or(guest_lines.last()).map(|line| (*line).to_owned())
}

/// The last `count` lines of a log.
pub fn tail(console: &str, count: usize) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_name_the_speaker() {
        assert_eq!(
            attribute("(XEN) [    0.012345] Xen version 4.20.3"),
            (Speaker::Xen, "Xen version 4.20.3")
        );
        assert_eq!(
            attribute("(XEN) Panic on CPU 0:"),
            (Speaker::Xen, "Panic on CPU 0:")
        );
        assert_eq!(attribute("(d0) hello\r"), (Speaker::TestGuest, "hello"));
        assert_eq!(
            attribute("(d1) [    2.5] from the child"),
            (Speaker::Domain(1), "from the child")
        );
        assert_eq!(attribute("(d12v3) x"), (Speaker::Domain(12), "x"));
        assert_eq!(
            attribute("(XEN) [0000000045ba7778] Panic on CPU 0:"),
            (Speaker::Xen, "Panic on CPU 0:")
        );
        assert_eq!(attribute("plain"), (Speaker::TestGuest, "plain"));
    }

    #[test]
    fn brackets_that_are_no_prefix_stay() {
        assert_eq!(attribute("(dom) x"), (Speaker::TestGuest, "(dom) x"));
        assert_eq!(
            attribute("[VT-D]DMAR: y"),
            (Speaker::TestGuest, "[VT-D]DMAR: y")
        );
        assert_eq!(
            attribute("(XEN) [    1.0] [VT-D]DMAR: y"),
            (Speaker::Xen, "[VT-D]DMAR: y")
        );
        assert_eq!(attribute("[] z"), (Speaker::TestGuest, "[] z"));
        assert_eq!(
            attribute("(XEN)  [000000009f, 000000009f] RW"),
            (Speaker::Xen, " [000000009f, 000000009f] RW")
        );
    }

    #[test]
    fn each_result_is_read() {
        for (word, result) in [
            ("SUCCESS", GuestResult::Success),
            ("SKIP", GuestResult::Skip),
            ("ERROR", GuestResult::Error),
            ("FAILURE", GuestResult::Failure),
        ] {
            assert_eq!(
                read(&format!(
                    "--- Xen Test Framework ---\nTest result: {word}\n"
                ))
                .result,
                Some(result)
            );
        }
        assert_eq!(
            read("Test result: SUCCESS with warnings\n").result,
            Some(GuestResult::Success)
        );
    }

    #[test]
    fn half_a_result_line_is_none() {
        for log in [
            "",
            "Test result: SUCC",
            "Test result: SUCCESSFUL",
            "the Test result: SUCCESS",
            "Test result: ",
        ] {
            assert_eq!(read(log).result, None, "{log:?}");
        }
    }

    #[test]
    fn neither_xen_nor_a_child_domain_speaks_for_the_test() {
        assert_eq!(
            read("(d1) Test result: SUCCESS\n(XEN) Test result: SUCCESS\n").result,
            None
        );
        let both = read("(d1) Test result: FAILURE\nTest result: SUCCESS\n");
        assert_eq!(both.result, Some(GuestResult::Success));
    }

    #[test]
    fn the_gravest_of_two_results_counts() {
        assert_eq!(
            read("Test result: FAILURE\nTest result: SUCCESS\n").result,
            Some(GuestResult::Failure)
        );
        assert_eq!(
            read("Test result: SUCCESS\nTest result: ERROR\n").result,
            Some(GuestResult::Error)
        );
    }

    #[test]
    fn the_reason_is_the_line_that_names_the_result() {
        let skip = read("Test query\nSkip: no service here\nbye\nTest result: SKIP\n");
        assert_eq!(skip.reason.as_deref(), Some("Skip: no service here"));
        let failure = read("Fail: step 3: got -1\nFail: step 4\nTest result: FAILURE\n");
        assert_eq!(failure.reason.as_deref(), Some("Fail: step 3: got -1"));
        let unnamed = read("Failover went wrong\nlast words\n(XEN) noise\nTest result: FAILURE\n");
        assert_eq!(unnamed.reason.as_deref(), Some("last words"));
        assert_eq!(
            read("Fail: not really\nTest result: SUCCESS\n").reason,
            None
        );
    }

    #[test]
    fn a_xen_panic_carries_its_message() {
        let log = "(XEN) [    1.0] \n(XEN) [    1.0] ****************************************\n\
                   (XEN) [    1.0] Panic on CPU 0:\n(XEN) [    1.0] Could not construct domain 0\n";
        assert_eq!(
            read(log).xen_crash.as_deref(),
            Some("Panic on CPU 0: Could not construct domain 0")
        );
        assert_eq!(read("Panic on CPU 0: says a guest\n").xen_crash, None);
    }

    #[test]
    fn a_guest_panic_is_seen() {
        let reading = read("******\nPANIC: Unhandled exception at 0008:fffffffffffffffa\n******\n");
        assert_eq!(
            reading.guest_panic.as_deref(),
            Some("PANIC: Unhandled exception at 0008:fffffffffffffffa")
        );
        assert_eq!(reading.xen_crash, None);
    }

    #[test]
    fn a_guest_trap_is_seen_beside_its_result() {
        let reading = read("Unhandled exception: vector 14, error code 0x2\nTest result: ERROR\n");
        assert_eq!(
            reading.guest_panic.as_deref(),
            Some("Unhandled exception: vector 14, error code 0x2")
        );
    }

    #[test]
    fn last_words_are_xens_only() {
        assert!(is_last_word("(XEN) [    1.0] Reboot in five seconds..."));
        assert!(is_last_word(
            "(XEN) Hardware Dom0 crashed: rebooting machine in 5 seconds."
        ));
        assert!(!is_last_word("Reboot in five seconds..."));
        assert!(!is_last_word("(XEN) Panic on CPU 0:"));
    }

    #[test]
    fn tail_takes_what_there_is() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\n", 5), "a");
        assert_eq!(tail("", 5), "");
    }
}
