/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Xen's free memory loses when a table grows to its limit, and when many
 * grants are mapped.
 *
 *   GNTTAB-MEMORY what=table frames=<n> entries=<n> pages=<n>
 *       <pages> include the <frames> that hold the entries themselves
 *   GNTTAB-MEMORY what=handles handles=<n> pages=<n>
 *   GNTTAB-MEMORY what=<..> error=<n>      (or status=<n>)
 *
 * Mappings for devices alone take a handle and nothing else: no page table of
 * the guest's, and without an IOMMU none of Xen's.  Only PV has them.
 */
#include "bench.h"

#include <lab/steps.h>
#include <lab/sysctl.h>

#ifdef CONFIG_PV

#define MOST_FRAMES     1024

static unsigned long frame_list[MOST_FRAMES];

static void table_memory(void)
{
    struct wire_query_size size = { .domid = DOMID_SELF };
    struct gnttab_setup_table setup = {
        .dom = DOMID_SELF, .frame_list = frame_list,
    };
    long before, after, rc;
    unsigned int grown;
    struct cost cost = cost_begin("setup_table", "grow-to-limit", 1, 0);
    uint64_t start;

    rc = hypercall_grant_table_op(WIRE_QUERY_SIZE, &size, 1);
    if ( rc || size.status )
        return printk("GNTTAB-MEMORY what=table error=%ld\n", rc ?: -EIO);

    setup.nr_frames = min(size.max_nr_frames, (uint32_t)MOST_FRAMES);
    grown = setup.nr_frames - size.nr_frames;

    before = free_pages();
    start = read_ticks();
    rc = hypercall_grant_table_op(GNTTABOP_setup_table, &setup, 1);
    cost_record(&cost, 1, grown, read_ticks() - start, rc);
    after = free_pages();

    cost.status = setup.status;
    cost_end(&cost);

    if ( rc || setup.status || before < 0 || after < 0 || !grown )
        return printk("GNTTAB-MEMORY what=table error=%ld\n", rc ?: -EIO);

    printk("GNTTAB-MEMORY what=table frames=%u entries=%lu pages=%ld\n",
           grown, grown * (PAGE_SIZE / sizeof(grant_entry_v1_t)),
           before - after);
}

/* Xen counts up to 128 mappings of one kind of one entry; stay below. */
#define MAPS_OF_ONE     96
#define NR_REFS         (PAGE_SIZE / sizeof(grant_entry_v1_t) - REF_A)

static struct gnttab_map_grant_ref maps[NR_REFS];

static void handle_memory(domid_t self)
{
    long before = free_pages(), after, rc = 0;
    int status = 0;

    for ( unsigned int i = 0; i < NR_REFS; i++ )
        gnttab_grant_access(REF_A + i, self, virt_to_gfn(pages_a), 0);

    for ( unsigned int n = 0; !rc && !status && n < MAPS_OF_ONE; n++ )
    {
        for ( unsigned int i = 0; i < NR_REFS; i++ )
            maps[i] = (struct gnttab_map_grant_ref){
                .flags = GNTMAP_device_map, .ref = REF_A + i, .dom = self,
            };

        rc = hypercall_grant_table_op(GNTTABOP_map_grant_ref, maps, NR_REFS);
        for ( unsigned int i = 0; !status && i < NR_REFS; i++ )
            status = maps[i].status;
    }

    after = free_pages();

    if ( rc || before < 0 || after < 0 )
        return printk("GNTTAB-MEMORY what=handles error=%ld\n", rc ?: -EIO);
    if ( status )
        return printk("GNTTAB-MEMORY what=handles status=%d\n", status);

    printk("GNTTAB-MEMORY what=handles handles=%lu pages=%ld\n",
           MAPS_OF_ONE * NR_REFS, before - after);
}

void measure_memory(domid_t self)
{
    table_memory();
    handle_memory(self);
}

#endif /* CONFIG_PV */
