// SPDX-License-Identifier: GPL-2.0-only
//! `gdma-lab linux`: Debian's kernel as dom0 and as its domains, on our grant tables or on released Xen's.
//!
//! The guests' own scripts, in `testbed/linux-lab/`, do the work and tell what came of it; the runner
//! boots them, limits their time, and holds what was told against the plan.

mod plan;
mod result;
mod told;
#[cfg(test)]
mod usage_test;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::plan::{Boot, Plan};
pub use self::plan::{Options, Tables};
use self::result::{BootResult, Published};
use self::told::{State, Told};
use crate::Exit;
use crate::artefact;
use crate::console;
use crate::process::{self, Flow, StopWish};
use crate::report::{BAD, GOOD, QUIET};
use crate::suite::{log_path, require_machines};
use crate::verdict::Ending;

/// What `gdma-lab linux` was asked for.
#[derive(Debug)]
pub struct LinuxRequest {
    pub options: Options,
    /// Only this kind of dom0.
    pub dom0: Option<String>,
    pub jobs: usize,
    pub verbose: bool,
}

pub fn run(root: &Path, request: &LinuxRequest, stop: &StopWish) -> Result<Exit> {
    let mut plan = Plan::load(root, request.options)?;
    if let Some(wanted) = &request.dom0 {
        plan.boots.retain(|boot| boot.dom0 == *wanted);
        if plan.boots.is_empty() {
            bail!("{} has no dom0 of kind '{wanted}'", plan::PATH);
        }
    }
    require_machines(root, plan.boots.iter().map(|boot| &boot.machine))?;
    artefact::require(root, &plan.image)?;
    let Some(results) = boot_all(root, &plan, request, stop)? else {
        anstream::println!("interrupted");
        return Ok(Exit::Interrupted);
    };
    tell(&results);
    let mut is_good = results.iter().all(BootResult::is_good);
    if request.options.leak {
        anstream::println!("{QUIET}a run that leaks on purpose leaves no results behind{QUIET:#}");
    } else {
        is_good &= publish(root, plan.tables, &results)? == 0;
    }
    Ok(if is_good { Exit::Good } else { Exit::Failed })
}

/// Boot all kinds of dom0, `jobs` at a time; `None` if interrupted.
fn boot_all(
    root: &Path,
    plan: &Plan,
    request: &LinuxRequest,
    stop: &StopWish,
) -> Result<Option<Vec<BootResult>>> {
    let mut results = Vec::new();
    for group in plan.boots.chunks(request.jobs.max(1)) {
        // A boot is waited for by the thread that began it: `process` says why.
        let group: Vec<Result<Option<BootResult>>> = thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for (index, boot) in group.iter().enumerate() {
                let sender = sender.clone();
                scope.spawn(move || {
                    let result = boot_one(root, plan, boot, request, stop);
                    sender.send((index, result))
                });
            }
            drop(sender);
            let mut ended: Vec<_> = receiver.into_iter().collect();
            ended.sort_by_key(|(index, _)| *index);
            ended.into_iter().map(|(_, result)| result).collect()
        });
        for result in group {
            match result? {
                Some(result) => results.push(result),
                None => return Ok(None),
            }
        }
    }
    Ok(Some(results))
}

fn boot_one(
    root: &Path,
    plan: &Plan,
    boot: &Boot,
    request: &LinuxRequest,
    stop: &StopWish,
) -> Result<Option<BootResult>> {
    let leak = if request.options.leak { "-leak" } else { "" };
    let log = log_path(&format!("linux-{}-{}{leak}", boot.dom0, plan.tables));
    let mut watch = Watch::new(&boot.dom0, plan, request.verbose);
    let finished = process::boot(
        root,
        &boot.machine,
        log.clone(),
        plan.whole_run,
        stop,
        &mut |line| watch.see(line),
    )
    .with_context(|| format!("{} dom0", boot.dom0))?;
    for complaint in finished.complaints.lines().take(3) {
        anstream::println!("{} dom0  {QUIET}QEMU: {complaint}{QUIET:#}", boot.dom0);
    }
    if finished.ending == Ending::Interrupted {
        return Ok(None);
    }
    Ok(Some(BootResult::of(
        plan,
        &boot.dom0,
        &finished.console,
        finished.ending,
        finished.elapsed,
        log.display().to_string(),
    )))
}

/// Follows one console: tells a person how far it is, and the process how long to wait.
struct Watch<'a> {
    dom0: &'a str,
    start: Instant,
    first_phase: Option<Duration>,
    /// The last that a person was told: dom0 announces everything twice.
    said: String,
    verbose: bool,
}

impl<'a> Watch<'a> {
    fn new(dom0: &'a str, plan: &Plan, verbose: bool) -> Self {
        Self {
            dom0,
            start: Instant::now(),
            first_phase: Some(plan.first_phase),
            said: String::new(),
            verbose,
        }
    }

    fn see(&mut self, line: &str) -> Flow {
        if self.verbose {
            anstream::println!("{QUIET}[{}]{QUIET:#} {line}", self.dom0);
        }
        if console::is_last_word(line) {
            return Flow::Stop(Ending::AfterCrash);
        }
        // QEMU's firmware has spoken: from here on the first phase is awaited.
        if let Some(limit) = self.first_phase.take() {
            return Flow::Within(limit);
        }
        match Told::parse(line) {
            Some(Told::Phase { limit, what }) => {
                self.say(&what);
                Flow::Within(limit)
            }
            Some(Told::Check {
                name,
                state: State::Failed(why),
            }) => {
                self.say(&format!("{BAD}FAILED{BAD:#} {name}: {why}"));
                Flow::Continue
            }
            Some(Told::Done) => Flow::Stop(Ending::Satisfied),
            _ => Flow::Continue,
        }
    }

    fn say(&mut self, what: &str) {
        if self.said == what {
            return;
        }
        self.said = what.to_owned();
        let seconds = self.start.elapsed().as_secs();
        anstream::println!("{:>3} dom0 {seconds:4} s  {what}", self.dom0);
    }
}

/// The results file of one kind of tables.
fn results_path(root: &Path, tables: Tables) -> PathBuf {
    root.join(format!("build/lab/results-{tables}.json"))
}

fn tell(results: &[BootResult]) {
    anstream::println!("{}", result::table(results));
    for result in results {
        tell_boot(result);
    }
}

/// Write the results' files, and tell how much differs from the last run on the other tables.
fn publish(root: &Path, tables: Tables, results: &[BootResult]) -> Result<usize> {
    let path = results_path(root, tables);
    let published = Published::of(tables, results);
    let differences = compare(root, tables, &published);
    // A run of one kind of dom0 says nothing new about the other.
    let earlier = Published::read(&path).unwrap_or_default();
    published.with_boots_of(earlier).write(&path)?;
    let junit = root.join(format!("build/junit-linux-{tables}.xml"));
    result::write_junit(tables, results, &junit)?;
    anstream::println!(
        "{QUIET}written: {}, {}{QUIET:#}",
        path.display(),
        junit.display()
    );
    Ok(differences)
}

fn tell_boot(result: &BootResult) {
    let (style, word) = if result.is_good() {
        (GOOD, "good")
    } else {
        (BAD, "FAILED")
    };
    let seconds = result.elapsed.as_secs();
    anstream::println!(
        "{} dom0: {style}{word}{style:#}, {seconds} s, {}",
        result.dom0,
        result.log
    );
    for (name, state) in &result.checks {
        match state {
            State::Ok => {}
            State::Failed(why) => anstream::println!("    {name}: {why}"),
            State::Missing => anstream::println!("    {name}: it was not told"),
        }
    }
}

/// Hold a run against the last one on the other tables, if there was one; the number of differences.
fn compare(root: &Path, tables: Tables, published: &Published) -> usize {
    let other = match tables {
        Tables::Rust => Tables::C,
        Tables::C => Tables::Rust,
    };
    let Some(there) = Published::read(&results_path(root, other)) else {
        anstream::println!(
            "{QUIET}no run on the {other} tables to compare with: make lab GRANT_TABLE={other}{QUIET:#}"
        );
        return 0;
    };
    let differences = published.differences(&there);
    if differences.is_empty() {
        anstream::println!("the same as the last run on the {other} tables");
    } else {
        anstream::println!(
            "{BAD}different{BAD:#} from the last run on the {other} tables (check: here; there)"
        );
    }
    for difference in &differences {
        anstream::println!("    {difference}");
    }
    differences.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(lines: &[&str]) -> Vec<Flow> {
        let text = include_str!("../../../linux-lab/plan.toml");
        let plan = Plan::parse(
            text,
            Options {
                tables: Tables::C,
                cycles: None,
                leak: false,
            },
        )
        .unwrap();
        let mut watch = Watch::new("pv", &plan, false);
        lines.iter().map(|line| watch.see(line)).collect()
    }

    #[test]
    fn the_first_line_starts_the_wait_for_the_first_phase() {
        let flows = watch(&[
            "SeaBIOS",
            "Xen",
            "LAB PHASE 7 x",
            "LAB CHECK y ok",
            "LAB DONE",
        ]);
        assert_eq!(
            flows,
            [
                Flow::Within(Duration::from_secs(120)),
                Flow::Continue,
                Flow::Within(Duration::from_secs(7)),
                Flow::Continue,
                Flow::Stop(Ending::Satisfied),
            ]
        );
    }

    #[test]
    fn a_dead_xen_ends_the_wait() {
        let flows = watch(&["SeaBIOS", "(XEN) [    1.0] Reboot in five seconds..."]);
        assert_eq!(flows[1], Flow::Stop(Ending::AfterCrash));
    }
}
