// SPDX-License-Identifier: GPL-2.0-only
//! `gdma-lab bench`: what it costs to give a foreign page to a device and take it back, on this Xen and
//! on stock Xen, counted in instructions and in IOTLB invalidations.
//!
//! For each variant one boot measures time, and further boots with QEMU's trace on, one a batch size
//! and one that maps nothing, count invalidations. `-icount` makes every figure repeat to the digit on
//! any machine; only the counts of IOTLB invalidations speak of what real hardware would wait for.
//! [`operations`] then measures the grant table's own operations.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::Exit;
use crate::catalogue::BenchMachines;
use crate::console::GuestResult;
use crate::costs::OperationFigure;
use crate::figures::{Cost, Figure, Granted, Measured, Samples, Variant, invalidations_per_batch};
use crate::goals;
use crate::machine::{Machine, instructions_as_time};
use crate::operations;
use crate::process::{self, Finished, Flow, StopWish};
use crate::report::{BAD, QUIET};
use crate::suite::{log_path, require_machines};
use crate::trace::{self, Invalidations};
use crate::verdict::{Ending, Expectations, Judge, Tally, judge};

const BATCHES: [u64; 3] = [1, 16, 128];
/// Batches that may share a look-up of the granter's large page.
const BATCHES_IN_LARGE_PAGES: [u64; 2] = [16, 128];
/// A call of the register form has one page.
const BATCHES_IN_REGISTERS: [u64; 1] = [1];
const RESULTS: &str = "build/bench/results.json";

/// How often the guest's 128 pages go to the device and back.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: u64,
}

impl Effort {
    const FULL: Self = Self { rounds: 16 };
    const QUICK: Self = Self { rounds: 2 };
}

/// What a person asks of the benchmark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BenchRequest {
    pub quick: bool,
    /// Fail if an operation of the grant tables falls short of stock Xen's, or a page's way
    /// to a device misses a goal.
    pub strict: bool,
    /// Leave out the way to a device, and the results' file.
    pub operations_alone: bool,
}

pub(crate) fn run(
    root: &Path,
    machines: &BenchMachines,
    request: &BenchRequest,
    stop: &StopWish,
) -> Result<Exit> {
    let of_operations = machines
        .operations
        .iter()
        .flat_map(|operations| [&operations.ours, &operations.xen_c]);
    let of_device = [&machines.ours, &machines.xen_c];
    require_machines(root, of_device.into_iter().chain(of_operations))?;
    let mut measured = Vec::new();
    if !request.operations_alone {
        match measure_device(root, machines, request.quick, stop)? {
            Some(of_device) => measured = of_device,
            None => return Ok(Exit::Interrupted),
        }
        anstream::println!("{}", table(&measured));
        anstream::println!(
            "ours against xen-c, net instructions a page: {}",
            comparison(&measured)
        );
    }
    let goals = goals::outcomes(&measured);
    if !request.operations_alone {
        for goal in &goals {
            anstream::println!("  {goal}");
        }
    }
    let Some(operations) = operations::run(root, machines, request.quick, stop)? else {
        return Ok(Exit::Interrupted);
    };
    if !request.operations_alone {
        write_results(&root.join(RESULTS), &measured, &operations.figures)?;
        anstream::println!("{QUIET}written: {RESULTS}{QUIET:#}");
    }
    if request.strict && operations.falls_short {
        anstream::println!("{BAD}strict: some operation is slower, larger or not built{BAD:#}");
        return Ok(Exit::Failed);
    }
    // With few iterations what is done once counts for too much.
    let binding = request.strict && !request.operations_alone && !request.quick;
    if binding && !goals.iter().all(goals::Outcome::is_met) {
        anstream::println!("{BAD}strict: a page's way to a device misses a goal{BAD:#}");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Good)
}

/// A page's way to a device and back, in all variants; `None` if interrupted.
fn measure_device(
    root: &Path,
    machines: &BenchMachines,
    quick: bool,
    stop: &StopWish,
) -> Result<Option<Vec<Measured>>> {
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let mut measured = Vec::new();
    let variants = [
        (Variant::XenC, Granted::Small),
        (Variant::Ours, Granted::Small),
        (Variant::OursRun, Granted::Small),
        (Variant::OursReg, Granted::Small),
        (Variant::OursArgs, Granted::Small),
        (Variant::OursArgsRun, Granted::Small),
        (Variant::OwnArgs, Granted::Small),
        (Variant::OwnArgsRun, Granted::Small),
        (Variant::XenC, Granted::Large),
        (Variant::Ours, Granted::Large),
        (Variant::OursRun, Granted::Large),
        (Variant::OursArgs, Granted::Large),
        (Variant::OursArgsRun, Granted::Large),
    ];
    for (variant, granted) in variants {
        let bench = Bench {
            root,
            variant,
            granted,
            machine: machines.of(variant),
            machines,
            effort,
            stop,
        };
        match bench.measure()? {
            Some(of_variant) => measured.extend(of_variant),
            None => return Ok(None),
        }
    }
    Ok(Some(measured))
}

/// The machine with time counted in instructions, and these arguments for its guest.
pub(crate) fn deterministic(machine: &Machine, guest_args: &str) -> Machine {
    machine
        .with_qemu_args(&instructions_as_time(0))
        .with_guest_args(guest_args)
}

/// Boot a guest that must say SUCCESS; `None` if interrupted. The log is named after `name`.
pub(crate) fn boot_to_success(
    root: &Path,
    machine: &Machine,
    name: &str,
    timeout: Duration,
    stop: &StopWish,
    watch: &mut dyn FnMut(&str) -> Flow,
) -> Result<Option<Finished>> {
    let log = log_path(&format!("bench-{name}"));
    let finished = process::boot(root, machine, log.clone(), timeout, stop, watch)?;
    if finished.ending == Ending::Interrupted {
        return Ok(None);
    }
    let plain = Expectations {
        judge: Judge::Guest {
            expects: GuestResult::Success,
        },
        must: Vec::new(),
        must_not: Vec::new(),
    };
    let judgement = judge(&plain, &finished.console, finished.ending);
    if judgement.tally != Tally::Passed {
        let reasons = judgement.reasons.join("; ");
        bail!(
            "{name}: {} {reasons}; see {}",
            judgement.verdict.name(),
            log.display()
        );
    }
    Ok(Some(finished))
}

/// The pages a call, of which the guest has phases.
pub(crate) fn batches(variant: Variant) -> &'static [u64] {
    match variant {
        Variant::OursReg => &BATCHES_IN_REGISTERS,
        _ => &BATCHES,
    }
}

/// One variant's measurement.
struct Bench<'a> {
    root: &'a Path,
    variant: Variant,
    granted: Granted,
    machine: &'a Machine,
    machines: &'a BenchMachines,
    effort: Effort,
    stop: &'a StopWish,
}

impl Bench<'_> {
    /// `None` if interrupted.
    fn measure(&self) -> Result<Option<Vec<Measured>>> {
        let batches = match self.granted {
            Granted::Small => batches(self.variant),
            Granted::Large => &BATCHES_IN_LARGE_PAGES,
        };
        let of_batches = batches.iter().map(|batch| self.phase(*batch));
        let phases: Vec<String> = std::iter::once("null".to_owned())
            .chain(of_batches)
            .collect();
        let Some(timed) = self.boot("time", &phases.join(","), None)? else {
            return Ok(None);
        };
        let samples = Samples::parse(&timed)?;
        let costs: Vec<(u64, Cost)> = batches
            .iter()
            .map(|&batch| samples.cost(self.variant, batch).map(|cost| (batch, cost)))
            .collect::<Result<_, _>>()?;
        let Some(baseline) = self.count("none")? else {
            return Ok(None);
        };
        let mut measured = Vec::new();
        for (batch, cost) in costs {
            let Some(counted) = self.count(&self.phase(batch))? else {
                return Ok(None);
            };
            let invalidations_per_batch =
                invalidations_per_batch(counted, baseline, cost.iterations);
            measured.push(Measured {
                variant: self.variant,
                granted: self.granted,
                batch,
                cost,
                invalidations_per_batch,
            });
        }
        Ok(Some(measured))
    }

    /// In the names of logs.
    fn name(&self) -> String {
        match self.granted {
            Granted::Small => self.variant.to_string(),
            Granted::Large => format!("{}-large", self.variant),
        }
    }

    fn phase(&self, batch: u64) -> String {
        format!("{}-{batch}", self.variant)
    }

    /// Boot with the trace on and count invalidations.
    fn count(&self, phase: &str) -> Result<Option<u64>> {
        let trace = PathBuf::from(format!("build/logs/bench-{}-{phase}.trace", self.name()));
        if self.boot(phase, phase, Some(&trace))?.is_none() {
            return Ok(None);
        }
        Ok(Some(Invalidations::read(&self.root.join(trace))?.total()))
    }

    /// Boot with these phases; gives the console, or `None` if interrupted.
    fn boot(&self, purpose: &str, phases: &str, trace: Option<&Path>) -> Result<Option<String>> {
        let guest_args = format!(
            "phases={phases} iterations={} granted={}",
            self.effort.rounds, self.granted
        );
        let mut machine = deterministic(self.machine, &guest_args);
        if let Some(trace) = trace {
            let args = trace::qemu_args(&trace.display().to_string());
            machine = machine.with_qemu_args(&args);
        }
        let name = format!("{}-{purpose}", self.name());
        let watch = &mut |_: &str| Flow::Continue;
        let timeout = self.machines.timeout;
        let Some(finished) =
            boot_to_success(self.root, &machine, &name, timeout, self.stop, watch)?
        else {
            return Ok(None);
        };
        let seconds = finished.elapsed.as_secs_f64();
        anstream::println!(
            "{QUIET}{:19} {purpose:17} {seconds:6.1} s  {}{QUIET:#}",
            self.name(),
            log_path(&format!("bench-{name}")).display()
        );
        Ok(Some(finished.console))
    }
}

fn table(measured: &[Measured]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "variant",
        "granter's pages",
        "batch",
        "instructions/page",
        "net of null calls",
        "IOTLB invalidations/batch",
    ]);
    for row in measured {
        table.add_row([
            row.variant.to_string(),
            row.granted.to_string(),
            row.batch.to_string(),
            format!("{:.0}", row.cost.instructions_per_page),
            format!("{:.0}", row.cost.net_instructions_per_page),
            format!("{:.2}", row.invalidations_per_batch),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `batch 1: 0.41x, batch 16: …, in registers: 0.12x`
fn comparison(measured: &[Measured]) -> String {
    let net = |variant, batch| {
        let row = measured
            .iter()
            .filter(|row| row.granted == Granted::Small)
            .find(|row| row.variant == variant && row.batch == batch)?;
        Some(row.cost.net_instructions_per_page)
    };
    let ratio = |variant, batch| Some(net(variant, batch)? / net(Variant::XenC, batch)?);
    let of_arrays = BATCHES.iter().filter_map(|&batch| {
        let ratio = ratio(Variant::Ours, batch)?;
        Some(format!("batch {batch}: {ratio:.2}x"))
    });
    let in_registers = ratio(Variant::OursReg, 1).map(|ratio| format!("in registers: {ratio:.2}x"));
    let most = BATCHES[BATCHES.len() - 1];
    let registered = [
        (Variant::OursArgs, "registered"),
        (Variant::OursArgsRun, "registered run of"),
    ];
    let registered = registered.into_iter().filter_map(|(variant, name)| {
        let ratio = ratio(variant, most)?;
        Some(format!("{name} {most}: {ratio:.2}x"))
    });
    of_arrays
        .chain(in_registers)
        .chain(registered)
        .collect::<Vec<_>>()
        .join(", ")
}

/// One line of the results' file.
#[derive(Serialize)]
#[serde(untagged)]
enum Published<'a> {
    Device(Figure),
    Operation(&'a OperationFigure),
}

fn write_results(path: &Path, measured: &[Measured], operations: &[OperationFigure]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let published = measured.iter().filter(|row| row.granted == Granted::Small);
    let figures: Vec<Published<'_>> = published
        .flat_map(Measured::figures)
        .map(Published::Device)
        .chain(operations.iter().map(Published::Operation))
        .collect();
    let json = serde_json::to_string_pretty(&figures)?;
    fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(variant: Variant, batch: u64, net: f64) -> Measured {
        let cost = Cost {
            instructions_per_page: net + 100.0,
            net_instructions_per_page: net,
            iterations: 1,
        };
        Measured {
            variant,
            granted: Granted::Small,
            batch,
            cost,
            invalidations_per_batch: 1.0,
        }
    }

    #[test]
    fn the_comparison_divides_ours_by_theirs() {
        let rows = [
            measured(Variant::XenC, 1, 400.0),
            measured(Variant::XenC, 16, 200.0),
            measured(Variant::Ours, 1, 100.0),
            measured(Variant::Ours, 16, 300.0),
        ];
        assert_eq!(comparison(&rows), "batch 1: 0.25x, batch 16: 1.50x");
        let with_registers = [rows.as_slice(), &[measured(Variant::OursReg, 1, 40.0)]].concat();
        assert_eq!(
            comparison(&with_registers),
            "batch 1: 0.25x, batch 16: 1.50x, in registers: 0.10x"
        );
        let with_areas = [
            measured(Variant::XenC, 128, 200.0),
            measured(Variant::OursArgs, 128, 20.0),
            measured(Variant::OursArgsRun, 128, 10.0),
        ];
        assert_eq!(
            comparison(&with_areas),
            "registered 128: 0.10x, registered run of 128: 0.05x"
        );
    }

    #[test]
    fn every_row_of_the_table_shows_its_figures() {
        let text = table(&[measured(Variant::Ours, 128, 1234.0)]).to_string();
        for cell in ["ours", "small", "128", "1334", "1234", "1.00"] {
            assert!(text.contains(cell), "{text}");
        }
    }
}
