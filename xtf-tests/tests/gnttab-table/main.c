/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-table/main.c
 * @ref test-gnttab-table
 *
 * @page test-gnttab-table gnttab-table
 *
 * The table itself: its size, its version, its frames.  Expected values are
 * those of xen/include/public/grant_table.h, for errors without a name of
 * their own those of Xen's C tables.
 *
 *  1. XSA-134: operations before anything is set up or chosen.
 *  2. query_size, get_version, for domains that are there and that are not.
 *  3. setup_table and placing frames (HVM): addresses, growth, limits; only
 *     as many addresses as asked for (growth.c).
 *  4. The other domain's table: set up, and acquired as a resource.
 *  5. Growth in version 2; status frames beyond the first; XSA-382: their
 *     list ends where it should (growth.c).
 *  6. dump_table changes nothing, and has the errors of query_size.
 *
 * Argument `table_frames=<n>`: what gnttab_max_frames= is, 64 without it.
 * `only=untouched` runs step 1 alone.
 *
 * @see tests/gnttab-table/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>

#include "table.h"

const char test_title[] = "Grant tables: size, frames, versions";

domid_t self, other;
unsigned int max_frames;

uint8_t own_pages[NR_PAGES][PAGE_SIZE] __page_aligned_bss;
uint8_t windows[NR_PAGES][PAGE_SIZE] __page_aligned_bss;

static uint8_t scratch[PAGE_SIZE] __page_aligned_bss;

unsigned int own_frames(void)
{
    unsigned int nr = 0, max = 0;

    expect("query_size", table_size(DOMID_SELF, &nr, &max), GNTST_okay);
    expect("frames at most", max, max_frames);

    return nr;
}

void expect_status_frames(const char *what, domid_t domid, unsigned int nr,
                          uint64_t *list, int status)
{
#ifdef CONFIG_PV
    expect(what, table_status_frames(domid, nr, list), status);
#else
    /* HVM guests place status frames instead, and do not have it. */
    struct wire_get_status_frames get = {
        .domid = domid, .nr_frames = nr, .frame_list = list,
    };

    expect(what, hypercall_grant_table_op(WIRE_GET_STATUS_FRAMES, &get, 1),
           -ENOSYS);
#endif
}

static void untouched_table(void)
{
    unsigned int version;
    grant_handle_t handle;
    unsigned long list;
    uint64_t frame = NO_FRAME;

    step("XSA-134: operations on a table that nobody has touched");

    /* "Defaults to v1." */
    expect("get_version", table_version(DOMID_SELF, &version), 0);
    expect("version", version, 1);
    expect("frames", own_frames(), 1);
    expect("swap", table_swap(FIRST_FREE_REF, FIRST_FREE_REF + 1), GNTST_okay);
    expect("swap out of bounds", table_swap(FIRST_FREE_REF, V1_PER_FRAME),
           GNTST_bad_gntref);
    expect("copy", copy_bytes(by_ref(DOMID_SELF, FIRST_FREE_REF, 0),
                              own_page_at(scratch), 1), GNTST_general_error);
    expect("copy out of bounds",
           copy_bytes(by_ref(DOMID_SELF, V1_PER_FRAME, 0),
                      own_page_at(scratch), 1), GNTST_bad_gntref);
    expect("map", map_own(FIRST_FREE_REF, own_pages[0], windows[0], 0,
                          &handle), GNTST_general_error);
    expect("set up nothing", table_setup(DOMID_SELF, 0, &list), GNTST_okay);
    expect_status_frames("no status frames", DOMID_SELF, 0, &frame,
                         GNTST_okay);
    expect_status_frames("a status frame", DOMID_SELF, 1, &frame,
                         GNTST_general_error);
    expect_hex("its list", frame, NO_FRAME);

    expect("show the table", show_table(1), 0);
    expect_zeros("the table", table_frames[0], PAGE_SIZE);
}

static void asked_about_others(void)
{
    static const domid_t absent[] = {
        DOMID_ABSENT, DOMID_IO, DOMID_XEN, DOMID_COW, DOMID_INVALID,
        DOMID_IDLE, 0xffff,
    };
    unsigned int nr, max, version;
    unsigned long list = NO_FRAME;
    uint64_t frame = NO_FRAME;

    step("other domains' tables");

    expect("query_size by number", table_size(self, &nr, &max), GNTST_okay);
    expect("frames", nr, 1);
    expect("get_version by number", table_version(self, &version), 0);
    expect("version", version, 1);
    expect("query_size of the other's", table_size(other, &nr, &max),
           GNTST_okay);
    expect("frames", nr, 1);
    expect("frames at most", max, max_frames);
    expect("get_version of the other's", table_version(other, &version), 0);
    expect("version", version, 1);
    expect_status_frames("status frames of the other's", other, 1, &frame,
                         GNTST_general_error);

    step("domains that are not there");

    for ( unsigned int i = 0; i < ARRAY_SIZE(absent); i++ )
    {
        fact_hex("domain", absent[i]);
        expect("query_size", table_size(absent[i], &nr, &max),
               GNTST_bad_domain);
        expect("setup_table", table_setup(absent[i], 1, &list),
               GNTST_bad_domain);
        expect_status_frames("get_status_frames", absent[i], 1, &frame,
                             GNTST_bad_domain);
        expect("get_version", table_version(absent[i], &version), -ESRCH);
    }
    expect_hex("list of frames", list, NO_FRAME);
    expect_hex("list of status frames", frame, NO_FRAME);
}

static void dump(void)
{
    const unsigned int before = own_frames();

    step("dump_table");

#ifdef CONFIG_HVM
    printk("Skipped: HVM guests do not have it\n");
    return;
#endif
    if ( has_c_tables() )
    {
        printk("Skipped: Xen's C tables do not have it\n");
        return;
    }

    v1_write(FIRST_FREE_REF, GTF_permit_access, self,
             virt_to_gfn(own_pages[0]));
    expect("the own table", table_dump(DOMID_SELF), GNTST_okay);
    expect("the own table by number", table_dump(self), GNTST_okay);
    expect("the other's", table_dump(other), GNTST_okay);
    expect("of no domain", table_dump(DOMID_ABSENT), GNTST_bad_domain);
    expect("of a system domain", table_dump(DOMID_XEN), GNTST_bad_domain);
    expect("frames", own_frames(), before);
    expect_grant("an entry", FIRST_FREE_REF, own_pages[0]);
    v1_write(FIRST_FREE_REF, 0, 0, 0);
}

void test_main(void)
{
    max_frames = argument_number("table_frames", 64);
    fact_u64("table_frames", max_frames);

    if ( !granter_begin() || !windows_free(windows, NR_PAGES) )
        return;
    self = own_domid();
    other = granter_domid();

    untouched_table();
    if ( argument_lists("only", "grown") )
    {
        asked_about_others();
        other_tables();
        growth_v1();
        growth_v2();
        dump();
    }

    granter_end();
    xtf_success(NULL);
}
