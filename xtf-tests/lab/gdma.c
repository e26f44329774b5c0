/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/gdma.h>

/* What the ABI documents, for guests of either width. */
_Static_assert(sizeof(struct xen_gdma_query) == 72, "size of query");
_Static_assert(sizeof(struct xen_gdma_query_device) == 32,
               "size of query_device");
_Static_assert(sizeof(struct xen_gdma_map) == 48, "size of map");
_Static_assert(sizeof(struct xen_gdma_unmap) == 32, "size of unmap");
_Static_assert(sizeof(struct xen_gdma_lookup) == 64, "size of lookup");

int gdma_query(struct xen_gdma_query *query)
{
    long rc;

    *query = (struct xen_gdma_query){ .domid = XEN_GDMA_DOMID_SELF };
    rc = gdma_op(XEN_GDMA_OP_QUERY, query, 1);

    return rc ? rc : query->status;
}

int gdma_query_device(uint32_t bdf, struct xen_gdma_query_device *query)
{
    long rc;

    *query = (struct xen_gdma_query_device){
        .kind = XEN_GDMA_DEVICE_PCI,
        .id = bdf,
    };
    rc = gdma_op(XEN_GDMA_OP_QUERY_DEVICE, query, 1);

    return rc ? rc : query->status;
}

int gdma_map(struct xen_gdma_map *map)
{
    long rc = gdma_op(XEN_GDMA_OP_MAP, map, 1);

    return rc ? rc : map->status;
}

int gdma_unmap(uint64_t handle)
{
    struct xen_gdma_unmap unmap = { .handle = handle };
    long rc = gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1);

    return rc ? rc : unmap.status;
}

int gdma_lookup(unsigned int kind, uint64_t addr,
                struct xen_gdma_lookup *lookup)
{
    long rc;

    *lookup = (struct xen_gdma_lookup){ .kind = kind, .addr = addr };
    rc = gdma_op(XEN_GDMA_OP_LOOKUP, lookup, 1);

    return rc ? rc : lookup->status;
}

int gdma_map_grants(domid_t domid, grant_ref_t ref, unsigned int nr,
                    unsigned int flags, struct xen_gdma_map *map)
{
    *map = (struct xen_gdma_map){
        .kind = XEN_GDMA_MAP_GRANT,
        .domid = domid,
        .source = ref,
        .nr_frames = nr,
        .flags = flags,
    };

    return gdma_map(map);
}

int gdma_map_own(unsigned long gfn, unsigned int nr, unsigned int flags,
                 struct xen_gdma_map *map)
{
    *map = (struct xen_gdma_map){
        .kind = XEN_GDMA_MAP_OWN,
        .source = gfn,
        .nr_frames = nr,
        .flags = flags,
    };

    return gdma_map(map);
}

bool gdma_usable(void)
{
    struct xen_gdma_query query;
    int rc = gdma_query(&query);

    if ( rc == -ENOSYS )
    {
        xtf_skip("This Xen has no grant-DMA hypercall\n");
        return false;
    }
    if ( rc )
    {
        xtf_failure("The query of the service failed: %d\n", rc);
        return false;
    }
    if ( !(query.capabilities & XEN_GDMA_CAP_DEFAULT_CONTEXT) )
    {
        xtf_skip("The default context of this domain takes no mappings\n");
        return false;
    }

    return true;
}
