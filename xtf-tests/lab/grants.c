/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/grants.h>

int own_domid(void)
{
#ifdef CONFIG_PV
    /* Only the domain that owns the machine knows its number, 0. */
    return pv_start_info->flags & SIF_INITDOMAIN ? 0 : -1;
#else
    return xtf_get_domid();
#endif
}

void gnttab_grant_access(grant_ref_t ref, domid_t domid, unsigned long gfn,
                         unsigned int readonly)
{
    gnttab_v1[ref].domid = domid;
    gnttab_v1[ref].frame = gfn;

    /* The type makes the entry valid: it is written last. */
    barrier();
    ACCESS_ONCE(gnttab_v1[ref].flags) = GTF_permit_access | readonly;
}

unsigned int gnttab_entry_flags(grant_ref_t ref)
{
    return ACCESS_ONCE(gnttab_v1[ref].flags);
}

int gnttab_end_access(grant_ref_t ref)
{
    uint16_t flags;

    /* Xen may set the in-use bits at any moment: exchange, never overwrite. */
    do {
        flags = gnttab_entry_flags(ref);
        if ( flags & (GTF_reading | GTF_writing) )
            return -EBUSY;
    } while ( !__sync_bool_compare_and_swap(&gnttab_v1[ref].flags, flags, 0) );

    return 0;
}

int gnttab_map(domid_t domid, grant_ref_t ref, uint64_t host_addr,
               unsigned int flags, struct gnttab_map_grant_ref *map)
{
    long rc;

    *map = (struct gnttab_map_grant_ref){
        .host_addr = host_addr,
        .flags = flags,
        .ref = ref,
        .dom = domid,
    };

    rc = hypercall_grant_table_op(GNTTABOP_map_grant_ref, map, 1);
    if ( rc )
    {
        xtf_error("GNTTABOP_map_grant_ref: the call failed: %ld\n", rc);
        return GNTST_general_error;
    }

    return map->status;
}

int gnttab_unmap(uint64_t host_addr, grant_handle_t handle)
{
    struct gnttab_unmap_grant_ref unmap = {
        .host_addr = host_addr,
        .handle = handle,
    };
    long rc = hypercall_grant_table_op(GNTTABOP_unmap_grant_ref, &unmap, 1);

    if ( rc )
    {
        xtf_error("GNTTABOP_unmap_grant_ref: the call failed: %ld\n", rc);
        return GNTST_general_error;
    }

    return unmap.status;
}

int make_holes(void *va, unsigned int nr)
{
    for ( unsigned int i = 0; i < nr; i++ )
    {
        unsigned long gfn = virt_to_gfn(va) + i;
        struct xen_memory_reservation release = {
            .extent_start = &gfn,
            .nr_extents = 1,
            .domid = DOMID_SELF,
        };

        if ( hypercall_memory_op(XENMEM_decrease_reservation, &release) != 1 )
            return -EIO;
    }

    return 0;
}
