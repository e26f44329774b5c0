/* SPDX-License-Identifier: GPL-2.0-only */
/* Mapping and unmapping. */
#include "bench.h"

static struct gnttab_map_grant_ref maps[NR];
static struct gnttab_unmap_grant_ref unmaps[NR];

/*
 * Where the mappings go.  The cost of a mapping depends on where in a table
 * of 512 it is and on what its neighbours are, so there are three places:
 * at the start of such a table, in the middle of one, and across two.
 */
static const unsigned int offsets[NR_PLACES] = { 0, 165, 448 };
#define TABLE_BYTES MB(2)

#ifdef CONFIG_PV

/* Room for all of them from the first table that starts in it. */
static uint8_t windows[3 * TABLE_BYTES] __page_aligned_bss;

static uint64_t place(unsigned int nr)
{
    unsigned long tables = (_u(windows) + TABLE_BYTES - 1) &
                           ~(TABLE_BYTES - 1UL);

    return tables + offsets[nr] * PAGE_SIZE;
}

/* Another NR pages, mapped as the builder left them. */
static uint64_t spare_place(void)
{
    return place(0) + 640 * PAGE_SIZE;
}

bool prepare_places(void)
{
    return true;
}

#else

/* Frames beyond the image, each place in tables of its own. */
#define WINDOWS     MB(32)

static uint64_t place(unsigned int nr)
{
    return WINDOWS + nr * 4 * TABLE_BYTES + offsets[nr] * PAGE_SIZE;
}

/*
 * Xen reads the elements through this guest's page tables, and one level more
 * of them costs a tenth of a whole mapping.  So they must all be where the
 * identity map has large pages: beyond the first 2 MiB.
 */
static bool elements_in_large_pages(void)
{
    return _u(maps) >= TABLE_BYTES && _u(unmaps) >= TABLE_BYTES;
}

bool prepare_places(void)
{
    if ( !elements_in_large_pages() )
        return false;

    for ( unsigned int i = 0; i < NR_PLACES; i++ )
        if ( make_holes(_p(place(i)), NR) )
            return false;

    return true;
}

#endif

static void prepare_maps(domid_t domid, uint64_t addr)
{
    for ( unsigned int i = 0; i < NR; i++ )
        maps[i] = (struct gnttab_map_grant_ref){
            .host_addr = addr + i * PAGE_SIZE,
            .flags = GNTMAP_host_map,
            .ref = REF_A + i,
            .dom = domid,
            .status = 1,
        };
}

static void prepare_unmaps(void)
{
    for ( unsigned int i = 0; i < NR; i++ )
        unmaps[i] = (struct gnttab_unmap_grant_ref){
            .host_addr = maps[i].host_addr,
            .handle = maps[i].handle,
        };
}

/* After a failure: no mapping may stay behind. */
static void unmap_what_is_mapped(void)
{
    prepare_unmaps();
    for ( unsigned int i = 0; i < NR; i++ )
        if ( maps[i].status == 0 )
            (void)hypercall_grant_table_op(GNTTABOP_unmap_grant_ref,
                                           &unmaps[i], 1);
}

static bool map_round(struct cost *cost, domid_t domid, uint64_t addr)
{
    const struct cost_elements elements =
        COST_ARRAY(GNTTABOP_map_grant_ref, maps);

    prepare_maps(domid, addr);
    if ( cost_round(cost, &elements) )
        return true;

    unmap_what_is_mapped();
    return false;
}

static bool unmap_round(struct cost *cost)
{
    const struct cost_elements elements =
        COST_ARRAY(GNTTABOP_unmap_grant_ref, unmaps);

    prepare_unmaps();
    return cost_round(cost, &elements);
}

static void measure_at(const char *what, domid_t domid, unsigned int nr,
                       unsigned int batch)
{
    struct cost map = cost_begin("map_grant_ref", what, batch, nr);
    struct cost unmap = cost_begin("unmap_grant_ref", what, batch, nr);

    for ( unsigned int round = 0; round < rounds; round++ )
        if ( !map_round(&map, domid, place(nr)) || !unmap_round(&unmap) )
            break;

    cost_end(&map);
    cost_end(&unmap);
}

void measure_maps(const char *what, domid_t domid)
{
    for ( unsigned int nr = 0; nr < NR_PLACES; nr++ )
        for ( unsigned int i = 0; i < NR_BATCHES; i++ )
            measure_at(what, domid, nr, batches[i]);
}

#ifdef CONFIG_PV

static struct wire_unmap_and_replace replacements[NR];

static void measure_replacing_by(const char *what, domid_t self,
                                 unsigned int batch)
{
    static uint64_t granted, spare;
    const struct cost_elements elements =
        COST_ARRAY(WIRE_UNMAP_AND_REPLACE, replacements);
    struct cost map = cost_begin("map_grant_ref", what, batch, 0);
    struct cost cost = cost_begin("unmap_and_replace", what, batch, 0);

    if ( !granted )
    {
        granted = place(0);
        spare = spare_place();
    }

    for ( unsigned int round = 0; round < rounds; round++ )
    {
        uint64_t emptied = spare;

        if ( !map_round(&map, self, granted) )
            break;

        for ( unsigned int i = 0; i < NR; i++ )
            replacements[i] = (struct wire_unmap_and_replace){
                .host_addr = granted + i * PAGE_SIZE,
                .new_addr = spare + i * PAGE_SIZE,
                .handle = maps[i].handle,
                .status = 1,
            };

        if ( !cost_round(&cost, &elements) )
        {
            unmap_what_is_mapped();
            break;
        }

        /* The spare pages are now where the grants were. */
        spare = granted;
        granted = emptied;
    }

    cost_end(&cost);
}

void measure_replacing(const char *what, domid_t self)
{
    for ( unsigned int i = 0; i < NR_BATCHES; i++ )
        measure_replacing_by(what, self, batches[i]);
}

#else

void measure_anchored_maps(const char *what, domid_t self)
{
    static struct gnttab_map_grant_ref anchors[NR];

    for ( unsigned int i = 0; i < NR; i++ )
    {
        int status = gnttab_map(self, REF_A + i, _u(&pages_a[i * PAGE_SIZE]),
                                GNTMAP_host_map, &anchors[i]);

        if ( status )
            return xtf_error("No anchor: %s\n", gntst_strerror(status));
    }

    measure_maps(what, self);

    for ( unsigned int i = 0; i < NR; i++ )
        if ( gnttab_unmap(anchors[i].host_addr, anchors[i].handle) )
            return xtf_error("An anchor does not come off\n");
}

#endif
