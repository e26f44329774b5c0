/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-replace/main.c
 * @ref test-gnttab-replace
 *
 * @page test-gnttab-replace gnttab-replace
 *
 * GNTTABOP_unmap_and_replace: undo a host mapping and "atomically replace the
 * page table entry with one pointing to the machine address under <new_addr>.
 * <new_addr> will be redirected to the null entry."
 *
 *  1. The page that was at the new address is at the old one afterwards, with
 *     its rights; the new address has nothing, the reference is free.
 *  2. A new address of 0 leaves nothing there: an ordinary unmap.
 *  3. Wrong handles, addresses and mappings fail and leave the mapping alone.
 *     (The page at the new address is lost if only then something is found
 *     wrong: that is how it always was.)
 *  4. Each element of a batch is done, in order.
 *  5. An HVM guest has no page tables that Xen knows: -ENOSYS.
 *
 * Statuses that the header does not name are those of Xen's C tables.  The
 * granter is a domain of its own; with `version=1` or `version=2` it is this
 * domain, with a table of that version.
 *
 * @see tests/gnttab-replace/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/mapping.h>
#include <lab/page-table.h>
#include <lab/steps.h>

const char test_title[] = "GNTTABOP_unmap_and_replace";

#define REF             FIRST_FREE_REF

#ifdef CONFIG_PV

#define BATCH           40      /* More than Xen does between two flushes. */

static uint8_t window[PAGE_SIZE] __page_aligned_bss;
static uint8_t spare[PAGE_SIZE] __page_aligned_bss;
static uint8_t old_windows[BATCH][PAGE_SIZE] __page_aligned_bss;
static uint8_t new_windows[BATCH][PAGE_SIZE] __page_aligned_bss;
static uint8_t copy[PAGE_SIZE];

/* Nothing is mapped at @va. */
static void expect_nothing(const char *what, const void *va)
{
    uint8_t byte;

    expect_hex(what, pte_read(va), 0);
    expect_true("nothing to read", !cpu_reads(va, &byte));
}

static void expect_mapped(const char *what, const void *va, unsigned long mfn,
                          unsigned int flags)
{
    expect_hex(what, pte_read(va) & PTE_FRAME_MASK,
               (uint64_t)mfn << PAGE_SHIFT);
    expect_hex("its rights", pte_read(va) & (_PAGE_PRESENT | _PAGE_RW), flags);
}

/* Map the reference and put this domain's spare page at an address, anew. */
static bool set_up(unsigned int flags, struct gnttab_map_grant_ref *map)
{
    if ( pte_write(spare, virt_to_mfn(spare), PTE_READ_WRITE) )
    {
        xtf_error("The spare page cannot be mapped\n");
        return false;
    }
    fill_pattern(spare, PAGE_SIZE, 31);

    return expect("map", map_at(window, REF, GNTMAP_host_map | flags, map),
                  GNTST_okay);
}

static void replaced(unsigned int flags)
{
    struct gnttab_map_grant_ref map;

    step("a mapping for %s gives way to a page of this domain's own",
         flags & GNTMAP_readonly ? "reading" : "writing");

    if ( !set_up(flags, &map) )
        return;
    expect("replace", gnttab_replace(_u(window), _u(spare), map.handle),
           GNTST_okay);
    expect_mapped("the own page, at the old address", window,
                  virt_to_mfn(spare), _PAGE_PRESENT | _PAGE_RW);
    fill_pattern(copy, PAGE_SIZE, 31);
    expect_bytes("its data", window, copy, PAGE_SIZE);
    expect_nothing("the new address", spare);
    expect("in use", entry_in_use(REF), 0);
    expect("the handle is void",
           gnttab_replace(_u(window), _u(spare), map.handle),
           GNTST_bad_handle);
    expect("for unmap too", gnttab_unmap(_u(window), map.handle),
           GNTST_bad_handle);
    expect_mapped("the own page is still there", window, virt_to_mfn(spare),
                  _PAGE_PRESENT | _PAGE_RW);
    pte_write(window, 0, 0);
}

static void read_only_page(void)
{
    struct gnttab_map_grant_ref map;

    step("the rights move with the page");

    if ( !set_up(0, &map) )
        return;
    expect("make the own page read-only",
           pte_write(spare, virt_to_mfn(spare), PTE_READ_ONLY), 0);
    expect("replace", gnttab_replace(_u(window), _u(spare), map.handle),
           GNTST_okay);
    expect_mapped("the own page, at the old address", window,
                  virt_to_mfn(spare), _PAGE_PRESENT);
    expect_true("not writable", !cpu_writes(window, 0));
    pte_write(window, 0, 0);
}

static void by_nothing(void)
{
    struct gnttab_map_grant_ref map;

    step("nothing to take its place");

    if ( !set_up(0, &map) )
        return;
    expect("a new address of 0", gnttab_replace(_u(window), 0, map.handle),
           GNTST_okay);
    expect_nothing("the old address", window);
    expect("in use", entry_in_use(REF), 0);

    if ( !set_up(0, &map) )
        return;
    expect("empty the new address", pte_write(spare, 0, 0), 0);
    expect("an empty entry", gnttab_replace(_u(window), _u(spare), map.handle),
           GNTST_okay);
    expect_nothing("the old address", window);
    expect("in use", entry_in_use(REF), 0);
}

static void another_grant(void)
{
    struct gnttab_map_grant_ref map, second;

    step("a grant's mapping moves: it is undone where it then is");

    if ( !set_up(0, &map) )
        return;
    expect("map the reference there too",
           map_at(spare, REF, GNTMAP_host_map | GNTMAP_readonly, &second),
           GNTST_okay);
    expect("replace", gnttab_replace(_u(window), _u(spare), map.handle),
           GNTST_okay);
    expect_mapped("the mapping for reading", window, granter_gfn(0),
                  _PAGE_PRESENT);
    expect("in use", entry_in_use(REF), GTF_reading);
    expect("not where it was", gnttab_unmap(_u(spare), second.handle),
           GNTST_general_error);
    expect("but where it is", gnttab_unmap(_u(window), second.handle),
           GNTST_okay);
    expect_nothing("the old address", window);
    expect("in use", entry_in_use(REF), 0);
}

static void refused(void)
{
    struct gnttab_map_grant_ref map;

    step("what is wrong leaves the mapping alone");

    if ( !set_up(0, &map) )
        return;
    expect("a handle never given out",
           gnttab_replace(_u(window), _u(spare), map.handle + 1),
           GNTST_bad_handle);
    expect("no handle", gnttab_replace(_u(window), _u(spare), HANDLE_NONE),
           GNTST_bad_handle);
    expect("no address", gnttab_replace(0, _u(spare), map.handle), GNTST_okay);
    expect_mapped("still mapped", window, granter_gfn(0),
                  _PAGE_PRESENT | _PAGE_RW);
    expect_mapped("the own page too", spare, virt_to_mfn(spare),
                  _PAGE_PRESENT | _PAGE_RW);

#ifdef CONFIG_64BIT
    expect("a new address of Xen's",
           gnttab_replace(_u(window), 0xffff830000000000ull, map.handle),
           GNTST_general_error);
#else
    expect("a new address of Xen's",
           gnttab_replace(_u(window), 0xfff00000u, map.handle),
           GNTST_general_error);
    expect("a new address of more than 32 bits",
           gnttab_replace(_u(window), (1ull << 32) + _u(spare), map.handle),
           GNTST_general_error);
    expect_mapped("the own page", spare, virt_to_mfn(spare),
                  _PAGE_PRESENT | _PAGE_RW);
#endif
    expect_mapped("still mapped", window, granter_gfn(0),
                  _PAGE_PRESENT | _PAGE_RW);

    expect("an address where it is not mapped",
           gnttab_replace(_u(old_windows[0]), _u(spare), map.handle),
           GNTST_general_error);
    expect_mapped("still mapped", window, granter_gfn(0),
                  _PAGE_PRESENT | _PAGE_RW);
    expect("in use", entry_in_use(REF), GTF_IN_USE);
    expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);

    step("a mapping by machine address cannot be replaced");

    if ( !expect("map", gnttab_map(granter_domid(), REF, pte_maddr(window),
                                   GNTMAP_host_map | GNTMAP_contains_pte,
                                   &map), GNTST_okay) )
        return;
    expect("set up the own page again",
           pte_write(spare, virt_to_mfn(spare), PTE_READ_WRITE), 0);
    expect("replace", gnttab_replace(pte_maddr(window), _u(spare), map.handle),
           GNTST_general_error);
    expect_mapped("still mapped", window, granter_gfn(0),
                  _PAGE_PRESENT | _PAGE_RW);
    expect_mapped("the own page", spare, virt_to_mfn(spare),
                  _PAGE_PRESENT | _PAGE_RW);
    expect("unmap", gnttab_unmap(pte_maddr(window), map.handle), GNTST_okay);
    expect("in use", entry_in_use(REF), 0);
}

static void device_half(void)
{
    struct gnttab_map_grant_ref map;

    step("the device half of a handle stays");

    if ( !set_up(GNTMAP_device_map, &map) )
        return;
    expect("replace", gnttab_replace(_u(window), _u(spare), map.handle),
           GNTST_okay);
    expect_mapped("the own page, at the old address", window,
                  virt_to_mfn(spare), _PAGE_PRESENT | _PAGE_RW);
    expect("in use", entry_in_use(REF), GTF_IN_USE);
    expect("undo it", gnttab_unmap_all(0, map.dev_bus_addr, map.handle),
           GNTST_okay);
    expect("in use", entry_in_use(REF), 0);
    pte_write(window, 0, 0);
}

static void batch(void)
{
    static struct gnttab_unmap_and_replace ops[BATCH];
    struct gnttab_map_grant_ref map;
    grant_handle_t left;
    unsigned int bad = 0;

    step("a batch of %u", BATCH);

    for ( unsigned int i = 0; i < BATCH; i++ )
    {
        memset(new_windows[i], i + 1, PAGE_SIZE);
        if ( map_at(old_windows[i], REF, GNTMAP_host_map, &map) )
            return xtf_failure("BAD map: status %d\n", map.status);
        ops[i] = (struct gnttab_unmap_and_replace){
            .host_addr = _u(old_windows[i]),
            .new_addr = _u(new_windows[i]),
            .handle = map.handle,
            .status = GNTST_NOT_DONE,
        };
    }
    /* One of them cannot be done, and the others are. */
    left = ops[BATCH / 2].handle;
    ops[BATCH / 2].handle = HANDLE_NONE;

    expect("the call",
           hypercall_grant_table_op(GNTTABOP_unmap_and_replace, ops, BATCH), 0);
    for ( unsigned int i = 0; i < BATCH; i++ )
    {
        bool wrong = i == BATCH / 2;

        bad += ops[i].status != (wrong ? GNTST_bad_handle : GNTST_okay);
        bad += pte_read(new_windows[i]) == 0 && wrong;
        bad += pte_read(new_windows[i]) != 0 && !wrong;
        bad += !wrong && old_windows[i][1] != i + 1;
    }
    expect("elements that went wrong", bad, 0);
    expect("one is in use", entry_in_use(REF), GTF_IN_USE);
    expect("undo it", gnttab_unmap(_u(old_windows[BATCH / 2]), left),
           GNTST_okay);
    expect("in use", entry_in_use(REF), 0);
}

void test_main(void)
{
    unsigned int version = argument_number("version", 0);

    if ( !(version ? granter_self(version) : granter_begin()) ||
         !windows_free(window, 1) )
        return;
    fact_u64("version", granter_version());
    fact_u64("granter", granter_domid());

    entry_grant(REF, 0, 0);

    replaced(0);
    replaced(GNTMAP_readonly);
    read_only_page();
    by_nothing();
    another_grant();
    refused();
    device_half();
    batch();

    step("nothing is left in use");
    expect_true("withdraw", entry_withdraw(REF));
    granter_end();

    xtf_success(NULL);
}

#else /* CONFIG_HVM */

void test_main(void)
{
    struct gnttab_unmap_and_replace replace = { .status = GNTST_NOT_DONE };

    if ( !owns_machine() )
        return;

    step("an HVM guest does not have the operation");
    expect("the call",
           hypercall_grant_table_op(GNTTABOP_unmap_and_replace, &replace, 1),
           -ENOSYS);
    expect("the element", replace.status, GNTST_NOT_DONE);

    xtf_success(NULL);
}

#endif
