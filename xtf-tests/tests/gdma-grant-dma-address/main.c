/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-grant-dma-address/main.c
 * @ref test-gdma-grant-dma-address
 *
 * @page test-gdma-grant-dma-address gdma-grant-dma-address
 *
 * Grant-DMA addresses, as a virtio front-end puts them into descriptors: bit 63,
 * the reference in bits 12 and up, and an offset into the page.  The device
 * reaches the buffer at exactly the address that comes back.  The domain grants
 * to itself; with one `edu` device, in the default context if that takes
 * mappings, and in one of its own.
 *
 *  1. The offset is in the address, and the transfer starts at that byte [an
 *     offset lost, or counted twice].
 *  2. lookup tells the same byte, and calls it a grant.
 *  3. Unmapped by handle, or by the address of the page: the grant is free, the
 *     device is blocked.
 *  4. A run of references with an offset.
 *  5. At an address of the caller's choice.
 *  6. For reading only.
 *  7. An address without the mark, one that does not fit, and others that are
 *     wrong have their errors and change nothing [bits cut off: another
 *     domain's buffer].
 *  8. Nothing is left behind.
 *
 * @see tests/gdma-grant-dma-address/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: grant-DMA addresses";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define IN_USE          (GTF_reading | GTF_writing)

#define REF             FIRST_FREE_REF
#define REF_RO          (FIRST_FREE_REF + 1)
#define REF_EMPTY       (FIRST_FREE_REF + 2)
#define REF_RUN         (FIRST_FREE_REF + 8)
#define RUN             3u
#define REF_BEYOND      0x00ffffffu

#define OFFSET          0x678u

#define MARK            (1ULL << 63)
#define GRANT_DMA(ref, offset) \
    (MARK | ((uint64_t)(ref) << PAGE_SHIFT) | (offset))

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t run[RUN][PAGE_SIZE] __page_aligned_bss;

static struct device device;
static domid_t self;
static uint32_t context;
static uint64_t last_page;
static struct xen_gdma_query usage;

static unsigned int in_use(grant_ref_t ref)
{
    return gnttab_entry_flags(ref) & IN_USE;
}

static void expect_usage(unsigned int pins)
{
    struct xen_gdma_query now;

    expect("query", gdma_query(&now), 0);
    expect("pinned frames", now.used_pins, usage.used_pins + pins);
    expect("mappings", now.mappings, usage.mappings + !!pins);
}

static struct xen_gdma_map good_map(void)
{
    return (struct xen_gdma_map){
        .context = context,
        .kind = XEN_GDMA_MAP_GRANT_DMA,
        .domid = self,
        .source = GRANT_DMA(REF, OFFSET),
        .nr_frames = 1,
        .flags = READ_WRITE,
    };
}

static void one_page(void)
{
    struct xen_gdma_map map = good_map();
    struct xen_gdma_lookup found;
    struct xen_gdma_unmap unmap;

    step("the offset is in the address");

    if ( !expect("map", gdma_map(&map), 0) )
        return;
    fact_hex("device_address", map.daddr);
    expect_hex("offset", map.daddr & (PAGE_SIZE - 1), OFFSET);
    expect("in use", in_use(REF), IN_USE);
    expect_usage(1);
    expect_reaches("the buffer", &device, map.daddr, page + OFFSET);
    expect_reaches("the page's first byte", &device, map.daddr - OFFSET, page);

    step("lookup tells the byte");
    expect("lookup", gdma_lookup_in(context, XEN_GDMA_LOOKUP_DADDR,
                                    map.daddr + 3, &found), 0);
    expect_hex("source", found.source,
               ((uint64_t)REF << PAGE_SHIFT) + OFFSET + 3);
    expect("kind", found.source_kind, XEN_GDMA_MAP_GRANT);
    expect("granter", found.domid, self);
    expect_hex("handle", found.handle, map.handle);
    expect_hex("device address", found.daddr, map.daddr + 3);
    expect("frames", found.nr_frames, 1);

    step("unmapped by handle");
    expect("unmap", gdma_unmap_in(context, map.handle, 0), 0);
    expect("in use", in_use(REF), 0);
    expect_usage(0);
    expect_blocked("after unmap", &device, map.daddr, page + OFFSET);

    step("unmapped by the page's address");
    map = good_map();
    if ( !expect("map", gdma_map(&map), 0) )
        return;
    unmap = (struct xen_gdma_unmap){
        .context = context,
        .daddr = map.daddr,
        .nr_frames = 1,
        .flags = XEN_GDMA_UNMAP_BY_DADDR,
    };
    expect("with the offset", gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
    expect("with the offset", unmap.status, -EINVAL);
    expect("in use", in_use(REF), IN_USE);
    unmap.daddr = map.daddr - OFFSET;
    expect("without", gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
    expect("without", unmap.status, 0);
    expect("in use", in_use(REF), 0);
    expect_usage(0);

    step("no offset is an offset as well");
    map = good_map();
    map.source = GRANT_DMA(REF, 0);
    if ( !expect("map", gdma_map(&map), 0) )
        return;
    expect_hex("offset", map.daddr & (PAGE_SIZE - 1), 0);
    expect("unmap", gdma_unmap_in(context, map.handle, 0), 0);
    map = good_map();
    map.source = GRANT_DMA(REF, PAGE_SIZE - 1);
    if ( !expect("map", gdma_map(&map), 0) )
        return;
    expect_hex("offset", map.daddr & (PAGE_SIZE - 1), PAGE_SIZE - 1);
    expect("unmap", gdma_unmap_in(context, map.handle, 0), 0);
    expect_usage(0);
}

static void run_of_references(void)
{
    struct xen_gdma_map map = good_map();

    step("a run of references with an offset");

    map.source = GRANT_DMA(REF_RUN, OFFSET);
    map.nr_frames = RUN;
    if ( !expect("map", gdma_map(&map), 0) )
        return;
    expect_usage(RUN);
    expect_hex("offset", map.daddr & (PAGE_SIZE - 1), OFFSET);
    for ( unsigned int i = 0; i < RUN; i++ )
    {
        expect("in use", in_use(REF_RUN + i), IN_USE);
        expect_reaches("a page of the run", &device,
                       map.daddr + i * PAGE_SIZE, run[i] + OFFSET);
    }
    expect("unmap", gdma_unmap_in(context, map.handle, 0), 0);
    for ( unsigned int i = 0; i < RUN; i++ )
        expect("in use", in_use(REF_RUN + i), 0);
    expect_usage(0);
}

static void fixed(void)
{
    struct xen_gdma_map map = good_map();

    step("at an address of the caller's choice");

    map.flags |= XEN_GDMA_MAP_FIXED;
    map.daddr = last_page;
    if ( !expect("map", gdma_map(&map), 0) )
        return;
    expect_hex("address", map.daddr, last_page + OFFSET);
    expect_reaches("the buffer", &device, map.daddr, page + OFFSET);
    expect("unmap", gdma_unmap_in(context, map.handle, 0), 0);
    expect_blocked("after unmap", &device, map.daddr, page + OFFSET);

    map = good_map();
    map.flags |= XEN_GDMA_MAP_FIXED;
    map.daddr = last_page + OFFSET;
    expect("with the offset in it", gdma_map(&map), -EINVAL);
    expect("in use", in_use(REF), 0);
    expect_usage(0);
}

static void read_only(void)
{
    struct xen_gdma_map map = good_map();

    step("for reading only");

    map.source = GRANT_DMA(REF_RO, OFFSET);
    expect("map to write", gdma_map(&map), -EACCES);
    map.flags = XEN_GDMA_MAP_READ;
    if ( !expect("map to read", gdma_map(&map), 0) )
        return;
    expect("in use", in_use(REF_RO), GTF_reading);
    expect_reads("the buffer", &device, map.daddr, page + OFFSET);
    expect_not_written("the buffer", &device, map.daddr, page + OFFSET);
    expect("unmap", gdma_unmap_in(context, map.handle, 0), 0);
    expect("in use", in_use(REF_RO), 0);
    expect_usage(0);
}

static void expect_bad(const char *what, struct xen_gdma_map map, int wanted)
{
    expect(what, gdma_map(&map), wanted);
    expect_hex("device address untouched", map.daddr, 0);
}

#define EXPECT_BAD(what, wanted, ...)               \
    do {                                            \
        struct xen_gdma_map op = good_map();        \
                                                    \
        __VA_ARGS__;                                \
        expect_bad(what, op, wanted);               \
    } while ( 0 )

static void wrong(void)
{
    step("wrong addresses");

    EXPECT_BAD("without the mark", -EINVAL,
               op.source = GRANT_DMA(REF, OFFSET) & ~MARK);
    EXPECT_BAD("a plain reference", -EINVAL, op.source = REF);
    /* A reference has 32 bits: up to bit 43. */
    for ( unsigned int bit = 44; bit < 63; bit++ )
        EXPECT_BAD("a bit above the reference", -EINVAL,
                   op.source |= 1ULL << bit);
    EXPECT_BAD("the mark, for a plain grant", -ERANGE,
               op.kind = XEN_GDMA_MAP_GRANT);
    EXPECT_BAD("the highest reference", -ERANGE,
               op.source = GRANT_DMA(~0u, OFFSET));
    EXPECT_BAD("a reference beyond the table", -ERANGE,
               op.source = GRANT_DMA(REF_BEYOND, 0));
    EXPECT_BAD("an entry that grants nothing", -EACCES,
               op.source = GRANT_DMA(REF_EMPTY, 0));
    EXPECT_BAD("no such granter", -ESRCH, op.domid = DOMID_ABSENT);
    EXPECT_BAD("the kind after it", -EINVAL,
               op.kind = XEN_GDMA_MAP_GRANT_DMA + 1);
    EXPECT_BAD("a run that leaves what was granted", -EACCES,
               op.source = GRANT_DMA(REF_RUN + 1, 0), op.nr_frames = RUN);
    EXPECT_BAD("no frame", -EINVAL, op.nr_frames = 0);

    for ( grant_ref_t ref = REF; ref < REF_RUN + RUN; ref++ )
        expect("in use", in_use(ref), 0);
    expect_usage(0);
}

static void everything(void)
{
    expect("query", gdma_query(&usage), 0);
    one_page();
    run_of_references();
    fixed();
    read_only();
    wrong();
}

static bool prepare(void)
{
    if ( xtf_init_grant_table(1) )
    {
        xtf_error("No grant table\n");
        return false;
    }

    self = own_domid();
    gnttab_grant_access(REF, self, virt_to_gfn(page), 0);
    gnttab_grant_access(REF_RO, self, virt_to_gfn(page), GTF_readonly);
    for ( unsigned int i = 0; i < RUN; i++ )
        gnttab_grant_access(REF_RUN + i, self, virt_to_gfn(run[i]), 0);

    return true;
}

void test_main(void)
{
    struct xen_gdma_context_create own;
    struct xen_gdma_map shows;
    struct xen_gdma_query before, after;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( !prepare() || gdma_query(&before) )
        return;

    /* Machine addresses have a test of their own: gdma-identity. */
    if ( (before.capabilities & XEN_GDMA_CAP_DEFAULT_CONTEXT) &&
         !(before.capabilities & XEN_GDMA_CAP_IDENTITY) )
    {
        printk("In the default context\n");
        context = XEN_GDMA_CONTEXT_DEFAULT;
        last_page = before.daddr_last + 1 - PAGE_SIZE;
        everything();
    }

    printk("In a context of its own\n");
    if ( !expect("create", gdma_context_create(0, &own), 0) ||
         !expect("map", gdma_map_own_in(own.context,
                                        virt_to_gfn(device_shows), 1,
                                        READ_WRITE, &shows), 0) ||
         !expect("attach", gdma_attach(device.edu.bdf, own.context), 0) )
        return;
    device.shows = shows.daddr;
    context = own.context;
    last_page = own.daddr_last + 1 - PAGE_SIZE;
    everything();

    step("nothing is left behind");
    expect("detach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    expect("destroy", gdma_context_destroy(own.context), 0);
    expect("query", gdma_query(&after), 0);
    expect("pinned frames", after.used_pins, before.used_pins);
    expect("mappings", after.mappings, before.mappings);
    for ( grant_ref_t ref = REF; ref < REF_RUN + RUN; ref++ )
        expect("withdraw", gnttab_end_access(ref), 0);

    xtf_success(NULL);
}
