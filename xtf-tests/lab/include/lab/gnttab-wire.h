/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Wire structures of grant table operations that not every set of headers
 * has.  The names differ from those of Xen's public header, so that both can
 * be included.
 */
#ifndef LAB_GNTTAB_WIRE_H
#define LAB_GNTTAB_WIRE_H

#include <xtf.h>

#define WIRE_DUMP_TABLE         3
#define WIRE_TRANSFER           4
#define WIRE_COPY               5
#define WIRE_QUERY_SIZE         6
#define WIRE_UNMAP_AND_REPLACE  7
#define WIRE_GET_STATUS_FRAMES  9
#define WIRE_GET_VERSION        10
#define WIRE_SWAP_GRANT_REF     11
#define WIRE_CACHE_FLUSH        12

struct wire_dump_table {
    domid_t domid;
    int16_t status;             /* Out. */
};

struct wire_transfer {
    unsigned long frame;
    domid_t domid;
    grant_ref_t ref;
    int16_t status;             /* Out. */
};

#define WIRE_COPY_SOURCE_REF    (1u << 0)
#define WIRE_COPY_DEST_REF      (1u << 1)

struct wire_copy_end {
    union {
        grant_ref_t ref;
        unsigned long frame;
    };
    domid_t domid;
    uint16_t offset;
};

struct wire_copy {
    struct wire_copy_end source, dest;
    uint16_t len;
    uint16_t flags;
    int16_t status;             /* Out. */
};

struct wire_query_size {
    domid_t domid;
    uint32_t nr_frames;         /* Out. */
    uint32_t max_nr_frames;     /* Out. */
    int16_t status;             /* Out. */
};

struct wire_unmap_and_replace {
    uint64_t host_addr;
    uint64_t new_addr;
    grant_handle_t handle;
    int16_t status;             /* Out. */
};

struct wire_get_status_frames {
    uint32_t nr_frames;
    domid_t domid;
    int16_t status;             /* Out. */
    uint64_t *frame_list;
};

struct wire_get_version {
    domid_t domid;
    uint16_t pad;
    uint32_t version;           /* Out. */
};

struct wire_swap_grant_ref {
    grant_ref_t a, b;
    int16_t status;             /* Out. */
};

#define WIRE_CACHE_CLEAN        (1u << 0)

struct wire_cache_flush {
    uint64_t dev_bus_addr;
    uint16_t offset;
    uint16_t length;
    uint32_t op;
};

#endif /* LAB_GNTTAB_WIRE_H */
