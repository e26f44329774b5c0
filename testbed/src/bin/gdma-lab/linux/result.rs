// SPDX-License-Identifier: GPL-2.0-only
//! What came of a lab boot, check by check, and the forms in which it is told. Pure, but for the files
//! that it writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Tables, runners_own};
use super::told::{State, Told};
use crate::verdict::Ending;

/// One boot, ended.
#[derive(Debug)]
pub struct BootResult {
    pub dom0: String,
    /// Every check of the plan in its order, then those that the plan does not know.
    pub checks: Vec<(String, State)>,
    pub facts: Vec<(String, String)>,
    pub elapsed: Duration,
    pub log: String,
}

impl BootResult {
    /// Read a console to its end.
    pub fn of(
        plan: &Plan,
        dom0: &str,
        console: &str,
        ending: Ending,
        elapsed: Duration,
        log: String,
    ) -> Self {
        let mut told: Vec<(String, State)> = Vec::new();
        let mut facts = Vec::new();
        let mut last_phase = "the boot".to_owned();
        for line in console.lines().filter_map(Told::parse) {
            match line {
                Told::Check { name, state } => told.push((name, state)),
                Told::Fact { name, value } if !facts.contains(&(name.clone(), value.clone())) => {
                    facts.push((name, value));
                }
                Told::Phase { what, .. } => last_phase = what,
                Told::Fact { .. } | Told::Done => {}
            }
        }
        told.push((runners_own::ENDS.into(), end_state(ending, &last_phase)));
        told.push((runners_own::CLEAN.into(), clean_state(plan, console)));
        told.push((runners_own::TABLES.into(), tables_state(plan, console)));
        Self {
            dom0: dom0.to_owned(),
            checks: settle(&plan.checks, told),
            facts,
            elapsed,
            log,
        }
    }

    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|(_, state)| *state == State::Ok)
    }
}

fn end_state(ending: Ending, last_phase: &str) -> State {
    match ending {
        Ending::Satisfied => State::Ok,
        other => State::Failed(format!("{other} during: {last_phase}")),
    }
}

fn clean_state(plan: &Plan, console: &str) -> State {
    let is_complaint = |line: &&str| plan.must_not.iter().any(|bad| bad.is_match(line));
    match console.lines().find(is_complaint) {
        None => State::Ok,
        Some(line) => State::Failed(line.to_owned()),
    }
}

fn tables_state(plan: &Plan, console: &str) -> State {
    let in_rust = console.lines().any(|line| plan.in_rust.is_match(line));
    match (plan.tables, in_rust) {
        (Tables::Rust, true) | (Tables::C, false) => State::Ok,
        (Tables::Rust, false) => State::Failed("Xen does not say that they are in Rust".into()),
        (Tables::C, true) => State::Failed("Xen says that they are in Rust".into()),
    }
}

/// Hold what was told against what was to be told.
fn settle(expected: &[String], told: Vec<(String, State)>) -> Vec<(String, State)> {
    let mut settled: Vec<(String, State)> = expected
        .iter()
        .map(|name| (name.clone(), State::Missing))
        .collect();
    for (name, state) in told {
        match settled.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) if *known == State::Missing => *known = state,
            // dom0 says all again at the end, because Xen may have cut a line the first time.
            Some((_, known)) if *known == state => {}
            Some((_, known)) => *known = State::Failed("it was told both ways".into()),
            None => settled.push((name, State::Failed("the plan does not list it".into()))),
        }
    }
    settled
}

/// Checks of a loop share a row: `pv/cycle-3/runs` is `pv/cycle-*/runs`.
fn row_name(check: &str) -> String {
    let part = |part: &str| match part.strip_prefix("cycle-") {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => "cycle-*".to_owned(),
        _ => part.to_owned(),
    };
    check.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// `ok`, `5 ok`, `4 ok, 1 FAILED`, `MISSING`.
fn cell(states: &[&State]) -> String {
    let count = |wanted: fn(&State) -> bool| states.iter().filter(|state| wanted(state)).count();
    let counts = [
        (count(|state| *state == State::Ok), "ok"),
        (count(|state| matches!(state, State::Failed(_))), "FAILED"),
        (count(|state| *state == State::Missing), "MISSING"),
    ];
    let words = counts.iter().filter(|(count, _)| *count > 0);
    let words = words.map(|(count, word)| match states {
        [_] => (*word).to_owned(),
        _ => format!("{count} {word}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A row a check, a column a dom0. Nothing in it depends on the hypervisor or on time, so that the
/// tables of two runs can be compared.
pub fn table(results: &[BootResult]) -> Table {
    let mut rows: Vec<String> = Vec::new();
    for (check, _) in results.iter().flat_map(|result| &result.checks) {
        let row = row_name(check);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let heads = results.iter().map(|result| format!("{} dom0", result.dom0));
    table.set_header(std::iter::once("check".to_owned()).chain(heads));
    for row in rows {
        let cells = results.iter().map(|result| {
            let of_row = |(check, _): &&(String, State)| row_name(check) == row;
            let checks = result.checks.iter().filter(of_row);
            cell(&checks.map(|(_, state)| state).collect::<Vec<_>>())
        });
        table.add_row(std::iter::once(row.clone()).chain(cells));
    }
    table
}

/// A good check in the results file.
const GOOD_WORD: &str = "ok";

/// What the results file holds: the checks by dom0 and name.
#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Published {
    tables: String,
    boots: BTreeMap<String, PublishedBoot>,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
struct PublishedBoot {
    milliseconds: u64,
    checks: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
}

impl Published {
    pub fn of(tables: Tables, results: &[BootResult]) -> Self {
        let word = |state: &State| match state {
            State::Ok => GOOD_WORD.to_owned(),
            State::Failed(why) => format!("failed: {why}"),
            State::Missing => "missing".to_owned(),
        };
        let boot = |result: &BootResult| PublishedBoot {
            milliseconds: u64::try_from(result.elapsed.as_millis()).unwrap_or(u64::MAX),
            checks: result
                .checks
                .iter()
                .map(|(name, state)| (name.clone(), word(state)))
                .collect(),
            facts: result.facts.iter().cloned().collect(),
        };
        Self {
            tables: tables.to_string(),
            boots: results
                .iter()
                .map(|result| (result.dom0.clone(), boot(result)))
                .collect(),
        }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        write_file(path, &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// An earlier run's; `None` if there was none, or of another form.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    /// These, and the earlier ones of each dom0 that was not booted this time.
    pub fn with_boots_of(mut self, earlier: Self) -> Self {
        for (dom0, boot) in earlier.boots {
            self.boots.entry(dom0).or_insert(boot);
        }
        self
    }

    /// What came out otherwise there, as `dom0: row: here; there`.
    ///
    /// By the table's rows: a run of fewer domains is no difference. What only one of the two runs had
    /// to tell is none either: a plan that lost a check fails by itself.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (dom0, boot) in &self.boots {
            let Some(there) = other.boots.get(dom0) else {
                continue;
            };
            let there = there.worst_by_row();
            for (row, ours) in boot.worst_by_row() {
                if let Some(theirs) = there.get(&row)
                    && ours != *theirs
                {
                    differences.push(format!("{dom0} dom0: {row}: {ours}; {theirs}"));
                }
            }
        }
        differences
    }
}

impl PublishedBoot {
    /// Of the checks that share a row, one that is not good if there is any.
    fn worst_by_row(&self) -> BTreeMap<String, &str> {
        let mut rows: BTreeMap<String, &str> = BTreeMap::new();
        for (check, state) in &self.checks {
            let worst = rows.entry(row_name(check)).or_insert(state);
            if *worst == GOOD_WORD {
                *worst = state;
            }
        }
        rows
    }
}

/// Write the results as JUnit XML: a suite a boot, a case a check.
pub fn write_junit(tables: Tables, results: &[BootResult], path: &Path) -> Result<()> {
    let mut report = Report::new("gdma-lab linux");
    for result in results {
        let mut suite = TestSuite::new(format!("{} dom0, {tables} tables", result.dom0));
        suite.add_test_cases(result.checks.iter().map(|(name, state)| {
            let status = match state {
                State::Ok => TestCaseStatus::success(),
                State::Failed(why) => failure(why, &result.log),
                State::Missing => failure("it was not told", &result.log),
            };
            let mut case = TestCase::new(name.as_str(), status);
            case.set_classname(format!("linux-{}-{tables}", result.dom0));
            case
        }));
        suite.set_time(result.elapsed);
        report.add_test_suite(suite);
    }
    let xml = report.to_string().context("cannot form the JUnit report")?;
    write_file(path, &xml)
}

fn failure(why: &str, log: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(why).set_description(log);
    status
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::plan::Options;

    fn plan(tables: Tables) -> Plan {
        plan_of(tables, 2)
    }

    fn plan_of(tables: Tables, cycles: u32) -> Plan {
        let text = include_str!("../../../../linux-lab/plan.toml");
        let cycles = Some(cycles);
        let leak = false;
        Plan::parse(
            text,
            Options {
                tables,
                cycles,
                leak,
            },
        )
        .unwrap()
    }

    /// A console on which all that the guests must tell is told.
    fn good_console(plan: &Plan) -> String {
        let from_guests = |check: &&String| !runners_own::ALL.contains(&check.as_str());
        let checks = plan.checks.iter().filter(from_guests);
        checks
            .map(|check| format!("LAB CHECK {check} ok\n"))
            .collect()
    }

    fn result(plan: &Plan, console: &str, ending: Ending) -> BootResult {
        let elapsed = Duration::from_secs(1);
        BootResult::of(plan, "pv", console, ending, elapsed, "x.log".into())
    }

    fn bad(result: &BootResult) -> Vec<(&str, &State)> {
        let bad = result
            .checks
            .iter()
            .filter(|(_, state)| *state != State::Ok);
        bad.map(|(name, state)| (name.as_str(), state)).collect()
    }

    #[test]
    fn all_told_is_good() {
        let plan = plan(Tables::C);
        let result = result(&plan, &good_console(&plan), Ending::Satisfied);
        assert_eq!(bad(&result), []);
        assert!(result.is_good());
        assert_eq!(result.checks.len(), plan.checks.len());
    }

    #[test]
    fn what_is_not_told_is_missing_whatever_else_is_good() {
        let plan = plan(Tables::C);
        let console = good_console(&plan).replace("LAB CHECK pv/cycle-2/no-zombie ok\n", "");
        let result = result(&plan, &console, Ending::Satisfied);
        assert_eq!(bad(&result), [("pv/cycle-2/no-zombie", &State::Missing)]);
        assert!(!result.is_good());
    }

    #[test]
    fn a_check_told_both_ways_or_unknown_is_a_failure() {
        let plan = plan(Tables::C);
        let console = good_console(&plan) + "LAB CHECK pv/create failed: no\nLAB CHECK pv/new ok\n";
        let result = result(&plan, &console, Ending::Satisfied);
        let names: Vec<&str> = bad(&result).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["pv/create", "pv/new"]);
    }

    #[test]
    fn what_was_cut_the_first_time_counts_the_second() {
        let plan = plan(Tables::C);
        let console = good_console(&plan).replace("CHECK pv/create ok", "CHECK pv/cr(XEN) x")
            + "LAB FACT a=1\nLAB FACT a=1\nLAB CHECK pv/create ok\nLAB CHECK pvh/create ok\n";
        let result = result(&plan, &console, Ending::Satisfied);
        assert_eq!(bad(&result), []);
        assert_eq!(result.facts, [("a".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn a_time_out_names_its_phase() {
        let plan = plan(Tables::C);
        let console = good_console(&plan) + "LAB PHASE 9 a pv domain starts\n";
        let result = result(&plan, &console, Ending::TimedOut);
        let why = State::Failed("time-out during: a pv domain starts".into());
        assert_eq!(bad(&result), [(runners_own::ENDS, &why)]);
    }

    #[test]
    fn the_other_tables_are_not_those_asked_for() {
        let says = "(XEN) [    0.9] grant-dma: grant tables and grant-DMA service in Rust\n";
        for (tables, line, good) in [
            (Tables::Rust, says, true),
            (Tables::Rust, "", false),
            (Tables::C, "", true),
            (Tables::C, says, false),
        ] {
            let plan = plan(tables);
            let console = good_console(&plan) + line;
            let result = result(&plan, &console, Ending::Satisfied);
            assert_eq!(result.is_good(), good, "{tables} {line}");
        }
    }

    #[test]
    fn a_complaint_is_a_failure() {
        let plan = plan(Tables::C);
        let console = good_console(&plan) + "[    9.12] BUG: Bad page state in process x\n";
        assert!(!result(&plan, &console, Ending::Satisfied).is_good());
    }

    #[test]
    fn the_table_counts_what_shares_a_row() {
        let plan = plan(Tables::C);
        let console = good_console(&plan)
            .replace("pv/cycle-2/runs ok", "pv/cycle-2/runs failed: no")
            .replace("LAB CHECK pv/net-ping ok\n", "");
        let text = table(&[result(&plan, &console, Ending::Satisfied)]).to_string();
        let row = |name: &str| {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            line.split('┆')
                .nth(1)
                .unwrap()
                .trim_matches([' ', '│'])
                .to_owned()
        };
        assert_eq!(row("pv/cycle-*/runs"), "1 ok, 1 FAILED");
        assert_eq!(row("pvh/cycle-*/runs"), "2 ok");
        assert_eq!(row("pv/net-ping"), "MISSING");
        assert_eq!(row("pvh/net-ping"), "ok");
    }

    fn published(plan: &Plan, console: &str) -> Published {
        Published::of(plan.tables, &[result(plan, console, Ending::Satisfied)])
    }

    const NONE: [String; 0] = [];

    #[test]
    fn two_runs_differ_where_a_check_does() {
        let plan = plan(Tables::C);
        let good = good_console(&plan);
        let bad = good.replace("pv/create ok", "pv/create failed: no");
        let (good, bad) = (published(&plan, &good), published(&plan, &bad));
        assert_eq!(good.differences(&good), NONE);
        assert_eq!(bad.differences(&bad), NONE);
        assert_eq!(
            bad.differences(&good),
            ["pv dom0: pv/create: failed: no; ok"]
        );
        assert_eq!(
            good.differences(&bad),
            ["pv dom0: pv/create: ok; failed: no"]
        );
    }

    #[test]
    fn a_run_of_fewer_domains_is_no_difference_but_what_they_tell_may_be() {
        let (two, one) = (plan(Tables::C), plan_of(Tables::C, 1));
        let good = good_console(&two);
        let fewer = published(&one, &good_console(&one));
        assert_eq!(fewer.differences(&published(&two, &good)), NONE);
        for number in [1, 2] {
            let ok = format!("pv/cycle-{number}/runs ok");
            let bad = good.replace(&ok, &ok.replace("ok", "failed: no"));
            assert_eq!(
                fewer.differences(&published(&two, &bad)),
                ["pv dom0: pv/cycle-*/runs: ok; failed: no"]
            );
        }
    }

    #[test]
    fn a_dom0_that_only_one_run_booted_is_no_difference() {
        let plan = plan(Tables::C);
        let bad = good_console(&plan).replace("pv/create ok", "pv/create failed: no");
        let bad = published(&plan, &bad);
        assert_eq!(bad.differences(&Published::default()), NONE);
    }

    #[test]
    fn a_new_run_replaces_its_dom0_and_leaves_the_other() {
        let plan = plan(Tables::C);
        let good = good_console(&plan);
        let boot = |dom0: &str, console: &str| {
            let mut result = result(&plan, console, Ending::Satisfied);
            result.dom0 = dom0.into();
            result
        };
        let bad = good.replace("pv/create ok", "pv/create failed: no");
        let earlier = Published::of(Tables::C, &[boot("pv", &bad), boot("pvh", &bad)]);
        let now = Published::of(Tables::C, &[boot("pv", &good)]);
        let all_good = Published::of(Tables::C, &[boot("pv", &good), boot("pvh", &good)]);
        assert_eq!(
            now.with_boots_of(earlier).differences(&all_good),
            ["pvh dom0: pv/create: failed: no; ok"]
        );
    }
}
