// SPDX-License-Identifier: GPL-2.0-only
//! Structures that 32-bit x86 guests lay out differently, in one form for both.

use core::mem::offset_of;

use hypercall_abi::grant::{
    Copy32, Copy64, GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GetStatusFrames32, GetStatusFrames64,
    Gntst, SetupTable32, SetupTable64, Transfer32, Transfer64,
};

use crate::{
    addr::{DomId, Gfn, GrantRef, GuestPtr},
    grant::copy::{CopyOp, End, Name},
    hypercall::batch::Element,
};

/// An array of frame numbers to be filled: `setup_table` and `get_status_frames`.
pub(super) struct FrameList {
    pub dom: DomId,
    pub nr_frames: u32,
    pub at: GuestPtr,
    /// Bytes of one frame number.
    pub entry_size: u64,
}

/// The argument of one of these.
pub(super) trait FrameListElement: Element {
    /// Where the status is.
    const STATUS: usize;

    fn decoded(&self) -> FrameList;
}

macro_rules! frame_list_element {
    ($name:ty, $entry_size:literal) => {
        impl FrameListElement for $name {
            const STATUS: usize = offset_of!(Self, status);

            #[inline(always)]
            fn decoded(&self) -> FrameList {
                FrameList {
                    dom: DomId(self.dom),
                    nr_frames: self.nr_frames,
                    at: GuestPtr(u64::from(self.frame_list)),
                    entry_size: $entry_size,
                }
            }
        }
    };
}

frame_list_element!(SetupTable64, 8);
frame_list_element!(SetupTable32, 4);
// Frame numbers of status frames have 64 bits for every guest.
frame_list_element!(GetStatusFrames64, 8);
frame_list_element!(GetStatusFrames32, 8);

/// An element of `copy`.
pub(super) trait CopyElement: Element {
    /// Where the status is.
    const STATUS: usize;

    fn decoded(&self) -> CopyOp;
    fn set_status(&mut self, status: Gntst);
}

fn end(is_gref: bool, frame_or_gref: u64, domid: u16, offset: u16) -> End {
    End {
        domain: DomId(domid),
        name: if is_gref {
            // The other bytes of the union are not part of a reference.
            Name::Grant(GrantRef(frame_or_gref as u32))
        } else {
            Name::Frame(Gfn::new(frame_or_gref))
        },
        offset,
    }
}

impl CopyElement for Copy64 {
    const STATUS: usize = offset_of!(Self, status);

    fn decoded(&self) -> CopyOp {
        let (source, dest) = (&self.source, &self.dest);
        CopyOp {
            source: end(
                self.flags & GNTCOPY_SOURCE_GREF != 0,
                source.frame_or_gref,
                source.domid,
                source.offset,
            ),
            dest: end(
                self.flags & GNTCOPY_DEST_GREF != 0,
                dest.frame_or_gref,
                dest.domid,
                dest.offset,
            ),
            len: self.len,
        }
    }

    fn set_status(&mut self, status: Gntst) {
        self.status = status.wire();
    }
}

impl CopyElement for Copy32 {
    const STATUS: usize = offset_of!(Self, status);

    fn decoded(&self) -> CopyOp {
        let (source, dest) = (&self.source, &self.dest);
        CopyOp {
            source: end(
                self.flags & GNTCOPY_SOURCE_GREF != 0,
                u64::from(source.frame_or_gref),
                source.domid,
                source.offset,
            ),
            dest: end(
                self.flags & GNTCOPY_DEST_GREF != 0,
                u64::from(dest.frame_or_gref),
                dest.domid,
                dest.offset,
            ),
            len: self.len,
        }
    }

    fn set_status(&mut self, status: Gntst) {
        self.status = status.wire();
    }
}

/// An element of `transfer`.
pub(super) trait TransferElement: Element {
    /// Where the status is.
    const STATUS: usize;

    fn decoded(&self) -> (Gfn, DomId, GrantRef);
    fn set_status(&mut self, status: Gntst);
}

impl TransferElement for Transfer64 {
    const STATUS: usize = offset_of!(Self, status);

    fn decoded(&self) -> (Gfn, DomId, GrantRef) {
        (Gfn::new(self.gfn), DomId(self.domid), GrantRef(self.gref))
    }

    fn set_status(&mut self, status: Gntst) {
        self.status = status.wire();
    }
}

impl TransferElement for Transfer32 {
    const STATUS: usize = offset_of!(Self, status);

    fn decoded(&self) -> (Gfn, DomId, GrantRef) {
        (
            Gfn::new(u64::from(self.gfn)),
            DomId(self.domid),
            GrantRef(self.gref),
        )
    }

    fn set_status(&mut self, status: Gntst) {
        self.status = status.wire();
    }
}
