/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/domain.c: domains, and what they may do to each other.
 */
#include <xen/event.h>
#include <xen/grant_dma.h>
#include <xen/grant_table.h>
#include <xen/sched.h>
#include <xen/trace.h>
#include <xsm/xsm.h>

#include <public/grant_dma.h>

#ifdef CONFIG_PV_SHIM
#include <asm/guest.h>
#endif
#include <asm/paging.h>

#include "gdma.h"

uint16_t gdma_domain_id(const struct domain *d)
{
    return d->domain_id;
}

/* It has an address space of its own: not x86 PV. Never changes. */
bool gdma_domain_is_translated(const struct domain *d)
{
    return paging_mode_translate(d);
}

/* System domains have none. Does not change as long as the domain can be found. */
struct grant_table *gdma_domain_table(const struct domain *d)
{
    return d->grant_table;
}

void gdma_domain_set_table(struct domain *d, struct grant_table *table)
{
    d->grant_table = table;
}

/* Of the domain that makes the hypercall. Who can make one has a table. */
struct grant_table *gdma_domain_current(void)
{
    struct grant_table *table = current->domain->grant_table;

    ASSERT(table);

    return table;
}

uint32_t gdma_vcpu_current(void)
{
    return current->vcpu_id;
}

/*
 * NULL: there is no such domain. Else the caller gives the domain back with
 * gdma_domain_put(), on the same CPU.
 */
struct grant_table *gdma_domain_get(uint16_t domid)
{
    struct domain *d = rcu_lock_domain_by_id(domid);

    if ( !d )
        return NULL;

    /* What can be found has a table from before until after. */
    ASSERT(d->grant_table);

    return d->grant_table;
}

void gdma_domain_put(struct domain *d)
{
    rcu_unlock_domain(d);
}

bool gdma_domain_is_dying(const struct domain *d)
{
    return d->is_dying;
}

bool gdma_domain_is_direct_mapped(const struct domain *d)
{
    return is_domain_direct_mapped(d);
}

/* False: the destruction of its page tables does it. */
bool gdma_domain_releases_cpu_mappings(const struct domain *d)
{
    return gnttab_release_host_mappings(d);
}

/*
 * As if the domain had notified itself. Other ports are left alone: what is at the
 * other end of them may not expect to be told from here.
 */
void gdma_notify(struct domain *d, uint32_t port)
{
    const struct evtchn *chn;

    if ( !port_is_valid(d, port) )
        return;

    chn = evtchn_from_port(d, port);
    if ( chn->state == ECS_IPI ||
         (chn->state == ECS_INTERDOMAIN &&
          chn->u.interdomain.remote_dom == d) )
        evtchn_send(d, port);
}

/* What XENVER_get_features tells. */
uint32_t grant_dma_features(const struct domain *d)
{
    uint32_t features;

    if ( !d->grant_table )
        return 0;

#ifdef CONFIG_PV_SHIM
    /* Nor is there the hypercall: see do_grant_dma_op(). */
    if ( pv_shim )
        return 0;
#endif

    features = 1U << XEN_GDMA_FEATURE_SERVICE;

    switch ( gdma_iommu_mode(d) )
    {
    case GDMA_IOMMU_OWN_TABLES:
    case GDMA_IOMMU_SHARED_TABLES:
        if ( paging_mode_translate(d) )
            features |= 1U << XEN_GDMA_FEATURE_NO_BOUNCE;
        break;

    default:
        if ( paging_mode_translate(d) && is_domain_direct_mapped(d) )
            features |= 1U << XEN_GDMA_FEATURE_NO_BOUNCE;
        break;
    }

    return features;
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

int gdma_xsm_transfer(struct domain *caller, struct domain *receiver)
{
    return xsm_grant_transfer(XSM_HOOK, caller, receiver);
}

/* The next three are about what the calling domain does. */
int gdma_xsm_context(struct domain *owner)
{
    ASSERT(owner == current->domain);

    return xsm_grant_dma_context(XSM_TARGET, owner);
}

int gdma_xsm_attach(struct domain *owner, uint32_t sbdf)
{
    ASSERT(owner == current->domain);

    return xsm_grant_dma_attach(XSM_TARGET, owner, sbdf);
}

int gdma_xsm_limits(struct domain *target)
{
    return xsm_grant_dma_limits(XSM_PRIV, target);
}

int gdma_xsm_copy(struct domain *source, struct domain *dest)
{
    return xsm_grant_copy(XSM_HOOK, source, dest);
}

#ifdef CONFIG_TRACEBUFFER
const bool *const gdma_tracing = &tb_init_done;
#else
static const bool never;
const bool *const gdma_tracing = &never;
#endif

void gdma_trace(unsigned int event, uint16_t other)
{
    switch ( event )
    {
    case GDMA_TRACE_MAP:
        TRACE_TIME(TRC_MEM_PAGE_GRANT_MAP, other);
        break;

    case GDMA_TRACE_UNMAP:
        TRACE_TIME(TRC_MEM_PAGE_GRANT_UNMAP, other);
        break;

    case GDMA_TRACE_TRANSFER:
        TRACE_TIME(TRC_MEM_PAGE_GRANT_TRANSFER, other);
        break;
    }
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
