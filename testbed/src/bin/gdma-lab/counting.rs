// SPDX-License-Identifier: GPL-2.0-only
//! Runs whose guest does its work in phases, and the IOTLB invalidations that each phase costs.
//!
//! The guest is booted once with `phases=none` and once for each phase. What a phase costs is the
//! difference, which has to be exactly what the catalogue states: a start of QEMU, Xen and the guest has
//! invalidations of its own, as many in every boot.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use crate::catalogue::Run;
use crate::console::{self, Speaker};
use crate::process::StopWish;
use crate::report::Outcome;
use crate::suite;
use crate::trace::{self, Invalidations};
use crate::verdict::{Tally, Verdict};

/// The boot to which phases are compared.
const NO_PHASE: &str = "none";

/// A phase of a guest, and what it has to cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// As the guest's `phases=` takes it.
    pub name: String,
    pub invalidations: u64,
}

/// What was counted of one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub phase: Phase,
    /// Of the boot with the phase, from power-on to end.
    pub total: u64,
    /// Of the boot without any.
    pub baseline: u64,
}

impl Counted {
    /// What the phase added; below 0 if the measurement is broken.
    fn added(&self) -> i128 {
        i128::from(self.total) - i128::from(self.baseline)
    }

    fn is_as_stated(&self) -> bool {
        self.added() == i128::from(self.phase.invalidations)
    }

    /// In words, unless it is what the catalogue states.
    fn complaint(&self) -> Option<String> {
        (!self.is_as_stated()).then(|| self.to_string())
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "phase {}: {} IOTLB invalidations ({} less {} without the phase), stated {}",
            self.phase.name,
            self.added(),
            self.total,
            self.baseline,
            self.phase.invalidations
        )
    }
}

/// The counts for people.
pub fn table(counts: &[Counted]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["phase", "IOTLB invalidations", "stated", ""]);
    for counted in counts {
        table.add_row([
            counted.phase.name.clone(),
            counted.added().to_string(),
            counted.phase.invalidations.to_string(),
            if counted.is_as_stated() { "" } else { "WRONG" }.to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The counts for machines, a line a phase.
pub fn lines(counts: &[Counted]) -> String {
    counts
        .iter()
        .map(|counted| format!("{counted}\n"))
        .collect()
}

/// Boot the run without a phase and once for each; `None` if it was interrupted. A boot that fails by
/// itself ends it, and is the outcome.
pub fn execute(
    root: &Path,
    run: &Run,
    stop: &StopWish,
    on_line: &mut dyn FnMut(&str),
) -> Result<Option<Outcome>> {
    let Some((mut outcome, baseline)) = boot(root, run, NO_PHASE, stop, on_line)? else {
        return Ok(None);
    };
    for phase in &run.phases {
        if outcome.judgement.tally != Tally::Passed {
            break;
        }
        let Some((of_phase, total)) = boot(root, run, &phase.name, stop, on_line)? else {
            return Ok(None);
        };
        let elapsed = outcome.elapsed + of_phase.elapsed;
        let mut counts = std::mem::take(&mut outcome.counts);
        if of_phase.judgement.tally == Tally::Passed {
            counts.push(Counted {
                phase: phase.clone(),
                total,
                baseline,
            });
        }
        outcome = Outcome {
            counts,
            elapsed,
            ..of_phase
        };
    }
    Ok(Some(judged(run, outcome)))
}

/// The outcome of all the boots, by what was counted.
fn judged(run: &Run, mut outcome: Outcome) -> Outcome {
    outcome.run = run.clone();
    let judgement = &mut outcome.judgement;
    if judgement.tally == Tally::Passed {
        judgement.reasons = outcome
            .counts
            .iter()
            .filter_map(Counted::complaint)
            .collect();
        if !judgement.reasons.is_empty() {
            judgement.tally = Tally::Failed;
            judgement.verdict = Verdict::Failure;
        }
    }
    outcome
}

/// Boot with one phase and count its invalidations.
fn boot(
    root: &Path,
    run: &Run,
    phase: &str,
    stop: &StopWish,
    on_line: &mut dyn FnMut(&str),
) -> Result<Option<(Outcome, u64)>> {
    let named = Run {
        config: format!("{}-{phase}", run.config),
        ..run.clone()
    };
    let trace = PathBuf::from(format!("build/logs/{}.trace", named.file_stem()));
    std::fs::create_dir_all(root.join("build/logs"))?;
    let machine = run
        .machine
        .with_more_guest_args(&format!("phases={phase}"))
        .with_qemu_args(&trace::qemu_args(&trace.display().to_string()));
    let Some(mut outcome) = suite::execute_on(root, &named, &machine, stop, on_line)? else {
        return Ok(None);
    };
    if outcome.judgement.tally == Tally::Passed && !did(phase, &outcome.console) {
        outcome.judgement.tally = Tally::Failed;
        outcome.judgement.verdict = Verdict::Error;
        outcome
            .judgement
            .reasons
            .push(format!("the guest has done other phases than {phase}"));
    }
    let counted = Invalidations::read(&root.join(trace)).context("no count")?;
    Ok(Some((outcome, counted.total())))
}

/// Whether the guest has done this phase to its end and no other: it would ignore a name that it does
/// not know, and nothing would be counted.
fn did(phase: &str, console: &str) -> bool {
    let ended: Vec<&str> = console
        .lines()
        .filter_map(|line| match console::attribute(line) {
            (Speaker::TestGuest, text) => text.strip_prefix("PHASE end "),
            _ => None,
        })
        .collect();
    match phase {
        NO_PHASE => ended.is_empty(),
        phase => ended == [phase],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::verdict::Judgement;
    use std::time::Duration;

    fn counted(total: u64, baseline: u64, stated: u64) -> Counted {
        Counted {
            phase: Phase {
                name: "work".into(),
                invalidations: stated,
            },
            total,
            baseline,
        }
    }

    fn verdict_of(counts: Vec<Counted>) -> (Verdict, Tally, Vec<String>) {
        let catalogue = Catalogue::parse(include_str!("../../../lab.toml")).unwrap();
        let run = catalogue.runs[0].clone();
        let outcome = Outcome {
            run: run.clone(),
            judgement: Judgement {
                verdict: Verdict::Success,
                tally: Tally::Passed,
                reasons: Vec::new(),
            },
            elapsed: Duration::ZERO,
            log: PathBuf::new(),
            console: String::new(),
            complaints: String::new(),
            counts,
        };
        let judgement = judged(&run, outcome).judgement;
        (judgement.verdict, judgement.tally, judgement.reasons)
    }

    #[test]
    fn exactly_what_is_stated_passes() {
        let good = vec![counted(4, 4, 0), counted(5, 4, 1)];
        let passed = (Verdict::Success, Tally::Passed, Vec::new());
        assert_eq!(verdict_of(good), passed);
    }

    #[test]
    fn more_and_fewer_than_stated_fail_and_say_so() {
        let more = vec![counted(4, 4, 0), counted(516, 4, 1)];
        let (verdict, tally, reasons) = verdict_of(more);
        assert_eq!((verdict, tally), (Verdict::Failure, Tally::Failed));
        assert_eq!(
            reasons,
            ["phase work: 512 IOTLB invalidations (516 less 4 without the phase), stated 1"]
        );
        assert_eq!(verdict_of(vec![counted(4, 4, 1)]).1, Tally::Failed);
    }

    #[test]
    fn fewer_than_without_the_phase_is_no_zero() {
        let broken = counted(3, 4, 0);
        assert_eq!(broken.added(), -1);
        assert!(!broken.is_as_stated());
    }

    #[test]
    fn the_table_marks_what_is_wrong() {
        let text = |counts: &[Counted]| table(counts).to_string();
        assert!(!text(&[counted(5, 4, 1)]).contains("WRONG"));
        assert!(text(&[counted(5, 4, 1), counted(6, 4, 1)]).contains("WRONG"));
    }

    #[test]
    fn a_phase_counts_only_if_the_guest_did_it_alone() {
        let console = "PHASE begin a\n(d1) PHASE end b\n(d0) PHASE end a\n";
        assert!(did("a", console));
        assert!(!did("b", console));
        assert!(!did(NO_PHASE, console));
        assert!(did(NO_PHASE, "Test result: SUCCESS"));
        assert!(!did("a", "PHASE begin a\n"));
        assert!(!did("a", "PHASE end a\nPHASE end b\n"));
    }
}
