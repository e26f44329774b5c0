// SPDX-License-Identifier: GPL-2.0-only
//! Elements of the hypercalls' arrays, as a guest would fill them in.

use hypercall_abi::{
    command::XEN_GDMA_DOMID_SELF,
    grant::{
        Copy64, CopyPtr64, GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTMAP_HOST_MAP,
        GNTMAP_READONLY, MapGrantRef, UnmapGrantRef,
    },
    lookup::{Lookup, XEN_GDMA_LOOKUP_DADDR, XEN_GDMA_LOOKUP_GADDR},
    mapping::{
        Map, Unmap, XEN_GDMA_MAP_FIXED, XEN_GDMA_MAP_GRANT, XEN_GDMA_MAP_OWN, XEN_GDMA_MAP_READ,
        XEN_GDMA_MAP_WRITE, XEN_GDMA_UNMAP_BY_DADDR,
    },
    window::WindowCreate,
};

/// Devices may read.
pub const READ: u32 = XEN_GDMA_MAP_READ;
/// Devices may read and write.
pub const READ_WRITE: u32 = XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE;

/// Map own frames.
pub fn map_own(gfn: u64, nr_frames: u32, flags: u32) -> Map {
    Map {
        kind: XEN_GDMA_MAP_OWN,
        source: gfn,
        nr_frames,
        flags,
        ..Map::default()
    }
}

/// Map a run of grants.
pub fn map_grant(granter: u16, gref: u64, nr_frames: u32, flags: u32) -> Map {
    Map {
        kind: XEN_GDMA_MAP_GRANT,
        domid: granter,
        source: gref,
        nr_frames,
        flags,
        ..Map::default()
    }
}

/// A window of own frames.
pub fn window_own(gfn: u64, nr_frames: u32, flags: u32) -> WindowCreate {
    WindowCreate {
        kind: XEN_GDMA_MAP_OWN,
        source: gfn,
        nr_frames,
        flags,
        ..WindowCreate::default()
    }
}

/// A window of a run of grants.
pub fn window_grant(granter: u16, gref: u64, nr_frames: u32, flags: u32) -> WindowCreate {
    WindowCreate {
        kind: XEN_GDMA_MAP_GRANT,
        domid: granter,
        source: gref,
        nr_frames,
        flags,
        ..WindowCreate::default()
    }
}

/// The same mapping, at a chosen device frame.
pub fn at(dfn: u64, op: Map) -> Map {
    Map {
        flags: op.flags | XEN_GDMA_MAP_FIXED,
        daddr: dfn * 4096,
        ..op
    }
}

/// Unmap by handle.
pub fn unmap_handle(handle: u64) -> Unmap {
    Unmap {
        handle,
        ..Unmap::default()
    }
}

/// Unmap by device address.
pub fn unmap_range(daddr: u64, nr_frames: u32) -> Unmap {
    Unmap {
        daddr,
        nr_frames,
        flags: XEN_GDMA_UNMAP_BY_DADDR,
        ..Unmap::default()
    }
}

/// What is at a device address?
pub fn lookup_daddr(addr: u64) -> Lookup {
    Lookup {
        kind: XEN_GDMA_LOOKUP_DADDR,
        addr,
        ..Lookup::default()
    }
}

/// Where do devices see a guest address?
pub fn lookup_gaddr(addr: u64, index: u32) -> Lookup {
    Lookup {
        kind: XEN_GDMA_LOOKUP_GADDR,
        addr,
        index,
        ..Lookup::default()
    }
}

/// Map a grant for the CPU.
pub fn cpu_map(granter: u16, gref: u32, host_addr: u64, write: bool) -> MapGrantRef {
    MapGrantRef {
        host_addr,
        flags: GNTMAP_HOST_MAP | if write { 0 } else { GNTMAP_READONLY },
        gref,
        dom: granter,
        ..MapGrantRef::default()
    }
}

/// Undo a CPU mapping.
pub fn cpu_unmap(handle: u32, host_addr: u64) -> UnmapGrantRef {
    UnmapGrantRef {
        host_addr,
        handle,
        ..UnmapGrantRef::default()
    }
}

/// One end of a copy: a grant.
pub fn by_gref(granter: u16, gref: u32, offset: u16) -> CopyPtr64 {
    CopyPtr64 {
        frame_or_gref: gref.into(),
        domid: granter,
        offset,
        pad: 0,
    }
}

/// One end of a copy: a frame of the caller.
pub fn by_frame(gfn: u64, offset: u16) -> CopyPtr64 {
    CopyPtr64 {
        frame_or_gref: gfn,
        domid: XEN_GDMA_DOMID_SELF,
        offset,
        pad: 0,
    }
}

/// A copy; `flags` say which ends are grants.
pub fn copy(source: CopyPtr64, dest: CopyPtr64, len: u16, flags: u16) -> Copy64 {
    Copy64 {
        source,
        dest,
        len,
        flags,
        ..Copy64::default()
    }
}

/// A copy from a grant to a frame of the caller.
pub fn copy_in(source: CopyPtr64, dest: CopyPtr64, len: u16) -> Copy64 {
    copy(source, dest, len, GNTCOPY_SOURCE_GREF)
}

/// A copy from a frame of the caller to a grant.
pub fn copy_out(source: CopyPtr64, dest: CopyPtr64, len: u16) -> Copy64 {
    copy(source, dest, len, GNTCOPY_DEST_GREF)
}

/// The same in a context.
pub fn inside(context: u32, op: Map) -> Map {
    Map { context, ..op }
}
