/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/bench-window/main.c
 * @ref test-bench-window
 *
 * @page test-bench-window bench-window
 *
 * What a window costs, in processor ticks: instructions, under an emulator that
 * counts them.  Not a test of right or wrong: only what fails is judged.
 *
 * For a PVH domain that owns the machine, with 2 GiB of memory and as many
 * pins.  One line for each window, of the domain's own memory:
 *
 *  WINDOW what=<..> mib=<n> create=<ticks> destroy=<ticks> null=<ticks>
 *
 * where null is the cheapest hypercall, which both contain.  `what`:
 *
 *  first   2 MiB, with which the context's records are made
 *  huge    1 GiB where a page of 1 GiB fits
 *  large   1 GiB beside such a place, where pages of 2 MiB fit
 *  small   64 MiB, of large pages
 *  map     64 MiB by `map`, 128 frames an element, 128 elements a call
 *
 * @see tests/bench-window/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/steps.h>

const char test_title[] = "Cost of windows";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define GFN(mib)        ((unsigned long)(mib) << (20 - PAGE_SHIFT))
#define FRAMES(mib)     GFN(mib)
#define ROUNDS          16u

#define MAPPED_MIB      64u
#define PER_ELEMENT     XEN_GDMA_MAX_FRAMES
#define ELEMENTS        (FRAMES(MAPPED_MIB) / PER_ELEMENT)

static struct xen_gdma_map maps[ELEMENTS];
static struct xen_gdma_unmap unmaps[ELEMENTS];
static uint64_t null_ticks;

static void measure_null(void)
{
    uint64_t start = read_ticks();

    for ( unsigned int i = 0; i < ROUNDS; i++ )
        (void)hypercall_xen_version(XENVER_version, NULL);
    null_ticks = (read_ticks() - start) / ROUNDS;
}

static void print_cost(const char *what, unsigned int mib, uint64_t create,
                       uint64_t destroy)
{
    printk("WINDOW what=%s mib=%u create=%"PRIu64" destroy=%"PRIu64
           " null=%"PRIu64"\n", what, mib, create, destroy, null_ticks);
}

static void measure_window(const char *what, unsigned int first_mib,
                           unsigned int mib)
{
    struct xen_gdma_window_create window;
    uint64_t start, middle, end;
    int made, ended;

    step("%s: %u MiB from %u MiB on", what, mib, first_mib);

    start = read_ticks();
    made = gdma_window_create(XEN_GDMA_CONTEXT_DEFAULT, XEN_GDMA_MAP_OWN, 0,
                              GFN(first_mib), FRAMES(mib), READ_WRITE, &window);
    middle = read_ticks();
    if ( !expect("create", made, 0) )
        return;
    fact_hex("daddr", window.daddr);

    end = read_ticks();
    ended = gdma_window_destroy(XEN_GDMA_CONTEXT_DEFAULT, window.handle);
    end = read_ticks() - end;
    if ( expect("destroy", ended, 0) )
        print_cost(what, mib, middle - start, end);
}

static void measure_maps(unsigned int first_mib)
{
    uint64_t start, middle, end;
    long made, ended;

    step("map: %u MiB", MAPPED_MIB);

    for ( unsigned int i = 0; i < ELEMENTS; i++ )
        maps[i] = (struct xen_gdma_map){
            .kind = XEN_GDMA_MAP_OWN,
            .source = GFN(first_mib) + i * PER_ELEMENT,
            .nr_frames = PER_ELEMENT,
            .flags = READ_WRITE,
        };
    start = read_ticks();
    made = gdma_op(XEN_GDMA_OP_MAP, maps, ELEMENTS);
    middle = read_ticks();
    if ( !expect("map", made, 0) )
        return;
    for ( unsigned int i = 0; i < ELEMENTS; i++ )
    {
        if ( !expect("map", maps[i].status, 0) )
            return;
        unmaps[i] = (struct xen_gdma_unmap){ .handle = maps[i].handle };
    }

    end = read_ticks();
    ended = gdma_op(XEN_GDMA_OP_UNMAP, unmaps, ELEMENTS);
    end = read_ticks() - end;
    if ( expect("unmap", ended, 0) )
        print_cost("map", MAPPED_MIB, middle - start, end);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_usable() )
        return;

    measure_null();
    fact_u64("null", null_ticks);
    /* The first use of the context makes its records. */
    measure_window("first", 256, 2);
    measure_window("huge", 1024, 1024);
    measure_window("large", 512, 1024);
    measure_window("small", 256, MAPPED_MIB);
    measure_maps(256);

    xtf_success(NULL);
}
