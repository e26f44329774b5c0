/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-222-234/main.c
 * @ref test-gnttab-xsa-222-234
 *
 * @page test-gnttab-xsa-222-234 gnttab-xsa-222-234
 *
 * Advisories: [XSA-222](https://xenbits.xen.org/xsa/advisory-222.html),
 * [XSA-234](https://xenbits.xen.org/xsa/advisory-234.html)
 *
 * An unmap that did not take the mapping away, because something else was at
 * the address or because removing failed, counted as done: the references
 * went, and a mapping stayed.
 *
 *  1. Unmapping at the address of another mapping, also of the same page by
 *     another reference, fails and changes nothing.
 *  2. HVM: a guest frame with a mapping in it can be neither given back nor
 *     removed; the mapping stays and can be undone.
 *  3. PV: an entry that maps the page with other rights than the handle's is
 *     not the handle's mapping.  The writable entry, moved elsewhere meanwhile,
 *     keeps the page from becoming a page table until it is really undone.
 *
 * @see tests/gnttab-xsa-222-234/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/page-table.h>
#include <lab/steps.h>

const char test_title[] = "XSA-222, XSA-234: unmaps that unmap nothing";

#define REF             FIRST_FREE_REF
#define REF_OTHER       (FIRST_FREE_REF + 1)

#define READ_ONLY       (GNTMAP_host_map | GNTMAP_readonly)

static uint8_t windows[3][PAGE_SIZE] __page_aligned_bss;

static void expect_byte(const char *what, unsigned int window, uint8_t value)
{
    uint8_t byte;

    expect_true(what, cpu_reads(windows[window], &byte) && byte == value);
}

static void another_mapping(void)
{
    struct gnttab_map_grant_ref a, b, empty;

    step("the address of another mapping");

    granter_page(0)[0] = 1;
    granter_page(1)[0] = 2;
    expect("map one page", map_at(windows[0], REF, GNTMAP_host_map, &a),
           GNTST_okay);
    expect("map another page", map_at(windows[1], REF_OTHER, GNTMAP_host_map,
                                      &b), GNTST_okay);
    expect("the one at the other's address",
           gnttab_unmap(_u(windows[1]), a.handle), GNTST_general_error);
    expect("the other at the one's address",
           gnttab_unmap(_u(windows[0]), b.handle), GNTST_general_error);
    expect("at an address without any",
           gnttab_unmap(_u(windows[2]), a.handle), GNTST_general_error);
    expect_byte("the one is mapped", 0, 1);
    expect_byte("the other is mapped", 1, 2);
    expect("the one is in use", entry_in_use(REF), GTF_IN_USE);
    expect("the other is in use", entry_in_use(REF_OTHER), GTF_IN_USE);
    expect("unmap", gnttab_unmap(_u(windows[0]), a.handle), GNTST_okay);
    expect("unmap", gnttab_unmap(_u(windows[1]), b.handle), GNTST_okay);
    expect("the one is free", entry_in_use(REF), 0);
    expect("the other is free", entry_in_use(REF_OTHER), 0);

    expect("map", map_at(windows[0], REF, READ_ONLY, &empty), GNTST_okay);
    expect("unmap", gnttab_unmap(_u(windows[0]), empty.handle), GNTST_okay);
}

#ifdef CONFIG_HVM

#define REMOVE_FROM_PHYSMAP     15

static void frames_in_use(void)
{
    struct {
        domid_t domid;
        unsigned long gfn;
    } remove = { DOMID_SELF, virt_to_gfn(windows[0]) };
    struct gnttab_map_grant_ref map;

    step("a guest frame with a mapping in it");

    granter_page(0)[0] = 3;
    expect("map", map_at(windows[0], REF, GNTMAP_host_map, &map), GNTST_okay);
    expect_true("cannot be given back", make_holes(windows[0], 1));
    expect_byte("mapped", 0, 3);
    expect_true("cannot be removed",
                hypercall_memory_op(REMOVE_FROM_PHYSMAP, &remove));
    expect_byte("mapped", 0, 3);
    expect("in use", entry_in_use(REF), GTF_IN_USE);
    expect("unmap", gnttab_unmap(_u(windows[0]), map.handle), GNTST_okay);
    expect("free", entry_in_use(REF), 0);

    expect_true("withdraw", entry_withdraw(REF));
    expect_true("withdraw", entry_withdraw(REF_OTHER));
    granter_end();
}

#else

/* Entries of this domain's, changed by hand: it is its own granter. */
static void other_rights(void)
{
    const unsigned long mfn = granter_gfn(0);
    struct gnttab_map_grant_ref rw, ro, reading;

    step("an entry with other rights than the handle's");

    memset(granter_page(0), 0, PAGE_SIZE);
    expect("no other right to write",
           pte_write(granter_page(0), mfn, PTE_READ_ONLY), 0);
    expect("map one page for writing",
           map_at(windows[0], REF, GNTMAP_host_map, &rw), GNTST_okay);
    expect("map another for reading",
           map_at(windows[1], REF_OTHER, READ_ONLY, &ro), GNTST_okay);
    expect("replace the latter by the former",
           gnttab_replace(_u(windows[1]), _u(windows[0]), ro.handle),
           GNTST_okay);
    expect("an entry for reading in the old place",
           pte_write(windows[0], mfn, PTE_READ_ONLY), 0);

    expect("unmap there", gnttab_unmap(_u(windows[0]), rw.handle),
           GNTST_general_error);
    expect("in use", entry_in_use(REF), GTF_IN_USE);
    expect_hex("the writable entry", pte_read(windows[1]) & PTE_READ_WRITE,
               PTE_READ_WRITE);
    expect("a page table", try_as_page_table(mfn), -EINVAL);

    expect("unmap where it is", gnttab_unmap(_u(windows[1]), rw.handle),
           GNTST_okay);
    expect("free", entry_in_use(REF), 0);
    expect("a page table", try_as_page_table(mfn), 0);

    step("a handle for reading, and an entry for writing");

    expect("empty the place", pte_write(windows[0], 0, 0), 0);
    expect("map for reading", map_at(windows[2], REF, READ_ONLY, &reading),
           GNTST_okay);
    expect("an own entry for writing",
           pte_write(windows[0], mfn, PTE_READ_WRITE), 0);
    expect("unmap there", gnttab_unmap(_u(windows[0]), reading.handle),
           GNTST_general_error);
    expect("in use", entry_in_use(REF), GTF_reading);
    expect("a page table", try_as_page_table(mfn), -EINVAL);
    expect("empty the place", pte_write(windows[0], 0, 0), 0);
    expect("unmap", gnttab_unmap(_u(windows[2]), reading.handle), GNTST_okay);
    expect("free", entry_in_use(REF), 0);
    expect("a page table", try_as_page_table(mfn), 0);

    expect_true("withdraw", entry_withdraw(REF));
    expect_true("withdraw", entry_withdraw(REF_OTHER));
}

#endif

void test_main(void)
{
#ifdef CONFIG_PV
    if ( !granter_self(1) || !windows_free(windows, ARRAY_SIZE(windows)) )
        return;
#else
    if ( !granter_begin() || !windows_free(windows, ARRAY_SIZE(windows)) )
        return;
#endif
    entry_grant(REF, 0, 0);
    entry_grant(REF_OTHER, 1, 0);

    another_mapping();
#ifdef CONFIG_PV
    other_rights();
#else
    frames_in_use();
#endif

    xtf_success(NULL);
}
