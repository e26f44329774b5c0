/* SPDX-License-Identifier: GPL-2.0-only */
/* Version 1 grants: giving access to own pages, and using others' grants. */
#ifndef LAB_GRANTS_H
#define LAB_GRANTS_H

#include <xtf.h>

/* Domain ids of the public header that never name a domain with a table. */
#ifndef DOMID_IO
#define DOMID_IO            0x7ff1u
#define DOMID_XEN           0x7ff2u
#define DOMID_COW           0x7ff3u
#define DOMID_INVALID       0x7ff4u
#define DOMID_IDLE          0x7fffu
#endif

/* In the range of ordinary domains, and never created here. */
#define DOMID_ABSENT        0x7000u

#ifndef GNTST_no_space
#define GNTST_no_space      (-13)
#endif

/* References below this one belong to the toolstack's conventions. */
#define FIRST_FREE_REF  8u

/* This domain's id, where the domain can know it; else -1. */
int own_domid(void);

/* Is it the domain that owns the machine?  If not, skips the whole test. */
bool owns_machine(void);

/* Let @domid use @gfn under reference @ref; @readonly is 0 or GTF_readonly. */
void gnttab_grant_access(grant_ref_t ref, domid_t domid, unsigned long gfn,
                         unsigned int readonly);

/* The entry's flags, as Xen left them. */
unsigned int gnttab_entry_flags(grant_ref_t ref);

/*
 * Withdraw a grant: 0, or -EBUSY and nothing changed while somebody uses it.
 */
int gnttab_end_access(grant_ref_t ref);

/*
 * One GNTTABOP_map_grant_ref (unmap_grant_ref, unmap_and_replace); the result
 * is its GNTST_* status, or GNTST_NOT_DONE if Xen wrote none.  A failing
 * hypercall counts as GNTST_general_error, with a message.
 */
int gnttab_map(domid_t domid, grant_ref_t ref, uint64_t host_addr,
               unsigned int flags, struct gnttab_map_grant_ref *map);
int gnttab_unmap(uint64_t host_addr, grant_handle_t handle);
int gnttab_unmap_all(uint64_t host_addr, uint64_t dev_bus_addr,
                     grant_handle_t handle);
int gnttab_replace(uint64_t host_addr, uint64_t new_addr,
                   grant_handle_t handle);

#define GNTST_NOT_DONE      1           /* No status of Xen's. */

/*
 * Take @nr frames of this domain from @va on out of its memory, so that the
 * guest frame numbers are free for something else to be mapped there.
 */
int make_holes(void *va, unsigned int nr);

/* Operations that not every set of headers knows. */
#ifndef GNTTABOP_query_size
#define GNTTABOP_query_size     6
#endif
#ifndef GNTTABOP_get_version
#define GNTTABOP_get_version    10
#endif

struct grant_table_size {
    domid_t dom;
    uint16_t pad;
    uint32_t nr_frames;         /* Out. */
    uint32_t max_nr_frames;     /* Out. */
    int16_t status;             /* Out. */
};

struct grant_table_version {
    domid_t dom;
    uint16_t pad;
    uint32_t version;           /* Out. */
};

#endif /* LAB_GRANTS_H */
