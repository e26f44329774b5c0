/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/pages.c: page references, and the pages that Xen shares with guests.
 */
#include <xen/domain_page.h>
#include <xen/grant_table.h>
#include <xen/iocap.h>
#include <xen/mm.h>
#include <xen/paging.h>
#include <xen/sched.h>

#include <asm/flushtlb.h>
#include <asm/guest_atomics.h>
#include <asm/p2m.h>

#include "gdma.h"

/*
 * One more reference to a page of which the caller knows that somebody holds
 * one. The page must still be the owner's, or nobody's in particular: device
 * memory, or shared and only to be read.
 */
unsigned int gdma_page_again(struct domain *owner, uint64_t mfn, bool take_type,
                             struct page_info **pg)
{
    struct page_info *page;
    const struct domain *found;

    if ( !mfn_valid(_mfn(mfn)) )
        return GDMA_PIN_NOT_MEMORY;

    page = mfn_to_page(_mfn(mfn));
    found = page_get_owner_and_reference(page);
    if ( !found )
        return GDMA_PIN_GONE;

    if ( found != owner && (take_type || found != dom_cow) &&
         (found != dom_io || !iomem_access_permitted(owner, mfn, mfn)) )
    {
        put_page(page);
        return GDMA_PIN_GONE;
    }

    if ( take_type && !get_page_type(page, PGT_writable_page) )
    {
        put_page(page);
        return GDMA_PIN_NOT_WRITABLE;
    }

    *pg = page;

    return GDMA_PIN_OKAY;
}

/*
 * A reference to whatever page has this frame. Returns its owner, who stays
 * alive as long as the reference is held.
 */
struct domain *gdma_page_of_mfn(uint64_t mfn, struct page_info **pg)
{
    struct page_info *page;
    struct domain *owner;

    *pg = NULL;
    if ( !mfn_valid(_mfn(mfn)) )
        return NULL;

    page = mfn_to_page(_mfn(mfn));
    *pg = page;
    owner = page_get_owner_and_reference(page);

    return owner;
}

void gdma_page_put(struct page_info *pg, bool has_type)
{
    if ( has_type )
        put_page_and_type(pg);
    else
        put_page(pg);
}

/* What gdma_pin_run() gave, or a part of it. */
void gdma_pages_put(uint64_t mfn, uint32_t count, bool has_type)
{
    struct page_info *pg = mfn_to_page(_mfn(mfn));

    for ( ; count; --count, ++pg )
        gdma_page_put(pg, has_type);
}

uint64_t gdma_page_mfn(const struct page_info *pg)
{
    return mfn_x(page_to_mfn(pg));
}

/*
 * A page table entry of the holder refers to the page and owns the reference
 * from now on. Entries for device memory own none.
 */
void gdma_page_leave_to_page_tables(struct page_info *pg, bool has_type)
{
    if ( page_get_owner(pg) == dom_io )
        gdma_page_put(pg, has_type);
}

/* Both ranges lie within their pages. */
void gdma_page_copy(struct page_info *to, unsigned int to_offset,
                    const struct page_info *from, unsigned int from_offset,
                    unsigned int len)
{
    const uint8_t *source = map_domain_page(page_to_mfn(from));
    uint8_t *dest = map_domain_page(page_to_mfn(to));

    memcpy(dest + to_offset, source + from_offset, len);

    unmap_domain_page(dest);
    unmap_domain_page(source);
}

/* The range lies within the page. */
int gdma_page_flush_cache(const struct page_info *pg, unsigned int offset,
                          unsigned int length, uint32_t op)
{
    uint8_t *va = map_domain_page(page_to_mfn(pg));
    int rc = 0;

    switch ( op & (GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL) )
    {
    case GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL:
        rc = clean_and_invalidate_dcache_va_range(va + offset, length);
        break;

    case GNTTAB_CACHE_INVAL:
        rc = invalidate_dcache_va_range(va + offset, length);
        break;

    case GNTTAB_CACHE_CLEAN:
        rc = clean_dcache_va_range(va + offset, length);
        break;
    }

    unmap_domain_page(va);

    return rc;
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

/*
 * Takes a page back from its guest, to be freed. The caller keeps others from
 * mapping it. Returns 0, -EBUSY (the guest uses it and keeps it), or another
 * error: the guest's address space could not be put right, and it was crashed.
 */
int gdma_shared_unshare(void *va, struct domain *owner)
{
    struct page_info *pg = virt_to_page(va);
    uint64_t gfn;

    if ( paging_mode_translate(owner) && gdma_shared_gfn(va, owner, &gfn) )
    {
        int rc = guest_physmap_remove_page(owner, _gfn(gfn), page_to_mfn(pg),
                                           0);

        if ( rc )
        {
            gprintk(XENLOG_ERR, "grant-dma: %pd keeps a status frame: %d\n",
                    owner, rc);
            domain_crash(owner);
            return rc == -EBUSY ? -EINVAL : rc;
        }
    }

    BUG_ON(page_get_owner(pg) != owner);
    put_page_alloc_ref(pg);

    if ( pg->count_info & ~PGC_xen_heap )
    {
        if ( paging_mode_translate(owner) )
        {
            gprintk(XENLOG_ERR, "grant-dma: %pd uses a status frame\n", owner);
            domain_crash(owner);
            return -EINVAL;
        }

        if ( get_page(pg, owner) )
            set_bit(_PGC_allocated, &pg->count_info);

        return -EBUSY;
    }

    page_set_owner(pg, NULL);

    return 0;
}

void gdma_shared_clear(void *va)
{
    clear_page(va);
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

#ifndef CONFIG_X86 /* On x86 Rust has these as single instructions. */
uint32_t gdma_shared_cmpxchg32(struct domain *owner, uint32_t *p, uint32_t old,
                               uint32_t new)
{
    return guest_cmpxchg(owner, p, old, new);
}

void gdma_shared_clear16(struct domain *owner, uint16_t *p, uint16_t bits)
{
    gnttab_clear_flags(owner, bits, p);
}
#endif

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
