// SPDX-License-Identifier: GPL-2.0-only
//! The plugin of the emulator that counts what runs within a hypercall: its build, its arguments, what it
//! writes, and the symbols to make sense of that.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSymbol, SymbolKind};

use crate::attribution::{Calls, Symbol, Symbols};
use crate::machine::Machine;

const PLUGIN_SOURCE: &str = "testbed/qemu-plugin/hypercall-profile.c";
const PLUGIN: &str = "build/qemu-plugin/hypercall-profile.so";
/// QEMU arguments: count within the function at `entry`, into a file.
pub fn qemu_args(entry: u64, counts: &Path) -> [String; 2] {
    let plugin = format!("{PLUGIN},entry={entry:x},out={}", counts.display());
    ["-plugin".to_owned(), plugin]
}

/// Compile the plugin; that takes less time than finding out whether it is needed. One that is in use is
/// not touched.
pub fn build(root: &Path) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let plugin = root.join(PLUGIN);
    let new = plugin.with_extension("new");
    if let Some(folder) = plugin.parent() {
        fs::create_dir_all(folder)?;
    }
    let compiled = Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"])
        .args(["-fPIC", "-shared", "-fvisibility=hidden", "-o"])
        .arg(&new)
        .arg(root.join(PLUGIN_SOURCE))
        .output()
        .context("cannot run cc: run `make tools`")?;
    ensure!(
        compiled.status.success(),
        "{PLUGIN_SOURCE} does not compile:\n{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    fs::rename(new, plugin)?;
    Ok(())
}

/// The functions of a machine's hypervisor.
pub fn symbols(root: &Path, machine: &Machine) -> Result<Symbols> {
    let path = root.join(machine.xen.path.with_file_name("xen-syms"));
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let elf = object::File::parse(&*bytes)
        .with_context(|| format!("{} is no ELF file", path.display()))?;
    let functions = elf
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
    Ok(Symbols::new(functions.filter_map(|symbol| {
        let name = symbol.name().ok()?;
        Some(Symbol {
            address: symbol.address(),
            name: format!("{:#}", rustc_demangle::demangle(name)),
        })
    })))
}

pub fn address_of(symbols: &Symbols, function: &str) -> Result<u64> {
    symbols
        .address_of(function)
        .with_context(|| format!("xen-syms has no {function}"))
}

/// What the plugin counted, when QEMU has ended.
pub fn read(counts: &Path) -> Result<Vec<Calls>> {
    let text =
        fs::read_to_string(counts).with_context(|| format!("QEMU left no {}", counts.display()))?;
    Ok(Calls::parse(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_told_where_to_begin_and_where_to_write() {
        let told = "build/qemu-plugin/hypercall-profile.so,entry=ffff82d040001000,out=b/x";
        let args = qemu_args(0xffff_82d0_4000_1000, Path::new("b/x"));
        assert_eq!(args, ["-plugin", told]);
    }
}
