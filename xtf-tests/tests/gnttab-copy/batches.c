/* SPDX-License-Identifier: GPL-2.0-only */
/* Many copies in one call. */
#include <xtf.h>

#include <lab/preempt.h>

#include "copy.h"

#define NR_MIXED        200
#define NR_LONG         4096

static struct wire_copy elements[NR_LONG];

/* What each page of interest should hold. */
static uint8_t model[4][PAGE_SIZE];

enum { OWN_0, OWN_1, ITS_0, ITS_1 };

static uint8_t *page_of(unsigned int nth)
{
    return nth < ITS_0 ? own_pages[nth] : granter_page(nth - ITS_0);
}

/* The page by frame or by reference, as @i has it. */
static struct copy_end end_of(unsigned int nth, unsigned int i,
                              unsigned int offset)
{
    struct copy_end end =
        nth >= ITS_0 ? by_ref(other, ITS_A + nth - ITS_0, offset)
        : i & 1      ? by_ref(DOMID_SELF, OWN_A + nth, offset)
                     : own_page_at(own_pages[nth]);

    end.offset = offset;

    return end;
}

static void check_pages(const char *what)
{
    for ( unsigned int i = 0; i < ARRAY_SIZE(model); i++ )
        same_page(what, page_of(i), model[i]);
}

static void fill_pages(void)
{
    for ( unsigned int i = 0; i < ARRAY_SIZE(model); i++ )
    {
        fill_pattern(page_of(i), PAGE_SIZE, 300 + i);
        fill_pattern(model[i], PAGE_SIZE, 300 + i);
    }
}

static const struct {
    struct copy_end source;
    unsigned int len;
    int status;
} mistakes[] = {
    { { false, DOMID_ABSENT, 0, 0 }, 8, GNTST_permission_denied },
    { { true, DOMID_ABSENT, 0, 0 }, 8, GNTST_bad_domain },
    { { true, DOMID_SELF, 0xffffffff, 0 }, 8, GNTST_bad_gntref },
    { { true, DOMID_SELF, OWN_SPARE_1, 0 }, 8, GNTST_general_error },
    { { true, DOMID_SELF, OWN_A, 4090 }, 8, GNTST_bad_copy_arg },
    { { false, DOMID_SELF, 0x7fffffff, 0 }, 8, GNTST_bad_page },
};

/* Every seventh element is wrong; the others come in runs of the same ends. */
static void mixed_batch(void)
{
    int wanted[NR_MIXED];
    unsigned int wrong = 0;
    long rc;

    step("%u copies in one call, with errors among them", NR_MIXED);

    fill_pages();
    for ( unsigned int i = 0; i < NR_MIXED; i++ )
    {
        const unsigned int run = i / 5, from = run % 4, to = (run + 1) % 4;
        const unsigned int source = i * 19 % 3000, dest = i * 23 % 3000;
        const unsigned int len = 1 + i * 7 % 1000;

        if ( i % 7 == 6 )
        {
            const unsigned int m = i / 7 % ARRAY_SIZE(mistakes);

            elements[i] = copy_element(mistakes[m].source,
                                       end_of(to, run, dest), mistakes[m].len);
            wanted[i] = mistakes[m].status;
            continue;
        }

        elements[i] = copy_element(end_of(from, run, source),
                                   end_of(to, run / 2, dest), len);
        wanted[i] = GNTST_okay;
        memcpy(model[to] + dest, model[from] + source, len);
    }

    rc = hypercall_grant_table_op(WIRE_COPY, elements, NR_MIXED);
    expect("the call", rc, 0);
    for ( unsigned int i = 0; i < NR_MIXED; i++ )
        if ( elements[i].status != wanted[i] && !wrong++ )
        {
            printk("Element %u:\n", i);
            expect("status", elements[i].status, wanted[i]);
        }
    expect("elements with another status", wrong, 0);
    check_pages("a page after the batch");
    expect_idle();
}

/* The same source, or the same destination, throughout. */
static void repeated_ends(void)
{
    for ( unsigned int what = 0; what < 2; what++ )
    {
        unsigned int wrong = 0;

        step("128 copies with one %s", what ? "destination" : "source");

        fill_pages();
        for ( unsigned int i = 0; i < 128; i++ )
        {
            const unsigned int from = what ? i % 3 : ITS_1;
            const unsigned int to = what ? ITS_1 : i % 3;

            elements[i] = copy_element(end_of(from, i, i * 32),
                                       end_of(to, i, 4095 - i * 31),
                                       1 + i % 31);
            memcpy(model[to] + 4095 - i * 31, model[from] + i * 32,
                   min(1 + i % 31, 1 + i * 31));
            /* The first ones would cross the page's end. */
            if ( i * 31 < i % 31 )
                elements[i].len = 1 + i * 31;
        }
        expect("the call",
               hypercall_grant_table_op(WIRE_COPY, elements, 128), 0);
        for ( unsigned int i = 0; i < 128; i++ )
            wrong += elements[i].status != GNTST_okay;
        expect("elements not done", wrong, 0);
        check_pages("a page after the batch");
        expect_idle();
    }
}

/*
 * One pair of pages by frame, by own reference and by the number of the own
 * domain: whatever Xen remembers from element to element, it is the same
 * number with another meaning.
 */
static void same_numbers(unsigned int version)
{
    const unsigned int frame = virt_to_gfn(own_pages[0]);
    const unsigned int nr = version == 1 ? V1_PER_FRAME : V2_PER_FRAME;
    /* Small frame numbers are references, of entries that grant nothing. */
    const int no_grant = frame < nr ? GNTST_general_error : GNTST_bad_gntref;

    step("a frame and a reference of the same number, in turn");

    fill_pages();
    elements[0] = copy_element(by_frame(DOMID_SELF, frame, 0),
                               end_of(OWN_1, 0, 0), 8);
    elements[1] = copy_element(by_ref(DOMID_SELF, frame, 0),
                               end_of(OWN_1, 0, 8), 8);
    elements[2] = copy_element(by_ref(DOMID_SELF, OWN_A, 0),
                               end_of(OWN_1, 0, 16), 8);
    elements[3] = copy_element(by_ref(other, ITS_A, 0),
                               end_of(OWN_1, 0, 24), 8);
    elements[4] = copy_element(by_frame(DOMID_SELF, frame, 8),
                               end_of(OWN_1, 1, 32), 8);
    memcpy(model[OWN_1], model[OWN_0], 8);
    memcpy(model[OWN_1] + 16, model[OWN_0], 8);
    memcpy(model[OWN_1] + 24, model[ITS_0], 8);
    memcpy(model[OWN_1] + 32, model[OWN_0] + 8, 8);

    expect("the call", hypercall_grant_table_op(WIRE_COPY, elements, 5), 0);
    for ( unsigned int i = 0; i < 5; i++ )
        expect("status", elements[i].status,
               i == 1 ? no_grant : GNTST_okay);
    check_pages("a page after the batch");
    expect_idle();
}

void batches(unsigned int version)
{
    mixed_batch();
    repeated_ends();
    same_numbers(version);
}

/*
 * XSA-316, XSA-318.  Every three elements let a slot of one page and a slot of
 * another change places: what is left out, or done again from somewhere before,
 * changes all that comes after it.
 */
void long_batches(void)
{
    unsigned int last, wrong = 0, continued = 0;

    step("XSA-316, XSA-318: %u copies in one call, interrupted", NR_LONG);

    if ( !preempt_often() )
        return xtf_error("No timer to interrupt with\n");

    for ( unsigned int round = 0; round < 4; round++ )
    {
        fill_pages();
        for ( unsigned int i = 0; i < NR_LONG; i++ )
        {
            const unsigned int group = i / 3;
            const unsigned int a = group * 5 % 512 * 8;
            const unsigned int b = (group * 11 + 3) % 512 * 8;
            const unsigned int from[] = { OWN_0, ITS_0, OWN_1 };
            const unsigned int from_at[] = { a, b, 0 };
            /* Where the one before has copied from; first, a third place. */
            const unsigned int to = i % 3 ? from[i % 3 - 1] : OWN_1;
            const unsigned int to_at = i % 3 ? from_at[i % 3 - 1] : 0;

            /* The last element is wrong: its status must not be the call's. */
            elements[i] = i == NR_LONG - 1
                ? copy_element(by_ref(other, 0xffffffff, 0),
                               by_ref(DOMID_SELF, OWN_A, 0), 1)
                : copy_element(end_of(from[i % 3], i / 3, from_at[i % 3]),
                               end_of(to, i, to_at), 8);
            if ( i == NR_LONG - 1 )
                break;
            memcpy(model[to] + to_at, model[from[i % 3]] + from_at[i % 3], 8);
        }

        expect("the call",
               grant_table_op_traced(WIRE_COPY, elements, NR_LONG, &last), 0);
        continued += last && last < NR_LONG;
        for ( unsigned int i = 0; i < NR_LONG; i++ )
            wrong += elements[i].status !=
                     (i == NR_LONG - 1 ? GNTST_bad_gntref : GNTST_okay);
        check_pages("a page after the batch");
    }
    preempt_no_more();

    expect("elements with another status", wrong, 0);
    fact_u64("calls_seen_continued", continued);
    if ( last )
        expect_true("Xen continued a call", continued);
    expect_idle();
}
