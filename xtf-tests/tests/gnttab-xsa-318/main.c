/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-318/main.c
 * @ref test-gnttab-xsa-318
 *
 * @page test-gnttab-xsa-318 gnttab-xsa-318
 *
 * Advisory: [XSA-318](https://xenbits.xen.org/xsa/advisory-318.html)
 *
 * A call that was interrupted at the wrong moment left the status of an element
 * unwritten, and the guest took what had been there for a result.
 *
 *  1. Calls of various lengths, with a timer set so that it interrupts them at
 *     a different moment each time: every element of map and unmap has its
 *     status, and what the status says is so.
 *  2. At least one of the calls has been continued, where Xen shows that.
 *
 * @see tests/gnttab-xsa-318/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/preempt.h>
#include <lab/steps.h>

const char test_title[] = "XSA-318: statuses of interrupted calls";

#define REF             FIRST_FREE_REF
#define MOST            120u    /* One reference can be mapped that often. */
#define ROUNDS          400u

static uint8_t windows[MOST][PAGE_SIZE] __page_aligned_bss;
static struct gnttab_map_grant_ref maps[MOST];
static struct gnttab_unmap_grant_ref unmaps[MOST];

static unsigned int continued, hidden;

static void call(unsigned int cmd, void *array, unsigned int nr)
{
    unsigned int last;
    long rc = grant_table_op_traced(cmd, array, nr, &last);

    if ( rc )
        xtf_failure("BAD a call of %u elements: got %ld, expected 0\n", nr, rc);
    hidden += !last;
    continued += last && last != nr;
}

/* Statuses that are not okay, or references that are not used as they say. */
static unsigned int one_round(unsigned int nr, unsigned int delay_ns)
{
    unsigned int bad = 0;

    for ( unsigned int i = 0; i < nr; i++ )
        maps[i] = (struct gnttab_map_grant_ref){
            .host_addr = _u(windows[i]),
            .flags = GNTMAP_host_map,
            .ref = REF,
            .dom = granter_domid(),
            .status = GNTST_NOT_DONE,
        };
    if ( !preempt_in(delay_ns) )
        xtf_error("No timer\n");
    call(GNTTABOP_map_grant_ref, maps, nr);
    for ( unsigned int i = 0; i < nr; i++ )
        bad += maps[i].status != GNTST_okay;
    bad += entry_in_use(REF) != GTF_IN_USE;

    for ( unsigned int i = 0; i < nr; i++ )
        unmaps[i] = (struct gnttab_unmap_grant_ref){
            .host_addr = _u(windows[i]),
            .handle = maps[i].handle,
            .status = GNTST_NOT_DONE,
        };
    if ( !preempt_in(delay_ns) )
        xtf_error("No timer\n");
    call(GNTTABOP_unmap_grant_ref, unmaps, nr);
    for ( unsigned int i = 0; i < nr; i++ )
        bad += unmaps[i].status != GNTST_okay;
    bad += entry_in_use(REF) != 0;

    return bad;
}

void test_main(void)
{
    static const unsigned int nrs[] = { 1, 2, 3, 16, 17, 33, 64, 120 };
    unsigned int bad = 0;

    if ( !granter_begin() || !windows_free(windows, MOST) )
        return;
    entry_grant(REF, 0, 0);

    step("%u rounds with a timer that comes later and later", ROUNDS);
    for ( unsigned int i = 0; i < ROUNDS; i++ )
        bad += one_round(nrs[i % ARRAY_SIZE(nrs)], 1000 + i * 1500);
    expect("elements wrong", bad, 0);
    fact_u64("calls_continued", continued);
    if ( hidden )
        printk("Skipped: this Xen hides whether a call is continued\n");
    else if ( !continued )
        xtf_error("Xen was never interrupted in such a call\n");

    expect_true("withdraw", entry_withdraw(REF));
    granter_end();

    xtf_success(NULL);
}
