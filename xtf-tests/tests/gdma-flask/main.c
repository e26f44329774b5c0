/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-flask/main.c
 * @ref test-gdma-flask
 *
 * @page test-gdma-flask gdma-flask
 *
 * The service under a FLASK policy in enforcing mode.  Two domains, labelled
 * dom0_t and domU_t, and one `edu` device.  The policy gives the permissions of
 * the service; or, as `policy=restricted` on the command line says, none of
 * them, and lets dom0_t map grants of domU_t for reading only.
 *
 *  1. A context, and a device moved to it: as without FLASK; or refused, and the
 *     device stays.
 *  2. Limits of this domain and of the other one: the same.
 *  3. Pins of the other domain's grants follow what the policy says about
 *     mapping them: for reading in both, for writing only if it allows that
 *     [a DMA path around the hook that CPU mappings have].
 *  4. The other domain has contexts if the policy says so, and never a way to
 *     limits or to this domain's counters.
 *  5. Nothing is left behind.
 *
 * @see tests/gdma-flask/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/remote.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: FLASK";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define KEEP            XEN_GDMA_LIMIT_KEEP
#define SELF            XEN_GDMA_DOMID_SELF

#define REF             8u

static uint8_t page[PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_query limits;

/* What the permissions of the service are answered with; and writable pins. */
static int answer;

/* The other domain makes a call of one element, which as a whole succeeds. */
#define REMOTE(cmd, op)                                                 \
    expect("the call", remote_gdma(cmd, &(op), sizeof(op), 1), 0)

static uint32_t context_of_device(void)
{
    struct xen_gdma_query_device where;

    expect("query_device", gdma_query_device(device.edu.bdf, &where), 0);

    return where.context;
}

static void use_context(uint32_t context)
{
    struct xen_gdma_map shows, mapped;

    if ( !expect("map", gdma_map_own_in(context, virt_to_gfn(device_shows), 1,
                                        READ_WRITE, &shows), 0) ||
         !expect("map", gdma_map_own_in(context, virt_to_gfn(page), 1,
                                        READ_WRITE, &mapped), 0) )
        return;

    expect("attach", gdma_attach(device.edu.bdf, context), 0);
    expect("the device's context", context_of_device(), context);
    device.shows = shows.daddr;
    expect_reaches("this domain's page", &device, mapped.daddr, page);
    expect("detach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    device.shows = default_daddr(device_shows);
}

static void contexts(void)
{
    struct xen_gdma_context_create create;
    struct xen_gdma_context_create copy = { .flags = XEN_GDMA_CONTEXT_MIRROR };

    step("contexts and devices");

    if ( expect("create", gdma_context_create(0, &create), answer) && !answer )
    {
        use_context(create.context);
        expect("destroy", gdma_context_destroy(create.context), 0);
    }
    expect("create a copy, the call",
           gdma_op(XEN_GDMA_OP_CONTEXT_CREATE, &copy, 1), 0);
    expect("create a copy", copy.status, answer);
    if ( !copy.status )
        expect("destroy", gdma_context_destroy(copy.context), 0);

    expect("destroy what is not there", gdma_context_destroy(999),
           answer ?: -ENOENT);
    expect("attach to the default context",
           gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), answer);
    expect("the device's context", context_of_device(),
           XEN_GDMA_CONTEXT_DEFAULT);
}

static void set_limits(const char *whose, domid_t domid)
{
    struct xen_gdma_set_limits set;

    expect(whose, gdma_set_limits(domid, KEEP, KEEP, &set), answer);
    if ( answer )
        expect(whose, gdma_set_limits(domid, 1, 1, &set), answer);
}

static void all_limits(void)
{
    struct xen_gdma_query query;

    step("limits");

    set_limits("its own limits", SELF);
    set_limits("its own limits, by its id", 0);
    set_limits("the other domain's limits", remote_domid());
    expect("query", gdma_query(&query), 0);
    expect("limit of pinned frames", query.max_pins, limits.max_pins);
    expect("limit of contexts", query.max_contexts, limits.max_contexts);
}

static void pins(void)
{
    struct xen_gdma_window_create window;
    struct xen_gdma_map map;

    step("pins of the other domain's grants");

    remote_grant(REF, 0, 0);
    if ( expect("map for reading",
                gdma_map_grants(remote_domid(), REF, 1, XEN_GDMA_MAP_READ,
                                &map), 0) )
    {
        expect_reads("the other domain's page", &device, map.daddr,
                     remote_page(0));
        expect("in use", remote_in_use(REF), GTF_reading);
        expect("unmap", gdma_unmap(map.handle), 0);
    }

    expect("map for writing",
           gdma_map_grants(remote_domid(), REF, 1, READ_WRITE, &map), answer);
    if ( !map.status )
    {
        expect_reaches("the other domain's page", &device, map.daddr,
                       remote_page(0));
        expect("unmap", gdma_unmap(map.handle), 0);
    }
    expect("window for writing",
           gdma_window_create(0, XEN_GDMA_MAP_GRANT, remote_domid(), REF, 1,
                              READ_WRITE, &window), answer);
    if ( !window.status )
        expect("its end", gdma_window_destroy(0, window.handle), 0);
    expect("in use", remote_in_use(REF), 0);
}

static void other_domain(void)
{
    struct xen_gdma_context_create create = { .flags = 0 };
    struct xen_gdma_set_limits set = {
        .domid = SELF, .max_pins = KEEP, .max_contexts = KEEP,
    };
    struct xen_gdma_stats stats = { .domid = SELF };

    step("the other domain");

    REMOTE(XEN_GDMA_OP_CONTEXT_CREATE, create);
    expect("create", create.status, answer);

    REMOTE(XEN_GDMA_OP_SET_LIMITS, set);
    expect("its own limits", set.status, -EPERM);
    set.domid = 0;
    REMOTE(XEN_GDMA_OP_SET_LIMITS, set);
    expect("this domain's limits", set.status, -EPERM);

    REMOTE(XEN_GDMA_OP_STATS, stats);
    expect("its own counters", stats.status, 0);
    stats = (struct xen_gdma_stats){ .domid = 0 };
    REMOTE(XEN_GDMA_OP_STATS, stats);
    expect("this domain's counters", stats.status, -EPERM);
    expect("its counters, asked from here",
           gdma_stats(remote_domid(), &stats), answer);
}

static void nothing_left(const struct xen_gdma_stats *start)
{
    struct xen_gdma_stats now;

    step("nothing is left behind");

    remote_end();
    expect("stats", gdma_stats(SELF, &now), 0);
    expect("pinned frames", now.used_pins, start->used_pins);
    expect("contexts", now.used_contexts, start->used_contexts);
}

void test_main(void)
{
    struct xen_gdma_stats start;
    size_t len;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( gdma_stats(SELF, &start) || gdma_query(&limits) )
        return xtf_failure("BAD neither counters nor limits\n");
    device.shows = default_daddr(device_shows);
    answer = argument("policy", &len) ? -EPERM : 0;

    second_domain_behind_iommu();
    if ( !remote_start() )
        return;

    contexts();
    all_limits();
    pins();
    other_domain();
    nothing_left(&start);

    xtf_success(NULL);
}
