/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-arguments/main.c
 * @ref test-gnttab-arguments
 *
 * @page test-gnttab-arguments gnttab-arguments
 *
 * Where a call's argument may be, and what becomes of its results there.  Xen
 * may keep the page with the argument while it works; that must make no
 * difference to a domain whose page it is.
 *
 *  1. An argument in two pages: it is read, and its results are written.
 *  2. In a page that another domain granted: the same in a PV guest.  Xen reads
 *     no argument of an HVM guest's there: nothing is done.
 *  3. In such a page, an argument whose call ends the domain's right to it.
 *     Either the result is told, or the call is -EFAULT and the granter's page
 *     is as it was.  (Nothing else may be written to it.)
 *  4. In a page that was granted for reading: nothing is written to it.
 *  5. Arrays in several pages (arrays.c): whole; with a page missing; with one
 *     that is granted.  What is before such a page is done, nothing else.
 *
 * @see tests/gnttab-arguments/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/steps.h>

#include "arguments.h"

const char test_title[] = "Places of arguments";

#define OFFSET          0x340u

static uint8_t two_pages[2][PAGE_SIZE] __page_aligned_bss;
static uint8_t granted[PAGE_SIZE] __page_aligned_bss;
static uint8_t window[PAGE_SIZE] __page_aligned_bss;
static uint8_t before[PAGE_SIZE];

static struct gnttab_map_grant_ref map_of(void *va, grant_ref_t ref)
{
    return (struct gnttab_map_grant_ref){
        .host_addr = _u(va),
        .flags = GNTMAP_host_map,
        .ref = ref,
        .dom = granter_domid(),
        .status = GNTST_NOT_DONE,
        .handle = HANDLE_NONE,
    };
}

static struct gnttab_unmap_grant_ref unmap_of(void *va, grant_handle_t handle)
{
    return (struct gnttab_unmap_grant_ref){
        .host_addr = _u(va),
        .handle = handle,
        .status = GNTST_NOT_DONE,
    };
}

/* Maps the page of arguments.  False after saying why not. */
static bool map_arguments(unsigned int flags, grant_handle_t *handle)
{
    struct gnttab_map_grant_ref map;

    expect("map the page of arguments",
           map_at(granted, ARGUMENT_REF, GNTMAP_host_map | flags, &map), 0);
    *handle = map.handle;

    return expect("status", map.status, GNTST_okay);
}

/* An argument of @len bytes in the granter's page. */
static void put_argument(const void *argument, size_t len)
{
    uint8_t *page = granter_page(ARGUMENT_PAGE);

    fill_pattern(page, PAGE_SIZE, 7);
    memcpy(page + OFFSET, argument, len);
    memcpy(before, page, PAGE_SIZE);
}

static void map_and_unmap_at(void *at)
{
    struct gnttab_map_grant_ref map = map_of(window, OTHER_REF);
    struct gnttab_unmap_grant_ref unmap;

    memcpy(at, &map, sizeof(map));
    expect("map", hypercall_grant_table_op(GNTTABOP_map_grant_ref, at, 1), 0);
    memcpy(&map, at, sizeof(map));
    expect("status", map.status, GNTST_okay);
    expect("in use", entry_in_use(OTHER_REF), GTF_IN_USE);

    unmap = unmap_of(window, map.handle);
    memcpy(at, &unmap, sizeof(unmap));
    expect("unmap", hypercall_grant_table_op(GNTTABOP_unmap_grant_ref, at, 1),
           0);
    memcpy(&unmap, at, sizeof(unmap));
    expect("status", unmap.status, GNTST_okay);
    expect("in use", entry_in_use(OTHER_REF), 0);
}

static void two(void)
{
    step("arguments in two pages, split at every word");

    for ( unsigned int first = 8; first < 32; first += 8 )
        map_and_unmap_at(&two_pages[1][0] - first);
}

/*
 * Unmap with an argument of the granter's page: what the call returned.  @in_use
 * is what the reference it is about is used for afterwards.
 */
static long unmap_from_page(const struct gnttab_unmap_grant_ref *unmap,
                            grant_ref_t ref, unsigned int in_use)
{
    long rc;

    put_argument(unmap, sizeof(*unmap));
    rc = hypercall_grant_table_op(GNTTABOP_unmap_grant_ref, granted + OFFSET,
                                  1);
    expect("in use", entry_in_use(ref), in_use);

    return rc;
}

static void expect_page_as_before(void)
{
    expect_bytes("the granter's page", granter_page(ARGUMENT_PAGE), before,
                 PAGE_SIZE);
}

static void foreign(void)
{
    struct gnttab_map_grant_ref map;
    struct gnttab_unmap_grant_ref unmap;
    grant_handle_t handle;

    step("arguments in a page of the granter's");

    if ( !map_arguments(0, &handle) )
        return;
    if ( READS_GRANTED )
        map_and_unmap_at(granted + OFFSET);
    else
    {
        expect("map", map_at(window, OTHER_REF, GNTMAP_host_map, &map), 0);
        expect("status", map.status, GNTST_okay);
        unmap = unmap_of(window, map.handle);
        expect("unmap", unmap_from_page(&unmap, OTHER_REF, GTF_IN_USE),
               -EFAULT);
        expect_page_as_before();
        expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    }
    expect("unmap", gnttab_unmap(_u(granted), handle), GNTST_okay);
}

static void ends_its_page(void)
{
    struct gnttab_unmap_grant_ref unmap;
    grant_handle_t handle;
    long rc;

    step("an argument that ends the mapping it is in");

    if ( !map_arguments(0, &handle) )
        return;
    unmap = unmap_of(granted, handle);
    rc = unmap_from_page(&unmap, ARGUMENT_REF, READS_GRANTED ? 0 : GTF_IN_USE);
    printk("FACT end=%ld\n", rc);

    if ( rc == 0 && READS_GRANTED )
    {
        unmap.status = GNTST_okay;
        memcpy(before + OFFSET, &unmap, sizeof(unmap));
    }
    else
        expect("unmap", rc, -EFAULT);
    expect_page_as_before();
    if ( !READS_GRANTED )
        expect("unmap", gnttab_unmap(_u(granted), handle), GNTST_okay);
}

static void read_only(void)
{
    struct gnttab_map_grant_ref map;
    struct gnttab_unmap_grant_ref unmap;
    grant_handle_t handle;

    step("an argument in a page granted for reading");

    if ( !map_arguments(GNTMAP_readonly, &handle) )
        return;
    expect("map", map_at(window, OTHER_REF, GNTMAP_host_map, &map), 0);
    expect("status", map.status, GNTST_okay);

    unmap = unmap_of(window, map.handle);
    expect("unmap", unmap_from_page(&unmap, OTHER_REF,
                                    READS_GRANTED ? 0 : GTF_IN_USE), -EFAULT);
    expect_page_as_before();
    if ( !READS_GRANTED )
        expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    expect("unmap", gnttab_unmap(_u(granted), handle), GNTST_okay);
}

void test_main(void)
{
    if ( !granter_begin() || !windows_free(granted, 1) ||
         !windows_free(window, 1) )
        return;
    entry_grant(ARGUMENT_REF, ARGUMENT_PAGE, 0);
    entry_grant(OTHER_REF, OTHER_PAGE, 0);

    two();
    foreign();
    ends_its_page();
    read_only();
    arrays();

    step("nothing is left in use");
    expect_true("withdraw", entry_withdraw(ARGUMENT_REF));
    expect_true("withdraw", entry_withdraw(OTHER_REF));
    granter_end();

    xtf_success(NULL);
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
