// SPDX-License-Identifier: GPL-2.0-only
//! What the guests of the lab tell on the console. Pure.
//!
//! `testbed/linux-lab/lab-say.sh` describes the lines.

use std::time::Duration;

use crate::console::{self, Speaker};

/// One line that is for the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Phase { limit: Duration, what: String },
    Check { name: String, state: State },
    Fact { name: String, value: String },
    Done,
}

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    Failed(String),
    /// It was not told.
    Missing,
}

impl Told {
    /// Read a console line; `None` if it is not for the runner.
    ///
    /// A line that looks as if it were and makes no sense is none: the check that it should have been
    /// is then missing, which is a failure.
    pub fn parse(line: &str) -> Option<Self> {
        let (speaker, text) = console::attribute(line);
        if speaker != Speaker::TestGuest {
            return None;
        }
        let (kind, rest) = text
            .strip_prefix("LAB ")?
            .split_once(' ')
            .unwrap_or((text, ""));
        match kind {
            "PHASE" => phase(rest),
            "CHECK" => check(rest),
            "FACT" => fact(rest),
            _ if text.starts_with("LAB DONE") => Some(Self::Done),
            _ => None,
        }
    }
}

fn phase(rest: &str) -> Option<Told> {
    let (seconds, what) = rest.split_once(' ')?;
    Some(Told::Phase {
        limit: Duration::from_secs(seconds.parse().ok()?),
        what: what.to_owned(),
    })
}

fn check(rest: &str) -> Option<Told> {
    let (name, outcome) = rest.split_once(' ')?;
    let state = match outcome.split_once(':') {
        None if outcome == "ok" => State::Ok,
        Some(("failed", why)) => State::Failed(why.trim().to_owned()),
        _ => return None,
    };
    Some(Told::Check {
        name: name.to_owned(),
        state,
    })
}

fn fact(rest: &str) -> Option<Told> {
    let (name, value) = rest.split_once('=')?;
    Some(Told::Fact {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, state: State) -> Option<Told> {
        Some(Told::Check {
            name: name.into(),
            state,
        })
    }

    #[test]
    fn each_kind_of_line_is_read() {
        assert_eq!(
            Told::parse("LAB PHASE 60 dom0 finds its disk"),
            Some(Told::Phase {
                limit: Duration::from_secs(60),
                what: "dom0 finds its disk".into()
            })
        );
        assert_eq!(
            Told::parse("LAB CHECK pv/create ok\r"),
            checked("pv/create", State::Ok)
        );
        assert_eq!(
            Told::parse("(d0) LAB CHECK pv/create failed: status 1: no memory"),
            checked("pv/create", State::Failed("status 1: no memory".into()))
        );
        assert_eq!(
            Told::parse("LAB FACT sum=a=b"),
            Some(Told::Fact {
                name: "sum".into(),
                value: "a=b".into()
            })
        );
        assert_eq!(Told::parse("LAB DONE"), Some(Told::Done));
        assert_eq!(Told::parse("LAB DONE without a disk"), Some(Told::Done));
    }

    #[test]
    fn only_dom0_speaks_to_the_runner() {
        for line in [
            "(XEN) LAB CHECK x ok",
            "(d1) LAB CHECK x ok",
            "pv: LAB CHECK x ok",
            "[    1.5] LABEL",
        ] {
            assert_eq!(Told::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_spoilt_line_is_no_success() {
        for line in [
            "LAB CHECK x",
            "LAB CHECK x okay",
            "LAB CHECK x ok [    9.1] a kernel's words",
            "LAB CHECK x ok: but",
            "LAB PHASE soon x",
            "LAB",
        ] {
            assert_eq!(Told::parse(line), None, "{line}");
        }
    }
}
