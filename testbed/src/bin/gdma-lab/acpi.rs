// SPDX-License-Identifier: GPL-2.0-only
//! The firmware's ACPI tables in a machine's memory, and what of them the lab changes.
//!
//! The root pointer is at a multiple of 16 bytes below 1 MiB. It has the address of the root table
//! (RSDT), which has the addresses of the others. Every table begins with its name and its length, and
//! has a byte that makes the sum of all its bytes 0.

use std::io::{Read, Write};

use thiserror::Error;

use crate::gdb::{Debugger, GdbError};

/// Where the root pointer may be, and how it begins.
const ROOT_POINTER_FROM: u64 = 0xe_0000;
const ROOT_POINTER_AREA: usize = 0x2_0000;
const ROOT_POINTER: &[u8] = b"RSD PTR ";
/// Bytes of it that its first sum is of.
const ROOT_POINTER_SUMMED: usize = 20;
/// Where in it the address of the root table is.
const ROOT_TABLE_AT: usize = 16;

/// Name, length, revision, sum, makers: what every table begins with.
const HEADER: usize = 36;
const LENGTH_AT: usize = 4;
const SUM_AT: usize = 9;
/// A table that says it is longer is none.
const LONGEST: usize = 0x1_0000;

/// IVinfo, the first field of the table of AMD's IOMMUs behind its header.
const IV_INFO_AT: usize = HEADER;
/// Its bits 15 to 21: how many bits the addresses of devices have.
const VIRTUAL_SIZE_SHIFT: u32 = 15;
const VIRTUAL_SIZE_MASK: u32 = 0x7f << VIRTUAL_SIZE_SHIFT;
/// The sizes that the field can name.
pub const VIRTUAL_SIZES: [u8; 4] = [32, 40, 48, 64];

/// Why a table could not be changed.
#[derive(Debug, Error)]
pub enum TableError {
    #[error(
        "the firmware left no ACPI root pointer below 1 MiB: does the machine boot QEMU's own SeaBIOS?"
    )]
    NoRoot,
    #[error("the firmware left no IVRS table: give the machine `-device amd-iommu`")]
    NoIvrs,
    #[error(
        "the firmware's {name} table at {address:#x} is damaged: does the machine boot QEMU's own SeaBIOS?"
    )]
    Damaged { name: String, address: u64 },
    #[error(transparent)]
    Debugger(#[from] GdbError),
}

/// Physical memory of a machine that does not run.
pub trait PhysicalMemory {
    fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, GdbError>;
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), GdbError>;
}

impl<S: Read + Write> PhysicalMemory for Debugger<S> {
    fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, GdbError> {
        Self::read(self, address, length)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), GdbError> {
        Self::write(self, address, bytes)
    }
}

/// Let the table of AMD's IOMMUs say that devices' addresses have so many bits.
pub fn set_ivrs_virtual_size(memory: &mut impl PhysicalMemory, bits: u8) -> Result<(), TableError> {
    let (address, mut table) = find_table(memory, "IVRS")?.ok_or(TableError::NoIvrs)?;
    let damaged = || TableError::Damaged {
        name: "IVRS".to_owned(),
        address,
    };
    let info = word(&table, IV_INFO_AT).ok_or_else(damaged)?;
    let sized = (info & !VIRTUAL_SIZE_MASK) | (u32::from(bits) << VIRTUAL_SIZE_SHIFT);
    table[IV_INFO_AT..IV_INFO_AT + 4].copy_from_slice(&sized.to_le_bytes());
    table[SUM_AT] = table[SUM_AT].wrapping_sub(sum(&table));
    memory.write(address, &table[..IV_INFO_AT + 4])?;
    Ok(())
}

/// The table of that name, if there is one: where it is, and all of it.
fn find_table(
    memory: &mut impl PhysicalMemory,
    name: &str,
) -> Result<Option<(u64, Vec<u8>)>, TableError> {
    let root = root_table(memory)?;
    let (_, addresses) = root.split_at(HEADER);
    for entry in addresses.chunks_exact(4) {
        let address = u64::from(word(entry, 0).unwrap_or_default());
        if memory.read(address, name.len())? == name.as_bytes() {
            return Ok(Some((address, read_table(memory, name, address)?)));
        }
    }
    Ok(None)
}

fn root_table(memory: &mut impl PhysicalMemory) -> Result<Vec<u8>, TableError> {
    let area = memory.read(ROOT_POINTER_FROM, ROOT_POINTER_AREA)?;
    let address = area
        .chunks_exact(16)
        .enumerate()
        .filter(|(_, paragraph)| paragraph.starts_with(ROOT_POINTER))
        .filter_map(|(nth, _)| area.get(nth * 16..nth * 16 + ROOT_POINTER_SUMMED))
        .find(|pointer| sum(pointer) == 0)
        .and_then(|pointer| word(pointer, ROOT_TABLE_AT))
        .ok_or(TableError::NoRoot)?;
    read_table(memory, "RSDT", address.into())
}

fn read_table(
    memory: &mut impl PhysicalMemory,
    name: &str,
    address: u64,
) -> Result<Vec<u8>, TableError> {
    let damaged = || TableError::Damaged {
        name: name.to_owned(),
        address,
    };
    let header = memory.read(address, HEADER)?;
    let length = word(&header, LENGTH_AT).ok_or_else(damaged)? as usize;
    if !header.starts_with(name.as_bytes()) || !(HEADER..=LONGEST).contains(&length) {
        return Err(damaged());
    }
    let table = memory.read(address, length)?;
    if sum(&table) == 0 {
        Ok(table)
    } else {
        Err(damaged())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().copied().fold(0, u8::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT_AT: usize = 0xf_5240;
    const RSDT_AT: usize = 0x20_0000;
    const APIC_AT: usize = 0x20_1000;
    const IVRS_AT: usize = 0x20_2000;

    struct Memory(Vec<u8>);

    impl PhysicalMemory for Memory {
        fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, GdbError> {
            let from = address as usize;
            Ok(self.0[from..from + length].to_vec())
        }

        fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), GdbError> {
            self.put(address as usize, bytes);
            Ok(())
        }
    }

    impl Memory {
        fn put(&mut self, at: usize, bytes: &[u8]) {
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Bytes with the one at `sum_at` chosen so that their sum is 0.
    fn summed(mut bytes: Vec<u8>, sum_at: usize) -> Vec<u8> {
        bytes[sum_at] = 0;
        bytes[sum_at] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes
    }

    fn table(name: &str, contents: &[u8]) -> Vec<u8> {
        let mut table = name.as_bytes().to_vec();
        table.extend((36 + contents.len() as u32).to_le_bytes());
        table.extend([0; 28]);
        table.extend(contents);
        summed(table, 9)
    }

    fn root_pointer() -> Vec<u8> {
        let mut pointer = b"RSD PTR \0MAKERS\0".to_vec();
        pointer.extend((RSDT_AT as u32).to_le_bytes());
        summed(pointer, 8)
    }

    /// IVinfo, eight reserved bytes and some block.
    fn ivrs(info: u32) -> Vec<u8> {
        let contents = [&info.to_le_bytes()[..], &[0; 8], b"a block of an IOMMU"].concat();
        table("IVRS", &contents)
    }

    fn machine(tables: &[usize]) -> Memory {
        let mut memory = Memory(vec![0; 0x20_4000]);
        let addresses: Vec<u8> = tables
            .iter()
            .flat_map(|at| (*at as u32).to_le_bytes())
            .collect();
        memory.put(ROOT_AT, &root_pointer());
        memory.put(RSDT_AT, &table("RSDT", &addresses));
        memory.put(APIC_AT, &table("APIC", b"interrupts"));
        memory.put(IVRS_AT, &ivrs(0x2801));
        memory
    }

    #[test]
    fn the_size_is_set_and_nothing_else_is() {
        let mut memory = machine(&[APIC_AT, IVRS_AT]);
        set_ivrs_virtual_size(&mut memory, 48).unwrap();
        // 48 << 15 | 40 << 8 | 1, with a sum of its own.
        let mut expected = machine(&[APIC_AT, IVRS_AT]);
        expected.put(IVRS_AT, &ivrs(0x18_2801));
        assert!(memory.0 == expected.0);
    }

    #[test]
    fn another_size_is_replaced() {
        let mut memory = machine(&[IVRS_AT]);
        memory.put(IVRS_AT, &ivrs(0xffff_ffff));
        set_ivrs_virtual_size(&mut memory, 32).unwrap();
        let info = u32::from_le_bytes(*memory.0[IVRS_AT + 36..].first_chunk().unwrap());
        assert_eq!(info, 0xffd0_7fff);
    }

    #[test]
    fn a_machine_without_the_table_is_told_its_remedy() {
        let error = set_ivrs_virtual_size(&mut machine(&[APIC_AT]), 48).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the firmware left no IVRS table: give the machine `-device amd-iommu`"
        );
    }

    #[test]
    fn a_false_root_pointer_is_passed_by() {
        let mut memory = machine(&[IVRS_AT]);
        memory.put(0xe_0010, b"RSD PTR and no more");
        set_ivrs_virtual_size(&mut memory, 48).unwrap();
        memory.put(ROOT_AT, b"rsd");
        let error = set_ivrs_virtual_size(&mut memory, 48).unwrap_err();
        assert!(matches!(error, TableError::NoRoot));
    }

    #[test]
    fn a_damaged_table_is_left_alone() {
        let damages: [(usize, &[u8]); 4] = [
            (IVRS_AT + 50, b"!"),
            (IVRS_AT + LENGTH_AT, &[35, 0, 0, 0]),
            (IVRS_AT + LENGTH_AT, &[0, 0, 1, 1]),
            (RSDT_AT, b"X"),
        ];
        for (at, damage) in damages {
            let mut memory = machine(&[IVRS_AT]);
            memory.put(at, damage);
            let before = memory.0.clone();
            let error = set_ivrs_virtual_size(&mut memory, 48).unwrap_err();
            assert!(matches!(error, TableError::Damaged { .. }), "{error}");
            assert!(memory.0 == before);
        }
    }

    #[test]
    fn a_table_that_ends_before_its_field_is_damaged() {
        let mut memory = machine(&[IVRS_AT]);
        memory.put(IVRS_AT, &table("IVRS", &[0; 3]));
        let error = set_ivrs_virtual_size(&mut memory, 48).unwrap_err();
        assert!(matches!(error, TableError::Damaged { .. }));
    }
}
