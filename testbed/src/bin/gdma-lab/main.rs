// SPDX-License-Identifier: GPL-2.0-only
//! The lab runner: boots patched Xen and its test guests under QEMU and says what came of it.
//!
//! | module | what it knows |
//! |---|---|
//! | [`catalogue`] | `lab.toml`: tests, machines, expectations |
//! | [`artefact`] | files others build, and the make target that builds each |
//! | [`stale`] | which of those are older than what they are made from |
//! | [`machine`] | QEMU's command line and version |
//! | [`firmware`], [`gdb`], [`acpi`] | tables corrected before Xen reads them: QEMU's debugger, its protocol, the tables; the latter two pure |
//! | [`process`] | one QEMU process: console, time limit, certain end |
//! | [`console`], [`verdict`] | what a log says, and whether that is a pass; pure |
//! | [`report`] | result lines, totals, JUnit XML |
//! | [`suite`] | `test` and `boot` |
//! | [`counting`] | `test`: runs of which IOTLB invalidations are counted |
//! | [`entered`] | `test`: runs of which functions of Xen must or must not run in a hypercall |
//! | [`plugin`] | the emulator's plugin that counts within a hypercall |
//! | [`trace`] | IOTLB invalidations in QEMU's trace |
//! | [`bench`], [`figures`] | `bench`: the boots, and the arithmetic; the latter pure |
//! | [`operations`], [`costs`] | `bench`: every grant table operation, the same way |
//! | [`profile`], [`attribution`] | `profile`: the boot, and whose the instructions are; the latter pure |
//! | [`linux`] | `linux`: Debian as dom0 and as its domains |
//! | [`demo`], [`story`] | `demo`: the boots, and what a guest tells step by step; the latter pure |

#![forbid(unsafe_code)]

mod acpi;
mod artefact;
mod attribution;
mod bench;
mod catalogue;
mod console;
mod costs;
mod counting;
mod demo;
mod entered;
mod figures;
mod firmware;
mod gdb;
mod goals;
mod linux;
mod machine;
mod operations;
mod plugin;
mod process;
mod profile;
mod report;
mod stale;
mod story;
mod suite;
mod trace;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::bench::BenchRequest;
use crate::catalogue::Catalogue;
use crate::figures::{Granted, Variant};
use crate::linux::LinuxRequest;
use crate::process::StopWish;
use crate::profile::ProfileRequest;
use crate::report::BAD;
use crate::suite::TestRequest;

/// Boots patched Xen and its test guests under QEMU, and reports.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// The repository's root; by default the nearest folder upwards that holds testbed/lab.toml
    #[arg(long, global = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run tests: all, or those named
    Test {
        /// `test` or `test/config`
        names: Vec<String>,
        /// Only name them
        #[arg(long)]
        list: bool,
        /// Show consoles as they come
        #[arg(short, long)]
        verbose: bool,
        /// Only runs of this architecture
        #[arg(long)]
        arch: Option<String>,
        /// How many QEMUs at a time
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
        jobs: u8,
        /// Where the JUnit report goes
        #[arg(long, default_value = "build/junit.xml")]
        junit: PathBuf,
    },
    /// Show the service at work, step by step
    Demo,
    /// Measure granting a page to a device and back, on this Xen and on stock Xen
    Bench {
        /// Fewer iterations
        #[arg(long)]
        quick: bool,
        /// Fail if any grant table operation is slower than stock Xen's, takes more memory, or is not built,
        /// or if a page's way to a device misses a goal
        #[arg(long)]
        strict: bool,
        /// Only the grant tables' operations; the results' file stays as it is
        #[arg(long)]
        operations: bool,
    },
    /// Show in which functions of Xen a map and an unmap spend their instructions
    Profile {
        /// ours, ours-run, ours-args, ours-args-run, ours-reg, or xen-c for stock Xen; several are possible
        #[arg(long, default_values = ["ours", "xen-c"], value_parser = variant)]
        variant: Vec<Variant>,
        /// Pages a call: 1, 16 or 128; without it, all
        #[arg(long)]
        batch: Option<u64>,
        /// How the granter's p2m has its pages: small, or large as toolstacks make them
        #[arg(long, value_enum, default_value = "small")]
        granted: Granted,
        /// How many functions to show
        #[arg(long, default_value_t = 20)]
        top: usize,
    },
    /// Run the Debian lab: Linux domains with disks and networks, under a Linux dom0 of each kind
    Linux {
        /// Whose grant tables
        #[arg(long, value_enum, default_value = "rust")]
        grant_table: linux::Tables,
        /// Only this kind of dom0
        #[arg(long)]
        dom0: Option<String>,
        /// How many domains of each kind come and go
        #[arg(long)]
        cycles: Option<u32>,
        /// Leave a page mapped over its domain's end, to see the checks fail
        #[arg(long)]
        leak: bool,
        /// How many QEMUs at a time
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
        jobs: u8,
        /// Show consoles as they come
        #[arg(short, long)]
        verbose: bool,
    },
    /// Boot one test with its console on the terminal
    Boot {
        /// `test` or `test/config`
        name: String,
    },
}

/// How the runner ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Good,
    /// A test failed, or none was run.
    Failed,
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Good => 0,
            Exit::Failed => 1,
            Exit::Interrupted => 130,
        })
    }
}

/// The status of a command that could not be tried.
const CANNOT: u8 = 2;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            anstream::eprintln!("{BAD}gdma-lab:{BAD:#} {error:#}");
            ExitCode::from(CANNOT)
        }
    }
}

fn run(cli: Cli) -> Result<Exit> {
    let root = find_root(cli.root)?;
    let catalogue = Catalogue::load(&root.join("testbed/lab.toml"))?;
    let stop = StopWish::from_signals()?;
    match cli.command {
        Command::Test {
            names,
            list,
            verbose,
            arch,
            jobs,
            junit,
        } => {
            if let Some(arch) = &arch
                && !catalogue.arches().contains(&arch.as_str())
            {
                bail!(
                    "no test runs on '{arch}'; there are {}",
                    catalogue.arches().join(" and ")
                );
            }
            let runs = catalogue.select(&names, arch.as_deref())?;
            if list {
                suite::list(&runs);
                return Ok(Exit::Good);
            }
            suite::test(
                &root,
                &TestRequest {
                    runs,
                    verbose,
                    jobs: jobs.into(),
                    junit,
                },
                &stop,
            )
        }
        Command::Demo => demo::run(&root, &catalogue, &stop),
        Command::Bench {
            quick,
            strict,
            operations,
        } => bench::run(
            &root,
            &catalogue.bench,
            &BenchRequest {
                quick,
                strict,
                operations_alone: operations,
            },
            &stop,
        ),
        Command::Profile {
            variant: variants,
            batch,
            granted,
            top,
        } => profile::run(
            &root,
            &catalogue.bench,
            &ProfileRequest {
                variants,
                batch,
                granted,
                top,
            },
            &stop,
        ),
        Command::Linux {
            grant_table,
            dom0,
            cycles,
            leak,
            jobs,
            verbose,
        } => linux::run(
            &root,
            &LinuxRequest {
                options: linux::Options {
                    tables: grant_table,
                    cycles,
                    leak,
                },
                dom0,
                jobs: jobs.into(),
                verbose,
            },
            &stop,
        ),
        Command::Boot { name } => suite::boot(&root, &catalogue, &name, &stop),
    }
}

fn variant(word: &str) -> Result<Variant, String> {
    match word.parse() {
        Ok(Variant::Xen) | Err(()) => Err("there is no such variant".to_owned()),
        Ok(variant) => Ok(variant),
    }
}

fn find_root(given: Option<PathBuf>) -> Result<PathBuf> {
    let holds_catalogue = |folder: &Path| folder.join("testbed/lab.toml").is_file();
    if let Some(root) = given {
        if !holds_catalogue(&root) {
            bail!("{} holds no testbed/lab.toml", root.display());
        }
        return Ok(root);
    }
    let here = std::env::current_dir()?;
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    match here
        .ancestors()
        .chain(built_from)
        .find(|folder| holds_catalogue(folder))
    {
        Some(root) => Ok(root.to_owned()),
        None => bail!("no testbed/lab.toml here or above: run this inside the repository"),
    }
}
