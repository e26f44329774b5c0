// SPDX-License-Identifier: GPL-2.0-only
//! The second half of `gdma-lab bench`: every grant table operation on stock Xen's C tables and on ours.
//!
//! One boot a guest and hypervisor measures everything. What an operation costs is printed for each
//! batch size, and a verdict for each operation; both hypervisors' memory follows.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use crate::bench::{boot_to_success, deterministic};
use crate::catalogue::{BenchMachines, OperationMachines};
use crate::console;
use crate::costs::{Costs, Memory, OperationFigure, Row, Subject, Verdict, compare, verdicts};
use crate::figures::Variant;
use crate::process::{Flow, StopWish};
use crate::report::{BAD, DOUBTFUL, GOOD, LOUD, QUIET};

/// Rounds a figure: odd, because the median is taken.
const ROUNDS: u64 = 9;
const QUICK_ROUNDS: u64 = 3;

/// What all the boots found.
pub struct Found {
    pub figures: Vec<OperationFigure>,
    /// Whether ours is slower anywhere, or does not answer.
    pub falls_short: bool,
}

/// `None` if interrupted.
pub fn run(
    root: &Path,
    machines: &BenchMachines,
    quick: bool,
    stop: &StopWish,
) -> Result<Option<Found>> {
    let mut found = Found {
        figures: Vec::new(),
        falls_short: false,
    };
    for operations in &machines.operations {
        let measure = |variant| {
            let boot = Boot {
                root,
                machines,
                operations,
                variant,
                rounds: if quick { QUICK_ROUNDS } else { ROUNDS },
            };
            boot.measure(stop)
        };
        let Some(xen_c) = measure(Variant::XenC)? else {
            return Ok(None);
        };
        let Some(ours) = measure(Variant::Ours)? else {
            return Ok(None);
        };
        let rows = compare(&xen_c, &ours);
        let verdicts = verdicts(&rows);
        found.figures.extend(xen_c.figures("xen-c"));
        found.figures.extend(ours.figures("ours"));
        let short_of_memory = show_memory_after(&operations.env, &rows, &verdicts, &xen_c, &ours);
        found.falls_short |= short_of_memory || verdicts.iter().any(|(_, v)| v.is_failure());
    }
    Ok(Some(found))
}

/// One boot: one guest on one hypervisor.
struct Boot<'a> {
    root: &'a Path,
    machines: &'a BenchMachines,
    operations: &'a OperationMachines,
    variant: Variant,
    rounds: u64,
}

impl Boot<'_> {
    fn measure(&self, stop: &StopWish) -> Result<Option<Costs>> {
        let machine = match self.variant {
            Variant::XenC => &self.operations.xen_c,
            _ => &self.operations.ours,
        };
        let name = format!("{}-operations-{}", self.variant, self.operations.env);
        let machine = deterministic(machine, &format!("rounds={}", self.rounds));
        let progress = RefCell::new(Progress::new(&name));
        let watch = &mut |line: &str| {
            progress.borrow_mut().see(line);
            Flow::Continue
        };
        let timeout = self.machines.timeout;
        let booted = boot_to_success(self.root, &machine, &name, timeout, stop, watch);
        progress.borrow_mut().clear();
        let Some(finished) = booted? else {
            return Ok(None);
        };
        let seconds = finished.elapsed.as_secs_f64();
        anstream::println!("{QUIET}{name:28} {seconds:6.1} s{QUIET:#}");
        let costs = Costs::parse(&self.operations.env, &finished.console)
            .with_context(|| format!("{name}: see build/logs/bench-{name}.log"))?;
        Ok(Some(costs))
    }
}

/// The operation being measured, on one line of a terminal that is written over.
struct Progress<'a> {
    name: &'a str,
    shown: bool,
}

impl<'a> Progress<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            shown: io::stderr().is_terminal(),
        }
    }

    fn see(&mut self, line: &str) {
        let (_, text) = console::attribute(line);
        if let Some(fields) = text.strip_prefix("GNTTAB ")
            && self.shown
        {
            let done: Vec<&str> = fields.split(' ').take(3).collect();
            self.write(&format!("{}: {}", self.name, done.join(" ")));
        }
    }

    fn clear(&self) {
        if self.shown {
            self.write("");
        }
    }

    /// Progress that cannot be shown is no reason to stop.
    fn write(&self, text: &str) {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    }
}

/// Print everything of one guest; whether ours takes more memory than the C tables, or does not say.
fn show_memory_after(
    env: &str,
    rows: &[Row],
    verdicts: &[(Subject, Verdict)],
    xen_c: &Costs,
    ours: &Costs,
) -> bool {
    anstream::println!(
        "{LOUD}grant table operations, {env} guest, net instructions an element{LOUD:#}"
    );
    anstream::println!("{}", table(rows));
    for (subject, verdict) in verdicts {
        let style = match verdict {
            Verdict::GoalMet(_) | Verdict::NotSlower(_) => GOOD,
            Verdict::Slower(..) => BAD,
            Verdict::Missing(_) | Verdict::Incomparable(_) => DOUBTFUL,
        };
        let name = format!("{} {}", subject.op, subject.what);
        anstream::println!("  {name:40} {style}{verdict}{style:#}");
    }
    let memory = [
        ("bytes an active entry", &xen_c.per_entry, &ours.per_entry),
        (
            "bytes a maptrack handle",
            &xen_c.per_handle,
            &ours.per_handle,
        ),
    ];
    let mut falls_short = false;
    for (what, theirs, ours) in memory {
        if let Some(theirs) = theirs {
            let (line, short) = memory_line(theirs, ours.as_ref());
            let style = if short { DOUBTFUL } else { GOOD };
            anstream::println!("  {what:40} {style}{line}{style:#}");
            falls_short |= short;
        }
    }
    falls_short
}

/// Both figures in words, and whether ours falls short.
fn memory_line(theirs: &Memory, ours: Option<&Memory>) -> (String, bool) {
    let words = |memory: Option<&Memory>| match memory {
        Some(Memory::Bytes(bytes)) => format!("{bytes:.1}"),
        Some(Memory::Refused(reason)) => format!("refused ({reason})"),
        None => "unmeasured".to_owned(),
    };
    let short = match (theirs, ours) {
        // Pages are what is counted: a page more over thousands of users is not a larger user.
        (Memory::Bytes(theirs), Some(Memory::Bytes(ours))) => *ours > *theirs * 1.01,
        (Memory::Bytes(_), _) => true,
        (Memory::Refused(_), _) => false,
    };
    let line = format!("xen-c {}, ours {}", words(Some(theirs)), words(ours));
    (line, short)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["operation", "of", "batch", "xen-c", "ours", "ratio"]);
    for row in rows {
        let ratio = row.ratio().map(|ratio| format!("{ratio:.2}x"));
        table.add_row([
            row.subject.op.clone(),
            row.subject.what.clone(),
            row.batch.to_string(),
            row.xen_c.to_string(),
            row.ours.to_string(),
            ratio.unwrap_or_default(),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::costs::{Cost, Outcome};

    #[test]
    fn a_row_shows_both_figures_and_what_has_none() {
        let cost = |net| {
            Outcome::Cost(Cost {
                gross: net + 7.0,
                net,
            })
        };
        let row = |ours| Row {
            subject: Subject {
                env: "pv64".into(),
                op: "copy".into(),
                what: "own,v1".into(),
            },
            batch: 16,
            xen_c: cost(400.0),
            ours,
        };
        let text = table(&[row(cost(100.0)), row(Outcome::NotBuilt)]).to_string();
        for cell in ["copy", "own,v1", "16", "400", "100", "0.25x", "not built"] {
            assert!(text.contains(cell), "{text}");
        }
    }

    #[test]
    fn more_memory_than_theirs_falls_short_and_so_does_none() {
        let theirs = Memory::Bytes(32.0);
        assert!(!memory_line(&theirs, Some(&Memory::Bytes(32.1))).1);
        assert!(memory_line(&theirs, Some(&Memory::Bytes(40.0))).1);
        assert_eq!(
            memory_line(&theirs, None),
            ("xen-c 32.0, ours unmeasured".into(), true)
        );
    }
}
