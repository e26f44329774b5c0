/* SPDX-License-Identifier: GPL-2.0-only */
/* Xen's base interface for x86 guests: numbers and shared structures. */
#ifndef XEN_PUBLIC_XEN_H
#define XEN_PUBLIC_XEN_H

#include <xtf/types.h>

#define __HYPERVISOR_set_trap_table     0
#define __HYPERVISOR_mmu_update         1
#define __HYPERVISOR_stack_switch       3
#define __HYPERVISOR_memory_op          12
#define __HYPERVISOR_update_va_mapping  14
#define __HYPERVISOR_xen_version        17
#define __HYPERVISOR_console_io         18
#define __HYPERVISOR_grant_table_op     20
#define __HYPERVISOR_vm_assist          21
#define __HYPERVISOR_vcpu_op            24
#define __HYPERVISOR_mmuext_op          26
#define __HYPERVISOR_sched_op           29
#define __HYPERVISOR_event_channel_op   32
#define __HYPERVISOR_physdev_op         33
#define __HYPERVISOR_hvm_op             34
#define __HYPERVISOR_sysctl             35
#define __HYPERVISOR_domctl             36

#define CONSOLEIO_write                 0

typedef uint16_t domid_t;
typedef unsigned long xen_pfn_t;

#define DOMID_FIRST_RESERVED            0x7ff0U
#define DOMID_SELF                      0x7ff0U

/* How update_va_mapping flushes: what, and on which CPUs. */
enum XEN_UVMF {
    UVMF_NONE      = 0,
    UVMF_TLB_FLUSH = 1,
    UVMF_INVLPG    = 2,
    UVMF_LOCAL     = 0,
    UVMF_ALL       = 4,
};

/* A change of one page table entry, by its machine address. */
struct mmu_update {
    uint64_t ptr;               /* Bits 0-1: the kind of update. */
    uint64_t val;
};
typedef struct mmu_update mmu_update_t;

#define MMU_NORMAL_PT_UPDATE            0

/* Operations of a PV guest on page tables as a whole. */
struct mmuext_op {
    unsigned int cmd;
    union {
        xen_pfn_t mfn;
        unsigned long linear_addr;
    } arg1;
    union {
        unsigned int nr_ents;
        const void *vcpumask;
        xen_pfn_t src_mfn;
    } arg2;
};
typedef struct mmuext_op mmuext_op_t;

#define MMUEXT_PIN_L1_TABLE             0
#define MMUEXT_UNPIN_TABLE              4

/* One entry of a PV guest's table of exception handlers. */
struct xen_trap_info {
    uint8_t vector;
    uint8_t flags;          /* Bits 0-1: lowest privilege that may raise it. */
    uint16_t cs;
    unsigned long address;
};

/* Time as Xen publishes it: nanoseconds at a TSC value, and the TSC's rate. */
struct vcpu_time_info {
    uint32_t version;       /* Odd while being updated. */
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
};

struct arch_vcpu_info {
    unsigned long cr2;
#ifdef CONFIG_64BIT
    unsigned long pad;
#else
    unsigned long pad[5];
#endif
};

struct vcpu_info {
    uint8_t evtchn_upcall_pending;
    uint8_t evtchn_upcall_mask;
    unsigned long evtchn_pending_sel;
    struct arch_vcpu_info arch;
    struct vcpu_time_info time;
};

/* One bit for each event channel; there are as many as bits in that many. */
#define EVTCHN_WORDS (sizeof(unsigned long) * 8)

/* The start of the shared page, up to what a test here may look at. */
struct shared_info {
    struct vcpu_info vcpu_info[32];
    unsigned long evtchn_pending[EVTCHN_WORDS];
    unsigned long evtchn_mask[EVTCHN_WORDS];
    uint8_t rest[4096 - 32 * sizeof(struct vcpu_info) -
                 2 * EVTCHN_WORDS * sizeof(unsigned long)];
};
typedef struct shared_info shared_info_t;

_Static_assert(sizeof(struct vcpu_info) == 64, "vcpu_info is 64 bytes");
_Static_assert(sizeof(struct shared_info) == 4096, "one page");

/* Bits of the flags of both kinds of start info. */
#define SIF_PRIVILEGED                  (1U << 0)
#define SIF_INITDOMAIN                  (1U << 1)

#define MAX_GUEST_CMDLINE               1024

/* What a PV guest finds behind rsi (esi) at its entry point. */
struct xen_pv_start_info {
    char magic[32];
    unsigned long nr_pages;
    unsigned long shared_info;      /* Machine address. */
    uint32_t flags;                 /* SIF_* */
    xen_pfn_t store_mfn;
    uint32_t store_evtchn;
    union {
        struct {
            xen_pfn_t mfn;
            uint32_t evtchn;
        } domU;
        struct {
            uint32_t info_off;
            uint32_t info_size;
        } dom0;
    } console;
    unsigned long pt_base;          /* Virtual address. */
    unsigned long nr_pt_frames;
    unsigned long mfn_list;         /* Virtual address. */
    unsigned long mod_start;
    unsigned long mod_len;
    int8_t cmd_line[MAX_GUEST_CMDLINE];
    unsigned long first_p2m_pfn;
    unsigned long nr_p2m_frames;
};
typedef struct xen_pv_start_info xen_pv_start_info_t;

#endif /* XEN_PUBLIC_XEN_H */
