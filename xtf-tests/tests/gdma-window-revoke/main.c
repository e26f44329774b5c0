/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-window-revoke/main.c
 * @ref test-gdma-window-revoke
 *
 * @page test-gdma-window-revoke gdma-window-revoke
 *
 * A persistent set of another domain's grants as a window of the default
 * context, and own memory as another; the granter takes one reference back.
 *
 *  1. The device reaches every granted page, and all entries are in use.
 *  2. A window of own memory in the default context, beside it.
 *  3. The granter revokes one reference in the middle: the device reaches none
 *     of that window, all its entries are free, the handle is stale [only one
 *     page taken back; pins that wait for the holder].  The other goes on.
 *  4. Without the permission there is no new window, and with it there is.
 *  5. The granter dies while its window exists; the holder ends it.
 *
 * @see tests/gdma-window-revoke/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/remote.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: windows of another domain's grants";

#define REF             FIRST_FREE_REF
#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define IN_USE          (GTF_reading | GTF_writing)
#define MIDDLE          2u
#define OWN_PAGES       24u

static uint8_t own[OWN_PAGES * PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_stats start;

static int grants(struct xen_gdma_window_create *window)
{
    return gdma_window_create(XEN_GDMA_CONTEXT_DEFAULT, XEN_GDMA_MAP_GRANT,
                              remote_domid(), REF, REMOTE_PAGES, READ_WRITE,
                              window);
}

static void expect_usage(unsigned int pins, unsigned int mappings)
{
    struct xen_gdma_query query;

    expect("query", gdma_query(&query), 0);
    expect("pinned frames", query.used_pins, start.used_pins + pins);
    expect("mappings", query.mappings, mappings);
}

static bool prepare(void)
{
    step("a second domain grants its pages to this one");

    if ( !remote_start() )
        return false;
    for ( unsigned int i = 0; i < REMOTE_PAGES; i++ )
        remote_grant(REF + i, i, 0);

    return true;
}

static void expect_window(const struct xen_gdma_window_create *window)
{
    for ( unsigned int i = 0; i < REMOTE_PAGES; i++ )
    {
        expect_reaches("a granted page", &device,
                       window->daddr + i * PAGE_SIZE, remote_page(i));
        expect("in use", remote_in_use(REF + i), IN_USE);
    }
}

static void expect_no_window(const struct xen_gdma_window_create *window)
{
    for ( unsigned int i = 0; i < REMOTE_PAGES; i++ )
    {
        expect_blocked("a granted page", &device,
                       window->daddr + i * PAGE_SIZE, remote_page(i));
        expect("in use", remote_in_use(REF + i), 0);
    }
    expect("the handle is stale",
           gdma_window_destroy(XEN_GDMA_CONTEXT_DEFAULT, window->handle),
           -ENOENT);
}

static bool two_windows(struct xen_gdma_window_create *of_grants,
                        struct xen_gdma_window_create *of_own)
{
    step("a window of its grants, and one of own memory");

    if ( !expect("create", grants(of_grants), 0) ||
         !expect("create", gdma_window_create(XEN_GDMA_CONTEXT_DEFAULT,
                                              XEN_GDMA_MAP_OWN, 0,
                                              virt_to_gfn(own), OWN_PAGES,
                                              READ_WRITE, of_own), 0) )
        return false;
    fact_hex("daddr_of_grants", of_grants->daddr);
    fact_hex("daddr_of_own", of_own->daddr);
    expect_window(of_grants);
    expect_reaches("the last own page", &device,
                   of_own->daddr + (OWN_PAGES - 1) * PAGE_SIZE,
                   &own[(OWN_PAGES - 1) * PAGE_SIZE]);
    expect_usage(REMOTE_PAGES + OWN_PAGES, 2);

    return true;
}

static void revoked(const struct xen_gdma_window_create *of_grants,
                    const struct xen_gdma_window_create *of_own)
{
    struct xen_gdma_window_create again;
    struct xen_gdma_stats now;

    step("the granter takes one reference back");

    remote_withdraw(REF + MIDDLE);
    expect("revoke", remote_revoke(REF + MIDDLE), 0);
    expect_no_window(of_grants);
    expect_reaches("an own page", &device, of_own->daddr, own);
    expect_usage(OWN_PAGES, 1);
    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &now), 0);
    expect("revoked", now.revoked - start.revoked, 1);

    step("without the permission no window, with it one");

    expect("create", grants(&again), -EACCES);
    expect_usage(OWN_PAGES, 1);
    remote_grant(REF + MIDDLE, MIDDLE, 0);
    if ( !expect("create", grants(&again), 0) )
        return;
    expect_window(&again);
    expect("destroy", gdma_window_destroy(XEN_GDMA_CONTEXT_DEFAULT,
                                          again.handle), 0);
    expect_no_window(&again);
    expect("destroy", gdma_window_destroy(XEN_GDMA_CONTEXT_DEFAULT,
                                          of_own->handle), 0);
    expect_usage(0, 0);
}

static void granter_dies(void)
{
    struct xen_gdma_window_create window;

    step("the granter dies while its window exists");

    if ( !expect("create", grants(&window), 0) )
        return;
    remote_end();
    expect_usage(REMOTE_PAGES, 1);
    expect("destroy", gdma_window_destroy(XEN_GDMA_CONTEXT_DEFAULT,
                                          window.handle), 0);
    expect_usage(0, 0);
}

void test_main(void)
{
    struct xen_gdma_window_create of_grants, of_own;

    if ( !owns_machine() )
        return;
    if ( !gdma_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( gdma_stats(XEN_GDMA_DOMID_SELF, &start) )
        return xtf_failure("BAD no statistics\n");

    if ( !prepare() )
        return;
    if ( two_windows(&of_grants, &of_own) )
        revoked(&of_grants, &of_own);
    granter_dies();

    xtf_success(NULL);
}
