/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/sysctl.h>

#ifndef __HYPERVISOR_sysctl
#define __HYPERVISOR_sysctl     35
#endif

long sysctl(struct sysctl *op)
{
    const struct sysctl asked = *op;
    long rc = -EACCES;

    /* Xen takes calls of its own interface version only. */
    for ( uint32_t v = 0x10; rc == -EACCES && v < 0x30; v++ )
    {
        *op = asked;
        op->interface_version = v;
        rc = HYPERCALL1(long, __HYPERVISOR_sysctl, op);
    }

    return rc;
}

long free_pages(void)
{
    struct sysctl op = { .cmd = SYSCTL_PHYSINFO };

    return sysctl(&op) ? -1 : (long)op.physinfo.free_pages;
}

long press_key(char key)
{
    struct sysctl op = {
        .cmd = SYSCTL_DEBUG_KEYS,
        .debug_keys = { .keys = _u(&key), .nr_keys = 1 },
    };

    return sysctl(&op);
}
