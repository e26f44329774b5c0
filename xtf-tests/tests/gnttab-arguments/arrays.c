/* SPDX-License-Identifier: GPL-2.0-only */
/* Arrays in several pages, of which Xen can read all or some. */
#include <xtf.h>

#include <lab/gnttab-tables.h>
#include <lab/mapping.h>
#include <lab/steps.h>

#include "arguments.h"

#define NR_ELEMENTS     300u
#define NR_BEFORE       10u     /* Whole elements before the second page. */

static uint8_t plain[4][PAGE_SIZE] __page_aligned_bss;
static uint8_t around[3][PAGE_SIZE] __page_aligned_bss;
static uint8_t into[PAGE_SIZE] __page_aligned_bss;
static uint8_t wanted[PAGE_SIZE];
static struct wire_copy elements[NR_ELEMENTS];
static uint8_t before[PAGE_SIZE];

/* Each element copies a byte of its own from the granter's page. */
static void make_elements(void)
{
    for ( unsigned int i = 0; i < NR_ELEMENTS; i++ )
    {
        struct copy_end dest = own_page_at(into);

        dest.offset = i;
        elements[i] = copy_element(by_ref(granter_domid(), OTHER_REF, i), dest,
                                   1);
    }
    fill_pattern(granter_page(OTHER_PAGE), PAGE_SIZE, 11);
    fill_pattern(into, PAGE_SIZE, 12);
    memcpy(wanted, into, PAGE_SIZE);
}

/*
 * The first @done of the array at @at have been worked on, and no other of those
 * that this domain can read, @nr.
 */
static void expect_done(const uint8_t *at, unsigned int nr, unsigned int done)
{
    unsigned int okay = 0, untouched = 0;

    for ( unsigned int i = 0; i < nr; i++ )
    {
        struct wire_copy element;

        memcpy(&element, at + i * sizeof(element), sizeof(element));
        okay += i < done && element.status == GNTST_okay;
        untouched += i >= done && element.status == STATUS_UNTOUCHED;
    }
    expect("done", okay, done);
    expect("not done", untouched, nr - done);

    memcpy(wanted, granter_page(OTHER_PAGE), done);
    expect_bytes("what was copied", into, wanted, PAGE_SIZE);
    expect("in use", entry_in_use(OTHER_REF), 0);
}

static int copy_array(uint8_t *at, unsigned int nr)
{
    return hypercall_grant_table_op(WIRE_COPY, at, nr);
}

static void readable(void)
{
    uint8_t *at = &plain[0][PAGE_SIZE - sizeof(elements[0]) / 2];

    step("an array in four pages");

    make_elements();
    memcpy(at, elements, sizeof(elements));
    expect("copy", copy_array(at, NR_ELEMENTS), 0);
    expect_done(at, NR_ELEMENTS, NR_ELEMENTS);
}

/* Where the array begins: after NR_BEFORE elements one lies across the border. */
static uint8_t *begin(void)
{
    return around[1] - NR_BEFORE * sizeof(elements[0]) - sizeof(elements[0]) / 2;
}

/* Elements of such an array that were done before the second page was read. */
static unsigned int done_before(long rc)
{
    struct wire_copy first;

    expect("copy", rc, -EFAULT);
    memcpy(&first, begin(), sizeof(first));

#ifdef __i386__
    /* Released Xen copies as much as fits into 8 KiB in before it begins. */
    if ( has_c_tables() && first.status == STATUS_UNTOUCHED )
        return 0;
#endif

    return NR_BEFORE;
}

static void hole(void)
{
    step("an array of which the second page is missing");

    make_elements();
    memcpy(begin(), elements, around[1] - begin());
    expect_done(begin(), NR_BEFORE,
                done_before(copy_array(begin(), NR_ELEMENTS)));
}

static void foreign(void)
{
    struct gnttab_map_grant_ref map;
    size_t first = around[1] - begin();

    step("an array of which the second page is the granter's");

    expect("map", map_at(around[1], ARGUMENT_REF, GNTMAP_host_map, &map), 0);
    if ( !expect("status", map.status, GNTST_okay) )
        return;

    make_elements();
    memcpy(begin(), elements, first);
    memcpy(granter_page(ARGUMENT_PAGE), (uint8_t *)elements + first, PAGE_SIZE);
    memcpy(around[2], (uint8_t *)elements + first + PAGE_SIZE,
           sizeof(elements) - first - PAGE_SIZE);
    memcpy(before, granter_page(ARGUMENT_PAGE), PAGE_SIZE);

    if ( READS_GRANTED )
    {
        expect("copy", copy_array(begin(), NR_ELEMENTS), 0);
        expect_done(begin(), NR_ELEMENTS, NR_ELEMENTS);
    }
    else
    {
        expect_done(begin(), NR_BEFORE,
                    done_before(copy_array(begin(), NR_ELEMENTS)));
        expect_bytes("the granter's page", granter_page(ARGUMENT_PAGE), before,
                     PAGE_SIZE);
    }
    expect("unmap", gnttab_unmap(_u(around[1]), map.handle), GNTST_okay);
}

void arrays(void)
{
    BUILD_BUG_ON(sizeof(elements) > 3 * PAGE_SIZE);

    if ( !windows_free(around[1], 1) )
        return;

    readable();
    hole();
    foreign();
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
