/* SPDX-License-Identifier: GPL-2.0-only */
/* What a PVH guest finds behind ebx at its entry point. */
#ifndef XEN_PUBLIC_ARCH_X86_HVM_START_INFO_H
#define XEN_PUBLIC_ARCH_X86_HVM_START_INFO_H

#include <xtf/types.h>

#define XEN_HVM_START_MAGIC_VALUE   0x336ec578

struct xen_pvh_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;             /* SIF_* */
    uint32_t nr_modules;
    uint64_t modlist_paddr;
    uint64_t cmdline_paddr;     /* 0: none. */
    uint64_t rsdp_paddr;
};
typedef struct xen_pvh_start_info xen_pvh_start_info_t;

#endif /* XEN_PUBLIC_ARCH_X86_HVM_START_INFO_H */
