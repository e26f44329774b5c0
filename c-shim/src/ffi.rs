// SPDX-License-Identifier: GPL-2.0-only
//! What C offers to Rust. The contract of each function is in
//! `xen/common/grant-dma/`, in the file named above it; the prototypes are in
//! `gdma.h` there and must be changed together with these.

use core::{
    ffi::{c_int, c_long, c_uint, c_ulong, c_void},
    ptr::NonNull,
};

/// `struct domain`.
#[repr(C)]
pub(crate) struct Domain {
    _opaque: [u8; 0],
}

/// `struct grant_table`, which C knows by its address only: a
/// [`XenDomain`](crate::domain::XenDomain).
#[repr(C)]
pub(crate) struct GrantTable {
    _opaque: [u8; 0],
}

/// `struct iommu_context`.
#[repr(C)]
pub(crate) struct IoContext {
    _opaque: [u8; 0],
}

/// `struct gdma_array`.
#[repr(C)]
pub(crate) struct Array {
    /// Guest address of the first page.
    pub(crate) at: c_ulong,
    /// Where Xen has mapped it and the one behind it, or null.
    pub(crate) pages: [*mut c_void; 2],
}

/// `struct gdma_near`.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
#[derive(Default)]
pub(crate) struct Near {
    first: u64,
    mfn: u64,
    last: u64,
    changes: u64,
    count: u32,
    small: bool,
}

/// `__HYPERVISOR_grant_table_op`.
pub(crate) const HYPERCALL_GRANT_TABLE: c_uint = 20;
/// `__HYPERVISOR_grant_dma_op`.
pub(crate) const HYPERCALL_GRANT_DMA: c_uint = hypercall_abi::HYPERCALL_NR;

/// Xen's `MAX_ERRNO`: so many addresses, the last ones, are error numbers, as made by
/// `ERR_PTR()`.
pub(crate) const MAX_ERRNO: usize = 4095;

/// `GDMA_SPINLOCK_SIZE`.
pub(crate) const SPINLOCK_SIZE: usize = 8;
/// `GDMA_RWLOCK_SIZE`.
pub(crate) const RWLOCK_SIZE: usize = 32;

pub(crate) const IOMMU_ABSENT: c_uint = 0;
pub(crate) const IOMMU_PASS_THROUGH: c_uint = 1;
pub(crate) const IOMMU_SHARED_TABLES: c_uint = 2;

pub(crate) const PCI_UNSUPPORTED: c_uint = 0;
pub(crate) const PCI_NOT_FOUND: c_uint = 1;
pub(crate) const PCI_NO_IOMMU: c_uint = 2;

pub(crate) const PIN_OKAY: c_int = 0;
pub(crate) const PIN_NOT_MEMORY: c_int = -1;
pub(crate) const PIN_TRY_AGAIN: c_int = -2;
pub(crate) const PIN_NOT_WRITABLE: c_int = -3;
pub(crate) const PIN_GONE: c_int = -4;

pub(crate) const STEAL_BAD_PAGE: i64 = -1;

pub(crate) const OFFER_TOO_BIG: i64 = -1;

pub(crate) const GIVE_PLACED: c_uint = 0;
pub(crate) const GIVE_DYING: c_uint = 2;

pub(crate) const TRACE_MAP: c_uint = 1;
pub(crate) const TRACE_UNMAP: c_uint = 2;
pub(crate) const TRACE_TRANSFER: c_uint = 3;

pub(crate) const LOG_ERROR: c_uint = 1;
pub(crate) const LOG_WARNING: c_uint = 2;
pub(crate) const LOG_INFO: c_uint = 3;
pub(crate) const LOG_DEBUG: c_uint = 4;

unsafe extern "C" {
    // entry.c
    pub(crate) safe fn gdma_continue_call(
        hypercall: c_uint,
        cmd: u32,
        at: *mut c_void,
        count: u32,
    ) -> c_long;

    // options.c
    pub(crate) safe fn gdma_transitive_allowed() -> bool;
    pub(crate) safe fn gdma_transfer_allowed() -> bool;

    // console.c
    pub(crate) fn gdma_print(msg: *const u8, len: usize);
    pub(crate) fn gdma_log(level: c_uint, msg: *const u8, len: usize);
    pub(crate) fn gdma_panic(msg: *const u8, len: usize) -> !;

    // memory.c
    pub(crate) fn gdma_alloc(size: usize, align: usize) -> *mut u8;
    pub(crate) fn gdma_free(ptr: *mut u8);

    // locks.c
    pub(crate) static gdma_spin_unlocked: [u8; SPINLOCK_SIZE];
    pub(crate) fn gdma_spin_lock(lock: *mut c_void);
    pub(crate) fn gdma_spin_unlock(lock: *mut c_void);
    pub(crate) fn gdma_rw_init(lock: *mut c_void);
    pub(crate) fn gdma_read_lock(lock: *mut c_void);
    pub(crate) fn gdma_read_unlock(lock: *mut c_void);
    pub(crate) fn gdma_write_lock(lock: *mut c_void);
    pub(crate) fn gdma_write_unlock(lock: *mut c_void);

    // domain.c
    pub(crate) fn gdma_domain_id(domain: *const Domain) -> u16;
    pub(crate) fn gdma_domain_is_translated(domain: *const Domain) -> bool;
    pub(crate) fn gdma_domain_table(domain: *const Domain) -> *mut GrantTable;
    pub(crate) fn gdma_domain_set_table(domain: *mut Domain, table: *mut GrantTable);
    pub(crate) safe fn gdma_domain_current() -> NonNull<GrantTable>;
    pub(crate) safe fn gdma_vcpu_current() -> u32;
    pub(crate) safe fn gdma_domain_get(domid: u16) -> *mut GrantTable;
    pub(crate) fn gdma_domain_put(domain: *mut Domain);
    pub(crate) fn gdma_domain_is_dying(domain: *const Domain) -> bool;
    pub(crate) fn gdma_domain_is_direct_mapped(domain: *const Domain) -> bool;
    pub(crate) fn gdma_domain_releases_cpu_mappings(domain: *const Domain) -> bool;
    pub(crate) fn gdma_xsm_map(
        holder: *mut Domain,
        granter: *mut Domain,
        gntmap_flags: u32,
    ) -> c_int;
    pub(crate) fn gdma_xsm_unmap(holder: *mut Domain, granter: *mut Domain) -> c_int;
    pub(crate) fn gdma_xsm_setup(caller: *mut Domain, target: *mut Domain) -> c_int;
    pub(crate) fn gdma_xsm_query(caller: *mut Domain, target: *mut Domain) -> c_int;
    pub(crate) fn gdma_xsm_transfer(caller: *mut Domain, receiver: *mut Domain) -> c_int;
    pub(crate) fn gdma_xsm_copy(source: *mut Domain, dest: *mut Domain) -> c_int;
    pub(crate) fn gdma_xsm_context(owner: *mut Domain) -> c_int;
    pub(crate) fn gdma_xsm_attach(owner: *mut Domain, sbdf: u32) -> c_int;
    pub(crate) fn gdma_xsm_limits(target: *mut Domain) -> c_int;
    pub(crate) safe fn gdma_trace(event: c_uint, other: u16);
    pub(crate) static gdma_tracing: *const bool;

    // pages.c
    pub(crate) fn gdma_page_again(
        owner: *mut Domain,
        mfn: u64,
        write: bool,
        take_type: bool,
    ) -> c_int;
    pub(crate) safe fn gdma_page_of_mfn(mfn: u64) -> *mut GrantTable;
    pub(crate) fn gdma_page_put(mfn: u64);
    pub(crate) fn gdma_page_put_and_type(mfn: u64);
    pub(crate) fn gdma_pages_put(mfn: u64, count: u32, has_type: bool);
    pub(crate) fn gdma_page_leave_to_page_tables(mfn: u64, has_type: bool);
    pub(crate) fn gdma_page_copy(
        to: u64,
        to_offset: c_uint,
        from: u64,
        from_offset: c_uint,
        len: c_uint,
    );
    pub(crate) fn gdma_page_flush_cache(mfn: u64, offset: c_uint, length: c_uint, op: u32)
    -> c_int;
    pub(crate) fn gdma_pages_map(mfns: *const u64, count: c_uint) -> *mut c_void;
    pub(crate) fn gdma_pages_unmap(at: *mut c_void);
    pub(crate) fn gdma_pages_copy(to: *mut c_void, from: *const c_void, length: c_uint);
    pub(crate) fn gdma_page_mark_dirty(owner: *mut Domain, mfn: u64);
    pub(crate) safe fn gdma_shared_alloc() -> *mut u8;
    pub(crate) fn gdma_shared_free(va: *mut u8);
    pub(crate) fn gdma_shared_share(va: *mut u8, owner: *mut Domain);
    pub(crate) fn gdma_shared_unshare(va: *mut u8, owner: *mut Domain) -> c_int;
    pub(crate) fn gdma_shared_clear(va: *mut u8);
    pub(crate) fn gdma_shared_mfn(va: *const u8) -> u64;
    pub(crate) fn gdma_shared_gfn(va: *const u8, owner: *const Domain, gfn: *mut u64) -> bool;
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn gdma_shared_cmpxchg32(
        owner: *mut Domain,
        ptr: *mut u32,
        old: u32,
        new: u32,
    ) -> u32;
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn gdma_shared_clear16(owner: *mut Domain, ptr: *mut u16, bits: u16);

    // p2m.c
    pub(crate) fn gdma_pin_gfn(owner: *mut Domain, gfn: u64, write: bool, io: bool) -> i64;
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn gdma_pin_near(owner: *mut Domain, gfn: u64, write: bool, near: *mut Near) -> i64;
    pub(crate) fn gdma_pin_run(
        owner: *mut Domain,
        gfn: u64,
        most: u32,
        write: bool,
        mfn: *mut u64,
        count: *mut u32,
    ) -> c_int;
    pub(crate) fn gdma_is_above_memory(domain: *const Domain, gfn: u64) -> bool;
    pub(crate) fn gdma_gfn_is_hole(domain: *mut Domain, gfn: u64) -> bool;
    pub(crate) fn gdma_cpu_map_needs_identity(holder: *const Domain) -> bool;
    pub(crate) fn gdma_cpu_map(
        host_addr: u64,
        mfn: u64,
        gntmap_flags: u32,
        cache_flags: u16,
    ) -> c_int;
    pub(crate) fn gdma_cpu_unmap(
        host_addr: u64,
        mfn: u64,
        new_addr: u64,
        gntmap_flags: u32,
    ) -> c_int;
    pub(crate) safe fn gdma_flush_cpu_tlb();

    // transfer.c
    pub(crate) fn gdma_page_steal(domain: *mut Domain, gfn: u64) -> i64;
    pub(crate) fn gdma_page_free_stolen(mfn: u64);
    pub(crate) fn gdma_page_offer(mfn: u64, receiver: *mut Domain, wide_frames: bool) -> i64;
    pub(crate) fn gdma_page_give(mfn: u64, receiver: *mut Domain, gfn: u64) -> c_uint;
    pub(crate) fn gdma_page_withdraw(mfn: u64, receiver: *mut Domain);

    // guest.c
    pub(crate) safe fn gdma_wide_registers() -> bool;
    pub(crate) safe fn gdma_guest_range_okay(at: *const c_void, bytes: u64) -> bool;
    pub(crate) fn gdma_guest_read(
        to: *mut u8,
        from: *const c_void,
        keep: bool,
        len: c_uint,
    ) -> *mut c_void;
    pub(crate) fn gdma_guest_read8(to: *mut u8, from: *const c_void, keep: bool) -> *mut c_void;
    pub(crate) fn gdma_guest_read16(to: *mut u8, from: *const c_void, keep: bool) -> *mut c_void;
    pub(crate) fn gdma_kept_write(to: *mut c_void, from: *const u8, len: c_uint);
    pub(crate) fn gdma_kept_release(kept: *mut c_void);
    pub(crate) fn gdma_array_read(
        array: *mut Array,
        to: *mut u8,
        from: *const c_void,
        len: c_uint,
    ) -> c_int;
    pub(crate) fn gdma_array_write(
        array: *const Array,
        to: *const c_void,
        from: *const u8,
        len: c_uint,
    );
    pub(crate) fn gdma_array_release(array: *mut Array);
    pub(crate) fn gdma_guest_write(to: *mut c_void, from: *const u8, len: c_uint) -> c_uint;
    pub(crate) safe fn gdma_guest_write2(to: *mut c_void, value: u16) -> c_uint;
    pub(crate) safe fn gdma_guest_write4(to: *mut c_void, value: u32) -> c_uint;
    pub(crate) safe fn gdma_guest_write8(to: *mut c_void, value: u64) -> c_uint;
    pub(crate) safe fn gdma_preempt_check() -> bool;

    // iommu.c
    pub(crate) fn gdma_iommu_mode(domain: *const Domain) -> c_uint;
    pub(crate) fn gdma_device_hole(domain: *const Domain, first: *mut u64, count: *mut u64)
    -> bool;
    pub(crate) fn gdma_iommu_page_sizes(domain: *const Domain) -> u64;
    pub(crate) fn gdma_iommu_map(
        domain: *mut Domain,
        dfn: u64,
        mfn: u64,
        count: u32,
        read: bool,
        write: bool,
        flush_flags: *mut u32,
    ) -> c_int;
    pub(crate) fn gdma_iommu_map_frames(
        domain: *mut Domain,
        dfn: u64,
        mfns: *const u64,
        count: u32,
        read: bool,
        write: bool,
        done: *mut u32,
        flush_flags: *mut u32,
    ) -> c_int;
    pub(crate) fn gdma_iommu_unmap(
        domain: *mut Domain,
        dfn: u64,
        count: u32,
        flush_flags: *mut u32,
    ) -> c_int;
    pub(crate) fn gdma_iommu_flush(
        domain: *mut Domain,
        dfn: u64,
        count: u64,
        flush_flags: u32,
    ) -> c_int;
    pub(crate) fn gdma_identity_map(domain: *mut Domain, mfn: u64, write: bool) -> c_int;
    pub(crate) fn gdma_identity_unmap(domain: *mut Domain, mfn: u64) -> c_int;
    pub(crate) fn gdma_pci_device(owner: *const Domain, sbdf: u32, context: *mut u32) -> c_uint;
    pub(crate) fn gdma_notify(domain: *mut Domain, port: u32);
    pub(crate) safe fn gdma_must_flush_soon(flush_flags: u32) -> bool;
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    // p2m.c
    pub(crate) fn gdma_pin_pv(owner: *mut Domain, mfn: u64, take_type: bool) -> c_int;

    // contexts.c
    pub(crate) fn gdma_context_range(
        last: u64,
        wanted: u64,
        first: *mut u64,
        count: *mut u64,
    ) -> bool;
    pub(crate) fn gdma_mirror_range(
        owner: *const Domain,
        last: u64,
        wanted: u64,
        first: *mut u64,
        count: *mut u64,
    ) -> bool;
    pub(crate) fn gdma_context_create(
        owner: *mut Domain,
        number: u32,
        result: *mut *mut IoContext,
    ) -> c_int;
    pub(crate) safe fn gdma_context_limit() -> c_uint;
    pub(crate) fn gdma_context_close(context: *mut IoContext) -> bool;
    pub(crate) fn gdma_context_destroy(context: *mut IoContext) -> c_int;
    pub(crate) fn gdma_context_tables(context: *const IoContext) -> *mut Domain;
    pub(crate) fn gdma_context_attach(owner: *mut Domain, to: *mut IoContext, sbdf: u32) -> c_int;

    // mirrors.c
    pub(crate) fn gdma_mirror_copy(context: *mut IoContext, end: u64) -> c_int;
    pub(crate) fn gdma_mirror_end(context: *mut IoContext) -> c_int;
}
