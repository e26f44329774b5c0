/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_HYPERCALL_H
#define XTF_HYPERCALL_H

#include <arch/hypercall.h>
#include <arch/page.h>
#include <xen/errno.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/sched.h>
#include <xen/version.h>
#include <xen/xen.h>

static inline long hypercall_set_trap_table(const struct xen_trap_info *traps)
{
    return HYPERCALL1(long, __HYPERVISOR_set_trap_table, traps);
}

static inline long hypercall_update_va_mapping(
    unsigned long linear, uint64_t pte, enum XEN_UVMF flags)
{
#ifdef CONFIG_64BIT
    return HYPERCALL3(long, __HYPERVISOR_update_va_mapping, linear, pte, flags);
#else
    /* An entry takes two arguments. */
    return HYPERCALL4(long, __HYPERVISOR_update_va_mapping, linear,
                      (uint32_t)pte, (uint32_t)(pte >> 32), flags);
#endif
}

static inline long hypercall_mmu_update(const mmu_update_t updates[],
                                        unsigned int count,
                                        unsigned int *done,
                                        unsigned int foreigndom)
{
    return HYPERCALL4(long, __HYPERVISOR_mmu_update, updates, count, done,
                      foreigndom);
}

static inline long hypercall_mmuext_op(const mmuext_op_t ops[],
                                       unsigned int count, unsigned int *done,
                                       unsigned int foreigndom)
{
    return HYPERCALL4(long, __HYPERVISOR_mmuext_op, ops, count, done,
                      foreigndom);
}

static inline long hypercall_vcpu_op(unsigned int cmd, unsigned int vcpu,
                                     void *extra)
{
    return HYPERCALL3(long, __HYPERVISOR_vcpu_op, cmd, vcpu, extra);
}

static inline long hypercall_memory_op(unsigned int cmd, void *arg)
{
    return HYPERCALL2(long, __HYPERVISOR_memory_op, cmd, arg);
}

static inline long hypercall_xen_version(unsigned int cmd, void *arg)
{
    return HYPERCALL2(long, __HYPERVISOR_xen_version, cmd, arg);
}

static inline void hypercall_console_write(const char *buf, unsigned long len)
{
    (void)HYPERCALL3(long, __HYPERVISOR_console_io, CONSOLEIO_write, len, buf);
}

static inline long hypercall_grant_table_op(unsigned int cmd, void *args,
                                            unsigned int count)
{
    return HYPERCALL3(long, __HYPERVISOR_grant_table_op, cmd, args, count);
}

static inline long hypercall_sched_op(unsigned int cmd, void *arg)
{
    return HYPERCALL2(long, __HYPERVISOR_sched_op, cmd, arg);
}

static inline long hypercall_event_channel_op(unsigned int cmd, void *arg)
{
    return HYPERCALL2(long, __HYPERVISOR_event_channel_op, cmd, arg);
}

static inline long hypercall_physdev_op(unsigned int cmd, void *arg)
{
    return HYPERCALL2(long, __HYPERVISOR_physdev_op, cmd, arg);
}

static inline long hypercall_hvm_op(unsigned int cmd, void *arg)
{
    return HYPERCALL2(long, __HYPERVISOR_hvm_op, cmd, arg);
}

static inline long hypercall_shutdown(unsigned int reason)
{
    struct sched_shutdown shutdown = { .reason = reason };

    return hypercall_sched_op(SCHEDOP_shutdown, &shutdown);
}

static inline void hypercall_yield(void)
{
    (void)hypercall_sched_op(SCHEDOP_yield, NULL);
}

static inline int hypercall_evtchn_send(evtchn_port_t port)
{
    struct evtchn_send send = { .port = port };

    return hypercall_event_channel_op(EVTCHNOP_send, &send);
}

static inline int hvm_get_param(unsigned int index, uint64_t *value)
{
    xen_hvm_param_t param = { .domid = DOMID_SELF, .index = index };
    int rc = hypercall_hvm_op(HVMOP_get_param, &param);

    if ( !rc )
        *value = param.value;

    return rc;
}

static inline int hvm_set_param(unsigned int index, uint64_t value)
{
    xen_hvm_param_t param = {
        .domid = DOMID_SELF, .index = index, .value = value,
    };

    return hypercall_hvm_op(HVMOP_set_param, &param);
}

#endif /* XTF_HYPERCALL_H */
