/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-v1-loopback/main.c
 * @ref test-gnttab-v1-loopback
 *
 * @page test-gnttab-v1-loopback gnttab-v1-loopback
 *
 * Version 1 grants within one domain, as existing guests know them: every
 * implementation of the grant tables must pass this.
 *
 *  1. The table is there, in version 1, with the sizes it claims.
 *  2. A page is granted to its own domain and mapped; data written on either
 *     side is seen on the other.
 *  3. GTF_reading and GTF_writing are set exactly while a mapping of that
 *     kind exists, and keep the granter from withdrawing the grant.
 *  4. Read-only means read-only: for the flags, for a write through the
 *     mapping, and for a grant that permits no more.
 *  5. A handle names its mapping until that is gone, and nothing afterwards.
 *  6. Wrong references, domains, flags and addresses have their own status,
 *     and leave no trace.
 *
 * Mapping a domain's own grant takes the page away from the guest frame it
 * was at, unless that frame holds a mapping of the same grant.  So each
 * reference is first mapped at the page's own place: its anchor.  When the
 * anchor is unmapped, the page is gone from the domain's memory, hence a page
 * for each part.
 *
 * @see tests/gnttab-v1-loopback/main.c
 */
#include <xtf.h>

#include <lab/grants.h>
#include <lab/steps.h>

const char test_title[] = "Grant table version 1, loopback";

#define REF_DATA        (FIRST_FREE_REF + 0)
#define REF_FLAGS       (FIRST_FREE_REF + 1)
#define REF_RO          (FIRST_FREE_REF + 2)
#define REF_UNUSED      (FIRST_FREE_REF + 3)
#define REF_OTHER       (FIRST_FREE_REF + 4)

/* Far beyond any table and any set of handles. */
#define REF_BEYOND      0x00ffffffu
#define HANDLE_BEYOND   0x00ffffffu

/* In the range of ordinary domains, and never created here. */
#define DOMID_ABSENT    0x7000u

#define IN_USE          (GTF_reading | GTF_writing)

static uint8_t data_page[PAGE_SIZE] __page_aligned_bss;
static uint8_t flags_page[PAGE_SIZE] __page_aligned_bss;
static uint8_t ro_page[PAGE_SIZE] __page_aligned_bss;
static uint8_t window[2 * PAGE_SIZE] __page_aligned_bss;
static uint8_t copy[PAGE_SIZE];

#define WINDOW_RW       (&window[0])
#define WINDOW_RO       (&window[PAGE_SIZE])

static domid_t self;

static unsigned int in_use(grant_ref_t ref)
{
    return gnttab_entry_flags(ref) & IN_USE;
}

static void check_table(void)
{
    struct grant_table_size size = { .dom = DOMID_SELF };
    struct grant_table_version version = { .dom = DOMID_SELF };
    struct gnttab_set_version set = { .version = 1 };
    long rc;

    step("the table: size and version");

    rc = hypercall_grant_table_op(GNTTABOP_query_size, &size, 1);
    expect("query_size", rc, 0);
    expect("query_size status", size.status, GNTST_okay);
    expect_true("at least one frame in use", size.nr_frames >= 1);
    expect_true("not more frames than allowed",
                size.nr_frames <= size.max_nr_frames);
    fact_u64("table_frames", size.nr_frames);
    fact_u64("table_frames_max", size.max_nr_frames);

    size = (struct grant_table_size){ .dom = DOMID_ABSENT };
    rc = hypercall_grant_table_op(GNTTABOP_query_size, &size, 1);
    expect("query_size of no domain", rc, 0);
    expect("query_size of no domain, status", size.status, GNTST_bad_domain);

    rc = hypercall_grant_table_op(GNTTABOP_set_version, &set, 1);
    expect("set_version 1", rc, 0);
    expect("set_version 1, version in force", set.version, 1);

    rc = hypercall_grant_table_op(GNTTABOP_get_version, &version, 1);
    expect("get_version", rc, 0);
    expect("get_version, version", version.version, 1);

    version = (struct grant_table_version){ .dom = DOMID_ABSENT };
    rc = hypercall_grant_table_op(GNTTABOP_get_version, &version, 1);
    expect("get_version of no domain", rc, -ESRCH);
}

/* Grant @page to this domain and map it at its own place. */
static bool map_anchored(grant_ref_t ref, void *page, unsigned int readonly,
                         unsigned int flags, struct gnttab_map_grant_ref *map)
{
    gnttab_grant_access(ref, self, virt_to_gfn(page), readonly);
    expect("not in use before", in_use(ref), 0);

    return expect("map at its own place",
                  gnttab_map(self, ref, _u(page), GNTMAP_host_map | flags,
                             map), GNTST_okay);
}

static void check_data(void)
{
    struct gnttab_map_grant_ref anchor, map;

    step("map a page twice; data goes both ways");

    if ( !map_anchored(REF_DATA, data_page, 0, 0, &anchor) )
        return;
    if ( !expect("map elsewhere as well",
                 gnttab_map(self, REF_DATA, _u(WINDOW_RW), GNTMAP_host_map,
                            &map), GNTST_okay) )
        return;
    expect_true("two mappings have two handles", map.handle != anchor.handle);

    fill_pattern(data_page, PAGE_SIZE, 1);
    fill_pattern(copy, PAGE_SIZE, 1);
    expect_bytes("written at home, read in the mapping", WINDOW_RW, copy,
                 PAGE_SIZE);

    fill_pattern(WINDOW_RW, PAGE_SIZE, 2);
    fill_pattern(copy, PAGE_SIZE, 2);
    expect_bytes("written in the mapping, read at home", data_page, copy,
                 PAGE_SIZE);

    step("unmapping at an address that is not the mapping's");
    expect("unmap elsewhere", gnttab_unmap(_u(WINDOW_RO), map.handle),
           GNTST_general_error);
    expect("still mapped", in_use(REF_DATA), IN_USE);

    expect("unmap", gnttab_unmap(_u(WINDOW_RW), map.handle), GNTST_okay);
    expect("the other mapping remains", in_use(REF_DATA), IN_USE);
    expect("unmap at its own place",
           gnttab_unmap(_u(data_page), anchor.handle), GNTST_okay);
    expect("no mapping", in_use(REF_DATA), 0);
}

static void check_flags(void)
{
    struct gnttab_map_grant_ref anchor, map;

    step("flags are those of the mappings that exist");

    if ( !map_anchored(REF_FLAGS, flags_page, 0, GNTMAP_readonly, &anchor) )
        return;
    expect("one read-only mapping", in_use(REF_FLAGS), GTF_reading);
    expect("withdraw while mapped read-only", gnttab_end_access(REF_FLAGS),
           -EBUSY);

    expect("add a read-write mapping",
           gnttab_map(self, REF_FLAGS, _u(WINDOW_RW), GNTMAP_host_map, &map),
           GNTST_okay);
    expect("both mappings", in_use(REF_FLAGS), IN_USE);
    expect("withdraw while mapped", gnttab_end_access(REF_FLAGS), -EBUSY);

    expect("remove the read-write one",
           gnttab_unmap(_u(WINDOW_RW), map.handle), GNTST_okay);
    expect("the read-only one alone", in_use(REF_FLAGS), GTF_reading);

    step("a handle is void once its mapping is gone");
    expect("unmap again", gnttab_unmap(_u(WINDOW_RW), map.handle),
           GNTST_bad_handle);
    expect("unmap a handle never given out",
           gnttab_unmap(_u(WINDOW_RW), HANDLE_BEYOND), GNTST_bad_handle);
    expect("the flags have not changed", in_use(REF_FLAGS), GTF_reading);

    expect("remove the read-only one",
           gnttab_unmap(_u(flags_page), anchor.handle), GNTST_okay);
    expect("no mapping", in_use(REF_FLAGS), 0);
}

static void check_readonly(void)
{
    struct gnttab_map_grant_ref anchor, map;

    step("read-only grants and read-only mappings");

    fill_pattern(ro_page, PAGE_SIZE, 3);
    fill_pattern(copy, PAGE_SIZE, 3);

    gnttab_grant_access(REF_RO, self, virt_to_gfn(ro_page), GTF_readonly);
    expect("map a read-only grant for writing",
           gnttab_map(self, REF_RO, _u(WINDOW_RO), GNTMAP_host_map, &map),
           GNTST_general_error);
    expect("no flags from the refused mapping", in_use(REF_RO), 0);

    if ( !map_anchored(REF_RO, ro_page, GTF_readonly, GNTMAP_readonly,
                       &anchor) )
        return;
    expect("in use for reading only", in_use(REF_RO), GTF_reading);

    expect("map it elsewhere for writing",
           gnttab_map(self, REF_RO, _u(WINDOW_RO), GNTMAP_host_map, &map),
           GNTST_general_error);
    expect("map it elsewhere read-only",
           gnttab_map(self, REF_RO, _u(WINDOW_RO),
                      GNTMAP_host_map | GNTMAP_readonly, &map), GNTST_okay);
    expect_bytes("readable", WINDOW_RO, copy, PAGE_SIZE);
    *(volatile uint8_t *)WINDOW_RO = (uint8_t)~copy[0];
    expect_bytes("unchanged by a write to the mapping", WINDOW_RO, copy,
                 PAGE_SIZE);

    expect("unmap", gnttab_unmap(_u(WINDOW_RO), map.handle), GNTST_okay);
    expect("still in use for reading", in_use(REF_RO), GTF_reading);
    expect("unmap at its own place", gnttab_unmap(_u(ro_page), anchor.handle),
           GNTST_okay);
    expect("no mapping", in_use(REF_RO), 0);
}

static void check_bad_input(void)
{
    struct gnttab_map_grant_ref map;

    step("wrong input to map, each with its own status");

    expect("an entry that grants nothing",
           gnttab_map(self, REF_UNUSED, _u(WINDOW_RW), GNTMAP_host_map, &map),
           GNTST_general_error);

    gnttab_grant_access(REF_OTHER, DOMID_ABSENT, virt_to_gfn(copy), 0);
    expect("an entry that grants to another domain",
           gnttab_map(self, REF_OTHER, _u(WINDOW_RW), GNTMAP_host_map, &map),
           GNTST_general_error);
    expect("its flags", in_use(REF_OTHER), 0);

    expect("a reference beyond the table",
           gnttab_map(self, REF_BEYOND, _u(WINDOW_RW), GNTMAP_host_map, &map),
           GNTST_bad_gntref);

    expect("a domain that does not exist",
           gnttab_map(DOMID_ABSENT, REF_FLAGS, _u(WINDOW_RW), GNTMAP_host_map,
                      &map),
           GNTST_bad_domain);

    expect("neither a host nor a device mapping",
           gnttab_map(self, REF_FLAGS, _u(WINDOW_RW), 0, &map), GNTST_bad_gntref);

    expect("a page table entry to change, where Xen has none",
           gnttab_map(self, REF_FLAGS, _u(WINDOW_RW),
                      GNTMAP_host_map | GNTMAP_contains_pte, &map),
           GNTST_general_error);

    expect("no flags from any of these", in_use(REF_FLAGS), 0);
}

static void withdraw_all(void)
{
    static const grant_ref_t refs[] = {
        REF_DATA, REF_FLAGS, REF_RO, REF_UNUSED, REF_OTHER,
    };

    step("withdraw every grant");

    for ( unsigned int i = 0; i < ARRAY_SIZE(refs); i++ )
    {
        expect("withdraw", gnttab_end_access(refs[i]), 0);
        expect("nothing left", gnttab_entry_flags(refs[i]), 0);
    }
}

void test_main(void)
{
    int domid = own_domid();

    if ( domid < 0 )
        return xtf_skip("This domain cannot find out its own id\n");
    self = domid;

    if ( xtf_init_grant_table(1) )
        return xtf_error("No grant table\n");
    if ( make_holes(window, 2) )
        return xtf_error("Cannot free guest frames for the mappings\n");

    check_table();
    check_data();
    check_flags();
    check_readonly();
    check_bad_input();
    withdraw_all();

    xtf_success(NULL);
}
