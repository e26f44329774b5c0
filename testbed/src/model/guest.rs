// SPDX-License-Identifier: GPL-2.0-only
//! Guest memory as hypercall arguments see it: sparse, with holes and read-only
//! pages, and never read twice in one step of a hypercall.

use std::collections::BTreeMap;

use hv::{addr::PAGE_SIZE, host::GuestFault};

/// Addresses above belong to Xen.
pub const GUEST_LIMIT: u64 = 1 << 47;

#[derive(Debug)]
struct GuestPage {
    bytes: Box<[u8; PAGE_SIZE as usize]>,
    writable: bool,
}

/// One domain's memory, by guest virtual address.
#[derive(Debug, Default)]
pub struct GuestMemory {
    pages: BTreeMap<u64, GuestPage>,
}

impl GuestMemory {
    /// Puts a zeroed page at an address; everything else is a hole.
    pub fn add_page(&mut self, at: u64, writable: bool) {
        self.pages.insert(
            at / PAGE_SIZE,
            GuestPage {
                bytes: Box::new([0; PAGE_SIZE as usize]),
                writable,
            },
        );
    }

    /// Makes a page read-only or writable again.
    pub fn set_writable(&mut self, at: u64, writable: bool) {
        if let Some(page) = self.pages.get_mut(&(at / PAGE_SIZE)) {
            page.writable = writable;
        }
    }

    /// Reads up to the first hole; tells how many bytes there were.
    pub fn read(&self, at: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len() {
            let (page, offset, length) = piece(at.wrapping_add(done as u64), into.len() - done);
            let Some(page) = self.pages.get(&page) else {
                return done;
            };
            into[done..done + length].copy_from_slice(&page.bytes[offset..offset + length]);
            done += length;
        }
        done
    }

    /// Writes up to the first page that cannot be written.
    pub fn write(&mut self, at: u64, from: &[u8]) -> Result<(), GuestFault> {
        let mut done = 0;
        while done < from.len() {
            let (page, offset, length) = piece(at.wrapping_add(done as u64), from.len() - done);
            let page = self
                .pages
                .get_mut(&page)
                .filter(|page| page.writable)
                .ok_or(GuestFault)?;
            page.bytes[offset..offset + length].copy_from_slice(&from[done..done + length]);
            done += length;
        }
        Ok(())
    }

    /// Writes as the guest itself does, read-only for Xen or not.
    pub fn store(&mut self, at: u64, from: &[u8]) {
        let mut done = 0;
        while done < from.len() {
            let (page, offset, length) = piece(at + done as u64, from.len() - done);
            let page = self.pages.entry(page).or_insert(GuestPage {
                bytes: Box::new([0; PAGE_SIZE as usize]),
                writable: true,
            });
            page.bytes[offset..offset + length].copy_from_slice(&from[done..done + length]);
            done += length;
        }
    }
}

/// The part of an access that is in the first page: page, offset, length.
fn piece(at: u64, bytes: usize) -> (u64, usize, usize) {
    let offset = (at % PAGE_SIZE) as usize;
    let length = bytes.min(PAGE_SIZE as usize - offset);
    (at / PAGE_SIZE, offset, length)
}

/// Which bytes one step of a hypercall has read.
#[derive(Debug, Default)]
pub struct ReadLog {
    ranges: BTreeMap<u64, u64>,
}

impl ReadLog {
    /// Notes a read; panics if a byte of it was read before.
    pub fn note(&mut self, at: u64, bytes: u64) {
        let end = at + bytes;
        let before = self.ranges.range(..end).next_back();
        assert!(
            before.is_none_or(|(_, &previous_end)| previous_end <= at),
            "guest memory at {at:#x} read twice in one hypercall"
        );
        self.ranges.insert(at, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "read twice")]
    fn overlapping_reads_panic() {
        let mut log = ReadLog::default();
        log.note(0x1000, 64);
        log.note(0x1040, 64);
        log.note(0x103f, 1);
    }

    #[test]
    fn copies_stop_at_holes_and_read_only_pages() {
        let mut memory = GuestMemory::default();
        memory.add_page(0x1000, true);
        memory.add_page(0x2000, false);
        assert_eq!(memory.read(0x2ff8, &mut [0; 16]), 8);
        assert_eq!(memory.write(0x1ff8, &[7; 16]), Err(GuestFault));
        let mut bytes = [0; 9];
        memory.read(0x1ff8, &mut bytes);
        assert_eq!(bytes, [7, 7, 7, 7, 7, 7, 7, 7, 0]);
    }
}
