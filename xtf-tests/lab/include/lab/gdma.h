/* SPDX-License-Identifier: GPL-2.0-only */
/* The grant-DMA hypercall, as a guest calls it. */
#ifndef LAB_GDMA_H
#define LAB_GDMA_H

#include <xtf.h>

#include <public/grant_dma.h>

#ifndef __HYPERVISOR_grant_dma_op
#define __HYPERVISOR_grant_dma_op 47
#endif

static inline long gdma_op(unsigned int cmd, void *elements,
                           unsigned long count)
{
    return HYPERCALL3(long, __HYPERVISOR_grant_dma_op, cmd, elements, count);
}

/*
 * One frame with everything in registers.  @source: a guest frame number, or
 * gdma_reg_grant(); @bits: the context's number | XEN_GDMA_REG_*.  map: a device
 * address or a negative error number; unmap: 0 or one.
 */
static inline long gdma_map_reg(uint64_t source, uint32_t bits)
{
    return HYPERCALL3(long, __HYPERVISOR_grant_dma_op, XEN_GDMA_OP_MAP_REG,
                      source, bits);
}

static inline long gdma_unmap_reg(uint64_t daddr, uint32_t bits)
{
    return HYPERCALL3(long, __HYPERVISOR_grant_dma_op, XEN_GDMA_OP_UNMAP_REG,
                      daddr, bits);
}

static inline uint64_t gdma_reg_grant(domid_t domid, grant_ref_t ref)
{
    return ((uint64_t)domid << 32) | ref;
}

/*
 * Calls with one element.  The result is the call's error if it failed as a
 * whole, else the element's status.
 */
int gdma_query(struct xen_gdma_query *query);
int gdma_query_device(uint32_t bdf, struct xen_gdma_query_device *query);
int gdma_map(struct xen_gdma_map *map);
int gdma_unmap(uint64_t handle);
int gdma_lookup(unsigned int kind, uint64_t addr,
                struct xen_gdma_lookup *lookup);

/* Map @nr references of @domid from @ref on in the default context. */
int gdma_map_grants(domid_t domid, grant_ref_t ref, unsigned int nr,
                    unsigned int flags, struct xen_gdma_map *map);

/* Map @nr own frames from @gfn on in the default context. */
int gdma_map_own(unsigned long gfn, unsigned int nr, unsigned int flags,
                 struct xen_gdma_map *map);

/* The same in any context. */
int gdma_map_grants_in(uint32_t context, domid_t domid, grant_ref_t ref,
                       unsigned int nr, unsigned int flags,
                       struct xen_gdma_map *map);
int gdma_map_own_in(uint32_t context, unsigned long gfn, unsigned int nr,
                    unsigned int flags, struct xen_gdma_map *map);

/* Map @nr own frames in the context at exactly @daddr. */
int gdma_map_own_at(uint32_t context, uint64_t daddr, unsigned long gfn,
                    unsigned int nr, unsigned int flags,
                    struct xen_gdma_map *map);

/* @flags: XEN_GDMA_NO_FLUSH or 0. */
int gdma_unmap_in(uint32_t context, uint64_t handle, unsigned int flags);
int gdma_lookup_in(uint32_t context, unsigned int kind, uint64_t addr,
                   struct xen_gdma_lookup *lookup);
int gdma_flush(uint32_t context);

/*
 * A window of @nr frames from @source on, of kind XEN_GDMA_MAP_OWN (@domid 0) or
 * _GRANT; and its end.
 */
int gdma_window_create(uint32_t context, unsigned int kind, domid_t domid,
                       uint64_t source, uint32_t nr, unsigned int flags,
                       struct xen_gdma_window_create *window);
int gdma_window_destroy(uint32_t context, uint64_t handle);

int gdma_context_create(uint64_t max_daddr,
                        struct xen_gdma_context_create *create);
int gdma_context_destroy(uint32_t context);
int gdma_attach(uint32_t bdf, uint32_t context);

/*
 * The argument area of the calling vcpu: @nr frames from @area on, or from a
 * frame number; @nr of 0: none.
 */
int gdma_register_args(const void *area, unsigned int nr);
int gdma_register_args_gfn(uint64_t gfn, unsigned int nr);

int gdma_revoke(grant_ref_t ref);
int gdma_set_limits(domid_t domid, uint32_t max_pins, uint32_t max_contexts,
                    struct xen_gdma_set_limits *set);
int gdma_stats(domid_t domid, struct xen_gdma_stats *stats);

/*
 * All that was mapped since the counters were @start has been unmapped, no flush
 * has failed, and as many frames and contexts are in use as then.
 */
void expect_all_ended(const struct xen_gdma_stats *start);

/* Take the oldest fault. */
int gdma_fault_read(struct xen_gdma_fault *fault);
/* Have @port told when there are faults; 0: nobody. */
int gdma_fault_notify(uint32_t port);

/*
 * Is the service there, and in a state to map?  If not, says so as a skip of
 * the whole test.
 */
bool gdma_usable(void);

/* The same for a test that makes contexts of its own. */
bool gdma_contexts_usable(void);

#endif /* LAB_GDMA_H */
