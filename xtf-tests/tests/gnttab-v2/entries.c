/* SPDX-License-Identifier: GPL-2.0-only */
/* Entries of version 2 and their status. */
#include <xtf.h>

#include "v2.h"

#define REF             (FIRST_FREE_REF + 0)
#define NEIGHBOUR       (FIRST_FREE_REF + 1)

/* No frame of any domain's on these machines. */
#define FRAME_NOWHERE   0x7fffffffull

/* Xen writes the status only: the entry is as it was written. */
static void expect_entry(unsigned int flags, const void *page)
{
    expect("the entry's flags", own_v2(REF)->hdr.flags, flags);
    expect("its domain", own_v2(REF)->hdr.domid, self);
    expect_hex("its frame", own_v2(REF)->full_page.frame, virt_to_gfn(page));
    expect("its neighbour's status", *own_status(NEIGHBOUR), 0);
}

static void one_mapping(unsigned int readonly_entry, unsigned int readonly_map)
{
    const unsigned int flags = GTF_permit_access | readonly_entry;
    uint8_t *page = fresh_page(), byte;
    grant_handle_t handle;

    step("a %s mapping of a %s entry",
         readonly_map ? "read-only" : "writable",
         readonly_entry ? "read-only" : "writable");

    v2_write(REF, flags, self, virt_to_gfn(page));
    page[17] = 0x42;
    if ( readonly_entry && !readonly_map )
    {
        expect("map", map_own(REF, page, windows[0], 0, &handle),
               GNTST_general_error);
        expect("status", *own_status(REF), 0);
        expect_entry(flags, page);
        return;
    }

    if ( !expect("map", map_own(REF, page, windows[0], readonly_map, &handle),
                 GNTST_okay) )
        return;
    expect("status", *own_status(REF), readonly_map ? GTF_reading : IN_USE);
    expect_entry(flags, page);
#ifdef CONFIG_PV
    expect_true("the mapping can be read", cpu_reads(windows[0] + 17, &byte));
    expect("what is in it", byte, 0x42);
    expect("the mapping can be written", cpu_writes(windows[0] + 17, 0x43),
           !readonly_map);
    expect("what the page has", page[17], readonly_map ? 0x42 : 0x43);
#else
    (void)byte;
#endif

    /* "2. Observe that !(flags & (GTF_reading|GTF_writing))": in the status. */
    own_v2(REF)->hdr.flags = 0;
    expect("status when the entry is invalid", *own_status(REF),
           readonly_map ? GTF_reading : IN_USE);
    expect("unmap", unmap_own(page, windows[0], handle), GNTST_okay);
    expect("status", *own_status(REF), 0);
}

#ifdef CONFIG_PV
/* The status is that of all mappings together. */
static void two_mappings(void)
{
    uint8_t *page = fresh_page();
    grant_handle_t writable, readonly[2];

    step("a writable mapping between two read-only ones");

    v2_write(REF, GTF_permit_access, self, virt_to_gfn(page));
    expect("map read-only", map_own(REF, page, windows[0], GNTMAP_readonly,
                                    &readonly[0]), GNTST_okay);
    expect("status", *own_status(REF), GTF_reading);
    expect("map writable", map_own(REF, page, windows[1], 0, &writable),
           GNTST_okay);
    expect("status", *own_status(REF), IN_USE);
    expect("map read-only", map_own(REF, page, windows[2], GNTMAP_readonly,
                                    &readonly[1]), GNTST_okay);
    expect("status", *own_status(REF), IN_USE);
    expect("unmap read-only", unmap_own(page, windows[0], readonly[0]),
           GNTST_okay);
    expect("status", *own_status(REF), IN_USE);
    expect("unmap writable", unmap_own(page, windows[1], writable),
           GNTST_okay);
    expect("status", *own_status(REF), GTF_reading);
    expect("unmap read-only", unmap_own(page, windows[2], readonly[1]),
           GNTST_okay);
    expect("status", *own_status(REF), 0);
    expect_entry(GTF_permit_access, page);
}
#endif

static void refused(const char *what, grant_ref_t ref, int status)
{
    uint8_t *page = windows[0];
    grant_handle_t handle;

    for ( unsigned int i = 0; i < 2; i++ )
    {
        expect(what, map_own(ref, page, windows[0], i ? GNTMAP_readonly : 0,
                             &handle), status);
        if ( ref == REF )
            expect("status", *own_status(REF), 0);
    }
}

static void wrong_entries(void)
{
    const uint64_t frame = virt_to_gfn(fresh_page());

    step("entries that cannot be mapped");

    v2_write(REF, GTF_invalid, self, frame);
    refused("invalid", REF, GNTST_general_error);
    v2_write(REF, GTF_accept_transfer, self, frame);
    refused("for a transfer", REF, GNTST_general_error);
    v2_write(REF, GTF_permit_access, DOMID_ABSENT, frame);
    refused("for another domain", REF, GNTST_general_error);
    v2_write_part(REF, GTF_permit_access, self, frame, 0, PAGE_SIZE);
    refused("of a part", REF, GNTST_general_error);
    v2_write_transitive(REF, 0, self, self, NEIGHBOUR);
    refused("transitive", REF, GNTST_general_error);
    v2_write(REF, GTF_permit_access, self, FRAME_NOWHERE);
    refused("of a frame that is nowhere", REF, GNTST_bad_page);
    v2_write(REF, GTF_permit_access, self, frame | (1ull << 40));
    refused("of a frame of more than 32 bits", REF, GNTST_bad_page);
    refused("first beyond", V2_PER_FRAME, GNTST_bad_gntref);
    refused("which version 1 has", V1_PER_FRAME - 1, GNTST_bad_gntref);
    v2_write(REF, 0, 0, 0);
}

static void last_entry(void)
{
    const grant_ref_t last = V2_PER_FRAME - 1;
    uint8_t *page = fresh_page();
    grant_handle_t handle;

    step("the last entry of a frame");

    v2_write(last, GTF_permit_access, self, virt_to_gfn(page));
    expect_grant("a copy", last, page);
    expect("status", *own_status(last), 0);
    if ( !expect("map", map_own(last, page, windows[0], 0, &handle),
                 GNTST_okay) )
        return;
    expect("status", *own_status(last), IN_USE);
    expect("the status before it", *own_status(last - 1), 0);
    expect("the status after it", *own_status(last + 1), 0);
    expect("unmap", unmap_own(page, windows[0], handle), GNTST_okay);
    expect("status", *own_status(last), 0);
    v2_write(last, 0, 0, 0);
}

void entries(void)
{
    one_mapping(0, 0);
    one_mapping(0, GNTMAP_readonly);
    one_mapping(GTF_readonly, GNTMAP_readonly);
    one_mapping(GTF_readonly, 0);
#ifdef CONFIG_PV
    two_mappings();
#endif
    wrong_entries();
    last_entry();
}
