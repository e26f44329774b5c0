/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/domain.c: domains, and what they may do to each other.
 */
#include <xen/sched.h>
#include <xsm/xsm.h>

#include <asm/paging.h>

#include "gdma.h"

struct domain *gdma_domain_current(void)
{
    return current->domain;
}

/* The caller gives the domain back with gdma_domain_put(), on the same CPU. */
struct domain *gdma_domain_get(uint16_t domid)
{
    return rcu_lock_domain_by_id(domid);
}

void gdma_domain_put(struct domain *d)
{
    rcu_unlock_domain(d);
}

uint16_t gdma_domain_id(const struct domain *d)
{
    return d->domain_id;
}

bool gdma_domain_is_dying(const struct domain *d)
{
    return d->is_dying;
}

bool gdma_domain_is_translated(const struct domain *d)
{
    return paging_mode_translate(d);
}

bool gdma_domain_is_direct_mapped(const struct domain *d)
{
    return is_domain_direct_mapped(d);
}

/*
 * The service's state takes the place of the C tables' in struct domain, so
 * that struct domain stays as it is.
 */
void *gdma_domain_state(const struct domain *d)
{
    return d->grant_table;
}

void gdma_domain_set_state(struct domain *d, void *state)
{
    d->grant_table = state;
}

int gdma_xsm_map(struct domain *holder, struct domain *granter,
                 uint32_t gntmap_flags)
{
    return xsm_grant_mapref(XSM_HOOK, holder, granter, gntmap_flags);
}

int gdma_xsm_unmap(struct domain *holder, struct domain *granter)
{
    return xsm_grant_unmapref(XSM_HOOK, holder, granter);
}

int gdma_xsm_setup(struct domain *caller, struct domain *target)
{
    return xsm_grant_setup(XSM_TARGET, caller, target);
}

int gdma_xsm_query(struct domain *caller, struct domain *target)
{
    return xsm_grant_query_size(XSM_TARGET, caller, target);
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
