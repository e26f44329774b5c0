/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-contexts-shared/main.c
 * @ref test-gdma-contexts-shared
 *
 * @page test-gdma-contexts-shared gdma-contexts-shared
 *
 * Two devices that an IOMMU cannot tell apart are in one context at any time:
 * they are moved together, or the call answers -EBUSY and moves neither.  With
 * two `edu` devices behind a bridge from PCI Express to PCI, which puts its own
 * address into their requests.
 *
 *  1. Both work in the default context.
 *  2. One is moved to a context: then the other one is there as well, or both
 *     are where they were [one that is said to be elsewhere than it is; one
 *     that loses its memory].
 *  3. Both are moved in one call.
 *  4. One is moved to another context.
 *  5. A context with one of them cannot be destroyed; moved back, both work as
 *     before.
 *
 * @see tests/gdma-contexts-shared/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: devices that share an address";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define NR_CONTEXTS     2u
#define DEFAULT         NR_CONTEXTS     /* Where a device is, as an index. */

static uint8_t pages[NR_CONTEXTS][PAGE_SIZE] __page_aligned_bss;
static uint8_t unmapped[PAGE_SIZE] __page_aligned_bss;

static struct device devices[2];
static struct {
    uint32_t number;
    struct xen_gdma_map shows, page;
} contexts[NR_CONTEXTS];

static bool find_devices(void)
{
    if ( !device_open(&devices[0], 0) || !device_open(&devices[1], 1) ||
         !PCI_BUS(devices[0].edu.bdf) ||
         PCI_BUS(devices[0].edu.bdf) != PCI_BUS(devices[1].edu.bdf) )
    {
        xtf_skip("This machine has no two edu devices behind a bridge\n");
        return false;
    }

    return true;
}

static bool make_contexts(void)
{
    struct xen_gdma_set_limits old;

    /* Room for 4 GiB of frames: the range ends above the machine's memory. */
    if ( !expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF, 1u << 20,
                                          XEN_GDMA_LIMIT_KEEP, &old), 0) )
        return false;

    for ( unsigned int i = 0; i < NR_CONTEXTS; i++ )
    {
        struct xen_gdma_context_create create;
        uint64_t last;

        if ( !expect("create", gdma_context_create(0, &create), 0) )
            return false;
        contexts[i].number = create.context;

        /* Not the same in both. */
        last = create.daddr_last + 1 - PAGE_SIZE * (1 + 2 * i);
        if ( last < GB(4) ||
             !expect("map", gdma_map_own_at(create.context, last,
                                            virt_to_gfn(device_shows), 1,
                                            READ_WRITE, &contexts[i].shows),
                     0) ||
             !expect("map", gdma_map_own_at(create.context, last - PAGE_SIZE,
                                            virt_to_gfn(pages[i]), 1,
                                            READ_WRITE, &contexts[i].page),
                     0) )
            return false;
    }

    return true;
}

/* Where the service says that the device is. */
static unsigned int said_place(const struct device *dev)
{
    struct xen_gdma_query_device query;

    expect("query_device", gdma_query_device(dev->edu.bdf, &query), 0);
    if ( query.context == XEN_GDMA_CONTEXT_DEFAULT )
        return DEFAULT;

    expect("treatment", query.treatment, XEN_GDMA_TREATMENT_CONTEXT);
    for ( unsigned int i = 0; i < NR_CONTEXTS; i++ )
        if ( contexts[i].number == query.context )
            return i;

    xtf_failure("BAD the device is said to be in context %u\n", query.context);
    return DEFAULT;
}

/* Both are in one place, which they reach, and nothing else. */
static unsigned int expect_together(const char *when)
{
    unsigned int place = said_place(&devices[0]);

    printk("Both devices, %s: place %u\n", when, place);
    expect("where the other one is said to be", said_place(&devices[1]),
           place);

    for ( unsigned int i = 0; i < ARRAY_SIZE(devices); i++ )
    {
        struct device *dev = &devices[i];

        dev->shows = place == DEFAULT ? default_daddr(device_shows)
                                      : contexts[place].shows.daddr;
        if ( place == DEFAULT )
            expect_reaches("the default context", dev,
                           default_daddr(unmapped), unmapped);
        else
            expect_blocked("the default context", dev,
                           default_daddr(unmapped), unmapped);

        for ( unsigned int c = 0; c < NR_CONTEXTS; c++ )
            if ( place == c )
                expect_reaches("its context", dev, contexts[c].page.daddr,
                               pages[c]);
            else
                expect_elsewhere("another context", dev,
                                 contexts[c].page.daddr, pages[c]);
    }

    return place;
}

/* The documented answers, and what must be true after each. */
static void expect_moved(const char *what, int rc, unsigned int from,
                         unsigned int to)
{
    printk("FACT attach=%d (%s)\n", rc, what);
    if ( rc )
        expect("refused", rc, -EBUSY);
    expect("place", expect_together(what), rc ? from : to);
}

static uint32_t number_of(unsigned int place)
{
    return place == DEFAULT ? XEN_GDMA_CONTEXT_DEFAULT
                            : contexts[place].number;
}

static void move_one(unsigned int nth, unsigned int to)
{
    unsigned int from = said_place(&devices[0]);

    step("device %u is moved to place %u", nth, to);
    expect_moved("one device",
                 gdma_attach(devices[nth].edu.bdf, number_of(to)), from, to);
}

static void move_both(unsigned int to)
{
    unsigned int from = said_place(&devices[0]);
    struct xen_gdma_device_attach attach[ARRAY_SIZE(devices)];

    step("both are moved to place %u in one call", to);
    for ( unsigned int i = 0; i < ARRAY_SIZE(devices); i++ )
        attach[i] = (struct xen_gdma_device_attach){
            .kind = XEN_GDMA_DEVICE_PCI,
            .id = devices[i].edu.bdf,
            .context = number_of(to),
        };
    expect("attach", gdma_op(XEN_GDMA_OP_DEVICE_ATTACH, attach,
                             ARRAY_SIZE(attach)), 0);
    expect("the same answer for both", attach[1].status, attach[0].status);
    expect_moved("both devices", attach[0].status, from, to);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() || !find_devices() )
        return;
    for ( unsigned int i = 0; i < ARRAY_SIZE(devices); i++ )
        printk("FACT device=%02x:%02x.%u\n", PCI_BUS(devices[i].edu.bdf),
               PCI_SLOT(devices[i].edu.bdf), PCI_FUNC(devices[i].edu.bdf));

    step("both work in the default context");
    if ( !make_contexts() )
        return xtf_error("No contexts for this test\n");
    expect("place", expect_together("by default"), DEFAULT);

    move_one(0, 0);
    move_both(0);
    move_one(1, 1);
    if ( said_place(&devices[0]) == 1 )
        expect("destroy", gdma_context_destroy(contexts[1].number), -EBUSY);
    move_both(DEFAULT);
    expect("place", said_place(&devices[0]), DEFAULT);

    step("the contexts end");
    for ( unsigned int i = 0; i < NR_CONTEXTS; i++ )
        expect("destroy", gdma_context_destroy(contexts[i].number), 0);
    for ( unsigned int i = 0; i < ARRAY_SIZE(devices); i++ )
        expect_reaches("the default context", &devices[i],
                       default_daddr(unmapped), unmapped);

    xtf_success(NULL);
}
