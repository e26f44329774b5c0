/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-query/main.c
 * @ref test-gdma-query
 *
 * @page test-gdma-query gdma-query
 *
 * What the grant-DMA service says about itself and about devices is what the
 * ABI documents, and agrees with what it does.
 *
 *  1. Version, capabilities and limits are those of the ABI.
 *  2. Usage counts what is mapped, and the limits describe what map accepts.
 *  3. The caller may ask for itself only, and with zero padding only.
 *  4. A device of the caller has a treatment that fits the caller; what does
 *     not exist is no device; malformed questions have their own error.
 *  5. The feature bits say that the service is there, and whether devices use
 *     the domain's guest addresses, as query_device tells it of its devices.
 *
 * @see tests/gdma-query/main.c
 */
#include <xtf.h>

#include <lab/edu.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: version, limits, devices";

#define DOMID_ABSENT    0x7000u
#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

#define ALL_CAPABILITIES \
    (XEN_GDMA_CAP_OWN_FRAMES | XEN_GDMA_CAP_GRANT_V1 | \
     XEN_GDMA_CAP_DEFAULT_CONTEXT | XEN_GDMA_CAP_PCI | \
     XEN_GDMA_CAP_GRANT_V2 | XEN_GDMA_CAP_CONTEXTS | \
     XEN_GDMA_CAP_REGISTERED_ARGS | XEN_GDMA_CAP_WINDOWS | \
     XEN_GDMA_CAP_IDENTITY | XEN_GDMA_CAP_PROTECTED)

static uint8_t page[PAGE_SIZE] __page_aligned_bss;

static bool maps_by_default(const struct xen_gdma_query *query)
{
    return query->capabilities & XEN_GDMA_CAP_DEFAULT_CONTEXT;
}

static bool by_machine_address(const struct xen_gdma_query *query)
{
    return query->capabilities & XEN_GDMA_CAP_IDENTITY;
}

static bool is_protected_by_default;

static void check_constants(const struct xen_gdma_query *query)
{
    step("version, capabilities and limits are those of the ABI");

    fact_hex("abi_version", query->abi_version);
    fact_hex("capabilities", query->capabilities);
    fact_u64("max_pins", query->max_pins);
    fact_u64("max_contexts", query->max_contexts);
    fact_hex("daddr_first", query->daddr_first);
    fact_hex("daddr_last", query->daddr_last);

    expect_hex("abi_version", query->abi_version, XEN_GDMA_ABI_VERSION);
    expect_hex("unknown capabilities", query->capabilities & ~ALL_CAPABILITIES,
               0);
    expect_true("own frames", query->capabilities & XEN_GDMA_CAP_OWN_FRAMES);
    expect_true("version 1 grants",
                query->capabilities & XEN_GDMA_CAP_GRANT_V1);
    expect_true("windows", query->capabilities & XEN_GDMA_CAP_WINDOWS);
    expect_true("registered arguments",
                query->capabilities & XEN_GDMA_CAP_REGISTERED_ARGS);
    expect_true("PCI devices", query->capabilities & XEN_GDMA_CAP_PCI);
    expect("max_batch", query->max_batch, XEN_GDMA_MAX_BATCH);
    expect("max_frames", query->max_frames, XEN_GDMA_MAX_FRAMES);
    expect("the capability goes with a limit of contexts",
           !!(query->capabilities & XEN_GDMA_CAP_CONTEXTS),
           query->max_contexts != 0);
#ifdef CONFIG_PV
    expect_true("a PV domain's addresses are machine addresses",
                by_machine_address(query) && maps_by_default(query));
#else
    expect_true("a PVH domain's are not", !by_machine_address(query));
#endif
    is_protected_by_default = query->capabilities & XEN_GDMA_CAP_PROTECTED;
    fact_u64("default_maps", maps_by_default(query));
    fact_u64("default_identity", by_machine_address(query));
    fact_u64("default_protected", is_protected_by_default);
    expect_true("max_pins is not 0", query->max_pins != 0);
    expect("nothing pinned yet", query->used_pins, 0);
    expect("nothing mapped yet", query->mappings, 0);
}

static void check_range(const struct xen_gdma_query *query)
{
    step("the range of device addresses goes with the capability");

    if ( !maps_by_default(query) )
    {
        expect_hex("no first address", query->daddr_first, 0);
        expect_hex("no last address", query->daddr_last, 0);
        return;
    }

    if ( by_machine_address(query) )
    {
        expect_hex("from the first byte", query->daddr_first, 0);
        expect_hex("to the last", query->daddr_last, ~0ULL);
        return;
    }

    expect_true("a range", query->daddr_first < query->daddr_last);
    expect_true("starts at a page", IS_ALIGNED(query->daddr_first, PAGE_SIZE));
    expect_true("ends with a page",
                IS_ALIGNED(query->daddr_last + 1, PAGE_SIZE));
    expect_true("4 KiB pages", query->page_sizes & PAGE_SIZE);
}

static void check_usage(const struct xen_gdma_query *before)
{
    struct xen_gdma_query now;
    struct xen_gdma_map map;
    int rc = gdma_map_own(virt_to_gfn(page), 1, READ_WRITE, &map);

    step("usage counts what is mapped");

    if ( !maps_by_default(before) )
    {
        expect("map, without the capability", rc, -EOPNOTSUPP);
        return;
    }

    if ( !expect("map", rc, 0) )
        return;
    if ( by_machine_address(before) )
        expect_hex("the machine address", map.daddr,
                   (uint64_t)virt_to_gfn(page) << PAGE_SHIFT);
    expect_true("in the range", map.daddr >= before->daddr_first &&
                                map.daddr <= before->daddr_last);

    expect("query", gdma_query(&now), 0);
    expect("one frame pinned", now.used_pins, before->used_pins + 1);
    expect("one mapping", now.mappings, before->mappings + 1);

    expect("unmap", gdma_unmap(map.handle), 0);

    expect("query", gdma_query(&now), 0);
    expect("no frame pinned", now.used_pins, before->used_pins);
    expect("no mapping", now.mappings, before->mappings);
    expect_true("an unmap is flushed", now.flushes > before->flushes);
}

static void check_who(void)
{
    struct xen_gdma_query query[3] = {
        { .domid = own_domid() },
        { .domid = DOMID_ABSENT },
        { .domid = XEN_GDMA_DOMID_SELF, .pad0 = 1 },
    };

    step("whose usage may be asked for");

    expect("the call", gdma_op(XEN_GDMA_OP_QUERY, query, 3), 0);
    expect("by own id", query[0].status, 0);
    expect_hex("by own id, version", query[0].abi_version,
               XEN_GDMA_ABI_VERSION);
    expect("no such domain", query[1].status, -ESRCH);
    expect("padding", query[2].status, -EINVAL);
}

/* Does the domain need no bounce buffers, by what its features say? */
static bool no_bounce;

static void check_features(void)
{
    struct xen_feature_info info = { .submap_idx = 0 };
    bool service;

    step("the feature bits");

    if ( !expect("get_features",
                 hypercall_xen_version(XENVER_get_features, &info), 0) )
        return;

    service = info.submap & (1u << XEN_GDMA_FEATURE_SERVICE);
    no_bounce = info.submap & (1u << XEN_GDMA_FEATURE_NO_BOUNCE);
    fact_u64("feature_service", service);
    fact_u64("feature_no_bounce", no_bounce);

    expect_true("the service is there", service);
#ifdef CONFIG_PV
    /* Its devices use machine addresses, with an IOMMU and without. */
    expect_true("a PV domain's devices use no guest addresses", !no_bounce);
#endif
}

static void expect_device(const char *what, pci_bdf_t bdf)
{
    struct xen_gdma_query_device query;
    bool is_protected;

    /*
     * A PVH domain's devices are Xen's business from the start, unless there
     * is no IOMMU.
     */
    if ( gdma_query_device(bdf, &query) == -ENODEV && pci_announce(bdf) )
        return xtf_error("Xen does not take the announcement of a device\n");

    if ( !expect(what, gdma_query_device(bdf, &query), 0) )
        return;

    is_protected = query.flags & XEN_GDMA_DEVICE_PROTECTED;
    printk("FACT device=%02x:%02x.%u treatment=%u protected=%d\n",
           PCI_BUS(bdf), PCI_SLOT(bdf), PCI_FUNC(bdf), query.treatment,
           is_protected);

    /* All of a lab machine's devices are behind the IOMMU, if there is one. */
    expect("protected as the default context is", is_protected,
           is_protected_by_default);
    expect("unknown flags", query.flags & ~XEN_GDMA_DEVICE_PROTECTED, 0);
    expect("context", query.context, XEN_GDMA_CONTEXT_DEFAULT);
    expect("backend: the caller", query.backend, own_domid());

#ifdef CONFIG_PV
    expect("treatment of a PV domain's device", query.treatment,
           XEN_GDMA_TREATMENT_IDENTITY);
#else
    /* Guest addresses reach a device through an IOMMU, or not at all. */
    expect("treatment of a PVH domain's device", query.treatment,
           is_protected ? XEN_GDMA_TREATMENT_TRANSLATED
                        : XEN_GDMA_TREATMENT_BOUNCE);
#endif
    expect("the feature agrees with the treatment", no_bounce,
           query.treatment == XEN_GDMA_TREATMENT_TRANSLATED);
}

static void check_devices(void)
{
    struct edu edu;

    step("devices of this domain");

    expect_device("the host bridge", PCI_BDF(0, 0, 0));
    if ( edu_open(&edu, 0) )
        expect_device("the edu device", edu.bdf);
    else
        printk("FACT device=none\n");
}

static void check_bad_devices(void)
{
    pci_bdf_t empty = 0;
    struct xen_gdma_query_device query[4] = {
        { .kind = XEN_GDMA_DEVICE_PCI },
        { .kind = XEN_GDMA_DEVICE_PCI + 1 },
        { .kind = XEN_GDMA_DEVICE_PCI, .id = 1ULL << 32 },
        { .kind = XEN_GDMA_DEVICE_PCI, .pad0 = 1 },
    };

    step("what is no device, and what is no question");

    if ( !pci_find_empty(&empty) )
        return xtf_error("Every slot of bus 0 holds a device\n");
    query[0].id = empty;

    expect("the call", gdma_op(XEN_GDMA_OP_QUERY_DEVICE, query, 4), 0);
    expect("an empty slot", query[0].status, -ENODEV);
    expect("an unknown kind", query[1].status, -EINVAL);
    expect("an address of more than 32 bits", query[2].status, -EINVAL);
    expect("padding", query[3].status, -EINVAL);
}

void test_main(void)
{
    struct xen_gdma_query query;
    int rc;

    if ( !owns_machine() )
        return;

    rc = gdma_query(&query);
    if ( rc == -ENOSYS )
        return xtf_skip("This Xen has no grant-DMA hypercall\n");
    if ( rc )
        return xtf_failure("The query of the service failed: %d\n", rc);

    check_constants(&query);
    check_range(&query);
    check_usage(&query);
    check_who();
    check_features();
    check_devices();
    check_bad_devices();

    xtf_success(NULL);
}
