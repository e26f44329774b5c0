/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-230/main.c
 * @ref test-gnttab-xsa-230
 *
 * @page test-gnttab-xsa-230 gnttab-xsa-230
 *
 * Advisory: [XSA-230](https://xenbits.xen.org/xsa/advisory-230.html)
 *
 * Whether an entry is in use was decided without device mappings: the granter
 * was told that its page is free while devices still could reach it.
 *
 *  1. For each pair of mappings (CPU or device, to read or to write), undone
 *     in either order, the entry says what is left: GTF_reading while there is
 *     any, GTF_writing while there is one to write.
 *  2. Meanwhile the granter cannot withdraw the grant.
 *
 * @see tests/gnttab-xsa-230/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/steps.h>

const char test_title[] = "XSA-230: device mappings and the flags of an entry";

#define REF             FIRST_FREE_REF

static uint8_t windows[2][PAGE_SIZE] __page_aligned_bss;

static const unsigned int kinds[] = {
    GNTMAP_host_map,
    GNTMAP_host_map | GNTMAP_readonly,
    GNTMAP_device_map,
    GNTMAP_device_map | GNTMAP_readonly,
    GNTMAP_host_map | GNTMAP_device_map,
    GNTMAP_host_map | GNTMAP_device_map | GNTMAP_readonly,
};

/* What the entry says for mappings with these flags; 0 for no mapping. */
static unsigned int flags_for(unsigned int a, unsigned int b)
{
    unsigned int flags = a || b ? GTF_reading : 0;

    if ( (a && !(a & GNTMAP_readonly)) || (b && !(b & GNTMAP_readonly)) )
        flags |= GTF_writing;

    return flags;
}

static void undo(unsigned int window, unsigned int kind,
                 const struct gnttab_map_grant_ref *map)
{
    expect("undo", gnttab_unmap_all(
               kind & GNTMAP_host_map ? _u(windows[window]) : 0,
               kind & GNTMAP_device_map ? map->dev_bus_addr : 0, map->handle),
           GNTST_okay);
}

static void pair(unsigned int a, unsigned int b, bool in_order)
{
    struct gnttab_map_grant_ref maps[2];

    expect("map", map_at(windows[0], REF, a, &maps[0]), GNTST_okay);
    expect("in use by the first", entry_in_use(REF), flags_for(a, 0));
    expect("map", map_at(windows[1], REF, b, &maps[1]), GNTST_okay);
    expect("in use by both", entry_in_use(REF), flags_for(a, b));
    expect_true("cannot be withdrawn", !entry_withdraw(REF));

    if ( in_order )
    {
        undo(0, a, &maps[0]);
        expect("in use by the second", entry_in_use(REF), flags_for(0, b));
    }
    else
    {
        undo(1, b, &maps[1]);
        expect("in use by the first", entry_in_use(REF), flags_for(a, 0));
    }
    expect_true("cannot be withdrawn", !entry_withdraw(REF));

    if ( in_order )
        undo(1, b, &maps[1]);
    else
        undo(0, a, &maps[0]);
    expect("in use by neither", entry_in_use(REF), 0);
}

void test_main(void)
{
    if ( !granter_begin() || !windows_free(windows, 2) )
        return;

    entry_grant(REF, 0, 0);
    for ( unsigned int i = 0; i < ARRAY_SIZE(kinds); i++ )
    {
        step("mappings %#x and each other kind", kinds[i]);
        for ( unsigned int j = 0; j < ARRAY_SIZE(kinds); j++ )
        {
            pair(kinds[i], kinds[j], true);
            pair(kinds[i], kinds[j], false);
        }
    }
    expect_true("withdraw", entry_withdraw(REF));
    granter_end();

    xtf_success(NULL);
}
