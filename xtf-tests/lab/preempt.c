/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/clock.h>
#include <lab/preempt.h>

#define SET_PERIODIC_TIMER      6       /* VCPUOP_* */
#define STOP_PERIODIC_TIMER     7
#define SET_SINGLESHOT_TIMER    8

#ifndef __HYPERVISOR_vcpu_op
#define __HYPERVISOR_vcpu_op    24
#endif

static long vcpu_op(unsigned int cmd, void *arg)
{
    return HYPERCALL3(long, __HYPERVISOR_vcpu_op, cmd, 0, arg);
}

bool preempt_often(void)
{
    uint64_t period_ns = MS(1);

    return !vcpu_op(SET_PERIODIC_TIMER, &period_ns);
}

void preempt_no_more(void)
{
    vcpu_op(STOP_PERIODIC_TIMER, NULL);
}

bool preempt_in(uint64_t ns)
{
    struct {
        uint64_t timeout_abs_ns;
        uint32_t flags;
    } set = { .timeout_abs_ns = now_ns() + ns };

    return !vcpu_op(SET_SINGLESHOT_TIMER, &set);
}

long grant_table_op_traced(unsigned int cmd, void *array, unsigned int count,
                           unsigned int *last_count)
{
    const void *entry = &hypercall_page[__HYPERVISOR_grant_table_op * 32];
    unsigned long left = count;
    long rc;

    /*
     * A continuation is a second call with other arguments, and the registers
     * keep those of the last one.
     */
#ifdef __x86_64__
    unsigned long a1 = cmd, a2 = _u(array);

    __asm__ __volatile__ (
        "call *%[entry]"
        : "=a" (rc), "+D" (a1), "+S" (a2), "+d" (left)
        : [entry] "r" (entry)
        : "memory", "r8", "r9", "r10", "r11", "rcx");
#else
    unsigned long a1 = cmd, a2 = _u(array);

    __asm__ __volatile__ (
        "call *%%eax"
        : "=a" (rc), "+b" (a1), "+c" (a2), "+d" (left)
        : "0" (entry)
        : "memory", "esi", "edi");
#endif

    *last_count = left <= count ? left : 0;
    return rc;
}
