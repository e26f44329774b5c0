// SPDX-License-Identifier: GPL-2.0-only
//! Windows: mappings of any size, with a record for each run of frames that follow each
//! other in the machine instead of one for each page. Device addresses, handles and
//! quota are those of all mappings.
//!
//! A window goes through these phases; whoever sees it in one that is not [`Phase::Live`]
//! may take it the next step further, because nothing about it is kept elsewhere:
//!
//! ```text
//!  Pinning -> Mapping -> Live -> Unmapping -> FlushPending -> Releasing -> gone
//!     |          |                   |
//!     |          +-> (failed) -------+-> Stuck (the IOMMU does not give it up)
//!     +-> (failed) -> Releasing
//! ```

use hypercall_abi::window::XEN_GDMA_MAX_WINDOWS;

use super::{
    Context, Found, FoundSource, Handle, Mapping, ReserveError, Source,
    chunks::Chunks,
    handle::MappingState,
    hold::{Frames, Hold, Piece, Place},
    pending::Extent,
};
use crate::{
    addr::{Access, Dfn, DfnRange, GrantRef, Mfn},
    dma::{
        map::{MapError, Request},
        quota::Quota,
    },
    grant::Pin,
    host::{FlushFlags, Flushed, FrameRun, Host},
};

/// Grants whose frames are looked at together.
const GRANTS_PER_PIECE: u32 = 64;
/// Frames of the smaller of the large pages.
const LARGE_PAGE: u64 = 512;

/// What was taken out of a window that is to end.
pub enum Taken<H: Host> {
    /// Frames; there are more.
    Some(Piece<H>),
    /// The last ones, if there were any, and what the maker is to be told.
    Gone(Option<Piece<H>>, Option<MapError>),
}

/// Who makes a window, and what was asked for: the call is known by these when it is
/// continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maker {
    /// The vcpu that makes the call.
    pub vcpu: u32,
    /// Its element.
    pub request: Request,
}

/// How far a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its frames are being pinned.
    Pinning,
    /// The IOMMU is being told of them.
    Mapping,
    /// Devices reach all of it.
    Live,
    /// It is being taken out of the IOMMU's tables.
    Unmapping,
    /// It is not in the tables, but an IOTLB may have it: all flushes with greater
    /// numbers than this help.
    FlushPending(u64),
    /// No device reaches it, and its frames are being given back.
    Releasing,
    /// It stays as it is for ever.
    Stuck,
}

/// One window.
pub struct Window<H: Host> {
    handle: Handle,
    /// Index of its first page in the context.
    first: u32,
    count: u32,
    access: Access,
    /// Of the first frame.
    source: Source,
    /// The same, for those who look it up.
    names: FoundSource,
    hold: Hold<H>,
    /// Frames that are pinned, from the first one on.
    pinned: u32,
    /// Frames that are in the IOMMU's tables, from `unmapped` on.
    mapped: u32,
    unmapped: u32,
    /// Where `mapped` is among the frames.
    place: Place,
    phase: Phase,
    maker: Option<Maker>,
    failure: Option<MapError>,
    /// The reference that is given back last, and what it was.
    keep: Option<GrantRef>,
    kept: Option<Pin<H::Frame>>,
    /// It has been live.
    was_live: bool,
    /// The guest knows its handle.
    named: bool,
    /// Windows made before it.
    born: u64,
}

impl<H: Host> Window<H> {
    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Frames that are still to be pinned.
    pub fn to_pin(&self) -> u32 {
        self.count - self.pinned
    }

    /// Number of the frame that is to be pinned next.
    pub fn pinned(&self) -> u32 {
        self.pinned
    }

    /// What devices may do.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Makes room for the pin of a grant.
    pub fn make_room(&mut self) -> Result<(), MapError> {
        match self.hold.unreached() {
            Some(Frames::Grant(pins)) => pins.reserve(),
            _ => Ok(()),
        }
        .map_err(|_| MapError::Reserve(ReserveError::OutOfMemory))
    }

    /// Adds the pin of the next grant, for which there is room.
    pub fn add_pin(&mut self, pin: Pin<H::Frame>) {
        if let Some(Frames::Grant(pins)) = self.hold.unreached() {
            pins.push(pin);
            self.pinned += 1;
        }
    }

    /// Adds the next own frames, as many as there are to pin or fewer. They are given
    /// back if there is no memory.
    pub fn add_run(&mut self, run: H::FrameRun) -> Result<(), MapError> {
        let count = run.count();
        if let Some(frames) = self.hold.unreached() {
            frames
                .add_run(run)
                .map_err(|_| MapError::Reserve(ReserveError::OutOfMemory))?;
            self.pinned += count;
        }
        Ok(())
    }

    /// All frames are pinned: from now on devices may reach them.
    pub fn start_mapping(&mut self) {
        self.hold.reach();
        self.phase = Phase::Mapping;
    }

    /// Offset of what is to be mapped next, and the frames that follow each other in
    /// the machine there: the first, and how many. `None`: all is mapped. `first` is the
    /// window's first device frame.
    pub fn next_to_map(&self, first: Dfn) -> Option<(u32, Mfn, u32)> {
        // Only a place where a large page can begin is worth so long a look.
        let dfn = first.checked_add(u64::from(self.mapped))?;
        let most = if dfn.number().is_multiple_of(LARGE_PAGE) {
            LARGE_PAGE as u32
        } else {
            GRANTS_PER_PIECE
        };
        let (mfn, count) = self.hold.get().follow(self.place, most)?;
        Some((self.mapped, mfn, count))
    }

    /// The next `count` frames, of one run, are in the IOMMU's tables.
    pub fn note_mapped(&mut self, count: u32) {
        self.mapped += count;
        self.place = self.hold.get().behind(self.place, count);
    }

    /// Offset of what is to be unmapped next, and how much there is.
    pub fn next_to_unmap(&self) -> (u32, u32) {
        (self.unmapped, self.mapped - self.unmapped)
    }

    /// The next `count` frames are not in the tables any more.
    pub fn note_unmapped(&mut self, count: u32) {
        self.unmapped += count;
    }

    /// Takes frames out, if no device reaches them, that of [`Self::keep`] last.
    fn pop(&mut self) -> Option<Piece<H>> {
        match self.hold.pop() {
            Some(Piece::Grant(pin)) if self.keep == Some(pin.gref()) && self.kept.is_none() => {
                self.kept = Some(pin);
                self.hold.pop()
            }
            piece => piece,
        }
        .or_else(|| self.kept.take().map(Piece::Grant))
    }

    /// Devices may reach some of it, or an IOTLB may.
    fn is_reached(&self) -> bool {
        matches!(self.hold, Hold::Reached(_))
    }

    /// Number of the frame that `source` is, if it is one of the first `count`.
    fn nth_of(&self, source: Source, count: u32) -> Option<u32> {
        let nth = source.behind(self.source)?;
        u32::try_from(nth).ok().filter(|&nth| nth < count)
    }
}

/// A new window.
pub struct NewWindow {
    /// Who makes it.
    pub maker: Maker,
    /// What its first frame is.
    pub names: FoundSource,
    /// A device frame that the first one should be congruent to, modulo large pages.
    pub congruent: u64,
    /// Sizes of large pages, in frames, the largest first.
    pub large: [u64; 2],
}

impl NewWindow {
    /// Where its frames are found.
    fn source(&self) -> Source {
        match self.names {
            FoundSource::Own(gfn) => Source::own(gfn),
            FoundSource::Grant { granter, gref } => Source::grant(granter, gref),
        }
    }
}

impl<H: Host> Context<H> {
    /// Sets device frames, a handle and quota aside.
    pub fn begin_window(
        &mut self,
        quota: &Quota,
        range: DfnRange,
        new: &NewWindow,
    ) -> Result<Handle, ReserveError> {
        if self.closed {
            return Err(ReserveError::Closed);
        }
        if self.windows.len() >= XEN_GDMA_MAX_WINDOWS as usize {
            return Err(ReserveError::Quota);
        }
        let count = new.maker.request.count;
        quota.take(count).map_err(|_| ReserveError::Quota)?;
        self.begin_paid(range, new, count)
            .inspect_err(|_| quota.give_back(count))
    }

    fn begin_paid(
        &mut self,
        range: DfnRange,
        new: &NewWindow,
        count: u32,
    ) -> Result<Handle, ReserveError> {
        self.windows
            .try_reserve(1)
            .map_err(|_| ReserveError::OutOfMemory)?;
        let first = self.find_window_place(range, new, count as usize)?;
        let access = new.maker.request.access;
        let slot = self.new_mapping(first as u32, count, access)?;
        let handle = self
            .name_mapping(slot, MappingState::Window)
            .ok_or(ReserveError::OutOfMemory)?;
        self.addresses.take_run(first, count as usize);
        self.pinned += count;
        self.windows_made += 1;
        let frames = match new.names {
            FoundSource::Own(_) => Frames::Own(Chunks::EMPTY),
            FoundSource::Grant { .. } => Frames::Grant(Chunks::EMPTY),
        };
        let place = self
            .windows
            .partition_point(|window| window.first < first as u32);
        self.windows.insert(
            place,
            Window {
                handle,
                first: first as u32,
                count,
                access,
                source: new.source(),
                names: new.names,
                hold: Hold::Unreached(frames),
                pinned: 0,
                mapped: 0,
                unmapped: 0,
                place: Place::default(),
                phase: Phase::Pinning,
                maker: Some(new.maker),
                failure: None,
                keep: None,
                kept: None,
                was_live: false,
                named: false,
                born: self.windows_made,
            },
        );
        Ok(handle)
    }

    /// Index of free pages where the largest page size fits that can.
    fn find_window_place(
        &self,
        range: DfnRange,
        new: &NewWindow,
        count: usize,
    ) -> Result<usize, ReserveError> {
        if new.maker.request.wanted.is_some() {
            return self.find_place(range, new.maker.request.wanted, count);
        }
        for size in new.large {
            if size > 1 && size <= count as u64 {
                let residue = new.congruent.wrapping_sub(range.first.number()) & (size - 1);
                let found = self
                    .addresses
                    .find_aligned(count, size as usize, residue as usize);
                if found.is_ok() {
                    return found;
                }
            }
        }
        self.addresses.find_run(count)
    }

    /// The window with this handle, whatever its phase.
    pub fn window(&mut self, handle: Handle) -> Option<&mut Window<H>> {
        let mut windows = self.windows.iter_mut();
        windows.find(|window| window.handle == handle)
    }

    /// It can be named by its handle: it has been made, and has not ended.
    pub fn is_window(&self, handle: Handle) -> bool {
        let named = |window: &Window<H>| window.named && window.handle == handle;
        self.windows.iter().any(named)
    }

    /// Devices reach it, and nobody ends it.
    pub fn is_live_window(&self, handle: Handle) -> bool {
        let live = |window: &Window<H>| window.phase == Phase::Live && window.handle == handle;
        self.windows.iter().any(live)
    }

    /// The window that a vcpu has begun to make and has no answer about, and what it
    /// asked for.
    pub fn window_of(&self, vcpu: u32) -> Option<(Handle, Request)> {
        self.windows.iter().find_map(|window| {
            let maker = window.maker.filter(|maker| maker.vcpu == vcpu)?;
            Some((window.handle, maker.request))
        })
    }

    /// A window that is on its way out, and that nobody can name or is going to ask
    /// about.
    pub fn orphan(&self) -> Option<Handle> {
        let left = |window: &&Window<H>| {
            window.maker.is_none() && !window.named && window.phase != Phase::Stuck
        };
        self.windows.iter().find(left).map(|window| window.handle)
    }

    /// Any window that can be ended.
    pub fn any_window(&self) -> Option<Handle> {
        let mut windows = self.windows.iter();
        windows
            .find(|window| window.phase != Phase::Stuck)
            .map(|window| window.handle)
    }

    /// A window that has this pinned, or had and is not gone yet, and whether it can
    /// be ended.
    pub fn window_with(&self, source: Source) -> Option<(Handle, bool)> {
        let mut windows = self.windows.iter();
        windows
            .find(|window| match window.phase {
                Phase::Pinning => window.nth_of(source, window.pinned).is_some(),
                _ => window.nth_of(source, window.count).is_some(),
            })
            .map(|window| (window.handle, window.phase != Phase::Stuck))
    }

    /// Its device frames, if it exists.
    pub fn window_range(&self, handle: Handle) -> Option<DfnRange> {
        let window = self.windows.iter().find(|window| window.handle == handle)?;
        let range = self.range?;
        Some(DfnRange {
            first: range.first.checked_add(u64::from(window.first))?,
            count: u64::from(window.count),
        })
    }

    /// A window that is complete: the guest is told its name.
    pub fn publish_window(&mut self, handle: Handle) {
        if let Some(window) = self.window(handle) {
            window.phase = Phase::Live;
            window.maker = None;
            window.was_live = true;
            window.named = true;
        }
    }

    /// The window is to end. `failure` is what its maker is told, if there is one that
    /// waits for an answer. True: it was live until now.
    pub fn end_window(&mut self, quota: &Quota, handle: Handle, failure: MapError) -> bool {
        let Some(window) = self.window(handle) else {
            return false;
        };
        window.failure.get_or_insert(failure);
        let was_live = window.phase == Phase::Live;
        match window.phase {
            Phase::Pinning => {
                window.phase = Phase::Releasing;
                let unpinned = window.to_pin();
                self.pinned -= unpinned;
                quota.give_back(unpinned);
            }
            Phase::Mapping | Phase::Live => window.phase = Phase::Unmapping,
            _ => {}
        }
        was_live
    }

    /// Nobody waits for an answer about the window, nor knows its name.
    pub fn abandon_window(&mut self, handle: Handle) {
        if let Some(window) = self.window(handle) {
            window.maker = None;
            window.named = false;
        }
    }

    /// The next flush must cover a part of the window.
    pub fn note_window_flush(&mut self, handle: Handle, from: u32, count: u32, flags: FlushFlags) {
        let window = self.window_range(handle).filter(|_| count != 0);
        let first = window.and_then(|range| range.first.checked_add(u64::from(from)));
        if let Some(first) = first.filter(|_| flags != FlushFlags::NONE) {
            let part = DfnRange {
                first,
                count: u64::from(count),
            };
            self.pending.extent.cover(Extent::of(part, flags));
        }
    }

    /// The window is not in the tables any more. True: it had been live.
    pub fn window_unmapped(&mut self, handle: Handle) -> bool {
        let number = self.flush_number;
        let whole = self.window_range(handle);
        let Some(window) = self.window(handle) else {
            return false;
        };
        window.phase = Phase::FlushPending(number);
        let was_live = window.was_live;
        // Another flush may be under way that covers it: this one must not be left out.
        if let Some(whole) = whole {
            let extent = Extent::of(whole, FlushFlags::NONE);
            self.pending.extent.cover(extent);
        }
        was_live
    }

    /// A flush has succeeded: what waited for it when it began is out of reach. True if
    /// there was any.
    pub(in crate::dma) fn windows_flushed(&mut self, number: u64, proof: &Flushed) -> bool {
        let mut any = false;
        for window in &mut self.windows {
            if matches!(window.phase, Phase::FlushPending(since) if since < number) {
                any = true;
                window.hold.unreach(proof);
                window.phase = Phase::Releasing;
            }
        }
        any
    }

    /// This reference is to be given back last: who revokes it looks for the window by
    /// it, until the window is gone.
    pub fn keep_last(&mut self, handle: Handle, gref: GrantRef) {
        if let Some(window) = self.window(handle) {
            window.keep.get_or_insert(gref);
        }
    }

    /// Takes some frames out of a window that no device reaches. With the last of them
    /// the window is gone.
    pub fn take_piece(&mut self, quota: &Quota, handle: Handle) -> Taken<H> {
        let Some(window) = self.window(handle) else {
            return Taken::Gone(None, None);
        };
        let piece = window.pop();
        let count = piece.as_ref().map_or(0, Piece::count);
        window.pinned -= count;
        let left = window.pinned;
        self.pinned -= count;
        quota.give_back(count);
        match piece {
            Some(piece) if left != 0 => Taken::Some(piece),
            last => Taken::Gone(last, self.forget_window(handle)),
        }
    }

    fn forget_window(&mut self, handle: Handle) -> Option<MapError> {
        let place = self
            .windows
            .iter()
            .position(|window| window.handle == handle)?;
        let window = self.windows.get(place)?;
        debug_assert!(!window.is_reached());
        let window = self.windows.remove(place);
        self.addresses
            .give_back_run(window.first as usize, window.count as usize);
        self.free_mapping(handle.slot());
        window.failure
    }

    /// The window cannot be taken back: it stays for ever.
    pub(super) fn disown_window(&mut self, handle: Handle) {
        if let Some(window) = self.window(handle) {
            window.phase = Phase::Stuck;
        }
    }

    fn window_found(&self, window: &Window<H>, nth: u32) -> Option<Found> {
        if window.phase != Phase::Live {
            return None;
        }
        let first = self.range?.first.checked_add(u64::from(window.first))?;
        Some(Found {
            mapping: Mapping {
                handle: window.handle,
                range: DfnRange {
                    first,
                    count: u64::from(window.count),
                },
                access: window.access,
            },
            dfn: first.checked_add(u64::from(nth))?,
            source: window.names.nth(nth)?,
        })
    }

    /// What a page of the context leads to, if it is in a window.
    pub(super) fn window_at(&self, index: u32) -> Option<Found> {
        let behind = self.windows.partition_point(|window| window.first <= index);
        let window = self.windows.get(behind.checked_sub(1)?)?;
        let nth = index - window.first;
        (nth < window.count).then(|| self.window_found(window, nth))?
    }

    /// The `nth` window, newest first, that has a frame or reference.
    pub(super) fn window_by_source(&self, source: Source, nth: u32) -> Option<Found> {
        let found = |window: &Window<H>| {
            let found = self.window_found(window, window.nth_of(source, window.count)?)?;
            Some((window.born, found))
        };
        let newer = |born: u64| {
            let all = self.windows.iter().filter_map(found);
            all.filter(|&(other, _)| other > born).count()
        };
        let mut all = self.windows.iter().filter_map(found);
        all.find(|&(born, _)| newer(born) == nth as usize)
            .map(|(_, found)| found)
    }
}

impl FoundSource {
    /// The frame or reference `nth` places behind this one.
    fn nth(self, nth: u32) -> Option<Self> {
        match self {
            Self::Own(gfn) => gfn.checked_add(u64::from(nth)).map(Self::Own),
            Self::Grant { granter, gref } => gref.0.checked_add(nth).map(|gref| Self::Grant {
                granter,
                gref: GrantRef(gref),
            }),
        }
    }
}
