/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames: where they are, how their number grows, and where it ends. */
#include <xtf.h>

#include "table.h"

#define ACQUIRE_RESOURCE    28      /* XENMEM_acquire_resource. */
#define RESOURCE_GRANTS     1       /* XENMEM_resource_grant_table. */
#define RESOURCE_SHARED     0       /* Its ids. */
#define RESOURCE_STATUS     1

struct acquire_resource {
    domid_t domid;
    uint16_t type;
    uint32_t id;
    uint32_t nr_frames;
    uint32_t pad;
    uint64_t frame;
    unsigned long *frame_list;
};

static uint8_t foreign_frames[4][PAGE_SIZE] __page_aligned_bss;

/* More frames than may be refuse the call, and nothing grows. */
static void too_many(void)
{
    const unsigned int numbers[] = { max_frames + 1, 0x1000, 0x10000 };
    const unsigned int before = own_frames();
    static unsigned long list[1];

    for ( unsigned int i = 0; i < ARRAY_SIZE(numbers); i++ )
    {
        list[0] = NO_FRAME;
        expect("setup_table beyond the limit",
               table_setup(DOMID_SELF, numbers[i], list),
               GNTST_general_error);
        expect_hex("its list", list[0], NO_FRAME);
        expect("frames after that", own_frames(), before);
    }
}

/* The table's frames are known by the addresses where they are. */
static void check_list(unsigned int nr)
{
    unsigned long list[TABLE_FRAMES + 1], again[TABLE_FRAMES + 1];

    for ( unsigned int i = 0; i <= TABLE_FRAMES; i++ )
        list[i] = again[i] = NO_FRAME;

    expect("setup_table", table_setup(DOMID_SELF, nr, list), GNTST_okay);
    expect_hex("behind the list", list[nr], NO_FRAME);
    for ( unsigned int i = 0; i < nr; i++ )
    {
#ifdef CONFIG_HVM
        expect_hex("frame", list[i], virt_to_gfn(table_frames[i]));
#endif
        for ( unsigned int j = 0; j < i; j++ )
            expect_true("frames differ", list[i] != list[j]);
    }

    /* "Only <nr_frames> addresses are written, even if the table is larger." */
    expect("setup_table of one", table_setup(DOMID_SELF, 1, again),
           GNTST_okay);
    expect_hex("the first frame", again[0], list[0]);
    expect_hex("behind it", again[1], NO_FRAME);
}

void growth_v1(void)
{
    const grant_ref_t last = 3 * V1_PER_FRAME - 1;

    step("the table grows when more of it is set up or placed");

    check_list(1);
    expect("first reference beyond, before",
           copy_bytes(by_ref(DOMID_SELF, V1_PER_FRAME, 0),
                      own_page_at(own_pages[1]), 1), GNTST_bad_gntref);

    expect("show three frames", show_table(3), 0);
    expect("frames", own_frames(), 3);
    expect_zeros("the new frames", table_frames[1], 2 * PAGE_SIZE);
    check_list(3);
    expect("frames", own_frames(), 3);

    v1_write(last, GTF_permit_access, self, virt_to_gfn(own_pages[0]));
    expect_grant("the last reference", last, own_pages[0]);
    expect("first reference beyond",
           copy_bytes(by_ref(DOMID_SELF, last + 1, 0),
                      own_page_at(own_pages[1]), 1), GNTST_bad_gntref);
    v1_write(last, 0, 0, 0);

    step("it does not grow beyond its limit");

    too_many();
#ifdef CONFIG_HVM
    expect("place a frame beyond the limit",
           place_frame(max_frames, own_pages[3]), -EINVAL);
    expect("place the last frame number",
           place_frame(~0ul, own_pages[3]), -EINVAL);
    expect("place a status frame in version 1",
           place_frame(0 | PLACE_STATUS, own_pages[3]), -EINVAL);
    expect("frames", own_frames(), 3);
    expect_true("memory is still there", memory_at(own_pages[3]));
#endif
}

static int acquire(domid_t domid, unsigned int id, unsigned int frame,
                   unsigned int nr, unsigned long *list)
{
    struct acquire_resource acquire = {
        .domid = domid,
        .type = RESOURCE_GRANTS,
        .id = id,
        .frame = frame,
        .nr_frames = nr,
        .frame_list = list,
    };

    return hypercall_memory_op(ACQUIRE_RESOURCE, &acquire);
}

static void resource_size(const char *what, unsigned int id,
                          unsigned int wanted)
{
    struct acquire_resource acquire = {
        .domid = other, .type = RESOURCE_GRANTS, .id = id,
    };

    expect(what, hypercall_memory_op(ACQUIRE_RESOURCE, &acquire), 0);
    expect(what, acquire.nr_frames, wanted);
}

static void release(const void *va)
{
#ifdef CONFIG_HVM
    expect("remove a frame of the other's", remove_frame(va), 0);
#endif
}

void other_tables(void)
{
    unsigned long list[4];
    unsigned int nr, max;

    step("the other domain's table, by setup_table");

    /* A frame that is in no guest memory has no number of 32 bits. */
#if defined(CONFIG_PV) || defined(CONFIG_64BIT)
    expect("setup_table", table_setup(other, 2, list), GNTST_okay);
    expect("its size", table_size(other, &nr, &max), GNTST_okay);
    expect("frames", nr, 2);
#endif
    expect("beyond the limit", table_setup(other, max_frames + 1, list),
           GNTST_general_error);

    step("the other domain's table, as a resource");

    for ( unsigned int i = 0; i < ARRAY_SIZE(list); i++ )
        list[i] = virt_to_gfn(foreign_frames[i]);

    resource_size("frames of the table", RESOURCE_SHARED, max_frames);
    /* One status frame for eight of the table. */
    resource_size("status frames", RESOURCE_STATUS, (max_frames + 7) / 8);

    expect("status of version 1", acquire(other, RESOURCE_STATUS, 0, 1, list),
           -EINVAL);
    expect("another id", acquire(other, 2, 0, 1, list), -EINVAL);
    expect("beyond the limit",
           acquire(other, RESOURCE_SHARED, max_frames, 1, list), -EINVAL);
    expect("no domain", acquire(DOMID_ABSENT, RESOURCE_SHARED, 0, 1, list),
           -ESRCH);
    expect("the own table", acquire(self, RESOURCE_SHARED, 0, 1, list),
           -EPERM);
    expect("its size", table_size(other, &nr, &max), GNTST_okay);
    expect_true("nothing has grown", nr <= 2);

    expect("four frames", acquire(other, RESOURCE_SHARED, 0, 4, list), 0);
    expect("its size", table_size(other, &nr, &max), GNTST_okay);
    expect("frames", nr, 4);

#ifdef CONFIG_PV
    {
        unsigned long by_setup[4];

        expect("setup_table", table_setup(other, 4, by_setup), GNTST_okay);
        for ( unsigned int i = 0; i < 4; i++ )
            expect_hex("the same frame", list[i], by_setup[i]);
    }
#else
    /* The granter sees its first frame elsewhere; an entry appears in both. */
    entry_write(FIRST_FREE_REF, GTF_readonly, 0x1234, 0x567);
    expect_hex("an entry seen in the resource",
               ((volatile grant_entry_v1_t *)foreign_frames[0])
                   [FIRST_FREE_REF].frame, 0x567);
    entry_write(FIRST_FREE_REF, 0, 0, 0);
    expect_zeros("the last frame", foreign_frames[3], PAGE_SIZE);
#endif

    for ( unsigned int i = 0; i < ARRAY_SIZE(list); i++ )
        release(foreign_frames[i]);
}

/* As many status frames as there are, no more, and nothing behind the list. */
static void check_status_list(unsigned int nr)
{
    uint64_t list[STATUS_FRAMES + 1];

    for ( unsigned int i = 0; i <= STATUS_FRAMES; i++ )
        list[i] = NO_FRAME;

    expect_status_frames("get_status_frames", DOMID_SELF, nr, list,
                         GNTST_okay);
#ifdef CONFIG_PV
    for ( unsigned int i = 0; i < nr; i++ )
    {
        expect_true("a status frame", list[i] != NO_FRAME);
        for ( unsigned int j = 0; j < i; j++ )
            expect_true("status frames differ", list[i] != list[j]);
    }
    expect_hex("behind the list", list[nr], NO_FRAME);
#endif

    step("XSA-382: more status frames than there are");

    for ( unsigned int i = 0; i <= STATUS_FRAMES; i++ )
        list[i] = NO_FRAME;
    expect_status_frames("one more", DOMID_SELF, nr + 1, list,
                         GNTST_general_error);
    expect_status_frames("many more", DOMID_SELF, 0x10000, list,
                         GNTST_general_error);
    for ( unsigned int i = 0; i <= STATUS_FRAMES; i++ )
        expect_hex("the list", list[i], NO_FRAME);
}

/* What happens to @ref shows at its place in the status frames. */
static void check_status_of(grant_ref_t ref)
{
    /* Each mapping uses up a page of an HVM guest's. */
    static unsigned int nth = NR_PAGES;
    uint8_t *page = own_pages[--nth];
    grant_handle_t handle;

    v2_write(ref, GTF_permit_access, self, virt_to_gfn(page));
    expect_grant("a copy", ref, page);
    if ( !expect("map", map_own(ref, page, windows[0], GNTMAP_readonly,
                                &handle), GNTST_okay) )
        return;
    expect("in use", *own_status(ref), GTF_reading);
    expect("the entry's flags", own_v2(ref)->hdr.flags, GTF_permit_access);
    expect("unmap", unmap_own(page, windows[0], handle), GNTST_okay);
    expect("in use", *own_status(ref), 0);
    v2_write(ref, 0, 0, 0);
}

void growth_v2(void)
{
    const grant_ref_t first = STATUS_PER_FRAME;
    const unsigned int frames = STATUS_PER_FRAME / V2_PER_FRAME;
    unsigned int shown = 2;

    if ( max_frames < TABLE_FRAMES )
    {
        printk("Skipped: growth in version 2 needs %u frames\n", TABLE_FRAMES);
        return;
    }

    step("version 2: one status frame serves %u frames of the table", frames);

    if ( !own_table(2) )
        return;
    expect("show them", show_table(frames), 0);
    expect("frames", own_frames(), frames);
    check_status_list(1);
    check_status_of(first - 1);
    expect("first reference beyond",
           copy_bytes(by_ref(DOMID_SELF, first, 0), own_page_at(own_pages[1]),
                      1), GNTST_bad_gntref);

    step("the next frame needs a second one");

    expect("show it", show_table(frames + 1), 0);
    expect("frames", own_frames(), frames + 1);
    expect("show the status frames", show_status(2), 0);
    expect_zeros("the second", status_frames[1], PAGE_SIZE);
    check_status_list(2);
    check_status_of(first - 1);
    check_status_of(first);
    check_status_of(first + V2_PER_FRAME - 1);

#ifdef CONFIG_HVM
    step("a status frame that is placed makes the table grow");

    shown = 3;
    expect("the third status frame", show_status(shown), 0);
    /* No fewer than need it, no more than it serves. */
    fact_u64("frames", own_frames());
    expect_true("frames for it", own_frames() > 2 * frames &&
                                 own_frames() <= 3 * frames);
    check_status_list(3);
    expect("beyond the limit",
           place_frame(max_frames / frames | PLACE_STATUS, own_pages[3]),
           -EINVAL);
    expect("the last number",
           place_frame(PLACE_STATUS | (PLACE_STATUS - 1), own_pages[3]),
           -EINVAL);
    expect_true("memory is still there", memory_at(own_pages[3]));
#endif
    too_many();

    step("back to version 1, which has more references in as many frames");

    expect("hide the status frames", hide_status(shown), 0);
    expect("set_version 1", table_set_version(1, NULL), 0);
    v1_write((frames + 1) * V1_PER_FRAME - 1, GTF_permit_access, self,
             virt_to_gfn(own_pages[0]));
    expect_grant("the last reference", (frames + 1) * V1_PER_FRAME - 1,
                 own_pages[0]);
    v1_write((frames + 1) * V1_PER_FRAME - 1, 0, 0, 0);
}
