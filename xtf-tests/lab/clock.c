/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/clock.h>

/* (@a * @b) >> 32 without losing the upper half of the product. */
static uint64_t scale(uint64_t a, uint32_t b)
{
    return (((a >> 32) * b)) + (((a & 0xffffffff) * b) >> 32);
}

uint64_t now_ns(void)
{
    volatile struct vcpu_time_info *time = &shared_info.vcpu_info[0].time;
    uint32_t version;
    uint64_t ns, ticks;

    /* Xen makes the version odd while it writes, and even again after. */
    do {
        version = time->version;
        barrier();

        ticks = read_ticks() - time->tsc_timestamp;
        if ( time->tsc_shift >= 0 )
            ticks <<= time->tsc_shift;
        else
            ticks >>= -time->tsc_shift;
        ns = time->system_time + scale(ticks, time->tsc_to_system_mul);

        barrier();
    } while ( (version & 1) || version != time->version );

    return ns;
}

void wait_ns(uint64_t ns)
{
    uint64_t start = now_ns();

    while ( now_ns() - start < ns )
        hypercall_yield();
}
