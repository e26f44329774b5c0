/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-contexts-region/main.c
 * @ref test-gdma-contexts-region
 *
 * @page test-gdma-contexts-region gdma-contexts-region
 *
 * A region of memory that is reserved for a device follows it into contexts.
 * For the domain that owns the machine, with three `edu` devices, for the first
 * of which an option of Xen's (rmrr= for VT-d, ivmd= for AMD-Vi) reserves the
 * frames from 0xf0 to 0xf7.  The firmware is there, so a device that reaches them reads something.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. The first device in an empty context reads its region, and nothing else
 *     [a context without the region].
 *  2. Another device in the same context reads it, too, as it is there for both;
 *     when the first one has left it does not any more [a region that stays].
 *  3. The first device takes its region to another context and back.
 *  4. The contexts end when no device is there, not before.
 *
 * @see tests/gdma-contexts-region/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: reserved regions follow their device";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define REGION          0xf0000u
#define REGION_PAGES    8u

enum { FIRST, SIBLING, OTHER, NR_DEVICES };

struct place {
    struct xen_gdma_context_create context;
    uint64_t shows;
};

static struct device devices[NR_DEVICES];
static struct place a, b;

static bool make_place(struct place *place)
{
    struct xen_gdma_map map;

    if ( !expect("create", gdma_context_create(0, &place->context), 0) ||
         !expect("map", gdma_map_own_in(place->context.context,
                                        virt_to_gfn(device_shows), 1,
                                        READ_WRITE, &map), 0) )
        return false;
    place->shows = map.daddr;

    return true;
}

static void enter(unsigned int nth, const struct place *place)
{
    expect("attach", gdma_attach(devices[nth].edu.bdf,
                                 place->context.context), 0);
    devices[nth].shows = place->shows;
}

static void leave(unsigned int nth)
{
    expect("attach to the default context",
           gdma_attach(devices[nth].edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    devices[nth].shows = default_daddr(device_shows);
}

/* How many bytes other than 0 the device reads of the beginning of a page. */
static unsigned int bytes_read(const struct device *dev, uint64_t daddr)
{
    unsigned int bytes = 0;

    expect("the transfer ends", edu_load(&dev->edu, daddr, 0, REACH_LEN), 0);
    memset(device_shows, 0, REACH_LEN);
    expect("the transfer ends",
           edu_store(&dev->edu, dev->shows, 0, REACH_LEN), 0);
    for ( unsigned int i = 0; i < REACH_LEN; i++ )
        bytes += device_shows[i] != 0;

    return bytes;
}

static unsigned int bytes_of_region(unsigned int nth)
{
    unsigned int bytes = 0;

    for ( unsigned int i = 0; i < REGION_PAGES; i++ )
        bytes += bytes_read(&devices[nth], REGION + i * PAGE_SIZE);

    return bytes;
}

/* What the firmware has there, as a device reads it that may. */
static unsigned int all;

static void follow(void)
{
    step("the device's region is in an empty context, and nothing else is");

    enter(FIRST, &a);
    all = bytes_of_region(FIRST);
    fact_u64("bytes_of_region", all);
    expect_true("the firmware is there", all > 0);
    expect_nothing("the page before", &devices[FIRST], REGION - PAGE_SIZE);
    expect_nothing("the page behind", &devices[FIRST],
                   REGION + REGION_PAGES * PAGE_SIZE);

    step("for whoever is there, and as long as the device is");

    enter(OTHER, &a);
    expect("another device there", bytes_of_region(OTHER), all);
    expect("destroy", gdma_context_destroy(a.context.context), -EBUSY);
    leave(FIRST);
    expect("the same when it is alone", bytes_of_region(OTHER), 0);
}

static void move_on(void)
{
    step("to another context, and back");

    enter(FIRST, &b);
    expect("in the other context", bytes_of_region(FIRST), all);
    expect("in the first one", bytes_of_region(OTHER), 0);
    enter(FIRST, &a);
    expect("in the first one again", bytes_of_region(FIRST), all);
    expect("for both", bytes_of_region(OTHER), all);
    enter(OTHER, &b);
    expect("in the other one", bytes_of_region(OTHER), 0);
    leave(FIRST);
    leave(OTHER);
}

static void end(const struct place *place, unsigned int left)
{
    struct xen_gdma_stats stats;

    expect("destroy", gdma_context_destroy(place->context.context), 0);
    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);
    expect("contexts", stats.used_contexts, left);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    for ( unsigned int i = 0; i < NR_DEVICES; i++ )
        if ( !device_open(&devices[i], i) )
            return xtf_skip("This machine has fewer than three edu devices\n");

    if ( !make_place(&a) || !make_place(&b) )
        return;
    follow();
    move_on();

    step("the contexts end");
    end(&a, 1);
    end(&b, 0);

    xtf_success(NULL);
}
