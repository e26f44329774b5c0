/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-deferred-flush/main.c
 * @ref test-gdma-deferred-flush
 *
 * @page test-gdma-deferred-flush gdma-deferred-flush
 *
 * What `XEN_GDMA_NO_FLUSH` leaves is kept until it is flushed: a frame that an
 * IOTLB may still reach stays pinned and its grant in use, and a flush ends
 * both.  With one `edu` device, in a context of its own.
 *
 *  1. A flush of a context with nothing to do is fine; one of no context is not.
 *  2. unmap without a flush: the mapping is gone, its frames are pinned; flush
 *     gives them back and the device is blocked [frames given back before the
 *     IOTLB is flushed; frames that never come back; no IOTLB flush].
 *  3. A grant is in use until the flush.
 *  4. What waits counts against the limit of pinned frames.
 *  5. A flush of another context does not complete it [pins released without a
 *     flush of the IOTLB that has the translation].
 *  6. An unmap with a flush completes it, in one call and in a later one.
 *  7. context_destroy completes it.
 *  8. map without a flush, then flush: the device gets there.
 *  9. An address that is used again leads to the new page only [an IOTLB entry
 *     of the old page].
 * 10. Nothing is left behind.
 *
 * @see tests/gdma-deferred-flush/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: deferred flushes";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define IN_USE          (GTF_reading | GTF_writing)
#define REF             FIRST_FREE_REF
#define NO_CONTEXT      0x7777u
#define DEFERRED        4u

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t other_page[PAGE_SIZE] __page_aligned_bss;
static uint8_t granted[PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_context_create a, b;
static struct xen_gdma_map shows;
static struct xen_gdma_stats start;

/* Frames and mappings besides what the whole test keeps: device_shows[]. */
static void expect_usage(unsigned int pins, unsigned int mappings)
{
    struct xen_gdma_query query;
    struct xen_gdma_stats stats;

    expect("query", gdma_query(&query), 0);
    expect("pinned frames", query.used_pins, start.used_pins + 1 + pins);
    expect("mappings", query.mappings, 1 + mappings);
    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);
    expect("pinned frames in stats", stats.used_pins,
           start.used_pins + 1 + pins);
}

static uint64_t flushes(void)
{
    struct xen_gdma_stats stats;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);

    return stats.flushes;
}

static bool map(const struct xen_gdma_context_create *context, const void *va,
                struct xen_gdma_map *map)
{
    return expect("map", gdma_map_own_in(context->context, virt_to_gfn(va), 1,
                                         READ_WRITE, map), 0);
}

static int unmap_later(const struct xen_gdma_map *map)
{
    return gdma_unmap_in(map->context, map->handle, XEN_GDMA_NO_FLUSH);
}

static bool prepare(void)
{
    if ( gdma_stats(XEN_GDMA_DOMID_SELF, &start) ||
         gdma_context_create(0, &a) || gdma_context_create(0, &b) ||
         gdma_map_own_in(a.context, virt_to_gfn(device_shows), 1, READ_WRITE,
                         &shows) ||
         gdma_attach(device.edu.bdf, a.context) )
    {
        xtf_failure("BAD no context with a device\n");
        return false;
    }
    device.shows = shows.daddr;

    return true;
}

static void nothing_to_do(void)
{
    const uint64_t before = flushes();

    step("a flush with nothing to do");

    expect("of the context", gdma_flush(a.context), 0);
    expect("of an empty context", gdma_flush(b.context), 0);
    expect("of the default context", gdma_flush(XEN_GDMA_CONTEXT_DEFAULT), 0);
    expect("of no context", gdma_flush(NO_CONTEXT), -ENOENT);
    expect("of the highest number", gdma_flush(~0u), -ENOENT);
    expect("flushes that gave frames back", flushes() - before, 0);
    expect_usage(0, 0);
}

static void unmap_then_flush(void)
{
    struct xen_gdma_lookup found;
    struct xen_gdma_map m;
    uint64_t before;

    step("unmap without a flush, then flush");

    if ( !map(&a, page, &m) )
        return;
    expect_reaches("mapped", &device, m.daddr, page);
    expect_usage(1, 1);

    before = flushes();
    expect("unmap", unmap_later(&m), 0);
    expect("flushes", flushes() - before, 0);
    expect_usage(1, 0);
    expect("unmap again", unmap_later(&m), -ENOENT);
    expect("unmap again, with a flush of nothing",
           gdma_lookup_in(a.context, XEN_GDMA_LOOKUP_DADDR, m.daddr, &found),
           -ENOENT);

    expect("flush", gdma_flush(a.context), 0);
    expect("flushes", flushes() - before, 1);
    expect_usage(0, 0);
    expect_blocked("after the flush", &device, m.daddr, page);
    expect("flush again", gdma_flush(a.context), 0);
    expect("flushes", flushes() - before, 1);
    expect_usage(0, 0);
}

static void grants(void)
{
    struct xen_gdma_map m;

    step("a grant is in use until the flush");

    gnttab_grant_access(REF, own_domid(), virt_to_gfn(granted), 0);
    if ( !expect("map", gdma_map_grants_in(a.context, XEN_GDMA_DOMID_SELF, REF,
                                           1, READ_WRITE, &m), 0) )
        return;
    expect_reaches("the grant", &device, m.daddr, granted);
    expect("unmap", unmap_later(&m), 0);
    expect("in use", gnttab_entry_flags(REF) & IN_USE, IN_USE);
    expect("withdraw", gnttab_end_access(REF), -EBUSY);
    expect_usage(1, 0);

    expect("flush", gdma_flush(a.context), 0);
    expect("in use", gnttab_entry_flags(REF) & IN_USE, 0);
    expect_blocked("after the flush", &device, m.daddr, granted);
    expect("withdraw", gnttab_end_access(REF), 0);
    expect_usage(0, 0);
}

static void quota(void)
{
    struct xen_gdma_set_limits set;
    struct xen_gdma_map m, more;
    uint32_t before;

    step("what waits counts against the limit of pinned frames");

    expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF, start.used_pins + 2,
                                    XEN_GDMA_LIMIT_KEEP, &set), 0);
    before = set.max_pins;
    if ( map(&a, page, &m) )
    {
        expect("unmap", unmap_later(&m), 0);
        expect("map", gdma_map_own_in(a.context, virt_to_gfn(page), 1,
                                      READ_WRITE, &more), -ENOBUFS);
        expect("flush", gdma_flush(a.context), 0);
        expect("map", gdma_map_own_in(a.context, virt_to_gfn(page), 1,
                                      READ_WRITE, &more), 0);
        expect("unmap", gdma_unmap_in(a.context, more.handle, 0), 0);
    }
    expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF, before,
                                    XEN_GDMA_LIMIT_KEEP, &set), 0);
    expect_usage(0, 0);
}

static void other_contexts(void)
{
    struct xen_gdma_map m, in_b;

    step("a flush of another context does not complete it");

    if ( !map(&a, page, &m) || !map(&b, page, &in_b) )
        return;
    expect_usage(2, 2);
    expect("unmap", unmap_later(&m), 0);
    expect("flush of the other context", gdma_flush(b.context), 0);
    expect("flush of the default context",
           gdma_flush(XEN_GDMA_CONTEXT_DEFAULT), 0);
    expect_usage(2, 1);
    expect("unmap in the other context",
           gdma_unmap_in(b.context, in_b.handle, 0), 0);
    expect_usage(1, 0);
    expect("flush", gdma_flush(a.context), 0);
    expect_usage(0, 0);
    expect_blocked("after the flush", &device, m.daddr, page);
}

static void completed_by_unmap(void)
{
    struct xen_gdma_map maps[DEFERRED + 1];
    struct xen_gdma_unmap unmaps[DEFERRED + 1];
    uint64_t before;

    step("an unmap with a flush completes it");

    for ( unsigned int i = 0; i <= DEFERRED; i++ )
        if ( !map(&a, i ? other_page : page, &maps[i]) )
            return;
    expect_reaches("the first", &device, maps[0].daddr, page);

    before = flushes();
    for ( unsigned int i = 0; i < DEFERRED; i++ )
        expect("unmap", unmap_later(&maps[i]), 0);
    expect_usage(DEFERRED + 1, 1);
    expect("flushes", flushes() - before, 0);
    expect("unmap with a flush",
           gdma_unmap_in(a.context, maps[DEFERRED].handle, 0), 0);
    expect("flushes", flushes() - before, 1);
    expect_usage(0, 0);
    expect_blocked("after the unmap of another one", &device, maps[0].daddr,
                   page);

    step("the same within one call: one flush for all");
    for ( unsigned int i = 0; i <= DEFERRED; i++ )
    {
        if ( !map(&a, i ? other_page : page, &maps[i]) )
            return;
        unmaps[i] = (struct xen_gdma_unmap){
            .context = a.context,
            .handle = maps[i].handle,
            .flags = i < DEFERRED ? XEN_GDMA_NO_FLUSH : 0,
        };
    }
    expect_reaches("the first", &device, maps[0].daddr, page);
    before = flushes();
    expect("unmap", gdma_op(XEN_GDMA_OP_UNMAP, unmaps, DEFERRED + 1), 0);
    for ( unsigned int i = 0; i <= DEFERRED; i++ )
        expect("status", unmaps[i].status, 0);
    expect("flushes", flushes() - before, 1);
    expect_usage(0, 0);
    expect_blocked("after the call", &device, maps[0].daddr, page);

    step("an unmap by address can be deferred as well");
    if ( !map(&a, page, &maps[0]) )
        return;
    unmaps[0] = (struct xen_gdma_unmap){
        .context = a.context,
        .daddr = maps[0].daddr,
        .nr_frames = 1,
        .flags = XEN_GDMA_UNMAP_BY_DADDR | XEN_GDMA_NO_FLUSH,
    };
    expect("unmap", gdma_op(XEN_GDMA_OP_UNMAP, unmaps, 1), 0);
    expect("status", unmaps[0].status, 0);
    expect_usage(1, 0);
    expect("flush", gdma_flush(a.context), 0);
    expect_usage(0, 0);
}

static void completed_by_destroy(void)
{
    struct xen_gdma_map m, stays;

    step("the end of the context completes it");

    /* With a neighbour, no table of the IOMMU becomes empty and is freed. */
    if ( !map(&b, other_page, &stays) || !map(&b, page, &m) )
        return;
    expect("unmap", unmap_later(&m), 0);
    expect_usage(2, 1);
    expect("destroy", gdma_context_destroy(b.context), 0);
    expect_usage(0, 0);
    expect("flush", gdma_flush(b.context), -ENOENT);
}

static void map_then_flush(void)
{
    struct xen_gdma_map maps[2];

    step("map without a flush, then flush: the device gets there");

    for ( unsigned int i = 0; i < 2; i++ )
        maps[i] = (struct xen_gdma_map){
            .context = a.context,
            .kind = XEN_GDMA_MAP_OWN,
            .source = virt_to_gfn(i ? other_page : page),
            .nr_frames = 1,
            .flags = READ_WRITE | XEN_GDMA_NO_FLUSH,
        };
    expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, 2), 0);
    expect("first", maps[0].status, 0);
    expect("second", maps[1].status, 0);
    expect_usage(2, 2);
    expect("flush", gdma_flush(a.context), 0);
    expect_usage(2, 2);
    expect_reaches("the first", &device, maps[0].daddr, page);
    expect_reaches("the second", &device, maps[1].daddr, other_page);
    expect("unmap", gdma_unmap_in(a.context, maps[0].handle, 0), 0);
    expect("unmap", gdma_unmap_in(a.context, maps[1].handle, 0), 0);
    expect_usage(0, 0);
}

static void address_again(void)
{
    struct xen_gdma_map m, again;
    int rc;

    step("an address that is used again leads to the new page only");

    if ( !map(&a, page, &m) )
        return;
    /* Now the IOTLB has it. */
    expect_reaches("the old page", &device, m.daddr, page);
    expect("unmap", unmap_later(&m), 0);

    /* In use until the flush, or flushed for the new mapping: both will do. */
    rc = gdma_map_own_at(a.context, m.daddr, virt_to_gfn(other_page), 1,
                         READ_WRITE, &again);
    printk("FACT map_at_unflushed_address=%d\n", rc);
    if ( rc )
    {
        expect("map", rc, -EEXIST);
        expect("flush", gdma_flush(a.context), 0);
        expect("map", gdma_map_own_at(a.context, m.daddr,
                                      virt_to_gfn(other_page), 1, READ_WRITE,
                                      &again), 0);
    }
    expect_reaches("the new page", &device, m.daddr, other_page);
    expect_elsewhere("the old page", &device, m.daddr, page);
    expect("unmap", gdma_unmap_in(a.context, again.handle, 0), 0);
    expect_usage(0, 0);
}

static void nothing_left(void)
{
    step("nothing is left behind");

    expect("detach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    expect("destroy", gdma_context_destroy(a.context), 0);
    expect_all_ended(&start);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( xtf_init_grant_table(1) )
        return xtf_error("No grant table\n");
    if ( !prepare() )
        return;

    nothing_to_do();
    unmap_then_flush();
    grants();
    quota();
    other_contexts();
    completed_by_unmap();
    completed_by_destroy();
    map_then_flush();
    address_again();
    nothing_left();

    xtf_success(NULL);
}
