/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/contexts.h: what contexts.c and mirrors.c know of a context.
 */
#ifndef XEN_COMMON_GRANT_DMA_CONTEXTS_H
#define XEN_COMMON_GRANT_DMA_CONTEXTS_H

#include <xen/sched.h>

struct iommu_context {
    struct domain *tables;      /* what the drivers take for a domain */
    struct domain *owner;
    uint32_t number;            /* the guest's name for it */
    unsigned int devices;       /* that may use the tables */
    bool closed;                /* no device can be moved here */

    /* A 1:1 copy of the owner's memory: mirrors.c. */
    struct iommu_context *next_mirror;
    unsigned long mirror_end;   /* no frame from here on is the copy's; 0: no copy */
    unsigned long mirror_next;  /* where copying, or its end, goes on */
    bool mirror_ending;         /* nothing is added any more */
    bool mirror_busy;           /* somebody is ending it */
};

/* No device can use the tables any more. */
void gdma_mirror_forget(struct iommu_context *ctx);

#endif /* XEN_COMMON_GRANT_DMA_CONTEXTS_H */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
