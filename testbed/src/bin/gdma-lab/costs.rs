// SPDX-License-Identifier: GPL-2.0-only
//! From the lines of the guest `bench-gnttab` to what each grant table operation costs on two
//! hypervisors, and which of them is better. Pure.
//!
//! The lines are described in `xtf-tests/lab/include/lab/cost.h`. Under QEMU's `-icount shift=0` a tick
//! is one executed instruction.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use crate::console::{self, Speaker};

/// `-ENOSYS` as the guest prints it.
const NOT_BUILT: i64 = -38;
const PAGE_BYTES: f64 = 4096.0;

/// The goal: a fifth fewer instructions.
const GOAL: f64 = 0.80;
/// Ratios are printed with two digits; what reads as 1.00 is not slower.
const NOT_SLOWER: f64 = 1.005;

/// One operation of one kind of guest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The guest's environment: `pv64`, `hvm64`.
    pub env: String,
    /// The operation, as Xen's header names it.
    pub op: String,
    /// Whose grants, which version, which direction.
    pub what: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {} {}", self.env, self.op, self.what))
    }
}

/// What became of an operation at one batch size.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Cost(Cost),
    /// The hypervisor has no such operation.
    NotBuilt,
    /// The operation failed, or something that has to come before it did.
    Refused(String),
}

/// Instructions for one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// With the hypercall's share, without the clock's.
    pub gross: f64,
    /// Less a null hypercall for each call made.
    pub net: f64,
}

/// Bytes of the hypervisor's memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Memory {
    Bytes(f64),
    Refused(String),
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum CostError {
    #[error("the guest's line makes no sense ({fault}): {line}")]
    Line { line: String, fault: String },
    #[error("the guest gave no {0} figure")]
    NoBaseline(&'static str),
    #[error("the guest measured {0} twice")]
    Twice(String),
}

/// Where a figure belongs.
type Place = (Subject, u64, u64);

/// All that one boot of the guest tells.
#[derive(Debug, Default)]
pub struct Costs {
    /// In the guest's order; several places of one batch are averaged.
    rows: Vec<(Subject, u64, Outcome)>,
    pub per_entry: Option<Memory>,
    pub per_handle: Option<Memory>,
}

impl Costs {
    pub fn parse(env: &str, console: &str) -> Result<Self, CostError> {
        let mut costs = Self::default();
        let mut lines: Vec<(Place, Answer)> = Vec::new();
        for line in console.lines() {
            let (speaker, text) = console::attribute(line);
            if speaker != Speaker::TestGuest {
                continue;
            }
            let wrong = |fault| CostError::Line {
                line: text.to_owned(),
                fault,
            };
            if let Some(fields) = text.strip_prefix("GNTTAB ") {
                let fields = Fields::parse(fields).map_err(wrong)?;
                let (place, answer) = fields.answer(env).map_err(wrong)?;
                if lines.iter().any(|(known, _)| *known == place) {
                    let (subject, batch, _) = place;
                    return Err(CostError::Twice(format!("{subject}, batch {batch}")));
                }
                lines.push((place, answer));
            } else if let Some(fields) = text.strip_prefix("GNTTAB-MEMORY ") {
                let fields = Fields::parse(fields).map_err(wrong)?;
                costs.add_memory(&fields).map_err(wrong)?;
            }
        }
        costs.add_rows(&lines)?;
        Ok(costs)
    }

    fn add_memory(&mut self, fields: &Fields<'_>) -> Result<(), String> {
        let what: String = fields.get("what")?;
        let (slot, users, own_frames) = match what.as_str() {
            "table" => (&mut self.per_entry, "entries", "frames"),
            "handles" => (&mut self.per_handle, "handles", ""),
            _ => return Err(format!("memory of '{what}'")),
        };
        *slot = Some(if let Some(reason) = fields.failure()? {
            Memory::Refused(reason)
        } else {
            let pages: i64 = fields.get("pages")?;
            let shared: i64 = if own_frames.is_empty() {
                0
            } else {
                fields.get(own_frames)?
            };
            let users: u32 = fields.get(users)?;
            if users == 0 {
                return Err("no users of the memory".to_owned());
            }
            Memory::Bytes((pages - shared) as f64 * PAGE_BYTES / f64::from(users))
        });
        Ok(())
    }

    fn add_rows(&mut self, lines: &[(Place, Answer)]) -> Result<(), CostError> {
        let timed = |name| {
            let found = lines.iter().find(|((subject, ..), _)| subject.op == name);
            match found {
                Some((_, Answer::Timed(timed))) => Ok(*timed),
                _ => Err(CostError::NoBaseline(name)),
            }
        };
        let clock = timed("clock")?.ticks as f64;
        let null = timed("null")?;
        let null = (null.ticks as f64 - clock) / null.calls as f64;
        let mut places: HashMap<(Subject, u64), Vec<Outcome>> = HashMap::new();
        for ((subject, batch, _), answer) in lines {
            if matches!(subject.op.as_str(), "clock" | "null") {
                continue;
            }
            let key = (subject.clone(), *batch);
            let outcome = answer.outcome(clock, null);
            places.entry(key.clone()).or_default().push(outcome);
            if places[&key].len() == 1 {
                self.rows.push((key.0, key.1, Outcome::NotBuilt));
            }
        }
        for (subject, batch, outcome) in &mut self.rows {
            *outcome = together(&places[&(subject.clone(), *batch)]);
        }
        Ok(())
    }

    pub fn rows(&self) -> impl Iterator<Item = (&Subject, u64, &Outcome)> {
        self.rows
            .iter()
            .map(|(s, batch, outcome)| (s, *batch, outcome))
    }

    pub fn outcome(&self, subject: &Subject, batch: u64) -> Option<&Outcome> {
        self.rows()
            .find(|(s, b, _)| *s == subject && *b == batch)
            .map(|(.., outcome)| outcome)
    }
}

/// The mean over several places; one that failed speaks for all.
fn together(places: &[Outcome]) -> Outcome {
    let mut sum = Cost {
        gross: 0.0,
        net: 0.0,
    };
    for place in places {
        match place {
            Outcome::Cost(cost) => {
                sum.gross += cost.gross;
                sum.net += cost.net;
            }
            failed => return failed.clone(),
        }
    }
    let count = places.len() as f64;
    Outcome::Cost(Cost {
        gross: sum.gross / count,
        net: sum.net / count,
    })
}

/// A timed round.
#[derive(Clone, Copy, Debug)]
struct Timed {
    calls: u64,
    elements: u64,
    ticks: u64,
}

#[derive(Clone, Debug)]
enum Answer {
    Timed(Timed),
    NotBuilt,
    Refused(String),
}

impl Answer {
    fn outcome(&self, clock: f64, null: f64) -> Outcome {
        match self {
            Self::Timed(round) => {
                let ticks = round.ticks as f64 - clock;
                let elements = round.elements as f64;
                Outcome::Cost(Cost {
                    gross: ticks / elements,
                    net: (ticks - null * round.calls as f64) / elements,
                })
            }
            Self::NotBuilt => Outcome::NotBuilt,
            Self::Refused(reason) => Outcome::Refused(reason.clone()),
        }
    }
}

/// The `name=value` words of one line.
struct Fields<'a>(HashMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut named = HashMap::new();
        for field in text.split_whitespace() {
            let (name, value) = field
                .split_once('=')
                .ok_or_else(|| format!("'{field}' is no name=value"))?;
            if named.insert(name, value).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(Self(named))
    }

    fn get<T: FromStr>(&self, name: &str) -> Result<T, String> {
        let value = self.0.get(name).ok_or_else(|| format!("no {name}"))?;
        value.parse().map_err(|_| format!("bad {name}"))
    }

    /// Why there is no figure, if there is none.
    fn failure(&self) -> Result<Option<String>, String> {
        Ok(if self.0.contains_key("error") {
            Some(match self.get("error")? {
                NOT_BUILT => "not built".to_owned(),
                error => format!("error {error}"),
            })
        } else if self.0.contains_key("status") {
            Some(format!("status {}", self.get::<i64>("status")?))
        } else if self.0.contains_key("unmeasured") {
            Some("unmeasured".to_owned())
        } else {
            None
        })
    }

    fn answer(&self, env: &str) -> Result<(Place, Answer), String> {
        let subject = Subject {
            env: env.to_owned(),
            op: self.get("op")?,
            what: self.get("what")?,
        };
        let place = (subject, self.get("batch")?, self.get("place")?);
        let answer = match self.failure()? {
            Some(reason) if reason == "not built" => Answer::NotBuilt,
            Some(reason) => Answer::Refused(reason),
            None => {
                let round = Timed {
                    calls: self.get("calls")?,
                    elements: self.get("elements")?,
                    ticks: self.get("ticks")?,
                };
                if round.calls == 0 || round.elements == 0 {
                    return Err("nothing was done".to_owned());
                }
                Answer::Timed(round)
            }
        };
        Ok((place, answer))
    }
}

/// How ours compares with Xen's C tables, over all batch sizes of one operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// At least a fifth fewer instructions everywhere; the worst ratio.
    GoalMet(f64),
    NotSlower(f64),
    /// The worst ratio, and the batch size it is at.
    Slower(f64, u64),
    /// Ours gave no figure; why.
    Missing(String),
    /// The C tables gave none, so there is nothing to compare.
    Incomparable(String),
}

impl Verdict {
    /// Whether a strict run fails for it.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Slower(..) | Self::Missing(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoalMet(worst) => write!(f, "goal met: {worst:.2}x at worst"),
            Self::NotSlower(worst) => write!(f, "not slower: {worst:.2}x at worst"),
            Self::Slower(worst, batch) => write!(f, "slower: {worst:.2}x at batch {batch}"),
            Self::Missing(reason) => write!(f, "no figure of ours: {reason}"),
            Self::Incomparable(reason) => write!(f, "no figure of xen-c: {reason}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cost(cost) => f.pad(&format!("{:.0}", cost.net)),
            Self::NotBuilt => f.pad("not built"),
            Self::Refused(reason) => f.pad(&format!("refused ({reason})")),
        }
    }
}

/// One batch size of one operation on both hypervisors.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub subject: Subject,
    pub batch: u64,
    pub xen_c: Outcome,
    pub ours: Outcome,
}

impl Row {
    /// Ours by theirs, net.
    pub fn ratio(&self) -> Option<f64> {
        match (&self.xen_c, &self.ours) {
            (Outcome::Cost(theirs), Outcome::Cost(ours)) if theirs.net > 0.0 => {
                Some(ours.net / theirs.net)
            }
            _ => None,
        }
    }
}

/// Both hypervisors' figures of one guest side by side: operations in the order of the C tables' run,
/// the batch sizes of one together.
pub fn compare(xen_c: &Costs, ours: &Costs) -> Vec<Row> {
    let absent = || Outcome::Refused("unmeasured".to_owned());
    let row = |(subject, batch, outcome): (&Subject, u64, &Outcome)| Row {
        subject: subject.clone(),
        batch,
        xen_c: outcome.clone(),
        ours: ours.outcome(subject, batch).cloned().unwrap_or_else(absent),
    };
    let mut rows: Vec<Row> = xen_c.rows().map(row).collect();
    let order = subjects(&rows);
    rows.sort_by_key(|row| order.iter().position(|subject| *subject == row.subject));
    rows
}

/// Each operation once, in the rows' order.
fn subjects(rows: &[Row]) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    for row in rows {
        if !subjects.contains(&row.subject) {
            subjects.push(row.subject.clone());
        }
    }
    subjects
}

/// A verdict for each operation, in the rows' order.
pub fn verdicts(rows: &[Row]) -> Vec<(Subject, Verdict)> {
    let of = |subject: Subject| {
        let own = rows.iter().filter(|row| row.subject == subject);
        let verdict = verdict(own);
        (subject, verdict)
    };
    subjects(rows).into_iter().map(of).collect()
}

fn verdict<'a>(rows: impl Iterator<Item = &'a Row>) -> Verdict {
    let mut worst = (f64::NEG_INFINITY, 0);
    for row in rows {
        match (row.ratio(), &row.xen_c, &row.ours) {
            (Some(ratio), ..) if ratio > worst.0 => worst = (ratio, row.batch),
            (Some(_), ..) => {}
            (None, Outcome::Cost(_), Outcome::Cost(_)) => {
                return Verdict::Incomparable("it costs no more than a null call".to_owned());
            }
            (None, Outcome::Cost(_), ours) => return Verdict::Missing(ours.to_string()),
            (None, theirs, _) => return Verdict::Incomparable(theirs.to_string()),
        }
    }
    match worst {
        (ratio, _) if ratio <= GOAL => Verdict::GoalMet(ratio),
        (ratio, _) if ratio < NOT_SLOWER => Verdict::NotSlower(ratio),
        (ratio, batch) => Verdict::Slower(ratio, batch),
    }
}

/// One published figure; `value` is absent where the hypervisor gave none, and `answer` says why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationFigure {
    pub benchmark: &'static str,
    pub variant: &'static str,
    pub arch: &'static str,
    pub guest: String,
    pub operation: String,
    pub what: String,
    pub batch: u64,
    pub metric: &'static str,
    pub value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    pub unit: &'static str,
}

impl Costs {
    /// Everything of this boot, for publication.
    pub fn figures(&self, variant: &'static str) -> Vec<OperationFigure> {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let figure =
            |subject: &Subject, batch, metric, value: Option<f64>, answer| OperationFigure {
                benchmark: "grant-table-operations",
                variant,
                arch: "x86_64",
                guest: subject.env.clone(),
                operation: subject.op.clone(),
                what: subject.what.clone(),
                batch,
                metric,
                value: value.map(rounded),
                answer,
                unit: "instructions",
            };
        let mut figures = Vec::new();
        for (subject, batch, outcome) in self.rows() {
            let (gross, net, answer) = match outcome {
                Outcome::Cost(cost) => (Some(cost.gross), Some(cost.net), None),
                other => (None, None, Some(other.to_string())),
            };
            for (metric, value) in [
                ("instructions_per_element", gross),
                ("net_instructions_per_element", net),
            ] {
                figures.push(figure(subject, batch, metric, value, answer.clone()));
            }
        }
        let memory = [
            ("bytes_per_active_entry", &self.per_entry),
            ("bytes_per_maptrack_handle", &self.per_handle),
        ];
        for (metric, memory) in memory {
            let (value, answer) = match memory {
                None => continue,
                Some(Memory::Bytes(bytes)) => (Some(*bytes), None),
                Some(Memory::Refused(reason)) => (None, Some(reason.clone())),
            };
            let env = self.rows.first().map(|(s, ..)| s.env.clone());
            let subject = Subject {
                env: env.unwrap_or_default(),
                op: "memory".to_owned(),
                what: "hypervisor".to_owned(),
            };
            let mut of_memory = figure(&subject, 1, metric, value, answer);
            of_memory.unit = "bytes";
            figures.push(of_memory);
        }
        figures
    }
}

#[cfg(test)]
#[path = "costs_tests.rs"]
mod tests;
