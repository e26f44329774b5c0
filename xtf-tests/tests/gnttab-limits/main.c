/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-limits/main.c
 * @ref test-gnttab-limits
 *
 * @page test-gnttab-limits gnttab-limits
 *
 * How much can be mapped, and how large a table can be.  Xen is told the
 * limits on its command line and the test by its arguments, which must agree:
 * `gnttab_max_maptrack_frames=` and `maptrack_frames=`, `gnttab_max_frames=`
 * and `table_frames=`.  Without an argument that part is left out.
 *
 *  1. One reference can be mapped 128 times for writing, and as often for
 *     reading, by CPUs, and again by devices (PV).  (Xen's C tables count each
 *     kind in a byte and stop when its highest bit is set.)
 *  2. A domain has 256 handles for each of its maptrack frames (16 bytes each;
 *     the C tables keep one of them back for each vcpu).  Then it is
 *     GNTST_no_space, nothing else changes, and an unmap makes room for one.
 *     Mappings that fail cost no handle.
 *  3. The table has one frame and grows to the limit when it is set up or a
 *     frame is placed (XENMEM_add_to_physmap); not beyond.  References that
 *     were outside of it work then, those mapped stay mapped.
 *
 * @see tests/gnttab-limits/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/mapping.h>
#include <lab/steps.h>

const char test_title[] = "Limits of grant tables and of mapping";

#define MAX_PINS        128
#define HANDLES_PER_FRAME   256

/* Enough for two frames of handles, and for two kinds of mappings. */
#define NR_WINDOWS      (2 * HANDLES_PER_FRAME + 8)
#define NR_REFS         (NR_WINDOWS / MAX_PINS + 1)
#define FIRST_REF       FIRST_FREE_REF
#define REF_UNUSED      (FIRST_REF + NR_REFS)

#define READ_ONLY       (GNTMAP_host_map | GNTMAP_readonly)

static grant_handle_t handles[NR_WINDOWS];

#ifdef CONFIG_PV

static uint8_t windows[NR_WINDOWS][PAGE_SIZE] __page_aligned_bss;

static uint64_t window_addr(unsigned int window)
{
    return _u(windows[window]);
}

static bool windows_ready(void)
{
    return windows_free(windows, NR_WINDOWS);
}

#else

static uint64_t window_addr(unsigned int window)
{
    return empty_gaddr(window);
}

static bool windows_ready(void)
{
    return true;
}

#endif

/* Map at one window with the flags. */
static int map_window(unsigned int window, grant_ref_t ref, unsigned int flags)
{
    struct gnttab_map_grant_ref map;
    int status = gnttab_map(granter_domid(), ref, window_addr(window), flags,
                            &map);

    handles[window] = map.handle;

    return status;
}

static int unmap_window(unsigned int window)
{
    return gnttab_unmap(window_addr(window), handles[window]);
}

/* As many mappings as can be of one reference: windows from @first on. */
static void most_of_a_kind(unsigned int first, unsigned int flags)
{
    unsigned int bad = 0;

    for ( unsigned int i = 0; i < MAX_PINS; i++ )
        bad += map_window(first + i, FIRST_REF, flags) != GNTST_okay;
    expect("refused below the limit", bad, 0);
    expect("one more", map_window(NR_WINDOWS - 1, FIRST_REF, flags),
           GNTST_general_error);
    expect("unmap one", unmap_window(first + 1), GNTST_okay);
    expect("one again", map_window(first + 1, FIRST_REF, flags), GNTST_okay);
    expect("and not two", map_window(NR_WINDOWS - 1, FIRST_REF, flags),
           GNTST_general_error);
}

static void unmap_windows(unsigned int first, unsigned int nr)
{
    unsigned int bad = 0;

    for ( unsigned int i = 0; i < nr; i++ )
        bad += unmap_window(first + i) != GNTST_okay;
    expect("failing unmaps", bad, 0);
}

#ifdef CONFIG_PV

static void most_for_devices(unsigned int flags)
{
    static grant_handle_t taken[MAX_PINS];
    struct gnttab_map_grant_ref map;
    unsigned int bad = 0;

    for ( unsigned int i = 0; i < MAX_PINS; i++ )
    {
        bad += map_at(NULL, FIRST_REF, flags, &map) != GNTST_okay;
        taken[i] = map.handle;
    }
    expect("refused below the limit", bad, 0);
    expect("one more", map_at(NULL, FIRST_REF, flags, &map),
           GNTST_general_error);
    expect("one for a CPU as well",
           map_at(windows[NR_WINDOWS - 1], FIRST_REF, flags | READ_ONLY, &map),
           GNTST_general_error);

    for ( unsigned int i = 0; i < MAX_PINS; i++ )
        bad += gnttab_unmap_all(0, (uint64_t)granter_gfn(0) << PAGE_SHIFT,
                                taken[i]) != GNTST_okay;
    expect("failing unmaps", bad, 0);
}

#endif

static void mappings_of_one(void)
{
    step("%u mappings of one reference for writing, %u for reading", MAX_PINS,
         MAX_PINS);

    most_of_a_kind(0, GNTMAP_host_map);
    most_of_a_kind(MAX_PINS, READ_ONLY);
    expect("in use", entry_in_use(FIRST_REF), GTF_IN_USE);
    unmap_windows(0, MAX_PINS);
    expect("in use", entry_in_use(FIRST_REF), GTF_reading);
    unmap_windows(MAX_PINS, MAX_PINS);
    expect("in use", entry_in_use(FIRST_REF), 0);

#ifdef CONFIG_PV
    step("the same for devices");
    most_for_devices(GNTMAP_device_map | GNTMAP_readonly);
    expect("in use", entry_in_use(FIRST_REF), 0);
    most_of_a_kind(0, READ_ONLY);
    most_for_devices(GNTMAP_device_map | GNTMAP_readonly);
    unmap_windows(0, MAX_PINS);
    expect("in use", entry_in_use(FIRST_REF), 0);
#endif
}

/* Map until it fails, which must be for want of handles. */
static unsigned int fill_up(unsigned int from)
{
    int status = GNTST_okay;
    unsigned int i;

    for ( i = from; i < NR_WINDOWS; i++ )
    {
        status = map_window(i, FIRST_REF + i / MAX_PINS, READ_ONLY);
        if ( status != GNTST_okay )
            break;
    }
    expect("the first refusal", status, GNTST_no_space);

    return i;
}

static void handles_run_out(unsigned int frames)
{
    const unsigned int most = frames * HANDLES_PER_FRAME;
    unsigned int nr, bad = 0;

    step("handles run out");

    nr = fill_up(0);
    fact_u64("handles", nr);
    expect_true("not more than there are", nr <= most);
    if ( !frames )
        return;
    expect_true("not fewer, but for the one kept back", nr >= most - 1);
    expect("a reference without a mapping", entry_in_use(REF_UNUSED), 0);
    expect("still none", map_window(nr, REF_UNUSED, READ_ONLY),
           GNTST_no_space);
    expect("its reference", entry_in_use(REF_UNUSED), 0);

    step("handles are distinct");
    for ( unsigned int i = 0; i < nr; i++ )
        for ( unsigned int j = 0; j < i; j++ )
            bad += handles[i] == handles[j];
    expect("given out twice", bad, 0);

    step("what is freed can be used again, as much as that");
    unmap_windows(nr - 3, 3);
    expect("mapped at most", fill_up(nr - 3), nr);

    step("a mapping that fails costs no handle");
    unmap_windows(nr - 1, 1);
    for ( unsigned int i = 0; i < 2 * HANDLES_PER_FRAME; i++ )
    {
        bad += map_window(nr - 1, granter_entries(), READ_ONLY) !=
               GNTST_bad_gntref;
        bad += map_window(nr - 1, REF_UNUSED + 1, READ_ONLY) !=
               GNTST_general_error;
    }
    expect("mappings of no entry, wrongly", bad, 0);
    expect("mapped at most", fill_up(nr - 1), nr);

    unmap_windows(0, nr);
    expect("mapped again at most", fill_up(0), nr);
    unmap_windows(0, nr);
}

/* This domain's own table from here on. */

static uint8_t table_frame[PAGE_SIZE] __page_aligned_bss;
static uint8_t own_page[PAGE_SIZE] __page_aligned_bss;
#ifdef CONFIG_HVM
static uint8_t another_page[PAGE_SIZE] __page_aligned_bss;
#endif

static unsigned int table_size(unsigned int *max)
{
    struct grant_table_size size = { .dom = DOMID_SELF };

    expect("query_size", hypercall_grant_table_op(GNTTABOP_query_size, &size,
                                                  1), 0);
    expect("its status", size.status, GNTST_okay);
    *max = size.max_nr_frames;

    return size.nr_frames;
}

static int setup(domid_t domid, unsigned int nr_frames, unsigned long *list)
{
    struct gnttab_setup_table setup = {
        .dom = domid,
        .nr_frames = nr_frames,
        .frame_list = list,
        .status = GNTST_NOT_DONE,
    };

    expect("setup_table",
           hypercall_grant_table_op(GNTTABOP_setup_table, &setup, 1), 0);

    return setup.status;
}

#ifdef CONFIG_PV

static int show_frame(unsigned int nr, unsigned int frames)
{
    static unsigned long list[64];
    uint64_t pte = _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY;
    int status;

    ASSERT(frames <= ARRAY_SIZE(list));
    status = setup(DOMID_SELF, frames, list);

    return status ?: hypercall_update_va_mapping(
        _u(table_frame), ((uint64_t)list[nr] << PAGE_SHIFT) | pte,
        UVMF_INVLPG);
}

#else

static int place(unsigned long idx)
{
    struct xen_add_to_physmap add = {
        .domid = DOMID_SELF,
        .space = XENMAPSPACE_grant_table,
        .idx = idx,
        .gfn = virt_to_gfn(table_frame),
    };

    return hypercall_memory_op(XENMEM_add_to_physmap, &add);
}

static int show_frame(unsigned int nr, unsigned int frames)
{
    return place(nr);
}

#endif

static int map_own_ref(grant_ref_t ref, unsigned int window)
{
    struct gnttab_map_grant_ref map;
    int status = gnttab_map(own_domid(), ref, window_addr(window), READ_ONLY,
                            &map);

    handles[window] = map.handle;

    return status;
}

static void table_grows(unsigned int frames)
{
    const unsigned int per_frame = PAGE_SIZE / sizeof(grant_entry_v1_t);
    const grant_ref_t last = frames * per_frame - 1;
    grant_entry_v1_t *entries = (void *)table_frame;
    unsigned long gfn = virt_to_gfn(own_page), list;
    unsigned int max;

    step("the table before it grows");

    if ( xtf_init_grant_table(1) )
        return xtf_error("No grant table\n");
    expect("frames", table_size(&max), 1);
    expect("frames at most", max, frames);

    gnttab_grant_access(FIRST_FREE_REF, own_domid(), gfn, GTF_readonly);
    expect("map", map_own_ref(FIRST_FREE_REF, 0), GNTST_okay);
    expect("the first reference beyond", map_own_ref(per_frame, 1),
           GNTST_bad_gntref);
    expect("the last one there could be", map_own_ref(last, 1),
           GNTST_bad_gntref);

    step("what cannot be set up");

    expect("more frames than allowed", setup(DOMID_SELF, frames + 1, &list),
           GNTST_general_error);
    expect("very many more", setup(DOMID_SELF, 0x10000, &list),
           GNTST_general_error);
    expect("for a domain that there is not", setup(DOMID_ABSENT, 1, &list),
           GNTST_bad_domain);
#ifdef CONFIG_64BIT
    expect("the list nowhere",
           setup(DOMID_SELF, 1, _p(window_addr(2))), GNTST_bad_virt_addr);
#else
    /* The C tables' layer for 32-bit guests loses the status it finds. */
    printk("Skipped: a list nowhere has no one status for 32-bit guests\n");
#endif
#ifdef CONFIG_HVM
    expect("a frame beyond the limit", place(frames), -EINVAL);
    expect("a frame far beyond", place(0x00ffffff), -EINVAL);
    expect("a status frame, in version 1", place(1ul << 31), -EINVAL);
#endif
    expect("frames", table_size(&max), 1);

    step("the table grows to its limit");

    if ( !expect("set up", show_frame(frames - 1, frames), 0) )
        return;
    expect("frames", table_size(&max), frames);
    expect_zeros("the last frame", table_frame, PAGE_SIZE);
    expect("the first reference beyond, before",
           map_own_ref(frames * per_frame, 1), GNTST_bad_gntref);
    expect("the last one, which grants nothing", map_own_ref(last, 1),
           GNTST_general_error);
    expect("the old mapping", gnttab_entry_flags(FIRST_FREE_REF) & GTF_IN_USE,
           GTF_reading);

    entries[per_frame - 1].domid = own_domid();
#ifdef CONFIG_HVM
    /* An HVM domain's own page is lost to it once it was mapped elsewhere. */
    gfn = virt_to_gfn(another_page);
#endif
    entries[per_frame - 1].frame = gfn;
    barrier();
    ACCESS_ONCE(entries[per_frame - 1].flags) =
        GTF_permit_access | GTF_readonly;
    expect("the last one, which grants now", map_own_ref(last, 1), GNTST_okay);
    expect("its flags", entries[per_frame - 1].flags & GTF_IN_USE, GTF_reading);
    expect("unmap", unmap_window(1), GNTST_okay);
    expect("its flags", entries[per_frame - 1].flags & GTF_IN_USE, 0);
    expect("unmap the old mapping", unmap_window(0), GNTST_okay);
    expect("its flags", gnttab_entry_flags(FIRST_FREE_REF) & GTF_IN_USE, 0);

    step("a table does not shrink");

    expect("set up fewer", setup(DOMID_SELF, 1, &list), GNTST_okay);
    expect("set up none", setup(DOMID_SELF, 0, &list), GNTST_okay);
    expect("frames", table_size(&max), frames);
    expect("more frames than allowed", setup(DOMID_SELF, frames + 1, &list),
           GNTST_general_error);
}

void test_main(void)
{
    const unsigned int none = ~0u;
    unsigned int maptrack_frames = argument_number("maptrack_frames", none);
    unsigned int table_frames = argument_number("table_frames", none);

    if ( !granter_begin() || !windows_ready() )
        return;
    for ( unsigned int i = 0; i <= NR_REFS; i++ )
        entry_grant(FIRST_REF + i, 0, 0);

    if ( maptrack_frames != none )
    {
        if ( maptrack_frames > 2 )
            return xtf_error("This test has room for two frames of handles\n");
        handles_run_out(maptrack_frames);
    }
    else
        mappings_of_one();

    if ( table_frames != none )
        table_grows(table_frames);

    step("nothing is left in use");
    for ( unsigned int i = 0; i <= NR_REFS; i++ )
        expect_true("withdraw", entry_withdraw(FIRST_REF + i));
    granter_end();

    xtf_success(NULL);
}
