// SPDX-License-Identifier: GPL-2.0-only
//! From the blocks that ran within a hypercall to the functions they belong to. Pure.
//!
//! What the emulator's plugin (`testbed/qemu-plugin/`) writes is described there: `CALLS` lines, each
//! followed by the `BLOCK` lines of those calls.

use std::collections::BTreeMap;

use thiserror::Error;

/// A function's first address and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    pub address: u64,
    pub name: String,
}

/// Functions by address.
#[derive(Clone, Debug, Default)]
pub struct Symbols(Vec<Symbol>);

impl Symbols {
    /// Of several names of one address the first is kept.
    pub fn new(symbols: impl IntoIterator<Item = Symbol>) -> Self {
        let mut symbols: Vec<Symbol> = symbols.into_iter().collect();
        symbols.sort_by_key(|symbol| symbol.address);
        symbols.dedup_by_key(|symbol| symbol.address);
        Self(symbols)
    }

    /// The function that an address is in: the last that begins at or before it.
    pub fn at(&self, address: u64) -> Option<&Symbol> {
        let after = self.0.partition_point(|symbol| symbol.address <= address);
        self.0.get(after.checked_sub(1)?)
    }

    pub fn address_of(&self, name: &str) -> Option<u64> {
        let found = self.0.iter().find(|symbol| symbol.name == name)?;
        Some(found.address)
    }
}

/// A block of the hypervisor and how often it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub address: u64,
    pub instructions: u64,
    pub executions: u64,
}

/// All calls with the same command and count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    pub command: u32,
    pub count: u32,
    pub calls: u64,
    pub blocks: Vec<Block>,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("the plugin's line is none to go on with: {0}")]
pub struct BadLine(String);

impl Calls {
    /// Read what the plugin wrote.
    pub fn parse(text: &str) -> Result<Vec<Self>, BadLine> {
        let mut all: Vec<Self> = Vec::new();
        for line in text.lines() {
            all = Self::parse_line(all, line).ok_or_else(|| BadLine(line.to_owned()))?;
        }
        Ok(all)
    }

    fn parse_line(mut all: Vec<Self>, line: &str) -> Option<Vec<Self>> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["CALLS", command, count, calls] => all.push(Self {
                command: command.parse().ok()?,
                count: count.parse().ok()?,
                calls: calls.parse().ok()?,
                blocks: Vec::new(),
            }),
            ["BLOCK", address, instructions, executions] => all.last_mut()?.blocks.push(Block {
                address: u64::from_str_radix(address, 16).ok()?,
                instructions: instructions.parse().ok()?,
                executions: executions.parse().ok()?,
            }),
            _ => return None,
        }
        Some(all)
    }
}

/// What one function did in some calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub function: String,
    /// Of the function itself, not of those that it called.
    pub instructions: u64,
    /// How often it was entered at its beginning.
    pub entered: u64,
}

/// The functions of these calls, the one with most instructions first.
pub fn attribute<'a>(calls: impl IntoIterator<Item = &'a Calls>, symbols: &Symbols) -> Vec<Share> {
    let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
    for block in calls.into_iter().flat_map(|calls| &calls.blocks) {
        let symbol = symbols.at(block.address);
        let function = symbol.map_or("(no symbol)", |symbol| symbol.name.as_str());
        let share = shares.entry(function).or_insert_with(|| Share {
            function: function.to_owned(),
            instructions: 0,
            entered: 0,
        });
        share.instructions += block.instructions * block.executions;
        if symbol.is_some_and(|symbol| symbol.address == block.address) {
            share.entered += block.executions;
        }
    }
    let mut shares: Vec<Share> = shares.into_values().collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.instructions));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> Symbols {
        let symbol = |(address, name): (u64, &str)| Symbol {
            address,
            name: name.to_owned(),
        };
        Symbols::new([(0x300, "last"), (0x100, "first"), (0x200, "second")].map(symbol))
    }

    #[test]
    fn an_address_belongs_to_the_function_that_begins_before_it() {
        let symbols = symbols();
        let at = |address| symbols.at(address).map(|symbol| symbol.name.as_str());
        assert_eq!(at(0xff), None);
        assert_eq!(at(0x100), Some("first"));
        assert_eq!(at(0x1ff), Some("first"));
        assert_eq!(at(0x200), Some("second"));
        assert_eq!(at(u64::MAX), Some("last"));
        assert_eq!(symbols.address_of("second"), Some(0x200));
        assert_eq!(symbols.address_of("third"), None);
    }

    #[test]
    fn instructions_add_up_and_only_a_block_at_the_beginning_enters() {
        let text = "CALLS 5 128 4\n\
                    BLOCK 100 10 4\n\
                    BLOCK 1f0 3 8\n\
                    BLOCK 200 2 50\n\
                    CALLS 6 128 4\n\
                    BLOCK 300 1 1\n\
                    BLOCK 200 2 10\n";
        let all = Calls::parse(text).unwrap();
        assert_eq!((all[0].command, all[0].count, all[0].calls), (5, 128, 4));
        let share = |function: &str, instructions, entered| Share {
            function: function.to_owned(),
            instructions,
            entered,
        };
        // 10 * 4 + 3 * 8 = 64 instructions, entered 4 times.
        assert_eq!(
            attribute([&all[0]], &symbols()),
            [share("second", 100, 50), share("first", 64, 4)]
        );
        assert_eq!(
            attribute(&all, &symbols()),
            [
                share("second", 120, 60),
                share("first", 64, 4),
                share("last", 1, 1)
            ]
        );
    }

    #[test]
    fn blocks_before_every_function_are_not_lost() {
        let all = Calls::parse("CALLS 0 1 1\nBLOCK 10 7 2\n").unwrap();
        let shares = attribute(&all, &symbols());
        assert_eq!(shares.len(), 1);
        assert_eq!(shares[0].instructions, 14);
        assert_eq!(shares[0].entered, 0);
    }

    #[test]
    fn lines_that_make_no_sense_and_lost_calls_are_refused() {
        for text in [
            "BLOCK 10 1 1",
            "CALLS 1 2",
            "CALLS 1 2 x",
            "CALLS 0 1 1\nBLOCK xyz 1 1",
            "CALLS 0 1 1\n\n",
            "CALLS 0 1 1\nLOST 1",
        ] {
            assert!(Calls::parse(text).is_err(), "{text}");
        }
        assert_eq!(Calls::parse(""), Ok(Vec::new()));
    }
}
