/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/transfer.c: pages that change their owner.
 */
#include <xen/domain_page.h>
#include <xen/mm.h>
#include <xen/paging.h>
#include <xen/sched.h>

#include <asm/flushtlb.h>
#include <asm/p2m.h>

#include "gdma.h"

/*
 * Takes the page at gfn from d, the current domain, and out of its address
 * space. On success it belongs to nobody.
 */
unsigned int gdma_page_steal(struct domain *d, uint64_t gfn,
                             struct page_info **pg)
{
    unsigned int result = GDMA_STEAL_BAD_PAGE;
    struct page_info *page;
    mfn_t mfn;
    int rc;

    if ( gfn != (unsigned long)gfn )
        return GDMA_STEAL_BAD_PAGE;

    {
#ifdef CONFIG_X86
        p2m_type_t t;

        mfn = get_gfn_unshare(d, gfn, &t);
        if ( p2m_is_shared(t) || !p2m_is_valid(t) )
            mfn = INVALID_MFN;
#else
        mfn = gfn_to_mfn(d, _gfn(gfn));
#endif
    }

    if ( !mfn_valid(mfn) )
        goto out;

    page = mfn_to_page(mfn);
    rc = steal_page(d, page, 0);
    if ( rc < 0 )
    {
        if ( rc != -EINVAL )
            result = GDMA_STEAL_IN_USE;
        goto out;
    }

    rc = guest_physmap_remove_page(d, _gfn(gfn), mfn, 0);
    if ( !paging_mode_external(d) )
        arch_flush_tlb_mask(d->dirty_cpumask);
    if ( rc )
    {
        free_domheap_page(page);
        result = GDMA_STEAL_IN_USE;
        goto out;
    }

    *pg = page;
    result = GDMA_STEAL_OKAY;

 out:
#ifdef CONFIG_X86
    put_gfn(d, gfn);
#endif

    return result;
}

void gdma_page_free_stolen(struct page_info *pg)
{
    free_domheap_page(pg);
}

/*
 * The page, or a copy of it that the receiver has a number for: 32 bits of it,
 * or as many as it likes. NULL: there is none. In any case the page given is
 * used up.
 */
struct page_info *gdma_page_for(struct page_info *pg, struct domain *receiver,
                                bool wide_frames)
{
    unsigned int bits = (wide_frames ? BITS_PER_LONG : 32) + PAGE_SHIFT;
    struct page_info *copy;

    bits = domain_clamp_alloc_bitsize(receiver, bits);
    if ( bits >= BITS_PER_LONG + PAGE_SHIFT ||
         !(mfn_x(page_to_mfn(pg)) >> (bits - PAGE_SHIFT)) )
        return pg;

    copy = alloc_domheap_page(receiver, MEMF_no_owner | MEMF_bits(bits));
    if ( copy )
        copy_domain_page(page_to_mfn(copy), page_to_mfn(pg));
    free_domheap_page(pg);

    return copy;
}

/*
 * Sets room for one page aside, so that nothing but the receiver's death can
 * keep it from taking one. Ends in gdma_page_assign() or gdma_page_unreserve().
 */
bool gdma_page_reserve(struct domain *receiver)
{
    bool room;

    nrspin_lock(&receiver->page_alloc_lock);

    room = !receiver->is_dying && receiver->tot_pages + 1 &&
           domain_tot_pages(receiver) < receiver->max_pages;
    if ( room && domain_adjust_tot_pages(receiver, 1) == 1 )
        get_knownalive_domain(receiver);

    nrspin_unlock(&receiver->page_alloc_lock);

    return room;
}

void gdma_page_unreserve(struct domain *receiver)
{
    bool last;

    nrspin_lock(&receiver->page_alloc_lock);
    last = !domain_adjust_tot_pages(receiver, -1);
    nrspin_unlock(&receiver->page_alloc_lock);

    if ( last )
        put_domain(receiver);
}

/* False: the receiver is dying. The room is still set aside. */
bool gdma_page_assign(struct page_info *pg, struct domain *receiver,
                      uint64_t *mfn)
{
    *mfn = mfn_x(page_to_mfn(pg));

    return !assign_pages(pg, 1, receiver, MEMF_no_refcount);
}

bool gdma_page_place(struct domain *owner, uint64_t gfn, uint64_t mfn)
{
    return gfn == (unsigned long)gfn &&
           !guest_physmap_add_page(owner, _gfn(gfn), _mfn(mfn), 0);
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
