/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-revoke/main.c
 * @ref test-gdma-revoke
 *
 * @page test-gdma-revoke gdma-revoke
 *
 * A granter takes its page back from another domain's device, whatever that
 * domain does or does not do.  Two domains and one `edu` device: this domain
 * holds, the second one grants and revokes.
 *
 *  1. The granter takes the permission away and revokes: the device is blocked,
 *     the holder's handle is stale, the entry is free, the pin is back [a device
 *     that goes on; a page that stays in use; a handle that frees twice].
 *  2. Nothing to revoke: no mapping is reported.  A reference outside the table,
 *     and padding, are errors.
 *  3. The permission still there, the holder can map anew.
 *  4. Mappings in several contexts, with the device in one of them, all end [a
 *     search of the default context only, or of the first mapping only].
 *  5. A run ends as a whole, its neighbours' entries become free as well, and
 *     other mappings go on [half a run left; the wrong mapping ended].
 *  6. What the holder has unmapped and not flushed is out of reach too [entries
 *     that look free while an IOTLB has them, or that wait for the holder].
 *  7. CPU mappings stay.
 *  8. One bad element does not spoil its neighbours.
 *  9. Nothing is left behind.
 *
 * @see tests/gdma-revoke/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/remote.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: granters revoke";

#define REF             FIRST_FREE_REF
#define REF_OTHER       (FIRST_FREE_REF + 1)
#define REF_RUN         (FIRST_FREE_REF + 8)
#define RUN             4u
/* The granter has mapped one frame of its table; limits are far below this. */
#define REF_BEYOND      0x00ffffffu

/* The granter's pages: 0 to RUN - 1 for the run, and two more. */
#define PAGE            RUN
#define PAGE_OTHER      (RUN + 1)

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define IN_USE          (GTF_reading | GTF_writing)

static uint8_t window[PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_stats start;
static struct xen_gdma_context_create context;
static struct xen_gdma_map shows;

/* Pins and mappings of this domain since the start. */
static void expect_usage(unsigned int pins, unsigned int mappings)
{
    struct xen_gdma_query query;

    expect("query", gdma_query(&query), 0);
    expect("pinned frames", query.used_pins, start.used_pins + pins);
    expect("mappings", query.mappings, mappings);
}

/* Mappings of this domain that granters have revoked. */
static uint64_t revoked(void)
{
    struct xen_gdma_stats stats;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);

    return stats.revoked - start.revoked;
}

static void expect_revoke(const char *what, grant_ref_t ref,
                          unsigned int mappings)
{
    uint64_t before = revoked();

    expect(what, remote_revoke(ref), 0);
    expect("mappings that were ended", revoked() - before, mappings);
}

static bool map_in(uint32_t number, grant_ref_t ref, unsigned int nr,
                   struct xen_gdma_map *map)
{
    return expect("map", gdma_map_grants_in(number, remote_domid(), ref, nr,
                                            READ_WRITE, map), 0);
}

static bool prepare(void)
{
    step("a second domain grants pages to this one");

    if ( !remote_start() )
        return false;
    fact_u64("granter", remote_domid());

    remote_grant(REF, PAGE, 0);
    remote_grant(REF_OTHER, PAGE_OTHER, 0);
    for ( unsigned int i = 0; i < RUN; i++ )
        remote_grant(REF_RUN + i, i, 0);

    return true;
}

static void one_mapping(void)
{
    struct xen_gdma_lookup found;
    struct xen_gdma_map map;

    step("the granter takes the permission away and revokes");

    if ( !map_in(XEN_GDMA_CONTEXT_DEFAULT, REF, 1, &map) )
        return;
    fact_hex("device_address", map.daddr);
    expect_reaches("the granted page", &device, map.daddr, remote_page(PAGE));
    expect("in use", remote_in_use(REF), IN_USE);

    remote_withdraw(REF);
    expect_reaches("without permission, in use", &device, map.daddr,
                   remote_page(PAGE));
    expect_revoke("revoke", REF, 1);

    expect_blocked("after revoke", &device, map.daddr, remote_page(PAGE));
    expect("in use", remote_in_use(REF), 0);
    expect_usage(0, 0);
    expect("revoked", revoked(), 1);
    expect("the handle is stale", gdma_unmap(map.handle), -ENOENT);
    expect("the address is unknown",
           gdma_lookup(XEN_GDMA_LOOKUP_DADDR, map.daddr, &found), -ENOENT);
    expect("map again",
           gdma_map_grants(remote_domid(), REF, 1, READ_WRITE, &map),
           -EACCES);
    expect_usage(0, 0);
}

static void nothing_to_revoke(void)
{
    step("nothing to revoke, and errors");

    expect_revoke("revoke again", REF, 0);
    expect_revoke("an entry that grants and is not used", REF_OTHER, 0);
    expect_revoke("an entry that grants nothing", REF_RUN + RUN, 0);
    expect("a reference outside the table",
           remote_revoke(REF_BEYOND), -ERANGE);
    expect("the highest reference", remote_revoke(~0u), -ERANGE);
    expect("revoked", revoked(), 1);
}

static void permission_left(void)
{
    struct xen_gdma_map map, again;

    step("with the permission still there, the holder maps anew");

    remote_grant(REF, PAGE, 0);
    if ( !map_in(XEN_GDMA_CONTEXT_DEFAULT, REF, 1, &map) )
        return;
    expect_revoke("revoke", REF, 1);
    expect("in use", remote_in_use(REF), 0);
    if ( !map_in(XEN_GDMA_CONTEXT_DEFAULT, REF, 1, &again) )
        return;
    expect_true("another handle", again.handle != map.handle);
    expect("the old one is stale", gdma_unmap(map.handle), -ENOENT);
    expect_reaches("the new mapping", &device, again.daddr,
                   remote_page(PAGE));
    expect("in use", remote_in_use(REF), IN_USE);
    expect("unmap", gdma_unmap(again.handle), 0);
    expect("in use", remote_in_use(REF), 0);
    expect_usage(0, 0);
}

static bool enter_context(void)
{
    if ( !expect("create", gdma_context_create(0, &context), 0) ||
         !expect("map", gdma_map_own_in(context.context,
                                        virt_to_gfn(device_shows), 1,
                                        READ_WRITE, &shows), 0) ||
         !expect("attach", gdma_attach(device.edu.bdf, context.context), 0) )
        return false;
    device.shows = shows.daddr;

    return true;
}

static void leave_context(void)
{
    expect("detach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    device.shows = default_daddr(device_shows);
    expect("destroy", gdma_context_destroy(context.context), 0);
}

static void several_contexts(void)
{
    struct xen_gdma_map by_default, first, second, other;
    uint64_t before = revoked();

    step("mappings in several contexts all end");

    if ( !map_in(XEN_GDMA_CONTEXT_DEFAULT, REF, 1, &by_default) ||
         !enter_context() ||
         !map_in(context.context, REF, 1, &first) ||
         !map_in(context.context, REF, 1, &second) ||
         !map_in(context.context, REF_OTHER, 1, &other) )
        return;
    expect_usage(5, 5);
    expect_reaches("the first in the context", &device, first.daddr,
                   remote_page(PAGE));
    expect_reaches("the second in the context", &device, second.daddr,
                   remote_page(PAGE));

    remote_withdraw(REF);
    expect_revoke("revoke", REF, 3);
    expect("revoked", revoked() - before, 3);
    expect_usage(2, 2);
    expect("in use", remote_in_use(REF), 0);
    expect_blocked("the first in the context", &device, first.daddr,
                   remote_page(PAGE));
    expect_blocked("the second in the context", &device, second.daddr,
                   remote_page(PAGE));
    expect_reaches("another reference", &device, other.daddr,
                   remote_page(PAGE_OTHER));
    expect("in use, the other", remote_in_use(REF_OTHER), IN_USE);
    expect("stale", gdma_unmap(by_default.handle), -ENOENT);
    expect("stale", gdma_unmap_in(context.context, first.handle, 0), -ENOENT);
    expect("stale", gdma_unmap_in(context.context, second.handle, 0),
           -ENOENT);

    expect("unmap the other", gdma_unmap_in(context.context, other.handle, 0),
           0);
    leave_context();
    expect_blocked("the one in the default context", &device,
                   by_default.daddr, remote_page(PAGE));
    remote_grant(REF, PAGE, 0);
    expect_usage(0, 0);
}

static void whole_run(void)
{
    struct xen_gdma_map run, single;
    uint64_t before = revoked();

    step("a run ends as a whole; other mappings go on");

    if ( !enter_context() ||
         !map_in(context.context, REF_RUN, RUN, &run) ||
         !map_in(context.context, REF_RUN, 1, &single) )
        return;
    expect_usage(1 + RUN + 1, 3);
    for ( unsigned int i = 0; i < RUN; i++ )
        expect_reaches("a page of the run", &device,
                       run.daddr + i * PAGE_SIZE, remote_page(i));

    /* In the middle: neither the first nor the last of the run. */
    remote_withdraw(REF_RUN + 2);
    expect_revoke("revoke", REF_RUN + 2, 1);
    expect("revoked", revoked() - before, 1);
    expect_usage(1 + 1, 2);
    for ( unsigned int i = 0; i < RUN; i++ )
    {
        expect("in use", remote_in_use(REF_RUN + i), i ? 0 : IN_USE);
        expect_blocked("a page of the run", &device,
                       run.daddr + i * PAGE_SIZE, remote_page(i));
    }
    expect_reaches("the first page, mapped on its own", &device, single.daddr,
                   remote_page(0));
    expect("stale", gdma_unmap_in(context.context, run.handle, 0), -ENOENT);
    expect("map the run", gdma_map_grants_in(context.context, remote_domid(),
                                             REF_RUN, RUN, READ_WRITE, &run),
           -EACCES);

    expect("unmap", gdma_unmap_in(context.context, single.handle, 0), 0);
    expect("in use", remote_in_use(REF_RUN), 0);
    leave_context();
    expect_usage(0, 0);
}

static void not_flushed(void)
{
    struct xen_gdma_map map;

    step("what the holder has unmapped and not flushed is out of reach");

    if ( !enter_context() || !map_in(context.context, REF, 1, &map) )
        return;
    expect_reaches("the granted page", &device, map.daddr, remote_page(PAGE));
    expect("unmap", gdma_unmap_in(context.context, map.handle,
                                  XEN_GDMA_NO_FLUSH), 0);
    expect("in use", remote_in_use(REF), IN_USE);

    expect_revoke("revoke", REF, 0);
    expect_blocked("after revoke", &device, map.daddr, remote_page(PAGE));
    expect("in use", remote_in_use(REF), 0);
    expect_usage(1, 1);
    leave_context();
}

static void cpu_mappings(void)
{
    struct gnttab_map_grant_ref cpu;
    struct xen_gdma_map map;

    step("CPU mappings stay");

    if ( make_holes(window, 1) )
        return xtf_error("No guest frame for a mapping\n");
    if ( !expect("map for the CPU",
                 gnttab_map(remote_domid(), REF, _u(window), GNTMAP_host_map,
                            &cpu), GNTST_okay) )
        return;
    expect_revoke("only a CPU mapping", REF, 0);
    if ( !map_in(XEN_GDMA_CONTEXT_DEFAULT, REF, 1, &map) )
        return;
    expect_revoke("both", REF, 1);
    expect_blocked("after revoke", &device, map.daddr, remote_page(PAGE));
    expect("in use", remote_in_use(REF), IN_USE);
    fill_pattern(remote_page(PAGE), PAGE_SIZE, 31);
    expect_bytes("the CPU's view", window, remote_page(PAGE), PAGE_SIZE);
    expect("unmap for the CPU", gnttab_unmap(_u(window), cpu.handle),
           GNTST_okay);
    expect("in use", remote_in_use(REF), 0);
    expect_usage(0, 0);
}

static void neighbours(void)
{
    struct xen_gdma_revoke revokes[3] = {
        { .gref = REF }, { .gref = REF_BEYOND }, { .gref = REF_OTHER },
    };
    struct xen_gdma_map map, other;

    step("one bad element does not spoil its neighbours");

    if ( !map_in(XEN_GDMA_CONTEXT_DEFAULT, REF, 1, &map) ||
         !map_in(XEN_GDMA_CONTEXT_DEFAULT, REF_OTHER, 1, &other) )
        return;
    expect("revoke", remote_gdma(XEN_GDMA_OP_REVOKE, revokes,
                                 sizeof(revokes[0]), 3), 0);
    expect("first", revokes[0].status, 0);
    expect("second", revokes[1].status, -ERANGE);
    expect("third", revokes[2].status, 0);
    expect_blocked("the first", &device, map.daddr, remote_page(PAGE));
    expect_blocked("the second", &device, other.daddr,
                   remote_page(PAGE_OTHER));
    expect("in use", remote_in_use(REF), 0);
    expect("in use", remote_in_use(REF_OTHER), 0);
    expect_usage(0, 0);
}

static void nothing_left(void)
{
    step("nothing is left behind");

    expect_all_ended(&start);
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
    if ( gdma_stats(XEN_GDMA_DOMID_SELF, &start) )
        return xtf_failure("BAD no statistics\n");

    if ( !prepare() )
        return;
    one_mapping();
    nothing_to_revoke();
    permission_left();
    several_contexts();
    whole_run();
    not_flushed();
    cpu_mappings();
    neighbours();
    nothing_left();

    xtf_success(NULL);
}
