/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/mirrors.c: 1:1 copies of a domain's memory in the I/O page
 * tables of its contexts, kept in step when its memory changes.
 *
 * For a translated domain the copy has what its p2m has, at the same frame
 * numbers; for a PV domain its writable pages, at their machine frames. That is
 * what Xen puts into a domain's own I/O page tables, and the four places where
 * it does so call here as well, whether the domain has such tables or not.
 *
 * Frames of a copy have no page reference for it, as in the domain's own
 * tables. What keeps a device from a page that is freed is the order of things:
 * the p2m entry goes, or the page loses its writable type or its last
 * reference; then we are called, change the tables, flush, and return; only
 * then can the page be freed. So everything here is synchronous, and does not
 * care for iommu_dont_flush_iotlb. If a copy cannot be changed the caller gets
 * an error, upon which it does not free the page.
 *
 * Three kinds of device frames are kept apart: the copy's, which are below
 * mirror_end; those of mappings that the service makes, from there on; and
 * reserved regions, which belong to the devices that are in the context.
 *
 * Locks: we are called under the p2m lock, or in the middle of a change of a
 * page's type. mirrors_lock comes next, then the drivers' locks. No lock of the
 * service and no pcidevs_lock() is taken here.
 */
#include <xen/event.h>
#include <xen/init.h>
#include <xen/iommu.h>
#include <xen/mm.h>
#include <xen/rwlock.h>
#include <xen/sched.h>
#include <xen/softirq.h>

#include <asm/p2m.h>

#include "contexts.h"
#include "gdma.h"

/* The lists of copies, and what is being ended. */
static DEFINE_RWLOCK(mirrors_lock);

/*
 * Reserved regions of all devices, merged, in ascending order. They do not
 * change after boot.
 */
#define MOST_REGIONS 64

struct region {
    unsigned long first, end;
};

static struct region __ro_after_init regions[MOST_REGIONS];
static unsigned int __ro_after_init nr_regions;
static bool __ro_after_init too_many_regions;

static int __init cf_check add_region(xen_pfn_t start, xen_ulong_t nr,
                                      uint32_t id, void *arg)
{
    unsigned long first = start, end = start + nr;
    unsigned int i = 0, j;

    /* AMD's driver asks with no frames whether the device matters. */
    if ( !nr )
        return 1;

    while ( i < nr_regions && regions[i].end < first )
        ++i;
    for ( j = i; j < nr_regions && regions[j].first <= end; ++j )
    {
        first = min(first, regions[j].first);
        end = max(end, regions[j].end);
    }

    if ( i == j && nr_regions == MOST_REGIONS )
    {
        too_many_regions = true;
        return 1;
    }

    memmove(&regions[i + 1], &regions[j],
            (nr_regions - j) * sizeof(*regions));
    regions[i].first = first;
    regions[i].end = end;
    nr_regions += 1 - (j - i);

    return 1;
}

static int __init cf_check collect_regions(void)
{
    return iommu_get_reserved_device_memory(add_region, NULL);
}
__initcall(collect_regions);

/*
 * Of the frames from *dfn up to end: how many there are, in one piece, that are
 * no region's. Moves *dfn to the first of them. 0: there are none.
 */
static unsigned long next_piece(unsigned long *dfn, unsigned long end)
{
    unsigned int i;

    for ( i = 0; i < nr_regions && regions[i].first < end; ++i )
    {
        if ( *dfn < regions[i].first )
            return regions[i].first - *dfn;
        *dfn = max(*dfn, regions[i].end);
    }

    return *dfn < end ? end - *dfn : 0;
}

/* With flags of 0, nothing is there afterwards. Visible to devices on return. */
static int change_piece(struct iommu_context *ctx, unsigned long dfn,
                        unsigned long mfn, unsigned long count,
                        unsigned int flags)
{
    unsigned int flush_flags = 0;
    int rc = 0, err = 0;

    if ( flags )
        rc = iommu_map(ctx->tables, _dfn(dfn), _mfn(mfn), count, flags,
                       &flush_flags);
    /* What was there before must not stay. */
    if ( !flags || rc )
        err = iommu_unmap(ctx->tables, _dfn(dfn), count, 0, &flush_flags);

    err = err ?: gdma_iommu_flush(ctx->tables, dfn, count, flush_flags);
    if ( rc || err )
        printk_once(XENLOG_ERR
                    "%pd: context %u is not what the domain's memory is\n",
                    ctx->owner, ctx->number);
    /* As if its own tables could not be changed. */
    if ( err && !is_hardware_domain(ctx->owner) )
        domain_crash(ctx->owner);

    return err ?: rc;
}

static int change(struct iommu_context *ctx, unsigned long dfn,
                  unsigned long mfn, unsigned long count, unsigned int flags)
{
    unsigned long next = dfn, end = min(dfn + count, ctx->mirror_end);
    int rc = 0;

    while ( (count = next_piece(&next, end)) != 0 )
    {
        int err = change_piece(ctx, next, mfn + (next - dfn), count, flags);

        rc = rc ?: err;
        next += count;
    }

    return rc;
}

/* The domain's memory has changed. */
int gdma_mirrors_change(struct domain *d, unsigned long dfn, mfn_t mfn,
                        unsigned int order, unsigned int flags)
{
    struct iommu_context *ctx;
    int rc = 0;

    read_lock(&mirrors_lock);
    for ( ctx = dom_iommu(d)->mirrors; ctx; ctx = ctx->next_mirror )
    {
        int err = change(ctx, dfn, mfn_x(mfn), 1UL << order,
                         ctx->mirror_ending ? 0 : flags);

        rc = rc ?: err;
    }
    read_unlock(&mirrors_lock);

    return rc;
}

/*
 * A page becomes writable, or ceases to be. Only PV domains' devices are
 * concerned, and none with Xen's own pages.
 */
int iommu_mirror_type(const struct page_info *page, bool writable)
{
    struct domain *d = page_get_owner(page);
    mfn_t mfn = page_to_mfn(page);

    if ( !d || likely(!dom_iommu(d)->mirrors) || !is_pv_domain(d) ||
         is_special_page(page) )
        return 0;

    return gdma_mirrors_change(d, mfn_x(mfn), mfn, PAGE_ORDER_4K,
                               writable ? IOMMUF_readable | IOMMUF_writable
                                        : 0);
}

static void enlist(struct iommu_context *ctx, unsigned long end)
{
    struct domain_iommu *hd = dom_iommu(ctx->owner);

    write_lock(&mirrors_lock);
    ctx->mirror_end = end;
    ctx->next_mirror = hd->mirrors;
    hd->mirrors = ctx;
    write_unlock(&mirrors_lock);
}

void gdma_mirror_forget(struct iommu_context *ctx)
{
    struct iommu_context **link = &dom_iommu(ctx->owner)->mirrors;

    write_lock(&mirrors_lock);
    for ( ; *link; link = &(*link)->next_mirror )
        if ( *link == ctx )
        {
            *link = ctx->next_mirror;
            break;
        }
    ctx->mirror_end = 0;
    write_unlock(&mirrors_lock);
}

/* Frames from here on the domain has never had. */
static unsigned long memory_end(const struct iommu_context *ctx)
{
    unsigned long end = ctx->mirror_end;

    if ( paging_mode_translate(ctx->owner) )
        end = min(end, p2m_get_hostp2m(ctx->owner)->max_mapped_pfn + 1);

    return end;
}

/* How many frames to map in one step: one entry, or one table of them. */
static unsigned long frames_per_step(const struct iommu_context *ctx)
{
    unsigned int bit = flsl(dom_iommu(ctx->tables)->platform_ops->page_sizes);

    return max(1UL << (bit - 1 - PAGE_SHIFT), 512UL);
}

/* The p2m lock is held from looking to mapping, so that no change gets between. */
static int add_entry(struct iommu_context *ctx)
{
    struct domain *d = ctx->owner;
    struct p2m_domain *p2m = p2m_get_hostp2m(d);
    unsigned long gfn = ctx->mirror_next, count;
    unsigned int flags, order = 0;
    p2m_type_t t;
    p2m_access_t a;
    mfn_t mfn = get_gfn_type_access(p2m, gfn, &t, &a, 0, &order);
    int rc = 0;

    flags = p2m_get_iommu_flags(t, a, mfn);
    count = (1UL << order) - (gfn & ((1UL << order) - 1));
    if ( flags )
    {
        count = min(count, frames_per_step(ctx));
        rc = change(ctx, gfn, mfn_x(mfn), count, flags);
    }
    put_gfn(d, gfn);
    ctx->mirror_next += count;

    return rc;
}

/* What has another type now becomes part of the copy when that changes. */
static int add_page(struct iommu_context *ctx, struct page_info *page)
{
    unsigned long mfn = mfn_x(page_to_mfn(page));
    unsigned long type = ACCESS_ONCE(page->u.inuse.type_info);
    int rc;

    if ( page_get_owner(page) != ctx->owner || is_special_page(page) ||
         ((type & PGT_count_mask) &&
          (type & PGT_type_mask) != PGT_writable_page) ||
         /* Its type does not change while we have this reference. */
         !get_page_and_type(page, ctx->owner, PGT_writable_page) )
        return 0;

    rc = change(ctx, mfn, mfn, 1, IOMMUF_readable | IOMMUF_writable);
    put_page_and_type(page);

    return rc;
}

#define PAGES_PER_STEP 64

static int add_pages(struct iommu_context *ctx)
{
    unsigned int i;
    int rc = 0;

    for ( i = 0; !rc && i < PAGES_PER_STEP; ++i, ++ctx->mirror_next )
    {
        mfn_t mfn = _mfn(ctx->mirror_next);

        if ( mfn_valid(mfn) )
            rc = add_page(ctx, mfn_to_page(mfn));
    }

    return rc;
}

/*
 * Makes the context, where nothing is mapped yet and no device is, a copy of
 * its owner's memory below end. Changes are followed from the start, so that
 * none is missed.
 */
int gdma_mirror_copy(struct iommu_context *ctx, uint64_t end)
{
    if ( too_many_regions )
        return -EOPNOTSUPP;

    if ( !ctx->mirror_end )
        enlist(ctx, end);

    while ( ctx->mirror_next < memory_end(ctx) )
    {
        int rc = paging_mode_translate(ctx->owner) ? add_entry(ctx)
                                                   : add_pages(ctx);

        if ( rc )
            return rc;
        if ( general_preempt_check() )
            return -ERESTART;
    }

    return 0;
}

#define UNMAPS_PER_STEP 64

/*
 * Not with IOMMUF_preempt: the drivers would take it for a part of the order.
 */
static int end_step(struct iommu_context *ctx)
{
    const unsigned long chunk = frames_per_step(ctx) * UNMAPS_PER_STEP;
    unsigned long next = ctx->mirror_next, count;
    unsigned int flush_flags = 0;
    bool preempted = false;
    int rc = 0, flushed;

    while ( !rc && !preempted &&
            (count = next_piece(&next, memory_end(ctx))) != 0 )
    {
        count = min(count, chunk - (next & (chunk - 1)));
        rc = iommu_unmap(ctx->tables, _dfn(next), count, 0, &flush_flags);
        next += count;
        preempted = general_preempt_check();
    }

    /* The tables were changed before it is looked which IOMMUs use them. */
    smp_mb();
    flushed = iommu_iotlb_flush_all(ctx->tables, flush_flags);
    if ( rc || flushed )
        return rc ?: flushed;

    ctx->mirror_next = next;

    return preempted ? -ERESTART : 0;
}

/*
 * Takes the copy, if the context is one, out of the tables. Devices may be
 * there; they fault from now on.
 */
int gdma_mirror_end(struct iommu_context *ctx)
{
    int rc;

    if ( test_and_set_bool(ctx->mirror_busy) )
        return -ERESTART;

    if ( !ctx->mirror_ending )
    {
        write_lock(&mirrors_lock);
        ctx->mirror_ending = true;
        ctx->mirror_next = 0;
        write_unlock(&mirrors_lock);
    }

    rc = ctx->mirror_end ? end_step(ctx) : 0;
    if ( !rc && ctx->mirror_end )
        gdma_mirror_forget(ctx);

    smp_wmb();
    ctx->mirror_busy = false;

    return rc;
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
