/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-v2/main.c
 * @ref test-gnttab-v2
 *
 * @page test-gnttab-v2 gnttab-v2
 *
 * Version 2 of the grant table, and changing between the versions.  Expected
 * values are those of xen/include/public/grant_table.h; error numbers, which
 * it does not name, and what becomes of reserved entries, those of Xen's C
 * tables.
 *
 *  1. Versions that do not exist; the version that is in force already.
 *  2. 1 to 2 and back: the first eight entries survive, in use or not, with
 *     their state of use; all others are wiped.
 *  3. "Must be performed while no grants are active": with another entry
 *     mapped, -EBUSY, and nothing is changed, both ways.
 *  4. Reserved entries that version 1 cannot express keep version 2 in force.
 *  5. Entries of version 2: status, errors (entries.c).
 *  6. Many changes: each leaves an empty table, and no page is lost.
 *
 * Grants of parts and transitive ones are for copies: see gnttab-copy.
 * Argument `max_version=1`: Xen runs with gnttab=max-ver:1, and version 2
 * cannot be had.
 *
 * @see tests/gnttab-v2/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/cost.h>
#include <lab/sysctl.h>

#include "v2.h"

const char test_title[] = "Version 2 of the grant table";

#define NR_PAGES        24

/* A reserved entry, and one that is not. */
#define RESERVED        3u
#define OTHER           20u

domid_t self;
uint8_t windows[NR_WINDOWS][PAGE_SIZE] __page_aligned_bss;

static uint8_t pages[NR_PAGES][PAGE_SIZE] __page_aligned_bss;

uint8_t *fresh_page(void)
{
    static unsigned int used;

    if ( used == NR_PAGES )
        panic("More pages are needed\n");

    return pages[used++];
}

/* The change, its result, and what is in force afterwards. */
static bool change(const char *what, unsigned int version, int rc,
                   unsigned int wanted)
{
    unsigned int now = ~0u, asked = ~0u;
    bool ok = expect(what, table_set_version(version, &now), rc);

    /* "IN/OUT." */
    ok &= expect("version told", now, wanted);
    ok &= expect("get_version", table_version(DOMID_SELF, &asked), 0);
    ok &= expect("version in force", asked, wanted);

    return ok;
}

/* To version 1, the status frame being out of sight. */
static bool to_v1(void)
{
    return expect("hide the status frame", hide_status(1), 0) &&
           change("to version 1", 1, 0, 1);
}

static bool to_v2(void)
{
    return change("to version 2", 2, 0, 2) &&
           expect("show the status frame", show_status(1), 0);
}

static void no_such_version(unsigned int now)
{
    static const unsigned int none[] = { 0, 3, 0x102, 0x80000001, 0xffffffff };

    step("versions that do not exist, in version %u", now);

    for ( unsigned int i = 0; i < ARRAY_SIZE(none); i++ )
        change("no such version", none[i], -EINVAL, now);
}

/* The version in force: nothing is done. */
static void same_version(unsigned int version)
{
    uint8_t *page = fresh_page();

    step("version %u again", version);

    own_write(OTHER, GTF_permit_access, self, virt_to_gfn(page));
    change("the same", version, 0, version);
    expect_grant("the entry", OTHER, page);
    own_write(OTHER, 0, 0, 0);
}

/* Reserved entries of several kinds, as both versions can say it. */
static const struct {
    unsigned int flags;
    domid_t domid;
    uint32_t frame;
} reserved[RESERVED_ENTRIES] = {
    { GTF_permit_access, 1, 0x12345 },
    { GTF_permit_access | GTF_readonly, 2, 0xffffffff },
    { 0, 0, 0 },
    /* RESERVED is the one in use. */
    { 0, 0, 0 },
    { GTF_permit_access, 0x7ff0, 0 },
    { GTF_permit_access, 0, 1 },
    { 0, 0, 0 },
    { GTF_permit_access | GTF_readonly, 0x1234, 0xabcdef },
};

static void write_entries(void)
{
    for ( grant_ref_t ref = 0; ref < RESERVED_ENTRIES; ref++ )
        if ( ref != RESERVED )
            own_write(ref, reserved[ref].flags, reserved[ref].domid,
                      reserved[ref].frame);
    for ( grant_ref_t ref = RESERVED_ENTRIES; ref < V2_PER_FRAME; ref++ )
        own_write(ref, GTF_permit_access, ref, ref * 3);
}

static void check_entries(unsigned int version)
{
    for ( grant_ref_t ref = 0; ref < RESERVED_ENTRIES; ref++ )
    {
        if ( ref == RESERVED )
            continue;
        if ( version == 1 )
        {
            expect("flags", own_v1(ref)->flags, reserved[ref].flags);
            expect("domain", own_v1(ref)->domid, reserved[ref].domid);
            expect_hex("frame", own_v1(ref)->frame, reserved[ref].frame);
        }
        else
        {
            expect("flags", own_v2(ref)->hdr.flags, reserved[ref].flags);
            expect("domain", own_v2(ref)->hdr.domid, reserved[ref].domid);
            expect_hex("frame", own_v2(ref)->full_page.frame,
                       reserved[ref].frame);
            expect("status", *own_status(ref), 0);
        }
    }

    if ( version == 1 )
        expect_zeros("the other entries",
                     (void *)own_v1(RESERVED_ENTRIES),
                     PAGE_SIZE - RESERVED_ENTRIES * sizeof(grant_entry_v1_t));
    else
    {
        expect_zeros("the other entries",
                     (void *)own_v2(RESERVED_ENTRIES),
                     PAGE_SIZE - RESERVED_ENTRIES * sizeof(grant_entry_v2_t));
        expect_zeros("their status", (void *)own_status(RESERVED_ENTRIES),
                     PAGE_SIZE - RESERVED_ENTRIES * sizeof(uint16_t));
    }
}

static void reserved_in_use(unsigned int flags)
{
    const unsigned int in_use = flags ? GTF_reading : IN_USE;
    uint8_t *page = fresh_page();
    grant_handle_t handle;

    step("a live table: a reserved entry is mapped for %s",
         flags ? "reading" : "writing");

    own_write(RESERVED, GTF_permit_access, self, virt_to_gfn(page));
    if ( !expect("map", map_own(RESERVED, page, windows[0], flags, &handle),
                 GNTST_okay) )
        return;
    write_entries();

    if ( !to_v2() )
        return;
    check_entries(2);
    expect("the entry in use", own_v2(RESERVED)->hdr.flags,
           GTF_permit_access);
    expect_hex("its frame", own_v2(RESERVED)->full_page.frame,
               virt_to_gfn(page));
    expect("its status", *own_status(RESERVED), in_use);
    expect_grant("its page", RESERVED, page);
    expect("its status", *own_status(RESERVED), in_use);
    write_entries();

    if ( !to_v1() )
        return;
    check_entries(1);
    expect("the entry in use", own_v1(RESERVED)->flags,
           GTF_permit_access | in_use);
    expect_grant("its page", RESERVED, page);

    /* And it is given back in the other version than it was taken in. */
    if ( !to_v2() )
        return;
    expect("unmap", unmap_own(page, windows[0], handle), GNTST_okay);
    expect("its status", *own_status(RESERVED), 0);
    own_write(RESERVED, 0, 0, 0);
    to_v1();
}

/* Any other entry in use forbids the change. */
static void others_in_use(unsigned int from)
{
    static const grant_ref_t refs[] = { RESERVED_ENTRIES, OTHER, 255 };

    step("version %u: other entries are mapped", from);

    for ( unsigned int i = 0; i < ARRAY_SIZE(refs); i++ )
    {
        uint8_t *page = fresh_page();
        grant_handle_t handle;

        own_write(refs[i], GTF_permit_access, self, virt_to_gfn(page));
        if ( !expect("map", map_own(refs[i], page, windows[0],
                                    GNTMAP_readonly, &handle), GNTST_okay) )
            return;
        change("while it is mapped", 3 - from, -EBUSY, from);
        expect("in use", own_in_use(refs[i]), GTF_reading);
        expect_grant("its page", refs[i], page);
        expect("unmap", unmap_own(page, windows[0], handle), GNTST_okay);
        expect("in use", own_in_use(refs[i]), 0);
        own_write(refs[i], 0, 0, 0);
    }

    /* An entry that is valid but not in use does not. */
    own_write(OTHER, GTF_permit_access, self, 1);
}

static void not_expressible(void)
{
    step("reserved entries that version 1 cannot express");

    /* The status frame is in sight: only that the change fails counts. */
    v2_write(RESERVED, GTF_permit_access, self, 1ull << 32);
    expect("hide the status frame", hide_status(1), 0);
    change("a frame of more than 32 bits", 1, -ERANGE, 2);
    expect("flags", own_v2(RESERVED)->hdr.flags, GTF_permit_access);
    expect_hex("frame", own_v2(RESERVED)->full_page.frame, 1ull << 32);

    v2_write_transitive(RESERVED, 0, self, 1, 2);
    change("a transitive grant", 1, -ERANGE, 2);
    expect("flags", own_v2(RESERVED)->hdr.flags, GTF_transitive);
    expect("by", own_v2(RESERVED)->transitive.gref, 2);
    v2_write(RESERVED, 0, 0, 0);

    step("others that it cannot express are wiped");

    v2_write(OTHER, GTF_permit_access, self, 1ull << 32);
    v2_write_transitive(OTHER + 1, 0, self, 1, 2);
    v2_write_part(OTHER + 2, GTF_permit_access, self, 1, 2, 3);
    for ( grant_ref_t ref = 0; ref < RESERVED_ENTRIES; ref++ )
        v2_write(ref, 0, 0, 0);
    change("to version 1", 1, 0, 1);
    expect_zeros("the table", table_frames[0], PAGE_SIZE);
}

/* A status frame that a table had before is not the next one's. */
static void many_changes(void)
{
    const long owned = owned_pages(), free = free_pages();
    unsigned int wrong = 0;

    step("100 changes to version 2 and back");

    for ( unsigned int i = 0; i < 100; i++ )
    {
        wrong += table_set_version(2, NULL) || show_status(1);
        for ( unsigned int j = 0; !wrong && j < STATUS_PER_FRAME; j += 64 )
        {
            wrong += *own_status(j) != 0;
            *own_status(j) = 0xffff;
        }
        v2_write(i + RESERVED_ENTRIES, GTF_permit_access, self, i);
        wrong += hide_status(1) || table_set_version(1, NULL);
        if ( wrong )
            break;
    }
    expect("changes that went wrong", wrong, 0);
    expect("pages", owned_pages(), owned);
    expect("free pages of Xen's", free_pages(), free);
    expect_zeros("the table", table_frames[0], PAGE_SIZE);
}

static void only_version_1(void)
{
    uint8_t *page = fresh_page();

    step("version 2 is switched off");

    change("to version 2", 2, -ENOSYS, 1);
    change("to version 1", 1, 0, 1);
    change("no such version", 3, -EINVAL, 1);
    own_write(OTHER, GTF_permit_access, self, virt_to_gfn(page));
    expect_grant("an entry", OTHER, page);
}

void test_main(void)
{
    if ( own_domid() < 0 )
        return xtf_skip("This domain cannot find out its own id\n");
    self = own_domid();
    if ( !own_table(1) )
        return;
#ifdef CONFIG_PV
    if ( !windows_free(windows, NR_WINDOWS) )
        return;
#endif

    if ( argument_number("max_version", 2) < 2 )
    {
        only_version_1();
        return xtf_success(NULL);
    }

    no_such_version(1);
    same_version(1);
    reserved_in_use(0);
    reserved_in_use(GNTMAP_readonly);
    others_in_use(1);

    if ( !to_v2() )
        return;
    no_such_version(2);
    same_version(2);
    others_in_use(2);
    entries();
    not_expressible();
    many_changes();

    xtf_success(NULL);
}
