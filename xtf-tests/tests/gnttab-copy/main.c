/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-copy/main.c
 * @ref test-gnttab-copy
 *
 * @page test-gnttab-copy gnttab-copy
 *
 * GNTTABOP_copy.  Expected values are those of the public header, which is
 * xen/include/public/grant_table.h; for errors that it calls "general
 * undefined error", those of Xen's C tables.
 *
 * For a table of version 1 and then of version 2 (main.c, refusals.c):
 *
 *  1. Frames and references, own and foreign, in all combinations, with
 *     offsets and lengths up to the page's bounds: the bytes asked for arrive,
 *     no other byte of either page changes.
 *  2. A length of zero does nothing.  Every wrong argument has its status,
 *     changes nothing and leaves nothing in use.
 *  3. Entries that are mapped at the same time (XSA-500).
 *  4. Batches with repeated sources and destinations, and errors in between
 *     (batches.c).
 *
 * Then, in version 2 only (parts.c):
 *
 *  5. Sub-page grants: in range, out of range, not to be mapped.
 *  6. Transitive grants: usable, through one domain and no more, never to
 *     itself, not to be mapped; references and locks balance (XSA-226,
 *     XSA-411).  Argument `transitive=no`: Xen runs with gnttab=no-transitive,
 *     and all are refused.
 *  7. No operation on version 2 is left pending: back to version 1.
 *
 *  8. Batches so long that Xen continues them: each element is done once and
 *     has a status (XSA-316, XSA-318).
 *
 * The other domain never runs; its table has version 1.  Argument
 * `only=plain,changed,parts,transitive,long` (or some of these) runs a part.
 *
 * @see tests/gnttab-copy/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>

#include "copy.h"

const char test_title[] = "Copying by grants";

uint8_t own_pages[NR_PAGES][PAGE_SIZE] __page_aligned_bss;
uint8_t window[PAGE_SIZE] __page_aligned_bss;
uint8_t expected[PAGE_SIZE];
domid_t self, other;

static uint8_t before[PAGE_SIZE];

void same_page(const char *what, const void *got, const void *wanted)
{
    barrier();
    if ( memcmp(got, wanted, PAGE_SIZE) )
        expect_bytes(what, got, wanted, PAGE_SIZE);
}

void expect_idle(void)
{
    unsigned int used = 0;
    unsigned long list;

    for ( grant_ref_t ref = FIRST_FREE_REF; ref < OWN_SPARE_2; ref++ )
        used |= own_in_use(ref);
    for ( grant_ref_t ref = ITS_A; ref <= ITS_RO; ref++ )
        used |= entry_in_use(ref);
    expect("in use after that", used, 0);

    /* Both of these take the lock of a table for writing. */
    expect("swap of unused references", table_swap(OWN_SPARE_1, OWN_SPARE_2),
           GNTST_okay);
    expect("set up the other's table", table_setup(other, 0, &list),
           GNTST_okay);
}

void check_copy(const char *what, struct copy_end source,
                const void *source_page, struct copy_end dest, void *dest_page,
                unsigned int len)
{
    static uint32_t seed;

    fill_pattern((void *)source_page, PAGE_SIZE, ++seed);
    fill_pattern(before, PAGE_SIZE, seed);
    fill_pattern(dest_page, PAGE_SIZE, ++seed);
    fill_pattern(expected, PAGE_SIZE, seed);
    memcpy(expected + dest.offset, before + source.offset, len);

    if ( !expect(what, copy_bytes(source, dest, len), GNTST_okay) )
        return;
    same_page(what, dest_page, expected);
    same_page("the source", source_page, before);
}

void refuse_copy(const char *what, struct copy_end source,
                 struct copy_end dest, unsigned int len, int status)
{
    unsigned int changed = 0;

    for ( unsigned int i = 0; i < NR_PAGES; i++ )
        fill_pattern(own_pages[i], PAGE_SIZE, 100 + i);
    for ( unsigned int i = 0; i < 2; i++ )
        fill_pattern(granter_page(i), PAGE_SIZE, 200 + i);

    expect(what, copy_bytes(source, dest, len), status);

    for ( unsigned int i = 0; i < NR_PAGES; i++ )
    {
        fill_pattern(before, PAGE_SIZE, 100 + i);
        changed += memcmp(own_pages[i], before, PAGE_SIZE) != 0;
    }
    for ( unsigned int i = 0; i < 2; i++ )
    {
        fill_pattern(before, PAGE_SIZE, 200 + i);
        changed += memcmp(granter_page(i), before, PAGE_SIZE) != 0;
    }
    expect("pages changed by it", changed, 0);
    expect_idle();
}

static const struct {
    uint16_t source, dest, len;
} places[] = {
    { 0, 0, PAGE_SIZE },
    { 0, 0, 1 },
    { PAGE_SIZE - 1, PAGE_SIZE - 1, 1 },
    { PAGE_SIZE - 1, 0, 1 },
    { 0, PAGE_SIZE - 1, 1 },
    { 1, 2, PAGE_SIZE - 2 },
    { PAGE_SIZE / 2, 0, PAGE_SIZE / 2 },
    { 13, 1017, 999 },
};

static void combinations(void)
{
    struct {
        const char *name;
        struct copy_end end;
        uint8_t *page;
    } sources[] = {
        { "own frame", own_page_at(own_pages[0]), own_pages[0] },
        { "own reference", by_ref(DOMID_SELF, OWN_A, 0), own_pages[0] },
        { "own reference by number", by_ref(self, OWN_A, 0), own_pages[0] },
        { "own read-only reference", by_ref(self, OWN_RO, 0), own_pages[0] },
        { "foreign reference", by_ref(other, ITS_A, 0), granter_page(0) },
        { "foreign read-only reference", by_ref(other, ITS_RO, 0),
          granter_page(0) },
    }, dests[] = {
        { "own frame", own_page_at(own_pages[1]), own_pages[1] },
        { "own reference", by_ref(DOMID_SELF, OWN_B, 0), own_pages[1] },
        { "own reference by number", by_ref(self, OWN_B, 0), own_pages[1] },
        { "foreign reference", by_ref(other, ITS_B, 0), granter_page(1) },
    };

    step("all combinations of source and destination");

    for ( unsigned int i = 0; i < ARRAY_SIZE(sources); i++ )
        for ( unsigned int j = 0; j < ARRAY_SIZE(dests); j++ )
            for ( unsigned int k = 0; k < ARRAY_SIZE(places); k++ )
            {
                char what[80];
                struct copy_end source = sources[i].end, dest = dests[j].end;

                source.offset = places[k].source;
                dest.offset = places[k].dest;
                snprintf(what, sizeof(what), "%s to %s, %u to %u, %u bytes",
                         sources[i].name, dests[j].name, source.offset,
                         dest.offset, places[k].len);
                check_copy(what, source, sources[i].page, dest, dests[j].page,
                           places[k].len);
            }
    expect_idle();

    step("within one page, by frame and by reference");

    for ( unsigned int i = 0; i < 2; i++ )
    {
        struct copy_end from = i ? by_ref(other, ITS_A, 0)
                                 : own_page_at(own_pages[0]), to = from;
        uint8_t *page = i ? granter_page(0) : own_pages[0];

        to.offset = 3000;
        fill_pattern(page, PAGE_SIZE, 50 + i);
        fill_pattern(expected, PAGE_SIZE, 50 + i);
        memcpy(expected + 3000, expected, 1000);
        expect("copy", copy_bytes(from, to, 1000), GNTST_okay);
        same_page("the page", page, expected);
    }
    expect_idle();
}

static void one_version(unsigned int version)
{
    step("a table of version %u", version);

    if ( !own_table(version) )
        return;
    for ( grant_ref_t ref = FIRST_FREE_REF; ref <= OWN_SPARE_2; ref++ )
        own_write(ref, 0, 0, 0);
    own_write(OWN_A, GTF_permit_access, self, virt_to_gfn(own_pages[0]));
    own_write(OWN_B, GTF_permit_access, self, virt_to_gfn(own_pages[1]));
    own_write(OWN_RO, GTF_permit_access | GTF_readonly, self,
              virt_to_gfn(own_pages[0]));

    if ( argument_lists("only", "plain") )
    {
        combinations();
        refusals(version);
        pinned_entries();
        batches(version);
    }
    if ( argument_lists("only", "changed") )
        changed_entry();
}

void test_main(void)
{
    size_t len;
    const char *how = argument("transitive", &len);
    unsigned int now;

    if ( !granter_begin() || !windows_free(window, 1) )
        return;
    self = own_domid();
    other = granter_domid();
    fact_u64("other", other);

    entry_grant(ITS_A, 0, 0);
    entry_grant(ITS_B, 1, 0);
    entry_grant(ITS_RO, 0, GTF_readonly);

    one_version(1);
    if ( argument_lists("only", "long") )
        long_batches();
    one_version(2);
    if ( argument_lists("only", "parts") )
        parts();
    if ( argument_lists("only", "transitive") )
        transitive(!(how && len == 2 && !strncmp(how, "no", 2)));

    step("nothing is pending: back to version 1");
    expect("hide the status frame", hide_status(1), 0);
    expect("set_version 1", table_set_version(1, &now), 0);
    expect("version in force", now, 1);

    granter_end();
    xtf_success(NULL);
}
