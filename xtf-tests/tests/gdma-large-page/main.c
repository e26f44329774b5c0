/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-large-page/main.c
 * @ref test-gdma-large-page
 *
 * @page test-gdma-large-page gdma-large-page
 *
 * Grants of frames that lie in one large page of the granter's memory, for
 * which one look-up serves.  A device must find in each what is there, also
 * after the granter's memory has changed.
 *
 *  1. A second domain grants eight frames of a large page.  They have
 *     different contents, and it knows them by numbers in a row.
 *  2. In a run and by themselves, in order and backwards: the device finds the
 *     contents of each.
 *  3. Another page comes to one of the frames, which breaks the large page up:
 *     the device finds the new contents there and the old ones beside it.
 *  4. One frame has nothing any more: a run with it fails, of single elements
 *     only that one does, and nothing of what failed stays pinned.
 *
 * @see tests/gdma-large-page/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/edu.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/second-domain.h>
#include <lab/steps.h>

const char test_title[] = "Grants in a large page";

#define NR_PAGES    8
#define FIRST_REF   FIRST_FREE_REF

/* The large page, and the granted frames in its middle. */
#define LARGE       (MB(16) >> PAGE_SHIFT)
#define LARGE_PAGES (MB(2) >> PAGE_SHIFT)
#define GRANTED     (LARGE + 100)

/* The frame that gets another page, and the one that loses its own. */
#define CHANGED     3
#define LOST        5

/* Contents of frame @nth are made from this and more. */
#define SEED        40
#define SEED_NEW    60

static struct mailbox {
    volatile uint32_t ready;
    volatile int32_t error;
} mailbox __page_aligned_bss;

/* This domain's views of the granter's memory. */
static uint8_t mailbox_window[PAGE_SIZE] __page_aligned_bss;
static uint8_t window[NR_PAGES * PAGE_SIZE] __page_aligned_bss;
static uint8_t new_window[PAGE_SIZE] __page_aligned_bss;

static uint8_t shown[PAGE_SIZE] __page_aligned_bss;
static uint8_t wanted[PAGE_SIZE];

static unsigned int seeds[NR_PAGES];

static struct edu edu;
static struct second_domain dom;

/* Runs in the second domain. */
static void granter(void)
{
    mailbox.error = arch_map_gnttab();

    for ( unsigned int i = 0; !mailbox.error && i < NR_PAGES; i++ )
        gnttab_grant_access(FIRST_REF + i, 0, GRANTED + i, GTF_readonly);

    barrier();
    mailbox.ready = 1;

    for ( ; ; )
        second_domain_sleep();
}

static bool start_granter(void)
{
    const struct mailbox *mail = (const void *)mailbox_window;
    uint64_t start;

    step("start a second domain, which grants frames of a large page");

    second_domain_more_memory(LARGE_PAGES + 1);
    if ( second_domain_start(&dom, granter) ||
         second_domain_populate(&dom, LARGE, LARGE_PAGES) ||
         second_domain_map(&dom, &mailbox, mailbox_window, 1) ||
         second_domain_map_frames(&dom, GRANTED, window, NR_PAGES) )
    {
        xtf_error("The second domain cannot be built\n");
        return false;
    }

    for ( start = now_ns(); !mail->ready; hypercall_yield() )
        if ( now_ns() - start > MS(3000) )
        {
            xtf_error("The second domain does not answer\n");
            return false;
        }

    if ( mail->error )
        xtf_error("The second domain has no grant table: %d\n", mail->error);

    for ( unsigned int i = 0; i < NR_PAGES; i++ )
    {
        seeds[i] = SEED + i;
        fill_pattern(&window[i * PAGE_SIZE], PAGE_SIZE, seeds[i]);
    }

    return !mail->error;
}

/* The device reads one page and shows it. */
static void expect_page(unsigned int nth, uint64_t daddr)
{
    char what[40];

    memset(shown, 0xa5, PAGE_SIZE);
    snprintf(what, sizeof(what), "what the device finds in frame %u", nth);
    if ( edu_load(&edu, daddr, 0, PAGE_SIZE) ||
         edu_store(&edu, _u(shown), 0, PAGE_SIZE) )
        return xtf_failure("Fail: the device does not finish\n");

    fill_pattern(wanted, PAGE_SIZE, seeds[nth]);
    expect_bytes(what, shown, wanted, PAGE_SIZE);
}

static void look_through_run(void)
{
    struct xen_gdma_map map;

    if ( !expect("map a run",
                 gdma_map_grants(dom.domid, FIRST_REF, NR_PAGES,
                                 XEN_GDMA_MAP_READ, &map), 0) )
        return;

    for ( unsigned int i = 0; i < NR_PAGES; i++ )
        expect_page(i, map.daddr + i * PAGE_SIZE);

    expect("unmap it", gdma_unmap(map.handle), 0);
}

/* Element number i is about frame number (i * step) % NR_PAGES. */
static void map_singly(struct xen_gdma_map maps[], unsigned int step)
{
    for ( unsigned int i = 0; i < NR_PAGES; i++ )
        maps[i] = (struct xen_gdma_map){
            .kind = XEN_GDMA_MAP_GRANT,
            .domid = dom.domid,
            .source = FIRST_REF + (i * step) % NR_PAGES,
            .nr_frames = 1,
            .flags = XEN_GDMA_MAP_READ,
        };

    expect("map an array", gdma_op(XEN_GDMA_OP_MAP, maps, NR_PAGES), 0);
}

static void look_through_array(unsigned int step, unsigned int lost)
{
    struct xen_gdma_map maps[NR_PAGES];

    map_singly(maps, step);
    for ( unsigned int i = 0; i < NR_PAGES; i++ )
    {
        unsigned int nth = (i * step) % NR_PAGES;

        if ( !expect("status of an element", maps[i].status,
                     nth == lost ? -EFAULT : 0) || maps[i].status )
            continue;

        expect_page(nth, maps[i].daddr);
        expect("unmap it", gdma_unmap(maps[i].handle), 0);
    }
}

static void look_through_all(void)
{
    look_through_run();
    look_through_array(1, NR_PAGES);
    look_through_array(NR_PAGES - 1, NR_PAGES);
}

static bool change(void)
{
    step("another page comes to a frame in the middle");

    if ( second_domain_remove(&dom, GRANTED + CHANGED) ||
         second_domain_populate(&dom, GRANTED + CHANGED, 1) ||
         second_domain_map_frames(&dom, GRANTED + CHANGED, new_window, 1) )
    {
        xtf_error("The second domain's memory cannot be changed\n");
        return false;
    }

    seeds[CHANGED] = SEED_NEW;
    fill_pattern(new_window, PAGE_SIZE, seeds[CHANGED]);

    return true;
}

static void lose(void)
{
    struct xen_gdma_map map;

    step("a frame has nothing any more");

    if ( second_domain_remove(&dom, GRANTED + LOST) )
        return xtf_error("The second domain's memory cannot be changed\n");

    expect("map a run with it",
           gdma_map_grants(dom.domid, FIRST_REF, NR_PAGES, XEN_GDMA_MAP_READ,
                           &map), -EFAULT);
    look_through_array(1, LOST);
}

static void end_granter(const struct xen_gdma_query *before)
{
    struct xen_gdma_query after;

    step("nothing is left behind");

    expect("query", gdma_query(&after), 0);
    expect("pinned frames", after.used_pins, before->used_pins);
    expect("mappings", after.mappings, before->mappings);

    if ( second_domain_unmap(window, NR_PAGES) ||
         second_domain_unmap(new_window, 1) ||
         second_domain_unmap(mailbox_window, 1) ||
         second_domain_destroy(&dom) )
        xtf_error("The second domain does not end\n");
}

void test_main(void)
{
    struct xen_gdma_query before;

    if ( !owns_machine() )
        return;
    if ( !gdma_usable() )
        return;
    if ( !edu_open(&edu, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( gdma_query(&before) )
        return xtf_error("No answer from the service\n");

    if ( !start_granter() )
        return;

    step("the device finds what each frame has");
    look_through_all();

    if ( change() )
    {
        look_through_all();
        lose();
    }
    end_granter(&before);

    xtf_success(NULL);
}
