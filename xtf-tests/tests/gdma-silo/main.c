/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-silo/main.c
 * @ref test-gdma-silo
 *
 * @page test-gdma-silo gdma-silo
 *
 * Grants between two domains without privilege, pinned for devices: what the
 * access control policy SILO is there to prevent, and what it leaves alone.
 * Three domains.  Without `policy=silo` on the command line the policy is the
 * default one, which lets everything through: so what is refused with SILO is
 * refused by it.
 *
 *  1. One of them grants a page to the other.  With SILO the other may not pin
 *     it, for reading neither, by a mapping or a window [a DMA path around the
 *     hook that CPU mappings have]; nothing is left of it, and the granter sees
 *     no use of its page.
 *  2. The control domain may pin it.
 *  3. What a domain does with its own memory, contexts and counters is nobody
 *     else's affair: no policy refuses it.
 *
 * @see tests/gdma-silo/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/remote.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: pins between domains without privilege";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

enum { GRANTER, HOLDER };

#define REF_HOLDER      8u
#define REF_CONTROL     9u

static domid_t granter;
static int expected;

/* The holder makes a call of one element, which as a whole succeeds. */
#define HOLDER_CALLS(cmd, op)                                           \
    (remote_choose(HOLDER),                                             \
     expect("the call", remote_gdma(cmd, &(op), sizeof(op), 1), 0))

static unsigned int in_use(grant_ref_t ref)
{
    remote_choose(GRANTER);

    return remote_in_use(ref);
}

static void unmap(const struct xen_gdma_map *map)
{
    struct xen_gdma_unmap unmap = { .handle = map->handle };

    HOLDER_CALLS(XEN_GDMA_OP_UNMAP, unmap);
    expect("unmap", unmap.status, 0);
}

static void pin(const char *what, unsigned int flags)
{
    struct xen_gdma_map map = {
        .kind = XEN_GDMA_MAP_GRANT,
        .domid = granter,
        .source = REF_HOLDER,
        .nr_frames = 1,
        .flags = flags,
    };

    HOLDER_CALLS(XEN_GDMA_OP_MAP, map);
    expect(what, map.status, expected);
    expect_true("the granter sees whether its page is used",
                !in_use(REF_HOLDER) == !!map.status);
    if ( !map.status )
        unmap(&map);
}

static void window(void)
{
    struct xen_gdma_window_create create = {
        .kind = XEN_GDMA_MAP_GRANT,
        .domid = granter,
        .source = REF_HOLDER,
        .nr_frames = 1,
        .flags = XEN_GDMA_MAP_READ,
    };
    struct xen_gdma_window_destroy destroy = { .context = 0 };

    HOLDER_CALLS(XEN_GDMA_OP_WINDOW_CREATE, create);
    expect("a window", create.status, expected);
    if ( create.status )
        return;
    destroy.handle = create.handle;
    HOLDER_CALLS(XEN_GDMA_OP_WINDOW_DESTROY, destroy);
    expect("its end", destroy.status, 0);
}

static void between_the_two(void)
{
    struct xen_gdma_stats stats = { .domid = XEN_GDMA_DOMID_SELF };

    step("one domain pins the other one's page");

    pin("for reading", XEN_GDMA_MAP_READ);
    pin("for writing", READ_WRITE);
    window();

    HOLDER_CALLS(XEN_GDMA_OP_STATS, stats);
    expect("stats", stats.status, 0);
    expect("pinned frames", stats.used_pins, 0);
    expect("the granter's page is in use", in_use(REF_HOLDER), 0);
}

static void control_domain(void)
{
    struct xen_gdma_map map;

    step("the control domain pins it");

    expect("map", gdma_map_grants(granter, REF_CONTROL, 1, READ_WRITE, &map),
           0);
    expect("the granter's page is in use", in_use(REF_CONTROL),
           GTF_reading | GTF_writing);
    expect("unmap", gdma_unmap(map.handle), 0);
    expect("the granter's page is in use", in_use(REF_CONTROL), 0);
}

static void own_affairs(void)
{
    struct xen_gdma_context_create create = { .flags = 0 };
    struct xen_gdma_context_destroy destroy = { .status = 0 };
    struct xen_gdma_map map = {
        .kind = XEN_GDMA_MAP_OWN,
        .nr_frames = 1,
        .flags = READ_WRITE,
    };

    step("its own memory and contexts");

    HOLDER_CALLS(XEN_GDMA_OP_CONTEXT_CREATE, create);
    expect("create", create.status, 0);
    map.source = remote_gaddr(0) >> PAGE_SHIFT;
    HOLDER_CALLS(XEN_GDMA_OP_MAP, map);
    expect("map", map.status, 0);
    unmap(&map);
    destroy.context = create.context;
    HOLDER_CALLS(XEN_GDMA_OP_CONTEXT_DESTROY, destroy);
    expect("destroy", destroy.status, 0);
}

static bool prepare(void)
{
    domid_t holder;

    second_domain_behind_iommu();
    remote_choose(HOLDER);
    if ( !remote_start() )
        return false;
    holder = remote_domid();

    remote_choose(GRANTER);
    if ( !remote_start() )
        return false;
    granter = remote_domid();
    remote_grant_to(REF_HOLDER, holder, 0, 0);
    remote_grant(REF_CONTROL, 1, 0);

    return true;
}

void test_main(void)
{
    size_t len;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    expected = argument("policy", &len) ? -EPERM : 0;
    if ( !prepare() )
        return;

    between_the_two();
    control_domain();
    own_affairs();

    remote_choose(GRANTER);
    remote_end();
    remote_choose(HOLDER);
    remote_end();

    xtf_success(NULL);
}
