/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-transfer/main.c
 * @ref test-gnttab-transfer
 *
 * @page test-gnttab-transfer gnttab-transfer
 *
 * GNTTABOP_transfer, which "only PV guests can use".  Expected values are
 * those of xen/include/public/grant_table.h; where it leaves the error open,
 * those of Xen's C tables.
 *
 *  1. A page goes to the other domain, with its contents; the entry says so
 *     and names the frame; the pages of both domains are counted right.
 *  2. A domain gives a page to itself, with both versions of its table.
 *  3. GNTST_bad_page: the page stays (failures.c).
 *  4. "Even if the transfer fails, the specified page no longer belongs to the
 *     calling domain unless the error is GNTST_bad_page": each other error,
 *     with the receiver left as it was; a full receiver and a dying one
 *     (XSA-284, XSA-287: pages given away must come back to Xen whole).
 *  5. A batch so long that Xen continues it (XSA-316, XSA-318).
 *
 * Argument `transfer=no`: Xen runs with gnttab=no-transfer, and the operation
 * is not supported.  `only=good,long,lost` (or some of these) runs a part.
 *
 * @see tests/gnttab-transfer/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/preempt.h>

#include "transfer.h"

const char test_title[] = "Transfer of pages";

#define CURRENT_RESERVATION     3       /* XENMEM_current_reservation. */

#define NR_PAGES        64
#define NR_LONG         256

domid_t self, other;

static uint8_t pages[NR_PAGES][PAGE_SIZE] __page_aligned_bss;
static uint8_t many[NR_LONG][PAGE_SIZE] __page_aligned_bss;
static uint8_t received[PAGE_SIZE] __page_aligned_bss;
static uint8_t expected[PAGE_SIZE];

unsigned long loose_page(uint32_t seed)
{
    static unsigned int used;
    uint8_t *page;
    unsigned long mfn;

    if ( used == NR_PAGES )
        panic("More pages are needed\n");

    page = pages[used++];
    fill_pattern(page, PAGE_SIZE, seed);
    mfn = virt_to_mfn(page);
    if ( hypercall_update_va_mapping(_u(page), 0, UVMF_INVLPG) )
        panic("A page cannot be unmapped\n");

    return mfn;
}

long pages_of(domid_t domid)
{
    return hypercall_memory_op(CURRENT_RESERVATION, &domid);
}

int transfer(unsigned long frame, domid_t domid, grant_ref_t ref)
{
    struct wire_transfer op = {
        .frame = frame, .domid = domid, .ref = ref,
        .status = STATUS_UNTOUCHED,
    };
    long rc = hypercall_grant_table_op(WIRE_TRANSFER, &op, 1);

    if ( !rc )
        return op.status;

    xtf_failure("BAD transfer: the call failed: %ld\n", rc);
    return CALL_FAILED;
}

bool is_ours(unsigned long frame)
{
    int status = copy_bytes(by_frame(DOMID_SELF, frame, 0),
                            own_page_at(received), 1);

    if ( status != GNTST_okay )
        expect("no page of ours", status, GNTST_bad_page);

    return status == GNTST_okay;
}

static void to_the_other(void)
{
    unsigned long mfn = loose_page(1);
    const long ours = pages_of(DOMID_SELF), theirs = pages_of(other);

    step("a page for the other domain");

    entry_write(REF, GTF_accept_transfer, self, SLOT);
    expect("transfer", transfer(mfn, other, REF), GNTST_okay);
    expect("the entry", entry_flags(REF), GTF_COMPLETED);
    expect_hex("the frame in it", entry_frame(REF), mfn);
    expect("pages here", pages_of(DOMID_SELF), ours - 1);
    expect("pages there", pages_of(other), theirs + 1);
    expect_true("the page is not ours", !is_ours(mfn));

    entry_write(READ_REF, GTF_permit_access, self, mfn);
    memset(received, 0, PAGE_SIZE);
    expect("a copy by a grant of it", copy_bytes(by_ref(other, READ_REF, 0),
                                                 own_page_at(received),
                                                 PAGE_SIZE), GNTST_okay);
    fill_pattern(expected, PAGE_SIZE, 1);
    expect_bytes("its contents", received, expected, PAGE_SIZE);
    entry_write(READ_REF, 0, 0, 0);

    step("the same entry accepts once");

    mfn = loose_page(2);
    expect("transfer", transfer(mfn, other, REF), GNTST_general_error);
    expect("the entry", entry_flags(REF), GTF_COMPLETED);
    expect("pages there", pages_of(other), theirs + 1);
    entry_write(REF, 0, 0, 0);
}

static void to_oneself(unsigned int version)
{
    const unsigned long mfn = loose_page(10 + version);
    const long ours = pages_of(DOMID_SELF);
    uint8_t byte;

    step("version %u: a page for oneself", version);

    if ( !own_table(version) )
        return;
    own_write(REF, GTF_accept_transfer, self, SLOT);
    expect("transfer", transfer(mfn, self, REF), GNTST_okay);
    if ( version == 1 )
    {
        expect("the entry", own_v1(REF)->flags, GTF_COMPLETED);
        expect_hex("the frame in it", own_v1(REF)->frame, mfn);
    }
    else
    {
        expect("the entry", own_v2(REF)->hdr.flags, GTF_COMPLETED);
        expect_hex("the frame in it", own_v2(REF)->full_page.frame, mfn);
        expect("the status", *own_status(REF), 0);
    }
    expect("pages", pages_of(DOMID_SELF), ours);
    expect_true("the page is ours", is_ours(mfn));
    fill_pattern(expected, PAGE_SIZE, 10 + version);
    byte = received[0];
    expect("its first byte", byte, expected[0]);
    own_write(REF, 0, 0, 0);

    if ( version == 2 )
    {
        expect("hide the status frame", hide_status(1), 0);
        expect("set_version 1", table_set_version(1, NULL), 0);
    }
}

/* Each page comes back to this domain, so that none is lost. */
static void long_batch(void)
{
    static struct wire_transfer elements[NR_LONG];
    static unsigned long mfns[NR_LONG];
    const long ours = pages_of(DOMID_SELF);
    unsigned int wrong = 0, continued = 0, last = 0;

    step("XSA-316, XSA-318: %u transfers in one call, interrupted", NR_LONG);

    for ( unsigned int i = 0; i < NR_LONG; i++ )
        mfns[i] = virt_to_mfn(many[i]);
    if ( !windows_free(many, NR_LONG) )
        return;
    if ( !preempt_often() )
        return xtf_error("No timer to interrupt with\n");

    for ( unsigned int round = 0; round < 8; round++ )
    {
        for ( unsigned int i = 0; i < NR_LONG; i++ )
        {
            own_write(REF + i, GTF_accept_transfer, self, SLOT + i);
            /* Every eighth, and the last, is of no frame. */
            elements[i] = (struct wire_transfer){
                .frame = i % 8 == 7 ? 0x7fffffff : mfns[i],
                .domid = self, .ref = REF + i, .status = STATUS_UNTOUCHED,
            };
        }
        expect("the call", grant_table_op_traced(WIRE_TRANSFER, elements,
                                                 NR_LONG, &last), 0);
        continued += last && last < NR_LONG;
        for ( unsigned int i = 0; i < NR_LONG; i++ )
        {
            const bool bad = i % 8 == 7;

            wrong += elements[i].status !=
                     (bad ? GNTST_bad_page : GNTST_okay);
            wrong += own_v1(REF + i)->flags !=
                     (bad ? GTF_accept_transfer : GTF_COMPLETED);
            wrong += own_v1(REF + i)->frame != (bad ? SLOT + i : mfns[i]);
            own_write(REF + i, 0, 0, 0);
        }
    }
    preempt_no_more();

    expect("wrong elements and entries", wrong, 0);
    expect("pages", pages_of(DOMID_SELF), ours);
    fact_u64("calls_seen_continued", continued);
    if ( last )
        expect_true("Xen continued a call", continued);
}

static void switched_off(void)
{
    const unsigned long mfn = loose_page(5);
    struct wire_transfer op = {
        .frame = mfn, .domid = self, .ref = REF, .status = STATUS_UNTOUCHED,
    };

    step("transfers are switched off");

    own_write(REF, GTF_accept_transfer, self, SLOT);
    expect("transfer", hypercall_grant_table_op(WIRE_TRANSFER, &op, 1),
           -EOPNOTSUPP);
    expect("status", op.status, STATUS_UNTOUCHED);
    expect("the entry", own_v1(REF)->flags, GTF_accept_transfer);
    expect_true("the page is ours", is_ours(mfn));
}

void test_main(void)
{
    size_t len;
    const char *how = argument("transfer", &len);

    if ( !granter_begin() )
        return;
    self = own_domid();
    other = granter_domid();
    if ( !own_table(1) )
        return;

    if ( how && len == 2 && !strncmp(how, "no", 2) )
        switched_off();
    else
    {
        if ( argument_lists("only", "good") )
        {
            to_the_other();
            to_oneself(1);
            to_oneself(2);
            kept_pages();
        }
        if ( argument_lists("only", "long") )
            long_batch();
        if ( argument_lists("only", "lost") )
        {
            lost_pages();
            dying_receiver();
        }
    }

    granter_end();
    xtf_success(NULL);
}
