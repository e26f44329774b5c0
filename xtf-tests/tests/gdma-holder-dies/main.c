/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-holder-dies/main.c
 * @ref test-gdma-holder-dies
 *
 * @page test-gdma-holder-dies gdma-holder-dies
 *
 * A domain, the holder, dies with 100,000 frames pinned for its device, in two
 * contexts: its own frames and grants of another domain, the granter.  Test for
 * the domain that owns the machine.  Its arguments:
 *
 *  - frames=NUMBER: how many frames a mapping is of, 128 unless told.
 *  - granter=domain: the granter is a domain by itself, and dies first.
 *    Otherwise it is the domain that owns the machine.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. The domains pin nothing and are destroyed: what later lives and deaths are
 *     compared with.
 *  2. Others live.  The holder pins 100,000 frames; its device is in one of the
 *     contexts.  The granter's references are in use.
 *  3. A granter that is a domain by itself is destroyed.  It stays as long as its
 *     pages are pinned [pages freed under a device], and so do the pins.
 *  4. The holder is destroyed, while a timer of the first domain interrupts.  Xen
 *     knows neither it nor that granter any more [a zombie: references that are
 *     held], the first domain's references are not in use any more [pins that
 *     stay], and Xen's memory is back [records, tables].
 *
 * @see tests/gdma-holder-dies/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
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
#define PINS            ((WANTED / RUN + 1) * RUN)
#define PER_CALL        (REMOTE_ELEMENTS / sizeof(struct xen_gdma_map))

/* A reference can be used 128 times. */
#define PINS_OF_GRANTS  (126u * RUN)
#define FIRST_REF       8u

/* Longer than Xen takes to forget a domain that nothing holds. */
#define FORGET_MS       300

enum { HOLDER, GRANTER };

/* In each domain: what the granter grants, and what the holder has itself. */
static uint8_t frames[RUN * PAGE_SIZE] __page_aligned_bss;

static struct xen_gdma_map maps[PER_CALL];
static uint32_t contexts[2];
static struct edu edu;

static unsigned int frames_each;
static bool granter_apart;
static domid_t domids[2];

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

static struct xen_gdma_map mapping(unsigned int nth)
{
    const unsigned int pin = nth * frames_each;
    struct xen_gdma_map map = {
        .context = contexts[nth % ARRAY_SIZE(contexts)],
        .kind = XEN_GDMA_MAP_OWN,
        .source = virt_to_gfn(frames) + pin % RUN,
        .nr_frames = frames_each,
        .flags = XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE,
    };

    if ( pin < PINS_OF_GRANTS )
    {
        map.kind = XEN_GDMA_MAP_GRANT;
        map.domid = domids[GRANTER];
        map.source = FIRST_REF + pin % RUN;
    }

    return map;
}

static bool pin_all(void)
{
    const unsigned int all = PINS / frames_each;

    for ( unsigned int done = 0; done < all; )
    {
        unsigned int nr = min(all - done, (unsigned int)PER_CALL);

        for ( unsigned int i = 0; i < nr; i++ )
            maps[i] = mapping(done + i);
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
    if ( granter_apart )
    {
        remote_choose(GRANTER);
        remote_grant_frames(FIRST_REF, domids[HOLDER], virt_to_gfn(frames),
                            RUN, 0);
        remote_choose(HOLDER);
    }
    else
        for ( unsigned int i = 0; i < RUN; i++ )
            gnttab_grant_access(FIRST_REF + i, domids[HOLDER],
                                virt_to_gfn(&frames[i * PAGE_SIZE]), 0);
}

static bool in_use(grant_ref_t ref)
{
    bool used;

    if ( !granter_apart )
        return gnttab_entry_flags(ref) & (GTF_reading | GTF_writing);

    remote_choose(GRANTER);
    used = remote_in_use(ref);
    remote_choose(HOLDER);

    return used;
}

static void expect_used(bool used)
{
    unsigned int unlike = 0;

    for ( unsigned int i = 0; i < RUN; i++ )
        unlike += in_use(FIRST_REF + i) != used;

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

static bool start(unsigned int nth)
{
    remote_choose(nth);
    if ( !remote_start() )
        return false;
    domids[nth] = remote_domid();

    return true;
}

static bool start_all(void)
{
    second_domain_behind_iommu();
    domids[GRANTER] = own_domid();

    return (!granter_apart || start(GRANTER)) && start(HOLDER);
}

static unsigned int holders_pins(void)
{
    struct xen_gdma_stats stats;

    expect("stats", gdma_stats(domids[HOLDER], &stats), 0);

    return stats.used_pins;
}

static bool live(void)
{
    struct xen_gdma_set_limits set;
    struct xen_gdma_device_attach attach = {
        .kind = XEN_GDMA_DEVICE_PCI,
        .id = edu.bdf,
    };

    step("a domain pins 100,000 frames");

    if ( remote_assign(edu.bdf) )
    {
        xtf_error("The device cannot be given to the second domain\n");
        return false;
    }
    expect("limits", gdma_set_limits(domids[HOLDER], PINS,
                                     XEN_GDMA_LIMIT_KEEP, &set), 0);
    grant_all();
    if ( !create_contexts() || !pin_all() )
        return false;

    attach.context = contexts[0];
    REMOTE(XEN_GDMA_OP_DEVICE_ATTACH, attach);
    expect("attach", attach.status, 0);

    fact_u64("mappings", PINS / frames_each);
    fact_u64("pins", holders_pins());
    expect("pins", holders_pins(), PINS);
    expect_used(true);

    return !xtf_status_reported();
}

static void end(unsigned int nth)
{
    uint64_t begun;

    expect_true("a timer", preempt_often());
    begun = now_ns();
    remote_choose(nth);
    remote_end();
    remote_choose(HOLDER);
    fact_u64("ms_of_its_end", (now_ns() - begun) / MS(1));
    preempt_no_more();
}

static void granter_dies(void)
{
    step("its granter dies, which it keeps");

    end(GRANTER);
    wait_ns(MS(FORGET_MS));
    expect("what Xen knows of it", second_domain_info(domids[GRANTER]), 0);
    expect("pins", holders_pins(), PINS);
}

/* Returns Xen's free memory afterwards. */
static long holder_dies(void)
{
    struct xen_gdma_stats stats;

    end(HOLDER);
    expect_gone(domids[HOLDER]);
    expect("its figures", gdma_stats(domids[HOLDER], &stats), -ESRCH);
    if ( granter_apart )
        expect_gone(domids[GRANTER]);
    else
        expect_used(false);

    return free_pages();
}

static bool read_arguments(void)
{
    size_t len;

    frames_each = argument_number("frames", RUN);
    granter_apart = argument("granter", &len) &&
                    argument_lists("granter", "domain");

    return frames_each && frames_each <= RUN && RUN % frames_each == 0;
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
    if ( !read_arguments() )
        return xtf_error("Mappings of so many frames do not make a run\n");

    step("domains that pin nothing die");
    if ( !start_all() )
        return;
    if ( granter_apart )
        end(GRANTER);
    before = holder_dies();

    if ( !start_all() || !live() )
        return;
    with = free_pages();
    if ( granter_apart )
        granter_dies();

    step("it dies");
    after = holder_dies();
    fact_u64("kib_of_xens_memory", (before - with) * (PAGE_SIZE / 1024));
    fact_u64("kib_not_back", (before - after) * (PAGE_SIZE / 1024));
    expect_true("free memory is known", before > 0 && with > 0 && after > 0);
    expect_true("the domain's memory counted", with < before);
    /* What Xen's allocator keeps at hand is no leak of 100,000 pins. */
    expect_true("the memory is back", before - after <= (before - with) / 100);

    xtf_success(NULL);
}
