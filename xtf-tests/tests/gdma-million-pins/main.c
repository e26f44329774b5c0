/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-million-pins/main.c
 * @ref test-gdma-million-pins
 *
 * @page test-gdma-million-pins gdma-million-pins
 *
 * A million pins in one context: what they take of Xen's memory, that they are
 * found, and that the end of the context gives all of it back.  For the domain
 * that owns the machine, started with a quota of as many.
 *
 *  1. Runs of 128 own frames until a million are pinned; the next run is over
 *     the quota.
 *  2. Xen's free memory is at most 64 MiB less: records, index and the IOMMU's
 *     own page tables, which have eight bytes for each frame whoever maps it.
 *  3. Look-ups by device address and by guest address, at both ends.
 *  4. The context ends: no pin is left, and the memory is back.
 *
 * @see tests/gdma-million-pins/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/steps.h>
#include <lab/sysctl.h>

const char test_title[] = "Grant-DMA: a million pins";

#define MILLION     1000000u
#define RUN         XEN_GDMA_MAX_FRAMES
#define NR_RUNS     (MILLION / RUN)     /* 7812, and 64 frames are left. */
#define BATCH       64u
#define MOST_PAGES  (MB(64) / PAGE_SIZE)
#define IO_TABLES   (NR_RUNS * RUN / 512)

static uint8_t frames[RUN * PAGE_SIZE] __page_aligned_bss;
static struct xen_gdma_map maps[BATCH];
static struct xen_gdma_context_create context;
static uint64_t first_daddr, last_daddr;

static unsigned int pins(void)
{
    struct xen_gdma_query query;

    expect("query", gdma_query(&query), 0);

    return query.used_pins;
}

static bool map_runs(unsigned int nr)
{
    for ( unsigned int i = 0; i < nr; i++ )
        maps[i] = (struct xen_gdma_map){
            .context = context.context,
            .kind = XEN_GDMA_MAP_OWN,
            .source = virt_to_gfn(frames),
            .nr_frames = RUN,
            .flags = XEN_GDMA_MAP_READ,
        };

    if ( !expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, nr), 0) )
        return false;

    for ( unsigned int i = 0; i < nr; i++ )
        if ( maps[i].status )
            return expect("element", maps[i].status, 0);

    return true;
}

static bool map_a_million(void)
{
    for ( unsigned int done = 0; done < NR_RUNS; )
    {
        unsigned int nr = min(NR_RUNS - done, BATCH);

        if ( !map_runs(nr) )
            return false;
        if ( !done )
            first_daddr = maps[0].daddr;
        last_daddr = maps[nr - 1].daddr;
        done += nr;
    }

    return true;
}

static void look_up(uint64_t daddr)
{
    const uint64_t inside = (RUN - 1) * PAGE_SIZE + 5;
    struct xen_gdma_lookup found;

    expect("lookup", gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_DADDR,
                                    daddr + inside, &found), 0);
    expect_hex("source", found.source,
               ((uint64_t)virt_to_gfn(frames) << PAGE_SHIFT) + inside);
}

void test_main(void)
{
    struct xen_gdma_lookup found;
    struct xen_gdma_query query;
    long before, with, after;

    if ( own_domid() != 0 )
        return xtf_skip("Only the domain that owns the machine can run this\n");
    if ( !gdma_contexts_usable() )
        return;
    if ( gdma_query(&query) || query.max_pins != MILLION )
        return xtf_skip("The quota is not a million pins\n");
    if ( virt_to_gfn(&frames[(RUN - 1) * PAGE_SIZE]) !=
         virt_to_gfn(frames) + RUN - 1 )
        return xtf_error("The frames are not one run\n");

    step("a million");
    before = free_pages();
    if ( !expect("create", gdma_context_create(0, &context), 0) ||
         !map_a_million() )
        return;
    expect("pins", pins(), NR_RUNS * RUN);
    expect("one more run", gdma_map_own_in(context.context,
                                           virt_to_gfn(frames), RUN,
                                           XEN_GDMA_MAP_READ, maps), -ENOBUFS);

    step("their memory");
    with = free_pages();
    fact_u64("pins", NR_RUNS * RUN);
    fact_u64("kib_of_xens_memory", (before - with) * (PAGE_SIZE / 1024));
    fact_u64("kib_of_io_page_tables", IO_TABLES * (PAGE_SIZE / 1024));
    expect_true("free memory is known", before > 0 && with > 0);
    expect_true("at most 64 MiB", before - with <= (long)MOST_PAGES);

    step("look-ups");
    look_up(first_daddr);
    look_up(last_daddr);
    expect("newest of a frame",
           gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_GADDR,
                          (uint64_t)virt_to_gfn(frames) << PAGE_SHIFT, &found),
           0);
    expect_hex("its address", found.daddr, last_daddr);

    step("the end");
    expect("destroy", gdma_context_destroy(context.context), 0);
    expect("pins", pins(), 0);
    after = free_pages();
    fact_u64("kib_not_back", (before - after) * (PAGE_SIZE / 1024));
    /* What Xen's allocator keeps at hand is no leak of a million pins. */
    expect_true("the memory is back", before - after <= (before - with) / 100);

    xtf_success(NULL);
}
