/* SPDX-License-Identifier: GPL-2.0-only */
/* The grant table interface: table layouts, operations, status values. */
#ifndef XEN_PUBLIC_GRANT_TABLE_H
#define XEN_PUBLIC_GRANT_TABLE_H

#include <xen/xen.h>

/* Status of one operation. */
#define GNTST_okay              (0)
#define GNTST_general_error     (-1)
#define GNTST_bad_domain        (-2)
#define GNTST_bad_gntref        (-3)
#define GNTST_bad_handle        (-4)
#define GNTST_bad_virt_addr     (-5)
#define GNTST_bad_dev_addr      (-6)
#define GNTST_no_device_space   (-7)
#define GNTST_permission_denied (-8)
#define GNTST_bad_page          (-9)
#define GNTST_bad_copy_arg      (-10)
#define GNTST_address_too_big   (-11)
#define GNTST_eagain            (-12)

/* Entry types, then flags; reading and writing are Xen's, the rest ours. */
#define GTF_invalid             0
#define GTF_permit_access       1
#define GTF_accept_transfer     2
#define GTF_transitive          3
#define GTF_type_mask           3
#define GTF_readonly            (1 << 2)
#define GTF_reading             (1 << 3)
#define GTF_writing             (1 << 4)
#define GTF_sub_page            (1 << 8)

typedef uint32_t grant_ref_t;
typedef uint32_t grant_handle_t;

typedef struct {
    uint16_t flags;
    domid_t domid;
    uint32_t frame;
} grant_entry_v1_t;

typedef struct {
    uint16_t flags;
    domid_t domid;
} grant_entry_header_t;

typedef union {
    grant_entry_header_t hdr;
    struct {
        grant_entry_header_t hdr;
        uint32_t pad0;
        uint64_t frame;
    } full_page;
    struct {
        grant_entry_header_t hdr;
        uint16_t page_off;
        uint16_t length;
        uint64_t frame;
    } sub_page;
    struct {
        grant_entry_header_t hdr;
        domid_t trans_domid;
        uint16_t pad0;
        grant_ref_t gref;
    } transitive;
    uint32_t spacer[4];
} grant_entry_v2_t;

#define GNTMAP_device_map       (1 << 0)
#define GNTMAP_host_map         (1 << 1)
#define GNTMAP_readonly         (1 << 2)
#define GNTMAP_application_map  (1 << 3)
#define GNTMAP_contains_pte     (1 << 4)
#define _GNTMAP_guest_avail0    16

#define GNTTABOP_map_grant_ref  0
struct gnttab_map_grant_ref {
    uint64_t host_addr;
    uint32_t flags;
    grant_ref_t ref;
    domid_t dom;
    int16_t status;             /* Out. */
    grant_handle_t handle;      /* Out. */
    uint64_t dev_bus_addr;      /* Out. */
};

#define GNTTABOP_unmap_grant_ref 1
struct gnttab_unmap_grant_ref {
    uint64_t host_addr;         /* 0: leave the host mapping. */
    uint64_t dev_bus_addr;      /* 0: leave the device mapping. */
    grant_handle_t handle;
    int16_t status;             /* Out. */
};

#define GNTTABOP_setup_table    2
struct gnttab_setup_table {
    domid_t dom;
    uint32_t nr_frames;
    int16_t status;             /* Out. */
    unsigned long *frame_list;
};

#define GNTTABOP_unmap_and_replace 7
struct gnttab_unmap_and_replace {
    uint64_t host_addr;
    uint64_t new_addr;          /* Its page table entry moves to host_addr. */
    grant_handle_t handle;
    int16_t status;             /* Out. */
};

#define GNTTABOP_set_version    8
struct gnttab_set_version {
    uint32_t version;           /* In: wanted; out: in force. */
};

#endif /* XEN_PUBLIC_GRANT_TABLE_H */
