/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/p2m.c: guest frames, and CPU mappings of grants.
 */
#include <xen/grant_table.h>
#include <xen/iocap.h>
#include <xen/mm.h>
#include <xen/paging.h>
#include <xen/sched.h>

#include <asm/flushtlb.h>
#include <asm/p2m.h>

#include "gdma.h"

/*
 * A reference to the page at gfn, for which the owner itself must have ordinary
 * memory there: what it got from others is not its to give away. With io, device
 * memory that it has access to will do as well. Returns the frame.
 */
int64_t gdma_pin_gfn(struct domain *owner, uint64_t gfn, bool write,
                     bool take_type, bool io)
{
    struct page_info *page;
    const struct domain *found;
    p2m_type_t t;

    if ( gfn != (unsigned long)gfn )
        return GDMA_PIN_NOT_MEMORY;

    switch ( check_get_page_from_gfn(owner, _gfn(gfn), !write, &t, &page) )
    {
    case 0:
        break;

    case -EAGAIN:
        return GDMA_PIN_TRY_AGAIN;

    default:
        return GDMA_PIN_NOT_MEMORY;
    }

    found = page_get_owner(page);
    if ( (unlikely(found != owner) &&
          (write || found != dom_cow) &&
          (found != dom_io || !io ||
           !iomem_access_permitted(owner, mfn_x(page_to_mfn(page)),
                                   mfn_x(page_to_mfn(page))))) ||
         unlikely(p2m_is_foreign(t)) )
    {
        put_page(page);
        return GDMA_PIN_NOT_MEMORY;
    }

    if ( (write && t == p2m_ram_ro) ||
         (take_type && !get_page_type(page, PGT_writable_page)) )
    {
        put_page(page);
        return GDMA_PIN_NOT_WRITABLE;
    }

    return mfn_x(page_to_mfn(page));
}

#ifdef CONFIG_X86
/*
 * The same for PV domains, which have no address space to look anything up in, nor
 * device memory of their own. Returns GDMA_PIN_OKAY or an error.
 */
int gdma_pin_pv(struct domain *owner, uint64_t mfn, bool take_type)
{
    struct page_info *page;

    if ( !mfn_valid(_mfn(mfn)) )
        return GDMA_PIN_NOT_MEMORY;

    page = mfn_to_page(_mfn(mfn));
    if ( !get_page(page, owner) )
        return GDMA_PIN_NOT_MEMORY;

    if ( take_type && !get_page_type(page, PGT_writable_page) )
    {
        put_page(page);
        return GDMA_PIN_NOT_WRITABLE;
    }

    return GDMA_PIN_OKAY;
}
#endif

bool gdma_gfn_is_hole(struct domain *d, uint64_t gfn)
{
#ifdef CONFIG_X86
    const struct p2m_domain *p2m = p2m_get_hostp2m(d);
    p2m_type_t t;
    bool hole;

    if ( gfn > p2m->max_mapped_pfn )
        return true;

    hole = mfn_eq(get_gfn_query(d, gfn, &t), INVALID_MFN) && !p2m_is_mmio(t);
    put_gfn(d, gfn);

    return hole;
#else
    return false;
#endif
}

bool gdma_cpu_map_needs_identity(const struct domain *holder)
{
    return gnttab_need_iommu_mapping(holder);
}

/* Returns a GNTST_* value. */
int gdma_cpu_map(uint64_t host_addr, uint64_t mfn, uint32_t gntmap_flags,
                 uint16_t cache_flags)
{
    /* The granter's wishes about caching count for device memory only. */
    if ( unlikely(cache_flags) &&
         page_get_owner(mfn_to_page(_mfn(mfn))) != dom_io )
        cache_flags = 0;

    return create_grant_host_mapping(host_addr, _mfn(mfn), gntmap_flags,
                                     cache_flags);
}

/* Returns a GNTST_* value. */
int gdma_cpu_unmap(uint64_t host_addr, uint64_t mfn, uint64_t new_addr,
                   uint32_t gntmap_flags)
{
#ifdef CONFIG_PV
    /* It asserts these two, but the address is whatever the guest says. */
    if ( (gntmap_flags & GNTMAP_contains_pte)
         ? !IS_ALIGNED(host_addr, sizeof(l1_pgentry_t))
         : is_pv_32bit_domain(current->domain) &&
           host_addr != (uint32_t)host_addr )
        return GNTST_general_error;
#endif

    return replace_grant_host_mapping(host_addr, _mfn(mfn), new_addr,
                                      gntmap_flags);
}

/* For HVM guests, changing the p2m flushes already. */
void gdma_flush_cpu_tlb(void)
{
    const struct domain *d = current->domain;

    if ( !paging_mode_external(d) )
        arch_flush_tlb_mask(d->dirty_cpumask);
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
