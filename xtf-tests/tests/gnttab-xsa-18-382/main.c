/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-18-382/main.c
 * @ref test-gnttab-xsa-18-382
 *
 * @page test-gnttab-xsa-18-382 gnttab-xsa-18-382
 *
 * Advisories: [XSA-18](https://xenbits.xen.org/xsa/advisory-18.html),
 * [XSA-382](https://xenbits.xen.org/xsa/advisory-382.html)
 *
 * Numbers that a guest chooses were used as indices with a check that was
 * wrong or missing.  For mapping those are references and handles:
 *
 *  1. Before anything is mapped, no handle is one.
 *  2. References from the first beyond the table on are GNTST_bad_gntref.
 *  3. With one mapping there is one handle; all other numbers around it, at
 *     the ends of frames and of the number's range, are GNTST_bad_handle, and
 *     do nothing to the mapping.
 *
 * @see tests/gnttab-xsa-18-382/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/steps.h>

const char test_title[] = "XSA-18, XSA-382: bounds of references and handles";

#define REF             FIRST_FREE_REF

/* Handles of one maptrack frame, and the most frames there can be. */
#define PER_FRAME       256u
#define MOST_FRAMES     1024u

static uint8_t window[PAGE_SIZE] __page_aligned_bss;

static void wrong_handle(grant_handle_t handle, grant_handle_t good)
{
    char what[32];

    if ( handle == good )
        return;
    snprintf(what, sizeof(what), "handle %#x", handle);
    expect(what, gnttab_unmap(_u(window), handle), GNTST_bad_handle);
#ifdef CONFIG_PV
    expect(what, gnttab_unmap_all(0, 1, handle), GNTST_bad_handle);
    expect(what, gnttab_replace(_u(window), 0, handle), GNTST_bad_handle);
#endif
}

static void wrong_handles(grant_handle_t good)
{
    for ( grant_handle_t handle = 0; handle < 2 * PER_FRAME; handle++ )
        wrong_handle(handle, good);
    for ( unsigned int bit = 9; bit < 32; bit++ )
    {
        wrong_handle((1u << bit) - 1, good);
        wrong_handle(1u << bit, good);
        wrong_handle((1u << bit) + good, good);
    }
    wrong_handle(PER_FRAME * MOST_FRAMES - 1, good);
    wrong_handle(PER_FRAME * MOST_FRAMES, good);
    wrong_handle(HANDLE_NONE - 1, good);
    wrong_handle(HANDLE_NONE, good);
}

static void wrong_reference(grant_ref_t ref)
{
    struct gnttab_map_grant_ref map;
    char what[32];

    snprintf(what, sizeof(what), "reference %#x", ref);
    expect(what, map_at(window, ref, GNTMAP_host_map, &map), GNTST_bad_gntref);
}

void test_main(void)
{
    struct gnttab_map_grant_ref map;
    unsigned int nr;

    if ( !granter_begin() || !windows_free(window, 1) )
        return;
    entry_grant(REF, 0, 0);
    nr = granter_entries();

    step("no handle is one");
    wrong_handles(HANDLE_NONE - 2);

    step("references beyond the table");
    for ( unsigned int i = 0; i < 4; i++ )
        wrong_reference(nr + i);
    for ( unsigned int bit = 10; bit < 32; bit++ )
    {
        wrong_reference((1u << bit) - 1);
        wrong_reference((1u << bit) + REF);
    }
    wrong_reference(0xffffffff);
    expect("in use", entry_in_use(REF), 0);

    step("one mapping has one handle");
    if ( expect("map", map_at(window, REF, GNTMAP_host_map, &map), GNTST_okay) )
    {
        wrong_handles(map.handle);
        expect("in use", entry_in_use(REF), GTF_IN_USE);
        granter_page(0)[5] = 0x5a;
        expect("mapped", window[5], 0x5a);
        expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
        expect("in use", entry_in_use(REF), 0);
    }

    expect_true("withdraw", entry_withdraw(REF));
    granter_end();

    xtf_success(NULL);
}
