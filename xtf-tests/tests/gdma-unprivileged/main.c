/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-unprivileged/main.c
 * @ref test-gdma-unprivileged
 *
 * @page test-gdma-unprivileged gdma-unprivileged
 *
 * A domain without privilege and without devices has the grant-DMA hypercall,
 * and gets nowhere with it: not to other domains' limits, counters, contexts,
 * devices and memory.  Two domains and one `edu` device.
 *
 *  1. It may not set limits, its own included, and may read its own counters
 *     only [a missing access control hook].
 *  2. Without devices behind an IOMMU it has no contexts.
 *  3. The first domain's contexts are no contexts to it [numbers of one table
 *     for all domains].
 *  4. It cannot move the first domain's device [an owner that is not checked].
 *  5. The first domain cannot map a frame of the other one as its own [the owner
 *     of a page not checked for the domain that owns the machine].
 *  6. Nothing of this changed anything for the first domain.
 *
 * @see tests/gdma-unprivileged/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/remote.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: a domain without privilege";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define SELF            XEN_GDMA_DOMID_SELF

static uint8_t page[PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_stats start;
static struct xen_gdma_query limits;
static struct xen_gdma_context_create context;
static struct xen_gdma_map shows, mapped;

/* The other domain makes a call of one element, which as a whole succeeds. */
#define REMOTE(cmd, op)                                                 \
    expect("the call", remote_gdma(cmd, &(op), sizeof(op), 1), 0)

static void expect_unchanged(void)
{
    struct xen_gdma_query_device where;
    struct xen_gdma_stats now;
    struct xen_gdma_query query;

    expect("stats", gdma_stats(SELF, &now), 0);
    expect("pinned frames", now.used_pins, start.used_pins + 2);
    expect("contexts", now.used_contexts, 1);
    expect("devices moved", now.attaches - start.attaches, 1);
    expect("query", gdma_query(&query), 0);
    expect("limit of pinned frames", query.max_pins, limits.max_pins);
    expect("limit of contexts", query.max_contexts, limits.max_contexts);
    expect("query_device", gdma_query_device(device.edu.bdf, &where), 0);
    expect("the device's context", where.context, context.context);
    expect_reaches("the device goes on", &device, mapped.daddr, page);
}

static bool prepare(void)
{
    if ( !remote_start() )
        return false;
    if ( gdma_stats(SELF, &start) || gdma_query(&limits) ||
         gdma_context_create(0, &context) ||
         gdma_map_own_in(context.context, virt_to_gfn(device_shows), 1,
                         READ_WRITE, &shows) ||
         gdma_map_own_in(context.context, virt_to_gfn(page), 1, READ_WRITE,
                         &mapped) ||
         gdma_attach(device.edu.bdf, context.context) )
    {
        xtf_failure("BAD no context with a device\n");
        return false;
    }
    device.shows = shows.daddr;

    return true;
}

static int remote_limits(domid_t domid, uint32_t pins, uint32_t contexts)
{
    struct xen_gdma_set_limits set = {
        .domid = domid, .max_pins = pins, .max_contexts = contexts,
    };

    REMOTE(XEN_GDMA_OP_SET_LIMITS, set);

    return set.status;
}

static int remote_stats(domid_t domid)
{
    struct xen_gdma_stats stats = { .domid = domid };

    REMOTE(XEN_GDMA_OP_STATS, stats);

    return stats.status;
}

static void control(void)
{
    const domid_t other = remote_domid();
    struct xen_gdma_set_limits before, after;

    step("limits and counters");

    expect("limits", gdma_set_limits(other, XEN_GDMA_LIMIT_KEEP,
                                     XEN_GDMA_LIMIT_KEEP, &before), 0);
    expect("the first domain's limits", remote_limits(0, 1, 1), -EPERM);
    expect("the first domain's limits, unchanged",
           remote_limits(0, XEN_GDMA_LIMIT_KEEP, XEN_GDMA_LIMIT_KEEP),
           -EPERM);
    expect("its own limits", remote_limits(SELF, 1u << 30, 1000), -EPERM);
    expect("its own limits, by its id", remote_limits(other, 1u << 30, 1000),
           -EPERM);
    expect("limits", gdma_set_limits(other, XEN_GDMA_LIMIT_KEEP,
                                     XEN_GDMA_LIMIT_KEEP, &after), 0);
    expect("its limit of pinned frames", after.max_pins, before.max_pins);
    expect("its limit of contexts", after.max_contexts, before.max_contexts);

    expect("the first domain's counters", remote_stats(0), -EPERM);
    expect("its own counters", remote_stats(SELF), 0);
    expect("its own counters, by its id", remote_stats(other), 0);
}

static void no_contexts(void)
{
    struct xen_gdma_query query = { .domid = SELF };
    struct xen_gdma_context_create create = { .flags = 0 };

    step("it has no contexts");

    REMOTE(XEN_GDMA_OP_QUERY, query);
    expect("query", query.status, 0);
    expect("capability of contexts",
           query.capabilities & XEN_GDMA_CAP_CONTEXTS, 0);
    expect("limit of contexts", query.max_contexts, 0);
    REMOTE(XEN_GDMA_OP_CONTEXT_CREATE, create);
    expect("create", create.status, -EOPNOTSUPP);
    create = (struct xen_gdma_context_create){ .pad0 = 1 };
    REMOTE(XEN_GDMA_OP_CONTEXT_CREATE, create);
    expect("create, padding", create.status, -EINVAL);
}

static void others_contexts(void)
{
    const uint32_t number = context.context;
    struct xen_gdma_context_destroy destroy = { .context = number };
    struct xen_gdma_flush flush = { .context = number };
    struct xen_gdma_map map = {
        .context = number,
        .kind = XEN_GDMA_MAP_OWN,
        .source = virt_to_gfn(page),
        .nr_frames = 1,
        .flags = READ_WRITE,
    };
    struct xen_gdma_unmap unmap = {
        .context = number,
        .handle = mapped.handle,
    };
    struct xen_gdma_lookup lookup = {
        .context = number,
        .kind = XEN_GDMA_LOOKUP_DADDR,
        .addr = mapped.daddr,
    };

    step("the first domain's contexts are none to it");

    REMOTE(XEN_GDMA_OP_CONTEXT_DESTROY, destroy);
    expect("destroy", destroy.status, -ENOENT);
    REMOTE(XEN_GDMA_OP_FLUSH, flush);
    expect("flush", flush.status, -ENOENT);
    REMOTE(XEN_GDMA_OP_MAP, map);
    expect("map", map.status, -ENOENT);
    REMOTE(XEN_GDMA_OP_UNMAP, unmap);
    expect("unmap", unmap.status, -ENOENT);
    REMOTE(XEN_GDMA_OP_LOOKUP, lookup);
    expect("lookup", lookup.status, -ENOENT);
}

static void others_device(void)
{
    struct xen_gdma_device_attach attach = {
        .kind = XEN_GDMA_DEVICE_PCI,
        .id = device.edu.bdf,
        .context = XEN_GDMA_CONTEXT_DEFAULT,
    };
    struct xen_gdma_query_device query = {
        .kind = XEN_GDMA_DEVICE_PCI,
        .id = device.edu.bdf,
    };

    step("it cannot move the first domain's device");

    REMOTE(XEN_GDMA_OP_DEVICE_ATTACH, attach);
    expect("attach", attach.status, -ENODEV);
    REMOTE(XEN_GDMA_OP_QUERY_DEVICE, query);
    expect("query_device", query.status, -ENODEV);
}

static void others_frames(void)
{
    struct xen_gdma_map map;

    step("a frame of the other domain is no frame of one's own");

    /* Its page is in this domain's address space, as a foreign one. */
    expect("map", gdma_map_own_in(context.context,
                                  virt_to_gfn(remote_page(0)), 1, READ_WRITE,
                                  &map), -EFAULT);
    expect("map for reading",
           gdma_map_own_in(context.context, virt_to_gfn(remote_page(0)), 1,
                           XEN_GDMA_MAP_READ, &map), -EFAULT);
}

static void nothing_left(void)
{
    struct xen_gdma_stats now;

    step("nothing is left behind");

    expect("detach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    expect("destroy", gdma_context_destroy(context.context), 0);
    expect("stats", gdma_stats(SELF, &now), 0);
    expect("pinned frames", now.used_pins, start.used_pins);
    expect("contexts", now.used_contexts, start.used_contexts);
    remote_end();
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( !prepare() )
        return;

    expect_unchanged();
    control();
    no_contexts();
    others_contexts();
    others_device();
    others_frames();
    expect_unchanged();
    nothing_left();

    xtf_success(NULL);
}
