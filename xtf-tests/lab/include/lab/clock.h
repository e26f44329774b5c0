/* SPDX-License-Identifier: GPL-2.0-only */
/* Time: processor ticks for measuring, nanoseconds for waiting. */
#ifndef LAB_CLOCK_H
#define LAB_CLOCK_H

#include <xtf.h>

/* The time stamp counter, read after everything before it has finished. */
static inline uint64_t read_ticks(void)
{
    uint32_t low, high;

    __asm__ __volatile__ ("lfence; rdtsc" : "=a" (low), "=d" (high)
                          :: "memory");

    return ((uint64_t)high << 32) | low;
}

/* Nanoseconds since Xen started, from the time Xen publishes. */
uint64_t now_ns(void);

/* Let @ns nanoseconds pass, leaving the CPU to other domains meanwhile. */
void wait_ns(uint64_t ns);

#define US(n) ((n) * 1000ULL)
#define MS(n) ((n) * 1000000ULL)

#endif /* LAB_CLOCK_H */
