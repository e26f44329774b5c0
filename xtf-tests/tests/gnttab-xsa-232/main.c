/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-232/main.c
 * @ref test-gnttab-xsa-232
 *
 * @page test-gnttab-xsa-232 gnttab-xsa-232
 *
 * Advisory: [XSA-232](https://xenbits.xen.org/xsa/advisory-232.html)
 *
 * Xen's own domains (the owner of its memory, of I/O memory, of shared pages)
 * have ids but no grant tables, and a null pointer was followed.
 *
 *  1. Naming one as the granter of a mapping, as the owner of a table to set
 *     up or to ask about, has the status or error of a domain that is not
 *     there.
 *  2. As a grantee such an id gives nobody a right.
 *
 * @see tests/gnttab-xsa-232/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/steps.h>

const char test_title[] = "XSA-232: domains without a grant table";

#define REF             FIRST_FREE_REF

static uint8_t window[PAGE_SIZE] __page_aligned_bss;

static const domid_t domids[] = {
    DOMID_IO, DOMID_XEN, DOMID_COW, DOMID_INVALID, DOMID_IDLE, 0x7ff5, 0x8000,
    0xffff,
};

static void as_granter(domid_t domid)
{
    static const unsigned int flags[] = {
        GNTMAP_host_map, GNTMAP_host_map | GNTMAP_readonly,
#ifdef CONFIG_PV
        GNTMAP_device_map, GNTMAP_host_map | GNTMAP_device_map,
#endif
    };
    struct grant_table_size size = { .dom = domid };
    struct grant_table_version version = { .dom = domid };
    unsigned long frame;
    struct gnttab_setup_table setup = {
        .dom = domid, .nr_frames = 1, .frame_list = &frame,
    };
    struct gnttab_map_grant_ref map;

    step("domain %#x", domid);

    for ( unsigned int i = 0; i < ARRAY_SIZE(flags); i++ )
        for ( grant_ref_t ref = 0; ref <= REF; ref += REF )
            expect("map", gnttab_map(domid, ref, _u(window), flags[i], &map),
                   GNTST_bad_domain);

    expect("query_size",
           hypercall_grant_table_op(GNTTABOP_query_size, &size, 1), 0);
    expect("its status", size.status, GNTST_bad_domain);
    expect("get_version",
           hypercall_grant_table_op(GNTTABOP_get_version, &version, 1), -ESRCH);
    expect("setup_table",
           hypercall_grant_table_op(GNTTABOP_setup_table, &setup, 1), 0);
    expect("its status", setup.status, GNTST_bad_domain);
}

void test_main(void)
{
    struct gnttab_map_grant_ref map;

    if ( !granter_begin() || !windows_free(window, 1) )
        return;

    for ( unsigned int i = 0; i < ARRAY_SIZE(domids); i++ )
        as_granter(domids[i]);

    step("as grantees");
    for ( unsigned int i = 0; i < ARRAY_SIZE(domids); i++ )
    {
        entry_write(REF, GTF_permit_access, domids[i], granter_gfn(0));
        expect("map", map_at(window, REF, GNTMAP_host_map, &map),
               GNTST_general_error);
        expect("in use", entry_in_use(REF), 0);
    }
    expect_true("withdraw", entry_withdraw(REF));
    granter_end();

    xtf_success(NULL);
}
