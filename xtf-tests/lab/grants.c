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

bool owns_machine(void)
{
    if ( own_domid() == 0 )
        return true;

    xtf_skip("Only the domain that owns the machine can run this\n");
    return false;
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

/* One element: its status, which starts as none of Xen's. */
static int status_of(const char *name, unsigned int cmd, void *op,
                     int16_t *status)
{
    long rc;

    *status = GNTST_NOT_DONE;
    rc = hypercall_grant_table_op(cmd, op, 1);
    if ( rc )
    {
        xtf_error("GNTTABOP_%s: the call failed: %ld\n", name, rc);
        return GNTST_general_error;
    }

    return *status;
}

int gnttab_map(domid_t domid, grant_ref_t ref, uint64_t host_addr,
               unsigned int flags, struct gnttab_map_grant_ref *map)
{
    *map = (struct gnttab_map_grant_ref){
        .host_addr = host_addr,
        .flags = flags,
        .ref = ref,
        .dom = domid,
    };

    return status_of("map_grant_ref", GNTTABOP_map_grant_ref, map,
                     &map->status);
}

int gnttab_unmap(uint64_t host_addr, grant_handle_t handle)
{
    return gnttab_unmap_all(host_addr, 0, handle);
}

int gnttab_unmap_all(uint64_t host_addr, uint64_t dev_bus_addr,
                     grant_handle_t handle)
{
    struct gnttab_unmap_grant_ref unmap = {
        .host_addr = host_addr,
        .dev_bus_addr = dev_bus_addr,
        .handle = handle,
    };

    return status_of("unmap_grant_ref", GNTTABOP_unmap_grant_ref, &unmap,
                     &unmap.status);
}

int gnttab_replace(uint64_t host_addr, uint64_t new_addr,
                   grant_handle_t handle)
{
    struct gnttab_unmap_and_replace replace = {
        .host_addr = host_addr,
        .new_addr = new_addr,
        .handle = handle,
    };

    return status_of("unmap_and_replace", GNTTABOP_unmap_and_replace, &replace,
                     &replace.status);
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
