/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-granter-dies/main.c
 * @ref test-gnttab-granter-dies
 *
 * @page test-gnttab-granter-dies gnttab-granter-dies
 *
 * A domain is destroyed while its grants are mapped.  A mapping holds the page,
 * and the page its domain, until the mapping is undone: the granter's end
 * cannot take a page away from under its holder, nor can a mapping be left
 * that nobody can undo.
 *
 *  1. What is mapped stays mapped, with the rights it had.
 *  2. References that are not mapped cannot be mapped any more: their pages
 *     are not the granter's ("Specified page was invalid for op").  Nothing
 *     is taken by trying.
 *  3. Handles can be undone as ever; the domain is there until the last one
 *     is, and not longer.
 *  4. Afterwards handles are void and the domain's id is no domain's.
 *
 * @see tests/gnttab-granter-dies/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/mapping.h>
#include <lab/steps.h>

const char test_title[] = "The granter ends before its mappings";

#define REF_WRITE       FIRST_FREE_REF
#define REF_READ        (FIRST_FREE_REF + 1)
#define REF_UNMAPPED    (FIRST_FREE_REF + 2)

#define READ_ONLY       (GNTMAP_host_map | GNTMAP_readonly)

/* Longer than Xen takes to forget a domain that nothing holds. */
#define FORGET_NS       MS(200)

static uint8_t windows[4][PAGE_SIZE] __page_aligned_bss;
static uint8_t copy[PAGE_SIZE];
static struct gnttab_map_grant_ref maps[4];

static void map_window(unsigned int i, grant_ref_t ref, unsigned int flags)
{
    expect("map", map_at(windows[i], ref, flags, &maps[i]), GNTST_okay);
}

static void unmap_window(unsigned int i)
{
    expect("unmap", gnttab_unmap(_u(windows[i]), maps[i].handle), GNTST_okay);
}

static void still_mapped(void)
{
    step("what is mapped stays mapped");

    fill_pattern(copy, PAGE_SIZE, 21);
    expect_bytes("the page mapped for writing", windows[0], copy, PAGE_SIZE);
    expect_bytes("its mapping for reading", windows[1], copy, PAGE_SIZE);
    fill_pattern(copy, PAGE_SIZE, 22);
    expect_bytes("the page mapped for reading", windows[2], copy, PAGE_SIZE);

    fill_pattern(windows[0], PAGE_SIZE, 23);
    fill_pattern(copy, PAGE_SIZE, 23);
    expect_bytes("written through one, read through the other", windows[1],
                 copy, PAGE_SIZE);
}

static void no_more(void)
{
    struct gnttab_map_grant_ref map;

    step("what is not mapped cannot be mapped any more");

    for ( unsigned int i = 0; i < 100; i++ )
        if ( !expect("map", map_at(windows[3], REF_UNMAPPED,
                                   i % 2 ? READ_ONLY : GNTMAP_host_map, &map),
                     GNTST_bad_page) )
            break;
    expect("a reference beyond the table",
           map_at(windows[3], granter_entries(), READ_ONLY, &map),
           GNTST_bad_gntref);
}

/* The domain remains, however long one waits. */
static void still_there(const char *what)
{
    uint64_t start = now_ns();

    while ( now_ns() - start < FORGET_NS )
        hypercall_yield();
    expect_true(what, granter_exists());
}

void test_main(void)
{
    struct gnttab_map_grant_ref map;

    if ( !granter_begin() || !windows_free(windows, ARRAY_SIZE(windows)) )
        return;
    entry_grant(REF_WRITE, 0, 0);
    entry_grant(REF_READ, 1, GTF_readonly);
    entry_grant(REF_UNMAPPED, 2, 0);
    fill_pattern(granter_page(0), PAGE_SIZE, 21);
    fill_pattern(granter_page(1), PAGE_SIZE, 22);

    step("grants are mapped, and the granter is destroyed");
    map_window(0, REF_WRITE, GNTMAP_host_map);
    map_window(1, REF_WRITE, READ_ONLY);
    map_window(2, REF_READ, READ_ONLY);
#ifdef CONFIG_PV
    expect("map for devices",
           map_at(NULL, REF_READ, GNTMAP_device_map | GNTMAP_readonly,
                  &maps[3]), GNTST_okay);
#endif
    if ( !granter_destroy() )
        return;
    still_there("the domain, all mapped");

    still_mapped();
    no_more();

    step("each mapping can be undone, and the last one lets the domain go");
    unmap_window(1);
    still_there("the domain, three mappings or two left");
    unmap_window(0);
    expect("that one again", gnttab_unmap(_u(windows[0]), maps[0].handle),
           GNTST_bad_handle);
    still_there("the domain, two mappings or one left");
#ifdef CONFIG_PV
    unmap_window(2);
    still_there("the domain, a mapping for devices left");
    expect("undo it",
           gnttab_unmap_all(0, maps[3].dev_bus_addr, maps[3].handle),
           GNTST_okay);
#else
    unmap_window(2);
#endif
    granter_end();

    step("nothing is left of it");
    expect("its reference", map_at(windows[0], REF_WRITE, READ_ONLY, &map),
           GNTST_bad_domain);
    for ( unsigned int i = 0; i < 3; i++ )
        expect("its handle", gnttab_unmap(_u(windows[i]), maps[i].handle),
               GNTST_bad_handle);

    xtf_success(NULL);
}
