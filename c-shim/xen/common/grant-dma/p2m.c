/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/p2m.c: guest frames, and CPU mappings of grants.
 */
#include <xen/mm.h>
#include <xen/sched.h>

#include <asm/grant_table.h>
#include <asm/p2m.h>

#include "gdma.h"

/*
 * A reference to the page at gfn, for which the owner itself must have ordinary
 * memory there: what it got from others is not its to give away.
 */
unsigned int gdma_pin_gfn(struct domain *owner, uint64_t gfn, bool write,
                          bool take_type, struct page_info **pg)
{
    struct page_info *page;
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

    if ( page_get_owner(page) != owner || p2m_is_foreign(t) ||
         (write && t == p2m_ram_ro) ||
         (take_type && !get_page_type(page, PGT_writable_page)) )
    {
        put_page(page);
        return GDMA_PIN_NOT_MEMORY;
    }

    *pg = page;

    return GDMA_PIN_OKAY;
}

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

bool gdma_cpu_map(uint64_t host_addr, const struct page_info *pg,
                  uint32_t gntmap_flags, uint16_t cache_flags)
{
    return create_grant_host_mapping(host_addr, page_to_mfn(pg), gntmap_flags,
                                     cache_flags) == GNTST_okay;
}

bool gdma_cpu_unmap(uint64_t host_addr, const struct page_info *pg,
                    uint32_t gntmap_flags)
{
    return replace_grant_host_mapping(host_addr, page_to_mfn(pg), 0,
                                      gntmap_flags) == GNTST_okay;
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
