/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-limits/main.c
 * @ref test-gdma-limits
 *
 * @page test-gdma-limits gdma-limits
 *
 * The limits of the grant-DMA service are exact.  To be run with a small limit
 * of pinned frames: `grant-dma-max-pins=64` on Xen's command line.
 *
 *  1. As many frames as the limit says can be pinned, not one more; what is
 *     refused changes nothing, and an unmap makes room for one again.
 *  2. A mapping of several frames that would pass the limit pins none of them.
 *  3. A call of thousands of elements, longer than Xen works at a stretch, does
 *     each element once and in order.
 *  4. A call of more elements than the ABI allows does none of them.
 *
 * @see tests/gdma-limits/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: limits";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

/* The limit that Xen was given must be below this one. */
#define MANY            4096u

/* No status of Xen's: the element was not worked on. */
#define NOT_DONE        1

static uint8_t pages[2 * PAGE_SIZE] __page_aligned_bss;
static struct xen_gdma_map maps[MANY];
static struct xen_gdma_unmap unmaps[MANY];
static unsigned int limit;

static void expect_usage(unsigned int frames, unsigned int mappings)
{
    struct xen_gdma_query now;

    expect("query", gdma_query(&now), 0);
    expect("pinned frames", now.used_pins, frames);
    expect("mappings", now.mappings, mappings);
}

static int map_page(struct xen_gdma_map *map)
{
    return gdma_map_own(virt_to_gfn(pages), 1, READ_WRITE, map);
}

static void unmap_first(unsigned int nr)
{
    unsigned int bad = 0;

    for ( unsigned int i = 0; i < nr; i++ )
        bad += gdma_unmap(maps[i].handle) != 0;
    expect("failing unmaps", bad, 0);
}

static void exact_limit(void)
{
    unsigned int bad = 0;

    step("%u frames can be pinned, not one more", limit);

    for ( unsigned int i = 0; i < limit; i++ )
        bad += map_page(&maps[i]) != 0;
    expect("refused below the limit", bad, 0);
    expect_usage(limit, limit);

    expect("one more", map_page(&maps[limit]), -ENOBUFS);
    expect_usage(limit, limit);

    expect("unmap", gdma_unmap(maps[limit - 1].handle), 0);
    expect("one again", map_page(&maps[limit - 1]), 0);
    expect("and not two", map_page(&maps[limit]), -ENOBUFS);
    expect_usage(limit, limit);
}

static void all_or_nothing(void)
{
    struct xen_gdma_map two;

    step("two frames where there is room for one: none is pinned");

    expect("unmap", gdma_unmap(maps[limit - 1].handle), 0);
    expect("two frames", gdma_map_own(virt_to_gfn(pages), 2, READ_WRITE, &two),
           -ENOBUFS);
    expect_usage(limit - 1, limit - 1);

    unmap_first(limit - 1);
    expect_usage(0, 0);
}

static void fill_maps(void)
{
    for ( unsigned int i = 0; i < MANY; i++ )
        maps[i] = (struct xen_gdma_map){
            .kind = XEN_GDMA_MAP_OWN,
            .source = virt_to_gfn(pages),
            .nr_frames = 1,
            .flags = READ_WRITE,
            .status = NOT_DONE,
        };
}

static void long_calls(void)
{
    unsigned int bad = 0;

    step("%u elements in one call: each is done once and in order", MANY);

    /* Done twice, an element would pin twice; left out, it keeps its mark. */
    fill_maps();
    expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, MANY), 0);
    for ( unsigned int i = 0; i < MANY; i++ )
        bad += maps[i].status != (i < limit ? 0 : -ENOBUFS);
    expect("wrong statuses of map", bad, 0);
    expect_usage(limit, limit);

    /* No handle (0) for what was refused; done twice, a good one is unknown. */
    for ( unsigned int i = 0; i < MANY; i++ )
        unmaps[i] = (struct xen_gdma_unmap){
            .handle = maps[MANY - 1 - i].handle,
            .status = NOT_DONE,
        };
    bad = 0;
    expect("unmap", gdma_op(XEN_GDMA_OP_UNMAP, unmaps, MANY), 0);
    for ( unsigned int i = 0; i < MANY; i++ )
        bad += unmaps[i].status != (i < MANY - limit ? -ENOENT : 0);
    expect("wrong statuses of unmap", bad, 0);
    expect_usage(0, 0);
}

static void too_many_elements(void)
{
    step("more elements than the ABI allows: none is done");

    fill_maps();
    expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, XEN_GDMA_MAX_BATCH + 1),
           -E2BIG);
    expect("the first element", maps[0].status, NOT_DONE);
    expect_usage(0, 0);
}

void test_main(void)
{
    struct xen_gdma_query query;

    if ( !gdma_usable() || gdma_query(&query) )
        return;

    limit = query.max_pins;
    fact_u64("max_pins", limit);
    if ( limit < 2 || limit >= MANY )
        return xtf_skip("This test needs a small limit: grant-dma-max-pins=64\n");

    exact_limit();
    all_or_nothing();
    long_calls();
    too_many_elements();

    xtf_success(NULL);
}
