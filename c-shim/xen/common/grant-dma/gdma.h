/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/gdma.h: the boundary between Xen's C and the Rust
 * grant-table and grant-DMA service.
 *
 * gdma_rs_*: written in Rust (crate c-shim), called from C.
 * gdma_*:    written in C, called from Rust. One file per part of Xen that is
 *            wrapped; the Rust declarations are in c-shim/src/ffi.rs and must
 *            be changed together with these.
 */
#ifndef XEN_COMMON_GRANT_DMA_H
#define XEN_COMMON_GRANT_DMA_H

#include <xen/grant_table.h>
#include <xen/paging.h>
#include <xen/sched.h>
#include <xen/stdbool.h>
#include <xen/types.h>

struct pci_dev;

/*
 * struct grant_table: written in Rust (XenDomain in c-shim/src/domain.rs), and
 * only its address is known here. It takes the place of the C tables' in struct
 * domain, so that struct domain stays as it is.
 */

/*
 * Room that Rust sets aside for one of Xen's locks. locks.c checks that it is
 * enough.
 */
#define GDMA_SPINLOCK_SIZE 8
#define GDMA_RWLOCK_SIZE   32

union gdma_spinlock {
    spinlock_t lock;
    uint8_t room[GDMA_SPINLOCK_SIZE];
};

/* The newest format of grant entries that the architecture has. */
#ifdef GNTTAB_MAX_VERSION
#define GDMA_MAX_VERSION GNTTAB_MAX_VERSION
#else
#define GDMA_MAX_VERSION 2
#endif

/* How the IOMMU treats a domain: values of gdma_iommu_mode(). */
#define GDMA_IOMMU_ABSENT        0
#define GDMA_IOMMU_PASS_THROUGH  1
#define GDMA_IOMMU_SHARED_TABLES 2
#define GDMA_IOMMU_OWN_TABLES    3

/* Results of gdma_pci_device(). */
#define GDMA_PCI_UNSUPPORTED     0
#define GDMA_PCI_NOT_FOUND       1
#define GDMA_PCI_NO_IOMMU        2
#define GDMA_PCI_BEHIND_IOMMU    3

/*
 * Results of gdma_pin_gfn(), gdma_pin_near(), gdma_pin_pv(), gdma_pin_run(),
 * gdma_page_again() and gdma_page_of_mfn(), instead of what they return on success.
 */
#define GDMA_PIN_OKAY            0
#define GDMA_PIN_NOT_MEMORY      (-1)
#define GDMA_PIN_TRY_AGAIN       (-2)
#define GDMA_PIN_NOT_WRITABLE    (-3)
#define GDMA_PIN_GONE            (-4)

/* What a domain had at its guest frames when they were looked at. Zeros: nothing. */
struct gdma_near {
    /* Memory in a row, count frames of it. */
    uint64_t first;
    uint64_t mfn;
    /* The last frame that was looked for elsewhere. */
    uint64_t last;
    /* Changes of the p2m until then. */
    uint64_t changes;
    uint32_t count;
    /* It is not worth the trouble: small pages. */
    bool small;
};

/* Results of gdma_page_steal() instead of the frame. */
#define GDMA_STEAL_BAD_PAGE      (-1)
#define GDMA_STEAL_IN_USE        (-2)

/* Results of gdma_page_offer() instead of the frame. */
#define GDMA_OFFER_TOO_BIG       (-1)
#define GDMA_OFFER_NO_ROOM       (-2)

/* Results of gdma_page_give(). */
#define GDMA_GIVE_PLACED         0
#define GDMA_GIVE_NOT_PLACED     1
#define GDMA_GIVE_DYING          2

/* Events of gdma_trace(). */
#define GDMA_TRACE_MAP           1
#define GDMA_TRACE_UNMAP         2
#define GDMA_TRACE_TRANSFER      3

/* Levels of gdma_log(). */
#define GDMA_LOG_ERROR           1
#define GDMA_LOG_WARNING         2
#define GDMA_LOG_INFO            3
#define GDMA_LOG_DEBUG           4

/* Rust, called from entry.c. Errors are negative Xen error numbers. */
void gdma_rs_init(bool verbose, uint64_t random);
void gdma_rs_panic_test(void);
int gdma_rs_domain_init(struct domain *d, uint32_t max_frames,
                        uint32_t max_maptrack_frames, uint32_t max_version,
                        uint32_t vcpus, uint32_t max_pins,
                        uint32_t max_contexts);
void gdma_rs_domain_destroy(struct domain *d);
int gdma_rs_release_mappings(struct domain *d);
/* A device of d, which uses the context with this number, was stopped. */
void gdma_rs_fault(struct domain *d, uint32_t context, uint32_t sbdf,
                   uint64_t daddr, bool write);
void gdma_rs_warn_active_grants(struct domain *d);
void gdma_rs_show(struct domain *d);
void gdma_rs_show_dma(struct domain *d);
int gdma_rs_granted_frame(struct grant_table *table, uint32_t gref, uint64_t *gfn,
                          uint16_t *flags);
/* With status, a frame of the status array is meant, if the table has one. */
int gdma_rs_map_frame_begin(struct domain *d, bool status, uint64_t idx,
                            uint64_t *mfn);
void gdma_rs_map_frame_end(struct domain *d);
uint32_t gdma_rs_resource_max_frames(const struct domain *d, bool status);
int gdma_rs_acquire_resource(struct domain *d, bool status, uint32_t frame,
                             uint32_t nr_frames, uint64_t *mfn_list);
/*
 * Both return what is to be in the guest's register: 0, a negative error number,
 * or what gdma_continue_call() returned.
 */
long gdma_rs_grant_table_op(uint32_t cmd, const void *uop, uint32_t count,
                            bool compat, struct grant_table *caller);
long gdma_rs_dma_op(uint32_t cmd, const void *arg, uint32_t count);

/* C, called from Rust. */

/* entry.c */
long gdma_continue_call(unsigned int op, uint32_t cmd, void *arg,
                        uint32_t count);

/* options.c */
extern unsigned int gdma_opt_max_maptrack_frames;
extern unsigned int gdma_opt_max_pins;
extern unsigned int gdma_opt_max_contexts;
bool gdma_transitive_allowed(void);
bool gdma_transfer_allowed(void);

/* console.c */
void gdma_print(const char *msg, size_t len);
void gdma_log(unsigned int level, const char *msg, size_t len);
void gdma_panic(const char *msg, size_t len) __attribute__((__noreturn__));

/* memory.c */
void *gdma_alloc(size_t size, size_t align);
void gdma_free(void *ptr);

/* locks.c */
/* A spinlock_t that nobody holds, to be copied. */
extern const union gdma_spinlock gdma_spin_unlocked;
void gdma_spin_lock(void *lock);
void gdma_spin_unlock(void *lock);
void gdma_rw_init(void *lock);
void gdma_read_lock(void *lock);
void gdma_read_unlock(void *lock);
void gdma_write_lock(void *lock);
void gdma_write_unlock(void *lock);

/* domain.c */
uint16_t gdma_domain_id(const struct domain *d);
bool gdma_domain_is_translated(const struct domain *d);
struct grant_table *gdma_domain_table(const struct domain *d);
void gdma_domain_set_table(struct domain *d, struct grant_table *table);
struct grant_table *gdma_domain_current(void);
uint32_t gdma_vcpu_current(void);
struct grant_table *gdma_domain_get(uint16_t domid);
void gdma_domain_put(struct domain *d);
bool gdma_domain_is_dying(const struct domain *d);
bool gdma_domain_is_direct_mapped(const struct domain *d);
bool gdma_domain_releases_cpu_mappings(const struct domain *d);
void gdma_notify(struct domain *d, uint32_t port);
int gdma_xsm_map(struct domain *holder, struct domain *granter,
                 uint32_t gntmap_flags);
int gdma_xsm_unmap(struct domain *holder, struct domain *granter);
int gdma_xsm_setup(struct domain *caller, struct domain *target);
int gdma_xsm_query(struct domain *caller, struct domain *target);
int gdma_xsm_transfer(struct domain *caller, struct domain *receiver);
int gdma_xsm_copy(struct domain *source, struct domain *dest);
int gdma_xsm_context(struct domain *owner);
int gdma_xsm_attach(struct domain *owner, uint32_t sbdf);
int gdma_xsm_limits(struct domain *target);
void gdma_trace(unsigned int event, uint16_t other);
/* Where it says whether gdma_trace() does anything. */
extern const bool *const gdma_tracing;

/*
 * pages.c. Rust knows a page by its frame number: that of a page it holds a
 * reference to is valid.
 */
int gdma_page_again(struct domain *owner, uint64_t mfn, bool write,
                    bool take_type);
struct grant_table *gdma_page_of_mfn(uint64_t mfn);
void gdma_page_put(uint64_t mfn);
void gdma_page_put_and_type(uint64_t mfn);
void gdma_pages_put(uint64_t mfn, uint32_t count, bool has_type);
void gdma_page_leave_to_page_tables(uint64_t mfn, bool has_type);
void gdma_page_copy(uint64_t to, unsigned int to_offset, uint64_t from,
                    unsigned int from_offset, unsigned int len);
int gdma_page_flush_cache(uint64_t mfn, unsigned int offset, unsigned int length,
                          uint32_t op);
void *gdma_pages_map(const uint64_t mfns[], unsigned int count);
void gdma_pages_unmap(void *va);
void gdma_pages_copy(void *to, const void *from, unsigned int length);
void gdma_page_mark_dirty(struct domain *owner, uint64_t mfn);
void *gdma_shared_alloc(void);
void gdma_shared_free(void *va);
void gdma_shared_share(void *va, struct domain *owner);
int gdma_shared_unshare(void *va, struct domain *owner);
void gdma_shared_clear(void *va);
uint64_t gdma_shared_mfn(const void *va);
bool gdma_shared_gfn(const void *va, const struct domain *owner, uint64_t *gfn);
uint32_t gdma_shared_cmpxchg32(struct domain *owner, uint32_t *p, uint32_t old,
                               uint32_t new);
void gdma_shared_clear16(struct domain *owner, uint16_t *p, uint16_t bits);

/* p2m.c */
int64_t gdma_pin_gfn(struct domain *owner, uint64_t gfn, bool write, bool io);
int64_t gdma_pin_near(struct domain *owner, uint64_t gfn, bool write,
                      struct gdma_near *near); /* only on x86 */
int gdma_pin_pv(struct domain *owner, uint64_t mfn, bool take_type); /* only on x86 */
int gdma_pin_run(struct domain *owner, uint64_t gfn, uint32_t most, bool write,
                 uint64_t *mfn, uint32_t *count);
bool gdma_is_above_memory(const struct domain *d, uint64_t gfn);
bool gdma_gfn_is_hole(struct domain *d, uint64_t gfn);
bool gdma_cpu_map_needs_identity(const struct domain *holder);
int gdma_cpu_map(uint64_t host_addr, uint64_t mfn, uint32_t gntmap_flags,
                 uint16_t cache_flags);
int gdma_cpu_unmap(uint64_t host_addr, uint64_t mfn, uint64_t new_addr,
                   uint32_t gntmap_flags);
void gdma_flush_cpu_tlb(void);

/* transfer.c */
int64_t gdma_page_steal(struct domain *d, uint64_t gfn);
void gdma_page_free_stolen(uint64_t mfn);
int64_t gdma_page_offer(uint64_t mfn, struct domain *receiver, bool wide_frames);
unsigned int gdma_page_give(uint64_t mfn, struct domain *receiver, uint64_t gfn);
void gdma_page_withdraw(uint64_t mfn, struct domain *receiver);

/* guest.c */
bool gdma_wide_registers(void);
bool gdma_guest_range_okay(const void *p, uint64_t bytes);
/*
 * NULL: all is read. If keep, Xen may keep the guest's page for the results, and
 * returns where it has mapped what it read: that is to be released. An ERR_PTR():
 * not all of it was accessible.
 */
void *gdma_guest_read(void *to, const void *from, bool keep, unsigned int len);
void *gdma_guest_read8(void *to, const void *from, bool keep);
void *gdma_guest_read16(void *to, const void *from, bool keep);
void gdma_kept_write(void *to, const void *from, unsigned int len);
void gdma_kept_release(const void *kept);
/*
 * Pages of the guest's that Xen keeps while a call works through an array: those of the
 * part that was read last, page[0] mapped from the guest's address at. NULL: not kept.
 */
struct gdma_array {
    unsigned long at;
    void *page[2];
};
int gdma_array_read(struct gdma_array *array, void *to, const void *from,
                    unsigned int len);
void gdma_array_write(const struct gdma_array *array, const void *to,
                      const void *from, unsigned int len);
void gdma_array_release(struct gdma_array *array);
unsigned int gdma_guest_write(void *to, const void *from, unsigned int len);
unsigned int gdma_guest_write2(void *to, uint16_t value);
unsigned int gdma_guest_write4(void *to, uint32_t value);
unsigned int gdma_guest_write8(void *to, uint64_t value);
bool gdma_preempt_check(void);

/* iommu.c */
unsigned int gdma_iommu_mode(const struct domain *d);
bool gdma_device_hole(const struct domain *d, uint64_t *first, uint64_t *count);
uint64_t gdma_iommu_page_sizes(const struct domain *d);
int gdma_iommu_map(struct domain *d, uint64_t dfn, uint64_t mfn, uint32_t count,
                   bool read, bool write, uint32_t *flush_flags);
int gdma_iommu_map_frames(struct domain *d, uint64_t dfn,
                          const uint64_t mfns[], uint32_t count, bool read,
                          bool write, uint32_t *done, uint32_t *flush_flags);
int gdma_iommu_unmap(struct domain *d, uint64_t dfn, uint32_t count,
                     uint32_t *flush_flags);
int gdma_iommu_flush(struct domain *d, uint64_t dfn, uint64_t count,
                     uint32_t flush_flags);
int gdma_identity_map(struct domain *d, uint64_t mfn, bool write);
int gdma_identity_unmap(struct domain *d, uint64_t mfn);
/* *context: the number of the context that the device uses, or 0. */
unsigned int gdma_pci_device(const struct domain *owner, uint32_t sbdf,
                             uint32_t *context);
bool gdma_must_flush_soon(uint32_t flush_flags);
unsigned int gdma_vtd_address_bits(unsigned int bits); /* only on x86 */

/* contexts.c; only on x86. Errors are negative Xen error numbers. */
struct iommu_context;
bool gdma_context_range(uint64_t last, uint64_t wanted, uint64_t *first,
                        uint64_t *count);
bool gdma_mirror_range(const struct domain *owner, uint64_t last,
                       uint64_t wanted, uint64_t *first, uint64_t *count);
int gdma_context_create(struct domain *owner, uint32_t number,
                        struct iommu_context **result);
bool gdma_context_close(struct iommu_context *ctx);
int gdma_context_destroy(struct iommu_context *ctx);
struct domain *gdma_context_tables(const struct iommu_context *ctx);
int gdma_context_attach(struct domain *owner, struct iommu_context *to,
                        uint32_t sbdf);
uint32_t gdma_context_number(const struct pci_dev *pdev);
unsigned int gdma_context_limit(void);
void gdma_context_show_devices(const struct domain *owner);

/* mirrors.c; only on x86. Both return -ERESTART if they are to be called again. */
int gdma_mirror_copy(struct iommu_context *ctx, uint64_t end);
int gdma_mirror_end(struct iommu_context *ctx);

#endif /* XEN_COMMON_GRANT_DMA_H */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
