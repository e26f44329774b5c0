// SPDX-License-Identifier: GPL-2.0-only
//! A grant table as its granter sees it: frames it has mapped, entries it writes.

use std::sync::{Arc, atomic::Ordering};

use hv::{grant::FrameKind, host::Domain};
use hypercall_abi::grant::{GTF_READING, GTF_WRITING};

use super::{frames::Kind, machine::Machine, shared::SharedMemory};

const ORDER: Ordering = Ordering::SeqCst;
/// Entries whose status is in one status frame: they have two bytes each.
const STATUS_PER_FRAME: usize = 2048;

/// The frames of a table, in order.
#[derive(Clone, Debug, Default)]
pub struct GuestTable {
    /// Format of the entries, 1 or 2.
    pub version: u32,
    /// Frames with entries.
    pub shared: Vec<Arc<SharedMemory>>,
    /// Frames with the status of version 2 entries.
    pub status: Vec<Arc<SharedMemory>>,
}

/// An entry in memory.
#[derive(Clone, Debug)]
pub struct EntryPlace {
    /// Its page, and its offset there.
    pub page: (Arc<SharedMemory>, usize),
    /// Where its status is, in version 2.
    pub status: Option<(Arc<SharedMemory>, usize)>,
}

impl GuestTable {
    fn place(&self, gref: u32) -> Option<EntryPlace> {
        let at = |frames: &[Arc<SharedMemory>], per_frame: usize| {
            let index = gref as usize;
            let page = frames.get(index / per_frame)?;
            Some((Arc::clone(page), index % per_frame * (4096 / per_frame)))
        };
        Some(match self.version {
            1 => EntryPlace {
                page: at(&self.shared, 512)?,
                status: None,
            },
            _ => EntryPlace {
                page: at(&self.shared, 256)?,
                status: Some(at(&self.status, STATUS_PER_FRAME)?),
            },
        })
    }

    /// Entries it has.
    pub fn entries(&self) -> u32 {
        self.shared.len() as u32 * if self.version == 1 { 512 } else { 256 }
    }
}

impl Machine {
    /// Finds out which frames a domain's table has now, as its guest does by asking
    /// for them.
    pub fn look_at_table(&self, id: u16) {
        let Some(domain) = self.find(id) else {
            return;
        };
        let Some(grants) = domain.state().map(|state| &state.grants) else {
            return;
        };
        let version = grants.version().number();
        let shared = grants.frame_count() as usize;
        let status = if version == 2 {
            (shared * 256).div_ceil(STATUS_PER_FRAME)
        } else {
            0
        };
        let memory = |kind, count| {
            let mut mfns = vec![0; count];
            grants
                .frames_for_resource(self, &domain, kind, 0, &mut mfns)
                .expect("frames that are there");
            mfns.iter().map(|&mfn| self.shared_memory(mfn)).collect()
        };
        let table = GuestTable {
            version,
            shared: memory(FrameKind::Shared, shared),
            status: if status == 0 {
                Vec::new()
            } else {
                memory(FrameKind::Status, status)
            },
        };
        self.state().tables.insert(id, table);
    }

    fn shared_memory(&self, mfn: u64) -> Arc<SharedMemory> {
        match self.state().frames.get(mfn).map(|frame| &frame.kind) {
            Some(Kind::Shared(memory)) => Arc::clone(memory),
            other => panic!("frame {mfn:#x} of a table is {other:?}"),
        }
    }

    /// The table as the guest knows it.
    pub fn table(&self, granter: u16) -> GuestTable {
        self.state()
            .tables
            .get(&granter)
            .cloned()
            .unwrap_or_default()
    }

    /// Where a grant entry is.
    pub fn entry(&self, granter: u16, gref: u32) -> EntryPlace {
        let place = self.state().tables.get(&granter).map(|it| it.place(gref));
        place.flatten().expect("an entry in the table")
    }

    /// Writes a grant entry as the granter does: frame first, then the head.
    pub fn write_entry(&self, granter: u16, gref: u32, flags: u16, domid: u16, gfn: u32) {
        self.write_whole_entry(granter, gref, flags, domid, 0, u64::from(gfn));
    }

    /// Writes a grant entry. `middle` are bytes 4 to 7 of a version 2 entry, `last`
    /// is the frame, or what is in its place.
    pub fn write_whole_entry(
        &self,
        granter: u16,
        gref: u32,
        flags: u16,
        domid: u16,
        middle: u32,
        last: u64,
    ) {
        let place = self.entry(granter, gref);
        let (page, offset) = &place.page;
        if place.status.is_some() {
            page.cell(offset + 8).store(last, ORDER);
            page.word(offset + 4).store(middle, ORDER);
        } else {
            page.word(offset + 4).store(last as u32, ORDER);
        }
        page.word(*offset)
            .store(u32::from(domid) << 16 | u32::from(flags), ORDER);
    }

    /// A grant entry: flags, domain, frame. The in-use flags of version 2 are
    /// among the flags.
    pub fn read_entry(&self, granter: u16, gref: u32) -> (u16, u16, u64) {
        let (flags, domid, _, frame) = self.read_whole_entry(granter, gref);
        (flags, domid, frame)
    }

    /// The same, with bytes 4 to 7 of version 2 before the frame.
    pub fn read_whole_entry(&self, granter: u16, gref: u32) -> (u16, u16, u32, u64) {
        let place = self.entry(granter, gref);
        let (page, offset) = &place.page;
        let head = page.word(*offset).load(ORDER);
        let (middle, frame) = match page.word(offset + 4).load(ORDER) {
            middle if place.status.is_some() => (middle, page.cell(offset + 8).load(ORDER)),
            frame => (0, u64::from(frame)),
        };
        let status = match &place.status {
            Some((page, offset)) => page.load16(*offset),
            None => head as u16 & (GTF_READING | GTF_WRITING),
        };
        (head as u16 | status, (head >> 16) as u16, middle, frame)
    }

    /// Entries in a domain's grant table.
    pub fn table_entries(&self, granter: u16) -> u32 {
        self.state()
            .tables
            .get(&granter)
            .map_or(0, GuestTable::entries)
    }
}
