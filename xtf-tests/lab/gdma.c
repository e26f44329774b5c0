/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/gdma.h>
#include <lab/steps.h>

/* What the ABI documents, for guests of either width. */
_Static_assert(sizeof(struct xen_gdma_query) == 72, "size of query");
_Static_assert(sizeof(struct xen_gdma_query_device) == 32,
               "size of query_device");
_Static_assert(sizeof(struct xen_gdma_map) == 48, "size of map");
_Static_assert(sizeof(struct xen_gdma_unmap) == 32, "size of unmap");
_Static_assert(sizeof(struct xen_gdma_lookup) == 64, "size of lookup");
_Static_assert(sizeof(struct xen_gdma_flush) == 8, "size of flush");
_Static_assert(sizeof(struct xen_gdma_window_create) == 48,
               "size of window_create");
_Static_assert(sizeof(struct xen_gdma_window_destroy) == 16,
               "size of window_destroy");
_Static_assert(sizeof(struct xen_gdma_context_create) == 40,
               "size of context_create");
_Static_assert(sizeof(struct xen_gdma_context_destroy) == 8,
               "size of context_destroy");
_Static_assert(sizeof(struct xen_gdma_device_attach) == 24,
               "size of device_attach");
_Static_assert(sizeof(struct xen_gdma_revoke) == 8, "size of revoke");
_Static_assert(sizeof(struct xen_gdma_set_limits) == 16,
               "size of set_limits");
_Static_assert(sizeof(struct xen_gdma_stats) == 88, "size of stats");
_Static_assert(sizeof(struct xen_gdma_fault) == 40, "size of fault");
_Static_assert(sizeof(struct xen_gdma_register_args) == 16,
               "size of register_args");

/* What an output field holds before a call: an answer is set, not added. */
#define LEFT_OVER       0x5a5a5a5au

/* A call about one element: its error, else the element's. */
#define call_one(cmd, element) ({                       \
    long rc_ = gdma_op(cmd, element, 1);                \
    rc_ ? rc_ : (element)->status;                      \
})

int gdma_query(struct xen_gdma_query *query)
{
    *query = (struct xen_gdma_query){ .domid = XEN_GDMA_DOMID_SELF };

    return call_one(XEN_GDMA_OP_QUERY, query);
}

int gdma_query_device(uint32_t bdf, struct xen_gdma_query_device *query)
{
    *query = (struct xen_gdma_query_device){
        .kind = XEN_GDMA_DEVICE_PCI,
        .id = bdf,
    };

    return call_one(XEN_GDMA_OP_QUERY_DEVICE, query);
}

int gdma_map(struct xen_gdma_map *map)
{
    return call_one(XEN_GDMA_OP_MAP, map);
}

int gdma_unmap(uint64_t handle)
{
    return gdma_unmap_in(XEN_GDMA_CONTEXT_DEFAULT, handle, 0);
}

int gdma_unmap_in(uint32_t context, uint64_t handle, unsigned int flags)
{
    struct xen_gdma_unmap unmap = {
        .handle = handle,
        .context = context,
        .flags = flags,
    };

    return call_one(XEN_GDMA_OP_UNMAP, &unmap);
}

int gdma_lookup(unsigned int kind, uint64_t addr,
                struct xen_gdma_lookup *lookup)
{
    return gdma_lookup_in(XEN_GDMA_CONTEXT_DEFAULT, kind, addr, lookup);
}

int gdma_lookup_in(uint32_t context, unsigned int kind, uint64_t addr,
                   struct xen_gdma_lookup *lookup)
{
    *lookup = (struct xen_gdma_lookup){
        .context = context,
        .kind = kind,
        .addr = addr,
    };

    return call_one(XEN_GDMA_OP_LOOKUP, lookup);
}

int gdma_map_grants(domid_t domid, grant_ref_t ref, unsigned int nr,
                    unsigned int flags, struct xen_gdma_map *map)
{
    return gdma_map_grants_in(XEN_GDMA_CONTEXT_DEFAULT, domid, ref, nr, flags,
                              map);
}

int gdma_map_grants_in(uint32_t context, domid_t domid, grant_ref_t ref,
                       unsigned int nr, unsigned int flags,
                       struct xen_gdma_map *map)
{
    *map = (struct xen_gdma_map){
        .context = context,
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
    return gdma_map_own_in(XEN_GDMA_CONTEXT_DEFAULT, gfn, nr, flags, map);
}

int gdma_map_own_in(uint32_t context, unsigned long gfn, unsigned int nr,
                    unsigned int flags, struct xen_gdma_map *map)
{
    *map = (struct xen_gdma_map){
        .context = context,
        .kind = XEN_GDMA_MAP_OWN,
        .source = gfn,
        .nr_frames = nr,
        .flags = flags,
    };

    return gdma_map(map);
}

int gdma_map_own_at(uint32_t context, uint64_t daddr, unsigned long gfn,
                    unsigned int nr, unsigned int flags,
                    struct xen_gdma_map *map)
{
    *map = (struct xen_gdma_map){
        .context = context,
        .kind = XEN_GDMA_MAP_OWN,
        .source = gfn,
        .nr_frames = nr,
        .flags = flags | XEN_GDMA_MAP_FIXED,
        .daddr = daddr,
    };

    return gdma_map(map);
}

int gdma_flush(uint32_t context)
{
    struct xen_gdma_flush flush = { .context = context };

    return call_one(XEN_GDMA_OP_FLUSH, &flush);
}

int gdma_context_create(uint64_t max_daddr,
                        struct xen_gdma_context_create *create)
{
    *create = (struct xen_gdma_context_create){
        .max_daddr = max_daddr,
        .daddr_first = LEFT_OVER,
        .daddr_last = LEFT_OVER,
        .context = LEFT_OVER,
    };

    return call_one(XEN_GDMA_OP_CONTEXT_CREATE, create);
}

int gdma_context_destroy(uint32_t context)
{
    struct xen_gdma_context_destroy destroy = { .context = context };

    return call_one(XEN_GDMA_OP_CONTEXT_DESTROY, &destroy);
}

int gdma_attach(uint32_t bdf, uint32_t context)
{
    struct xen_gdma_device_attach attach = {
        .kind = XEN_GDMA_DEVICE_PCI,
        .id = bdf,
        .context = context,
    };

    return call_one(XEN_GDMA_OP_DEVICE_ATTACH, &attach);
}

int gdma_register_args(const void *area, unsigned int nr)
{
    return gdma_register_args_gfn(area ? virt_to_gfn(area) : 0, nr);
}

int gdma_register_args_gfn(uint64_t gfn, unsigned int nr)
{
    struct xen_gdma_register_args args = {
        .gfn = gfn,
        .nr_frames = nr,
        .status = LEFT_OVER,
    };

    return call_one(XEN_GDMA_OP_REGISTER_ARGS, &args);
}

int gdma_revoke(grant_ref_t ref)
{
    struct xen_gdma_revoke revoke = { .gref = ref, .status = LEFT_OVER };

    return call_one(XEN_GDMA_OP_REVOKE, &revoke);
}

int gdma_set_limits(domid_t domid, uint32_t max_pins, uint32_t max_contexts,
                    struct xen_gdma_set_limits *set)
{
    *set = (struct xen_gdma_set_limits){
        .domid = domid,
        .max_pins = max_pins,
        .max_contexts = max_contexts,
    };

    return call_one(XEN_GDMA_OP_SET_LIMITS, set);
}

int gdma_stats(domid_t domid, struct xen_gdma_stats *stats)
{
    memset(stats, 0x5a, sizeof(*stats));
    stats->domid = domid;
    stats->pad0 = 0;

    return call_one(XEN_GDMA_OP_STATS, stats);
}

void expect_all_ended(const struct xen_gdma_stats *start)
{
    struct xen_gdma_stats now;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &now), 0);
    expect("pinned frames", now.used_pins, start->used_pins);
    expect("contexts", now.used_contexts, start->used_contexts);
    expect("failed flushes", now.failed_flushes, start->failed_flushes);
    expect("mappings made and ended", now.maps - start->maps,
           now.unmaps - start->unmaps);
    expect("frames mapped and unmapped",
           now.mapped_frames - start->mapped_frames,
           now.unmapped_frames - start->unmapped_frames);
}

int gdma_fault_read(struct xen_gdma_fault *fault)
{
    *fault = (struct xen_gdma_fault){
        .op = XEN_GDMA_FAULT_READ,
        .id = LEFT_OVER,
        .daddr = LEFT_OVER,
        .context = LEFT_OVER,
        .flags = LEFT_OVER,
        .lost = LEFT_OVER,
    };

    return call_one(XEN_GDMA_OP_FAULTS, fault);
}

int gdma_fault_notify(uint32_t port)
{
    struct xen_gdma_fault fault = {
        .op = XEN_GDMA_FAULT_NOTIFY,
        .port = port,
    };

    return call_one(XEN_GDMA_OP_FAULTS, &fault);
}

int gdma_window_create(uint32_t context, unsigned int kind, domid_t domid,
                       uint64_t source, uint32_t nr, unsigned int flags,
                       struct xen_gdma_window_create *window)
{
    *window = (struct xen_gdma_window_create){
        .context = context,
        .kind = kind,
        .domid = domid,
        .source = source,
        .nr_frames = nr,
        .flags = flags,
        .status = LEFT_OVER,
    };

    return call_one(XEN_GDMA_OP_WINDOW_CREATE, window);
}

int gdma_window_destroy(uint32_t context, uint64_t handle)
{
    struct xen_gdma_window_destroy destroy = {
        .handle = handle,
        .context = context,
        .status = LEFT_OVER,
    };

    return call_one(XEN_GDMA_OP_WINDOW_DESTROY, &destroy);
}

/* Does the service offer @capability?  If not, skips with @missing. */
static bool offers(uint32_t capability, const char *missing)
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
    if ( !(query.capabilities & capability) )
    {
        xtf_skip("%s\n", missing);
        return false;
    }

    return true;
}

bool gdma_usable(void)
{
    return offers(XEN_GDMA_CAP_DEFAULT_CONTEXT,
                  "The default context of this domain takes no mappings");
}

bool gdma_contexts_usable(void)
{
    return offers(XEN_GDMA_CAP_CONTEXTS, "This domain can make no contexts");
}
