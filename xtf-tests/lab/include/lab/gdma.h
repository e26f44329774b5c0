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

/*
 * Is the service there, and in a state to map?  If not, says so as a skip of
 * the whole test.
 */
bool gdma_usable(void);

#endif /* LAB_GDMA_H */
