/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-debug-key/main.c
 * @ref test-gdma-debug-key
 *
 * @page test-gdma-debug-key gdma-debug-key
 *
 * The debug key `b` prints contexts, devices, pins and usage.  For the domain
 * that owns the machine, PVH or PV, with an `edu` device.
 *
 *  1. A context with three own frames, of which one waits for a flush, and the
 *     device in it.  What Xen prints is compared by whoever reads its console.
 *  2. The device taken out, the context gone: the key says so.
 *
 * @see tests/gdma-debug-key/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>
#include <lab/sysctl.h>

const char test_title[] = "Grant-DMA: the debug key";

static uint8_t pages[3][PAGE_SIZE] __page_aligned_bss;
static struct device device;

void test_main(void)
{
    struct xen_gdma_context_create context;
    struct xen_gdma_map map;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");

    step("a context in use");
    if ( !expect("create", gdma_context_create(0, &context), 0) )
        return;
    for ( unsigned int i = 0; i < ARRAY_SIZE(pages); i++ )
        expect("map", gdma_map_own_in(context.context, virt_to_gfn(pages[i]),
                                      1, XEN_GDMA_MAP_READ, &map), 0);
    expect("unmap, not flushed", gdma_unmap_in(context.context, map.handle,
                                               XEN_GDMA_NO_FLUSH), 0);
    expect("attach", gdma_attach(device.edu.bdf, context.context), 0);
    expect("press", press_key('b'), 0);

    step("and gone");
    expect("attach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    expect("destroy", gdma_context_destroy(context.context), 0);
    expect("press", press_key('b'), 0);

    xtf_success(NULL);
}
