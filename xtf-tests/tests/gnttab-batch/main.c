/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-batch/main.c
 * @ref test-gnttab-batch
 *
 * @page test-gnttab-batch gnttab-batch
 *
 * Many elements in one call of map_grant_ref and unmap_grant_ref.  "args points
 * to an array of a per-command data structure", and each element carries its
 * own status (xen/include/public/grant_table.h): one that fails does not keep
 * the others from being done.
 *
 *  1. Batches of many sizes, around those in which an implementation might
 *     work: every element is done, exactly once.  (A reference is mapped as
 *     often as Xen allows, so that an element done twice fails.)
 *  2. Batches so long that Xen interrupts them, with a timer ticking: the same.
 *  3. Right and wrong elements mixed; one handle several times in a batch.
 *  4. The array ends in an address where nothing is: the call is -EFAULT, and
 *     of each element either all is done and told, or nothing.  What is done is
 *     the first so many.  (How many is not documented: Xen may read ahead.)
 *
 * In PV guests most elements are device mappings, which take no address.
 *
 * @see tests/gnttab-batch/main.c
 */
#include <xtf.h>

#include <lab/mapping.h>
#include <lab/preempt.h>
#include <lab/steps.h>

const char test_title[] = "Batches of mappings";

#define MOST            5000u
#define PER_REF         128u            /* Mappings of one kind Xen allows. */
#define FIRST_REF       FIRST_FREE_REF
#define NR_REFS         (MOST / PER_REF + 2)

#ifdef CONFIG_PV
/* The first elements are for CPUs, the rest for devices. */
#define NR_WINDOWS      300u
static uint8_t windows[NR_WINDOWS][PAGE_SIZE] __page_aligned_bss;
#endif

static struct gnttab_map_grant_ref maps[MOST];
static struct gnttab_unmap_grant_ref unmaps[MOST];
static uint8_t seen[MOST * 4];

/* The second page has nothing in it. */
static uint8_t array_pages[2][PAGE_SIZE] __page_aligned_bss;

static bool element_is_host(unsigned int i)
{
#ifdef CONFIG_PV
    return i < NR_WINDOWS;
#else
    return true;
#endif
}

static uint64_t element_addr(unsigned int i)
{
#ifdef CONFIG_PV
    return i < NR_WINDOWS ? _u(windows[i]) : 0;
#else
    return empty_gaddr(i);
#endif
}

static grant_ref_t element_ref(unsigned int i)
{
    return FIRST_REF + i / PER_REF;
}

static void fill_map(struct gnttab_map_grant_ref *map, unsigned int i)
{
    *map = (struct gnttab_map_grant_ref){
        .host_addr = element_addr(i),
        .flags = element_is_host(i) ? GNTMAP_host_map : GNTMAP_device_map,
        .ref = element_ref(i),
        .dom = granter_domid(),
        .status = GNTST_NOT_DONE,
        .handle = HANDLE_NONE,
    };
}

static void fill_unmap(struct gnttab_unmap_grant_ref *unmap, unsigned int i,
                       grant_handle_t handle)
{
    const bool host = element_is_host(i);

    *unmap = (struct gnttab_unmap_grant_ref){
        .host_addr = element_addr(i),
        .dev_bus_addr = host ? 0 : (uint64_t)granter_gfn(0) << PAGE_SHIFT,
        .handle = handle,
        .status = GNTST_NOT_DONE,
    };
}

/* References among the first @nr elements' whose use is not @in_use. */
static unsigned int wrong_use(unsigned int nr, unsigned int in_use)
{
    unsigned int bad = 0;

    for ( unsigned int i = 0; i < nr; i += PER_REF )
        bad += entry_in_use(element_ref(i)) != in_use;

    return bad;
}

/* Two elements with one handle, or one that is no handle. */
static unsigned int wrong_handles(unsigned int nr)
{
    unsigned int bad = 0;

    memset(seen, 0, sizeof(seen));
    for ( unsigned int i = 0; i < nr; i++ )
    {
        if ( maps[i].handle >= sizeof(seen) || seen[maps[i].handle] )
            bad++;
        else
            seen[maps[i].handle] = 1;
    }

    return bad;
}

/* Was the call continued?  Says so if Xen does not show it. */
static bool continued(unsigned int count, unsigned int last_count)
{
    if ( !last_count )
    {
        printk("Skipped: this Xen hides whether a call is continued\n");
        return true;
    }

    return last_count != count;
}

static unsigned int wrong_statuses(unsigned int nr, bool of_map)
{
    unsigned int bad = 0;

    for ( unsigned int i = 0; i < nr; i++ )
        bad += (of_map ? maps[i].status : unmaps[i].status) != GNTST_okay;

    return bad;
}

static bool whole_batch(unsigned int nr)
{
    unsigned int last_map, last_unmap, bad;

    for ( unsigned int i = 0; i < nr; i++ )
        fill_map(&maps[i], i);

    expect("map", grant_table_op_traced(GNTTABOP_map_grant_ref, maps, nr,
                                        &last_map), 0);
    bad = wrong_statuses(nr, true);
    expect("elements not mapped", bad, 0);
    if ( bad )
        return false;
    expect("wrong handles", wrong_handles(nr), 0);
    expect("references not in use", wrong_use(nr, GTF_IN_USE), 0);
    expect("references in use beyond them",
           entry_in_use(element_ref(nr - 1) + 1), 0);

    /* Undone in the opposite order. */
    for ( unsigned int i = 0; i < nr; i++ )
        fill_unmap(&unmaps[nr - 1 - i], i, maps[i].handle);
    expect("unmap", grant_table_op_traced(GNTTABOP_unmap_grant_ref, unmaps, nr,
                                          &last_unmap), 0);
    expect("elements not unmapped", wrong_statuses(nr, false), 0);
    expect("references in use", wrong_use(nr, 0), 0);

    return continued(nr, last_map) && continued(nr, last_unmap);
}

static void sizes(void)
{
    static const unsigned int nrs[] = {
        1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255,
        256, 257, 511, 1000,
    };

    step("batches of 1 to 1000");

    for ( unsigned int i = 0; i < ARRAY_SIZE(nrs); i++ )
        whole_batch(nrs[i]);
}

static void interrupted(unsigned int nr)
{
    bool interrupted = false;

    step("%u elements in one call, interrupted", nr);

    if ( !preempt_often() )
        return xtf_error("No timer\n");

    /* Each time counts as a test; one of them must have been interrupted. */
    for ( unsigned int i = 0; !interrupted && i < 20; i++ )
        interrupted = whole_batch(nr);
    preempt_no_more();

    if ( !interrupted )
        xtf_error("Xen was never interrupted in such a call\n");
}

static void mixed(unsigned int nr)
{
    unsigned int bad = 0, rest = 0;

    step("a batch of %u with wrong elements in it", nr);

    for ( unsigned int i = 0; i < nr; i++ )
    {
        fill_map(&maps[i], i);
        if ( i % 7 == 3 )
            maps[i].ref = granter_entries();
        else if ( i % 7 == 5 )
            maps[i].dom = DOMID_ABSENT;
        else if ( i % 7 == 6 )
            maps[i].flags = 0;
    }
    expect("map",
           hypercall_grant_table_op(GNTTABOP_map_grant_ref, maps, nr), 0);
    for ( unsigned int i = 0; i < nr; i++ )
        bad += maps[i].status != (i % 7 == 3 ? GNTST_bad_gntref :
                                  i % 7 == 5 ? GNTST_bad_domain :
                                  i % 7 == 6 ? GNTST_bad_gntref : GNTST_okay);
    expect("wrong statuses", bad, 0);

    /* Each good handle twice running, and the handle of what failed. */
    for ( unsigned int i = 0; i < nr; i++ )
    {
        fill_unmap(&unmaps[2 * i], i, maps[i].status ? HANDLE_NONE
                                                     : maps[i].handle);
        unmaps[2 * i + 1] = unmaps[2 * i];
    }
    expect("unmap", hypercall_grant_table_op(GNTTABOP_unmap_grant_ref, unmaps,
                                             2 * nr), 0);
    for ( unsigned int i = 0; i < nr; i++ )
    {
        rest += unmaps[2 * i].status != (maps[i].status ? GNTST_bad_handle
                                                        : GNTST_okay);
        rest += unmaps[2 * i + 1].status != GNTST_bad_handle;
    }
    expect("wrong statuses", rest, 0);
    expect("references in use", wrong_use(nr, 0), 0);
}

/*
 * @nr elements and some more of @size bytes, so that @spare bytes of the next
 * one are before the end of the page.
 */
static void *array_at_end(unsigned int nr, size_t size, unsigned int spare)
{
    return &array_pages[1][0] - nr * size - spare;
}

static void cut_off_map(unsigned int nr, unsigned int spare)
{
    struct gnttab_map_grant_ref *array = array_at_end(nr, sizeof(*array),
                                                      spare);
    unsigned int done = 0, bad = 0, last_done = 0;

    for ( unsigned int i = 0; i < nr; i++ )
        fill_map(&array[i], i);

    expect("map", hypercall_grant_table_op(GNTTABOP_map_grant_ref, array,
                                           nr + 20), -EFAULT);
    for ( unsigned int i = 0; i < nr; i++ )
    {
        if ( array[i].status == GNTST_okay )
        {
            done++;
            last_done = i + 1;
            fill_unmap(&unmaps[0], i, array[i].handle);
            bad += gnttab_unmap_all(unmaps[0].host_addr,
                                    unmaps[0].dev_bus_addr,
                                    array[i].handle) != GNTST_okay;
        }
        else
            bad += array[i].status != GNTST_NOT_DONE;
    }
    printk("FACT mapped=%u of %u before the fault\n", done, nr);
    expect("told as mapped, and not", bad, 0);
    expect("the first so many", last_done, done);
    expect("references in use", wrong_use(nr, 0), 0);
}

static void cut_off_unmap(unsigned int nr, unsigned int spare)
{
    struct gnttab_unmap_grant_ref *array = array_at_end(nr, sizeof(*array),
                                                        spare);
    unsigned int done = 0, bad = 0, last_done = 0;

    for ( unsigned int i = 0; i < nr; i++ )
        fill_map(&maps[i], i);
    expect("map", hypercall_grant_table_op(GNTTABOP_map_grant_ref, maps, nr),
           0);
    for ( unsigned int i = 0; i < nr; i++ )
        fill_unmap(&array[i], i, maps[i].handle);

    expect("unmap", hypercall_grant_table_op(GNTTABOP_unmap_grant_ref, array,
                                             nr + 20), -EFAULT);
    for ( unsigned int i = 0; i < nr; i++ )
    {
        const bool gone = array[i].status == GNTST_okay;

        done += gone;
        last_done = gone ? i + 1 : last_done;
        bad += !gone && array[i].status != GNTST_NOT_DONE;
        bad += gnttab_unmap_all(array[i].host_addr, array[i].dev_bus_addr,
                                array[i].handle) !=
               (gone ? GNTST_bad_handle : GNTST_okay);
    }
    printk("FACT unmapped=%u of %u before the fault\n", done, nr);
    expect("told as unmapped, and not", bad, 0);
    expect("the first so many", last_done, done);
    expect("references in use", wrong_use(nr, 0), 0);
}

static void cut_off(void)
{
    static const unsigned int nrs[] = { 0, 1, 5, 15, 16, 17, 32, 40, 100 };

    step("the array of elements ends where nothing is");

    for ( unsigned int i = 0; i < ARRAY_SIZE(nrs); i++ )
    {
        cut_off_map(nrs[i], 0);
        cut_off_unmap(nrs[i], 0);
    }

    step("the same in the middle of an element");

    for ( unsigned int i = 0; i < ARRAY_SIZE(nrs); i++ )
    {
        cut_off_map(nrs[i], 8);
        cut_off_unmap(nrs[i], 8);
    }
}

void test_main(void)
{
    if ( !granter_begin() || !windows_free(array_pages[1], 1) )
        return;
#ifdef CONFIG_PV
    if ( !windows_free(windows, NR_WINDOWS) )
        return;
#endif
    for ( unsigned int i = 0; i < NR_REFS; i++ )
        entry_grant(FIRST_REF + i, 0, 0);

    sizes();
    mixed(700);
    mixed(2000);
    interrupted(4096);
    interrupted(MOST);
    cut_off();

    step("nothing is left in use");
    for ( unsigned int i = 0; i < NR_REFS; i++ )
        expect_true("withdraw", entry_withdraw(FIRST_REF + i));
    granter_end();

    xtf_success(NULL);
}
