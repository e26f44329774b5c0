/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-224/main.c
 * @ref test-gnttab-xsa-224
 *
 * @page test-gnttab-xsa-224 gnttab-xsa-224
 *
 * Advisory: [XSA-224](https://xenbits.xen.org/xsa/advisory-224.html)
 *
 * A handle for CPUs and devices stands for two uses of the page, and undoing
 * them one after the other must give back what mapping has taken: once each.
 * Too much given back shows as a page that becomes a page table although it is
 * mapped for writing; too little as one that cannot become one, or that stays
 * this domain's after it was given up.
 *
 *  1. For every combination of kinds and rights and every order of undoing, the
 *     page is no page table while a right to write is left, and can be one
 *     when none is.
 *  2. Device mappings undone with an address of 0 keep what they have.
 *  3. Another right to write, the domain's own, outlasts all of these.
 *  4. In the end the page can be given back, and is then gone.
 *
 * @see tests/gnttab-xsa-224/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/page-table.h>
#include <lab/steps.h>

const char test_title[] = "XSA-224: host and device mappings on one handle";

#define REF             FIRST_FREE_REF

#define HOST            GNTMAP_host_map
#define DEVICE          GNTMAP_device_map
#define RO              GNTMAP_readonly

static uint8_t window[PAGE_SIZE] __page_aligned_bss;
static unsigned long mfn;

/* Undo these halves. */
static void undo(unsigned int halves, const struct gnttab_map_grant_ref *map)
{
    expect("undo", gnttab_unmap_all(halves & HOST ? _u(window) : 0,
                                    halves & DEVICE ? map->dev_bus_addr : 0,
                                    map->handle), GNTST_okay);
}

/* One handle, undone in two calls; @own: the domain's own right to write. */
static void one_handle(unsigned int first, unsigned int flags, bool own)
{
    const unsigned int rest = (HOST | DEVICE) & ~first;
    const int writable = own || !(flags & RO) ? -EINVAL : 0;
    struct gnttab_map_grant_ref map;

    if ( !expect("map", map_at(window, REF, HOST | DEVICE | flags, &map),
                 GNTST_okay) )
        return;
    expect("a page table while mapped twice", try_as_page_table(mfn), writable);
    undo(0, &map);
    expect("after undoing nothing", try_as_page_table(mfn), writable);
    undo(first, &map);
    if ( rest )
    {
        expect("while mapped once", try_as_page_table(mfn), writable);
        undo(first, &map);
        expect("after undoing that again", try_as_page_table(mfn), writable);
        undo(rest, &map);
    }
    expect("while not mapped", try_as_page_table(mfn), own ? -EINVAL : 0);
    expect("in use", entry_in_use(REF), 0);
}

/* Two handles of one kind each. */
static void two_handles(unsigned int flags)
{
    const int writable = flags & RO ? 0 : -EINVAL;
    struct gnttab_map_grant_ref host, device;

    expect("map for CPUs", map_at(window, REF, HOST | flags, &host),
           GNTST_okay);
    expect("map for devices", map_at(NULL, REF, DEVICE | flags, &device),
           GNTST_okay);
    expect("a page table while mapped twice", try_as_page_table(mfn), writable);
    undo(HOST, &host);
    expect("while mapped for devices", try_as_page_table(mfn), writable);
    expect("map for CPUs", map_at(window, REF, HOST | flags, &host),
           GNTST_okay);
    undo(DEVICE, &device);
    expect("while mapped for CPUs", try_as_page_table(mfn), writable);
    undo(HOST, &host);
    expect("while not mapped", try_as_page_table(mfn), 0);
    expect("in use", entry_in_use(REF), 0);
}

void test_main(void)
{
    static const unsigned int rights[] = { 0, RO };
    long owned;

    if ( !granter_self(1) || !windows_free(window, 1) )
        return;
    mfn = granter_gfn(0);
    entry_grant(REF, 0, 0);

    step("beside the domain's own right to write");
    for ( unsigned int i = 0; i < ARRAY_SIZE(rights); i++ )
    {
        one_handle(HOST, rights[i], true);
        one_handle(DEVICE, rights[i], true);
        one_handle(HOST | DEVICE, rights[i], true);
    }

    step("alone");
    memset(granter_page(0), 0, PAGE_SIZE);
    expect("no other right to write",
           pte_write(granter_page(0), mfn, PTE_READ_ONLY), 0);
    for ( unsigned int i = 0; i < ARRAY_SIZE(rights); i++ )
    {
        one_handle(HOST, rights[i], false);
        one_handle(DEVICE, rights[i], false);
        one_handle(HOST | DEVICE, rights[i], false);
        two_handles(rights[i]);
    }

    step("the page has no references left over");
    expect_true("withdraw", entry_withdraw(REF));
    owned = owned_pages();
    expect("no own mapping", pte_write(granter_page(0), 0, 0), 0);
    expect("pages", owned_pages(), owned);
    expect("give it back", give_back(mfn), 0);
    expect("pages", owned_pages(), owned - 1);

    xtf_success(NULL);
}
