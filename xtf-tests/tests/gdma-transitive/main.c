/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-transitive/main.c
 * @ref test-gdma-transitive
 *
 * @page test-gdma-transitive gdma-transitive
 *
 * Transitive grants pinned for a device.  Two domains and one `edu` device: the
 * second domain, the origin, grants a page to this one, which grants it on, by an
 * entry of version 2, to itself.
 *
 *  1. The device reaches the origin's page; both entries say that they are in
 *     use, and how, until the mapping ends [a pin of one entry only].
 *  2. The origin revokes: the device is stopped, the handle is stale, both
 *     entries are free [a revocation that finds direct uses only].
 *  3. So it is when the domain in the middle revokes.
 *  4. A window has transitive grants too.
 *  5. The origin's read-only entry cannot be pinned for writing through the
 *     middle's.
 *  6. The origin goes when it is destroyed and its page unpinned, in this order.
 *
 * @see tests/gdma-transitive/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/gdma.h>
#include <lab/gnttab-tables.h>
#include <lab/reach.h>
#include <lab/remote.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: transitive grants";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define IN_USE          (GTF_reading | GTF_writing)

/* The origin's references and pages, and those that lead there. */
#define REF             8u
#define REF_READONLY    9u
#define VIA             20u
#define VIA_READONLY    21u
#define PAGE            0u
#define PAGE_READONLY   1u

static struct device device;
static struct xen_gdma_stats start;

static void expect_in_use(unsigned int flags)
{
    expect("in use, in the middle", own_in_use(VIA), flags);
    expect("in use, at the origin", remote_in_use(REF), flags);
}

static bool pin(struct xen_gdma_map *map)
{
    return expect("map", gdma_map_grants(0, VIA, 1, READ_WRITE, map), 0);
}

static void one_mapping(void)
{
    struct xen_gdma_map map, reads;

    step("a device reaches the origin's page");

    if ( !pin(&map) )
        return;
    expect_in_use(IN_USE);
    expect_reaches("the origin's page", &device, map.daddr, remote_page(PAGE));

    expect("map for reading",
           gdma_map_grants(0, VIA, 1, XEN_GDMA_MAP_READ, &reads), 0);
    expect("unmap", gdma_unmap(map.handle), 0);
    expect_in_use(GTF_reading);
    expect("unmap", gdma_unmap(reads.handle), 0);
    expect_in_use(0);
    expect_blocked("unmapped", &device, map.daddr, remote_page(PAGE));
}

static void expect_revoked(const struct xen_gdma_map *map)
{
    expect_blocked("revoked", &device, map->daddr, remote_page(PAGE));
    expect_in_use(0);
    expect("the handle is stale", gdma_unmap(map->handle), -ENOENT);
}

static void revocation(void)
{
    struct xen_gdma_map map;

    step("the origin revokes");

    if ( !pin(&map) )
        return;
    remote_withdraw(REF);
    expect("revoke", remote_revoke(REF), 0);
    expect_revoked(&map);
    expect("map again", gdma_map_grants(0, VIA, 1, READ_WRITE, &map), -EACCES);
    remote_grant(REF, PAGE, 0);

    step("the domain in the middle revokes");

    if ( !pin(&map) )
        return;
    expect("revoke", gdma_revoke(VIA), 0);
    expect_revoked(&map);
}

static void window(void)
{
    struct xen_gdma_window_create create;

    step("a window");

    if ( !expect("create",
                 gdma_window_create(0, XEN_GDMA_MAP_GRANT, 0, VIA, 1,
                                    READ_WRITE, &create), 0) )
        return;
    expect_in_use(IN_USE);
    expect_reaches("the origin's page", &device, create.daddr,
                   remote_page(PAGE));
    expect("revoke", remote_revoke(REF), 0);
    expect_blocked("revoked", &device, create.daddr, remote_page(PAGE));
    expect_in_use(0);
}

static void read_only(void)
{
    struct xen_gdma_map map;

    step("the origin grants for reading only");

    expect("map for writing",
           gdma_map_grants(0, VIA_READONLY, 1, READ_WRITE, &map), -EACCES);
    expect("in use, in the middle", own_in_use(VIA_READONLY), 0);
    expect("in use, at the origin", remote_in_use(REF_READONLY), 0);
    if ( !expect("map for reading",
                 gdma_map_grants(0, VIA_READONLY, 1, XEN_GDMA_MAP_READ, &map),
                 0) )
        return;
    expect_reads("the origin's page", &device, map.daddr,
                 remote_page(PAGE_READONLY));
    expect("unmap", gdma_unmap(map.handle), 0);
}

static void origin_goes(void)
{
    const domid_t origin = remote_domid();
    struct xen_gdma_stats now;
    struct xen_gdma_map map;

    step("the origin is destroyed, then its page unpinned");

    if ( !pin(&map) )
        return;
    remote_end();
    expect("the origin, pinned", gdma_stats(origin, &now), 0);
    expect("unmap", gdma_unmap(map.handle), 0);
    expect("in use, in the middle", own_in_use(VIA), 0);

    /* What is left of it goes when Xen comes round to it. */
    for ( uint64_t from = now_ns(); now_ns() - from < MS(2000); )
        if ( gdma_stats(origin, &now) == -ESRCH )
            break;
    expect("the origin", gdma_stats(origin, &now), -ESRCH);

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &now), 0);
    expect("pinned frames", now.used_pins, start.used_pins);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( gdma_stats(XEN_GDMA_DOMID_SELF, &start) )
        return xtf_failure("BAD no counters\n");
    if ( !remote_start() || !own_table(2) )
        return;
    device.shows = default_daddr(device_shows);

    remote_grant(REF, PAGE, 0);
    remote_grant(REF_READONLY, PAGE_READONLY, GTF_readonly);
    v2_write_transitive(VIA, 0, 0, remote_domid(), REF);
    v2_write_transitive(VIA_READONLY, 0, 0, remote_domid(), REF_READONLY);

    one_mapping();
    revocation();
    window();
    read_only();
    origin_goes();

    xtf_success(NULL);
}
