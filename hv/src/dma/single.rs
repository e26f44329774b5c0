// SPDX-License-Identifier: GPL-2.0-only
//! The register forms of `map` and `unmap`: one frame, and nothing in memory.

use hypercall_abi::{
    Errno,
    command::{
        XEN_GDMA_REG_CONTEXT, XEN_GDMA_REG_GRANT, XEN_GDMA_REG_NO_FLUSH, XEN_GDMA_REG_READ,
        XEN_GDMA_REG_WRITE,
    },
    mapping::{
        Map, Unmap, XEN_GDMA_MAP_GRANT, XEN_GDMA_MAP_OWN, XEN_GDMA_MAP_READ, XEN_GDMA_MAP_WRITE,
        XEN_GDMA_NO_FLUSH, XEN_GDMA_UNMAP_BY_DADDR,
    },
};

use super::{map::Maps, unmap::Unmaps};
use crate::{host::Host, state::DomainState};

/// The flags of `word` that are among `known`, in the array form's numbers.
fn flags(word: u32, known: &[(u32, u32)]) -> Result<u32, Errno> {
    let all = known
        .iter()
        .fold(XEN_GDMA_REG_CONTEXT, |all, (bit, _)| all | bit);
    if word & !all != 0 {
        return Err(Errno::Inval);
    }
    let set = known.iter().filter(|(bit, _)| word & bit != 0);
    Ok(set.fold(0, |flags, (_, flag)| flags | flag))
}

/// Maps what `what` names, as `word` says. Returns the device address.
///
/// Locks as for an element of `map`.
pub fn map<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    what: u64,
    word: u32,
) -> Result<u64, Errno> {
    const KNOWN: &[(u32, u32)] = &[
        (XEN_GDMA_REG_READ, XEN_GDMA_MAP_READ),
        (XEN_GDMA_REG_WRITE, XEN_GDMA_MAP_WRITE),
        (XEN_GDMA_REG_GRANT, 0),
        (XEN_GDMA_REG_NO_FLUSH, XEN_GDMA_NO_FLUSH),
    ];
    let flags = flags(word, KNOWN)?;
    let (kind, domid, source) = if word & XEN_GDMA_REG_GRANT == 0 {
        (XEN_GDMA_MAP_OWN, 0, what)
    } else {
        let domid = u16::try_from(what >> 32).map_err(|_| Errno::Inval)?;
        (XEN_GDMA_MAP_GRANT, domid, what & u64::from(u32::MAX))
    };
    let mut op = Map {
        context: word & XEN_GDMA_REG_CONTEXT,
        kind,
        domid,
        source,
        nr_frames: 1,
        flags,
        ..Map::default()
    };
    let mut maps = Maps::new(caller, state);
    maps.map(host, &mut op)?;
    if let Err(error) = maps.finish(host) {
        // The caller would not know of it.
        maps.undo(host, core::iter::once(&op));
        return Err(error.into());
    }
    Ok(op.daddr)
}

/// Unmaps the frame at a device address.
///
/// Locks as for an element of `unmap`.
pub fn unmap<H: Host>(
    host: &H,
    caller: &H::Domain,
    state: &DomainState<H>,
    daddr: u64,
    word: u32,
) -> Result<(), Errno> {
    let flags = flags(word, &[(XEN_GDMA_REG_NO_FLUSH, XEN_GDMA_NO_FLUSH)])?;
    let op = Unmap {
        daddr,
        context: word & XEN_GDMA_REG_CONTEXT,
        nr_frames: 1,
        flags: flags | XEN_GDMA_UNMAP_BY_DADDR,
        ..Unmap::default()
    };
    let mut unmaps = Unmaps::new(caller, state);
    let unmapped = unmaps.unmap(host, &op);
    let flushed = unmaps.finish(host, false);
    unmapped?;
    flushed.map_err(|_| Errno::Io)
}
