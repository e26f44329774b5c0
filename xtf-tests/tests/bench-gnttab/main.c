/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/bench-gnttab/main.c
 * @ref test-bench-gnttab
 *
 * @page test-bench-gnttab bench-gnttab
 *
 * What every grant table operation costs, in processor ticks, 1, 16 and 128
 * elements a call.  Not a test of right or wrong: under an emulator that
 * counts instructions the figures are the same in every run.
 *
 * A PV guest uses its own grants: host mappings by virtual address, with and
 * without replacing, copies, transfers to itself, and everything that concerns
 * the table alone.  A PVH guest uses another domain's: two clones of this
 * guest grant their pages, one in version 1 and one in version 2, and sleep.
 * At the end it maps its own, each anchored at its own frame first.
 *
 * What is printed is described in lab/cost.h and, for memory, in memory.c.
 *
 * Arguments on the guest's command line:
 *
 *  rounds=<n>   rounds a cost, an odd number up to 33 (default 7)
 *
 * @see tests/bench-gnttab/main.c
 */
#include "bench.h"

#include <lab/arguments.h>
#include <lab/steps.h>

#ifdef CONFIG_HVM
#include <lab/second-domain.h>
#endif

const char test_title[] = "Cost of grant table operations";

const unsigned int batches[NR_BATCHES] = { 1, 16, 128 };
unsigned int rounds;

uint8_t pages_a[NR * PAGE_SIZE] __page_aligned_bss;
uint8_t pages_b[NR * PAGE_SIZE] __page_aligned_bss;

void grant_pages(grant_ref_t ref, const uint8_t *pages, domid_t domid,
                 unsigned int version)
{
    for ( unsigned int i = 0; i < NR; i++, ref++ )
    {
        unsigned long gfn = virt_to_gfn(&pages[i * PAGE_SIZE]);

        if ( version == 1 )
        {
            gnttab_grant_access(ref, domid, gfn, 0);
            continue;
        }

        gnttab_v2[ref].full_page.frame = gfn;
        gnttab_v2[ref].hdr.domid = domid;
        barrier();
        ACCESS_ONCE(gnttab_v2[ref].hdr.flags) = GTF_permit_access;
    }
}

void clear_grants(unsigned int version)
{
    unsigned int nr = version == 1 ? REF_B + NR : REF_A + NR;

    for ( grant_ref_t ref = REF_A; ref < nr; ref++ )
        if ( version == 1 )
            ACCESS_ONCE(gnttab_v1[ref].flags) = 0;
        else
            ACCESS_ONCE(gnttab_v2[ref].hdr.flags) = 0;
}

void report_error(const char *op, const char *what, long error)
{
    for ( unsigned int i = 0; i < NR_BATCHES; i++ )
    {
        struct cost cost = cost_begin(op, what, batches[i], 0);

        cost.error = error;
        cost_end(&cost);
    }
}

/* For the operations after this one; 0 or what Xen said. */
static long choose_version(unsigned int version)
{
    struct gnttab_set_version set = { .version = version };

    return hypercall_grant_table_op(GNTTABOP_set_version, &set, 1);
}

#ifdef CONFIG_PV

static void measure_version_1(domid_t self)
{
    grant_pages(REF_A, pages_a, self, 1);
    grant_pages(REF_B, pages_b, self, 1);

    measure_maps("own,v1", self);
    measure_replacing("own,v1", self);
    measure_copies("own", self);
    measure_cache_flush("own,clean");
    measure_swap("v1");

    clear_grants(1);
    measure_transfer("own,v1", self);
    clear_grants(1);
}

static void measure_version_2(domid_t self)
{
    grant_pages(REF_A, pages_a, self, 2);

    measure_maps("own,v2", self);
    measure_swap("v2");
    measure_status_frames();

    clear_grants(2);
}

static void measure_all(domid_t self)
{
    long rc;

    measure_version_1(self);
    measure_table_calls();
    measure_version_switch();

    rc = choose_version(2);
    if ( !rc )
    {
        measure_version_2(self);
        rc = choose_version(1);
        if ( rc )
            return xtf_error("Version 1 again: %ld\n", rc);
    }
    else
    {
        report_error("map_grant_ref", "own,v2", rc);
        report_error("unmap_grant_ref", "own,v2", rc);
        report_error("swap_grant_ref", "v2", rc);
        measure_status_frames();
    }

    measure_memory(self);
    xtf_success(NULL);
}

#else /* CONFIG_HVM */

/* The clone's side writes, this side reads through a page of its own. */
static struct mailbox {
    volatile uint32_t ready;
    volatile int32_t error;
} mailbox __page_aligned_bss;
static uint8_t mailbox_window[2][PAGE_SIZE] __page_aligned_bss;

/* Run in the clones. */
static void granter(unsigned int version)
{
    mailbox.error = version == 1 ? 0 : choose_version(version);
    if ( !mailbox.error )
        mailbox.error = arch_map_gnttab();

    if ( !mailbox.error )
    {
        grant_pages(REF_A, pages_a, 0, version);
        if ( version == 1 )
            grant_pages(REF_B, pages_b, 0, version);
    }

    barrier();
    mailbox.ready = 1;

    for ( ; ; )
        second_domain_sleep();
}

static void granter_of_version_1(void)
{
    granter(1);
}

static void granter_of_version_2(void)
{
    granter(2);
}

/* 0, or what kept the clone from granting. */
static long start_granter(struct second_domain *dom, unsigned int version)
{
    uint8_t *window = mailbox_window[version - 1];
    const struct mailbox *mail = (const void *)window;
    uint64_t start;
    long rc = second_domain_start_with(dom, version == 1 ? granter_of_version_1
                                                         : granter_of_version_2,
                                       version);

    if ( !rc )
        rc = second_domain_map(dom, &mailbox, window, 1);

    for ( start = now_ns(); !rc && !mail->ready; hypercall_yield() )
        if ( now_ns() - start > MS(2000) )
            rc = -ETIMEDOUT;

    return rc ?: mail->error;
}

static void measure_version_1(domid_t granter)
{
    measure_maps("foreign,v1", granter);
    measure_copies("foreign", granter);
}

static void measure_own_table(void)
{
    grant_pages(REF_A, pages_a, 0, 1);
    measure_swap("v1");
    clear_grants(1);

    measure_table_calls();
    measure_version_switch();

    grant_pages(REF_A, pages_a, 0, 1);
    measure_anchored_maps("own,v1", 0);
}

static void measure_all(domid_t self)
{
    struct second_domain v1, v2;
    long rc = start_granter(&v1, 1);

    if ( rc )
        return xtf_error("The granting domain does not come up: %ld\n", rc);
    measure_version_1(v1.domid);

    rc = start_granter(&v2, 2);
    if ( !rc )
        measure_maps("foreign,v2", v2.domid);
    else
    {
        report_error("map_grant_ref", "foreign,v2", rc);
        report_error("unmap_grant_ref", "foreign,v2", rc);
    }

    measure_own_table();
    xtf_success(NULL);
}

#endif

void test_main(void)
{
    if ( !owns_machine() )
        return;

    rounds = min(argument_number("rounds", 7), (unsigned long)COST_ROUNDS);
    fact_u64("rounds", rounds);

    if ( xtf_init_grant_table(1) )
        return xtf_error("No grant table\n");
    if ( !prepare_places() )
        return xtf_error("No places for the mappings\n");

    cost_baseline(rounds);
    measure_all(0);
}
