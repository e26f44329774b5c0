/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies that are refused, and copies of what is mapped at the same time. */
#include <xtf.h>

#include "copy.h"

#define GOOD_SOURCE     own_page_at(own_pages[2])
#define GOOD_DEST       own_page_at(own_pages[3])

/* No frame of any domain's on these machines. */
#define FRAME_NOWHERE   0x7ffffffful

/* Wrong as a source, and wrong as a destination. */
static void refuse_both(const char *what, struct copy_end end, int status)
{
    char role[96];

    snprintf(role, sizeof(role), "%s, as source", what);
    refuse_copy(role, end, GOOD_DEST, 16, status);
    snprintf(role, sizeof(role), "%s, as destination", what);
    refuse_copy(role, GOOD_SOURCE, end, 16, status);
}

static void wrong_domains(void)
{
    static const domid_t absent[] = {
        DOMID_ABSENT, DOMID_IO, DOMID_XEN, DOMID_COW, DOMID_INVALID,
        DOMID_IDLE, 0xffff,
    };
    char what[48];

    step("domains that are not there; frames of other domains");

    for ( unsigned int i = 0; i < ARRAY_SIZE(absent); i++ )
    {
        snprintf(what, sizeof(what), "reference of domain %#x", absent[i]);
        refuse_both(what, by_ref(absent[i], ITS_A, 0), GNTST_bad_domain);
        snprintf(what, sizeof(what), "frame of domain %#x", absent[i]);
        refuse_both(what, by_frame(absent[i], virt_to_gfn(own_pages[0]), 0),
                    GNTST_permission_denied);
    }

    /* "MFNs or, for foreign domains, grant references." */
    refuse_both("frame of the other domain",
                by_frame(other, granter_gfn(0), 0), GNTST_permission_denied);
    refuse_both("own frame under the own number",
                by_frame(self, virt_to_gfn(own_pages[0]), 0),
                GNTST_permission_denied);
}

static void wrong_frames(void)
{
    step("frames that are no memory of this domain's");

    refuse_both("a frame that is nowhere",
                by_frame(DOMID_SELF, FRAME_NOWHERE, 0), GNTST_bad_page);
    refuse_both("the last frame number",
                by_frame(DOMID_SELF, ~0ul, 0), GNTST_bad_page);
#ifdef CONFIG_PV
    refuse_both("a machine frame of the other domain's",
                by_frame(DOMID_SELF, granter_gfn(0), 0), GNTST_bad_page);

    /* A page table can be read, and nobody may have it written. */
    refuse_copy("a page table as destination", GOOD_SOURCE,
                by_frame(DOMID_SELF, virt_to_mfn(_p(pv_start_info->pt_base)),
                         0), 16, GNTST_general_error);
#else
    refuse_both("a guest frame with nothing in it",
                by_frame(DOMID_SELF, virt_to_gfn(window), 0), GNTST_bad_page);
    refuse_both("a guest frame with a page of the other domain's in it",
                by_frame(DOMID_SELF, virt_to_gfn(granter_page(0)), 0),
                GNTST_bad_page);
#endif
}

static void wrong_references(unsigned int version)
{
    const unsigned int nr = version == 1 ? V1_PER_FRAME : V2_PER_FRAME;

    step("references outside of the table");

    refuse_both("own, first beyond", by_ref(DOMID_SELF, nr, 0),
                GNTST_bad_gntref);
    refuse_both("own, largest", by_ref(DOMID_SELF, 0xffffffff, 0),
                GNTST_bad_gntref);
    refuse_both("the other's, first beyond",
                by_ref(other, granter_entries(), 0), GNTST_bad_gntref);
    refuse_both("the other's, largest", by_ref(other, 0xffffffff, 0),
                GNTST_bad_gntref);
    refuse_both("own, last, which grants nothing",
                by_ref(DOMID_SELF, nr - 1, 0), GNTST_general_error);
}

/* The entry refuses, in the own table and in the other domain's. */
static void refuse_entry(const char *what, unsigned int flags, domid_t domid,
                         bool nowhere, int status)
{
    char whose[96];

    own_write(OWN_BAD, flags, domid,
              nowhere ? FRAME_NOWHERE : virt_to_gfn(own_pages[0]));
    entry_write(ITS_BAD, flags, domid,
                nowhere ? FRAME_NOWHERE : granter_gfn(0));

    snprintf(whose, sizeof(whose), "own entry, %s", what);
    refuse_both(whose, by_ref(DOMID_SELF, OWN_BAD, 0), status);
    snprintf(whose, sizeof(whose), "foreign entry, %s", what);
    refuse_both(whose, by_ref(other, ITS_BAD, 0), status);
}

static void wrong_entries(unsigned int version)
{
    const domid_t stranger = DOMID_ABSENT;

    step("entries that do not grant access");

    refuse_entry("invalid", GTF_invalid, self, false, GNTST_general_error);
    refuse_entry("for a transfer", GTF_accept_transfer, self, false,
                 GNTST_general_error);
    refuse_entry("for another domain", GTF_permit_access, stranger, false,
                 GNTST_general_error);
    refuse_entry("for itself by alias", GTF_permit_access, DOMID_SELF, false,
                 GNTST_general_error);
    refuse_entry("of a frame that is nowhere", GTF_permit_access, self, true,
                 GNTST_bad_page);
    if ( version == 1 )
        /* Version 1 has no such type. */
        refuse_entry("transitive", GTF_transitive, self, false,
                     GNTST_general_error);
    else
    {
        /* All 64 bits of the frame count. */
        v2_write(OWN_BAD, GTF_permit_access, self,
                 virt_to_gfn(own_pages[0]) | (1ull << 44));
        refuse_both("own entry, a frame of more than 32 bits",
                    by_ref(DOMID_SELF, OWN_BAD, 0), GNTST_bad_page);
    }

    step("read-only entries as destinations");

    refuse_copy("own", GOOD_SOURCE, by_ref(DOMID_SELF, OWN_RO, 0), 16,
                GNTST_general_error);
    refuse_copy("foreign", GOOD_SOURCE, by_ref(other, ITS_RO, 0), 16,
                GNTST_general_error);

    own_write(OWN_BAD, 0, 0, 0);
    entry_write(ITS_BAD, 0, 0, 0);
}

/* Offset and length put together: within the page, or beyond its end. */
static void bounds(void)
{
    static const struct {
        unsigned int offset, len;
    } beyond[] = {
        { 0, PAGE_SIZE + 1 },
        { 1, PAGE_SIZE },
        { PAGE_SIZE - 1, 2 },
        { PAGE_SIZE, 1 },
        { PAGE_SIZE, PAGE_SIZE },
        { 0xffff, 1 },
        { 0, 0xffff },
        { 0xffff, 0xffff },
        { 0x8000, 0x8000 },
    };

    step("copies across the page's end");

    for ( unsigned int i = 0; i < ARRAY_SIZE(beyond); i++ )
    {
        const unsigned int offset = beyond[i].offset, len = beyond[i].len;
        struct copy_end source = GOOD_SOURCE, dest = GOOD_DEST;
        char what[64];

        snprintf(what, sizeof(what), "source offset %u, %u bytes", offset,
                 len);
        source.offset = offset;
        refuse_copy(what, source, dest, len, GNTST_bad_copy_arg);
        refuse_copy(what, by_ref(other, ITS_A, offset), dest, len,
                    GNTST_bad_copy_arg);

        snprintf(what, sizeof(what), "destination offset %u, %u bytes", offset,
                 len);
        source.offset = 0;
        dest.offset = offset;
        refuse_copy(what, source, dest, len, GNTST_bad_copy_arg);
        refuse_copy(what, source, by_ref(other, ITS_B, offset), len,
                    GNTST_bad_copy_arg);
    }

    step("nothing to copy: nothing is done, nothing is looked at");

    refuse_copy("right arguments", GOOD_SOURCE, GOOD_DEST, 0, GNTST_okay);
    refuse_copy("wrong arguments", by_ref(DOMID_ABSENT, 0xffffffff, 0xffff),
                by_frame(other, FRAME_NOWHERE, 0xffff), 0, GNTST_okay);
}

void refusals(unsigned int version)
{
    wrong_domains();
    wrong_frames();
    wrong_references(version);
    wrong_entries(version);
    bounds();
}

/* Copy from and to the other's page 0 while it is mapped with @flags. */
static void mapped_entry(unsigned int flags)
{
    const unsigned int in_use = flags & GNTMAP_readonly ? GTF_reading : IN_USE;
    struct gnttab_map_grant_ref map;

    step("copies of what is mapped for %s",
         flags & GNTMAP_readonly ? "reading" : "writing");

    if ( !expect("map", map_at(window, ITS_A, GNTMAP_host_map | flags, &map),
                 GNTST_okay) )
        return;
    check_copy("from it", by_ref(other, ITS_A, 5), granter_page(0),
               own_page_at(own_pages[3]), own_pages[3], 100);
    expect("in use", entry_in_use(ITS_A), in_use);
    check_copy("to it", own_page_at(own_pages[2]), own_pages[2],
               by_ref(other, ITS_A, 77), granter_page(0), 100);
    expect("in use", entry_in_use(ITS_A), in_use);
    same_page("seen in the mapping", window, expected);

    expect("a refused copy",
           copy_bytes(by_ref(other, ITS_A, 0),
                      by_ref(DOMID_ABSENT, 0, 0), 1), GNTST_bad_domain);
    expect("in use", entry_in_use(ITS_A), in_use);

    expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    expect_idle();
}

void pinned_entries(void)
{
    mapped_entry(GNTMAP_readonly);
    mapped_entry(0);
}

/*
 * XSA-500: frame number and page must not get out of step.  A granter that
 * changes an entry while it is in use gains nothing: reading goes on with the
 * page in use, and a right to write cannot be had for another page.
 */
void changed_entry(void)
{
    struct gnttab_map_grant_ref map;

    step("XSA-500: an entry that names another page while it is mapped");

    if ( !expect("map", map_at(window, ITS_A,
                               GNTMAP_host_map | GNTMAP_readonly, &map),
                 GNTST_okay) )
        return;
    fill_pattern(granter_page(1), PAGE_SIZE, 71);
    entry_change_page(ITS_A, 1);

    check_copy("from it", by_ref(other, ITS_A, 0), granter_page(0),
               own_page_at(own_pages[3]), own_pages[3], PAGE_SIZE);

    fill_pattern(expected, PAGE_SIZE, 71);
    expect("to it", copy_bytes(GOOD_SOURCE, by_ref(other, ITS_A, 0), 64),
           GNTST_general_error);
    same_page("the page named now", granter_page(1), expected);
    expect("in use", entry_in_use(ITS_A), GTF_reading);

    entry_change_page(ITS_A, 0);
    check_copy("to it, as before", own_page_at(own_pages[2]), own_pages[2],
               by_ref(other, ITS_A, 0), granter_page(0), PAGE_SIZE);
    expect("in use", entry_in_use(ITS_A), GTF_reading);
    expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    expect_idle();
}
