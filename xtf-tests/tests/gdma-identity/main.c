/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-identity/main.c
 * @ref test-gdma-identity
 *
 * @page test-gdma-identity gdma-identity
 *
 * The default context of a PV domain that owns the machine: device addresses
 * are machine addresses.  What an IOMMU keeps devices from there depends on
 * Xen's options; the service says which it is, and a device shows that it is
 * so.  "Protected" stands for what holds with dom0-iommu=strict.
 *
 *  1. The service says that addresses are machine addresses, and whether the
 *     default context is protected; query_device says the same.
 *  2. Own frames: the address, reached before, during and after; a chosen
 *     address; protected, page tables cannot be mapped, and what is mapped
 *     cannot become one.
 *  3. Another domain's page that is not mapped: reached unless protected.
 *  4. Its grant, mapped: the address, rights, in-use flags; after the end it
 *     is reached unless protected.
 *  5. One frame mapped several times, by two references and by the grant
 *     table; the rights are those of all together, until the last one ends.
 *  6. A mapping that ends without a flush: in use until there was one.
 *  7. Runs, addresses with offsets, look-ups, no windows.
 *  8. Nothing is left behind: the granter can be destroyed.
 *
 * @see tests/gdma-identity/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/granter.h>
#include <lab/page-table.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: machine addresses";

#define READ            XEN_GDMA_MAP_READ
#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

/* References to the granter's pages in ascending order, and two more. */
#define REF             FIRST_FREE_REF
#define REF_RO          (REF + GRANTER_PAGES)       /* Its first page. */
#define REF_AGAIN       (REF + GRANTER_PAGES + 1)   /* Its first page. */

#define ALL_ONES        (~0ULL)

static uint8_t page[2][PAGE_SIZE] __page_aligned_bss;
static uint8_t typed[PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_query start;
static bool protected;

/* The granter's pages in the order of their machine frames. */
static unsigned int ascending[GRANTER_PAGES];

static void sort_pages(void)
{
    for ( unsigned int i = 0; i < GRANTER_PAGES; i++ )
    {
        unsigned int at = i;

        for ( ; at && granter_gfn(ascending[at - 1]) > granter_gfn(i); at-- )
            ascending[at] = ascending[at - 1];
        ascending[at] = i;
    }
}

static unsigned long frame(unsigned int nth)
{
    return granter_gfn(ascending[nth]);
}

static uint8_t *seen(unsigned int nth)
{
    return granter_page(ascending[nth]);
}

static uint64_t granter_maddr(unsigned int nth)
{
    return (uint64_t)frame(nth) << PAGE_SHIFT;
}

static int map_ref(grant_ref_t ref, unsigned int nr, unsigned int flags,
                   struct xen_gdma_map *map)
{
    return gdma_map_grants(granter_domid(), ref, nr, flags, map);
}

/* A page of the granter's that nothing maps any more, or nothing yet. */
static void expect_unmapped(const char *what, unsigned int nth)
{
    if ( protected )
        expect_blocked(what, &device, granter_maddr(nth), seen(nth));
    else
        expect_reaches(what, &device, granter_maddr(nth), seen(nth));
}

/* One that is mapped for reading alone. */
static void expect_read_only(const char *what, unsigned int nth)
{
    expect_reads(what, &device, granter_maddr(nth), seen(nth));
    if ( protected )
        expect_not_written(what, &device, granter_maddr(nth), seen(nth));
}

static void what_it_says(void)
{
    const unsigned int wanted = XEN_GDMA_CAP_DEFAULT_CONTEXT |
                                XEN_GDMA_CAP_IDENTITY;
    struct xen_gdma_query_device query;

    step("the service says what the default context is");

    expect("query", gdma_query(&start), 0);
    protected = start.capabilities & XEN_GDMA_CAP_PROTECTED;
    fact_u64("protected", protected);

    expect_hex("capabilities", start.capabilities & wanted, wanted);
    expect_hex("first address", start.daddr_first, 0);
    expect_hex("last address", start.daddr_last, ALL_ONES);

    expect("query_device", gdma_query_device(device.edu.bdf, &query), 0);
    expect("treatment", query.treatment, XEN_GDMA_TREATMENT_IDENTITY);
    expect("flags", query.flags, protected ? XEN_GDMA_DEVICE_PROTECTED : 0);
    expect("context", query.context, XEN_GDMA_CONTEXT_DEFAULT);
}

static void own_frames(void)
{
    const unsigned long gfn = virt_to_gfn(page[0]);
    const uint64_t daddr = default_daddr(page[0]);
    struct xen_gdma_map map, again;

    step("own frames are at their machine addresses, and reached anyway");

    expect_reaches("before", &device, daddr, page[0]);
    if ( !expect("map", gdma_map_own(gfn, 1, READ_WRITE, &map), 0) )
        return;
    expect_hex("device address", map.daddr, daddr);
    expect_reaches("mapped", &device, daddr, page[0]);
    expect("map again", gdma_map_own(gfn, 1, READ, &again), 0);
    expect_hex("device address", again.daddr, daddr);
    expect_true("another handle", again.handle != map.handle);
    expect("unmap", gdma_unmap(map.handle), 0);
    expect("unmap", gdma_unmap(again.handle), 0);
    expect("stale handle", gdma_unmap(map.handle), -ENOENT);
    expect_reaches("after", &device, daddr, page[0]);

    step("a chosen address must be the machine address");

    expect("another one",
           gdma_map_own_at(0, daddr + PAGE_SIZE, gfn, 1, READ, &map), -EINVAL);
    expect("the right one", gdma_map_own_at(0, daddr, gfn, 1, READ, &map), 0);
    expect("unmap", gdma_unmap(map.handle), 0);
}

static void page_types(void)
{
    const unsigned long mfn = virt_to_mfn(typed);
    const unsigned long table = pte_maddr(typed) >> PAGE_SHIFT;
    struct xen_gdma_map map;

    step("own frames that may not be written");

    expect("a page table, for writing",
           gdma_map_own(table, 1, READ_WRITE, &map), -EFAULT);
    /* Protected, the IOMMU has only what may be written. */
    if ( expect("a page table, for reading",
                gdma_map_own(table, 1, READ, &map), protected ? -EFAULT : 0) &&
         !protected )
        expect("unmap", gdma_unmap(map.handle), 0);

    memset(typed, 0, PAGE_SIZE);
    expect("map it for reading only, at home",
           pte_write(typed, mfn, PTE_READ_ONLY), 0);
    if ( expect("map", gdma_map_own(mfn, 1, READ, &map), 0) )
    {
        expect("a page table, while mapped", try_as_page_table(mfn),
               protected ? -EINVAL : 0);
        expect("unmap", gdma_unmap(map.handle), 0);
    }
    expect("a page table, afterwards", try_as_page_table(mfn), 0);
    expect("map it for writing again", pte_write(typed, mfn, PTE_READ_WRITE),
           0);
}

static void foreign(void)
{
    struct xen_gdma_map map;

    step("another domain's page");

    expect_unmapped("before", 0);

    expect("for writing, by a read-only grant",
           map_ref(REF_RO, 1, READ_WRITE, &map), -EACCES);
    if ( !expect("map", map_ref(REF, 1, READ_WRITE, &map), 0) )
        return;
    expect_hex("device address", map.daddr, granter_maddr(0));
    expect("in use", entry_in_use(REF), GTF_IN_USE);
    expect_reaches("mapped", &device, map.daddr, seen(0));
    expect_unmapped("its neighbour", 1);
    expect("unmap", gdma_unmap(map.handle), 0);
    expect("in use", entry_in_use(REF), 0);
    expect_unmapped("after", 0);

    if ( !expect("map", map_ref(REF_RO, 1, READ, &map), 0) )
        return;
    expect("in use", entry_in_use(REF_RO), GTF_reading);
    expect_read_only("mapped for reading", 0);
    expect("unmap", gdma_unmap(map.handle), 0);
    expect_unmapped("after", 0);
}

static void several(void)
{
    struct xen_gdma_map reader, writer, again;

    step("one frame, mapped three times");

    if ( !expect("for reading", map_ref(REF_RO, 1, READ, &reader), 0) ||
         !expect("for writing", map_ref(REF, 1, READ_WRITE, &writer), 0) ||
         !expect("for reading", map_ref(REF_AGAIN, 1, READ, &again), 0) )
        return;
    expect_hex("one address", writer.daddr, reader.daddr);
    expect_hex("one address", again.daddr, reader.daddr);
    expect_reaches("all", &device, reader.daddr, seen(0));
    expect("unmap", gdma_unmap(reader.handle), 0);
    expect_reaches("the writer is left", &device, reader.daddr,
                   seen(0));
    expect("unmap", gdma_unmap(writer.handle), 0);
    expect_read_only("a reader is left", 0);
    expect("unmap", gdma_unmap(again.handle), 0);
    expect_unmapped("nobody is left", 0);
}

static void with_device_mapping(bool table_first)
{
    struct gnttab_map_grant_ref table;
    struct xen_gdma_map dma;

    step("the same with the grant table's device mapping, which ends %s",
         table_first ? "first" : "last");

    if ( !expect("device mapping",
                 gnttab_map(granter_domid(), REF_RO, 0,
                            GNTMAP_device_map | GNTMAP_readonly, &table),
                 GNTST_okay) ||
         !expect("map", map_ref(REF, 1, READ_WRITE, &dma), 0) )
        return;
    expect_hex("one address", table.dev_bus_addr, dma.daddr);
    expect_reaches("both", &device, dma.daddr, seen(0));

    if ( !table_first )
    {
        expect("unmap", gdma_unmap(dma.handle), 0);
        expect_read_only("the device mapping is left", 0);
    }
    expect("end the device mapping",
           gnttab_unmap_all(0, table.dev_bus_addr, table.handle), GNTST_okay);
    if ( table_first )
    {
        expect_reaches("the DMA mapping is left", &device, dma.daddr,
                       seen(0));
        expect("unmap", gdma_unmap(dma.handle), 0);
    }
    expect_unmapped("nobody is left", 0);
}

static void deferred(void)
{
    struct xen_gdma_map map, again;

    step("a mapping that ends without a flush");

    if ( !expect("map", map_ref(REF, 1, READ_WRITE, &map), 0) )
        return;
    expect("unmap", gdma_unmap_in(0, map.handle, XEN_GDMA_NO_FLUSH), 0);
    expect("in use", entry_in_use(REF), GTF_IN_USE);
    expect("map again", map_ref(REF_RO, 1, READ, &again), 0);
    expect("flush", gdma_flush(0), 0);
    expect("in use", entry_in_use(REF), 0);
    expect("in use", entry_in_use(REF_RO), GTF_reading);
    expect_read_only("mapped again", 0);
    expect("unmap", gdma_unmap(again.handle), 0);
    expect_unmapped("nobody is left", 0);
}

static void runs(void)
{
    struct xen_gdma_window_create window;
    struct xen_gdma_lookup found;
    struct xen_gdma_map map;
    unsigned int in_a_row = 0;

    step("runs of frames, an offset, look-ups");

    for ( unsigned int i = 0; i + 1 < GRANTER_PAGES; i++ )
    {
        bool follows = frame(i) + 1 == frame(i + 1);

        in_a_row += follows;
        if ( !expect("two frames", map_ref(REF + i, 2, READ_WRITE, &map),
                     follows ? 0 : -ENOSPC) || !follows )
            continue;
        if ( in_a_row == 1 )
            expect_reaches("the second frame", &device, map.daddr + PAGE_SIZE,
                           seen(i + 1));
        expect("look-up", gdma_lookup(XEN_GDMA_LOOKUP_DADDR,
                                      map.daddr + PAGE_SIZE + 5, &found), 0);
        expect_hex("source", found.source,
                   ((REF + i + 1ULL) << PAGE_SHIFT) + 5);
        expect("unmap", gdma_unmap(map.handle), 0);
    }
    fact_u64("runs_of_two", in_a_row);
    /* Backwards, or with a hole, frames are no run. */
    entry_grant(REF + 1, ascending[0], 0);
    expect("the same frame twice", map_ref(REF, 2, READ, &map), -ENOSPC);
    expect("in use", entry_in_use(REF), 0);
    entry_grant(REF + 1, ascending[1], 0);

    map = (struct xen_gdma_map){
        .kind = XEN_GDMA_MAP_GRANT_DMA,
        .domid = granter_domid(),
        .source = (1ULL << XEN_GDMA_GRANT_DMA_BIT) |
                  ((uint64_t)REF << PAGE_SHIFT) | 0x240,
        .nr_frames = 1,
        .flags = READ,
    };
    if ( expect("a grant-DMA address", gdma_map(&map), 0) )
    {
        expect_hex("device address", map.daddr, granter_maddr(0) + 0x240);
        expect("unmap", gdma_unmap(map.handle), 0);
    }
    expect("look-up of nothing",
           gdma_lookup(XEN_GDMA_LOOKUP_DADDR, map.daddr, &found), -ENOENT);

    expect("a window",
           gdma_window_create(0, XEN_GDMA_MAP_OWN, 0, virt_to_gfn(page), 1,
                              READ, &window), -EOPNOTSUPP);
}

static void nothing_left(void)
{
    struct xen_gdma_query now;

    step("nothing is left behind");

    expect("query", gdma_query(&now), 0);
    expect("pinned frames", now.used_pins, start.used_pins);
    expect("mappings", now.mappings, start.mappings);
    for ( grant_ref_t ref = REF; ref <= REF_AGAIN; ref++ )
        expect_true("withdraw", entry_withdraw(ref));
    granter_end();
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( pci_announce(device.edu.bdf) )
        return xtf_error("Xen does not take the announcement of a device\n");
    if ( !granter_begin() )
        return;
    sort_pages();
    for ( unsigned int i = 0; i < GRANTER_PAGES; i++ )
        entry_grant(REF + i, ascending[i], 0);
    entry_grant(REF_RO, ascending[0], GTF_readonly);
    entry_grant(REF_AGAIN, ascending[0], GTF_readonly);

    what_it_says();
    own_frames();
    page_types();
    foreign();
    several();
    with_device_mapping(false);
    with_device_mapping(true);
    deferred();
    runs();
    nothing_left();

    xtf_success(NULL);
}
