// SPDX-License-Identifier: GPL-2.0-only
//! `gdma-lab profile`: where the instructions of a map and an unmap go, function by function.
//!
//! The emulator's [`plugin`] counts the blocks that run from the first instruction of the hypercall's
//! function until it returns; [`attribution`](crate::attribution) adds them up. The way from the guest to that function and back is not in it. Like the benchmark, the boot
//! repeats to the digit.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hypercall_abi::command::{
    XEN_GDMA_ARGS_REGISTERED, XEN_GDMA_OP_MAP, XEN_GDMA_OP_MAP_REG, XEN_GDMA_OP_UNMAP,
    XEN_GDMA_OP_UNMAP_REG,
};
use hypercall_abi::grant::{GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_GRANT_REF};

use crate::Exit;
use crate::attribution::{Calls, Share, Symbols, attribute};
use crate::bench::{batches, boot_to_success, deterministic};
use crate::catalogue::BenchMachines;
use crate::figures::{Granted, Variant};
use crate::machine::Machine;
use crate::plugin;
use crate::process::{Flow, StopWish};
use crate::report::LOUD;
use crate::suite::require_machines;

/// How often the guest's 128 pages go to the device and back.
const ROUNDS: u64 = 16;
const PAGES: u64 = 128;

/// What a person asks to be profiled.
#[derive(Clone, Debug)]
pub(crate) struct ProfileRequest {
    pub variants: Vec<Variant>,
    /// Pages a call; `None`: all that the benchmark has.
    pub batch: Option<u64>,
    pub granted: Granted,
    /// Functions to show of each command.
    pub top: usize,
}

/// One of the two commands of a variant, as the hypervisor sees it.
struct Profiled {
    name: &'static str,
    command: u32,
    /// `None`: the third argument is not a number of elements.
    count: Option<u32>,
}

impl Profiled {
    /// Whether these calls are the guest's, and not what Xen goes on with after it has interrupted one.
    fn begins(&self, calls: &Calls) -> bool {
        self.is_of(calls) && self.count.is_none_or(|count| calls.count == count)
    }

    /// Those with fewer elements are what is left of interrupted ones: a boot has one size of calls.
    fn is_of(&self, calls: &Calls) -> bool {
        calls.command == self.command && self.count.is_none_or(|count| calls.count <= count)
    }
}

pub(crate) fn run(
    root: &Path,
    machines: &BenchMachines,
    request: &ProfileRequest,
    stop: &StopWish,
) -> Result<Exit> {
    let profiles = request.profiles(machines)?;
    require_machines(root, profiles.iter().map(|profile| profile.machine))?;
    plugin::build(root)?;
    for profile in &profiles {
        let Some((calls, symbols)) = profile.measure(root, machines, stop)? else {
            return Ok(Exit::Interrupted);
        };
        for command in profile.commands()? {
            profile.show(&command, &calls, &symbols, request.top)?;
        }
    }
    Ok(Exit::Good)
}

impl ProfileRequest {
    fn profiles<'a>(&self, machines: &'a BenchMachines) -> Result<Vec<Profile<'a>>> {
        let mut profiles = Vec::new();
        for &variant in &self.variants {
            let possible = batches(variant);
            let wanted = match &self.batch {
                Some(batch) => std::slice::from_ref(batch),
                None => possible,
            };
            for &batch in wanted {
                ensure!(
                    possible.contains(&batch),
                    "{variant} is measured in batches of {possible:?}, not {batch}"
                );
                profiles.push(Profile {
                    variant,
                    granted: self.granted,
                    batch,
                    machine: machines.of(variant),
                });
            }
        }
        Ok(profiles)
    }
}

/// One variant in batches of one size: one boot.
struct Profile<'a> {
    variant: Variant,
    granted: Granted,
    batch: u64,
    machine: &'a Machine,
}

impl Profile<'_> {
    /// The hypercall's function.
    fn function(&self) -> &'static str {
        match self.variant {
            Variant::XenC => "do_grant_table_op",
            _ => "do_grant_dma_op",
        }
    }

    /// Map and unmap.
    fn commands(&self) -> Result<[Profiled; 2]> {
        let batch = u32::try_from(self.batch)?;
        let (map, unmap, count) = match self.variant {
            Variant::Ours => (XEN_GDMA_OP_MAP, XEN_GDMA_OP_UNMAP, Some(batch)),
            Variant::OursRun => (XEN_GDMA_OP_MAP, XEN_GDMA_OP_UNMAP, Some(1)),
            Variant::OursArgs | Variant::OwnArgs => (
                registered(XEN_GDMA_OP_MAP),
                registered(XEN_GDMA_OP_UNMAP),
                Some(batch),
            ),
            Variant::OursArgsRun | Variant::OwnArgsRun => (
                registered(XEN_GDMA_OP_MAP),
                registered(XEN_GDMA_OP_UNMAP),
                Some(1),
            ),
            Variant::OursReg => (XEN_GDMA_OP_MAP_REG, XEN_GDMA_OP_UNMAP_REG, None),
            Variant::XenC => (
                GNTTABOP_MAP_GRANT_REF,
                GNTTABOP_UNMAP_GRANT_REF,
                Some(batch),
            ),
            Variant::Xen => bail!("'xen' is no way to map"),
        };
        let profiled = |name, command| Profiled {
            name,
            command,
            count,
        };
        Ok([profiled("map", map), profiled("unmap", unmap)])
    }

    /// Boot under the plugin; `None` if interrupted.
    fn measure(
        &self,
        root: &Path,
        machines: &BenchMachines,
        stop: &StopWish,
    ) -> Result<Option<(Vec<Calls>, Symbols)>> {
        let symbols = plugin::symbols(root, self.machine)?;
        let entry = plugin::address_of(&symbols, self.function())?;
        let phase = format!("{}-{}", self.variant, self.batch);
        let counts = PathBuf::from(format!("build/logs/profile-{phase}.counts"));
        let guest_args = format!(
            "phases={phase} iterations={ROUNDS} granted={}",
            self.granted
        );
        let machine = deterministic(self.machine, &guest_args)
            .with_qemu_args(&plugin::qemu_args(entry, &counts));
        let name = format!("profile-{phase}");
        let watch = &mut |_: &str| Flow::Continue;
        if boot_to_success(root, &machine, &name, machines.timeout, stop, watch)?.is_none() {
            return Ok(None);
        }
        Ok(Some((plugin::read(&root.join(counts))?, symbols)))
    }

    /// Print what one command did.
    fn show(&self, command: &Profiled, all: &[Calls], symbols: &Symbols, top: usize) -> Result<()> {
        let of_command: Vec<&Calls> = all.iter().filter(|calls| command.is_of(calls)).collect();
        let begun = of_command.iter().filter(|calls| command.begins(calls));
        let calls: u64 = begun.map(|calls| calls.calls).sum();
        let pages = calls * self.batch;
        ensure!(
            pages == ROUNDS * PAGES,
            "{} {}: {calls} calls of {} pages were seen, which are not {} pages",
            self.variant,
            command.name,
            self.batch,
            ROUNDS * PAGES
        );
        let shares = attribute(of_command, symbols);
        let total: u64 = shares.iter().map(|share| share.instructions).sum();
        anstream::println!(
            "{LOUD}{} {}, batch {}{LOUD:#}: {:.0} instructions a page in {}",
            self.variant,
            command.name,
            self.batch,
            total as f64 / pages as f64,
            self.function()
        );
        anstream::println!("{}", table(&shares, pages, top));
        Ok(())
    }
}

fn table(shares: &[Share], pages: u64, top: usize) -> Table {
    let total: u64 = shares.iter().map(|share| share.instructions).sum();
    let per_page = |count: u64| count as f64 / pages as f64;
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["function", "instructions/page", "share", "calls/page"]);
    for share in shares.iter().take(top) {
        table.add_row([
            share.function.clone(),
            format!("{:.1}", per_page(share.instructions)),
            format!("{:.1} %", 100.0 * share.instructions as f64 / total as f64),
            format!("{:.2}", per_page(share.entered)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn registered(command: u32) -> u32 {
    command | XEN_GDMA_ARGS_REGISTERED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn machines() -> BenchMachines {
        let catalogue = Catalogue::parse(include_str!("../../../lab.toml"));
        catalogue.unwrap().bench
    }

    fn commands(variant: Variant, batch: u64) -> Result<[Profiled; 2]> {
        let machines = machines();
        let request = ProfileRequest {
            variants: vec![variant],
            batch: Some(batch),
            granted: Granted::Small,
            top: 1,
        };
        let profiles = request.profiles(&machines)?;
        profiles[0].commands()
    }

    fn seen(command: u32, count: u32) -> Calls {
        Calls {
            command,
            count,
            calls: 1,
            blocks: Vec::new(),
        }
    }

    #[test]
    fn a_command_is_known_by_its_number_and_its_elements() {
        let [map, unmap] = commands(Variant::Ours, 16).unwrap();
        assert!(map.is_of(&seen(5, 16)) && unmap.is_of(&seen(6, 16)));
        assert!(!map.is_of(&seen(5, 17)) && !map.is_of(&seen(6, 16)));
        let [run, _] = commands(Variant::OursRun, 16).unwrap();
        assert!(run.is_of(&seen(5, 1)) && !run.is_of(&seen(5, 16)));
    }

    #[test]
    fn the_rest_of_an_interrupted_call_is_no_call_of_its_own() {
        let [map, _] = commands(Variant::XenC, 128).unwrap();
        assert!(map.is_of(&seen(0, 40)) && !map.begins(&seen(0, 40)));
        assert!(map.is_of(&seen(0, 128)) && map.begins(&seen(0, 128)));
    }

    #[test]
    fn arguments_in_registered_memory_have_the_topmost_bit_set() {
        let [map, unmap] = commands(Variant::OursArgs, 128).unwrap();
        assert!(map.is_of(&seen(0x8000_0005, 128)) && unmap.is_of(&seen(0x8000_0006, 128)));
        assert!(!map.is_of(&seen(5, 128)));
    }

    #[test]
    fn in_registers_the_third_argument_is_anything() {
        let [map, unmap] = commands(Variant::OursReg, 1).unwrap();
        assert!(map.is_of(&seen(16, 0x70000)) && unmap.is_of(&seen(17, 0)));
        assert!(commands(Variant::OursReg, 16).is_err());
    }

    #[test]
    fn the_grant_tables_numbers_are_their_own() {
        let [map, unmap] = commands(Variant::XenC, 1).unwrap();
        assert!(map.is_of(&seen(0, 1)) && unmap.is_of(&seen(1, 1)));
        assert!(commands(Variant::Xen, 1).is_err());
        assert!(commands(Variant::XenC, 7).is_err());
    }

    #[test]
    fn without_a_batch_every_one_is_measured() {
        let machines = machines();
        let request = ProfileRequest {
            variants: vec![Variant::Ours, Variant::OursReg],
            batch: None,
            granted: Granted::Small,
            top: 1,
        };
        let batches: Vec<u64> = request
            .profiles(&machines)
            .unwrap()
            .iter()
            .map(|p| p.batch)
            .collect();
        assert_eq!(batches, [1, 16, 128, 1]);
    }

    #[test]
    fn the_table_divides_by_pages_and_shows_the_top() {
        let share = |function: &str, instructions, entered| Share {
            function: function.to_owned(),
            instructions,
            entered,
        };
        let text = table(&[share("walk", 300, 40), share("rest", 100, 1)], 20, 1).to_string();
        // 300 / 20 pages, 300 of 400 instructions, 40 / 20 pages.
        for cell in ["walk", "15.0", "75.0 %", "2.00"] {
            assert!(text.contains(cell), "{text}");
        }
        assert!(!text.contains("rest"));
    }
}
