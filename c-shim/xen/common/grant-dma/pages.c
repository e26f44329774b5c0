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
#include <xen/vmap.h>

#include <asm/flushtlb.h>
#include <asm/guest_atomics.h>
#include <asm/p2m.h>

#include "gdma.h"

/*
 * One more reference to a page of which the caller knows that somebody holds
 * one. The page must still be the owner's, or nobody's in particular: device
 * memory, or shared and only to be read.
 */
int gdma_page_again(struct domain *owner, uint64_t mfn, bool write,
                    bool take_type)
{
    struct page_info *page;
    const struct domain *found;

    if ( !mfn_valid(_mfn(mfn)) )
        return GDMA_PIN_NOT_MEMORY;

    page = mfn_to_page(_mfn(mfn));
    found = page_get_owner_and_reference(page);
    if ( !found )
        return GDMA_PIN_GONE;

    if ( found != owner && (write || found != dom_cow) &&
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

    return GDMA_PIN_OKAY;
}

/*
 * A reference to whatever page has this frame. Returns the table of its owner, who
 * stays alive as long as the reference is held; or NULL: there is no reference,
 * because nobody owns it, or nobody with a table does; or GDMA_PIN_NOT_MEMORY.
 */
struct grant_table *gdma_page_of_mfn(uint64_t mfn)
{
    const struct domain *owner;
    struct grant_table *table;

    if ( !mfn_valid(_mfn(mfn)) )
        return (void *)(long)GDMA_PIN_NOT_MEMORY;

    owner = page_get_owner_and_reference(mfn_to_page(_mfn(mfn)));
    if ( !owner )
        return NULL;

    table = owner->grant_table;
    if ( unlikely(!table) )
        put_page(mfn_to_page(_mfn(mfn)));

    return table;
}

void gdma_page_put(uint64_t mfn)
{
    put_page(mfn_to_page(_mfn(mfn)));
}

void gdma_page_put_and_type(uint64_t mfn)
{
    put_page_and_type(mfn_to_page(_mfn(mfn)));
}

/* What gdma_pin_run() gave, or a part of it. */
void gdma_pages_put(uint64_t mfn, uint32_t count, bool has_type)
{
    struct page_info *pg = mfn_to_page(_mfn(mfn));

    for ( ; count; --count, ++pg )
        if ( has_type )
            put_page_and_type(pg);
        else
            put_page(pg);
}

/* One behind the other, for Xen itself. NULL: no memory, or no room. */
void *gdma_pages_map(const uint64_t mfns[], unsigned int count)
{
    BUILD_BUG_ON(sizeof(mfn_t) != sizeof(*mfns));

    return vmap((const mfn_t *)mfns, count);
}

void gdma_pages_unmap(void *va)
{
    vunmap(va);
}

/* To or from what a guest may change meanwhile. */
void gdma_pages_copy(void *to, const void *from, unsigned int length)
{
    memcpy(to, from, length);
}

/*
 * A page table entry of the holder refers to the page and owns the reference
 * from now on. Entries for device memory own none.
 */
void gdma_page_leave_to_page_tables(uint64_t mfn, bool has_type)
{
    struct page_info *page = mfn_to_page(_mfn(mfn));

    if ( page_get_owner(page) != dom_io )
        return;

    if ( has_type )
        put_page_and_type(page);
    else
        put_page(page);
}

/* Both ranges lie within their pages. */
void gdma_page_copy(uint64_t to, unsigned int to_offset, uint64_t from,
                    unsigned int from_offset, unsigned int len)
{
    const uint8_t *source = map_domain_page(_mfn(from));
    uint8_t *dest = map_domain_page(_mfn(to));

    memcpy(dest + to_offset, source + from_offset, len);

    unmap_domain_page(dest);
    unmap_domain_page(source);
}

/* The range lies within the page, and op asks for something. */
int gdma_page_flush_cache(uint64_t mfn, unsigned int offset, unsigned int length,
                          uint32_t op)
{
    uint8_t *va = map_domain_page(_mfn(mfn));
    int rc;

    if ( !(op & GNTTAB_CACHE_INVAL) )
        rc = clean_dcache_va_range(va + offset, length);
    else if ( op & GNTTAB_CACHE_CLEAN )
        rc = clean_and_invalidate_dcache_va_range(va + offset, length);
    else
        rc = invalidate_dcache_va_range(va + offset, length);

    unmap_domain_page(va);

    return rc;
}

void gdma_page_mark_dirty(struct domain *owner, uint64_t mfn)
{
    gnttab_mark_dirty(owner, _mfn(mfn));
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
