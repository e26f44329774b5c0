/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-394/main.c
 * @ref test-gnttab-xsa-394
 *
 * @page test-gnttab-xsa-394 gnttab-xsa-394
 *
 * Advisory: [XSA-394](https://xenbits.xen.org/xsa/advisory-394.html)
 *
 * A PV domain's I/O page tables have one entry for a page, however often it is
 * mapped.  Mappings were counted by handle and uncounted by half of a handle,
 * so that the entry went while devices had a right to it.  To be run with an
 * IOMMU and `dom0-iommu=strict`, and with the `edu` device.
 *
 *  1. Many handles of all kinds for one reference, and each undone: the device
 *     reaches the page exactly while a mapping for devices is there, in halves
 *     of handles too.
 *  2. It can write exactly while a mapping to write is there.
 *  3. The same with two references to the page.
 *
 * @see tests/gnttab-xsa-394/main.c
 */
#include <xtf.h>

#include <lab/edu.h>
#include <lab/mapping.h>
#include <lab/steps.h>

const char test_title[] = "XSA-394: many mappings of one page, for devices";

#define REF             FIRST_FREE_REF
#define REF_ALIAS       (FIRST_FREE_REF + 1)
#define MANY            40u

#define HOST            GNTMAP_host_map
#define DEVICE          GNTMAP_device_map
#define RO              GNTMAP_readonly

/* A transfer shows as much of the page as this. */
#define LEN             64

static uint8_t windows[MANY][PAGE_SIZE] __page_aligned_bss;
static uint8_t shown[PAGE_SIZE] __page_aligned_bss;
static struct gnttab_map_grant_ref maps[MANY];
static uint8_t wanted[LEN];

static struct edu edu;

static uint64_t own_maddr(const void *va)
{
    return (uint64_t)virt_to_gfn(va) << PAGE_SHIFT;
}

/* What the device can do with the granter's page. */
static void expect_reach(const char *when, bool reads, bool writes)
{
    const uint64_t page = (uint64_t)granter_gfn(0) << PAGE_SHIFT;
    static uint32_t seed;
    bool can_read, can_write;

    fill_pattern(granter_page(0), LEN, ++seed);
    memset(shown, 0, LEN);
    fill_pattern(wanted, LEN, seed);
    if ( edu_load(&edu, page, 0, LEN) ||
         edu_store(&edu, own_maddr(shown), 0, LEN) )
        return xtf_error("The device does not finish\n");
    can_read = !memcmp(shown, wanted, LEN);

    fill_pattern(shown, LEN, ++seed);
    if ( edu_load(&edu, own_maddr(shown), 0, LEN) ||
         edu_store(&edu, page, 0, LEN) )
        return xtf_error("The device does not finish\n");
    can_write = !memcmp(granter_page(0), shown, LEN);

    printk("The device can%s read and can%s write (%s)\n",
           can_read ? "" : "not", can_write ? "" : "not", when);
    expect("device reads", can_read, reads);
    expect("device writes", can_write, writes);
}

static void map_one(unsigned int i, grant_ref_t ref, unsigned int flags)
{
    expect("map", map_at(windows[i], ref, flags, &maps[i]), GNTST_okay);
}

static void undo(unsigned int i, unsigned int halves)
{
    expect("undo", gnttab_unmap_all(halves & HOST ? _u(windows[i]) : 0,
                                    halves & DEVICE ? maps[i].dev_bus_addr : 0,
                                    maps[i].handle), GNTST_okay);
}

static void halves(void)
{
    step("the halves of several handles");

    map_one(0, REF, HOST | DEVICE);
    map_one(1, REF, HOST | DEVICE);
    map_one(2, REF, HOST | DEVICE | RO);
    expect_reach("three handles", true, true);
    undo(0, HOST);
    undo(1, HOST);
    undo(2, HOST);
    expect_reach("three halves for devices", true, true);
    undo(0, DEVICE);
    expect_reach("one of them to write", true, true);
    undo(1, DEVICE);
    expect_reach("one to read", true, false);
    undo(2, DEVICE);
    expect_reach("none", false, false);
}

static void many(void)
{
    step("%u handles of one reference", MANY);

    for ( unsigned int i = 0; i < MANY; i++ )
        map_one(i, REF, (i % 2 ? 0 : HOST) | DEVICE | (i % 4 < 2 ? RO : 0));
    expect_reach("all of them", true, true);

    for ( unsigned int i = 0; i < MANY; i++ )
        if ( i % 2 == 0 )
            undo(i, HOST);
    expect_reach("those for CPUs undone", true, true);

    for ( unsigned int i = 0; i < MANY - 4; i++ )
        undo(i, DEVICE);
    expect_reach("all but four undone", true, true);
    undo(MANY - 1, DEVICE);
    undo(MANY - 2, DEVICE);
    expect_reach("two to read are left", true, false);
    undo(MANY - 3, DEVICE);
    expect_reach("one to read is left", true, false);
    undo(MANY - 4, DEVICE);
    expect_reach("none is left", false, false);
    expect("in use", entry_in_use(REF), 0);
}

static void two_references(void)
{
    step("two references to the page");

    map_one(0, REF, DEVICE);
    map_one(1, REF_ALIAS, DEVICE | RO);
    expect_reach("both", true, true);
    undo(0, DEVICE);
    expect_reach("the one to read", true, false);
    map_one(0, REF, DEVICE);
    undo(1, DEVICE);
    expect_reach("the one to write", true, true);
    undo(0, DEVICE);
    expect_reach("neither", false, false);
}

void test_main(void)
{
    if ( !granter_begin() || !windows_free(windows, MANY) )
        return;
    if ( !edu_open(&edu, 0) )
        return xtf_skip("This machine has no edu device\n");
    entry_grant(REF, 0, 0);
    entry_grant(REF_ALIAS, 0, 0);

    step("the device reaches nothing that is not mapped for it");
    expect_reach("nothing mapped", false, false);
    halves();
    many();
    two_references();

    expect_true("withdraw", entry_withdraw(REF));
    expect_true("withdraw", entry_withdraw(REF_ALIAS));
    granter_end();

    xtf_success(NULL);
}
