/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-flush-counts/main.c
 * @ref test-gdma-flush-counts
 *
 * @page test-gdma-flush-counts gdma-flush-counts
 *
 * Work whose IOTLB invalidations are counted from outside: by whoever runs this
 * guest once for each phase and once for none, and subtracts.  So that nothing
 * but the phase makes the difference, every run makes a context and moves an
 * `edu` device there, and no run takes anything down that its phase does not.
 *
 *  map-512-runs        512 own frames in one call: four elements of 128
 *  map-512             the same as 512 elements of one frame
 *  unmap-512           these mapped, and taken back in one call
 *  unmap-512-deferred  the same with XEN_GDMA_NO_FLUSH, and then one flush
 *  io-64               64 transfers of the device through two mappings
 *  io-64-window        the same through a window of 512 frames
 *
 * Argument on the guest's command line:
 *
 *  phases=<a>,<b>,..   only these (none: the context and the device alone)
 *
 * A call that Xen interrupts is flushed when it is interrupted and again at its
 * end.  So that none is, each is made at the beginning of a
 * time slice, which should be long (`sched_ratelimit_us=500000` for Xen), in a
 * machine whose time follows the instructions done (`-icount`).
 *
 * @see tests/gdma-flush-counts/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/clock.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: work to count flushes of";

#define NR_FRAMES       512u
#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define TRANSFERS       64u
#define TRANSFERS_EACH  4u      /* Of expect_reaches(). */

static uint8_t frames[NR_FRAMES * PAGE_SIZE] __page_aligned_bss;
static struct xen_gdma_map maps[NR_FRAMES];
static struct xen_gdma_unmap unmaps[NR_FRAMES];

static struct device device;
static struct xen_gdma_context_create context;

#ifndef SCHEDOP_poll
#define SCHEDOP_poll    3
struct sched_poll {
    evtchn_port_t *ports;
    unsigned int nr_ports;
    uint64_t timeout;
};
#endif

/* Sleep for a moment: who wakes up has a time slice before it. */
static void begin_time_slice(void)
{
    struct sched_poll poll = { .timeout = now_ns() + MS(1) };

    expect("sleep", hypercall_sched_op(SCHEDOP_poll, &poll), 0);
}

static bool begin_phase(const char *name)
{
    if ( !argument_lists("phases", name) )
        return false;

    printk("PHASE begin %s\n", name);
    return true;
}

static void end_phase(const char *name)
{
    printk("PHASE end %s\n", name);
}

/* By Xen's own count: those by which mappings ended. */
static uint64_t flushes(void)
{
    struct xen_gdma_stats stats;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);

    return stats.flushes;
}

/* @run frames in each element. */
static bool map_frames(unsigned int run)
{
    const unsigned int nr = NR_FRAMES / run;
    bool good;

    for ( unsigned int i = 0; i < nr; i++ )
        maps[i] = (struct xen_gdma_map){
            .context = context.context,
            .kind = XEN_GDMA_MAP_OWN,
            .source = virt_to_gfn(&frames[i * run * PAGE_SIZE]),
            .nr_frames = run,
            .flags = READ_WRITE,
        };

    begin_time_slice();
    good = expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, nr), 0);
    for ( unsigned int i = 0; good && i < nr; i++ )
        good = expect("status", maps[i].status, 0);

    return good;
}

static void unmap_frames(unsigned int flags)
{
    for ( unsigned int i = 0; i < NR_FRAMES; i++ )
        unmaps[i] = (struct xen_gdma_unmap){
            .context = context.context,
            .handle = maps[i].handle,
            .flags = flags,
        };

    begin_time_slice();
    expect("unmap", gdma_op(XEN_GDMA_OP_UNMAP, unmaps, NR_FRAMES), 0);
    for ( unsigned int i = 0; i < NR_FRAMES; i++ )
        if ( !expect("status", unmaps[i].status, 0) )
            return;
}

static void map_phase(const char *name, unsigned int run)
{
    const uint64_t before = flushes();

    if ( !begin_phase(name) )
        return;

    map_frames(run);
    expect("flushes", flushes() - before, 0);
    end_phase(name);
}

static void unmap_phase(const char *name, unsigned int flags)
{
    const uint64_t before = flushes();

    if ( !begin_phase(name) )
        return;

    if ( map_frames(1) )
    {
        unmap_frames(flags);
        if ( flags & XEN_GDMA_NO_FLUSH )
        {
            expect("flushes before the flush", flushes() - before, 0);
            expect("flush", gdma_flush(context.context), 0);
        }
        expect("flushes", flushes() - before, 1);
    }
    end_phase(name);
}

/* Nothing in it calls Xen: the device is told by its registers, and polled. */
static void transfer_all(const char *what, uint64_t daddr)
{
    for ( unsigned int i = 0; i < TRANSFERS / TRANSFERS_EACH; i++ )
        expect_reaches(what, &device, daddr, frames);
}

static void io_phase(const char *name)
{
    struct xen_gdma_map page;

    if ( !begin_phase(name) )
        return;

    if ( expect("map", gdma_map_own_in(context.context, virt_to_gfn(frames), 1,
                                       READ_WRITE, &page), 0) )
        transfer_all("through a mapping that exists", page.daddr);
    end_phase(name);
}

static void window_phase(const char *name)
{
    struct xen_gdma_window_create window;

    if ( !begin_phase(name) )
        return;

    if ( expect("create",
                gdma_window_create(context.context, XEN_GDMA_MAP_OWN, 0,
                                   virt_to_gfn(frames), NR_FRAMES, READ_WRITE,
                                   &window), 0) )
        transfer_all("through a window", window.daddr);
    end_phase(name);
}

/* A context with the device in it, and the page that shows what it holds. */
static bool prepare(void)
{
    struct xen_gdma_map shows;

    if ( gdma_context_create(0, &context) ||
         gdma_map_own_in(context.context, virt_to_gfn(device_shows), 1,
                         READ_WRITE, &shows) ||
         gdma_attach(device.edu.bdf, context.context) )
        return false;
    device.shows = shows.daddr;

    return true;
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( !prepare() )
        return xtf_error("No context with a device\n");

    map_phase("map-512-runs", 128);
    map_phase("map-512", 1);
    unmap_phase("unmap-512", 0);
    unmap_phase("unmap-512-deferred", XEN_GDMA_NO_FLUSH);
    io_phase("io-64");
    window_phase("io-64-window");

    xtf_success(NULL);
}
