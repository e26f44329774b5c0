// SPDX-License-Identifier: GPL-2.0-only
//! `gdma-lab test` and `gdma-lab boot`: booting catalogue runs and judging them.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Exit;
use crate::artefact;
use crate::catalogue::{Catalogue, Run};
use crate::console;
use crate::counting;
use crate::entered;
use crate::machine::{Machine, require_qemu};
use crate::process::{self, Finished, Flow, StopWish};
use crate::report::{self, DOUBTFUL, Outcome, QUIET, Totals};
use crate::stale;
use crate::verdict::{Ending, Judge, Tally, judge};

/// Where console logs go, under the repository's root.
pub fn log_path(stem: &str) -> PathBuf {
    Path::new("build/logs").join(format!("{stem}.log"))
}

/// Check that all the machines can boot: QEMU and every file. What is older than its sources is told.
pub fn require_machines<'a>(
    root: &Path,
    machines: impl IntoIterator<Item = &'a Machine>,
) -> Result<()> {
    let machines: Vec<&Machine> = machines.into_iter().collect();
    let mut qemus: Vec<&str> = machines
        .iter()
        .map(|machine| machine.qemu.as_str())
        .collect();
    qemus.sort_unstable();
    qemus.dedup();
    for qemu in qemus {
        require_qemu(qemu)?;
    }
    let files = || machines.iter().flat_map(|machine| machine.files());
    artefact::require(root, files())?;
    for stale in stale::find(root, files()) {
        anstream::eprintln!("{DOUBTFUL}warning:{DOUBTFUL:#} {stale}");
    }
    Ok(())
}

/// When a run has shown all it can: for a console-judged run, when every required line was there; for
/// any run, when Xen has gone down and only waits to reboot.
pub struct EndWatch<'a> {
    awaited: Option<Vec<&'a regex::Regex>>,
}

impl<'a> EndWatch<'a> {
    pub fn new(run: &'a Run) -> Self {
        let awaited =
            (run.expected.judge == Judge::Console).then(|| run.expected.must.iter().collect());
        Self { awaited }
    }

    pub fn see(&mut self, line: &str) -> Flow {
        if let Some(awaited) = &mut self.awaited {
            awaited.retain(|pattern| !pattern.is_match(line));
            if awaited.is_empty() {
                return Flow::Stop(Ending::Satisfied);
            }
        }
        if console::is_last_word(line) {
            Flow::Stop(Ending::AfterCrash)
        } else {
            Flow::Continue
        }
    }
}

/// Boot one run and judge it; `None` if it was interrupted.
pub fn execute(
    root: &Path,
    run: &Run,
    stop: &StopWish,
    on_line: &mut dyn FnMut(&str),
) -> Result<Option<Outcome>> {
    if let Some(stated) = &run.entered {
        entered::execute(root, run, stated, stop, on_line)
    } else if run.phases.is_empty() {
        execute_on(root, run, &run.machine, stop, on_line)
    } else {
        counting::execute(root, run, stop, on_line)
    }
}

/// As [`execute`], with the run's machine altered by the caller.
pub fn execute_on(
    root: &Path,
    run: &Run,
    machine: &Machine,
    stop: &StopWish,
    on_line: &mut dyn FnMut(&str),
) -> Result<Option<Outcome>> {
    let log = log_path(&run.file_stem());
    let mut end = EndWatch::new(run);
    let finished = process::boot(root, machine, log.clone(), run.timeout, stop, &mut |line| {
        on_line(line);
        end.see(line)
    })?;
    if finished.ending == Ending::Interrupted {
        return Ok(None);
    }
    let judgement = judge(&run.expected, &finished.console, finished.ending);
    let Finished {
        console,
        complaints,
        elapsed,
        ..
    } = finished;
    Ok(Some(Outcome {
        run: run.clone(),
        judgement,
        elapsed,
        log,
        console,
        complaints,
        counts: Vec::new(),
    }))
}

/// What `gdma-lab test` was asked for.
#[derive(Debug)]
pub struct TestRequest {
    pub runs: Vec<Run>,
    pub verbose: bool,
    pub jobs: usize,
    pub junit: PathBuf,
}

pub fn list(runs: &[Run]) {
    let (names, configs) = widths(runs);
    for run in runs {
        anstream::println!(
            "{:names$}  {:configs$}  {QUIET}{}{QUIET:#}",
            run.test,
            run.config,
            run.about
        );
    }
}

/// Run the tests and report them.
pub fn test(root: &Path, request: &TestRequest, stop: &StopWish) -> Result<Exit> {
    require_machines(root, request.runs.iter().map(|run| &run.machine))?;
    let (names, configs) = widths(&request.runs);
    let on_line = |run: &Run, line: &str| {
        if request.verbose {
            anstream::println!("{QUIET}[{}]{QUIET:#} {line}", run.file_stem());
        }
    };
    let outcomes = execute_all(root, request, stop, &on_line, |outcome| {
        report::print_line(outcome, names, configs)
    })?;
    let totals = Totals::of(outcomes.iter().map(|outcome| &outcome.judgement));
    report::write_junit(&outcomes, &root.join(&request.junit))?;
    if stop.is_made() {
        anstream::println!(
            "interrupted: {} of {} runs not done",
            request.runs.len() - outcomes.len(),
            request.runs.len()
        );
    }
    anstream::println!("{}", totals.line());
    Ok(if stop.is_made() {
        Exit::Interrupted
    } else if totals.are_good() {
        Exit::Good
    } else {
        Exit::Failed
    })
}

/// Run all, several at a time; outcomes come back in the catalogue's order.
fn execute_all(
    root: &Path,
    request: &TestRequest,
    stop: &StopWish,
    on_line: &(dyn Fn(&Run, &str) + Sync),
    mut on_outcome: impl FnMut(&Outcome),
) -> Result<Vec<Outcome>> {
    let waiting: Mutex<VecDeque<(usize, &Run)>> =
        Mutex::new(request.runs.iter().enumerate().collect());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let (sender, results) = mpsc::channel();
    let mut outcomes = thread::scope(|scope| {
        for _ in 0..request.jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while !stop.is_made()
                    && let Some((index, run)) = next()
                {
                    let result = execute(root, run, stop, &mut |line| on_line(run, line));
                    if sender.send((index, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut outcomes = Vec::new();
        for (index, result) in results {
            if let Some(outcome) = result? {
                on_outcome(&outcome);
                outcomes.push((index, outcome));
            }
        }
        Ok::<_, anyhow::Error>(outcomes)
    })?;
    outcomes.sort_by_key(|(index, _)| *index);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

fn widths(runs: &[Run]) -> (usize, usize) {
    let widest = |name: fn(&Run) -> &str| runs.iter().map(|run| name(run).len()).max().unwrap_or(0);
    (widest(|run| &run.test), widest(|run| &run.config))
}

/// Boot one run with the console attached, then say how it went.
pub fn boot(root: &Path, catalogue: &Catalogue, name: &str, stop: &StopWish) -> Result<Exit> {
    let runs = catalogue.select(&[name.to_owned()], None)?;
    let [run, others @ ..] = runs.as_slice() else {
        return Ok(Exit::Failed);
    };
    if !others.is_empty() {
        let configs: Vec<&str> = others.iter().map(|run| run.config.as_str()).collect();
        anstream::eprintln!(
            "booting {}/{}; also in the catalogue: {}",
            run.test,
            run.config,
            configs.join(", ")
        );
    }
    require_machines(root, [&run.machine])?;
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let outcome = if interactive {
        anstream::eprintln!("Ctrl-A X ends QEMU; Ctrl-A C is its monitor");
        boot_interactive(root, run, stop)?
    } else {
        execute(root, run, stop, &mut |line| {
            anstream::println!("{line}");
            let _ = std::io::stdout().flush();
        })?
    };
    let Some(outcome) = outcome else {
        return Ok(Exit::Interrupted);
    };
    report::print_line(&outcome, 0, 0);
    Ok(if outcome.judgement.tally == Tally::Failed {
        Exit::Failed
    } else {
        Exit::Good
    })
}

fn boot_interactive(root: &Path, run: &Run, stop: &StopWish) -> Result<Option<Outcome>> {
    let log = log_path(&run.file_stem());
    let start = Instant::now();
    let ending = process::boot_on_terminal(root, &run.machine, &log, stop)?;
    if ending == Ending::Interrupted {
        return Ok(None);
    }
    let console = String::from_utf8_lossy(&std::fs::read(root.join(&log))?).into_owned();
    let judgement = judge(&run.expected, &console, ending);
    let elapsed: Duration = start.elapsed();
    Ok(Some(Outcome {
        run: run.clone(),
        judgement,
        elapsed,
        log,
        console,
        complaints: String::new(),
        counts: Vec::new(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn run(name: &str) -> Run {
        let catalogue = Catalogue::parse(include_str!("../../../lab.toml")).unwrap();
        catalogue
            .select(&[name.to_owned()], None)
            .unwrap()
            .remove(0)
    }

    #[test]
    fn a_console_run_ends_when_all_lines_were_there() {
        let mut run = run("arm64-boot");
        run.expected.must = vec![
            regex::Regex::new("one").unwrap(),
            regex::Regex::new("two").unwrap(),
        ];
        let mut end = EndWatch::new(&run);
        assert_eq!(end.see("two"), Flow::Continue);
        assert_eq!(end.see("two"), Flow::Continue);
        assert_eq!(end.see("one"), Flow::Stop(Ending::Satisfied));
    }

    #[test]
    fn a_guest_run_does_not_end_by_its_required_lines() {
        let mut run = run("gdma-edu-dma");
        run.expected.must = vec![regex::Regex::new("one").unwrap()];
        assert_eq!(EndWatch::new(&run).see("one"), Flow::Continue);
    }

    #[test]
    fn any_run_ends_when_xen_waits_to_reboot() {
        let line = "(XEN) [    1.0] Reboot in five seconds...";
        assert_eq!(
            EndWatch::new(&run("gdma-query")).see(line),
            Flow::Stop(Ending::AfterCrash)
        );
        assert_eq!(
            EndWatch::new(&run("rust-panic")).see(line),
            Flow::Stop(Ending::AfterCrash)
        );
    }
}
