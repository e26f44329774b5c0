// SPDX-License-Identifier: GPL-2.0-only
//! The catalogue `lab.toml`: read, checked as a whole, and resolved into runs.
//!
//! A mistake in the catalogue is found when it is read, not when the run it spoils is reached: every
//! name is resolved and every pattern compiled before anything boots.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use thiserror::Error;

use crate::acpi::VIRTUAL_SIZES;
use crate::artefact::{self, Artefact};
use crate::console::GuestResult;
use crate::counting::Phase;
use crate::entered::Entered;
use crate::figures::Variant;
use crate::machine::{Guest, Machine, instructions_as_time};
use crate::verdict::{Expectations, Judge};

/// Why a catalogue, or a selection from it, is refused.
#[derive(Debug, Error)]
pub enum CatalogueError {
    #[error("cannot read {path}: {cause}")]
    Unreadable { path: String, cause: std::io::Error },
    #[error("lab.toml: {0}")]
    Syntax(String),
    #[error("lab.toml: {user} names {kind} '{name}', which is not there")]
    Dangling {
        user: String,
        kind: &'static str,
        name: String,
    },
    #[error("lab.toml: {user}: bad pattern /{pattern}/: {cause}")]
    Pattern {
        user: String,
        pattern: String,
        cause: Box<regex::Error>,
    },
    #[error("lab.toml: {user}: {fault}")]
    Contradiction { user: String, fault: String },
    #[error("no test is called '{name}'{}", hint(.near))]
    UnknownTest { name: String, near: Vec<String> },
}

fn hint(near: &[String]) -> String {
    match near {
        [] => "; `gdma-lab test --list` names them all".to_owned(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    defaults: Defaults,
    artefacts: BTreeMap<String, Artefact>,
    arch: BTreeMap<String, Arch>,
    config: BTreeMap<String, Config>,
    #[serde(default)]
    test: Vec<Test>,
    bench: Bench,
    demo: Demo,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    timeout_s: u64,
    must_not: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arch {
    qemu: String,
    qemu_args: Vec<String>,
    #[serde(default)]
    xen_args: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    arch: String,
    xen: String,
    /// Artefacts that boot besides the guest, as modules behind it.
    #[serde(default)]
    modules: Vec<String>,
    #[serde(default)]
    qemu_args: Vec<String>,
    #[serde(default)]
    xen_args: String,
    /// What the firmware's IVRS table is made to say of devices' addresses: how many bits they have.
    ivrs_virtual_bits: Option<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    about: String,
    #[serde(default)]
    judge: JudgeName,
    /// The guest's name, where it is not the test's.
    guest: Option<String>,
    #[serde(default)]
    guest_args: String,
    #[serde(default)]
    xen_args: String,
    #[serde(default)]
    must: Vec<String>,
    #[serde(default)]
    must_not: Vec<String>,
    /// Default `must_not` patterns that do not bind this test.
    #[serde(default)]
    may: Vec<String>,
    timeout_s: Option<u64>,
    /// Phases of the guest, each booted by itself, and the IOTLB invalidations each adds to a boot
    /// that runs none.
    #[serde(default)]
    invalidations: BTreeMap<String, u64>,
    /// Time follows the instructions executed, so that no interrupt comes by chance: each takes so
    /// many nanoseconds, as a power of two.
    icount: Option<u8>,
    /// Functions of Xen that run, or do not, within a hypercall.
    entered: Option<Entered>,
    runs: Vec<RunOn>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum JudgeName {
    #[default]
    Guest,
    Console,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunOn {
    config: String,
    /// The guest's kind; absent where no guest boots.
    env: Option<String>,
    #[serde(default)]
    expects: ExpectedResult,
    /// Patterns this machine's console must show, besides the test's.
    #[serde(default)]
    must: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum ExpectedResult {
    #[default]
    Success,
    Skip,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bench {
    guest: String,
    env: String,
    ours: String,
    xen_c: String,
    timeout_s: u64,
    #[serde(default)]
    operations: Vec<BenchOperations>,
}

/// One guest that measures every grant table operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BenchOperations {
    guest: String,
    env: String,
    ours: String,
    xen_c: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Demo {
    tests: Vec<String>,
    config: String,
}

/// One boot: a test on a machine, and what to expect of it.
#[derive(Clone, Debug)]
pub struct Run {
    pub test: String,
    pub config: String,
    pub about: String,
    pub machine: Machine,
    pub expected: Expectations,
    pub timeout: Duration,
    /// What is counted of it; the time limit is that of one boot.
    pub phases: Vec<Phase>,
    pub entered: Option<Entered>,
}

impl Run {
    /// The name of this run's files under `build/logs`.
    pub fn file_stem(&self) -> String {
        format!("{}-{}", self.test, self.config)
    }
}

/// The machines and limit of the benchmark; phases are put on the guests' command lines by the caller.
#[derive(Clone, Debug)]
pub struct BenchMachines {
    pub ours: Machine,
    pub xen_c: Machine,
    pub timeout: Duration,
    pub operations: Vec<OperationMachines>,
}

impl BenchMachines {
    /// The one on whose grant tables a variant is measured.
    pub(crate) fn of(&self, variant: Variant) -> &Machine {
        match variant {
            Variant::XenC => &self.xen_c,
            _ => &self.ours,
        }
    }
}

/// The machines of one guest that measures every grant table operation.
#[derive(Clone, Debug)]
pub struct OperationMachines {
    pub env: String,
    pub ours: Machine,
    pub xen_c: Machine,
}

/// The checked catalogue.
#[derive(Debug)]
pub struct Catalogue {
    pub runs: Vec<Run>,
    pub bench: BenchMachines,
    /// The runs that the demo shows, in its order.
    pub demo: Vec<Run>,
}

impl Catalogue {
    pub fn load(path: &Path) -> Result<Self, CatalogueError> {
        let text = std::fs::read_to_string(path).map_err(|cause| CatalogueError::Unreadable {
            path: path.display().to_string(),
            cause,
        })?;
        Self::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let file: File =
            toml::from_str(text).map_err(|e| CatalogueError::Syntax(one_line(&e.to_string())))?;
        let mut runs: Vec<Run> = Vec::new();
        for test in &file.test {
            for run in file.runs_of(test)? {
                if runs
                    .iter()
                    .any(|known| known.file_stem() == run.file_stem())
                {
                    let fault = format!("run {} is listed twice", run.file_stem());
                    return Err(CatalogueError::Contradiction {
                        user: test.name.clone(),
                        fault,
                    });
                }
                runs.push(run);
            }
        }
        let bench = file.bench_machines()?;
        let demo = file
            .demo
            .tests
            .iter()
            .map(|name| demo_run(&runs, name, &file.demo.config))
            .collect::<Result<_, _>>()?;
        Ok(Self { runs, bench, demo })
    }

    /// The runs of the named tests (`test` or `test/config`), or all; of one architecture, if given.
    pub fn select(&self, names: &[String], arch: Option<&str>) -> Result<Vec<Run>, CatalogueError> {
        for name in names {
            if !self.runs.iter().any(|run| answers_to(run, name)) {
                return Err(CatalogueError::UnknownTest {
                    name: name.clone(),
                    near: self.near(name),
                });
            }
        }
        let wanted = |run: &&Run| {
            (names.is_empty() || names.iter().any(|name| answers_to(run, name)))
                && arch.is_none_or(|arch| run.machine.arch == arch)
        };
        Ok(self.runs.iter().filter(wanted).cloned().collect())
    }

    /// The architectures that some configuration uses.
    pub fn arches(&self) -> Vec<&str> {
        let mut arches: Vec<&str> = self
            .runs
            .iter()
            .map(|run| run.machine.arch.as_str())
            .collect();
        arches.sort_unstable();
        arches.dedup();
        arches
    }

    /// Up to three names a person may have meant, the closest first.
    fn near(&self, name: &str) -> Vec<String> {
        let known = self
            .runs
            .iter()
            .flat_map(|run| [run.test.clone(), format!("{}/{}", run.test, run.config)]);
        let mut ranked: Vec<(usize, String)> = known
            .filter_map(|candidate| {
                let distance = strsim::damerau_levenshtein(name, &candidate);
                let contained = name.len() >= 3 && candidate.contains(name);
                (contained || distance <= name.len() / 3).then_some((distance, candidate))
            })
            .collect();
        ranked.sort();
        ranked.dedup();
        ranked
            .into_iter()
            .take(3)
            .map(|(_, candidate)| candidate)
            .collect()
    }
}

fn answers_to(run: &Run, name: &str) -> bool {
    match name.split_once('/') {
        Some((test, config)) => run.test == test && run.config == config,
        None => run.test == name,
    }
}

fn demo_run(runs: &[Run], test: &str, config: &str) -> Result<Run, CatalogueError> {
    runs.iter()
        .find(|run| run.test == test && run.config == config)
        .cloned()
        .ok_or_else(|| dangling("[demo]", "the run", &format!("{test}/{config}")))
}

fn dangling(user: &str, kind: &'static str, name: &str) -> CatalogueError {
    CatalogueError::Dangling {
        user: user.to_owned(),
        kind,
        name: name.to_owned(),
    }
}

/// TOML errors come with an excerpt of several lines; ours are one.
fn one_line(message: &str) -> String {
    let lines = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['|', '^']));
    lines.collect::<Vec<_>>().join("; ")
}

fn join_args(parts: &[&str]) -> String {
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A size that the IVRS table can name.
fn virtual_size(user: &str, bits: Option<u8>) -> Result<Option<u8>, CatalogueError> {
    match bits {
        Some(bits) if !VIRTUAL_SIZES.contains(&bits) => Err(CatalogueError::Contradiction {
            user: user.to_owned(),
            fault: format!("`ivrs_virtual_bits` is {bits}, not one of {VIRTUAL_SIZES:?}"),
        }),
        _ => Ok(bits),
    }
}

fn compile(user: &str, patterns: &[String]) -> Result<Vec<Regex>, CatalogueError> {
    let compile_one = |pattern: &String| {
        Regex::new(pattern).map_err(|cause| CatalogueError::Pattern {
            user: user.to_owned(),
            pattern: pattern.clone(),
            cause: Box::new(cause),
        })
    };
    patterns.iter().map(compile_one).collect()
}

impl File {
    fn runs_of(&self, test: &Test) -> Result<Vec<Run>, CatalogueError> {
        let contradiction = |fault: &str| CatalogueError::Contradiction {
            user: test.name.clone(),
            fault: fault.to_owned(),
        };
        if test.runs.is_empty() {
            return Err(contradiction("has no runs"));
        }
        if test.judge == JudgeName::Console && test.must.is_empty() {
            return Err(contradiction(
                "is judged by its console and requires no line of it",
            ));
        }
        if !test.invalidations.is_empty() && test.judge == JudgeName::Console {
            return Err(contradiction(
                "counts a guest's phases and is judged by its console",
            ));
        }
        if !test.invalidations.is_empty() && test.entered.is_some() {
            return Err(contradiction("has `invalidations` and `entered`"));
        }
        test.runs.iter().map(|on| self.resolve(test, on)).collect()
    }

    fn resolve(&self, test: &Test, on: &RunOn) -> Result<Run, CatalogueError> {
        let user = format!("{}/{}", test.name, on.config);
        if test.judge == JudgeName::Guest && on.env.is_none() {
            let fault = "is judged by its guest and has no `env`".to_owned();
            return Err(CatalogueError::Contradiction { user, fault });
        }
        let guest_name = test.guest.as_deref().unwrap_or(&test.name);
        let guest = on
            .env
            .as_deref()
            .map(|env| (guest_name, env, test.guest_args.as_str()));
        let mut machine = self.machine(&user, &on.config, guest, &test.xen_args)?;
        if let Some(shift) = test.icount {
            machine = machine.with_qemu_args(&instructions_as_time(shift));
        }
        let phases = test.invalidations.iter().map(|(name, count)| Phase {
            name: name.clone(),
            invalidations: *count,
        });
        let judge = match (test.judge, on.expects) {
            (JudgeName::Console, _) => Judge::Console,
            (JudgeName::Guest, ExpectedResult::Success) => Judge::Guest {
                expects: GuestResult::Success,
            },
            (JudgeName::Guest, ExpectedResult::Skip) => Judge::Guest {
                expects: GuestResult::Skip,
            },
        };
        let expected = Expectations {
            judge,
            must: compile(&user, &[&test.must[..], &on.must].concat())?,
            must_not: compile(&user, &self.must_not(&user, test)?)?,
        };
        Ok(Run {
            test: test.name.clone(),
            config: on.config.clone(),
            about: test.about.clone(),
            machine,
            expected,
            phases: phases.collect(),
            entered: test.entered.clone(),
            timeout: Duration::from_secs(test.timeout_s.unwrap_or(self.defaults.timeout_s)),
        })
    }

    /// The default patterns less those the test may show, and the test's own.
    fn must_not(&self, user: &str, test: &Test) -> Result<Vec<String>, CatalogueError> {
        if let Some(stray) = test
            .may
            .iter()
            .find(|pattern| !self.defaults.must_not.contains(pattern))
        {
            return Err(dangling(user, "the default pattern", stray));
        }
        let bound = self
            .defaults
            .must_not
            .iter()
            .filter(|pattern| !test.may.contains(pattern));
        Ok(bound.chain(&test.must_not).cloned().collect())
    }

    fn machine(
        &self,
        user: &str,
        config_name: &str,
        guest: Option<(&str, &str, &str)>,
        xen_args: &str,
    ) -> Result<Machine, CatalogueError> {
        let config = self
            .config
            .get(config_name)
            .ok_or_else(|| dangling(user, "config", config_name))?;
        let config_user = format!("config {config_name}");
        let arch = self
            .arch
            .get(&config.arch)
            .ok_or_else(|| dangling(&config_user, "arch", &config.arch))?;
        let xen = self
            .artefact(&config_user, &config.xen)?
            .fill(&[("arch", &config.arch)]);
        let modules = config
            .modules
            .iter()
            .map(|name| {
                let module = self.artefact(&config_user, name)?;
                Ok(module.fill(&[("arch", &config.arch)]))
            })
            .collect::<Result<_, CatalogueError>>()?;
        let guest = guest
            .map(|(name, env, args)| {
                let elf = self.artefact(user, artefact::GUEST)?;
                let elf = elf.fill(&[("arch", &config.arch), ("guest", name), ("env", env)]);
                Ok::<_, CatalogueError>(Guest {
                    elf,
                    args: args.to_owned(),
                })
            })
            .transpose()?;
        Ok(Machine {
            arch: config.arch.clone(),
            qemu: arch.qemu.clone(),
            qemu_args: arch
                .qemu_args
                .iter()
                .chain(&config.qemu_args)
                .cloned()
                .collect(),
            xen,
            xen_args: join_args(&[&arch.xen_args, &config.xen_args, xen_args]),
            guest,
            modules,
            ivrs_virtual_bits: virtual_size(&config_user, config.ivrs_virtual_bits)?,
        })
    }

    fn artefact(&self, user: &str, name: &str) -> Result<&Artefact, CatalogueError> {
        self.artefacts
            .get(name)
            .ok_or_else(|| dangling(user, "artefact", name))
    }

    fn bench_machines(&self) -> Result<BenchMachines, CatalogueError> {
        let guest = Some((self.bench.guest.as_str(), self.bench.env.as_str(), ""));
        Ok(BenchMachines {
            ours: self.machine("[bench]", &self.bench.ours, guest, "")?,
            xen_c: self.machine("[bench]", &self.bench.xen_c, guest, "")?,
            timeout: Duration::from_secs(self.bench.timeout_s),
            operations: self
                .bench
                .operations
                .iter()
                .map(|bench| self.operation_machines(bench))
                .collect::<Result<_, _>>()?,
        })
    }

    fn operation_machines(
        &self,
        bench: &BenchOperations,
    ) -> Result<OperationMachines, CatalogueError> {
        let guest = Some((bench.guest.as_str(), bench.env.as_str(), ""));
        Ok(OperationMachines {
            env: bench.env.clone(),
            ours: self.machine("[[bench.operations]]", &bench.ours, guest, "")?,
            xen_c: self.machine("[[bench.operations]]", &bench.xen_c, guest, "")?,
        })
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
