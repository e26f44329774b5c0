// SPDX-License-Identifier: GPL-2.0-only
//! From a guest's `BENCH` lines to the figures that are published. Pure.
//!
//! The guest prints, once a phase and operation,
//! `BENCH variant=<v> op=<map|unmap|null|clock> batch=<n> iterations=<calls> pages=<n> ticks=<total>`.
//! Under QEMU's `-icount shift=0` a tick is one executed instruction.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Serialize;
use thiserror::Error;

use crate::console::{self, Speaker};

/// One iteration is one map call and one unmap call, each of a whole batch.
const CALLS_PER_ITERATION: u64 = 2;

/// Whose grants are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Variant {
    #[serde(rename = "ours")]
    Ours,
    /// As `Ours`, with the batch as one element of many pages, not many of one.
    #[serde(rename = "ours-run")]
    OursRun,
    /// As `Ours`, a page a call with everything in registers.
    #[serde(rename = "ours-reg")]
    OursReg,
    /// As `Ours`, with the array in memory that the vcpu has registered.
    #[serde(rename = "ours-args")]
    OursArgs,
    /// As `OursRun`, likewise.
    #[serde(rename = "ours-args-run")]
    OursArgsRun,
    /// As `OursArgs`, with frames of the domain's own that lie apart.
    #[serde(rename = "own-args")]
    OwnArgs,
    /// As `OursArgsRun`, with frames of its own that follow each other.
    #[serde(rename = "own-args-run")]
    OwnArgsRun,
    #[serde(rename = "xen-c")]
    XenC,
    /// Nobody's: what the machine costs anyway.
    #[serde(rename = "xen")]
    Xen,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours => "ours",
            Self::OursRun => "ours-run",
            Self::OursReg => "ours-reg",
            Self::OursArgs => "ours-args",
            Self::OursArgsRun => "ours-args-run",
            Self::OwnArgs => "own-args",
            Self::OwnArgsRun => "own-args-run",
            Self::XenC => "xen-c",
            Self::Xen => "xen",
        })
    }
}

impl FromStr for Variant {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "ours" => Ok(Self::Ours),
            "ours-run" => Ok(Self::OursRun),
            "ours-reg" => Ok(Self::OursReg),
            "ours-args" => Ok(Self::OursArgs),
            "ours-args-run" => Ok(Self::OursArgsRun),
            "own-args" => Ok(Self::OwnArgs),
            "own-args-run" => Ok(Self::OwnArgsRun),
            "xen" => Ok(Self::Xen),
            "xen-c" => Ok(Self::XenC),
            _ => Err(()),
        }
    }
}

/// How the granter's p2m has the pages that it grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Granted {
    /// One by one.
    Small,
    /// In a large page, as toolstacks make them.
    Large,
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Small => "small",
            Self::Large => "large",
        })
    }
}

/// What was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Map,
    Unmap,
    /// A hypercall that does nothing.
    Null,
    /// Reading the clock.
    Clock,
}

impl FromStr for Op {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "map" => Ok(Self::Map),
            "unmap" => Ok(Self::Unmap),
            "null" => Ok(Self::Null),
            "clock" => Ok(Self::Clock),
            _ => Err(()),
        }
    }
}

/// One `BENCH` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub variant: Variant,
    pub op: Op,
    pub batch: u64,
    pub iterations: u64,
    /// Pages in all the iterations together.
    pub pages: u64,
    /// Ticks of all the iterations together.
    pub ticks: u64,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FigureError {
    #[error("the guest's line makes no sense ({fault}): {line}")]
    Line { line: String, fault: String },
    #[error("the guest gave no {op:?} figure of {variant}, batch {batch}")]
    Absent {
        variant: Variant,
        op: Op,
        batch: u64,
    },
    #[error("the guest gave two {op:?} figures of {variant}, batch {batch}")]
    Twice {
        variant: Variant,
        op: Op,
        batch: u64,
    },
    #[error("{variant}, batch {batch}: {fault}")]
    Inconsistent {
        variant: Variant,
        batch: u64,
        fault: &'static str,
    },
}

impl Sample {
    /// Read a console line; `None` if it is no `BENCH` line of the guest's.
    pub fn parse(line: &str) -> Option<Result<Self, FigureError>> {
        let (speaker, text) = console::attribute(line);
        let fields = text.strip_prefix("BENCH ")?;
        (speaker == Speaker::TestGuest).then(|| {
            Self::parse_fields(fields).map_err(|fault| FigureError::Line {
                line: text.to_owned(),
                fault,
            })
        })
    }

    fn parse_fields(fields: &str) -> Result<Self, String> {
        let mut named: HashMap<&str, &str> = HashMap::new();
        for field in fields.split_whitespace() {
            let (name, value) = field
                .split_once('=')
                .ok_or_else(|| format!("'{field}' is no name=value"))?;
            if named.insert(name, value).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        fn get<T: FromStr>(named: &HashMap<&str, &str>, name: &str) -> Result<T, String> {
            let value = named.get(name).ok_or_else(|| format!("no {name}"))?;
            value.parse().map_err(|_| format!("bad {name}"))
        }
        Ok(Self {
            variant: get(&named, "variant")?,
            op: get(&named, "op")?,
            batch: get(&named, "batch")?,
            iterations: get(&named, "iterations")?,
            pages: get(&named, "pages")?,
            ticks: get(&named, "ticks")?,
        })
    }
}

/// All the samples of one boot.
#[derive(Debug)]
pub struct Samples(Vec<Sample>);

impl Samples {
    pub fn parse(console: &str) -> Result<Self, FigureError> {
        console
            .lines()
            .filter_map(Sample::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The only sample of this kind. A null call has no variant and no batch of its own.
    fn only(&self, variant: Variant, op: Op, batch: u64) -> Result<Sample, FigureError> {
        let of_kind = |s: &&Sample| {
            s.op == op && (op == Op::Null || (s.variant == variant && s.batch == batch))
        };
        let mut found = self.0.iter().filter(of_kind);
        let sample = found
            .next()
            .ok_or(FigureError::Absent { variant, op, batch })?;
        match found.next() {
            None => Ok(*sample),
            Some(_) => Err(FigureError::Twice { variant, op, batch }),
        }
    }

    pub fn cost(&self, variant: Variant, batch: u64) -> Result<Cost, FigureError> {
        let map = self.only(variant, Op::Map, batch)?;
        let unmap = self.only(variant, Op::Unmap, batch)?;
        let null = self.only(variant, Op::Null, batch)?;
        Cost::of(map, unmap, null)
    }
}

/// What a foreign page's way to the device and back costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    pub instructions_per_page: f64,
    /// Less what entering and leaving the hypervisor for nothing costs in the same boot, most of which
    /// is the emulator's own doing.
    pub net_instructions_per_page: f64,
    pub iterations: u64,
}

impl Cost {
    fn of(map: Sample, unmap: Sample, null: Sample) -> Result<Self, FigureError> {
        let inconsistent = |fault| FigureError::Inconsistent {
            variant: map.variant,
            batch: map.batch,
            fault,
        };
        if (map.pages, map.iterations) != (unmap.pages, unmap.iterations) {
            return Err(inconsistent(
                "as many pages and iterations must be unmapped as mapped",
            ));
        }
        if map.pages == 0 || map.pages != map.batch.saturating_mul(map.iterations) {
            return Err(inconsistent("pages is not batch times iterations"));
        }
        if null.iterations == 0 {
            return Err(inconsistent("the null call was never made"));
        }
        let ticks = map.ticks as f64 + unmap.ticks as f64;
        let null_per_call = null.ticks as f64 / null.iterations as f64;
        let calls = (map.iterations * CALLS_PER_ITERATION) as f64;
        let pages = map.pages as f64;
        Ok(Self {
            instructions_per_page: ticks / pages,
            net_instructions_per_page: (ticks - null_per_call * calls) / pages,
            iterations: map.iterations,
        })
    }
}

/// Invalidations that one map and unmap of a batch adds to those of a boot that maps nothing.
pub fn invalidations_per_batch(counted: u64, baseline: u64, iterations: u64) -> f64 {
    (counted as f64 - baseline as f64) / iterations as f64
}

/// One published figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub benchmark: &'static str,
    pub variant: Variant,
    pub arch: &'static str,
    pub iommu: &'static str,
    pub batch: u64,
    pub metric: &'static str,
    pub value: f64,
    pub unit: &'static str,
}

/// All that is known of one variant at one batch size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub variant: Variant,
    pub granted: Granted,
    pub batch: u64,
    pub cost: Cost,
    pub invalidations_per_batch: f64,
}

impl Measured {
    pub fn figures(&self) -> [Figure; 3] {
        let figure = |metric, value: f64, unit| Figure {
            benchmark: "foreign-grant-to-device-and-back",
            variant: self.variant,
            arch: "x86_64",
            iommu: "vtd",
            batch: self.batch,
            metric,
            value: (value * 1000.0).round() / 1000.0,
            unit,
        };
        [
            figure(
                "instructions_per_page",
                self.cost.instructions_per_page,
                "instructions",
            ),
            figure(
                "net_instructions_per_page",
                self.cost.net_instructions_per_page,
                "instructions",
            ),
            figure(
                "iotlb_invalidations_per_batch",
                self.invalidations_per_batch,
                "invalidations",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(op: &str, batch: u64, iterations: u64, ticks: u64) -> String {
        let (variant, pages) = if op == "null" {
            ("xen", 0)
        } else {
            ("ours", batch * iterations)
        };
        format!("BENCH variant={variant} op={op} batch={batch} iterations={iterations} pages={pages} ticks={ticks}
")
    }

    #[test]
    fn a_line_is_read_whoever_prefixed_it() {
        let sample = Sample {
            variant: Variant::XenC,
            op: Op::Unmap,
            batch: 16,
            iterations: 4,
            pages: 64,
            ticks: 987_654,
        };
        let text = "BENCH variant=xen-c op=unmap batch=16 iterations=4 pages=64 ticks=987654";
        assert_eq!(Sample::parse(text), Some(Ok(sample)));
        assert_eq!(
            Sample::parse(&format!("(d0) [    1.5] {text}\r")),
            Some(Ok(sample))
        );
        assert_eq!(Sample::parse(&format!("(d1) {text}")), None);
        assert_eq!(Sample::parse("BENCHMARK variant=ours"), None);
    }

    #[test]
    fn bad_lines_are_refused_with_their_fault() {
        let fault = |line: &str| match Sample::parse(line) {
            Some(Err(FigureError::Line { fault, .. })) => fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            fault("BENCH variant=theirs op=map batch=1 iterations=1 pages=1 ticks=1"),
            "bad variant"
        );
        assert_eq!(
            fault("BENCH variant=ours op=map batch=1 iterations=1 pages=1"),
            "no ticks"
        );
        assert_eq!(
            fault("BENCH variant=ours op=map batch=1 iterations=1 pages=1 ticks=-1"),
            "bad ticks"
        );
        assert_eq!(
            fault("BENCH variant=ours op=map batch=1 batch=2 iterations=1 pages=1 ticks=1"),
            "batch is given twice"
        );
        assert_eq!(fault("BENCH variant"), "'variant' is no name=value");
    }

    #[test]
    fn the_null_calls_are_taken_off_two_an_iteration() {
        // 10 iterations of 4 pages: 40 pages and 20 calls; a null call is 500/5 = 100 ticks.
        let console = [
            line("map", 4, 10, 6_000),
            line("unmap", 4, 10, 4_000),
            line("null", 0, 5, 500),
        ]
        .concat();
        let cost = Samples::parse(&console)
            .unwrap()
            .cost(Variant::Ours, 4)
            .unwrap();
        assert_eq!(cost.instructions_per_page, 250.0); // (6000 + 4000) / 40
        assert_eq!(cost.net_instructions_per_page, 200.0); // (10000 - 100 * 20) / 40
        assert_eq!(cost.iterations, 10);
    }

    #[test]
    fn a_batch_of_one_pays_both_calls() {
        let console = [
            line("map", 1, 8, 800),
            line("unmap", 1, 8, 1_600),
            line("null", 0, 2, 100),
        ]
        .concat();
        let cost = Samples::parse(&console)
            .unwrap()
            .cost(Variant::Ours, 1)
            .unwrap();
        assert_eq!(cost.instructions_per_page, 300.0);
        assert_eq!(cost.net_instructions_per_page, 200.0); // 300 - 2 * 50
    }

    #[test]
    fn other_variants_and_the_clock_do_not_disturb() {
        let noise = "BENCH variant=xen op=clock batch=1 iterations=9 pages=0 ticks=77\n\
                     BENCH variant=ours-reg op=map batch=4 iterations=10 pages=40 ticks=1\n\
                     BENCH variant=ours-run op=map batch=4 iterations=10 pages=40 ticks=1\n\
                     BENCH variant=xen-c op=unmap batch=4 iterations=10 pages=40 ticks=1\n";
        let own = [
            line("map", 4, 10, 6_000),
            line("unmap", 4, 10, 4_000),
            line("null", 1, 5, 500),
        ];
        let console = format!("{noise}{}", own.concat());
        let cost = Samples::parse(&console)
            .unwrap()
            .cost(Variant::Ours, 4)
            .unwrap();
        assert_eq!(cost.net_instructions_per_page, 200.0);
    }

    #[test]
    fn what_is_absent_or_double_is_no_figure() {
        let map = line("map", 4, 10, 6_000);
        let rest = [line("unmap", 4, 10, 4_000), line("null", 0, 5, 500)].concat();
        let cost =
            |console: &str, batch| Samples::parse(console).unwrap().cost(Variant::Ours, batch);
        assert_eq!(
            cost(&rest, 4),
            Err(FigureError::Absent {
                variant: Variant::Ours,
                op: Op::Map,
                batch: 4
            })
        );
        assert_eq!(
            cost(&format!("{map}{rest}"), 8),
            Err(FigureError::Absent {
                variant: Variant::Ours,
                op: Op::Map,
                batch: 8
            })
        );
        assert_eq!(
            cost(&format!("{map}{map}{rest}"), 4),
            Err(FigureError::Twice {
                variant: Variant::Ours,
                op: Op::Map,
                batch: 4
            })
        );
        let theirs = Samples::parse(&format!("{map}{rest}"))
            .unwrap()
            .cost(Variant::XenC, 4);
        assert!(matches!(
            theirs,
            Err(FigureError::Absent {
                variant: Variant::XenC,
                ..
            })
        ));
    }

    #[test]
    fn figures_that_contradict_each_other_are_refused() {
        let cost = |map: String, unmap: String, null: String| {
            Samples::parse(&[map, unmap, null].concat())
                .unwrap()
                .cost(Variant::Ours, 4)
        };
        let inconsistent = |result| matches!(result, Err(FigureError::Inconsistent { .. }));
        assert!(inconsistent(cost(
            line("map", 4, 10, 1),
            line("unmap", 4, 9, 1),
            line("null", 0, 5, 5)
        )));
        assert!(inconsistent(cost(
            line("map", 4, 10, 1),
            line("unmap", 4, 10, 1),
            line("null", 0, 0, 5)
        )));
        let short = "BENCH variant=ours op=map batch=4 iterations=10 pages=39 ticks=1\n".to_owned();
        assert!(inconsistent(cost(
            short.clone(),
            short.replace("=map", "=unmap"),
            line("null", 0, 5, 5)
        )));
    }

    #[test]
    fn invalidations_are_counted_over_the_baseline() {
        assert_eq!(invalidations_per_batch(1_040, 40, 10), 100.0);
        assert_eq!(invalidations_per_batch(50, 40, 10), 1.0);
        assert_eq!(invalidations_per_batch(40, 40, 10), 0.0);
        // Fewer than the baseline would mean a broken measurement: it must show, not wrap.
        assert_eq!(invalidations_per_batch(30, 40, 10), -1.0);
    }

    #[test]
    fn the_json_has_the_agreed_names() {
        let cost = Cost {
            instructions_per_page: 12.34567,
            net_instructions_per_page: 2.0,
            iterations: 1,
        };
        let measured = Measured {
            variant: Variant::XenC,
            granted: Granted::Small,
            batch: 16,
            cost,
            invalidations_per_batch: 16.0,
        };
        let json = serde_json::to_value(measured.figures()).unwrap();
        let expected = serde_json::json!({
            "benchmark": "foreign-grant-to-device-and-back", "variant": "xen-c", "arch": "x86_64", "iommu": "vtd",
            "batch": 16, "metric": "instructions_per_page", "value": 12.346, "unit": "instructions"
        });
        assert_eq!(json[0], expected);
        assert_eq!(json[1]["metric"], "net_instructions_per_page");
        assert_eq!(json[2]["metric"], "iotlb_invalidations_per_batch");
    }
}
