/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/bench-lookup/main.c
 * @ref test-bench-lookup
 *
 * @page test-bench-lookup bench-lookup
 *
 * What a look-up costs among more and more mappings, in processor ticks:
 * instructions, under an emulator that counts them.  For the domain that owns
 * the machine, started with a quota of a million pins.
 *
 * Mappings of one page each are made in a context, of a hundred thousand frames
 * in turn; when there are 1,000, 100,000 and 999,936 of them, 128 are looked
 * up in one call.  One line each time:
 *
 *  LOOKUP mappings=<n> daddr=<ticks> gaddr=<ticks>
 *
 * with the ticks of one look-up, less its share of a null hypercall, by device
 * address and by guest address.  Judged is that neither costs more than a
 * quarter more among a million mappings than among a thousand: the chains of a
 * hash table are longer or shorter by chance.
 *
 * @see tests/bench-lookup/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/steps.h>

const char test_title[] = "Cost of look-ups";

#define MILLION     1000000u
#define MOST        999936u     /* A multiple of the batch. */
#define FRAMES      100000u
#define FIRST_GFN   (MB(64) >> PAGE_SHIFT)
#define BATCH       128u
#define ROUNDS      16u
/* Neither divides the other, so that every part of the table is looked at. */
#define STRIDE      7919u

static struct xen_gdma_map maps[BATCH];
static struct xen_gdma_lookup lookups[BATCH];
static struct xen_gdma_context_create context;
static uint64_t null_ticks, first_daddr;

static uint64_t gfn_of(unsigned int nth)
{
    return FIRST_GFN + nth % FRAMES;
}

static void measure_null(void)
{
    uint64_t start = read_ticks();

    for ( unsigned int i = 0; i < ROUNDS; i++ )
        (void)hypercall_xen_version(XENVER_version, NULL);
    null_ticks = (read_ticks() - start) / ROUNDS;
}

static bool map_up_to(unsigned int from, unsigned int to)
{
    for ( unsigned int done = from; done < to; )
    {
        unsigned int nr = min(to - done, BATCH);

        for ( unsigned int i = 0; i < nr; i++ )
            maps[i] = (struct xen_gdma_map){
                .context = context.context,
                .kind = XEN_GDMA_MAP_OWN,
                .source = gfn_of(done + i),
                .nr_frames = 1,
                .flags = XEN_GDMA_MAP_READ,
            };
        if ( !expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, nr), 0) )
            return false;
        for ( unsigned int i = 0; i < nr; i++ )
            if ( maps[i].status )
                return expect("element", maps[i].status, 0);
        if ( !done )
            first_daddr = maps[0].daddr;
        done += nr;
    }

    return true;
}

/* Ticks of one look-up of @kind among @nr mappings; 0: one failed. */
static uint64_t measure(unsigned int nr, uint16_t kind)
{
    uint64_t start, ticks;
    long rc;

    for ( unsigned int i = 0; i < BATCH; i++ )
    {
        unsigned int nth = (i * STRIDE) % nr;

        lookups[i] = (struct xen_gdma_lookup){
            .context = context.context,
            .kind = kind,
            .addr = kind == XEN_GDMA_LOOKUP_DADDR
                    ? first_daddr + (uint64_t)nth * PAGE_SIZE
                    : gfn_of(nth) << PAGE_SHIFT,
        };
    }

    start = read_ticks();
    rc = gdma_op(XEN_GDMA_OP_LOOKUP, lookups, BATCH);
    ticks = read_ticks() - start;
    if ( !expect("lookup", rc, 0) )
        return 0;

    for ( unsigned int i = 0; i < BATCH; i++ )
    {
        if ( !expect("element", lookups[i].status, 0) )
            return 0;
        if ( (lookups[i].source >> PAGE_SHIFT) !=
             gfn_of((i * STRIDE) % nr) )
        {
            expect_hex("source", lookups[i].source >> PAGE_SHIFT,
                       gfn_of((i * STRIDE) % nr));
            return 0;
        }
    }

    return (ticks - null_ticks) / BATCH;
}

void test_main(void)
{
    static const unsigned int counts[] = { 1000, 100000, MOST };
    uint64_t daddr[ARRAY_SIZE(counts)], gaddr[ARRAY_SIZE(counts)];
    struct xen_gdma_query query;
    unsigned int made = 0;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( gdma_query(&query) || query.max_pins != MILLION )
        return xtf_skip("The quota is not a million pins\n");

    measure_null();
    if ( !expect("create", gdma_context_create(0, &context), 0) )
        return;

    for ( unsigned int i = 0; i < ARRAY_SIZE(counts); i++ )
    {
        step("%u mappings", counts[i]);
        if ( !map_up_to(made, counts[i]) )
            return;
        made = counts[i];

        daddr[i] = measure(made, XEN_GDMA_LOOKUP_DADDR);
        gaddr[i] = measure(made, XEN_GDMA_LOOKUP_GADDR);
        if ( !daddr[i] || !gaddr[i] )
            return;
        printk("LOOKUP mappings=%u daddr=%"PRIu64" gaddr=%"PRIu64"\n", made,
               daddr[i], gaddr[i]);
    }

    step("the number of mappings does not matter");
    for ( unsigned int i = 1; i < ARRAY_SIZE(counts); i++ )
    {
        expect_true("by device address", daddr[i] * 4 <= daddr[0] * 5);
        expect_true("by guest address", gaddr[i] * 4 <= gaddr[0] * 5);
    }

    xtf_success(NULL);
}
