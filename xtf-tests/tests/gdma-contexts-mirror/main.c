/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-contexts-mirror/main.c
 * @ref test-gdma-contexts-mirror
 *
 * @page test-gdma-contexts-mirror gdma-contexts-mirror
 *
 * In a context that is a 1:1 copy a device reaches its domain's memory without
 * a mapping, at the addresses of the default context; and when that memory
 * changes, so does what the device reaches, at once.  For the domain that owns
 * the machine, PVH (guest addresses) or PV (machine addresses), with three
 * `edu` devices.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. A copy is made; it counts for eight contexts, and pins nothing [counted
 *     as one; its frames held by references].
 *  2. A device moved there reaches pages that nobody mapped [an empty context;
 *     a copy of a part].
 *  3. What the service maps lies beside it: an own page a second time, and
 *     another domain's grant, blocked after unmap [addresses that overlap].
 *  4. A page that leaves the domain's memory is out of the device's reach, in
 *     both copies there are; its neighbours are not [no flush; a large page
 *     that goes as a whole; one copy followed, the other not].
 *  5. A page that comes is reached [a copy made once].
 *  6. PVH: a page that moves is reached where it is, not where it was; another
 *     domain's page is reached while it is mapped [stale entries].
 *     PV: a page table is out of reach until it is one no more [a device that
 *     writes a page table].
 *  7. Empty contexts and the default one are as they were [hooks that reach
 *     the wrong tables].
 *  8. Limits and addresses: too few contexts; 32-bit devices.
 *  9. Copies come and go many times; nothing is left behind [numbers, memory
 *     or hooks that stay].
 *
 * @see tests/gdma-contexts-mirror/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/granter.h>
#include <lab/page-table.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: contexts that are a 1:1 copy";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define WEIGHT          XEN_GDMA_MIRROR_WEIGHT
#define PAGES           4u
#define ROUNDS          12u
#define REF             FIRST_FREE_REF

enum { FIRST, SECOND, STAYS, NR_DEVICES };

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t pages[PAGES][PAGE_SIZE] __page_aligned_bss;

static struct device devices[NR_DEVICES];
static struct xen_gdma_query usage;
static struct xen_gdma_stats before;
static struct xen_gdma_context_create a, b;

static int create(uint32_t flags, uint64_t max_daddr,
                  struct xen_gdma_context_create *op)
{
    long rc;

    *op = (struct xen_gdma_context_create){
        .flags = flags,
        .max_daddr = max_daddr,
    };
    rc = gdma_op(XEN_GDMA_OP_CONTEXT_CREATE, op, 1);

    return rc ? rc : op->status;
}

static void expect_usage(unsigned int pins, unsigned int contexts)
{
    struct xen_gdma_stats stats;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);
    expect("pinned frames", stats.used_pins, before.used_pins + pins);
    expect("contexts counted", stats.used_contexts,
           before.used_contexts + contexts);
}

static bool make_copies(void)
{
    step("two copies");

    if ( !expect("create", create(XEN_GDMA_CONTEXT_MIRROR, 0, &a), 0) )
        return false;
    expect_usage(0, WEIGHT);
    if ( !expect("create", create(XEN_GDMA_CONTEXT_MIRROR, 0, &b), 0) )
        return false;
    expect_usage(0, 2 * WEIGHT);
    expect_true("two numbers", a.context != b.context);
    fact_hex("daddr_first", a.daddr_first);
    fact_hex("daddr_last", a.daddr_last);
    expect_true("room for all frames that may be pinned",
                (a.daddr_last - a.daddr_first + 1) >> PAGE_SHIFT >=
                usage.max_pins);
    expect_true("beside this guest's memory",
                default_daddr(page) < a.daddr_first ||
                default_daddr(page) > a.daddr_last);

    return true;
}

static bool attach(unsigned int nth, uint32_t context)
{
    return expect("attach", gdma_attach(devices[nth].edu.bdf, context), 0);
}

/* All that a device in the default context reaches, is reached here as well. */
static void expect_own_memory(unsigned int nth)
{
    const struct device *dev = &devices[nth];

    expect_reaches("a page", dev, default_daddr(page), page);
    for ( unsigned int i = 0; i < PAGES; i++ )
        expect_reaches("a page of several", dev, default_daddr(pages[i]),
                       pages[i]);
}

static bool move_devices(void)
{
    step("devices move to the copies, and reach what they reached before");

    expect_own_memory(FIRST);
    if ( !attach(FIRST, a.context) || !attach(SECOND, b.context) )
        return false;
    expect_own_memory(FIRST);
    expect_own_memory(SECOND);
    expect_usage(0, 2 * WEIGHT);

    return true;
}

static void map_beside(void)
{
    const struct device *dev = &devices[FIRST];
    struct xen_gdma_map own, grant;

    step("an own page and a grant, mapped beside the copy");

    if ( !expect("map", gdma_map_own_in(a.context, virt_to_gfn(page), 1,
                                        READ_WRITE, &own), 0) )
        return;
    expect_true("in the range", own.daddr >= a.daddr_first &&
                                own.daddr < a.daddr_last);
    expect_reaches("the mapping", dev, own.daddr, page);
    expect_reaches("the copy", dev, default_daddr(page), page);
    expect_elsewhere("the mapping, in the other copy", &devices[SECOND],
                     own.daddr, page);
    expect("map where the copy is",
           gdma_map_own_at(a.context, default_daddr(page) & PAGE_MASK,
                           virt_to_gfn(pages[0]), 1, READ_WRITE, &grant),
           -EINVAL);

    entry_grant(REF, 0, 0);
    if ( !expect("map a grant",
                 gdma_map_grants_in(a.context, granter_domid(), REF, 1,
                                    READ_WRITE, &grant), 0) )
        return;
    expect_usage(2, 2 * WEIGHT);
    expect("in use", entry_in_use(REF), GTF_IN_USE);
    expect_reaches("the grant", dev, grant.daddr, granter_page(0));
    expect("unmap", gdma_unmap_in(a.context, grant.handle, 0), 0);
    expect("in use", entry_in_use(REF), 0);
    expect_blocked("the grant", dev, grant.daddr, granter_page(0));

    expect("unmap", gdma_unmap_in(a.context, own.handle, 0), 0);
    expect_blocked("the mapping", dev, own.daddr, page);
    expect_reaches("the copy", dev, default_daddr(page), page);
    expect_usage(0, 2 * WEIGHT);
}

/* One frame at @gfn; for PV, the number of the new frame comes back in it. */
static bool populate(unsigned long *gfn)
{
    struct xen_memory_reservation reservation = {
        .extent_start = gfn,
        .nr_extents = 1,
        .domid = DOMID_SELF,
    };

    return expect("populate_physmap",
                  hypercall_memory_op(XENMEM_populate_physmap, &reservation),
                  1);
}

/* The page that was at the address had something else than zeros in it. */
static void expect_gone(uint64_t daddr)
{
    expect_nothing("what has left, in one copy", &devices[FIRST], daddr);
    expect_nothing("what has left, in the other", &devices[SECOND], daddr);
}

static void expect_there(uint64_t daddr, void *va)
{
    expect_reaches("what has come, in one copy", &devices[FIRST], daddr, va);
    expect_reaches("what has come, in the other", &devices[SECOND], daddr, va);
}

#ifdef CONFIG_HVM

static void change_memory(void)
{
    const uint64_t daddr = default_daddr(pages[1]);
    unsigned long gfn = virt_to_gfn(pages[1]);

    step("a page is given back to Xen");
    memset(pages[1], 0x77, PAGE_SIZE);
    expect("decrease_reservation", make_holes(pages[1], 1), 0);
    expect_gone(daddr);
    expect_reaches("its neighbour", &devices[FIRST], default_daddr(pages[0]),
                   pages[0]);
    expect_reaches("its neighbour", &devices[FIRST], default_daddr(pages[2]),
                   pages[2]);

    step("a page comes in its place");
    if ( populate(&gfn) )
        expect_there(daddr, pages[1]);
}

#define REMOVE_FROM_PHYSMAP 15      /* XENMEM_remove_from_physmap */

struct remove_from_physmap {
    domid_t domid;
    unsigned long gfn;
};

static void change_place(void)
{
    struct xen_add_to_physmap move = {
        .domid = DOMID_SELF,
        .space = XENMAPSPACE_gmfn,
        .idx = virt_to_gfn(pages[2]),
        .gfn = virt_to_gfn(pages[3]),
    };
    struct remove_from_physmap remove = {
        .domid = DOMID_SELF,
        .gfn = virt_to_gfn(pages[3]),
    };
    unsigned long gfn = virt_to_gfn(pages[2]);

    step("a page moves");
    memset(pages[2], 0x66, PAGE_SIZE);
    expect("decrease_reservation", make_holes(pages[3], 1), 0);
    if ( !expect("add_to_physmap",
                 hypercall_memory_op(XENMEM_add_to_physmap, &move), 0) )
        return;
    expect("the page is here", pages[3][17], 0x66);
    expect_there(default_daddr(pages[3]), pages[3]);
    expect_gone(default_daddr(pages[2]));

    step("it is taken from its place");
    memset(pages[3], 0x55, PAGE_SIZE);
    expect("remove_from_physmap",
           hypercall_memory_op(REMOVE_FROM_PHYSMAP, &remove), 0);
    expect_gone(default_daddr(pages[3]));

    if ( !populate(&gfn) )
        return;
    gfn = virt_to_gfn(pages[3]);
    if ( populate(&gfn) )
        expect_there(default_daddr(pages[3]), pages[3]);
}

/* The granter's pages are mapped here, at guest frames. */
static void other_domain(void)
{
    const uint64_t daddr = default_daddr(granter_page(1));

    step("another domain's page, while it is mapped");
    memset(granter_page(1), 0x44, PAGE_SIZE);
    expect_there(daddr, granter_page(1));
    granter_end();
    expect_gone(daddr);
}

#else

static void change_memory(void)
{
    unsigned long mfn = virt_to_mfn(pages[1]), new = mfn;

    step("a page is given back to Xen");
    memset(pages[1], 0x77, PAGE_SIZE);
    expect("unmap it here", pte_write(pages[1], 0, 0), 0);
    expect("decrease_reservation", give_back(mfn), 0);
    expect_gone((uint64_t)mfn << PAGE_SHIFT);
    expect_reaches("its neighbour", &devices[FIRST], default_daddr(pages[0]),
                   pages[0]);

    step("a page comes");
    if ( !populate(&new) ||
         !expect("map it here", pte_write(pages[1], new, PTE_READ_WRITE), 0) )
        return;
    fact_hex("new_frame", new);
    expect_there((uint64_t)new << PAGE_SHIFT, pages[1]);
}

/* A page table is not for devices; in the default context it may be. */
static void change_place(void)
{
    const unsigned long mfn = virt_to_mfn(pages[2]);
    mmuext_op_t op = { .cmd = MMUEXT_PIN_L1_TABLE, .arg1.mfn = mfn };

    step("a page becomes a page table, and ceases to be one");

    memset(pages[2], 0, PAGE_SIZE);
    expect("map it for reading only", pte_write(pages[2], mfn, PTE_READ_ONLY),
           0);
    expect("pin", hypercall_mmuext_op(&op, 1, NULL, DOMID_SELF), 0);
    expect_not_filled("a page table", &devices[FIRST],
                      default_daddr(pages[2]), pages[2]);
    expect_not_filled("a page table", &devices[SECOND],
                      default_daddr(pages[2]), pages[2]);

    op.cmd = MMUEXT_UNPIN_TABLE;
    expect("unpin", hypercall_mmuext_op(&op, 1, NULL, DOMID_SELF), 0);
    expect("map it to write", pte_write(pages[2], mfn, PTE_READ_WRITE), 0);
    expect_there(default_daddr(pages[2]), pages[2]);
}

/* PV domains have no place where another one's page would be their memory. */
static void other_domain(void)
{
    granter_end();
}

#endif

static void others(void)
{
    struct xen_gdma_context_create empty;
    struct xen_gdma_map shows;
    struct device *dev = &devices[STAYS];

    step("an empty context is empty, and the default one as it was");

    expect_reaches("by default", dev, default_daddr(page), page);
    if ( !expect("create", create(0, 0, &empty), 0) ||
         !expect("map", gdma_map_own_in(empty.context,
                                        virt_to_gfn(device_shows), 1,
                                        READ_WRITE, &shows), 0) ||
         !attach(STAYS, empty.context) )
        return;
    dev->shows = shows.daddr;
    expect_usage(1, 2 * WEIGHT + 1);
    expect_blocked("the domain's memory", dev, default_daddr(page), page);
    attach(STAYS, XEN_GDMA_CONTEXT_DEFAULT);
    dev->shows = default_daddr(device_shows);
    expect("destroy", gdma_context_destroy(empty.context), 0);
    expect_reaches("by default", dev, default_daddr(page), page);
}

static void limits_and_addresses(void)
{
    const unsigned int used = before.used_contexts + 2 * WEIGHT;
    struct xen_gdma_context_create c;
    struct xen_gdma_set_limits old, now;

    step("limits and addresses");

    expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF, XEN_GDMA_LIMIT_KEEP,
                                    used + WEIGHT - 1, &old), 0);
    expect("one context too few", create(XEN_GDMA_CONTEXT_MIRROR, 0, &c),
           -ENOBUFS);
    expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF, XEN_GDMA_LIMIT_KEEP,
                                    used + WEIGHT, &now), 0);
    if ( expect("just enough", create(XEN_GDMA_CONTEXT_MIRROR, 0, &c), 0) )
        expect("destroy", gdma_context_destroy(c.context), 0);
    expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF, XEN_GDMA_LIMIT_KEEP,
                                    old.max_contexts, &now), 0);

    expect("unknown flag", create(XEN_GDMA_CONTEXT_MIRROR << 1, 0, &c),
           -EINVAL);
#ifdef CONFIG_PV
    /* The lab's machines have far less than 4 GiB. */
    if ( expect("for 32-bit devices",
                create(XEN_GDMA_CONTEXT_MIRROR, 0xffffffff, &c), 0) )
    {
        expect_true("a 32-bit range", c.daddr_last <= 0xffffffff);
        expect("destroy", gdma_context_destroy(c.context), 0);
    }
#else
    expect("for 32-bit devices there is nothing above guest addresses",
           create(XEN_GDMA_CONTEXT_MIRROR, 0xffffffff, &c), -EINVAL);
#endif
    expect_usage(0, 2 * WEIGHT);
}

static void come_and_go(void)
{
    struct xen_gdma_context_create c;
    unsigned int bad = 0;

    step("a copy with a device cannot be destroyed");
    expect("destroy", gdma_context_destroy(a.context), -EBUSY);
    expect_own_memory(FIRST);

    step("copies end");
    attach(FIRST, XEN_GDMA_CONTEXT_DEFAULT);
    attach(SECOND, XEN_GDMA_CONTEXT_DEFAULT);
    expect("destroy", gdma_context_destroy(a.context), 0);
    expect("destroy", gdma_context_destroy(b.context), 0);
    expect_usage(0, 0);

    step("%u copies, one after the other, each with a device", ROUNDS);
    for ( unsigned int i = 0; i < ROUNDS; i++ )
    {
        bad += create(XEN_GDMA_CONTEXT_MIRROR, 0, &c) != 0;
        bad += gdma_attach(devices[FIRST].edu.bdf, c.context) != 0;
        bad += gdma_attach(devices[FIRST].edu.bdf,
                           XEN_GDMA_CONTEXT_DEFAULT) != 0;
        bad += gdma_context_destroy(c.context) != 0;
    }
    expect("calls that failed", bad, 0);
    expect_usage(0, 0);
    expect_reaches("by default", &devices[FIRST], default_daddr(page), page);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    for ( unsigned int i = 0; i < NR_DEVICES; i++ )
        if ( !device_open(&devices[i], i) )
            return xtf_skip("This machine has fewer than three edu devices\n");
    if ( gdma_query(&usage) || gdma_stats(XEN_GDMA_DOMID_SELF, &before) )
        return xtf_failure("BAD no answer to query or stats\n");
    if ( usage.max_contexts < before.used_contexts + 3 * WEIGHT )
        return xtf_skip("This test needs room for three copies\n");
    if ( !granter_begin() )
        return;

    if ( !make_copies() || !move_devices() )
        return;
    map_beside();
    change_memory();
    change_place();
    other_domain();
    others();
    limits_and_addresses();
    come_and_go();

    xtf_success(NULL);
}
