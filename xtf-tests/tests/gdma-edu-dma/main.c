/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-edu-dma/main.c
 * @ref test-gdma-edu-dma
 *
 * @page test-gdma-edu-dma gdma-edu-dma
 *
 * A real device reaches a granted page exactly while it is pinned.
 *
 * The domain that owns the machine grants pages to itself, pins them for DMA
 * through the grant-DMA hypercall, and has QEMU's `edu` device read and write
 * them at the device addresses it was given, through the IOMMU.
 *
 *  1. The device is there, behind an IOMMU.
 *  2. A grant is pinned: a device address and a handle come back, the grant
 *     shows as in use.
 *  3. The device reads the page, then writes it; every byte arrives.
 *  4. An address inside the mapping is found again.
 *  5. The grant is unpinned: not in use any more, the address is unknown, the
 *     handle is refused.
 *  6. The same transfers now reach nothing.
 *  7. A run of grants is one contiguous device range over scattered pages.
 *  8. A mapping for reading cannot be written through.
 *  9. Own frames can be mapped, looked up both ways and unmapped by address.
 * 10. Nothing is left behind.
 *
 * @see tests/gdma-edu-dma/main.c
 */
#include <xtf.h>

#include <lab/edu.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/steps.h>

const char test_title[] = "Device DMA to granted pages";

#define REF         FIRST_FREE_REF
#define REF_RO      (FIRST_FREE_REF + 1)
#define REF_RUN     (FIRST_FREE_REF + 8)
#define RUN         4

#define READ_WRITE  (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define IN_USE      (GTF_reading | GTF_writing)

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t ro_page[PAGE_SIZE] __page_aligned_bss;
static uint8_t own_pages[2 * PAGE_SIZE] __page_aligned_bss;
static uint8_t run_pages[RUN * PAGE_SIZE] __page_aligned_bss;

/* Where the device shows its buffer: an ordinary page of this domain. */
static uint8_t shown[PAGE_SIZE] __page_aligned_bss;
static uint8_t wanted[PAGE_SIZE];

static struct edu edu;
static domid_t self;
static struct xen_gdma_query before;

static unsigned int in_use(grant_ref_t ref)
{
    return gnttab_entry_flags(ref) & IN_USE;
}

/* The device's buffer, through memory that a PVH guest's devices reach. */
static void show_buffer(void)
{
    memset(shown, 0x5a, PAGE_SIZE);
    expect("the device shows its buffer",
           edu_store(&edu, _u(shown), 0, PAGE_SIZE), 0);
}

static bool find_device(void)
{
    struct xen_gdma_query_device query;

    step("find the device and ask how its DMA is treated");

    if ( !edu_open(&edu, 0) )
    {
        xtf_skip("This machine has no edu device\n");
        return false;
    }

    printk("FACT device=%02x:%02x.%u\n", PCI_BUS(edu.bdf), PCI_SLOT(edu.bdf),
           PCI_FUNC(edu.bdf));
    expect("query_device", gdma_query_device(edu.bdf, &query), 0);
    expect("treatment", query.treatment, XEN_GDMA_TREATMENT_TRANSLATED);
    expect("context", query.context, XEN_GDMA_CONTEXT_DEFAULT);

    return expect("protected by an IOMMU",
                  query.flags & XEN_GDMA_DEVICE_PROTECTED,
                  XEN_GDMA_DEVICE_PROTECTED);
}

static bool pin(struct xen_gdma_map *map)
{
    step("grant a page to this domain and pin it for DMA");

    gnttab_grant_access(REF, self, virt_to_gfn(page), 0);
    expect("not in use yet", in_use(REF), 0);

    if ( !expect("map the grant", gdma_map_grants(self, REF, 1, READ_WRITE,
                                                  map), 0) )
        return false;

    fact_u64("ref", REF);
    fact_hex("gfn", virt_to_gfn(page));
    fact_hex("device_address", map->daddr);
    fact_hex("handle", map->handle);

    expect_true("a handle is never 0", map->handle != 0);
    expect_true("page aligned", IS_ALIGNED(map->daddr, PAGE_SIZE));
    expect_true("not below the range", map->daddr >= before.daddr_first);
    expect_true("not above the range", map->daddr <= before.daddr_last);

    return expect("in use for reading and writing", in_use(REF), IN_USE);
}

static void transfer(const struct xen_gdma_map *map)
{
    step("the device reads the granted page at its device address");
    fill_pattern(page, PAGE_SIZE, 11);
    fill_pattern(wanted, PAGE_SIZE, 11);
    expect("read", edu_load(&edu, map->daddr, 0, PAGE_SIZE), 0);
    show_buffer();
    expect_bytes("what the device read", shown, wanted, PAGE_SIZE);

    step("the device writes the granted page at its device address");
    memset(page, 0, PAGE_SIZE);
    expect("write", edu_store(&edu, map->daddr, 0, PAGE_SIZE), 0);
    expect_bytes("what the device wrote", page, wanted, PAGE_SIZE);
    expect("still in use", in_use(REF), IN_USE);
}

static void look_up(const struct xen_gdma_map *map)
{
    struct xen_gdma_lookup found;

    step("an address inside the page is found again");

    expect("lookup", gdma_lookup(XEN_GDMA_LOOKUP_DADDR, map->daddr + 0x123,
                                 &found), 0);
    expect_hex("handle", found.handle, map->handle);
    expect_hex("device address", found.daddr, map->daddr + 0x123);
    expect_hex("reference and offset", found.source,
               ((uint64_t)REF << 12) | 0x123);
    expect("kind", found.source_kind, XEN_GDMA_MAP_GRANT);
    expect("granter", found.domid, self);
    expect("flags", found.flags, READ_WRITE);
    expect("frames", found.nr_frames, 1);
}

static void unpin(const struct xen_gdma_map *map)
{
    struct xen_gdma_lookup found;

    step("unpin the page");

    expect("withdraw while pinned", gnttab_end_access(REF), -EBUSY);
    expect("unmap", gdma_unmap(map->handle), 0);
    expect("not in use any more", in_use(REF), 0);
    expect("its address is unknown",
           gdma_lookup(XEN_GDMA_LOOKUP_DADDR, map->daddr, &found), -ENOENT);
    expect("its handle is refused", gdma_unmap(map->handle), -ENOENT);
}

static void transfer_blocked(const struct xen_gdma_map *map)
{
    step("the same DMA is blocked: the device reads nothing");
    fill_pattern(page, PAGE_SIZE, 12);
    fill_pattern(wanted, PAGE_SIZE, 12);
    expect("the transfer ends", edu_load(&edu, map->daddr, 0, PAGE_SIZE), 0);
    show_buffer();
    expect_zeros("what the device read", shown, PAGE_SIZE);

    step("the same DMA is blocked: the device writes nothing");
    expect("the transfer ends", edu_store(&edu, map->daddr, 0, PAGE_SIZE), 0);
    expect_bytes("the page is as it was", page, wanted, PAGE_SIZE);
    expect("withdraw the grant", gnttab_end_access(REF), 0);
}

/* References in order, pages in reverse: adjacent only for the device. */
static void run_of_grants(void)
{
    struct xen_gdma_map map;

    step("a run of %u grants is contiguous for the device", RUN);

    for ( unsigned int i = 0; i < RUN; i++ )
        gnttab_grant_access(REF_RUN + i, self,
                            virt_to_gfn(run_pages) + RUN - 1 - i, 0);

    if ( !expect("map", gdma_map_grants(self, REF_RUN, RUN, READ_WRITE, &map),
                 0) )
        return;
    fact_hex("run_device_address", map.daddr);
    for ( unsigned int i = 0; i < RUN; i++ )
        expect("in use", in_use(REF_RUN + i), IN_USE);

    /* The last half of the first grant's page, the first of the second's. */
    fill_pattern(wanted, PAGE_SIZE, 13);
    memcpy(&run_pages[3 * PAGE_SIZE + PAGE_SIZE / 2], wanted, PAGE_SIZE / 2);
    memcpy(&run_pages[2 * PAGE_SIZE], wanted + PAGE_SIZE / 2, PAGE_SIZE / 2);
    expect("read across two pages",
           edu_load(&edu, map.daddr + PAGE_SIZE / 2, 0, PAGE_SIZE), 0);
    show_buffer();
    expect_bytes("what the device read", shown, wanted, PAGE_SIZE);

    expect("unmap", gdma_unmap(map.handle), 0);
    for ( unsigned int i = 0; i < RUN; i++ )
        expect("withdraw", gnttab_end_access(REF_RUN + i), 0);
}

static void read_only(void)
{
    struct xen_gdma_map map;

    step("a mapping for reading cannot be written through");

    gnttab_grant_access(REF_RO, self, virt_to_gfn(ro_page), GTF_readonly);
    expect("map for writing",
           gdma_map_grants(self, REF_RO, 1, READ_WRITE, &map), -EACCES);
    if ( !expect("map for reading",
                 gdma_map_grants(self, REF_RO, 1, XEN_GDMA_MAP_READ, &map), 0) )
        return;
    expect("in use for reading only", in_use(REF_RO), GTF_reading);

    fill_pattern(ro_page, PAGE_SIZE, 14);
    fill_pattern(wanted, PAGE_SIZE, 14);
    expect("read", edu_load(&edu, map.daddr, 0, PAGE_SIZE), 0);
    show_buffer();
    expect_bytes("what the device read", shown, wanted, PAGE_SIZE);

    /* Something else in the page, so that a write would show. */
    fill_pattern(ro_page, PAGE_SIZE, 15);
    fill_pattern(wanted, PAGE_SIZE, 15);
    expect("the transfer ends", edu_store(&edu, map.daddr, 0, PAGE_SIZE), 0);
    expect_bytes("the page is as it was", ro_page, wanted, PAGE_SIZE);

    expect("unmap", gdma_unmap(map.handle), 0);
    expect("withdraw", gnttab_end_access(REF_RO), 0);
}

static void own_frames(void)
{
    struct xen_gdma_map map;
    struct xen_gdma_lookup found;
    struct xen_gdma_unmap unmap;

    step("own frames: mapped, looked up both ways, unmapped by address");

    if ( !expect("map", gdma_map_own(virt_to_gfn(own_pages), 2, READ_WRITE,
                                     &map), 0) )
        return;
    fact_hex("own_device_address", map.daddr);

    fill_pattern(own_pages + PAGE_SIZE, PAGE_SIZE, 16);
    fill_pattern(wanted, PAGE_SIZE, 16);
    expect("read", edu_load(&edu, map.daddr + PAGE_SIZE, 0, PAGE_SIZE), 0);
    show_buffer();
    expect_bytes("what the device read", shown, wanted, PAGE_SIZE);

    expect("by device address",
           gdma_lookup(XEN_GDMA_LOOKUP_DADDR, map.daddr + PAGE_SIZE + 8,
                       &found), 0);
    expect_hex("guest address", found.source, _u(own_pages) + PAGE_SIZE + 8);
    expect("kind", found.source_kind, XEN_GDMA_MAP_OWN);
    expect("owner", found.domid, self);
    expect("frames", found.nr_frames, 2);

    expect("by guest address",
           gdma_lookup(XEN_GDMA_LOOKUP_GADDR, _u(own_pages) + PAGE_SIZE + 8,
                       &found), 0);
    expect_hex("device address", found.daddr, map.daddr + PAGE_SIZE + 8);
    expect_hex("handle", found.handle, map.handle);

    unmap = (struct xen_gdma_unmap){
        .daddr = map.daddr, .nr_frames = 2, .flags = XEN_GDMA_UNMAP_BY_DADDR,
    };
    expect("unmap", gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
    expect("unmap status", unmap.status, 0);
    expect("the handle went with it", gdma_unmap(map.handle), -ENOENT);
}

static void nothing_left(void)
{
    struct xen_gdma_query after;

    step("nothing is left behind");

    expect("query", gdma_query(&after), 0);
    expect("pinned frames", after.used_pins, before.used_pins);
    expect("mappings", after.mappings, before.mappings);
    expect_true("flushes were made", after.flushes > before.flushes);
    fact_u64("flushes", after.flushes - before.flushes);
}

void test_main(void)
{
    struct xen_gdma_map map;

    if ( !owns_machine() )
        return;
    self = own_domid();

    if ( !gdma_usable() || !find_device() )
        return;
    if ( xtf_init_grant_table(1) || gdma_query(&before) )
        return xtf_error("No grant table, or no answer from the service\n");

    if ( !pin(&map) )
        return;
    transfer(&map);
    look_up(&map);
    unpin(&map);
    transfer_blocked(&map);
    run_of_grants();
    read_only();
    own_frames();
    nothing_left();

    xtf_success(NULL);
}
