/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-218/main.c
 * @ref test-gnttab-xsa-218
 *
 * @page test-gnttab-xsa-218 gnttab-xsa-218
 *
 * Advisory: [XSA-218](https://xenbits.xen.org/xsa/advisory-218.html)
 *
 * One mapping could be undone twice, at the same time or in one batch, where
 * the work is in two halves: its handle was freed twice and then given out
 * twice, and the page's references were dropped twice.
 *
 *  1. The same element many times in one batch of unmaps: the first is done,
 *     the others are GNTST_bad_handle.
 *  2. The same for two mappings in turn, and for the halves of one handle.
 *  3. Handles given out afterwards are all different, each undoes its own
 *     mapping, and the granter's domain can end.
 *
 * @see tests/gnttab-xsa-218/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/steps.h>

const char test_title[] = "XSA-218: one handle, unmapped twice";

#define REF             FIRST_FREE_REF
#define NR              100     /* More than one inner batch of Xen's. */
#define NR_WINDOWS      64

static uint8_t windows[NR_WINDOWS][PAGE_SIZE] __page_aligned_bss;
static struct gnttab_map_grant_ref maps[NR_WINDOWS];
static struct gnttab_unmap_grant_ref unmaps[NR];

static void fill(unsigned int i, unsigned int window)
{
    unmaps[i] = (struct gnttab_unmap_grant_ref){
        .host_addr = _u(windows[window]),
        .handle = maps[window].handle,
        .status = GNTST_NOT_DONE,
    };
}

static void map_window(unsigned int i)
{
    expect("map", map_at(windows[i], REF, GNTMAP_host_map, &maps[i]),
           GNTST_okay);
}

/* The first @good elements are done, the rest name what is gone. */
static void unmap_batch(unsigned int good)
{
    unsigned int bad = 0;

    expect("unmap", hypercall_grant_table_op(GNTTABOP_unmap_grant_ref, unmaps,
                                             NR), 0);
    for ( unsigned int i = 0; i < NR; i++ )
        bad += unmaps[i].status != (i < good ? GNTST_okay : GNTST_bad_handle);
    expect("wrong statuses", bad, 0);
    expect("in use", entry_in_use(REF), 0);
}

static void handles_are_sound(void)
{
    unsigned int bad = 0;

    step("handles given out afterwards");

    for ( unsigned int i = 0; i < NR_WINDOWS; i++ )
        map_window(i);
    for ( unsigned int i = 0; i < NR_WINDOWS; i++ )
        for ( unsigned int j = 0; j < i; j++ )
            bad += maps[i].handle == maps[j].handle;
    expect("given out twice", bad, 0);

    for ( unsigned int i = 0; i < NR_WINDOWS; i++ )
    {
        expect("in use", entry_in_use(REF), GTF_IN_USE);
        expect("unmap", gnttab_unmap(_u(windows[i]), maps[i].handle),
               GNTST_okay);
    }
    expect("in use", entry_in_use(REF), 0);
}

void test_main(void)
{
    if ( !granter_begin() || !windows_free(windows, NR_WINDOWS) )
        return;
    entry_grant(REF, 0, 0);

    step("one mapping, %u times in one batch", NR);
    map_window(0);
    for ( unsigned int i = 0; i < NR; i++ )
        fill(i, 0);
    unmap_batch(1);
    handles_are_sound();

    step("two mappings in turn");
    map_window(0);
    map_window(1);
    for ( unsigned int i = 0; i < NR; i++ )
        fill(i, i % 2);
    unmap_batch(2);
    handles_are_sound();

#ifdef CONFIG_PV
    step("the halves of a handle, each twice");
    expect("map", map_at(windows[0], REF, GNTMAP_host_map | GNTMAP_device_map,
                         &maps[0]), GNTST_okay);
    for ( unsigned int i = 0; i < NR; i++ )
    {
        fill(i, 0);
        if ( i == 0 )
            unmaps[i].dev_bus_addr = maps[0].dev_bus_addr;
    }
    unmap_batch(1);
    expect("map", map_at(windows[0], REF, GNTMAP_host_map | GNTMAP_device_map,
                         &maps[0]), GNTST_okay);
    for ( unsigned int i = 0; i < NR; i++ )
    {
        fill(i, 0);
        if ( i != 0 )
        {
            unmaps[i].host_addr = 0;
            unmaps[i].dev_bus_addr = maps[0].dev_bus_addr;
        }
    }
    unmap_batch(2);
    handles_are_sound();
#endif

    expect_true("withdraw", entry_withdraw(REF));
    granter_end();

    xtf_success(NULL);
}
