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
 * Takes a page from d, the current domain, and out of its address space. On
 * success it belongs to nobody. Returns the frame. There are such domains on x86
 * only, PV ones: see steal_page().
 */
int64_t gdma_page_steal(struct domain *d, uint64_t gfn)
{
    struct page_info *page;
    int rc;

    if ( paging_mode_translate(d) )
        return GDMA_STEAL_IN_USE;

    if ( !mfn_valid(_mfn(gfn)) )
        return GDMA_STEAL_BAD_PAGE;

    page = mfn_to_page(_mfn(gfn));
    rc = steal_page(d, page, 0);
    if ( rc < 0 )
        return rc == -EINVAL ? GDMA_STEAL_BAD_PAGE : GDMA_STEAL_IN_USE;

    rc = guest_physmap_remove_page(d, _gfn(gfn), _mfn(gfn), 0);
    arch_flush_tlb_mask(d->dirty_cpumask);
    if ( rc )
    {
        free_domheap_page(page);
        return GDMA_STEAL_IN_USE;
    }

    return gfn;
}

void gdma_page_free_stolen(uint64_t mfn)
{
    free_domheap_page(mfn_to_page(_mfn(mfn)));
}

/*
 * Sets room for one page aside, so that nothing but the receiver's death can
 * keep it from taking one.
 */
static bool reserve(struct domain *receiver)
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

static void unreserve(struct domain *receiver)
{
    bool last;

    nrspin_lock(&receiver->page_alloc_lock);
    last = !domain_adjust_tot_pages(receiver, -1);
    nrspin_unlock(&receiver->page_alloc_lock);

    if ( last )
        put_domain(receiver);
}

/* A copy of the page with a number of so many bits. The page is freed. */
static noinline int64_t copy_below(struct page_info *page,
                                   struct domain *receiver, unsigned int bits)
{
    struct page_info *copy =
        alloc_domheap_page(receiver, MEMF_no_owner | MEMF_bits(bits));

    if ( copy )
        copy_domain_page(page_to_mfn(copy), page_to_mfn(page));
    free_domheap_page(page);

    return copy ? mfn_x(page_to_mfn(copy)) : GDMA_OFFER_TOO_BIG;
}

/*
 * Offers the page, or a copy of it that the receiver has a number for: 32 bits of
 * it, or as many as it likes. Returns the frame offered, for which there is room
 * with the receiver: it ends in gdma_page_give() or gdma_page_withdraw(). On error
 * the page is freed.
 */
int64_t gdma_page_offer(uint64_t mfn, struct domain *receiver, bool wide_frames)
{
    unsigned int bits = (wide_frames ? BITS_PER_LONG : 32) + PAGE_SHIFT;
    int64_t offered = mfn;

    bits = domain_clamp_alloc_bitsize(receiver, bits);
    if ( unlikely(bits < BITS_PER_LONG + PAGE_SHIFT &&
                  (mfn >> (bits - PAGE_SHIFT))) )
    {
        offered = copy_below(mfn_to_page(_mfn(mfn)), receiver, bits);
        if ( offered < 0 )
            return offered;
    }

    if ( unlikely(!reserve(receiver)) )
    {
        free_domheap_page(mfn_to_page(_mfn(offered)));
        return GDMA_OFFER_NO_ROOM;
    }

    return offered;
}

void gdma_page_withdraw(uint64_t mfn, struct domain *receiver)
{
    unreserve(receiver);
    free_domheap_page(mfn_to_page(_mfn(mfn)));
}

/*
 * The page becomes one of the receiver's, and is put at gfn, if that goes. When
 * the receiver is dying, nothing happens.
 */
unsigned int gdma_page_give(uint64_t mfn, struct domain *receiver, uint64_t gfn)
{
    if ( assign_pages(mfn_to_page(_mfn(mfn)), 1, receiver, MEMF_no_refcount) )
        return GDMA_GIVE_DYING;

    if ( gfn != (unsigned long)gfn ||
         guest_physmap_add_page(receiver, _gfn(gfn), _mfn(mfn), 0) )
        return GDMA_GIVE_NOT_PLACED;

    return GDMA_GIVE_PLACED;
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
