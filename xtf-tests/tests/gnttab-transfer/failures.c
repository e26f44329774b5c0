/* SPDX-License-Identifier: GPL-2.0-only */
/* Transfers that fail, and what becomes of the page. */
#include <xtf.h>

#include <lab/cost.h>
#include <lab/sysctl.h>

#include "transfer.h"

#define FRAME_NOWHERE   0x7ffffffful

static uint8_t mapped[PAGE_SIZE] __page_aligned_bss;
static uint8_t window[PAGE_SIZE] __page_aligned_bss;

/* With a willing receiver: it stays willing, and the page stays here. */
static void keeps(const char *what, unsigned long frame)
{
    const long ours = pages_of(DOMID_SELF), theirs = pages_of(other);

    entry_write(REF, GTF_accept_transfer, self, SLOT);
    expect(what, transfer(frame, other, REF), GNTST_bad_page);
    expect("the entry", entry_flags(REF), GTF_accept_transfer);
    expect_hex("the frame in it", entry_frame(REF), SLOT);
    expect("pages here", pages_of(DOMID_SELF), ours);
    expect("pages there", pages_of(other), theirs);
    entry_write(REF, 0, 0, 0);
}

void kept_pages(void)
{
    unsigned long list;

    step("pages that cannot be given away stay");

    keeps("a frame that is nowhere", FRAME_NOWHERE);
    keeps("the last frame number", ~0ul);
    keeps("a page that is mapped", virt_to_mfn(mapped));
    expect_true("the page is ours", is_ours(virt_to_mfn(mapped)));
    mapped[0] = 1;
    keeps("a page of the other's", granter_gfn(0));
    keeps("a page table", virt_to_mfn(_p(pv_start_info->pt_base)));
    expect("setup_table", table_setup(DOMID_SELF, 1, &list), GNTST_okay);
    keeps("a frame of the own grant table", list);
    expect("setup_table", table_setup(other, 1, &list), GNTST_okay);
    keeps("a frame of the other's grant table", list);
}

/* The page is gone, from here and not to there; Xen can give it out again. */
static void loses(const char *what, domid_t to, grant_ref_t ref, int status)
{
    const unsigned long mfn = loose_page(ref);
    const long ours = pages_of(DOMID_SELF), theirs = pages_of(other);
    const long free = free_pages();
    unsigned long again = 0;
    struct xen_memory_reservation increase = {
        .extent_start = &again,
        .nr_extents = 1,
        .domid = DOMID_SELF,
    };

    expect(what, transfer(mfn, to, ref), status);
    expect("pages here", pages_of(DOMID_SELF), ours - 1);
    expect("pages there", pages_of(other), theirs);
    expect("free pages of Xen's", free_pages(), free + 1);
    expect_true("the page is not ours", !is_ours(mfn));

    again = virt_to_gfn(window);
    expect("another page", hypercall_memory_op(0, &increase), 1);
    expect("pages here", pages_of(DOMID_SELF), ours);
}

static void loses_by_entry(const char *what, unsigned int flags, domid_t domid)
{
    entry_write(REF, flags, domid, SLOT);
    loses(what, other, REF, GNTST_general_error);
    expect("the entry", entry_flags(REF), flags);
    expect_hex("the frame in it", entry_frame(REF), SLOT);
    entry_write(REF, 0, 0, 0);
}

static void full_receiver(void)
{
    /* It may have 1024 KiB, and some room has been left. */
    unsigned long frame, given = 0, mfn;
    struct xen_memory_reservation one = {
        .extent_start = &frame,
        .nr_extents = 1,
        .domid = other,
    };

    step("XSA-284, XSA-287: a receiver with no room");

    for ( ; ; )
    {
        frame = 0x200 + pages_of(other);
        if ( hypercall_memory_op(XENMEM_populate_physmap, &one) != 1 )
            break;
        /* A PV domain's list comes back with machine frames. */
        given = frame;
    }
    fact_u64("pages_there", pages_of(other));

    entry_write(REF, GTF_accept_transfer, self, SLOT);
    for ( unsigned int i = 0; i < 8; i++ )
        loses("transfer", other, REF, GNTST_general_error);
    expect("the entry", entry_flags(REF), GTF_accept_transfer);

    step("and with some");

    frame = given;
    expect("take a page from it",
           hypercall_memory_op(XENMEM_decrease_reservation, &one), 1);
    mfn = loose_page(3);
    expect("transfer", transfer(mfn, other, REF), GNTST_okay);
    expect("the entry", entry_flags(REF), GTF_COMPLETED);
    entry_write(REF, 0, 0, 0);

    /* Room again, for what follows. */
    frame = mfn;
    expect("take that one from it",
           hypercall_memory_op(XENMEM_decrease_reservation, &one), 1);
}

void lost_pages(void)
{
    static const domid_t absent[] = {
        DOMID_ABSENT, DOMID_SELF, DOMID_IO, DOMID_XEN, DOMID_COW,
        DOMID_INVALID, DOMID_IDLE, 0xffff,
    };

    step("a receiver that is not there");

    for ( unsigned int i = 0; i < ARRAY_SIZE(absent); i++ )
        loses("no such domain", absent[i], REF, GNTST_bad_domain);

    step("a receiver that does not want the page");

    loses("first reference beyond", other, granter_entries(),
          GNTST_general_error);
    loses("largest reference", other, 0xffffffff, GNTST_general_error);
    loses_by_entry("nothing", 0, 0);
    loses_by_entry("a grant", GTF_permit_access, self);
    loses_by_entry("for another domain", GTF_accept_transfer, DOMID_ABSENT);
    loses_by_entry("for itself by alias", GTF_accept_transfer, DOMID_SELF);
    loses_by_entry("taken already",
                   GTF_accept_transfer | GTF_transfer_committed, self);
    loses_by_entry("of version 2", GTF_transitive, self);

    full_receiver();
}

/* It cannot vanish while a page of its is mapped here. */
void dying_receiver(void)
{
    struct gnttab_map_grant_ref map;
    const long ours = pages_of(DOMID_SELF);
    long free;

    step("XSA-284, XSA-287: a receiver that is dying");

    if ( !windows_free(window, 1) )
        return;
    entry_grant(READ_REF, 0, 0);
    entry_write(REF, GTF_accept_transfer, self, SLOT);
    if ( !expect("map", map_at(window, READ_REF, GNTMAP_host_map, &map),
                 GNTST_okay) || !granter_destroy() )
        return;
    free = free_pages();
    for ( unsigned int i = 0; i < 4; i++ )
    {
        unsigned long mfn = loose_page(i);

        expect("transfer", transfer(mfn, other, REF), GNTST_general_error);
        expect_true("the page is not ours", !is_ours(mfn));
    }
    expect("pages here", pages_of(DOMID_SELF), ours - 4);
    expect("free pages of Xen's", free_pages(), free + 4);
    expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
}
