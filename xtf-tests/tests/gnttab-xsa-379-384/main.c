/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-379-384/main.c
 * @ref test-gnttab-xsa-379-384
 *
 * @page test-gnttab-xsa-379-384 gnttab-xsa-379-384
 *
 * XSA-26, XSA-255, XSA-379, XSA-384: going back to version 1 gives the status
 * frames back to Xen, while the guest may still have them in sight.
 *
 * A PV guest that has one mapped, in whatever way, stays in version 2, and
 * every status frame stays what it was.  Once none is mapped the change is
 * made, and the frames cannot be mapped any more.
 *
 * An HVM guest has each at one guest frame at most, wherever it has been
 * placed before, and after the change at none.  What has been placed over it
 * stays.
 *
 * @see tests/gnttab-xsa-379-384/main.c
 */
#include <xtf.h>

#include <lab/cost.h>
#include <lab/gnttab-tables.h>
#include <lab/mapping.h>
#include <lab/sysctl.h>

const char test_title[] = "XSA-26, -255, -379, -384: status frames in use";

#define REF             FIRST_FREE_REF

/* So many frames of the table that there are two status frames. */
#define NR_FRAMES       9

static domid_t self;

static void to_version(unsigned int version, int rc)
{
    unsigned int now;

    expect("set_version", table_set_version(version, &now), rc);
    expect("version in force", now, rc ? 3 - version : version);
}

#ifdef CONFIG_PV

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t window[PAGE_SIZE] __page_aligned_bss;
static uint8_t again[PAGE_SIZE] __page_aligned_bss;

static int show_at(void *va, uint64_t mfn, unsigned int flags)
{
    return hypercall_update_va_mapping(
        _u(va), flags ? (mfn << PAGE_SHIFT) | flags : 0, UVMF_INVLPG);
}

#define READ_ONLY       (_PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY)
#define READ_WRITE      (READ_ONLY | _PAGE_RW)

/* The status frames that are mapped are the ones Xen writes to. */
static void still_in_force(const uint64_t *list)
{
    uint64_t now[2] = { 0, 0 };
    const grant_ref_t refs[] = { REF, STATUS_PER_FRAME + REF };

    expect("get_status_frames", table_status_frames(DOMID_SELF, 2, now),
           GNTST_okay);
    for ( unsigned int i = 0; i < 2; i++ )
    {
        grant_handle_t handle;

        expect_hex("the frame", now[i], list[i]);
        v2_write(refs[i], GTF_permit_access, self, virt_to_mfn(page));
        if ( expect("map", map_own(refs[i], page, window, 0, &handle),
                    GNTST_okay) )
        {
            expect("status", *own_status(refs[i]), IN_USE);
            expect("unmap", unmap_own(page, window, handle), GNTST_okay);
            expect("status", *own_status(refs[i]), 0);
        }
        v2_write(refs[i], 0, 0, 0);
    }
}

static void run(void)
{
    uint64_t list[2];

    if ( !windows_free(window, 1) || !windows_free(again, 1) )
        return;

    for ( unsigned int round = 0; round < 3; round++ )
    {
        const long free = free_pages();

        step("both are mapped");
        to_version(2, 0);
        expect("list", table_status_frames(DOMID_SELF, 2, list), GNTST_okay);
        expect("show both", show_status(2), 0);
        to_version(1, -EBUSY);
        still_in_force(list);

        step("one of them is");
        expect("hide the first", hide_status(1), 0);
        to_version(1, -EBUSY);
        expect("show the first", show_at(status_frames[0], list[0],
                                         READ_WRITE), 0);
        still_in_force(list);
        expect("hide the second", show_at(status_frames[1], 0, 0), 0);
        to_version(1, -EBUSY);
        expect("show the second", show_at(status_frames[1], list[1],
                                          READ_WRITE), 0);
        still_in_force(list);

        step("one is, a second time and only to be read");
        expect("map it again", show_at(again, list[1], READ_ONLY), 0);
        expect("hide both", hide_status(2), 0);
        to_version(1, -EBUSY);
        expect("hide it", show_at(again, 0, 0), 0);

        step("none is");
        to_version(1, 0);
        for ( unsigned int i = 0; i < 2; i++ )
            expect_true("it cannot be mapped any more",
                        show_at(again, list[i], READ_ONLY) != 0);
        expect("get_status_frames", table_status_frames(DOMID_SELF, 1, list),
               GNTST_general_error);
        /* The first mapping of all has taken one for handles. */
        if ( round )
            expect("free pages of Xen's", free_pages(), free);
    }
}

#else /* CONFIG_HVM */

static uint8_t elsewhere[2][PAGE_SIZE] __page_aligned_bss;

/* The entry's status shows at @shown. */
static void in_force_at(const char *what, const void *shown)
{
    static uint8_t pages[8][PAGE_SIZE] __page_aligned_bss;
    static unsigned int used;
    const volatile uint16_t *status = shown;
    uint8_t *page = pages[used++];
    grant_handle_t handle;

    v2_write(REF, GTF_permit_access, self, virt_to_gfn(page));
    if ( !expect("map", map_own(REF, page, NULL, GNTMAP_readonly, &handle),
                 GNTST_okay) )
        return;
    expect(what, status[REF], GTF_reading);
    expect("unmap", unmap_own(page, NULL, handle), GNTST_okay);
    expect(what, status[REF], 0);
    v2_write(REF, 0, 0, 0);
}

static void gone(const char *what, const void *va)
{
    expect_true(what, !memory_at(va));
}

static void run(void)
{
    long free;

    step("at one guest frame");
    to_version(2, 0);
    expect("place both", show_status(2), 0);
    in_force_at("status", status_frames[0]);
    to_version(1, 0);
    gone("the first is gone", status_frames[0]);
    gone("the second is gone", status_frames[1]);

    step("placed twice: at the second place only");
    to_version(2, 0);
    expect("place it", place_frame(0 | PLACE_STATUS, elsewhere[0]), 0);
    in_force_at("status", elsewhere[0]);
    expect("place it elsewhere", place_frame(0 | PLACE_STATUS, elsewhere[1]),
           0);
    gone("it is not where it was", elsewhere[0]);
    in_force_at("status", elsewhere[1]);
    to_version(1, 0);
    gone("gone from the first place", elsewhere[0]);
    gone("gone from the second place", elsewhere[1]);

    step("taken away: at no place");
    to_version(2, 0);
    expect("place it", place_frame(0 | PLACE_STATUS, elsewhere[0]), 0);
    expect("take it away", remove_frame(elsewhere[0]), 0);
    gone("it is not there", elsewhere[0]);
    to_version(1, 0);
    gone("it is not there", elsewhere[0]);

    step("something else in its place");
    to_version(2, 0);
    expect("place it", place_frame(0 | PLACE_STATUS, elsewhere[0]), 0);
    expect("place a frame of the table", place_frame(NR_FRAMES - 1,
                                                     elsewhere[0]), 0);
    to_version(1, 0);
    expect_true("it stays", memory_at(elsewhere[0]));
    gone("and is not where it was", table_frames[NR_FRAMES - 1]);
    expect("place it back", place_frame(NR_FRAMES - 1,
                                        table_frames[NR_FRAMES - 1]), 0);

    step("in version 1 there is none to place");
    expect("place one", place_frame(0 | PLACE_STATUS, elsewhere[0]), -EINVAL);
    gone("nothing is there", elsewhere[0]);

    step("50 times");
    free = free_pages();
    for ( unsigned int i = 0; i < 50; i++ )
    {
        to_version(2, 0);
        expect("place it", place_frame(0 | PLACE_STATUS, elsewhere[i & 1]), 0);
        if ( i % 3 )
            expect("and again", place_frame(0 | PLACE_STATUS,
                                            elsewhere[~i & 1]), 0);
        to_version(1, 0);
        gone("gone", elsewhere[0]);
        gone("gone", elsewhere[1]);
    }
    expect("free pages of Xen's", free_pages(), free);
}

#endif

void test_main(void)
{
    if ( own_domid() < 0 )
        return xtf_skip("This domain cannot find out its own id\n");
    self = own_domid();
    if ( !own_table(1) || !expect("show the table", show_table(NR_FRAMES), 0) )
        return;

    run();

    xtf_success(NULL);
}
