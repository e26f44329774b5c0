/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-set-limits/main.c
 * @ref test-gdma-set-limits
 *
 * @page test-gdma-set-limits gdma-set-limits
 *
 * The control domain sets limits, its own and another domain's, and counters
 * move by exactly what was done.
 *
 *  1. KEEP changes nothing, and the answer is the limits as they were [values
 *     swapped, KEEP taken for a number].
 *  2. The limit of pinned frames is exact, over all contexts together [a limit
 *     for each context; one too many or too few].
 *  3. A limit below what is used: nothing is lost, nothing new is possible [a
 *     difference that wraps around; a range of addresses that stays small].
 *  4. The limit of contexts is exact, too; none at all is possible.
 *  5. Wrong input has its error and changes nothing.
 *  6. Another domain's limits are its own [the caller's changed instead].
 *  7. Counters: mappings, frames, flushes, failures that count nothing, devices
 *     moved [elements counted for mappings; one flush a page].
 *  8. The other domain has counters of its own.
 *  9. Nothing is left behind.
 *
 * @see tests/gdma-set-limits/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/remote.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: set_limits and stats";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define SELF            XEN_GDMA_DOMID_SELF
#define KEEP            XEN_GDMA_LIMIT_KEEP
#define PINS            5u
#define CONTEXTS        3u
#define BATCH           64u

static uint8_t pages[2 * PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_query start;
static struct xen_gdma_stats counters;  /* When they were last looked at. */

/* Limits by set_limits itself, changing nothing. */
static void expect_limits(domid_t domid, uint32_t pins, uint32_t contexts)
{
    struct xen_gdma_set_limits set;

    expect("keep both", gdma_set_limits(domid, KEEP, KEEP, &set), 0);
    expect("limit of pinned frames", set.max_pins, pins);
    expect("limit of contexts", set.max_contexts, contexts);
}

/* Set and check the answer, which is the limits before. */
static void set_limits(domid_t domid, uint32_t pins, uint32_t contexts,
                       uint32_t old_pins, uint32_t old_contexts)
{
    struct xen_gdma_set_limits set;

    expect("set_limits", gdma_set_limits(domid, pins, contexts, &set), 0);
    expect("pinned frames before", set.max_pins, old_pins);
    expect("contexts before", set.max_contexts, old_contexts);
}

static void keep(void)
{
    struct xen_gdma_query now;

    step("KEEP changes nothing");

    fact_u64("max_pins", start.max_pins);
    fact_u64("max_contexts", start.max_contexts);
    expect_limits(SELF, start.max_pins, start.max_contexts);
    expect_limits(own_domid(), start.max_pins, start.max_contexts);
    expect("query", gdma_query(&now), 0);
    expect("limit of pinned frames", now.max_pins, start.max_pins);
    expect("limit of contexts", now.max_contexts, start.max_contexts);

    step("one of the two changes");
    set_limits(SELF, PINS, KEEP, start.max_pins, start.max_contexts);
    set_limits(SELF, KEEP, CONTEXTS, PINS, start.max_contexts);
    expect("query", gdma_query(&now), 0);
    expect("limit of pinned frames", now.max_pins, PINS);
    expect("limit of contexts", now.max_contexts, CONTEXTS);
    set_limits(SELF, start.max_pins, start.max_contexts, PINS, CONTEXTS);
}

static int map_in(uint32_t context, unsigned int nr, struct xen_gdma_map *map)
{
    return gdma_map_own_in(context, virt_to_gfn(pages), nr, READ_WRITE, map);
}

static void pins(void)
{
    struct xen_gdma_context_create contexts[2];
    struct xen_gdma_map maps[PINS], more;
    struct xen_gdma_query now;
    unsigned int i;

    step("%u frames in three contexts, not one more", PINS);

    set_limits(SELF, PINS, KEEP, start.max_pins, start.max_contexts);
    expect("create", gdma_context_create(0, &contexts[0]), 0);
    expect("create", gdma_context_create(0, &contexts[1]), 0);
    for ( i = 0; i < PINS; i++ )
        expect("map", map_in(i % 3 == 2 ? XEN_GDMA_CONTEXT_DEFAULT
                                        : contexts[i % 3].context, 1,
                             &maps[i]), 0);
    expect("one more", map_in(contexts[0].context, 1, &more), -ENOBUFS);
    expect("in the other context", map_in(contexts[1].context, 1, &more),
           -ENOBUFS);
    expect("in the default context",
           map_in(XEN_GDMA_CONTEXT_DEFAULT, 1, &more), -ENOBUFS);

    expect("unmap", gdma_unmap_in(maps[0].context, maps[0].handle, 0), 0);
    expect("two where there is room for one",
           map_in(contexts[1].context, 2, &more), -ENOBUFS);
    expect("one", map_in(contexts[1].context, 1, &maps[0]), 0);
    expect("one more", map_in(contexts[0].context, 1, &more), -ENOBUFS);

    step("a limit below what is used");
    set_limits(SELF, PINS - 2, KEEP, PINS, start.max_contexts);
    expect("map", map_in(contexts[0].context, 1, &more), -ENOBUFS);
    for ( i = 0; i < PINS; i++ )
    {
        struct xen_gdma_lookup found;

        expect("every mapping is there",
               gdma_lookup_in(maps[i].context, XEN_GDMA_LOOKUP_DADDR,
                              maps[i].daddr, &found), 0);
        expect_hex("and is the same", found.handle, maps[i].handle);
    }
    for ( i = 0; i < 2; i++ )
    {
        expect("unmap", gdma_unmap_in(maps[i].context, maps[i].handle, 0), 0);
        expect("map", map_in(contexts[0].context, 1, &more), -ENOBUFS);
    }
    expect("unmap", gdma_unmap_in(maps[2].context, maps[2].handle, 0), 0);
    expect("map", map_in(contexts[0].context, 1, &maps[2]), 0);

    step("no frame at all");
    set_limits(SELF, 0, KEEP, PINS - 2, start.max_contexts);
    expect("unmap", gdma_unmap_in(maps[2].context, maps[2].handle, 0), 0);
    expect("map", map_in(contexts[0].context, 1, &more), -ENOBUFS);

    step("limits as before, and the default context's range is what it was");
    set_limits(SELF, start.max_pins, KEEP, 0, start.max_contexts);
    expect("query", gdma_query(&now), 0);
    expect_hex("daddr_first", now.daddr_first, start.daddr_first);
    expect_hex("daddr_last", now.daddr_last, start.daddr_last);
    /* What is left is in the contexts and goes with them. */
    expect("destroy", gdma_context_destroy(contexts[0].context), 0);
    expect("destroy", gdma_context_destroy(contexts[1].context), 0);
}

static void contexts(void)
{
    struct xen_gdma_context_create made[CONTEXTS], more;
    struct xen_gdma_map map;

    step("%u contexts, not one more", CONTEXTS);

    set_limits(SELF, KEEP, CONTEXTS, start.max_pins, start.max_contexts);
    for ( unsigned int i = 0; i < CONTEXTS; i++ )
        expect("create", gdma_context_create(0, &made[i]), 0);
    expect("one more", gdma_context_create(0, &more), -ENOBUFS);
    expect("destroy", gdma_context_destroy(made[1].context), 0);
    expect("one again", gdma_context_create(0, &made[1]), 0);
    expect("and not two", gdma_context_create(0, &more), -ENOBUFS);

    step("a limit below what is used");
    set_limits(SELF, KEEP, 1, start.max_pins, CONTEXTS);
    expect("create", gdma_context_create(0, &more), -ENOBUFS);
    for ( unsigned int i = 0; i < CONTEXTS; i++ )
    {
        expect("every context works", map_in(made[i].context, 1, &map), 0);
        expect("unmap", gdma_unmap_in(map.context, map.handle, 0), 0);
        expect("destroy", gdma_context_destroy(made[i].context), 0);
        expect("create", gdma_context_create(0, &more),
               i < CONTEXTS - 1 ? -ENOBUFS : 0);
    }
    expect("destroy", gdma_context_destroy(more.context), 0);

    step("no context at all");
    set_limits(SELF, KEEP, 0, start.max_pins, 1);
    expect("create", gdma_context_create(0, &more), -ENOBUFS);
    set_limits(SELF, KEEP, start.max_contexts, start.max_pins, 0);
}

static void bad_input(void)
{
    struct xen_gdma_set_limits sets[3] = {
        { .domid = SELF, .max_pins = 1, .max_contexts = 1, .pad0 = 1 },
        { .domid = DOMID_ABSENT, .max_pins = 1, .max_contexts = 1 },
        { .domid = SELF, .max_pins = 1, .max_contexts = 0xfffffffeu },
    };
    struct xen_gdma_stats stats[2] = {
        { .domid = SELF, .pad0 = 1 },
        { .domid = DOMID_ABSENT },
    };

    step("wrong input");

    expect("set_limits", gdma_op(XEN_GDMA_OP_SET_LIMITS, sets, 3), 0);
    expect("padding", sets[0].status, -EINVAL);
    expect("no such domain", sets[1].status, -ESRCH);
    expect("more contexts than there are numbers", sets[2].status, -EINVAL);
    expect("stats", gdma_op(XEN_GDMA_OP_STATS, stats, 2), 0);
    expect("padding", stats[0].status, -EINVAL);
    expect("no such domain", stats[1].status, -ESRCH);

    expect_limits(SELF, start.max_pins, start.max_contexts);
}

static void other_domain(void)
{
    struct xen_gdma_query query = { .domid = SELF };
    struct xen_gdma_set_limits set;

    step("another domain's limits");

    expect("keep both", gdma_set_limits(remote_domid(), KEEP, KEEP, &set), 0);
    fact_u64("others_max_pins", set.max_pins);
    fact_u64("others_max_contexts", set.max_contexts);
    set_limits(remote_domid(), PINS, CONTEXTS, set.max_pins,
               set.max_contexts);
    expect_limits(remote_domid(), PINS, CONTEXTS);
    expect_limits(SELF, start.max_pins, start.max_contexts);

    expect("its query", remote_gdma(XEN_GDMA_OP_QUERY, &query, sizeof(query),
                                    1), 0);
    expect("its query", query.status, 0);
    expect("its limit, as it sees it", query.max_pins, PINS);
}

/* Counters of this domain since the last look. */
static struct xen_gdma_stats moved(void)
{
    struct xen_gdma_stats now, diff;

    expect("stats", gdma_stats(SELF, &now), 0);
    diff = (struct xen_gdma_stats){
        .maps = now.maps - counters.maps,
        .mapped_frames = now.mapped_frames - counters.mapped_frames,
        .unmaps = now.unmaps - counters.unmaps,
        .unmapped_frames = now.unmapped_frames - counters.unmapped_frames,
        .flushes = now.flushes - counters.flushes,
        .failed_flushes = now.failed_flushes - counters.failed_flushes,
        .revoked = now.revoked - counters.revoked,
        .attaches = now.attaches - counters.attaches,
    };
    counters = now;

    return diff;
}

static void expect_moved(const char *what, const struct xen_gdma_stats *wanted)
{
    struct xen_gdma_stats diff = moved();

    printk("Counters: %s\n", what);
    expect("maps", diff.maps, wanted->maps);
    expect("mapped_frames", diff.mapped_frames, wanted->mapped_frames);
    expect("unmaps", diff.unmaps, wanted->unmaps);
    expect("unmapped_frames", diff.unmapped_frames, wanted->unmapped_frames);
    expect("flushes", diff.flushes, wanted->flushes);
    expect("failed_flushes", diff.failed_flushes, 0);
    expect("revoked", diff.revoked, wanted->revoked);
    expect("attaches", diff.attaches, wanted->attaches);
}

#define EXPECT_MOVED(what, ...) \
    expect_moved(what, &(struct xen_gdma_stats){ __VA_ARGS__ })

static void count_mappings(uint32_t context)
{
    static struct xen_gdma_map maps[BATCH];
    static struct xen_gdma_unmap unmaps[BATCH];
    struct xen_gdma_stats diff;
    unsigned int bad = 0;

    step("counters of mappings, frames and flushes");

    (void)moved();
    expect("map", map_in(context, 2, &maps[0]), 0);
    EXPECT_MOVED("a mapping of two frames", .maps = 1, .mapped_frames = 2);
    expect("unmap", gdma_unmap_in(context, maps[0].handle, 0), 0);
    EXPECT_MOVED("its unmap", .unmaps = 1, .unmapped_frames = 2, .flushes = 1);

    expect("unmap again", gdma_unmap_in(context, maps[0].handle, 0), -ENOENT);
    expect("too many frames", map_in(context, XEN_GDMA_MAX_FRAMES + 1,
                                     &maps[0]), -EINVAL);
    EXPECT_MOVED("failures", .maps = 0);

    for ( unsigned int i = 0; i < BATCH; i++ )
        maps[i] = (struct xen_gdma_map){
            .context = context,
            .kind = XEN_GDMA_MAP_OWN,
            .source = virt_to_gfn(pages),
            .nr_frames = 1 + i % 2,
            .flags = READ_WRITE,
        };
    expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, BATCH), 0);
    for ( unsigned int i = 0; i < BATCH; i++ )
        bad += maps[i].status != 0;
    expect("mappings that failed", bad, 0);
    EXPECT_MOVED("a batch of mappings", .maps = BATCH,
                 .mapped_frames = BATCH + BATCH / 2);
    for ( unsigned int i = 0; i < BATCH; i++ )
        unmaps[i] = (struct xen_gdma_unmap){
            .context = context,
            .handle = maps[i].handle,
        };
    expect("unmap", gdma_op(XEN_GDMA_OP_UNMAP, unmaps, BATCH), 0);
    diff = moved();
    expect("unmaps", diff.unmaps, BATCH);
    expect("unmapped_frames", diff.unmapped_frames, BATCH + BATCH / 2);
    /* One, and one more whenever an interrupt made Xen continue the call. */
    fact_u64("flushes_of_a_batch", diff.flushes);
    expect_true("one flush for many elements",
                diff.flushes >= 1 && diff.flushes < BATCH / 8);

    /* With a neighbour, no table of the IOMMU becomes empty and is freed. */
    expect("map", map_in(context, 1, &maps[1]), 0);
    expect("map", map_in(context, 2, &maps[0]), 0);
    expect("unmap", gdma_unmap_in(context, maps[0].handle, XEN_GDMA_NO_FLUSH),
           0);
    EXPECT_MOVED("without a flush", .maps = 2, .mapped_frames = 3, .unmaps = 1,
                 .unmapped_frames = 2);
    expect("used_pins", counters.used_pins, start.used_pins + 3);
    expect("flush", gdma_flush(context), 0);
    expect("flush", gdma_flush(context), 0);
    EXPECT_MOVED("two flushes, one with nothing to do", .flushes = 1);
    expect("unmap", gdma_unmap_in(context, maps[1].handle, 0), 0);
    EXPECT_MOVED("the neighbour", .unmaps = 1, .unmapped_frames = 1,
                 .flushes = 1);

    expect("a revoke of nothing", gdma_revoke(FIRST_FREE_REF), 0);
    EXPECT_MOVED("a revoke of nothing", .revoked = 0);
}

static void count_contexts(void)
{
    struct xen_gdma_context_create context;
    struct xen_gdma_map map;
    const pci_bdf_t bdf = device.edu.bdf;

    step("counters of contexts and devices");

    expect("used_contexts", counters.used_contexts, 0);
    expect("create", gdma_context_create(0, &context), 0);
    expect("map", map_in(context.context, 2, &map), 0);
    EXPECT_MOVED("a context with a mapping", .maps = 1, .mapped_frames = 2);
    expect("used_contexts", counters.used_contexts, 1);

    expect("attach", gdma_attach(bdf, context.context), 0);
    EXPECT_MOVED("a device moved", .attaches = 1);
    expect("attach again", gdma_attach(bdf, context.context), 0);
    EXPECT_MOVED("a device that is there already", .attaches = 0);
    expect("destroy", gdma_context_destroy(context.context), -EBUSY);
    expect("attach to nothing", gdma_attach(bdf, 0x7777), -ENOENT);
    EXPECT_MOVED("failures", .attaches = 0);
    expect("back", gdma_attach(bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    EXPECT_MOVED("back again", .attaches = 1);

    expect("destroy", gdma_context_destroy(context.context), 0);
    EXPECT_MOVED("the end of a context", .unmaps = 1, .unmapped_frames = 2,
                 .flushes = 1);
    expect("used_contexts", counters.used_contexts, 0);
    expect("used_pins", counters.used_pins, start.used_pins);

    count_mappings(XEN_GDMA_CONTEXT_DEFAULT);
    expect("create", gdma_context_create(0, &context), 0);
    count_mappings(context.context);
    expect("destroy", gdma_context_destroy(context.context), 0);
    EXPECT_MOVED("the end of an empty context", .unmaps = 0);
}

static void others_counters(void)
{
    struct xen_gdma_stats stats;

    step("the other domain has counters of its own");

    expect("stats", gdma_stats(remote_domid(), &stats), 0);
    expect("maps", stats.maps, 0);
    expect("mapped_frames", stats.mapped_frames, 0);
    expect("unmaps", stats.unmaps, 0);
    expect("unmapped_frames", stats.unmapped_frames, 0);
    expect("flushes", stats.flushes, 0);
    expect("failed_flushes", stats.failed_flushes, 0);
    expect("revoked", stats.revoked, 0);
    expect("attaches", stats.attaches, 0);
    expect("used_pins", stats.used_pins, 0);
    expect("used_contexts", stats.used_contexts, 0);
}

static void nothing_left(void)
{
    struct xen_gdma_query now;

    step("nothing is left behind");

    expect("query", gdma_query(&now), 0);
    expect("pinned frames", now.used_pins, start.used_pins);
    expect("mappings", now.mappings, start.mappings);
    expect("stats", gdma_stats(SELF, &counters), 0);
    expect("contexts", counters.used_contexts, 0);
    expect_limits(SELF, start.max_pins, start.max_contexts);
    remote_end();
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_usable() || !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( gdma_query(&start) || xtf_init_grant_table(1) )
        return xtf_error("No answer from the service, or no grant table\n");
    if ( start.max_contexts < CONTEXTS || start.max_pins < BATCH * 2 )
        return xtf_skip("This test needs ordinary limits\n");
    if ( !remote_start() )
        return;

    keep();
    pins();
    contexts();
    bad_input();
    other_domain();
    expect("stats", gdma_stats(SELF, &counters), 0);
    count_contexts();
    others_counters();
    nothing_left();

    xtf_success(NULL);
}
