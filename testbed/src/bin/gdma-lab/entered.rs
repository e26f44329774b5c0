// SPDX-License-Identifier: GPL-2.0-only
//! Runs of which it is stated whether some functions of Xen run within a hypercall.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Deserialize;

use crate::attribution::{Calls, Symbols, attribute};
use crate::catalogue::Run;
use crate::plugin;
use crate::process::StopWish;
use crate::report::Outcome;
use crate::suite;
use crate::verdict::{Tally, Verdict};

/// What the catalogue states.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Entered {
    /// The hypercall's function.
    within: String,
    of: Vec<String>,
    /// True: each of them runs; false: none does.
    seen: bool,
}

impl Entered {
    /// What is not as stated, in words.
    fn complaints(&self, all: &[Calls], symbols: &Symbols) -> Vec<String> {
        let calls: u64 = all.iter().map(|calls| calls.calls).sum();
        if calls == 0 {
            return vec![format!("no call of {} was seen", self.within)];
        }
        let shares = attribute(all, symbols);
        let entered = |function: &&String| {
            let share = shares.iter().find(|share| share.function == **function);
            share.map_or(0, |share| share.entered)
        };
        self.of
            .iter()
            .filter(|function| (entered(function) > 0) != self.seen)
            .map(|function| {
                let times = entered(&function);
                format!(
                    "{function} ran {times} times in {calls} calls of {}",
                    self.within
                )
            })
            .collect()
    }
}

/// Boot the run under the plugin and judge it; `None` if it was interrupted.
pub fn execute(
    root: &Path,
    run: &Run,
    stated: &Entered,
    stop: &StopWish,
    on_line: &mut dyn FnMut(&str),
) -> Result<Option<Outcome>> {
    plugin::build(root)?;
    let symbols = plugin::symbols(root, &run.machine)?;
    for function in &stated.of {
        // One that was renamed would never run.
        plugin::address_of(&symbols, function)?;
    }
    let entry = plugin::address_of(&symbols, &stated.within)?;
    let counts = PathBuf::from(format!("build/logs/{}.counts", run.file_stem()));
    let machine = run
        .machine
        .with_qemu_args(&plugin::qemu_args(entry, &counts));
    let Some(mut outcome) = suite::execute_on(root, run, &machine, stop, on_line)? else {
        return Ok(None);
    };
    if outcome.judgement.tally == Tally::Passed {
        let complaints = stated.complaints(&plugin::read(&root.join(counts))?, &symbols);
        if !complaints.is_empty() {
            outcome.judgement.tally = Tally::Failed;
            outcome.judgement.verdict = Verdict::Failure;
            outcome.judgement.reasons = complaints;
        }
    }
    Ok(Some(outcome))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::Symbol;

    fn complaints(seen: bool, text: &str) -> Vec<String> {
        let symbol = |(address, name): (u64, &str)| Symbol {
            address,
            name: name.to_owned(),
        };
        let symbols = Symbols::new([(0x100, "call"), (0x200, "flush")].map(symbol));
        let stated = Entered {
            within: "call".into(),
            of: vec!["flush".into()],
            seen,
        };
        stated.complaints(&Calls::parse(text).unwrap(), &symbols)
    }

    const WITHOUT: &str = "CALLS 5 1 4\nBLOCK 100 9 4\nBLOCK 210 1 4\n";
    const WITH: &str = "CALLS 5 1 4\nBLOCK 100 9 4\nCALLS 6 1 1\nBLOCK 200 9 3\n";

    #[test]
    fn a_function_counts_when_it_is_entered_at_its_beginning() {
        assert!(complaints(false, WITHOUT).is_empty());
        assert!(complaints(true, WITH).is_empty());
    }

    #[test]
    fn what_is_not_as_stated_is_told_with_its_number() {
        assert_eq!(
            complaints(false, WITH),
            ["flush ran 3 times in 5 calls of call"]
        );
        assert_eq!(
            complaints(true, WITHOUT),
            ["flush ran 0 times in 4 calls of call"]
        );
    }

    #[test]
    fn without_a_call_nothing_is_shown() {
        assert_eq!(complaints(false, ""), ["no call of call was seen"]);
    }
}
