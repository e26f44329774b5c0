/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Xen's control interface of version 4.20, as much of it as building and
 * ending a domain takes.  Xen's public header would clash with a test
 * framework's own.
 */
#ifndef LAB_DOMCTL_H
#define LAB_DOMCTL_H

#include <xtf.h>

#define DOMCTL_CREATE           1
#define DOMCTL_DESTROY          2
#define DOMCTL_UNPAUSE          4
#define DOMCTL_GET_INFO         5
#define DOMCTL_MAX_MEM          11
#define DOMCTL_MAX_VCPUS        15
#define DOMCTL_SET_HVM_CONTEXT  34
#define DOMCTL_ASSIGN_DEVICE    37
#define DOMCTL_SET_PAGING_POOL  86

#define CREATE_HVM              (1u << 0)
#define CREATE_HAP              (1u << 1)
#define CREATE_IOMMU            (1u << 5)
#define EMULATE_LAPIC           (1u << 0)

/* The label that FLASK has for domains without one of their own (domU_t). */
#define CREATE_SSIDREF          12

/* Memory for Xen's own tables about an HVM domain. */
#define PAGING_POOL_BYTES       MB(2)

struct domctl {
    uint32_t cmd;
    uint32_t interface_version;
    domid_t domid;
    uint16_t pad[3];
    union {
        struct {
            uint32_t ssidref;
            uint8_t handle[16];
            uint32_t flags;
            uint32_t iommu_opts;
            uint32_t max_vcpus;
            uint32_t max_evtchn_port;
            int32_t max_grant_frames;
            int32_t max_maptrack_frames;
            uint32_t grant_version;
            uint32_t altp2m_opts;
            uint32_t vmtrace_size;
            uint32_t cpupool_id;
            uint32_t emulation_flags;
            uint32_t misc_flags;
        } create;
        struct {
            uint32_t dev;       /* 0: PCI */
            uint32_t flags;
            uint32_t sbdf;
        } assign_device;
        uint64_t max_mem_kb;
        uint32_t max_vcpus;
        uint64_t paging_pool_bytes;
        struct {
            uint32_t size;
            uint32_t pad;
            const void *buffer;
        } hvm_context;
        uint8_t room[240];
    };
};

#endif /* LAB_DOMCTL_H */
