/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * This domain's own grant table, in both versions, in every environment: its
 * frames and its status frames are shown at fixed places, and each operation
 * on tables and each kind of copy is one call.
 */
#ifndef LAB_GNTTAB_TABLES_H
#define LAB_GNTTAB_TABLES_H

#include <lab/gnttab-wire.h>
#include <lab/grants.h>
#include <lab/steps.h>

/* Entries whose content survives a change of version. */
#define RESERVED_ENTRIES    8u

#define IN_USE              (GTF_reading | GTF_writing)

/* Domain ids of the public header that never name a domain with a table. */
#ifndef DOMID_IO
#define DOMID_IO            0x7ff1u
#define DOMID_XEN           0x7ff2u
#define DOMID_COW           0x7ff3u
#define DOMID_INVALID       0x7ff4u
#define DOMID_IDLE          0x7fffu
#endif

/* In the range of ordinary domains, and never created here. */
#ifndef DOMID_ABSENT
#define DOMID_ABSENT        0x7000u
#endif

#ifndef GNTST_no_space
#define GNTST_no_space      (-13)
#endif

/* What is in a status field before a call: Xen has no such status. */
#define STATUS_UNTOUCHED    77

/* Instead of a status: the call failed as a whole, which has been reported. */
#define CALL_FAILED         1000

/* Frames that can be shown here, and what one of them holds. */
#define TABLE_FRAMES        17
#define STATUS_FRAMES       3
#define ENTRIES_IN(type)    ((unsigned int)(PAGE_SIZE / sizeof(type)))
#define V1_PER_FRAME        ENTRIES_IN(grant_entry_v1_t)
#define V2_PER_FRAME        ENTRIES_IN(grant_entry_v2_t)
#define STATUS_PER_FRAME    ENTRIES_IN(uint16_t)

/* Placing a status frame instead of a frame of the table (HVM). */
#define PLACE_STATUS        0x80000000ul

extern uint8_t table_frames[TABLE_FRAMES][PAGE_SIZE];
extern uint8_t status_frames[STATUS_FRAMES][PAGE_SIZE];

/* The shown frames as entries. */
static inline volatile grant_entry_v1_t *own_v1(grant_ref_t ref)
{
    return (volatile grant_entry_v1_t *)table_frames + ref;
}

static inline volatile grant_entry_v2_t *own_v2(grant_ref_t ref)
{
    return (volatile grant_entry_v2_t *)table_frames + ref;
}

static inline volatile uint16_t *own_status(grant_ref_t ref)
{
    return (volatile uint16_t *)status_frames + ref;
}

/* Make entries; the type becomes visible last. */
void v1_write(grant_ref_t ref, unsigned int flags, domid_t domid,
              unsigned long frame);
void v2_write(grant_ref_t ref, unsigned int flags, domid_t domid,
              uint64_t frame);
void v2_write_part(grant_ref_t ref, unsigned int flags, domid_t domid,
                   uint64_t frame, unsigned int offset, unsigned int len);
void v2_write_transitive(grant_ref_t ref, unsigned int flags, domid_t domid,
                         domid_t via, grant_ref_t via_ref);

/* An entry of the version in force. */
void own_write(grant_ref_t ref, unsigned int flags, domid_t domid,
               uint64_t frame);
unsigned int own_in_use(grant_ref_t ref);

/*
 * One element of an operation.  The result is its status, or CALL_FAILED.
 */
int table_size(domid_t domid, unsigned int *nr, unsigned int *max);
int table_setup(domid_t domid, unsigned int nr, unsigned long *list);
int table_status_frames(domid_t domid, unsigned int nr, uint64_t *list);
int table_swap(grant_ref_t a, grant_ref_t b);
int table_dump(domid_t domid);

/*
 * Those without a status: the call's result.  What version is in force
 * afterwards is in *@now, if wanted.
 */
int table_set_version(unsigned int version, unsigned int *now);
int table_version(domid_t domid, unsigned int *version);

/*
 * Show frames 0 to @nr - 1 of the own table (its status frames), which grows
 * if it has fewer.  0 or a negative error number.
 */
int show_table(unsigned int nr);
int show_status(unsigned int nr);
int hide_status(unsigned int nr);

#ifdef CONFIG_HVM
/* Place frame @idx of the table at @va's guest frame; take it away. */
int place_frame(unsigned long idx, const void *va);
int remove_frame(const void *va);
#endif

/*
 * Is this Xen without the grant-DMA service, whose grant tables are the C ones?
 */
bool has_c_tables(void);

/* Switch the version and show one frame of each kind there is. */
bool own_table(unsigned int version);

/*
 * Map the own page at @va, granted under @ref, at a place where it may stay:
 * its own guest frame (HVM), the address @window (PV).  Unmapping leaves an
 * HVM domain with nothing at that guest frame: the page is used up.
 */
int map_own(grant_ref_t ref, const void *va, const void *window,
            unsigned int flags, grant_handle_t *handle);
int unmap_own(const void *va, const void *window, grant_handle_t handle);

/* One end of a copy: a reference, or a frame of this domain's. */
struct copy_end {
    bool is_ref;
    domid_t domid;
    unsigned long number;
    uint16_t offset;
};

static inline struct copy_end by_ref(domid_t domid, grant_ref_t ref,
                                     uint16_t offset)
{
    return (struct copy_end){ true, domid, ref, offset };
}

static inline struct copy_end by_frame(domid_t domid, unsigned long frame,
                                       uint16_t offset)
{
    return (struct copy_end){ false, domid, frame, offset };
}

static inline struct copy_end own_page_at(const void *va)
{
    return by_frame(DOMID_SELF, virt_to_gfn(va), _u(va) & (PAGE_SIZE - 1));
}

struct wire_copy copy_element(struct copy_end source, struct copy_end dest,
                              unsigned int len);

/* One GNTTABOP_copy of one element: its status, or CALL_FAILED. */
int copy_bytes(struct copy_end source, struct copy_end dest, unsigned int len);

/* Is there memory of this domain's at @va?  Xen is asked, not the CPU. */
bool memory_at(const void *va);

/* Does the own entry grant the own page?  Shown by a copy through it. */
bool expect_grant(const char *what, grant_ref_t ref, void *page);

#endif /* LAB_GNTTAB_TABLES_H */
