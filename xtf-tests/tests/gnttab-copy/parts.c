/* SPDX-License-Identifier: GPL-2.0-only */
/* What only version 2 has: grants of parts of a page, transitive grants. */
#include <xtf.h>

#include "copy.h"

#define GOOD_SOURCE     own_page_at(own_pages[2])
#define GOOD_DEST       own_page_at(own_pages[3])

/* The entry is good for copies alone. */
static void not_mappable(const char *what, grant_ref_t ref)
{
    grant_handle_t handle;

    for ( unsigned int i = 0; i < 2; i++ )
        expect(what, map_own(ref, own_pages[0], window,
                             i ? GNTMAP_readonly : 0, &handle),
               GNTST_general_error);
    expect_idle();
}

static void one_part(unsigned int offset, unsigned int len)
{
    const unsigned int end = offset + len;
    struct copy_end part = by_ref(DOMID_SELF, OWN_PART, offset);

    step("a grant of %u bytes from %u on", len, offset);

    v2_write_part(OWN_PART, GTF_permit_access, self,
                  virt_to_gfn(own_pages[0]), offset, len);

    check_copy("all of it", part, own_pages[0], GOOD_DEST, own_pages[3], len);
    check_copy("into all of it", GOOD_SOURCE, own_pages[2], part,
               own_pages[0], len);
    part.offset = end - 1;
    check_copy("its last byte", part, own_pages[0], GOOD_DEST, own_pages[3],
               1);
    check_copy("into its last byte", GOOD_SOURCE, own_pages[2], part,
               own_pages[0], 1);
    expect_idle();

    /* "Bytes [@page_off, @page_off + @length)." */
    if ( offset )
    {
        part.offset = offset - 1;
        refuse_copy("one byte before", part, GOOD_DEST, 2,
                    GNTST_general_error);
        refuse_copy("into one byte before", GOOD_SOURCE, part, 2,
                    GNTST_general_error);
        part.offset = 0;
        refuse_copy("the byte before it", part, GOOD_DEST, 1,
                    GNTST_general_error);
    }
    if ( end < PAGE_SIZE )
    {
        part.offset = end - 1;
        refuse_copy("one byte after", part, GOOD_DEST, 2,
                    GNTST_general_error);
        refuse_copy("into one byte after", GOOD_SOURCE, part, 2,
                    GNTST_general_error);
        part.offset = end;
        refuse_copy("the byte after it", part, GOOD_DEST, 1,
                    GNTST_general_error);
    }
    part.offset = PAGE_SIZE - 1;
    refuse_copy("across the page's end", part, GOOD_DEST, 2,
                GNTST_bad_copy_arg);

    /* "@domid will only be allowed to copy from the grant, and not map it." */
    not_mappable("map it", OWN_PART);
}

void parts(void)
{
    one_part(100, 200);
    one_part(0, 1);
    one_part(PAGE_SIZE - 1, 1);
    one_part(1, PAGE_SIZE - 2);
    one_part(0, PAGE_SIZE);

    step("parts that are empty, or reach beyond the page");

    v2_write_part(OWN_PART, GTF_permit_access, self,
                  virt_to_gfn(own_pages[0]), 8, 0);
    refuse_copy("of no bytes", by_ref(DOMID_SELF, OWN_PART, 8), GOOD_DEST, 1,
                GNTST_general_error);
    v2_write_part(OWN_PART, GTF_permit_access, self,
                  virt_to_gfn(own_pages[0]), 4000, 1000);
    check_copy("as far as the page goes", by_ref(DOMID_SELF, OWN_PART, 4000),
               own_pages[0], GOOD_DEST, own_pages[3], 96);
    refuse_copy("further", by_ref(DOMID_SELF, OWN_PART, 4000), GOOD_DEST, 97,
                GNTST_bad_copy_arg);

    step("a part for reading only, and one for another domain");

    v2_write_part(OWN_PART, GTF_permit_access | GTF_readonly, self,
                  virt_to_gfn(own_pages[0]), 100, 200);
    check_copy("from it", by_ref(DOMID_SELF, OWN_PART, 120), own_pages[0],
               GOOD_DEST, own_pages[3], 100);
    refuse_copy("to it", GOOD_SOURCE, by_ref(DOMID_SELF, OWN_PART, 120), 100,
                GNTST_general_error);
    v2_write_part(OWN_PART, GTF_permit_access, other,
                  virt_to_gfn(own_pages[0]), 100, 200);
    refuse_copy("another domain's", by_ref(DOMID_SELF, OWN_PART, 120),
                GOOD_DEST, 100, GNTST_general_error);

    step("the same part at both ends, and in a batch");

    v2_write_part(OWN_PART, GTF_permit_access, self,
                  virt_to_gfn(own_pages[0]), 100, 200);
    fill_pattern(own_pages[0], PAGE_SIZE, 31);
    fill_pattern(expected, PAGE_SIZE, 31);
    memcpy(expected + 200, expected + 100, 100);
    expect("copy", copy_bytes(by_ref(DOMID_SELF, OWN_PART, 100),
                              by_ref(DOMID_SELF, OWN_PART, 200), 100),
           GNTST_okay);
    same_page("the page", own_pages[0], expected);
    expect("half out of it", copy_bytes(by_ref(DOMID_SELF, OWN_PART, 100),
                                        by_ref(DOMID_SELF, OWN_PART, 201),
                                        100), GNTST_general_error);
    same_page("the page", own_pages[0], expected);
    expect_idle();

    v2_write(OWN_PART, 0, 0, 0);
}

#define VIA             by_ref(DOMID_SELF, OWN_VIA, 0)

/* The transitive entry is refused, whichever way the data would go. */
static void refuse_via(const char *what, unsigned int flags, domid_t domid,
                       domid_t via, grant_ref_t via_ref, int status)
{
    char way[80];

    v2_write_transitive(OWN_VIA, flags, domid, via, via_ref);
    snprintf(way, sizeof(way), "%s, as source", what);
    refuse_copy(way, VIA, GOOD_DEST, 16, status);
    snprintf(way, sizeof(way), "%s, as destination", what);
    refuse_copy(way, GOOD_SOURCE, VIA, 16, status);
}

static void transitive_data(void)
{
    struct copy_end via = VIA;

    step("a transitive grant of the other domain's page");

    v2_write_transitive(OWN_VIA, 0, self, other, ITS_A);
    check_copy("the page", VIA, granter_page(0), GOOD_DEST, own_pages[3],
               PAGE_SIZE);
    check_copy("into the page", GOOD_SOURCE, own_pages[2], VIA,
               granter_page(0), PAGE_SIZE);
    via.offset = 1000;
    check_copy("a part", via, granter_page(0), GOOD_DEST, own_pages[3], 555);
    check_copy("into a part", GOOD_SOURCE, own_pages[2], via, granter_page(0),
               555);
    check_copy("between two of its pages", via, granter_page(0),
               by_ref(other, ITS_B, 0), granter_page(1), 555);
    expect_idle();

    via.offset = 4000;
    refuse_copy("across the page's end", via, GOOD_DEST, 97,
                GNTST_bad_copy_arg);

    step("XSA-226: the same transitive grant at both ends");

    fill_pattern(granter_page(0), PAGE_SIZE, 41);
    fill_pattern(expected, PAGE_SIZE, 41);
    memcpy(expected + 3000, expected + 1000, 1000);
    via.offset = 1000;
    expect("copy", copy_bytes(via, by_ref(DOMID_SELF, OWN_VIA, 3000), 1000),
           GNTST_okay);
    same_page("the page", granter_page(0), expected);
    expect_idle();

    step("together with the grant that it leads to");

    memcpy(expected + 100, expected + 1000, 500);
    expect("copy", copy_bytes(via, by_ref(other, ITS_A, 100), 500),
           GNTST_okay);
    memcpy(expected + 2000, expected, 500);
    expect("and the other way",
           copy_bytes(by_ref(other, ITS_A, 0),
                      by_ref(DOMID_SELF, OWN_VIA, 2000), 500), GNTST_okay);
    same_page("the page", granter_page(0), expected);
    expect_idle();
}

static void transitive_mapped(void)
{
    struct gnttab_map_grant_ref map;

    step("while the page it leads to is mapped for reading");

    v2_write_transitive(OWN_VIA, 0, self, other, ITS_A);
    if ( !expect("map", map_at(window, ITS_A,
                               GNTMAP_host_map | GNTMAP_readonly, &map),
                 GNTST_okay) )
        return;
    check_copy("from it", VIA, granter_page(0), GOOD_DEST, own_pages[3], 64);
    check_copy("to it", GOOD_SOURCE, own_pages[2], VIA, granter_page(0), 64);
    expect("in use", entry_in_use(ITS_A), GTF_reading);
    expect("the transitive grant", own_in_use(OWN_VIA), 0);
    expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    expect_idle();
}

/* XSA-226: a batch keeps what it has acquired, and gives all of it back. */
static void transitive_batch(void)
{
    static struct wire_copy elements[128];
    unsigned int wrong = 0;

    step("XSA-226: 128 copies by a transitive grant, with others between");

    v2_write_transitive(OWN_VIA, 0, self, other, ITS_A);
    fill_pattern(granter_page(0), PAGE_SIZE, 61);
    fill_pattern(own_pages[3], PAGE_SIZE, 62);
    fill_pattern(expected, PAGE_SIZE, 62);
    for ( unsigned int i = 0; i < ARRAY_SIZE(elements); i++ )
    {
        struct copy_end source = VIA, dest = GOOD_DEST;

        source.offset = dest.offset = i * 32;
        if ( i % 5 == 4 )
            source = by_ref(DOMID_SELF, OWN_SPARE_1, 0);
        elements[i] = copy_element(source, dest, 32);
        if ( i % 5 != 4 )
            memcpy(expected + i * 32, granter_page(0) + i * 32, 32);
    }
    expect("the call", hypercall_grant_table_op(WIRE_COPY, elements,
                                                ARRAY_SIZE(elements)), 0);
    for ( unsigned int i = 0; i < ARRAY_SIZE(elements); i++ )
        wrong += elements[i].status !=
                 (i % 5 == 4 ? GNTST_general_error : GNTST_okay);
    expect("elements with another status", wrong, 0);
    same_page("the page", own_pages[3], expected);
    expect_idle();
}

/*
 * "The transitive access must be compatible with the original grant."  After
 * each refusal refuse_copy() takes both tables' locks (XSA-411).
 */
static void transitive_refused(void)
{
    step("XSA-411: transitive grants that lead nowhere");

    refuse_via("to no domain", 0, self, DOMID_ABSENT, ITS_A,
               GNTST_general_error);
    refuse_via("to the own alias", 0, self, DOMID_SELF, OWN_A,
               GNTST_general_error);
    refuse_via("to a reserved id", 0, self, DOMID_XEN, ITS_A,
               GNTST_general_error);
    refuse_via("to no reference", 0, self, other, granter_entries(),
               GNTST_bad_gntref);
    refuse_via("to an invalid entry", 0, self, other, ITS_BAD,
               GNTST_general_error);
    refuse_via("for another domain", 0, other, other, ITS_A,
               GNTST_general_error);
    entry_write(ITS_BAD, GTF_permit_access, DOMID_ABSENT, granter_gfn(0));
    refuse_via("to an entry for another domain", 0, self, other, ITS_BAD,
               GNTST_general_error);
    entry_write(ITS_BAD, GTF_permit_access, self, 0x7fffffff);
    refuse_via("to an entry of no frame", 0, self, other, ITS_BAD,
               GNTST_bad_page);
    entry_write(ITS_BAD, 0, 0, 0);

    step("transitive grants to oneself");

    refuse_via("to the own page", 0, self, self, OWN_A, GNTST_general_error);
    refuse_via("to itself", 0, self, self, OWN_VIA, GNTST_general_error);

    step("read-only on either side is read-only");

    v2_write_transitive(OWN_VIA, GTF_readonly, self, other, ITS_A);
    check_copy("from a read-only one", VIA, granter_page(0), GOOD_DEST,
               own_pages[3], 16);
    refuse_copy("to a read-only one", GOOD_SOURCE, VIA, 16,
                GNTST_general_error);
    v2_write_transitive(OWN_VIA, 0, self, other, ITS_RO);
    check_copy("from one that leads to a read-only one", VIA, granter_page(0),
               GOOD_DEST, own_pages[3], 16);
    refuse_copy("to one that leads to a read-only one", GOOD_SOURCE, VIA, 16,
                GNTST_general_error);
}

void transitive(bool allowed)
{
    fact_str("transitive", allowed ? "allowed" : "refused");

    if ( allowed )
    {
        transitive_data();
        transitive_mapped();
        transitive_batch();
        transitive_refused();
    }
    else
    {
        step("transitive grants are switched off");
        refuse_via("a good one", 0, self, other, ITS_A, GNTST_general_error);
        refuse_via("a read-only one", GTF_readonly, self, other, ITS_A,
                   GNTST_general_error);
        refuse_via("one that leads nowhere", 0, self, DOMID_ABSENT, ITS_A,
                   GNTST_general_error);
    }

    step("a transitive grant cannot be mapped");
    v2_write_transitive(OWN_VIA, 0, self, other, ITS_A);
    not_mappable("map it", OWN_VIA);
    v2_write(OWN_VIA, 0, 0, 0);
}
