/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/p2m.c: guest frames, and CPU mappings of grants.
 */
#include <xen/grant_table.h>
#include <xen/iocap.h>
#include <xen/mm.h>
#include <xen/nospec.h>
#include <xen/paging.h>
#include <xen/sched.h>

#include <asm/flushtlb.h>
#include <asm/p2m.h>

#include "gdma.h"

/* What gdma_pin_gfn() does where it takes more than a look-up. */
static noinline int64_t pin_other_gfn(struct domain *owner, unsigned long gfn,
                                      bool write, bool io)
{
    struct page_info *page;
    const struct domain *found;
    p2m_type_t t;

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

    if ( write && t == p2m_ram_ro )
    {
        put_page(page);
        return GDMA_PIN_NOT_WRITABLE;
    }

    return mfn_x(page_to_mfn(page));
}

/*
 * A reference to the page at gfn, for which the owner itself must have ordinary
 * memory there: what it got from others is not its to give away. With io, device
 * memory that it has access to will do as well. Returns the frame.
 *
 * The owner is a translated one, and its pages have no type but that of writable
 * ones: the others are for the page tables of PV guests. What else could happen
 * to a page, sharing or paging out, the page reference prevents; and shadow code
 * would look for a mapping behind each type reference. So none is taken.
 */
int64_t gdma_pin_gfn(struct domain *owner, uint64_t gfn, bool write, bool io)
{
    struct page_info *page;
    p2m_type_t t;

    if ( gfn != (unsigned long)gfn )
        return GDMA_PIN_NOT_MEMORY;

    page = get_page_from_gfn(owner, gfn, &t, 0);
    if ( likely(page) )
    {
        if ( likely(t == p2m_ram_rw) && likely(page_get_owner(page) == owner) )
            return mfn_x(page_to_mfn(page));

        put_page(page);
    }

    return pin_other_gfn(owner, gfn, write, io);
}

#if defined(CONFIG_X86) && defined(CONFIG_HVM)
/* As gdma_pin_gfn(), and notes what the large page that gfn is in leads to. */
static noinline int64_t pin_and_note(struct domain *owner, unsigned long gfn,
                                     bool write, struct gdma_near *near)
{
    struct p2m_domain *p2m = p2m_get_hostp2m(owner);
    unsigned int order;
    p2m_type_t t;
    p2m_access_t a;
    mfn_t mfn = get_gfn_type_access(p2m, gfn, &t, &a, 0, &order);
    bool pinned = t == p2m_ram_rw && mfn_valid(mfn) &&
                  get_page(mfn_to_page(mfn), owner);

    near->first = gfn & (~0UL << order);
    near->mfn = mfn_x(mfn) - (gfn - near->first);
    near->count = pinned && order ? 1UL << order : 0;
    near->changes = dom_iommu(owner)->gfn_changes;
    near->small = !order;

    put_gfn(owner, gfn);

    return pinned ? mfn_x(mfn) : gdma_pin_gfn(owner, gfn, write, false);
}

/*
 * The p2m has not changed since a look-up, and nobody is about to change it: what is
 * changed, and counted, is so with its lock held for writing.
 */
static bool still_holds(const struct domain *owner, const struct gdma_near *near)
{
    if ( percpu_rw_is_write_locked(&p2m_get_hostp2m(owner)->lock.lock) )
        return false;

    smp_rmb();

    return likely(ACCESS_ONCE(dom_iommu(owner)->gfn_changes) == near->changes);
}

/*
 * As gdma_pin_gfn() without device memory, for one of several frames of the same owner.
 * A look-up is most of what that costs, so its result is used again in the same large
 * page: a reference is taken to what was there, and then that has to be there still. So
 * gfn has led to the page at a moment after the call began.
 *
 * The first frame is looked for as any other, for it may be the only one.
 */
int64_t gdma_pin_near(struct domain *owner, uint64_t gfn, bool write,
                      struct gdma_near *near)
{
    uint64_t nth = gfn - near->first;

    if ( near->small )
        return gdma_pin_gfn(owner, gfn, write, false);

    if ( likely(nth < near->count) )
    {
        struct page_info *page;

        nth = array_index_nospec(nth, near->count);
        page = mfn_to_page(_mfn(near->mfn + nth));

        /* A full barrier, by which other CPUs' changes before the call are seen. */
        if ( likely(get_page(page, owner)) )
        {
            if ( still_holds(owner, near) )
                return near->mfn + nth;

            put_page(page);
        }

        near->count = 0;
    }
    else if ( !((near->last ^ gfn) >> PAGE_ORDER_2M) )
        return pin_and_note(owner, gfn, write, near);

    near->last = gfn;

    return gdma_pin_gfn(owner, gfn, write, false);
}
#elif defined(CONFIG_X86)
int64_t gdma_pin_near(struct domain *owner, uint64_t gfn, bool write,
                      struct gdma_near *near)
{
    return gdma_pin_gfn(owner, gfn, write, false);
}
#endif

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

#ifdef CONFIG_X86
/* Pages that are pinned with the p2m locked: four large ones. */
#define MOST_PINNED (4U << PAGE_ORDER_2M)

/*
 * References to pages in the p2m of their owner, the caller, which is locked. Returns
 * how many there are of those asked for, from the first one on.
 *
 * With the p2m locked nothing that it maps can lose the reference that its owner has for
 * having it: whoever takes memory from a domain that lives takes it out of the p2m
 * first. So the count of each page is above 0 and stays so, and going up by one needs no
 * look at what it was before; the owner's reference (PGC_allocated) is the sign bit, so
 * that it is seen at no cost. The count cannot wrap: it has more bits than pins can be
 * counted with.
 */
static unsigned int pin_plain_pages(const struct domain *d,
                                    struct page_info *first,
                                    unsigned int count)
{
    struct page_info *pg = first;
    const typeof(pg->v.inuse._domain) owner = virt_to_pdx(d);
    unsigned int i = 0, done = 0;

    BUILD_BUG_ON(PGC_allocated != 1UL << (BITS_PER_LONG - 1));

    /*
     * One instruction more for each page is 256 more for each MiB, and that is what the
     * compiler needs to have the address of a count in a register.
     */
#define PIN(nth) ({                                                       \
        bool allocated;                                                   \
                                                                          \
        i = (nth);                                                        \
        if ( unlikely(pg[nth].v.inuse._domain != owner) )                 \
            return done + i;                                              \
                                                                          \
        asm volatile ( "lock incq %c[at](%[pg])"                          \
                       : "=@ccs" (allocated)                              \
                       : [pg] "r" (pg),                                   \
                         [at] "i" (offsetof(struct page_info, count_info) \
                                   + (nth) * sizeof(*pg))                 \
                       : "memory" );                                      \
        if ( unlikely(!allocated) )                                       \
            goto lost;                                                    \
    })

    for ( ; done + 8 <= count; done += 8, pg += 8 )
    {
        PIN(0);
        PIN(1);
        PIN(2);
        PIN(3);
        PIN(4);
        PIN(5);
        PIN(6);
        PIN(7);
    }
#undef PIN

    for ( i = 0; done + i < count; i++ )
        if ( !get_page(&first[done + i], d) )
            break;

    return done + i;

 lost:
    ASSERT_UNREACHABLE();
    put_page(&first[done + i]);

    return done + i;
}

/*
 * References to pages from gfn on, at most most, as long as the p2m has plain memory
 * there that follows each other in the machine.
 */
static unsigned int pin_plain_run(struct domain *d, unsigned long gfn,
                                  unsigned int most, mfn_t *first)
{
    struct p2m_domain *p2m = p2m_get_hostp2m(d);
    unsigned int order = 0, count = 0, wanted, pinned;
    p2m_type_t t;
    p2m_access_t a;
    mfn_t mfn = get_gfn_type_access(p2m, gfn, &t, &a, 0, &order);

    most = min(most, MOST_PINNED);
    *first = mfn;

    while ( t == p2m_ram_rw && mfn_valid(mfn) &&
            mfn_eq(mfn, mfn_add(*first, count)) )
    {
        unsigned long in_entry = (gfn + count) & ((1UL << order) - 1);

        wanted = min_t(unsigned long, most - count, (1UL << order) - in_entry);
        pinned = pin_plain_pages(d, mfn_to_page(mfn), wanted);
        count += pinned;
        /* Small entries are left to the next call. */
        if ( pinned != wanted || count == most || order < PAGE_ORDER_2M )
            break;

        mfn = p2m->get_entry(p2m, _gfn(gfn + count), &t, &a, 0, &order, NULL);
    }

    put_gfn(d, gfn);

    return count;
}
#endif

/*
 * References to one or more pages from gfn on that follow each other in the machine, at
 * most most of them; for a PV owner with a writable type each, if write.
 */
int gdma_pin_run(struct domain *owner, uint64_t gfn, uint32_t most, bool write,
                 uint64_t *mfn, uint32_t *count)
{
    int64_t frame;

    ASSERT(owner == current->domain);

#ifdef CONFIG_X86
    if ( !paging_mode_translate(owner) )
    {
        int rc = gdma_pin_pv(owner, gfn, write);

        if ( rc != GDMA_PIN_OKAY )
            return rc;

        *mfn = gfn;
        *count = 1;

        /* The frames of a PV domain are those of the machine. */
        while ( *count < min(most, 64U) &&
                gdma_pin_pv(owner, gfn + *count, write) == GDMA_PIN_OKAY )
            ++*count;

        return GDMA_PIN_OKAY;
    }

    if ( gfn == (unsigned long)gfn )
    {
        mfn_t first;

        *count = pin_plain_run(owner, gfn, most, &first);
        *mfn = mfn_x(first);
        if ( *count )
            return GDMA_PIN_OKAY;
    }
#endif

    frame = gdma_pin_gfn(owner, gfn, write, false);
    if ( frame < 0 )
        return frame;

    *mfn = frame;
    *count = 1;

    return GDMA_PIN_OKAY;
}

/* There is nothing at this frame, nor above. */
bool gdma_is_above_memory(const struct domain *d, uint64_t gfn)
{
#ifdef CONFIG_X86
    return gfn > p2m_get_hostp2m(d)->max_mapped_pfn;
#else
    return false;
#endif
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
