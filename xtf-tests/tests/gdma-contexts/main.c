/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-contexts/main.c
 * @ref test-gdma-contexts
 *
 * @page test-gdma-contexts gdma-contexts
 *
 * A device in a context reaches what is mapped in that context and nothing
 * else; a device that nobody moved goes on as before.  For the domain that owns
 * the machine, PVH (its devices use guest addresses by default) or PV (machine
 * addresses), with three `edu` devices, the first two of them functions of one.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. Contexts have numbers of their own and ranges as documented [a shared
 *     number; a range with interrupt addresses, too short, or too high for
 *     32-bit devices].
 *  2. By default every device is told to be in the default context, and is.
 *  3. A device moves: it reaches the mapping, not its former addresses [the old
 *     translation still in use; the new tables a copy of the old]; the other
 *     function stays and does not get there [the whole slot moved; mappings made
 *     in the default context's tables].
 *  4. Addresses that the service chooses, and a run of frames [wrong frames of a
 *     run]; unmapped, they are blocked [no flush]; for reading only means that.
 *  5. A context for 32-bit devices; an address that leads elsewhere by default; a
 *     device goes from context to context.
 *  6. The same device address leads each of two devices to a page of its own
 *     [contexts that share tables, or one IOTLB tag].
 *  7. Back in the default context, all is as it was [a device left behind].
 *  8. A context with a device cannot be destroyed, and goes on working; without,
 *     it ends and gives all its frames back [frames leaked or given back early].
 *  9. A number is used again: nothing of the old context is there [stale
 *     handles, tables or IOTLB entries].
 * 10. Contexts come and go many times, and with thousands of mappings [numbers,
 *     memory or pins that do not come back].
 * 11. PV: rights of devices to write and page tables exclude each other [no
 *     writable-type reference].
 * 12. Nothing is left behind.
 *
 * @see tests/gdma-contexts/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/page-table.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: contexts";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

/* Writes of devices to these are interrupts, and reach no memory. */
#define INTERRUPTS_FIRST    0xfee00000ULL
#define INTERRUPTS_LAST     0xfeefffffULL

#define RUN             3u
#define ROUNDS          64u

/*
 * A limit of pinned frames that fill 4 GiB: the range of a context has room for
 * as many, so that it ends above all memory and devices of the lab's machines.
 */
#define WIDE_PINS       (1u << 20)
#define MANY            2048u

enum { FIRST, SIBLING, OTHER, NR_DEVICES };

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t page_b[PAGE_SIZE] __page_aligned_bss;
static uint8_t unmapped[PAGE_SIZE] __page_aligned_bss;
static uint8_t run[RUN * PAGE_SIZE] __page_aligned_bss;

static struct xen_gdma_map many[MANY];

static struct device devices[NR_DEVICES];
static struct xen_gdma_query_device defaults[NR_DEVICES];
static struct xen_gdma_query usage;
static struct xen_gdma_context_create a, b;
static struct xen_gdma_set_limits old_limits;

static void expect_usage(unsigned int pins, unsigned int contexts)
{
    struct xen_gdma_query query;
    struct xen_gdma_stats stats;

    expect("query", gdma_query(&query), 0);
    expect("pinned frames", query.used_pins, usage.used_pins + pins);
    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);
    expect("pinned frames in stats", stats.used_pins, usage.used_pins + pins);
    expect("contexts", stats.used_contexts, contexts);
}

static bool create(uint64_t max_daddr, struct xen_gdma_context_create *context)
{
    return expect("create", gdma_context_create(max_daddr, context), 0);
}

static void expect_range(const struct xen_gdma_context_create *context)
{
    uint64_t first = context->daddr_first, last = context->daddr_last;

    fact_u64("context", context->context);
    fact_hex("daddr_first", first);
    fact_hex("daddr_last", last);

    expect_true("not the default context's number",
                context->context != XEN_GDMA_CONTEXT_DEFAULT);
    expect_true("a range", first < last);
    expect_true("starts at a page", IS_ALIGNED(first, PAGE_SIZE));
    expect_true("ends with a page", IS_ALIGNED(last + 1, PAGE_SIZE));
    expect_true("without the interrupts' addresses",
                last < INTERRUPTS_FIRST || first > INTERRUPTS_LAST);
}

static bool create_two(void)
{
    step("two contexts: numbers and ranges");

    if ( !create(0, &a) || !create(0xffffffff, &b) )
        return false;

    expect_range(&a);
    expect_range(&b);
    expect_true("two numbers", a.context != b.context);
    expect_true("32-bit devices can name all of it",
                b.daddr_last <= 0xffffffff);
    /* The lab's IOMMUs translate far more than any limit of pins. */
    expect_true("room for all frames that may be pinned",
                (a.daddr_last - a.daddr_first + 1) >> PAGE_SHIFT >=
                usage.max_pins);
    expect_usage(0, 2);

    return !xtf_status_reported();
}

static bool find_devices(void)
{
    for ( unsigned int i = 0; i < NR_DEVICES; i++ )
        if ( !device_open(&devices[i], i) )
        {
            xtf_skip("This machine has fewer than three edu devices\n");
            return false;
        }

    if ( PCI_SLOT(devices[FIRST].edu.bdf) ==
         PCI_SLOT(devices[SIBLING].edu.bdf) )
        return true;

    xtf_skip("The first two edu devices are not functions of one\n");
    return false;
}

static void expect_default(unsigned int nth)
{
    const struct device *dev = &devices[nth];
    struct xen_gdma_query_device now;

    expect("query_device", gdma_query_device(dev->edu.bdf, &now), 0);
#ifdef CONFIG_PV
    expect("treatment", now.treatment, XEN_GDMA_TREATMENT_IDENTITY);
#else
    expect("treatment", now.treatment, XEN_GDMA_TREATMENT_TRANSLATED);
#endif
    expect("context", now.context, XEN_GDMA_CONTEXT_DEFAULT);
    expect("flags as before", now.flags, defaults[nth].flags);
    expect_reaches("by its default address", dev, default_daddr(unmapped),
                   unmapped);
}

static void by_default(void)
{
    step("every device is in the default context");

    for ( unsigned int i = 0; i < NR_DEVICES; i++ )
    {
        const struct edu *edu = &devices[i].edu;

        expect("query_device", gdma_query_device(edu->bdf, &defaults[i]), 0);
        printk("FACT device=%02x:%02x.%u treatment=%u protected=%u\n",
               PCI_BUS(edu->bdf), PCI_SLOT(edu->bdf), PCI_FUNC(edu->bdf),
               defaults[i].treatment,
               defaults[i].flags & XEN_GDMA_DEVICE_PROTECTED);
        expect_default(i);
    }
}

/* Move a device to a context where device_shows[] is mapped at @shows. */
static bool attach(unsigned int nth, uint32_t context, uint64_t shows)
{
    struct device *dev = &devices[nth];
    struct xen_gdma_query_device now;

    if ( !expect("attach", gdma_attach(dev->edu.bdf, context), 0) )
        return false;
    dev->shows = shows;

    expect("query_device", gdma_query_device(dev->edu.bdf, &now), 0);
    expect("treatment", now.treatment, XEN_GDMA_TREATMENT_CONTEXT);
    expect("context", now.context, context);
    expect("protected by an IOMMU", now.flags, XEN_GDMA_DEVICE_PROTECTED);

    return true;
}

static void detach(unsigned int nth)
{
    expect("attach to the default context",
           gdma_attach(devices[nth].edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    devices[nth].shows = default_daddr(device_shows);
}

/* The last pages of a range, counted from the end. */
static uint64_t from_end(const struct xen_gdma_context_create *context,
                         unsigned int nth)
{
    return context->daddr_last + 1 - (uint64_t)(nth + 1) * PAGE_SIZE;
}

static bool map_at(const struct xen_gdma_context_create *context,
                   uint64_t daddr, const void *va, struct xen_gdma_map *map)
{
    return expect("map", gdma_map_own_at(context->context, daddr,
                                         virt_to_gfn(va), 1, READ_WRITE, map),
                  0) &&
           expect_hex("where it was wanted", map->daddr, daddr);
}

static struct xen_gdma_map shows_a, page_a, shows_b;

static bool move_one(void)
{
    const struct device *dev = &devices[FIRST];

    step("a device moves to a context; its other function stays");

    if ( !map_at(&a, from_end(&a, 0), device_shows, &shows_a) ||
         !map_at(&a, from_end(&a, 1), page, &page_a) )
        return false;
    expect_usage(2, 2);

    expect_elsewhere("the mapping, by a device in the default context", dev,
                     page_a.daddr, page);

    if ( !attach(FIRST, a.context, shows_a.daddr) )
        return false;
    expect_reaches("the mapping", dev, page_a.daddr, page);
    expect_blocked("an address of the default context", dev,
                   default_daddr(unmapped), unmapped);
    expect_blocked("the mapped page by its default address", dev,
                   default_daddr(page), page);

    expect_default(SIBLING);
    expect_elsewhere("the context's mapping, by the other function",
                     &devices[SIBLING], page_a.daddr, page);
    expect_default(OTHER);

    return true;
}

static void chosen_addresses(void)
{
    const struct device *dev = &devices[FIRST];
    struct xen_gdma_map map;
    struct xen_gdma_lookup found;

    step("addresses that the service chooses, and a run of frames");

    if ( !expect("map", gdma_map_own_in(a.context, virt_to_gfn(run), 1,
                                        READ_WRITE, &map), 0) )
        return;
    fact_hex("device_address", map.daddr);
    expect_true("in the range", map.daddr >= a.daddr_first &&
                                map.daddr + PAGE_SIZE - 1 <= a.daddr_last);
    expect_reaches("one frame", dev, map.daddr, run);
    expect("unmap", gdma_unmap_in(a.context, map.handle, 0), 0);
    expect_blocked("the same after unmap", dev, map.daddr, run);

#ifdef CONFIG_HVM
    /* Adjacent pages of a PV guest are not adjacent frames. */
    if ( !expect("map a run", gdma_map_own_in(a.context, virt_to_gfn(run), RUN,
                                              READ_WRITE, &map), 0) )
        return;
    for ( unsigned int i = 0; i < RUN; i++ )
        expect_reaches("a frame of the run", dev, map.daddr + i * PAGE_SIZE,
                       run + i * PAGE_SIZE);
    expect_usage(2 + RUN, 2);
    expect("lookup", gdma_lookup_in(a.context, XEN_GDMA_LOOKUP_DADDR,
                                    map.daddr + PAGE_SIZE + 5, &found), 0);
    expect_hex("source", found.source, default_daddr(run) + PAGE_SIZE + 5);
    expect("unmap", gdma_unmap_in(a.context, map.handle, 0), 0);
    for ( unsigned int i = 0; i < RUN; i++ )
        expect_blocked("a frame of the run after unmap", dev,
                       map.daddr + i * PAGE_SIZE, run + i * PAGE_SIZE);
#endif
    expect("nothing is there any more",
           gdma_lookup_in(a.context, XEN_GDMA_LOOKUP_DADDR, map.daddr, &found),
           -ENOENT);

    if ( !expect("map for reading",
                 gdma_map_own_in(a.context, virt_to_gfn(run), 1,
                                 XEN_GDMA_MAP_READ, &map), 0) )
        return;
    expect_reads("a mapping for reading", dev, map.daddr, run);
    expect_not_written("a mapping for reading", dev, map.daddr, run);
    expect("unmap", gdma_unmap_in(a.context, map.handle, 0), 0);
    expect_usage(2, 2);
}

/*
 * A device address that means something in the default context, too: there, it
 * goes on meaning that.
 */
static void same_as_default(const struct device *dev)
{
    const uint64_t daddr = default_daddr(unmapped);
    struct xen_gdma_map map;

    if ( daddr < b.daddr_first || daddr > b.daddr_last )
        return xtf_error("The range has none of this machine's memory\n");
    if ( !map_at(&b, daddr, page_b, &map) )
        return;
    expect_reaches("the context's page", dev, daddr, page_b);
    expect_elsewhere("the default context's page", dev, daddr, unmapped);
    expect_default(SIBLING);
    expect_elsewhere("the context's page, by a device in the default context",
                     &devices[SIBLING], daddr, page_b);
    expect("unmap", gdma_unmap_in(b.context, map.handle, 0), 0);
    expect_blocked("after unmap", dev, daddr, unmapped);
    expect_default(SIBLING);
}

static bool low_addresses(void)
{
    const struct device *dev = &devices[OTHER];
    struct xen_gdma_map map;

    step("a context for 32-bit devices; from one context to the other");

    if ( !expect("map", gdma_map_own_in(b.context, virt_to_gfn(device_shows),
                                        1, READ_WRITE, &shows_b), 0) ||
         !expect("map", gdma_map_own_in(b.context, virt_to_gfn(page_b), 1,
                                        READ_WRITE, &map), 0) )
        return false;
    expect_true("a 32-bit address", map.daddr + PAGE_SIZE - 1 <= 0xffffffff);

    if ( !attach(OTHER, b.context, shows_b.daddr) )
        return false;
    expect_reaches("the mapping", dev, map.daddr, page_b);
    expect_blocked("a mapping of the other context", dev, page_a.daddr, page);
    same_as_default(dev);

    if ( !attach(OTHER, a.context, shows_a.daddr) )
        return false;
    expect_reaches("the other context's mapping", dev, page_a.daddr, page);
    expect_blocked("a mapping of the context it left", dev, map.daddr, page_b);

    expect("unmap", gdma_unmap_in(b.context, map.handle, 0), 0);
    detach(OTHER);
    expect_default(OTHER);

    return true;
}

static void one_address_two_pages(void)
{
    struct xen_gdma_context_create c;
    struct xen_gdma_map shows, map;

    step("two functions, one device address, two pages");

    if ( !create(0, &c) )
        return;
    expect_hex("the same range", c.daddr_last, a.daddr_last);
    expect_true("a number of its own", c.context != a.context &&
                                       c.context != b.context);

    if ( !map_at(&c, shows_a.daddr, device_shows, &shows) ||
         !map_at(&c, page_a.daddr, page_b, &map) ||
         !attach(SIBLING, c.context, shows.daddr) )
        return;

    expect_reaches("the first one's page", &devices[FIRST], page_a.daddr,
                   page);
    expect_reaches("the second one's page", &devices[SIBLING], page_a.daddr,
                   page_b);
    expect_elsewhere("the second one's page, by the first", &devices[FIRST],
                     page_a.daddr, page_b);
    expect_elsewhere("the first one's page, by the second", &devices[SIBLING],
                     page_a.daddr, page);

    expect("unmap the second one's",
           gdma_unmap_in(c.context, map.handle, 0), 0);
    expect_blocked("the second one, after its unmap", &devices[SIBLING],
                   page_a.daddr, page_b);
    expect_reaches("the first one goes on", &devices[FIRST], page_a.daddr,
                   page);

    step("back in the default context all is as it was");
    detach(SIBLING);
    expect_default(SIBLING);
    expect_elsewhere("the context's mapping", &devices[SIBLING],
                     shows.daddr, page_b);
    expect("destroy", gdma_context_destroy(c.context), 0);
    expect_reaches("the first one goes on", &devices[FIRST], page_a.daddr,
                   page);
}

static void destroy_busy(void)
{
    const struct device *dev = &devices[FIRST];
    struct xen_gdma_map map;
    struct xen_gdma_lookup found;

    step("a context with a device cannot be destroyed");

    expect("destroy", gdma_context_destroy(a.context), -EBUSY);
    expect_reaches("the mapping", dev, page_a.daddr, page);
    expect("map", gdma_map_own_in(a.context, virt_to_gfn(unmapped), 1,
                                  READ_WRITE, &map), 0);
    expect_reaches("a new mapping", dev, map.daddr, unmapped);
    expect_blocked("an address of the default context", dev,
                   default_daddr(unmapped), unmapped);
    /* Two of the first context, one of the second, one just made. */
    expect_usage(4, 2);

    step("destroyed with mappings, it gives all frames back");
    detach(FIRST);
    expect("destroy", gdma_context_destroy(a.context), 0);
    expect_usage(1, 1);
    expect("destroy again", gdma_context_destroy(a.context), -ENOENT);
    expect("attach", gdma_attach(dev->edu.bdf, a.context), -ENOENT);
    expect("its handles are gone",
           gdma_unmap_in(a.context, page_a.handle, 0), -ENOENT);
    expect("so are its addresses",
           gdma_lookup_in(a.context, XEN_GDMA_LOOKUP_DADDR, page_a.daddr,
                          &found), -ENOENT);
    expect_default(FIRST);
}

/* Contexts until one has the number again, which another one has not. */
static bool create_again(uint32_t number, struct xen_gdma_context_create *last)
{
    for ( unsigned int i = 0; i < ROUNDS; i++ )
    {
        if ( !create(0, last) )
            return false;
        expect_true("not the number of the other context",
                    last->context != b.context);
        if ( last->context == number )
            return true;
        if ( !expect("destroy", gdma_context_destroy(last->context), 0) )
            return false;
    }

    printk("FACT number_reused=0\n");
    return create(0, last);
}

static void number_again(void)
{
    const struct device *dev = &devices[FIRST];
    struct xen_gdma_context_create again;
    struct xen_gdma_map shows;
    struct xen_gdma_lookup found;

    step("a new context, if possible with the number of the old one");

    if ( !create_again(a.context, &again) )
        return;
    fact_u64("context", again.context);
    expect_usage(1, 2);

    expect("nothing is mapped",
           gdma_lookup_in(again.context, XEN_GDMA_LOOKUP_DADDR, page_a.daddr,
                          &found), -ENOENT);
    expect("an old handle", gdma_unmap_in(again.context, page_a.handle, 0),
           -ENOENT);
    if ( !map_at(&again, from_end(&again, 5), device_shows, &shows) )
        return;
    expect_true("a handle of its own", shows.handle != shows_a.handle &&
                                       shows.handle != page_a.handle);
    expect("an old handle, with something mapped",
           gdma_unmap_in(again.context, shows_a.handle, 0), -ENOENT);
    expect_usage(2, 2);

    if ( !attach(FIRST, again.context, shows.daddr) )
        return;
    expect_blocked("an address of the old context", dev, page_a.daddr, page);
    expect_blocked("an address of the default context", dev,
                   default_daddr(unmapped), unmapped);
    expect_reads("what is mapped", dev, shows.daddr, device_shows);
    detach(FIRST);
    expect("destroy", gdma_context_destroy(again.context), 0);
    expect_usage(1, 1);
}

static void come_and_go(void)
{
    struct xen_gdma_context_create c;
    struct xen_gdma_map map;
    unsigned int bad = 0;

    step("%u contexts, one after the other, each with a device", ROUNDS);

    for ( unsigned int i = 0; i < ROUNDS; i++ )
    {
        bad += gdma_context_create(0, &c) != 0;
        bad += c.context == b.context;
        bad += gdma_map_own_in(c.context, virt_to_gfn(page), 1, READ_WRITE,
                               &map) != 0;
        bad += gdma_attach(devices[i % NR_DEVICES].edu.bdf, c.context) != 0;
        bad += gdma_context_destroy(c.context) != -EBUSY;
        bad += gdma_attach(devices[i % NR_DEVICES].edu.bdf,
                           XEN_GDMA_CONTEXT_DEFAULT) != 0;
        bad += gdma_context_destroy(c.context) != 0;
    }
    expect("calls that failed", bad, 0);
    expect_usage(1, 1);
    expect_default(FIRST);

    step("a context with %u mappings ends", MANY);
    if ( !create(0, &c) )
        return;
    for ( unsigned int i = 0; i < MANY; i++ )
        many[i] = (struct xen_gdma_map){
            .context = c.context,
            .kind = XEN_GDMA_MAP_OWN,
            .source = virt_to_gfn(page),
            .nr_frames = 1,
            .flags = READ_WRITE,
        };
    expect("map", gdma_op(XEN_GDMA_OP_MAP, many, MANY), 0);
    for ( unsigned int i = 0; i < MANY; i++ )
        bad += many[i].status != 0;
    expect("mappings that failed", bad, 0);
    expect_usage(1 + MANY, 2);
    expect("destroy", gdma_context_destroy(c.context), 0);
    expect_usage(1, 1);
}

#ifdef CONFIG_PV
static uint8_t typed[PAGE_SIZE] __page_aligned_bss;

static void page_types(void)
{
    const unsigned long mfn = virt_to_mfn(typed);
    mmuext_op_t op = { .cmd = MMUEXT_PIN_L1_TABLE, .arg1.mfn = mfn };
    struct xen_gdma_map map, neighbour;

    step("rights of devices to write and page tables exclude each other");

    /* With a neighbour, no table of the IOMMU becomes empty and is freed. */
    if ( !map_at(&b, from_end(&b, 0), page, &neighbour) )
        return;

    memset(typed, 0, PAGE_SIZE);
    expect("map it for reading only, at home",
           pte_write(typed, mfn, PTE_READ_ONLY), 0);
    expect("a page table", try_as_page_table(mfn), 0);

    if ( !map_at(&b, from_end(&b, 1), typed, &map) )
        return;
    expect("a page table while devices may write", try_as_page_table(mfn),
           -EINVAL);
    expect("unmap, not flushed",
           gdma_unmap_in(b.context, map.handle, XEN_GDMA_NO_FLUSH), 0);
    expect("a page table while IOTLBs may have it", try_as_page_table(mfn),
           -EINVAL);
    expect("flush", gdma_flush(b.context), 0);
    expect("a page table afterwards", try_as_page_table(mfn), 0);

    expect("map to read", gdma_map_own_in(b.context, mfn, 1,
                                          XEN_GDMA_MAP_READ, &map), 0);
    expect("a page table while devices may read", try_as_page_table(mfn), 0);
    expect("unmap", gdma_unmap_in(b.context, map.handle, 0), 0);

    expect("make it a page table",
           hypercall_mmuext_op(&op, 1, NULL, DOMID_SELF), 0);
    expect("map a page table to write",
           gdma_map_own_in(b.context, mfn, 1, READ_WRITE, &map), -EFAULT);
    op.cmd = MMUEXT_UNPIN_TABLE;
    expect("no page table any more",
           hypercall_mmuext_op(&op, 1, NULL, DOMID_SELF), 0);
    expect("map to write", gdma_map_own_in(b.context, mfn, 1, READ_WRITE,
                                           &map), 0);
    expect("unmap", gdma_unmap_in(b.context, map.handle, 0), 0);
    expect("unmap", gdma_unmap_in(b.context, neighbour.handle, 0), 0);
    expect_usage(1, 1);
}
#else
static void page_types(void)
{
}
#endif

static void nothing_left(void)
{
    struct xen_gdma_set_limits now;

    step("nothing is left behind");

    expect("destroy", gdma_context_destroy(b.context), 0);
    expect_usage(0, 0);
    expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF, old_limits.max_pins,
                                    XEN_GDMA_LIMIT_KEEP, &now), 0);
    for ( unsigned int i = 0; i < NR_DEVICES; i++ )
        expect_default(i);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() || !find_devices() )
        return;
    if ( gdma_set_limits(XEN_GDMA_DOMID_SELF, WIDE_PINS, XEN_GDMA_LIMIT_KEEP,
                         &old_limits) || gdma_query(&usage) )
        return xtf_failure("BAD no limits, or no answer to query\n");
    expect("limit of pinned frames", usage.max_pins, WIDE_PINS);
    fact_u64("max_contexts", usage.max_contexts);
    if ( usage.max_contexts < 3 )
        return xtf_skip("This test needs three contexts\n");

    if ( !create_two() )
        return;
    by_default();
    if ( !move_one() )
        return;
    chosen_addresses();
    if ( !low_addresses() )
        return;
    one_address_two_pages();
    destroy_busy();
    number_again();
    come_and_go();
    page_types();
    nothing_left();

    xtf_success(NULL);
}
