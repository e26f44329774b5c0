/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-swap/main.c
 * @ref test-gnttab-swap
 *
 * @page test-gnttab-swap gnttab-swap
 *
 * GNTTABOP_swap_grant_ref: "swap the contents of two grant entries".  Which
 * errors there are the header does not say: expected are those of Xen's C
 * tables.
 *
 * For a table of version 1 and then of version 2:
 *
 *  1. Two entries change places, the others stay; both grant what the other
 *     granted before.  Entries need not grant anything.
 *  2. The same reference twice: nothing happens, even while it is in use.
 *  3. References outside of the table.
 *  4. An entry in use is not moved, be it the first or the second.
 *  5. In version 2 entries for parts and transitive ones are moved whole.
 *
 * Then a batch so long that Xen continues it, whose last result shows if one
 * element was left out or done twice (XSA-316, XSA-318).
 *
 * @see tests/gnttab-swap/main.c
 */
#include <xtf.h>

#include <lab/gnttab-tables.h>
#include <lab/mapping.h>
#include <lab/preempt.h>

const char test_title[] = "Swapping grant entries";

#define A               (FIRST_FREE_REF + 0)
#define B               (FIRST_FREE_REF + 1)
#define NEIGHBOUR       (FIRST_FREE_REF + 2)
#define LOW             0u      /* A reserved one. */

#define NR_PAGES        8
#define NR_LONG         2048

static uint8_t pages[NR_PAGES][PAGE_SIZE] __page_aligned_bss;
static uint8_t window[PAGE_SIZE] __page_aligned_bss;
static struct wire_swap_grant_ref elements[NR_LONG];
static domid_t self;
static unsigned int version;

/* Mapping uses up a page of an HVM guest's. */
static uint8_t *fresh_page(void)
{
    static unsigned int used;

    if ( used == NR_PAGES )
        panic("More pages are needed\n");

    return pages[used++];
}

static unsigned int entry_size(void)
{
    return version == 1 ? sizeof(grant_entry_v1_t) : sizeof(grant_entry_v2_t);
}

static unsigned int nr_entries(void)
{
    return PAGE_SIZE / entry_size();
}

/* Swap, and compare the whole table with what should be in it. */
static void check_swap(const char *what, grant_ref_t a, grant_ref_t b,
                       int status)
{
    static uint8_t wanted[PAGE_SIZE];
    const unsigned int size = entry_size();
    uint8_t held[sizeof(grant_entry_v2_t)];

    memcpy(wanted, table_frames[0], PAGE_SIZE);
    if ( status == GNTST_okay )
    {
        memcpy(held, wanted + a * size, size);
        memcpy(wanted + a * size, wanted + b * size, size);
        memcpy(wanted + b * size, held, size);
    }

    expect(what, table_swap(a, b), status);
    barrier();
    if ( memcmp(table_frames[0], wanted, PAGE_SIZE) )
        expect_bytes(what, table_frames[0], wanted, PAGE_SIZE);
}

static void contents(void)
{
    uint8_t *page_a = pages[0], *page_b = pages[1];

    step("version %u: two entries change places", version);

    for ( grant_ref_t ref = 0; ref < nr_entries(); ref++ )
        own_write(ref, GTF_invalid, ref, ref * 5);
    own_write(A, GTF_permit_access, self, virt_to_gfn(page_a));
    own_write(B, GTF_permit_access | GTF_readonly, self, virt_to_gfn(page_b));
    check_swap("two grants", A, B, GNTST_okay);
    expect_grant("the first", A, page_b);
    expect_grant("the second", B, page_a);
    expect("copy to the first", copy_bytes(own_page_at(page_a),
                                           by_ref(DOMID_SELF, A, 0), 1),
           GNTST_general_error);
    expect("copy to the second", copy_bytes(own_page_at(page_b),
                                            by_ref(DOMID_SELF, B, 0), 1),
           GNTST_okay);
    check_swap("back", B, A, GNTST_okay);
    expect_grant("the first", A, page_a);

    check_swap("a grant and none", A, NEIGHBOUR, GNTST_okay);
    expect("what is no grant now", copy_bytes(by_ref(DOMID_SELF, A, 0),
                                              own_page_at(page_b), 1),
           GNTST_general_error);
    expect_grant("what is one", NEIGHBOUR, page_a);
    check_swap("back", A, NEIGHBOUR, GNTST_okay);
    check_swap("none and none", NEIGHBOUR, NEIGHBOUR + 1, GNTST_okay);
    check_swap("the first and the last", 0, nr_entries() - 1, GNTST_okay);
    check_swap("a reserved one", LOW, A, GNTST_okay);
    expect_grant("the reserved one", LOW, page_a);
    check_swap("back", LOW, A, GNTST_okay);

    step("version %u: an entry and itself", version);
    check_swap("a grant", A, A, GNTST_okay);
    check_swap("none", NEIGHBOUR, NEIGHBOUR, GNTST_okay);

    step("version %u: outside of the table", version);
    check_swap("first beyond", nr_entries(), A, GNTST_bad_gntref);
    check_swap("first beyond, second", A, nr_entries(), GNTST_bad_gntref);
    check_swap("beyond, both", nr_entries(), nr_entries(), GNTST_bad_gntref);
    check_swap("largest", 0xffffffff, A, GNTST_bad_gntref);
    check_swap("largest, second", A, 0xffffffff, GNTST_bad_gntref);
}

static void in_use(unsigned int flags)
{
    const unsigned int used = flags ? GTF_reading : IN_USE;
    uint8_t *page = fresh_page();
    grant_handle_t handle;

    step("version %u: entries that are mapped for %s", version,
         flags ? "reading" : "writing");

    own_write(A, GTF_permit_access, self, virt_to_gfn(page));
    own_write(B, GTF_permit_access, self, 1);
    if ( !expect("map", map_own(A, page, window, flags, &handle),
                 GNTST_okay) )
        return;
    check_swap("the first", A, B, GNTST_eagain);
    check_swap("the second", B, A, GNTST_eagain);
    /* Bounds are looked at before use. */
    check_swap("with none", A, nr_entries(), GNTST_bad_gntref);
    check_swap("with itself", A, A, GNTST_okay);
    expect("in use", own_in_use(A), used);
    expect("the other", own_in_use(B), 0);
    check_swap("others meanwhile", B, NEIGHBOUR, GNTST_okay);
    expect("unmap", unmap_own(page, window, handle), GNTST_okay);
    expect("in use", own_in_use(A), 0);
    check_swap("afterwards", A, B, GNTST_okay);
}

/* Entries whose every byte counts. */
static void kinds_of_v2(void)
{
    uint8_t *page = fresh_page();

    step("version 2: parts and transitive grants");

    v2_write_part(A, GTF_permit_access, self, virt_to_gfn(page), 100, 200);
    v2_write_transitive(B, GTF_readonly, self, 5, 0x87654321);
    check_swap("swap", A, B, GNTST_okay);
    expect("the part", own_v2(B)->sub_page.page_off, 100);
    expect("by", own_v2(A)->transitive.gref == 0x87654321, 1);
    fill_pattern(page, PAGE_SIZE, 9);
    expect("a copy of the part", copy_bytes(by_ref(DOMID_SELF, B, 100),
                                            own_page_at(pages[1]), 200),
           GNTST_okay);
    expect_bytes("the bytes", pages[1], page + 100, 200);
    expect("more than that", copy_bytes(by_ref(DOMID_SELF, B, 100),
                                        own_page_at(pages[1]), 201),
           GNTST_general_error);
}

/*
 * One entry walks through the others, each of which moves by one.  Where an
 * error is expected nothing moves.
 */
static void long_batch(void)
{
    const unsigned int ring = nr_entries() - RESERVED_ENTRIES;
    unsigned int wrong = 0, continued = 0, last = 0;

    step("XSA-316, XSA-318: %u swaps in one call, interrupted", NR_LONG);

    if ( !preempt_often() )
        return xtf_error("No timer to interrupt with\n");

    /* An interrupt has to fall into a call: on a fast machine few do. */
    for ( unsigned int round = 0; round < 4 || (!continued && round < 500);
          round++ )
    {
        static uint16_t model[PAGE_SIZE / sizeof(grant_entry_v1_t)];

        for ( unsigned int i = 0; i < ring; i++ )
        {
            own_write(RESERVED_ENTRIES + i, GTF_invalid, i, i);
            model[i] = i;
        }
        for ( unsigned int i = 0; i < NR_LONG; i++ )
        {
            const unsigned int a = i % ring, b = (i * 7 + 1) % ring;
            const bool bad = i % 16 == 15 || i == NR_LONG - 1;
            const uint16_t held = model[a];

            elements[i] = (struct wire_swap_grant_ref){
                .a = RESERVED_ENTRIES + a,
                .b = bad ? nr_entries() + i : RESERVED_ENTRIES + b,
                .status = STATUS_UNTOUCHED,
            };
            if ( bad )
                continue;
            model[a] = model[b];
            model[b] = held;
        }

        expect("the call", grant_table_op_traced(WIRE_SWAP_GRANT_REF,
                                                 elements, NR_LONG, &last), 0);
        continued += last && last < NR_LONG;
        for ( unsigned int i = 0; i < NR_LONG; i++ )
            wrong += elements[i].status !=
                     (i % 16 == 15 ? GNTST_bad_gntref : GNTST_okay);
        expect("elements with another status", wrong, 0);
        wrong = 0;
        for ( unsigned int i = 0; i < ring; i++ )
            wrong += own_v1(RESERVED_ENTRIES + i)->frame != model[i];
        expect("entries elsewhere", wrong, 0);
    }
    preempt_no_more();

    fact_u64("calls_seen_continued", continued);
    if ( last )
        expect_true("Xen continued a call", continued);
}

void test_main(void)
{
    if ( own_domid() < 0 )
        return xtf_skip("This domain cannot find out its own id\n");
    self = own_domid();
#ifdef CONFIG_PV
    if ( !windows_free(window, 1) )
        return;
#endif
    /* What the swaps of contents() move about is never mapped. */
    fresh_page();
    fresh_page();

    for ( version = 1; version <= 2; version++ )
    {
        if ( !own_table(version) )
            return;
        contents();
        in_use(0);
        in_use(GNTMAP_readonly);
        if ( version == 1 )
            long_batch();
        else
            kinds_of_v2();
    }

    xtf_success(NULL);
}
