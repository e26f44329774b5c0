/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The console ring of a domain built by a toolstack: this side produces at
 * out_prod, the console daemon consumes at out_cons.
 */
#include <xtf/console.h>
#include <xtf/hypercall.h>
#include <xtf/lib.h>

#include <arch/mm.h>

struct console_ring {
    char in[1024];
    char out[2048];
    uint32_t in_cons, in_prod;
    uint32_t out_cons, out_prod;
};

static struct console_ring *ring;
static evtchn_port_t ring_port;

void init_pv_console(void);

static void write_ring(const char *buf, size_t len)
{
    while ( len )
    {
        uint32_t prod = ring->out_prod;

        while ( len && prod - ACCESS_ONCE(ring->out_cons) < sizeof(ring->out) )
        {
            ring->out[prod++ % sizeof(ring->out)] = *buf++;
            len--;
        }

        /* The text must be there before the index that announces it. */
        barrier();
        ACCESS_ONCE(ring->out_prod) = prod;
        hypercall_evtchn_send(ring_port);

        if ( len )
            hypercall_yield();
    }
}

void init_pv_console(void)
{
    uint64_t gfn = 0, port = 0;

#ifdef CONFIG_PV
    gfn = pv_start_info->console.domU.mfn;
    port = pv_start_info->console.domU.evtchn;
#else
    if ( hvm_get_param(HVM_PARAM_CONSOLE_PFN, &gfn) ||
         hvm_get_param(HVM_PARAM_CONSOLE_EVTCHN, &port) )
        return;
#endif

    if ( !gfn || !port )
        return;

    ring = gfn_to_virt(gfn);
    ring_port = port;
    register_console_callback(write_ring);
}
