/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * xen/grant_dma.h: what the rest of Xen asks the grant-DMA service.
 */
#ifndef XEN_GRANT_DMA_H
#define XEN_GRANT_DMA_H

#include <xen/types.h>

struct domain;

#ifdef CONFIG_GRANT_TABLE_RUST
/* Bits of the first word of XENVER_get_features. */
uint32_t grant_dma_features(const struct domain *d);
#else
static inline uint32_t grant_dma_features(const struct domain *d)
{
    return 0;
}
#endif

#endif /* XEN_GRANT_DMA_H */

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
