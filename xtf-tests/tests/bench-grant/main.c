/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/bench-grant/main.c
 * @ref test-bench-grant
 *
 * @page test-bench-grant bench-grant
 *
 * What mapping and unmapping foreign grants costs, in processor ticks.  Not a
 * test of right or wrong: under an emulator that counts instructions the
 * figures are the same in every run.
 *
 * A second domain grants 128 of its pages and sleeps.  This one then measures
 *
 *  null          XENVER_version, the cheapest hypercall there is
 *  clock         reading the time stamp counter, which the others contain
 *  xen-c-<n>     GNTTABOP_map_grant_ref and unmap at own guest frames, <n> a call
 *  ours-<n>      grant-DMA map and unmap, <n> elements of one page a call
 *  ours-run-<n>  grant-DMA map and unmap, one element of <n> pages
 *  ours-reg-1    the same with everything in registers, a page a call
 *  ours-args-<n>      as ours, and
 *  ours-args-run-<n>  as ours-run, with the array in registered memory
 *  own-args-<n>       as ours-args, with frames of this domain's that lie apart
 *  own-args-run-<n>   as ours-args-run, with frames of its that follow each other
 *
 * and prints one line for each:
 *
 *  BENCH variant=<..> op=<..> batch=<n> iterations=<calls> pages=<n> ticks=<n>
 *
 * Arguments on the guest's command line:
 *
 *  phases=<a>,<b>,..  only these (none: the set-up alone, so that events
 *                     counted outside can be told from those of a phase)
 *  iterations=<n>     how often the 128 pages are mapped and unmapped
 *                     (default 8); null hypercalls: 128 times that
 *  label=<name>       the name printed for GNTTABOP, default xen-c
 *  granted=large      the pages are in a large one in the clone's p2m, as
 *                     toolstacks make them (default: small)
 *
 * @see tests/bench-grant/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/clock.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/second-domain.h>
#include <lab/steps.h>

const char test_title[] = "Cost of mapping grants";

#define NR_PAGES    128
#define FIRST_REF   FIRST_FREE_REF

/* What the clone grants: memory that nobody looks at. */
#define GRANTED     (MB(16) >> PAGE_SHIFT)
/* The pages there that are one large page. */
#define LARGE_PAGE  (MB(2) >> PAGE_SHIFT)

/*
 * Guest frames for the mappings of GNTTABOP: memory beyond the image, which
 * has to stay small for the clone, and well below what the domain has.
 */
#define WINDOW      MB(32)

/* Own frames for devices: memory that nothing else is done with, above that. */
#define OWN_FRAMES  (MB(64) >> PAGE_SHIFT)
/* From one to the next that lie apart; odd, so that no table has them in a row. */
#define OWN_STRIDE  67

/* The clone's side writes, this side reads through a page of its own. */
static struct mailbox {
    volatile uint32_t ready;
    volatile int32_t error;
} mailbox __page_aligned_bss;
static uint8_t mailbox_window[PAGE_SIZE] __page_aligned_bss;

static unsigned long rounds;
static char gnttab_label[16] = "xen-c";

/* Runs in the clone. */
static void granter(void)
{
    mailbox.error = arch_map_gnttab();

    for ( unsigned int i = 0; !mailbox.error && i < NR_PAGES; i++ )
        gnttab_grant_access(FIRST_REF + i, 0, GRANTED + i, 0);

    barrier();
    mailbox.ready = 1;

    for ( ; ; )
        second_domain_sleep();
}

static bool start_granter(struct second_domain *dom)
{
    const struct mailbox *mail = (const void *)mailbox_window;
    const unsigned int pages = argument_lists("granted", "small") ? NR_PAGES
                                                                  : LARGE_PAGE;
    uint64_t start;

    second_domain_more_memory(LARGE_PAGE);
    if ( second_domain_start(dom, granter) ||
         second_domain_populate(dom, GRANTED, pages) ||
         second_domain_map(dom, &mailbox, mailbox_window, 1) )
        return false;

    for ( start = now_ns(); !mail->ready; hypercall_yield() )
        if ( now_ns() - start > MS(2000) )
            return false;

    return !mail->error;
}

static void print_figure(const char *variant, const char *op,
                         unsigned int batch, unsigned long calls,
                         unsigned long pages, uint64_t ticks)
{
    printk("BENCH variant=%s op=%s batch=%u iterations=%lu pages=%lu ticks=%"
           PRIu64"\n", variant, op, batch, calls, pages, ticks);
}

static bool begin_phase(const char *name)
{
    if ( !argument_lists("phases", name) || !argument_lists("phase", name) )
        return false;

    printk("PHASE begin %s\n", name);
    return true;
}

static void end_phase(const char *name)
{
    printk("PHASE end %s\n", name);
}

static void measure_null(void)
{
    unsigned long calls = rounds * NR_PAGES;
    uint64_t start;

    if ( !begin_phase("null") )
        return;

    start = read_ticks();
    for ( unsigned long i = 0; i < calls; i++ )
        (void)hypercall_xen_version(XENVER_version, NULL);
    print_figure("xen", "null", 1, calls, 0, read_ticks() - start);

    end_phase("null");
}

static void measure_clock(void)
{
    unsigned long calls = rounds * NR_PAGES;
    uint64_t start;

    if ( !begin_phase("clock") )
        return;

    start = read_ticks();
    for ( unsigned long i = 0; i < calls; i++ )
        (void)read_ticks();
    print_figure("xen", "clock", 1, calls, 0, read_ticks() - start);

    end_phase("clock");
}

static struct gnttab_map_grant_ref maps[NR_PAGES];
static struct gnttab_unmap_grant_ref unmaps[NR_PAGES];

static void prepare_gnttab(domid_t domid)
{
    for ( unsigned int i = 0; i < NR_PAGES; i++ )
        maps[i] = (struct gnttab_map_grant_ref){
            .host_addr = WINDOW + i * PAGE_SIZE,
            .flags = GNTMAP_host_map,
            .ref = FIRST_REF + i,
            .dom = domid,
        };
}

static bool prepare_unmaps(void)
{
    for ( unsigned int i = 0; i < NR_PAGES; i++ )
    {
        if ( maps[i].status )
            return false;
        unmaps[i] = (struct gnttab_unmap_grant_ref){
            .host_addr = maps[i].host_addr,
            .handle = maps[i].handle,
        };
    }

    return true;
}

static void measure_gnttab(domid_t domid, unsigned int batch)
{
    uint64_t map_ticks = 0, unmap_ticks = 0, start;
    char name[24];
    long rc = 0;

    snprintf(name, sizeof(name), "xen-c-%u", batch);
    if ( !begin_phase(name) )
        return;

    prepare_gnttab(domid);
    for ( unsigned long round = 0; round < rounds; round++ )
    {
        start = read_ticks();
        for ( unsigned int i = 0; i < NR_PAGES; i += batch )
            rc |= hypercall_grant_table_op(GNTTABOP_map_grant_ref, &maps[i],
                                           batch);
        map_ticks += read_ticks() - start;

        if ( rc || !prepare_unmaps() )
            return xtf_error("%s: mapping failed: %ld\n", name, rc);

        start = read_ticks();
        for ( unsigned int i = 0; i < NR_PAGES; i += batch )
            rc |= hypercall_grant_table_op(GNTTABOP_unmap_grant_ref,
                                           &unmaps[i], batch);
        unmap_ticks += read_ticks() - start;

        for ( unsigned int i = 0; i < NR_PAGES; i++ )
            if ( rc || unmaps[i].status )
                return xtf_error("%s: unmapping failed: %ld\n", name, rc);
    }

    print_figure(gnttab_label, "map", batch, rounds * NR_PAGES / batch,
                 rounds * NR_PAGES, map_ticks);
    print_figure(gnttab_label, "unmap", batch, rounds * NR_PAGES / batch,
                 rounds * NR_PAGES, unmap_ticks);
    end_phase(name);
}

/* One behind the other in whole pages, to be registered as an area. */
static struct arrays {
    struct xen_gdma_map maps[NR_PAGES];
    struct xen_gdma_unmap unmaps[NR_PAGES];
} arrays __page_aligned_bss;
#define dma_maps        arrays.maps
#define dma_unmaps      arrays.unmaps

/* Where a call finds an element: its address, or its place in the area. */
static void *place(void *element, bool registered)
{
    return registered ? _p(_u(element) - _u(&arrays)) : element;
}

/* How the pages get to the device. */
struct way {
    const char *variant;
    /* The array is in registered memory. */
    bool registered;
    /* Of this domain, and not granted. */
    bool own;
    /* A batch is one element, not many. */
    bool run;
};

/* @nr elements of @frames pages each, over the granted pages. */
static void prepare_gdma(domid_t domid, const struct way *way, unsigned int nr,
                         unsigned int frames)
{
    for ( unsigned int i = 0; i < nr; i++ )
        dma_maps[i] = (struct xen_gdma_map){
            .kind = way->own ? XEN_GDMA_MAP_OWN : XEN_GDMA_MAP_GRANT,
            .domid = way->own ? 0 : domid,
            .source = !way->own ? FIRST_REF + i * frames
                      : way->run ? OWN_FRAMES + i * frames
                                 : OWN_FRAMES + i * OWN_STRIDE,
            .nr_frames = frames,
            .flags = XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE,
        };
}

static bool prepare_dma_unmaps(unsigned int nr)
{
    for ( unsigned int i = 0; i < nr; i++ )
    {
        if ( dma_maps[i].status )
            return false;
        dma_unmaps[i] = (struct xen_gdma_unmap){
            .handle = dma_maps[i].handle,
        };
    }

    return true;
}

/* Each call has @pages pages. */
static void measure_gdma(domid_t domid, const struct way *way,
                         unsigned int pages)
{
    const unsigned int form = way->registered ? XEN_GDMA_ARGS_REGISTERED : 0;
    const unsigned int batch = way->run ? 1 : pages;
    const unsigned int frames = way->run ? pages : 1;
    unsigned int nr = NR_PAGES / frames;
    uint64_t map_ticks = 0, unmap_ticks = 0, start;
    char name[24];
    long rc = 0;

    snprintf(name, sizeof(name), "%s-%u", way->variant, pages);
    if ( !begin_phase(name) )
        return;

    for ( unsigned long round = 0; round < rounds; round++ )
    {
        prepare_gdma(domid, way, nr, frames);

        start = read_ticks();
        for ( unsigned int i = 0; i < nr; i += batch )
            rc |= gdma_op(XEN_GDMA_OP_MAP | form,
                          place(&dma_maps[i], way->registered), batch);
        map_ticks += read_ticks() - start;

        if ( rc || !prepare_dma_unmaps(nr) )
            return xtf_error("%s: mapping failed: %ld, first status %d\n",
                             name, rc, dma_maps[0].status);

        start = read_ticks();
        for ( unsigned int i = 0; i < nr; i += batch )
            rc |= gdma_op(XEN_GDMA_OP_UNMAP | form,
                          place(&dma_unmaps[i], way->registered), batch);
        unmap_ticks += read_ticks() - start;

        for ( unsigned int i = 0; i < nr; i++ )
            if ( rc || dma_unmaps[i].status )
                return xtf_error("%s: unmapping failed: %ld\n", name, rc);
    }

    print_figure(way->variant, "map", pages, rounds * nr / batch,
                 rounds * NR_PAGES, map_ticks);
    print_figure(way->variant, "unmap", pages, rounds * nr / batch,
                 rounds * NR_PAGES, unmap_ticks);
    end_phase(name);
}

static long reg_daddrs[NR_PAGES];

/* A call has one page and nothing in memory. */
static void measure_registers(domid_t domid)
{
    const uint32_t bits = XEN_GDMA_CONTEXT_DEFAULT | XEN_GDMA_REG_GRANT |
                          XEN_GDMA_REG_READ | XEN_GDMA_REG_WRITE;
    uint64_t map_ticks = 0, unmap_ticks = 0, start;
    long rc = 0;

    if ( !begin_phase("ours-reg-1") )
        return;

    for ( unsigned long round = 0; round < rounds; round++ )
    {
        start = read_ticks();
        for ( unsigned int i = 0; i < NR_PAGES; i++ )
            reg_daddrs[i] = gdma_map_reg(gdma_reg_grant(domid, FIRST_REF + i),
                                         bits);
        map_ticks += read_ticks() - start;

        for ( unsigned int i = 0; i < NR_PAGES; i++ )
            if ( reg_daddrs[i] <= 0 )
                return xtf_error("ours-reg-1: mapping failed: %ld\n",
                                 reg_daddrs[i]);

        start = read_ticks();
        for ( unsigned int i = 0; i < NR_PAGES; i++ )
            rc |= gdma_unmap_reg(reg_daddrs[i], XEN_GDMA_CONTEXT_DEFAULT);
        unmap_ticks += read_ticks() - start;

        if ( rc )
            return xtf_error("ours-reg-1: unmapping failed: %ld\n", rc);
    }

    print_figure("ours-reg", "map", 1, rounds * NR_PAGES, rounds * NR_PAGES,
                 map_ticks);
    print_figure("ours-reg", "unmap", 1, rounds * NR_PAGES, rounds * NR_PAGES,
                 unmap_ticks);
    end_phase("ours-reg-1");
}

static bool register_arrays(void)
{
    const unsigned int nr = (sizeof(arrays) + PAGE_SIZE - 1) / PAGE_SIZE;

    return gdma_register_args(&arrays, nr) == 0;
}

static void measure_all(domid_t domid)
{
    static const unsigned int batches[] = { 1, 16, 128 };
    static const struct way ways[] = {
        { .variant = "ours" },
        { .variant = "ours-run", .run = true },
        { .variant = "ours-args", .registered = true },
        { .variant = "ours-args-run", .registered = true, .run = true },
        { .variant = "own-args", .registered = true, .own = true },
        { .variant = "own-args-run", .registered = true, .own = true, .run = true },
    };
    bool registered = false;
    struct xen_gdma_query query;
    bool dma = gdma_query(&query) == 0 &&
               (query.capabilities & XEN_GDMA_CAP_DEFAULT_CONTEXT);

    fact_str("grant_dma", dma ? "present" : "absent");

    measure_null();
    measure_clock();

    for ( unsigned int i = 0; i < ARRAY_SIZE(batches); i++ )
        measure_gnttab(domid, batches[i]);

    for ( unsigned int i = 0; dma && i < ARRAY_SIZE(ways); i++ )
    {
        if ( ways[i].registered && !registered )
        {
            if ( !register_arrays() )
                return xtf_error("The arrays' memory cannot be registered\n");
            registered = true;
        }

        for ( unsigned int j = 0; j < ARRAY_SIZE(batches); j++ )
            measure_gdma(domid, &ways[i], batches[j]);
    }

    if ( dma )
        measure_registers(domid);
}

static void read_arguments(void)
{
    size_t len;
    const char *label = argument("label", &len);

    rounds = argument_number("iterations", 8);

    if ( label && len < sizeof(gnttab_label) )
    {
        memset(gnttab_label, 0, sizeof(gnttab_label));
        memcpy(gnttab_label, label, len);
    }
}

void test_main(void)
{
    struct second_domain dom;

    if ( !owns_machine() )
        return;

    read_arguments();

    if ( make_holes(_p(WINDOW), NR_PAGES) )
        return xtf_error("Cannot free guest frames for the mappings\n");

    if ( !start_granter(&dom) )
        return xtf_error("The second domain does not come up\n");

    fact_u64("granter", dom.domid);
    fact_u64("granted_pages", NR_PAGES);
    fact_u64("rounds", rounds);

    measure_all(dom.domid);

    if ( second_domain_unmap(mailbox_window, 1) ||
         second_domain_destroy(&dom) )
        return xtf_error("The second domain does not end\n");

    xtf_success(NULL);
}
