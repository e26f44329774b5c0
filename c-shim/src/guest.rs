// SPDX-License-Identifier: GPL-2.0-only
//! Memory of the calling guest, by its own addresses.

use core::{
    ffi::{c_uint, c_void},
    ptr,
};

use hv::{
    addr::GuestPtr,
    host::{GuestFault, MappedMemory, Origin},
};

use crate::{ffi, mapped::XenMapped};

pub(crate) fn to_guest(at: GuestPtr) -> *mut c_void {
    ptr::without_provenance_mut(at.0 as usize)
}

/// The range begins in the part of a virtual address space that guests of every kind
/// may use, which is the usual case, and has an end. As for Xen itself what is behind
/// its begin does not count: between this part and Xen there is room for any array.
#[inline(always)]
pub(crate) fn is_below_xen(at: GuestPtr, bytes: u64) -> bool {
    const GUESTS: u64 = 1 << 47;
    cfg!(target_arch = "x86_64") && at.0 < GUESTS && bytes < GUESTS
}

/// Copies out.
#[inline(always)]
pub(crate) fn write(at: GuestPtr, from: &[u8]) -> Result<(), GuestFault> {
    let to = to_guest(at);
    // How much it is, is usually known here.
    let left = if let Ok(two) = from.try_into() {
        ffi::gdma_guest_write2(to, u16::from_ne_bytes(two))
    } else if let Ok(four) = from.try_into() {
        ffi::gdma_guest_write4(to, u32::from_ne_bytes(four))
    } else if let Ok(eight) = from.try_into() {
        ffi::gdma_guest_write8(to, u64::from_ne_bytes(eight))
    } else {
        let len = c_uint::try_from(from.len()).map_err(|_| GuestFault)?;
        // SAFETY: `len` bytes to read; the copy itself checks the guest's address.
        unsafe { ffi::gdma_guest_write(to, from.as_ptr(), len) }
    };
    if left == 0 { Ok(()) } else { Err(GuestFault) }
}

/// Where Xen has mapped elements in the guest's own memory, whose page it keeps; or
/// null.
///
/// # Invariant
///
/// Unless null, it comes from [`Self::read`], and nobody has released it.
pub(crate) struct Kept(*mut c_void);

impl Kept {
    /// Copies `len` bytes in, and may keep the page that they are in if `keep`.
    ///
    /// # Safety
    ///
    /// There is room for `len` bytes at `to`. On success all of them are written.
    #[inline(always)]
    pub(crate) unsafe fn read(
        to: *mut u8,
        at: GuestPtr,
        len: usize,
        keep: bool,
    ) -> Result<Self, GuestFault> {
        let from = to_guest(at);
        let kept = match c_uint::try_from(len).map_err(|_| GuestFault)? {
            // SAFETY: room for so many bytes, says the caller; all of these functions
            // check the guest's address themselves.
            8 => unsafe { ffi::gdma_guest_read8(to, from, keep) },
            // SAFETY: the same.
            16 => unsafe { ffi::gdma_guest_read16(to, from, keep) },
            // SAFETY: the same.
            len => unsafe { ffi::gdma_guest_read(to, from, keep, len) },
        };
        if kept.addr() > usize::MAX - ffi::MAX_ERRNO {
            return Err(GuestFault);
        }
        // Known to the compiler: it need not ask again.
        Ok(Self(if keep { kept } else { ptr::null_mut() }))
    }
}

impl Drop for Kept {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: set, and not released, says the invariant.
            unsafe { ffi::gdma_kept_release(self.0) };
        }
    }
}

/// Pages of the guest's own memory that Xen keeps while a call works through an array.
///
/// # Invariant
///
/// Only C changes it, which owns what is kept until it is released.
pub(crate) struct KeptArray(ffi::Array);

impl KeptArray {
    /// Copies `len` bytes of the array in, and may keep the pages that they are in.
    ///
    /// # Safety
    ///
    /// There is room for `len` bytes at `to`. On success all of them are written.
    #[inline(always)]
    pub(crate) unsafe fn read(
        &mut self,
        to: *mut u8,
        at: GuestPtr,
        len: usize,
    ) -> Result<(), GuestFault> {
        let len = c_uint::try_from(len).map_err(|_| GuestFault)?;
        // SAFETY: room for so many bytes, says the caller; C checks the guest's address.
        match unsafe { ffi::gdma_array_read(&mut self.0, to, to_guest(at), len) } {
            0 => Ok(()),
            _ => Err(GuestFault),
        }
    }

    /// The pages that were read from last are kept, all of them.
    #[inline(always)]
    fn is_any(&self) -> bool {
        let [first, _] = self.0.pages;
        !first.is_null()
    }
}

impl Default for KeptArray {
    #[inline(always)]
    fn default() -> Self {
        Self(ffi::Array {
            at: 0,
            pages: [ptr::null_mut(); 2],
        })
    }
}

impl Drop for KeptArray {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_any() {
            // SAFETY: the invariant.
            unsafe { ffi::gdma_array_release(&mut self.0) };
        }
    }
}

/// Where elements came from.
pub(crate) enum XenOrigin<'a> {
    /// At an address of the guest's, `len` bytes; and their page, if Xen keeps it.
    Guest {
        at: GuestPtr,
        len: usize,
        kept: &'a Kept,
    },
    /// The same, as a part of an array.
    Part {
        at: GuestPtr,
        len: usize,
        array: &'a KeptArray,
    },
    /// At this offset.
    Mapped(&'a XenMapped, u64),
}

impl Origin for XenOrigin<'_> {
    #[inline(always)]
    fn write(&self, offset: usize, from: &[u8]) -> Result<(), GuestFault> {
        match *self {
            Self::Guest {
                at,
                kept: Kept(kept),
                ..
            } if kept.is_null() => write(at.byte_offset(offset as u64), from),
            Self::Guest { len, kept, .. } => {
                if offset > len || from.len() > len - offset {
                    return Err(GuestFault);
                }
                let to = kept.0.wrapping_byte_add(offset);
                // SAFETY: kept, with `len` bytes; there are as many to read as are
                // written.
                unsafe { ffi::gdma_kept_write(to, from.as_ptr(), from.len() as c_uint) };
                Ok(())
            }
            Self::Part { at, array, .. } if !array.is_any() => {
                write(at.byte_offset(offset as u64), from)
            }
            Self::Part { at, len, array } => {
                if offset > len || from.len() > len - offset {
                    return Err(GuestFault);
                }
                let to = to_guest(at.byte_offset(offset as u64));
                // SAFETY: inside what was read last, whose pages are kept; there are as
                // many bytes to read as are written.
                unsafe { ffi::gdma_array_write(&array.0, to, from.as_ptr(), from.len() as c_uint) };
                Ok(())
            }
            Self::Mapped(memory, start) => {
                let at = start.checked_add(offset as u64).ok_or(GuestFault)?;
                memory.write(at, from)
            }
        }
    }
}
