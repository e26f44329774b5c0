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
 *  1. Runs of 128 own frames until a million are pinned; one more is over the
 *     quota.
 *  2. Xen's free memory is at most 64 MiB less: records, index and the IOMMU's
 *     own page tables, which have eight bytes for each frame whoever maps it.
 *  3. Look-ups by device address and by guest address, at both ends.
 *  4. The context ends: no pin is left, and the memory is back.
 *  5. The same with a mapping for each frame, of as many different frames as
 *     the domain has to spare, so that the index is as large as it can be here.
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
#define NR_PINS     (MILLION / RUN * RUN)       /* 64 frames are left. */
#define BATCH       64u
#define MOST_PAGES  (MB(64) / PAGE_SIZE)
#define IO_TABLES   (NR_PINS / 512)
/* Of 512 MiB, above the guest's image. */
#define FIRST_GFN   (MB(64) >> PAGE_SHIFT)
#define NR_FRAMES   100000u

/* A way to have a million frames pinned. */
struct way {
    const char *name;
    /* Frames of one mapping. */
    unsigned int frames;
};

static struct xen_gdma_map maps[BATCH];
static struct xen_gdma_context_create context;
static uint64_t first_daddr, last_daddr;

/* The first frame of mapping number @nth: all are inside NR_FRAMES. */
static uint64_t gfn_of(const struct way *way, unsigned int nth)
{
    return FIRST_GFN + (way->frames == 1 ? nth % NR_FRAMES : 0);
}

static unsigned int pins(void)
{
    struct xen_gdma_query query;

    expect("query", gdma_query(&query), 0);

    return query.used_pins;
}

static bool map_some(const struct way *way, unsigned int first,
                     unsigned int nr)
{
    for ( unsigned int i = 0; i < nr; i++ )
        maps[i] = (struct xen_gdma_map){
            .context = context.context,
            .kind = XEN_GDMA_MAP_OWN,
            .source = gfn_of(way, first + i),
            .nr_frames = way->frames,
            .flags = XEN_GDMA_MAP_READ,
        };

    if ( !expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, nr), 0) )
        return false;

    for ( unsigned int i = 0; i < nr; i++ )
        if ( maps[i].status )
            return expect("element", maps[i].status, 0);

    return true;
}

static bool map_a_million(const struct way *way)
{
    const unsigned int all = NR_PINS / way->frames;

    for ( unsigned int done = 0; done < all; )
    {
        unsigned int nr = min(all - done, BATCH);

        if ( !map_some(way, done, nr) )
            return false;
        if ( !done )
            first_daddr = maps[0].daddr;
        last_daddr = maps[nr - 1].daddr;
        done += nr;
    }

    return true;
}

static void look_up(const struct way *way, uint64_t daddr, unsigned int nth)
{
    const uint64_t inside = (way->frames - 1) * PAGE_SIZE + 5;
    struct xen_gdma_lookup found;

    expect("lookup", gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_DADDR,
                                    daddr + inside, &found), 0);
    expect_hex("source", found.source,
               (gfn_of(way, nth) << PAGE_SHIFT) + inside);
}

static void look_up_both_ends(const struct way *way)
{
    const unsigned int last = NR_PINS / way->frames - 1;
    struct xen_gdma_lookup found;

    look_up(way, first_daddr, 0);
    look_up(way, last_daddr, last);
    expect("newest of a frame",
           gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_GADDR,
                          gfn_of(way, last) << PAGE_SHIFT, &found), 0);
    expect_hex("its address", found.daddr, last_daddr);
}

static bool pin_a_million(const struct way *way)
{
    long before, with, after;
    char fact[32];

    step("a million, %s", way->name);
    before = free_pages();
    if ( !expect("create", gdma_context_create(0, &context), 0) ||
         !map_a_million(way) )
        return false;
    expect("pins", pins(), NR_PINS);
    expect("a run over the quota",
           gdma_map_own_in(context.context, FIRST_GFN, RUN, XEN_GDMA_MAP_READ,
                           maps), -ENOBUFS);

    step("their memory");
    with = free_pages();
    snprintf(fact, sizeof(fact), "%s_pins", way->name);
    fact_u64(fact, NR_PINS);
    snprintf(fact, sizeof(fact), "%s_kib_of_xens_memory", way->name);
    fact_u64(fact, (before - with) * (PAGE_SIZE / 1024));
    expect_true("free memory is known", before > 0 && with > 0);
    expect_true("at most 64 MiB", before - with <= (long)MOST_PAGES);

    step("look-ups");
    look_up_both_ends(way);

    step("the end");
    expect("destroy", gdma_context_destroy(context.context), 0);
    expect("pins", pins(), 0);
    after = free_pages();
    snprintf(fact, sizeof(fact), "%s_kib_not_back", way->name);
    fact_u64(fact, (before - after) * (PAGE_SIZE / 1024));
    /* What Xen's allocator keeps at hand is no leak of a million pins. */
    return expect_true("the memory is back",
                       before - after <= (before - with) / 100);
}

void test_main(void)
{
    static const struct way ways[] = { { "runs", RUN }, { "single", 1 } };
    struct xen_gdma_query query;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( gdma_query(&query) || query.max_pins != MILLION )
        return xtf_skip("The quota is not a million pins\n");

    fact_u64("kib_of_io_page_tables", IO_TABLES * (PAGE_SIZE / 1024));
    for ( unsigned int i = 0; i < ARRAY_SIZE(ways); i++ )
        if ( !pin_a_million(&ways[i]) )
            return;

    xtf_success(NULL);
}
