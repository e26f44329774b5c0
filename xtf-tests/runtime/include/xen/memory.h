/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XEN_PUBLIC_MEMORY_H
#define XEN_PUBLIC_MEMORY_H

#include <xen/xen.h>

#define XENMEM_increase_reservation 0
#define XENMEM_decrease_reservation 1
#define XENMEM_populate_physmap     6

/* Extents of 1 << extent_order frames each. */
struct xen_memory_reservation {
    unsigned long *extent_start;
    unsigned long nr_extents;
    unsigned int extent_order;
    unsigned int mem_flags;
    domid_t domid;
};

#define XENMEM_add_to_physmap       7

#define XENMAPSPACE_shared_info     0
#define XENMAPSPACE_grant_table     1
#define XENMAPSPACE_gmfn            2
#define XENMAPSPACE_gmfn_range      3
#define XENMAPSPACE_gmfn_foreign    4
#define XENMAPSPACE_dev_mmio        5

/* Place frame @idx of @space at @gfn. */
struct xen_add_to_physmap {
    domid_t domid;
    uint16_t size;              /* gmfn_range only. */
    unsigned int space;
    unsigned long idx;
    unsigned long gfn;
};

#endif /* XEN_PUBLIC_MEMORY_H */
