/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-380/main.c
 * @ref test-gnttab-xsa-380
 *
 * @page test-gnttab-xsa-380 gnttab-xsa-380
 *
 * Advisory: [XSA-380](https://xenbits.xen.org/xsa/advisory-380.html)
 *
 * A domain may end while it has many grants mapped, and Xen undoes them for
 * it.  That was one long piece of work that nothing could interrupt.  Now that
 * it can be interrupted, it must go on where it stopped: every mapping is
 * undone, once.
 *
 *  1. A second domain maps grants of this one's many times, to read and to
 *     write, and is destroyed with a timer ticking here.
 *  2. When that is done no entry is in use, and each can be withdrawn.
 *  3. The pages have no references left over: given back, they are gone.
 *
 * @see tests/gnttab-xsa-380/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/mapping.h>
#include <lab/preempt.h>
#include <lab/second-domain.h>
#include <lab/steps.h>

const char test_title[] = "XSA-380: the end of a domain with many mappings";

#define FIRST_REF       FIRST_FREE_REF
#define NR_REFS         20u
#define PER_REF         100u    /* A reference can be mapped 128 times. */

/* Every second reference is mapped for reading only. */
#define READ_ONLY_REF(i)    ((i) % 2)

static uint8_t granted[NR_REFS][PAGE_SIZE] __page_aligned_bss;

/* The second domain's, written on both sides. */
static struct mailbox {
    volatile uint32_t start;
    volatile uint32_t mapped;
    volatile int32_t error;
} mailbox __page_aligned_bss;
static uint8_t mailbox_window[PAGE_SIZE] __page_aligned_bss;

static struct second_domain dom;

/* Runs in the second domain. */
static void holder(void)
{
    struct gnttab_map_grant_ref map;

    while ( !mailbox.start )
        hypercall_yield();

    for ( unsigned int i = 0; !mailbox.error && i < NR_REFS * PER_REF; i++ )
    {
        const unsigned int nth = i % NR_REFS;

        mailbox.error =
            gnttab_map(0, FIRST_REF + nth, empty_gaddr(i),
                       GNTMAP_host_map |
                       (READ_ONLY_REF(nth) ? GNTMAP_readonly : 0), &map);
        mailbox.mapped += !mailbox.error;
    }

    for ( ; ; )
        hypercall_yield();
}

static bool all_mapped(volatile struct mailbox *mail)
{
    uint64_t start = now_ns();

    mail->start = 1;
    while ( mail->mapped < NR_REFS * PER_REF && !mail->error )
    {
        if ( now_ns() - start > MS(10000) )
        {
            xtf_error("The second domain does not answer\n");
            return false;
        }
        hypercall_yield();
    }

    return expect("mapping, in the second domain", mail->error, GNTST_okay);
}

static unsigned int in_use(unsigned int nth)
{
    return gnttab_entry_flags(FIRST_REF + nth) & GTF_IN_USE;
}

void test_main(void)
{
    unsigned int bad = 0;
    long owned;

    if ( !owns_machine() )
        return;
    if ( xtf_init_grant_table(1) )
        return xtf_error("No grant table\n");

    step("a second domain maps %u grants %u times", NR_REFS, PER_REF);
    if ( second_domain_start(&dom, holder) ||
         second_domain_map(&dom, &mailbox, mailbox_window, 1) )
        return xtf_error("The second domain cannot be built\n");
    for ( unsigned int i = 0; i < NR_REFS; i++ )
        gnttab_grant_access(FIRST_REF + i, dom.domid, virt_to_gfn(granted[i]),
                            0);
    if ( !all_mapped((void *)mailbox_window) )
        return;
    for ( unsigned int i = 0; i < NR_REFS; i++ )
        bad += in_use(i) != (READ_ONLY_REF(i) ? GTF_reading : GTF_IN_USE);
    expect("references not in use", bad, 0);

    step("it is destroyed");
    if ( second_domain_unmap(mailbox_window, 1) )
        return xtf_error("The second domain's memory cannot be hidden\n");
    if ( !preempt_often() )
        return xtf_error("No timer\n");
    expect("destroy", second_domain_destroy(&dom), 0);
    preempt_no_more();

    for ( unsigned int i = 0; i < NR_REFS; i++ )
    {
        bad += in_use(i) != 0;
        bad += gnttab_end_access(FIRST_REF + i) != 0;
    }
    expect("references in use", bad, 0);

    step("the pages have no references left over");
    owned = owned_pages();
    expect("give them back", make_holes(granted, NR_REFS), 0);
    expect("pages", owned_pages(), owned - NR_REFS);

    xtf_success(NULL);
}
