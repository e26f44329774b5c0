/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/pages.c: page references, and the pages that Xen shares with guests.
 */
#include <xen/domain_page.h>
#include <xen/mm.h>
#include <xen/sched.h>

#include <asm/grant_table.h>
#include <asm/guest_atomics.h>
#include <asm/p2m.h>

#include "gdma.h"

/*
 * One more reference to a page of which the caller knows that somebody holds
 * one. The page must still be the owner's.
 */
bool gdma_page_again(struct domain *owner, uint64_t mfn, bool take_type,
                     struct page_info **pg)
{
    struct page_info *page;

    if ( !mfn_valid(_mfn(mfn)) )
        return false;

    page = mfn_to_page(_mfn(mfn));
    if ( !get_page(page, owner) )
        return false;

    if ( take_type && !get_page_type(page, PGT_writable_page) )
    {
        put_page(page);
        return false;
    }

    *pg = page;

    return true;
}

void gdma_page_put(struct page_info *pg, bool has_type)
{
    if ( has_type )
        put_page_and_type(pg);
    else
        put_page(pg);
}

uint64_t gdma_page_mfn(const struct page_info *pg)
{
    return mfn_x(page_to_mfn(pg));
}

void gdma_page_mark_dirty(struct domain *owner, const struct page_info *pg)
{
    gnttab_mark_dirty(owner, page_to_mfn(pg));
}

void *gdma_shared_alloc(void)
{
    void *va = alloc_xenheap_page();

    if ( va )
        clear_page(va);

    return va;
}

void gdma_shared_free(void *va)
{
    free_xenheap_page(va);
}

void gdma_shared_share(void *va, struct domain *owner)
{
    share_xen_page_with_guest(virt_to_page(va), owner, SHARE_rw);
}

uint64_t gdma_shared_mfn(const void *va)
{
    return mfn_x(page_to_mfn(virt_to_page(va)));
}

bool gdma_shared_gfn(const void *va, const struct domain *owner, uint64_t *gfn)
{
    const struct page_info *pg = virt_to_page(va);
#ifdef CONFIG_X86
    gfn_t where = mfn_to_gfn(owner, page_to_mfn(pg));
#else
    gfn_t where = page_get_xenheap_gfn(pg);
#endif

    *gfn = gfn_x(where);

    return !gfn_eq(where, INVALID_GFN);
}

uint32_t gdma_shared_cmpxchg32(struct domain *owner, uint32_t *p, uint32_t old,
                               uint32_t new)
{
    return guest_cmpxchg(owner, p, old, new);
}

void gdma_shared_clear16(struct domain *owner, uint16_t *p, uint16_t bits)
{
    gnttab_clear_flags(owner, bits, p);
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
