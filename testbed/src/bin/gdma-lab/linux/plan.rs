// SPDX-License-Identifier: GPL-2.0-only
//! The plan `testbed/linux-lab/plan.toml`: machines to boot and checks to expect.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use regex::Regex;
use serde::Deserialize;

use crate::artefact::{Artefact, BuiltFile};
use crate::machine::Machine;

/// Where the plan is, under the repository's root.
pub const PATH: &str = "testbed/linux-lab/plan.toml";

/// The checks of dom0 that the runner makes, not the guests.
pub mod runners_own {
    /// The lab in dom0 came to its end, in time.
    pub const ENDS: &str = "dom0/ends-by-itself";
    /// Neither Xen nor Linux complained on the console.
    pub const CLEAN: &str = "dom0/console-is-clean";
    /// The hypervisor has the grant tables that the person asked for.
    pub const TABLES: &str = "dom0/tables-are-those-asked-for";
    /// All three.
    pub const ALL: [&str; 3] = [ENDS, CLEAN, TABLES];
}

/// Whose grant tables are booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tables {
    /// This project's.
    Rust,
    /// Those of released Xen.
    C,
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "rust",
            Self::C => "c",
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    first_phase_s: u64,
    whole_run_s: u64,
    cycles: u32,
    data_units: u32,
    domains: Vec<String>,
    must_not: Vec<String>,
    checks: Checks,
    tables: TablesOf,
    image: Image,
    machine: MachineOf,
    dom0: BTreeMap<String, Dom0>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checks {
    dom0: Vec<String>,
    domain: Vec<String>,
    cycle: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TablesOf {
    in_rust: String,
    rust: Artefact,
    c: Artefact,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    kernel: String,
    initramfs: String,
    disk: String,
    scratch: String,
    make: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineOf {
    qemu: String,
    qemu_args: Vec<String>,
    xen_args: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dom0 {
    xen_args: String,
}

/// What a person may choose of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub tables: Tables,
    pub cycles: Option<u32>,
    /// Dom0 keeps a page of a domain mapped over its end: the checks must find it.
    pub leak: bool,
}

/// One boot of the lab.
#[derive(Debug)]
pub struct Boot {
    /// What dom0 is: `pvh`, `pv`.
    pub dom0: String,
    pub machine: Machine,
}

/// The checked plan, for one kind of grant tables.
#[derive(Debug)]
pub struct Plan {
    pub tables: Tables,
    pub boots: Vec<Boot>,
    /// All that `machine` of a boot needs and does not name itself.
    pub image: Vec<BuiltFile>,
    pub first_phase: Duration,
    pub whole_run: Duration,
    /// Every check that a boot must tell, in the order of the report.
    pub checks: Vec<String>,
    pub must_not: Vec<Regex>,
    /// The line by which Xen says that its grant tables are in Rust.
    pub in_rust: Regex,
}

impl Plan {
    pub fn load(root: &Path, options: Options) -> Result<Self> {
        let text = std::fs::read_to_string(root.join(PATH))
            .with_context(|| format!("cannot read {PATH}"))?;
        Self::parse(&text, options).with_context(|| PATH.to_owned())
    }

    pub fn parse(text: &str, options: Options) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let cycles = options.cycles.unwrap_or(file.cycles);
        let checks = file.checks(cycles);
        let mut seen = HashSet::new();
        if let Some(twice) = checks.iter().find(|check| !seen.insert(*check)) {
            bail!("the check {twice} is listed twice");
        }
        if let Some(lost) = runners_own::ALL
            .iter()
            .find(|own| !seen.contains(&own.to_string()))
        {
            bail!("the check {lost} is not listed");
        }
        if !(1..=128).contains(&file.data_units) {
            bail!(
                "data_units is {}: the halves of a disk have 128",
                file.data_units
            );
        }
        let pattern = |pattern: &String| Regex::new(pattern);
        Ok(Self {
            tables: options.tables,
            boots: file
                .dom0
                .iter()
                .rev()
                .map(|(kind, dom0)| Boot {
                    dom0: kind.clone(),
                    machine: file.machine(options, kind, dom0, cycles),
                })
                .collect(),
            image: file.image_files(),
            first_phase: Duration::from_secs(file.first_phase_s),
            whole_run: Duration::from_secs(file.whole_run_s),
            must_not: file
                .must_not
                .iter()
                .map(pattern)
                .collect::<Result<_, _>>()?,
            in_rust: pattern(&file.tables.in_rust)?,
            checks,
        })
    }
}

impl File {
    fn checks(&self, cycles: u32) -> Vec<String> {
        let mut checks: Vec<String> = Vec::new();
        checks.extend(self.checks.dom0.iter().map(|check| format!("dom0/{check}")));
        for kind in &self.domains {
            checks.extend(
                self.checks
                    .domain
                    .iter()
                    .map(|check| format!("{kind}/{check}")),
            );
        }
        for kind in &self.domains {
            for cycle in 1..=cycles {
                let named = |check| format!("{kind}/cycle-{cycle}/{check}");
                checks.extend(self.checks.cycle.iter().map(named));
            }
        }
        checks
    }

    fn image_files(&self) -> Vec<BuiltFile> {
        let Image {
            kernel,
            initramfs,
            disk,
            scratch,
            make,
        } = &self.image;
        let file = |path: &String| BuiltFile {
            path: path.into(),
            make: make.clone(),
            ..BuiltFile::default()
        };
        [kernel, initramfs, disk, scratch].map(file).to_vec()
    }

    fn machine(&self, options: Options, kind: &str, dom0: &Dom0, cycles: u32) -> Machine {
        let xen = match options.tables {
            Tables::Rust => &self.tables.rust,
            Tables::C => &self.tables.c,
        };
        let fill = |arg: &String| {
            arg.replace("{disk}", &self.image.disk)
                .replace("{scratch}", &self.image.scratch)
        };
        let mut qemu_args: Vec<String> = self.machine.qemu_args.iter().map(fill).collect();
        // Two modules, which a test guest has not: the kernel with its command line, and its first
        // file system.
        qemu_args.extend([
            "-initrd".to_owned(),
            format!(
                "{} console=hvc0 loglevel=4 mitigations=off tsc=reliable lab_dom0={kind} \
                 lab_cycles={cycles} lab_size={} lab_domains={} lab_leak={},{}",
                self.image.kernel,
                self.data_units,
                self.domains.join(":"),
                u8::from(options.leak),
                self.image.initramfs
            ),
        ]);
        Machine {
            arch: "x86_64".to_owned(),
            qemu: self.machine.qemu.clone(),
            qemu_args,
            xen: xen.fill(&[]),
            xen_args: format!("{} {}", self.machine.xen_args, dom0.xen_args),
            guest: None,
            modules: Vec::new(),
            ivrs_virtual_bits: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../../../linux-lab/plan.toml");

    const RELEASED: Options = Options {
        tables: Tables::C,
        cycles: None,
        leak: false,
    };

    fn plan(cycles: Option<u32>) -> Plan {
        Plan::parse(TEXT, Options { cycles, ..RELEASED }).unwrap()
    }

    #[test]
    fn both_kinds_of_dom0_are_booted() {
        let kinds: Vec<String> = plan(None).boots.into_iter().map(|boot| boot.dom0).collect();
        assert_eq!(kinds, ["pvh", "pv"]);
    }

    #[test]
    fn the_tables_asked_for_are_booted() {
        let xen = |tables| {
            let plan = Plan::parse(TEXT, Options { tables, ..RELEASED }).unwrap();
            plan.boots[0].machine.xen.path.display().to_string()
        };
        assert_eq!(xen(Tables::C), "build/xen/x86_64/stock/xen");
        assert_eq!(xen(Tables::Rust), "build/xen/x86_64/xen");
    }

    #[test]
    fn every_domain_that_comes_and_goes_has_its_checks() {
        let none = plan(Some(0)).checks.len();
        // Two kinds of domain, four checks each time.
        assert_eq!(plan(Some(3)).checks.len(), none + 3 * 2 * 4);
        assert!(
            plan(Some(3))
                .checks
                .contains(&"pv/cycle-3/no-zombie".to_owned())
        );
    }

    #[test]
    fn the_kernel_learns_what_the_plan_says() {
        let plan = plan(Some(7));
        let args = plan.boots[0].machine.qemu_args.join(" ");
        assert!(
            args.contains(
                "lab_dom0=pvh lab_cycles=7 lab_size=64 lab_domains=pvh:pv lab_leak=0,build/"
            ),
            "{args}"
        );
        assert!(!args.contains('{'), "{args}");
    }

    #[test]
    fn a_plan_without_a_runners_check_is_refused() {
        let text = TEXT.replace("\"ends-by-itself\",", "");
        let error = Plan::parse(&text, RELEASED).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the check dom0/ends-by-itself is not listed"
        );
        let text = TEXT.replace("\"net-ping\",", "\"net-ping\", \"net-ping\",");
        let error = Plan::parse(&text, RELEASED).unwrap_err();
        assert_eq!(error.to_string(), "the check pvh/net-ping is listed twice");
    }

    #[test]
    fn a_fault_on_the_console_is_a_complaint() {
        let plan = plan(None);
        let complains = |line: &str| plan.must_not.iter().any(|bad| bad.is_match(line));
        assert!(complains("(XEN) [    1.0] Xen BUG at common/x.c:1"));
        assert!(complains(
            "[   12.345678] BUG: kernel NULL pointer dereference"
        ));
        assert!(complains(
            "[   12.345678] WARNING: CPU: 0 PID: 1 at drivers/xen/grant-table.c:1"
        ));
        assert!(!complains(
            "[    6.2] bridge: filtering via arp/ip/ip6tables is no longer available"
        ));
    }
}
