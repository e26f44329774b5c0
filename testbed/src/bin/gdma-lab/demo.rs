// SPDX-License-Identifier: GPL-2.0-only
//! `gdma-lab demo`: boot the service with a real device behind an IOMMU, and tell a person what happens.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::Exit;
use crate::catalogue::{Catalogue, Run};
use crate::process::StopWish;
use crate::report::{self, BAD, GOOD, LOUD, Outcome, QUIET};
use crate::story::{Event, Told};
use crate::suite;
use crate::trace::{self, Invalidations};
use crate::verdict::Tally;

/// Faults shown of one boot; a device that tries again and again is told once more than once.
const FAULTS_SHOWN: usize = 2;

pub fn run(root: &Path, catalogue: &Catalogue, stop: &StopWish) -> Result<Exit> {
    let Some((first, rest)) = catalogue.demo.split_first() else {
        bail!("lab.toml: [demo] names no test")
    };
    // The first is needed; the others join when they are built.
    let built = |run: &&Run| {
        run.machine
            .files()
            .all(|file| root.join(&file.path).is_file())
    };
    let runs: Vec<&Run> = std::iter::once(first)
        .chain(rest.iter().filter(built))
        .collect();
    suite::require_machines(root, runs.iter().map(|run| &run.machine))?;

    introduce(first);
    let mut good = true;
    for (index, run) in runs.iter().enumerate() {
        anstream::println!("\n{LOUD}Part {}: {}{LOUD:#}", index + 1, run.about);
        let Some((outcome, told, flushes)) = show(root, run, stop)? else {
            anstream::println!("interrupted");
            return Ok(Exit::Interrupted);
        };
        good &= conclude(&outcome, &told, &flushes);
    }
    anstream::println!();
    if good {
        anstream::println!(
            "{GOOD}The demo succeeded{GOOD:#}: the device reached exactly what it was given, for as long as it was given."
        );
    } else {
        anstream::println!("{BAD}The demo failed{BAD:#}: see the reasons above and the logs.");
    }
    Ok(if good { Exit::Good } else { Exit::Failed })
}

fn introduce(run: &Run) {
    anstream::println!("{LOUD}Grants for device DMA, in Xen{LOUD:#}");
    anstream::println!(
        "Every boot below is real: Xen with the Rust service ({}), a test guest as its",
        run.machine.xen.path.display()
    );
    anstream::println!(
        "PVH dom0, and QEMU's 'edu' PCI device doing DMA through an emulated VT-d. Nothing is mocked."
    );
}

/// Boot one part, telling events as they come; `None` if interrupted.
fn show(root: &Path, run: &Run, stop: &StopWish) -> Result<Option<(Outcome, Told, Invalidations)>> {
    let run = Run {
        test: format!("demo-{}", run.test),
        ..run.clone()
    };
    let trace = PathBuf::from(format!("build/logs/{}.trace", run.file_stem()));
    std::fs::create_dir_all(root.join("build/logs"))?;
    let args = trace::qemu_args(&trace.display().to_string());
    let machine = run.machine.with_qemu_args(&args);
    let mut told = Told::default();
    let outcome = suite::execute_on(root, &run, &machine, stop, &mut |line| {
        if let Some(event) = Event::parse(line) {
            told.count(&event);
            tell(&event, &told);
        }
    })?;
    let Some(outcome) = outcome else {
        return Ok(None);
    };
    let flushes = Invalidations::read(&root.join(trace))?;
    Ok(Some((outcome, told, flushes)))
}

fn tell(event: &Event, told: &Told) {
    match event {
        Event::Step { number, text } => anstream::println!("  {number:2}. {text}"),
        Event::Fact { name, value } => {
            anstream::println!("        {} {LOUD}{value}{LOUD:#}", name.replace('_', " "))
        }
        Event::Fault(text) if told.faults <= FAULTS_SHOWN => {
            anstream::println!("        {QUIET}Xen's log: {text}{QUIET:#}");
        }
        Event::Fault(_) => {}
    }
}

/// Sum up one part; whether it went well.
fn conclude(outcome: &Outcome, told: &Told, flushes: &Invalidations) -> bool {
    if told.faults > FAULTS_SHOWN {
        anstream::println!(
            "        {QUIET}… and {} more such lines{QUIET:#}",
            told.faults - FAULTS_SHOWN
        );
    }
    anstream::println!("  IOTLB invalidations from power-on to end: {flushes}");
    let style = report::style_of(&outcome.judgement);
    anstream::println!(
        "  {style}{}{style:#} after {:.1} s; log: {}",
        outcome.judgement.verdict.name(),
        outcome.elapsed.as_secs_f64(),
        outcome.log.display()
    );
    for reason in &outcome.judgement.reasons {
        anstream::println!("    {reason}");
    }
    if told.steps == 0 {
        anstream::println!("    the guest told no step");
    }
    outcome.judgement.tally == Tally::Passed && told.steps > 0
}
