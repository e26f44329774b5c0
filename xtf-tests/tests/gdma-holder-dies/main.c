/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-holder-dies/main.c
 * @ref test-gdma-holder-dies
 *
 * @page test-gdma-holder-dies gdma-holder-dies
 *
 * A domain dies with 100,000 frames pinned for its device, in two contexts: its
 * own frames and grants of the first domain, in runs of 128.  For the domain
 * that owns the machine.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. The second domain pins nothing and is destroyed: what later lives and
 *     deaths are compared with.
 *  2. Another one pins 100,000 frames; its device is in one of the contexts.
 *     The first domain's references are in use.
 *  3. It is destroyed, while a timer of the first domain interrupts.  Xen knows
 *     it no more [a zombie: references that are held], the first domain's
 *     references are not in use any more [pins that stay], and Xen's memory is
 *     back [records, tables].
 *
 * @see tests/gdma-holder-dies/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/edu.h>
#include <lab/grants.h>
#include <lab/preempt.h>
#include <lab/remote.h>
#include <lab/steps.h>
#include <lab/sysctl.h>

const char test_title[] = "Grant-DMA: a domain dies with 100,000 pins";

#define WANTED          100000u
#define RUN             XEN_GDMA_MAX_FRAMES
#define RUNS            (WANTED / RUN + 1)
#define PER_CALL        (REMOTE_ELEMENTS / sizeof(struct xen_gdma_map))

/* A reference can be used 128 times. */
#define RUNS_OF_GRANTS  126u
#define FIRST_REF       8u

/* Both sides: what this domain grants, and what its clone has of its own. */
static uint8_t frames[RUN * PAGE_SIZE] __page_aligned_bss;

static struct xen_gdma_map maps[PER_CALL];
static uint32_t contexts[2];
static struct edu edu;

/* The other domain makes a call of one element, which as a whole succeeds. */
#define REMOTE(cmd, op)                                                 \
    expect("the call", remote_gdma(cmd, &(op), sizeof(op), 1), 0)

static bool create_contexts(void)
{
    for ( unsigned int i = 0; i < ARRAY_SIZE(contexts); i++ )
    {
        struct xen_gdma_context_create create = { .max_daddr = 0 };

        REMOTE(XEN_GDMA_OP_CONTEXT_CREATE, create);
        if ( !expect("create", create.status, 0) )
            return false;
        contexts[i] = create.context;
    }

    return true;
}

static struct xen_gdma_map run(unsigned int nth)
{
    struct xen_gdma_map map = {
        .context = contexts[nth % ARRAY_SIZE(contexts)],
        .kind = XEN_GDMA_MAP_OWN,
        .source = virt_to_gfn(frames),
        .nr_frames = RUN,
        .flags = XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE,
    };

    if ( nth < RUNS_OF_GRANTS )
    {
        map.kind = XEN_GDMA_MAP_GRANT;
        map.domid = own_domid();
        map.source = FIRST_REF;
    }

    return map;
}

static bool pin(unsigned int runs)
{
    for ( unsigned int done = 0; done < runs; )
    {
        unsigned int nr = min(runs - done, (unsigned int)PER_CALL);

        for ( unsigned int i = 0; i < nr; i++ )
            maps[i] = run(done + i);
        if ( !expect("map", remote_gdma(XEN_GDMA_OP_MAP, maps, sizeof(maps[0]),
                                        nr), 0) )
            return false;
        for ( unsigned int i = 0; i < nr; i++ )
            if ( maps[i].status )
                return expect("element", maps[i].status, 0);
        done += nr;
    }

    return true;
}

static void grant_all(void)
{
    for ( unsigned int i = 0; i < RUN; i++ )
        gnttab_grant_access(FIRST_REF + i, remote_domid(),
                            virt_to_gfn(&frames[i * PAGE_SIZE]), 0);
}

static void expect_used(bool used)
{
    unsigned int unlike = 0;

    for ( unsigned int i = 0; i < RUN; i++ )
    {
        unsigned int flags = gnttab_entry_flags(FIRST_REF + i);

        unlike += !(flags & (GTF_reading | GTF_writing)) == used;
    }

    expect(used ? "references not in use" : "references in use", unlike, 0);
}

/* Wait until Xen has forgotten the domain; what is left of it is freed later. */
static void expect_gone(domid_t domid)
{
    uint64_t start = now_ns();

    while ( second_domain_info(domid) == 0 && now_ns() - start < MS(2000) )
        wait_ns(MS(10));

    expect("what Xen knows of it", second_domain_info(domid), -ESRCH);
    wait_ns(MS(100));
}

static bool start(void)
{
    second_domain_behind_iommu();

    return remote_start();
}

static bool live(void)
{
    struct xen_gdma_set_limits set;
    struct xen_gdma_device_attach attach = {
        .kind = XEN_GDMA_DEVICE_PCI,
        .id = edu.bdf,
    };
    struct xen_gdma_stats stats;

    step("a domain pins 100,000 frames");

    if ( remote_assign(edu.bdf) )
    {
        xtf_error("The device cannot be given to the second domain\n");
        return false;
    }
    expect("limits", gdma_set_limits(remote_domid(), RUNS * RUN,
                                     XEN_GDMA_LIMIT_KEEP, &set), 0);
    grant_all();
    if ( !create_contexts() || !pin(RUNS) )
        return false;

    attach.context = contexts[0];
    REMOTE(XEN_GDMA_OP_DEVICE_ATTACH, attach);
    expect("attach", attach.status, 0);

    expect("stats", gdma_stats(remote_domid(), &stats), 0);
    fact_u64("pins", stats.used_pins);
    expect("pins", stats.used_pins, RUNS * RUN);
    expect_used(true);

    return !xtf_status_reported();
}

/* Returns Xen's free memory afterwards. */
static long die(void)
{
    const domid_t domid = remote_domid();
    struct xen_gdma_stats stats;
    uint64_t begun;

    expect_true("a timer", preempt_often());
    begun = now_ns();
    remote_end();
    fact_u64("ms_of_its_end", (now_ns() - begun) / MS(1));
    preempt_no_more();
    expect_gone(domid);
    expect("its figures", gdma_stats(domid, &stats), -ESRCH);

    return free_pages();
}

void test_main(void)
{
    long before, with, after;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !edu_open(&edu, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( virt_to_gfn(&frames[(RUN - 1) * PAGE_SIZE]) !=
         virt_to_gfn(frames) + RUN - 1 )
        return xtf_error("The frames are not one run\n");
    if ( arch_map_gnttab() )
        return xtf_error("The grant table cannot be mapped\n");

    step("a domain that pins nothing dies");
    if ( !start() )
        return;
    before = die();

    if ( !start() || !live() )
        return;
    with = free_pages();

    step("it dies");
    after = die();
    expect_used(false);
    fact_u64("kib_of_xens_memory", (before - with) * (PAGE_SIZE / 1024));
    fact_u64("kib_not_back", (before - after) * (PAGE_SIZE / 1024));
    expect_true("free memory is known", before > 0 && with > 0 && after > 0);
    expect_true("the domain's memory counted", with < before);
    /* What Xen's allocator keeps at hand is no leak of 100,000 pins. */
    expect_true("the memory is back", before - after <= (before - with) / 100);

    xtf_success(NULL);
}
