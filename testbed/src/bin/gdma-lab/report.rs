// SPDX-License-Identifier: GPL-2.0-only
//! Telling results: a line a run for people, JUnit XML for machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::catalogue::Run;
use crate::console;
use crate::counting::{self, Counted};
use crate::verdict::{Judgement, Tally, Verdict};

/// Console lines given with a failure in the XML.
const TAIL_LINES: usize = 40;

pub const GOOD: Style = AnsiColor::Green.on_default().bold();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();
pub const QUIET: Style = Style::new().dimmed();
pub const LOUD: Style = Style::new().bold();

/// One run and what came of it.
#[derive(Debug)]
pub struct Outcome {
    pub run: Run,
    pub judgement: Judgement,
    pub elapsed: Duration,
    pub log: PathBuf,
    pub console: String,
    pub complaints: String,
    /// What was counted of its phases, if it has any.
    pub counts: Vec<Counted>,
}

/// How many runs ended which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Totals {
    pub fn of<'a>(judgements: impl IntoIterator<Item = &'a Judgement>) -> Self {
        let mut totals = Self::default();
        for judgement in judgements {
            match judgement.tally {
                Tally::Passed => totals.passed += 1,
                Tally::Failed => totals.failed += 1,
                Tally::Skipped => totals.skipped += 1,
            }
        }
        totals
    }

    /// Nothing failed, and something was really tested.
    pub fn are_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    pub fn line(self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// The colour of a judgement.
pub fn style_of(judgement: &Judgement) -> Style {
    match (judgement.tally, judgement.verdict) {
        (Tally::Passed, _) => GOOD,
        (Tally::Skipped, _) => DOUBTFUL,
        (Tally::Failed, _) => BAD,
    }
}

/// Print an outcome's line, and its reasons beneath.
pub fn print_line(outcome: &Outcome, name_width: usize, config_width: usize) {
    let style = style_of(&outcome.judgement);
    anstream::println!(
        "{:name_width$}  {:config_width$}  {style}{:7}{style:#}  {:6.1} s  {}",
        outcome.run.test,
        outcome.run.config,
        outcome.judgement.verdict.name(),
        outcome.elapsed.as_secs_f64(),
        outcome.log.display(),
    );
    if !outcome.counts.is_empty() {
        anstream::println!("{}", counting::table(&outcome.counts));
    }
    for reason in &outcome.judgement.reasons {
        anstream::println!("    {QUIET}{reason}{QUIET:#}");
    }
    if outcome.judgement.tally == Tally::Failed {
        for complaint in outcome.complaints.lines().take(3) {
            anstream::println!("    {QUIET}QEMU: {complaint}{QUIET:#}");
        }
    }
}

/// Write the outcomes as JUnit XML.
pub fn write_junit(outcomes: &[Outcome], path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let xml = junit(outcomes)
        .to_string()
        .context("cannot form the JUnit report")?;
    fs::write(path, xml).with_context(|| format!("cannot write {}", path.display()))
}

fn junit(outcomes: &[Outcome]) -> Report {
    let mut report = Report::new("gdma-lab");
    let mut suite = TestSuite::new("gdma-lab");
    suite.add_test_cases(outcomes.iter().map(test_case));
    report.add_test_suite(suite);
    report
}

fn test_case(outcome: &Outcome) -> TestCase {
    let judgement = &outcome.judgement;
    let mut status = match (judgement.tally, judgement.verdict) {
        (Tally::Passed, _) => TestCaseStatus::success(),
        (Tally::Skipped, _) => TestCaseStatus::skipped(),
        (Tally::Failed, Verdict::Failure | Verdict::Skip) => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
        (Tally::Failed, _) => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if judgement.tally != Tally::Passed {
        status.set_message(judgement.reasons.join("; "));
    }
    if judgement.tally == Tally::Failed {
        let tail = console::tail(&outcome.console, TAIL_LINES);
        status.set_type(judgement.verdict.name());
        status.set_description(format!(
            "{}\n{tail}\n{}",
            outcome.log.display(),
            outcome.complaints
        ));
    }
    let mut case = TestCase::new(&*outcome.run.config, status);
    case.set_classname(&*outcome.run.test)
        .set_time(outcome.elapsed);
    if !outcome.counts.is_empty() {
        case.set_system_out(counting::lines(&outcome.counts));
    }
    case
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn judgement(verdict: Verdict, tally: Tally) -> Judgement {
        Judgement {
            verdict,
            tally,
            reasons: vec!["because".into()],
        }
    }

    fn outcome(verdict: Verdict, tally: Tally) -> Outcome {
        let catalogue = Catalogue::parse(include_str!("../../../lab.toml")).unwrap();
        Outcome {
            run: catalogue.runs[0].clone(),
            judgement: judgement(verdict, tally),
            elapsed: Duration::from_millis(1500),
            log: "build/logs/x.log".into(),
            console: (0..100)
                .map(|n| format!("line-{n}\n"))
                .chain(["a \u{1b}[2J<&>\u{0}".into()])
                .collect(),
            complaints: String::new(),
            counts: Vec::new(),
        }
    }

    #[test]
    fn totals_count_each_way_once() {
        let judgements = [
            judgement(Verdict::Success, Tally::Passed),
            judgement(Verdict::Skip, Tally::Skipped),
            judgement(Verdict::Skip, Tally::Failed),
            judgement(Verdict::Crash, Tally::Failed),
        ];
        assert_eq!(
            Totals::of(&judgements).line(),
            "1 passed, 2 failed, 1 skipped"
        );
    }

    #[test]
    fn nothing_tested_is_not_good() {
        let totals = |passed, failed, skipped| Totals {
            passed,
            failed,
            skipped,
        };
        assert!(!totals(0, 0, 0).are_good());
        assert!(!totals(0, 0, 3).are_good());
        assert!(!totals(5, 1, 0).are_good());
        assert!(totals(1, 0, 3).are_good());
    }

    #[test]
    fn the_xml_tells_failures_from_broken_tests() {
        let xml = |verdict, tally| junit(&[outcome(verdict, tally)]).to_string().unwrap();
        let passed = xml(Verdict::Success, Tally::Passed);
        assert!(
            passed.contains(r#"tests="1""#)
                && passed.contains(r#"failures="0""#)
                && passed.contains(r#"errors="0""#)
        );
        assert!(!passed.contains("line-99"));
        let failed = xml(Verdict::Failure, Tally::Failed);
        assert!(
            failed.contains(r#"<failure message="because" type="FAILURE">"#),
            "{failed}"
        );
        assert!(failed.contains("line-99") && !failed.contains("line-50"));
        assert!(
            xml(Verdict::Timeout, Tally::Failed)
                .contains(r#"<error message="because" type="TIMEOUT">"#)
        );
        assert!(xml(Verdict::Skip, Tally::Skipped).contains(r#"<skipped message="because""#));
    }

    #[test]
    fn console_bytes_that_xml_forbids_are_left_out() {
        let xml = junit(&[outcome(Verdict::Failure, Tally::Failed)])
            .to_string()
            .unwrap();
        assert!(xml.contains("&lt;&amp;&gt;"));
        assert!(!xml.contains('\u{0}') && !xml.contains('\u{1b}'));
    }
}
