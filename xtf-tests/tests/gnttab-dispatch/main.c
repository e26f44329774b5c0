/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-dispatch/main.c
 * @ref test-gnttab-dispatch
 *
 * @page test-gnttab-dispatch gnttab-dispatch
 *
 * Grant table hypercalls that are wrong as a whole.  The public header numbers
 * the operations and says which of them work on arrays; the error numbers are
 * those of Xen's C tables.
 *
 *  1. Commands that do not exist, and those that an HVM guest does not have.
 *  2. Bits above the command, where Xen keeps the state of a continuation.
 *  3. No elements; more elements than one; more than 2^31.
 *  4. Pointers to nothing, to the hypervisor (PV), to memory that cannot be
 *     written (PV), and arrays that end within a batch (pointers.c).
 *
 * After each step mapping, copying, and the table work as before.
 *
 * @see tests/gnttab-dispatch/main.c
 */
#include <xtf.h>

#include "dispatch.h"

const char test_title[] = "Grant table hypercalls that are wrong as a whole";

#define ITS_REF         FIRST_FREE_REF

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t window[PAGE_SIZE] __page_aligned_bss;

/* What wrong calls are made with: zeros. */
static uint8_t array[PAGE_SIZE] __page_aligned_bss;

const struct operation_kind kinds[NR_OPERATIONS] = {
    [MAP]               = { "map_grant_ref", true, true, false },
    [UNMAP]             = { "unmap_grant_ref", true, true, false },
    [SETUP_TABLE]       = { "setup_table", false, true, false },
    [DUMP_TABLE]        = { "dump_table", false, true, true },
    [TRANSFER]          = { "transfer", true, true, true },
    [COPY]              = { "copy", true, true, false },
    [QUERY_SIZE]        = { "query_size", false, true, false },
    [REPLACE]           = { "unmap_and_replace", true, true, true },
    [SET_VERSION]       = { "set_version", false, false, false },
    [GET_STATUS_FRAMES] = { "get_status_frames", false, true, true },
    [GET_VERSION]       = { "get_version", false, false, false },
    [SWAP]              = { "swap_grant_ref", true, true, false },
    [CACHE_FLUSH]       = { "cache_flush", true, true, true },
};

bool available(unsigned int cmd)
{
#ifdef CONFIG_HVM
    return !kinds[cmd].pv_only;
#else
    /* The header has it, Xen's C tables do not. */
    return cmd != DUMP_TABLE || !has_c_tables();
#endif
}

void expect_call(const char *what, unsigned int cmd, void *elements,
                 unsigned int count, long rc)
{
    char text[80];

    snprintf(text, sizeof(text), "%s: %s", kinds[cmd].name, what);
    expect(text, hypercall_grant_table_op(cmd, elements, count), rc);
}

void expect_working(void)
{
    struct gnttab_map_grant_ref map;
    unsigned int nr, max, version;

    expect("query_size", table_size(DOMID_SELF, &nr, &max), GNTST_okay);
    expect("frames", nr, 1);
    expect("get_version", table_version(DOMID_SELF, &version), 0);
    expect("version", version, 1);
    expect("in use", entry_in_use(ITS_REF), 0);
    expect("copy", copy_bytes(by_ref(granter_domid(), ITS_REF, 0),
                              own_page_at(page), 100), GNTST_okay);
    if ( expect("map", map_at(window, ITS_REF, GNTMAP_host_map, &map),
                GNTST_okay) )
        expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    expect("in use", entry_in_use(ITS_REF), 0);
    expect("swap", table_swap(20, 21), GNTST_okay);
}

static void commands(void)
{
    static const unsigned int none[] = {
        13, 14, 15, 16, 31, 32, 100, 255, 256, 0x7ff, 0xffe, 0xfff,
    };

    step("commands that do not exist");

    for ( unsigned int i = 0; i < ARRAY_SIZE(none); i++ )
        for ( unsigned int count = 0; count < 3; count++ )
            expect("no such command",
                   hypercall_grant_table_op(none[i], array, count), -ENOSYS);
    for ( unsigned int cmd = 0; cmd < NR_OPERATIONS; cmd++ )
        if ( !available(cmd) )
        {
            fact_str("not_there", kinds[cmd].name);
            for ( unsigned int count = 0; count < 3; count++ )
                expect_call("not there", cmd, array, count, -ENOSYS);
        }
    expect_working();

    step("bits above the command");

    for ( unsigned int cmd = 0; cmd < NR_OPERATIONS; cmd++ )
        for ( unsigned int bit = 12; bit < 32; bit++ )
        {
            /* cache_flush continues with such a command. */
            if ( cmd == CACHE_FLUSH )
                continue;
#ifdef CONFIG_HVM
            /* An HVM guest's commands are looked at as a whole, and first. */
            expect("a bit", hypercall_grant_table_op(cmd | (1u << bit), array,
                                                     1), -ENOSYS);
#else
            expect("a bit", hypercall_grant_table_op(cmd | (1u << bit), array,
                                                     1), -EINVAL);
#endif
        }
    expect_working();
}

/*
 * For 32-bit guests Xen's C tables do nothing at all for no element of the
 * structures with pointers, and call that a success.
 */
static bool may_succeed_with_none(unsigned int cmd)
{
#ifdef CONFIG_64BIT
    return false;
#endif
    return cmd == SETUP_TABLE || cmd == GET_STATUS_FRAMES;
}

static void counts(void)
{
    static const unsigned int negative[] = {
        0x80000000, 0x80000001, 0xfffffffe, 0xffffffff,
    };

    step("no elements");

    for ( unsigned int cmd = 0; cmd < NR_OPERATIONS; cmd++ )
    {
        if ( !available(cmd) || !kinds[cmd].has_count )
            continue;
        memset(array, 0, sizeof(array));
        if ( may_succeed_with_none(cmd) )
        {
            long rc = hypercall_grant_table_op(cmd, array, 0);

            fact_u64("none_is_an_error", rc != 0);
            if ( rc )
                expect_call("none", cmd, array, 0, -EINVAL);
        }
        else
            expect_call("none", cmd, array, 0,
                        kinds[cmd].is_array ? 0 : -EINVAL);
        expect_zeros("what was passed", array, sizeof(array));
    }
    expect_working();

    step("several elements where only one is allowed");

    for ( unsigned int cmd = 0; cmd < NR_OPERATIONS; cmd++ )
        if ( available(cmd) && kinds[cmd].has_count && !kinds[cmd].is_array )
        {
            expect_call("two", cmd, array, 2, -EINVAL);
            expect_call("many", cmd, array, 0x7fffffff, -EINVAL);
        }
    expect_zeros("what was passed", array, sizeof(array));
    expect_working();

    step("2^31 elements and more");

    for ( unsigned int cmd = 0; cmd < NR_OPERATIONS; cmd++ )
    {
        if ( !available(cmd) || !kinds[cmd].has_count )
            continue;
        for ( unsigned int i = 0; i < ARRAY_SIZE(negative); i++ )
            expect_call("too many", cmd, array, negative[i], -EINVAL);
    }
    expect_zeros("what was passed", array, sizeof(array));
    expect_working();
}

void test_main(void)
{
    if ( !granter_begin() || !windows_free(window, 1) || !own_table(1) )
        return;
    entry_grant(ITS_REF, 0, 0);

    expect_working();
    commands();
    counts();
    pointers();

    granter_end();
    xtf_success(NULL);
}
