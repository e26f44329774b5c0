/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-register-form/main.c
 * @ref test-gdma-register-form
 *
 * @page test-gdma-register-form gdma-register-form
 *
 * map and unmap of one frame with everything in registers do what the array form
 * does.  For the domain that owns the machine, PVH or PV, with two `edu` devices:
 * one in a context of its own, one in the default context.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. An own frame: in the context's range, counted, found by lookup, reached by
 *     the device; blocked after unmap [the wrong frame or context; a mapping that
 *     nobody counts or finds; no IOTLB flush].
 *  2. The context's number is heeded, and what devices may do [bits mixed up].
 *  3. A grant, of the caller under both its names: in use while it is mapped
 *     [a grant given back early or never; domain id and reference mixed up].
 *  4. NO_FLUSH: the frame stays pinned, and its grant in use, until a flush or an
 *     unmap with one; a mapping made with it is there after a flush.
 *  5. Either form unmaps what the other one mapped, one frame exactly [a run cut
 *     in two; handles that outlive their mapping].
 *  6. An address that is used again leads to the new page only.
 *  7. Every wrong input has its error and changes nothing.
 *  8. The limit of pinned frames is exact.
 *  9. The default context, where it takes mappings.
 * 10. The end of a context gives its frames back.
 * 11. Nothing is left behind, and the counters moved by what was done.
 *
 * For a 32-bit caller, instead: both commands are refused, and nothing changes.
 *
 * @see tests/gdma-register-form/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: everything in registers";

#define RW              (XEN_GDMA_REG_READ | XEN_GDMA_REG_WRITE)

static uint8_t page[PAGE_SIZE] __page_aligned_bss;

#ifdef CONFIG_64BIT

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define IN_USE          (GTF_reading | GTF_writing)
#define NO_CONTEXT      0x7777u
#define REF             FIRST_FREE_REF
#define REF_NEXT        (FIRST_FREE_REF + 1)
#define REF_RO          (FIRST_FREE_REF + 2)
#define REF_EMPTY       (FIRST_FREE_REF + 3)
#define REF_BEYOND      0x00ffffffu
#define MANY            40u

static uint8_t other_page[PAGE_SIZE] __page_aligned_bss;
static uint8_t granted[2 * PAGE_SIZE] __page_aligned_bss;
#ifdef CONFIG_HVM
static uint8_t hole[PAGE_SIZE] __page_aligned_bss;
#endif

/* In a context of its own; in the default context. */
static struct device device, bystander;
static struct xen_gdma_context_create a, b;
static struct xen_gdma_map shows;
static struct xen_gdma_stats start;
static domid_t self;

/* Mappings that this test has made with success, in either form. */
static unsigned int made, made_frames;

/* Frames and mappings besides what the whole test keeps: device_shows[]. */
static void expect_usage(unsigned int pins, unsigned int mappings)
{
    struct xen_gdma_query query;

    expect("query", gdma_query(&query), 0);
    expect("pinned frames", query.used_pins, start.used_pins + 1 + pins);
    expect("mappings", query.mappings, 1 + mappings);
}

static uint64_t flushes(void)
{
    struct xen_gdma_stats stats;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);

    return stats.flushes;
}

static bool prepare(void)
{
    /*
     * device_shows[] is where no chosen address of the other context is, and a
     * neighbour of this one's, so that no table of the IOMMU becomes empty.
     */
    if ( gdma_stats(XEN_GDMA_DOMID_SELF, &start) ||
         gdma_context_create(0, &a) || gdma_context_create(0, &b) ||
         gdma_map_own_at(a.context, a.daddr_first + 2 * MANY * PAGE_SIZE,
                         virt_to_gfn(device_shows), 1, READ_WRITE, &shows) ||
         gdma_attach(device.edu.bdf, a.context) )
    {
        xtf_failure("BAD no context with a device\n");
        return false;
    }
    device.shows = shows.daddr;
    made = made_frames = 1;

    gnttab_grant_access(REF, self, virt_to_gfn(granted), 0);
    gnttab_grant_access(REF_NEXT, self, virt_to_gfn(granted + PAGE_SIZE), 0);
    gnttab_grant_access(REF_RO, self, virt_to_gfn(other_page), GTF_readonly);

    return true;
}

/* Map, which must go well; 0 if it does not. */
static uint64_t map_reg(const struct xen_gdma_context_create *context,
                        uint64_t source, uint32_t flags)
{
    long daddr = gdma_map_reg(source, context->context | flags);

    if ( daddr <= 0 )
    {
        xtf_failure("BAD map: got %ld, expected a device address\n", daddr);
        return 0;
    }
    made++;
    made_frames++;

    expect_true("a page's address", IS_ALIGNED(daddr, PAGE_SIZE));
    expect_true("in the context's range",
                (uint64_t)daddr >= context->daddr_first &&
                (uint64_t)daddr + PAGE_SIZE - 1 <= context->daddr_last);

    return daddr;
}

static uint64_t map_page(const void *va)
{
    return map_reg(&a, virt_to_gfn(va), RW);
}

static void unmap_reg(uint64_t daddr)
{
    expect("unmap", gdma_unmap_reg(daddr, a.context), 0);
}

static int unmap_by_daddr(uint64_t daddr, unsigned int nr)
{
    struct xen_gdma_unmap unmap = {
        .context = a.context,
        .daddr = daddr,
        .nr_frames = nr,
        .flags = XEN_GDMA_UNMAP_BY_DADDR,
    };
    long rc = gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1);

    return rc ? rc : unmap.status;
}

static void expect_found(uint32_t context, uint64_t daddr, uint64_t source,
                         unsigned int kind, unsigned int flags)
{
    struct xen_gdma_lookup found;

    if ( !expect("lookup", gdma_lookup_in(context, XEN_GDMA_LOOKUP_DADDR,
                                          daddr + 0x123, &found), 0) )
        return;
    expect_hex("device address", found.daddr, daddr + 0x123);
    expect_hex("source", found.source, source + 0x123);
    expect("kind", found.source_kind, kind);
    expect("owner", found.domid, self);
    expect("flags", found.flags, flags);
    expect("frames", found.nr_frames, 1);
}

static void expect_nothing_at(uint32_t context, uint64_t daddr)
{
    struct xen_gdma_lookup found;

    expect("lookup finds nothing",
           gdma_lookup_in(context, XEN_GDMA_LOOKUP_DADDR, daddr, &found),
           -ENOENT);
}

static void own_frame(void)
{
    const uint64_t gaddr = (uint64_t)virt_to_gfn(page) << PAGE_SHIFT;
    struct xen_gdma_lookup found;
    uint64_t daddr, before;

    step("an own frame");

    before = flushes();
    daddr = map_page(page);
    if ( !daddr )
        return;
    fact_hex("device_address", daddr);
    expect_usage(1, 1);
    expect_found(a.context, daddr, gaddr, XEN_GDMA_MAP_OWN, READ_WRITE);
    expect("lookup by guest address",
           gdma_lookup_in(a.context, XEN_GDMA_LOOKUP_GADDR, gaddr + 9, &found),
           0);
    expect_hex("device address", found.daddr, daddr + 9);
    expect_reaches("the frame", &device, daddr, page);
    expect_blocked("the page behind it", &device, daddr + PAGE_SIZE,
                   other_page);

    unmap_reg(daddr);
    expect("flushes", flushes() - before, 1);
    expect_usage(0, 0);
    expect_blocked("after unmap", &device, daddr, page);
    expect("unmap again", gdma_unmap_reg(daddr, a.context), -ENOENT);
    expect_nothing_at(a.context, daddr);
}

static void context_and_rights(void)
{
    const uint64_t gaddr = (uint64_t)virt_to_gfn(page) << PAGE_SHIFT;
    uint64_t daddr;

    step("the context's number, and what devices may do");

    daddr = map_reg(&b, virt_to_gfn(page), RW);
    if ( daddr )
    {
        expect_nothing_at(a.context, daddr);
        expect_nothing_at(XEN_GDMA_CONTEXT_DEFAULT, daddr);
        expect("unmap in another context",
               gdma_unmap_reg(daddr, a.context), -ENOENT);
        expect("unmap in the default context",
               gdma_unmap_reg(daddr, XEN_GDMA_CONTEXT_DEFAULT), -ENOENT);
        expect("unmap in no context", gdma_unmap_reg(daddr, NO_CONTEXT),
               -ENOENT);
        expect_usage(1, 1);
        expect_found(b.context, daddr, gaddr, XEN_GDMA_MAP_OWN, READ_WRITE);
        expect_blocked("another context's frame", &device, daddr, page);
        expect("unmap", gdma_unmap_reg(daddr, b.context), 0);
    }

    daddr = map_reg(&a, virt_to_gfn(page), XEN_GDMA_REG_READ);
    if ( daddr )
    {
        expect_found(a.context, daddr, gaddr, XEN_GDMA_MAP_OWN,
                     XEN_GDMA_MAP_READ);
        expect_reads("a mapping for reading", &device, daddr, page);
        expect_not_written("a mapping for reading", &device, daddr, page);
        unmap_reg(daddr);
    }

    daddr = map_reg(&a, virt_to_gfn(page), XEN_GDMA_REG_WRITE);
    if ( daddr )
    {
        expect_found(a.context, daddr, gaddr, XEN_GDMA_MAP_OWN,
                     XEN_GDMA_MAP_WRITE);
        expect_writes("a mapping for writing", &device, daddr, page);
        unmap_reg(daddr);
    }

    expect_usage(0, 0);
}

static void one_grant(domid_t domid, grant_ref_t ref, void *va)
{
    uint64_t daddr = map_reg(&a, gdma_reg_grant(domid, ref),
                             RW | XEN_GDMA_REG_GRANT);

    if ( !daddr )
        return;
    expect_usage(1, 1);
    expect_found(a.context, daddr, (uint64_t)ref << PAGE_SHIFT,
                 XEN_GDMA_MAP_GRANT, READ_WRITE);
    expect("in use", gnttab_entry_flags(ref) & IN_USE, IN_USE);
    expect("withdraw", gnttab_end_access(ref), -EBUSY);
    expect_reaches("the grant", &device, daddr, va);

    unmap_reg(daddr);
    expect("in use", gnttab_entry_flags(ref) & IN_USE, 0);
    expect_blocked("after unmap", &device, daddr, va);
    expect_usage(0, 0);
}

static void grants(void)
{
    uint64_t daddr;

    step("grants");

    one_grant(XEN_GDMA_DOMID_SELF, REF, granted);
    one_grant(self, REF_NEXT, granted + PAGE_SIZE);

    daddr = map_reg(&a, gdma_reg_grant(self, REF_RO),
                    XEN_GDMA_REG_READ | XEN_GDMA_REG_GRANT);
    if ( !daddr )
        return;
    expect("in use for reading", gnttab_entry_flags(REF_RO) & IN_USE,
           GTF_reading);
    expect_reads("a grant for reading", &device, daddr, other_page);
    expect_not_written("a grant for reading", &device, daddr, other_page);
    unmap_reg(daddr);
    expect_usage(0, 0);
}

static void deferred(void)
{
    uint64_t first, second, before;

    step("without a flush");

    first = map_reg(&a, gdma_reg_grant(self, REF), RW | XEN_GDMA_REG_GRANT);
    if ( !first )
        return;
    expect_reaches("mapped", &device, first, granted);
    before = flushes();
    expect("unmap", gdma_unmap_reg(first, a.context | XEN_GDMA_REG_NO_FLUSH),
           0);
    expect("flushes", flushes() - before, 0);
    expect_usage(1, 0);
    expect("in use", gnttab_entry_flags(REF) & IN_USE, IN_USE);
    expect("unmap again",
           gdma_unmap_reg(first, a.context | XEN_GDMA_REG_NO_FLUSH), -ENOENT);
    expect("flush of another context", gdma_flush(b.context), 0);
    expect_usage(1, 0);
    expect("flush", gdma_flush(a.context), 0);
    expect("flushes", flushes() - before, 1);
    expect_usage(0, 0);
    expect("in use", gnttab_entry_flags(REF) & IN_USE, 0);
    expect_blocked("after the flush", &device, first, granted);

    step("an unmap with a flush completes it");
    first = map_page(page);
    second = map_page(other_page);
    if ( !first || !second )
        return;
    expect_reaches("the first", &device, first, page);
    before = flushes();
    expect("unmap", gdma_unmap_reg(first, a.context | XEN_GDMA_REG_NO_FLUSH),
           0);
    expect_usage(2, 1);
    unmap_reg(second);
    expect("flushes", flushes() - before, 1);
    expect_usage(0, 0);
    expect_blocked("the first", &device, first, page);

    step("map without a flush, then flush");
    first = map_reg(&a, virt_to_gfn(page), RW | XEN_GDMA_REG_NO_FLUSH);
    if ( !first )
        return;
    expect_usage(1, 1);
    expect("flush", gdma_flush(a.context), 0);
    expect_reaches("after the flush", &device, first, page);
    unmap_reg(first);
    expect_usage(0, 0);
}

static void both_forms(void)
{
    struct xen_gdma_map map;
    uint64_t daddr;

    step("the array form unmaps what registers mapped, by its address");
    daddr = map_page(page);
    if ( !daddr )
        return;
    expect("two frames", unmap_by_daddr(daddr, 2), -ENOENT);
    expect("by the handle 0", gdma_unmap_in(a.context, 0, 0), -ENOENT);
    expect_usage(1, 1);
    expect_reaches("mapped", &device, daddr, page);
    expect("one frame", unmap_by_daddr(daddr, 1), 0);
    expect_blocked("after unmap", &device, daddr, page);
    expect("unmap again", gdma_unmap_reg(daddr, a.context), -ENOENT);
    expect_usage(0, 0);

    step("registers unmap what the array form mapped");
    if ( !expect("map", gdma_map_own_in(a.context, virt_to_gfn(page), 1,
                                        READ_WRITE, &map), 0) )
        return;
    made++;
    made_frames++;
    expect_reaches("mapped", &device, map.daddr, page);
    unmap_reg(map.daddr);
    expect_blocked("after unmap", &device, map.daddr, page);
    expect("by its handle", gdma_unmap_in(a.context, map.handle, 0), -ENOENT);
    expect_usage(0, 0);

    step("but no part of a run");
    if ( !expect("map", gdma_map_grants_in(a.context, self, REF, 2, READ_WRITE,
                                           &map), 0) )
        return;
    made++;
    made_frames += 2;
    expect("its first frame", gdma_unmap_reg(map.daddr, a.context), -ENOENT);
    expect("its last frame",
           gdma_unmap_reg(map.daddr + PAGE_SIZE, a.context), -ENOENT);
    expect_usage(2, 1);
    expect_reaches("its first frame", &device, map.daddr, granted);
    expect_reaches("its last frame", &device, map.daddr + PAGE_SIZE,
                   granted + PAGE_SIZE);
    expect("unmap", gdma_unmap_in(a.context, map.handle, 0), 0);
    expect_usage(0, 0);
}

static void addresses(void)
{
    static uint64_t daddr[MANY];
    struct xen_gdma_map map;
    unsigned int same = 0;

    step("many at once, each at an address of its own");

    for ( unsigned int i = 0; i < MANY; i++ )
    {
        daddr[i] = map_page(i & 1 ? page : other_page);
        if ( !daddr[i] )
            return;
        for ( unsigned int j = 0; j < i; j++ )
            same += daddr[i] == daddr[j];
    }
    expect("addresses given out twice", same, 0);
    expect_usage(MANY, MANY);
    expect_reaches("an even one", &device, daddr[MANY - 2], other_page);
    expect_reaches("an odd one", &device, daddr[MANY - 1], page);
    for ( unsigned int i = 0; i < MANY; i++ )
        unmap_reg(daddr[i]);
    expect_usage(0, 0);

    step("an address that is used again");
    daddr[0] = map_page(page);
    if ( !daddr[0] )
        return;
    expect_reaches("the old page", &device, daddr[0], page);
    unmap_reg(daddr[0]);
    if ( !expect("map at the same address",
                 gdma_map_own_at(a.context, daddr[0], virt_to_gfn(other_page),
                                 1, READ_WRITE, &map), 0) )
        return;
    made++;
    made_frames++;
    expect_reaches("the new page", &device, daddr[0], other_page);
    expect_elsewhere("the old page", &device, daddr[0], page);
    unmap_reg(daddr[0]);
    expect_usage(0, 0);
}

#define expect_refused(what, source, bits, error) \
    expect(what, gdma_map_reg(source, bits), error)

static void wrong_input(void)
{
    const uint64_t own = virt_to_gfn(page), grant = gdma_reg_grant(self, REF);
    const uint32_t in_a = a.context | RW, by_ref = in_a | XEN_GDMA_REG_GRANT;
    uint64_t daddr;

    step("map: wrong bits");
    for ( unsigned int bit = 20; bit < 32; bit++ )
        expect_refused("an unknown bit", own, in_a | (1u << bit), -EINVAL);
    expect_refused("neither READ nor WRITE", own, a.context, -EINVAL);
    expect_refused("no context", own, NO_CONTEXT | RW, -ENOENT);
    expect_refused("the highest context", own, XEN_GDMA_REG_CONTEXT | RW,
                   -ENOENT);
    /* In the order of the errors of xen_gdma_map. */
    expect_refused("no context, neither READ nor WRITE", own, NO_CONTEXT,
                   -EINVAL);
    expect_refused("no context, no granter",
                   gdma_reg_grant(DOMID_ABSENT, REF),
                   NO_CONTEXT | RW | XEN_GDMA_REG_GRANT, -ENOENT);

    step("map: frames that are no memory");
    expect_refused("a device's registers",
                   (pci_read(device.edu.bdf, PCI_BAR0) & ~0xfu) >> PAGE_SHIFT,
                   in_a, -EFAULT);
    expect_refused("interrupts", 0xfee00, in_a, -EFAULT);
#ifdef CONFIG_HVM
    /* A PV guest's frame is its own while a page table entry has it. */
    if ( make_holes(hole, 1) )
        return xtf_error("No frame to do without\n");
    expect_refused("a hole", virt_to_gfn(hole), in_a, -EFAULT);
#endif
    expect_refused("the highest frame", ~0ULL, in_a, -EFAULT);
    /* A grant's form, without the bit that makes it one. */
    expect_refused("a frame above 32 bits", (1ULL << 32) | own, in_a, -EFAULT);

    step("map: grants that are none");
    expect_refused("no such granter", gdma_reg_grant(DOMID_ABSENT, REF),
                   by_ref, -ESRCH);
    for ( unsigned int bit = 48; bit < 64; bit++ )
        expect_refused("a granter of more than 16 bits",
                       (1ULL << bit) | grant, by_ref, -EINVAL);
    expect_refused("beyond the table", gdma_reg_grant(self, REF_BEYOND),
                   by_ref, -ERANGE);
    expect_refused("the highest reference", gdma_reg_grant(self, ~0u), by_ref,
                   -ERANGE);
    expect_refused("an empty entry", gdma_reg_grant(self, REF_EMPTY), by_ref,
                   -EACCES);
    expect_refused("write through a read-only grant",
                   gdma_reg_grant(self, REF_RO), by_ref, -EACCES);
    for ( grant_ref_t ref = REF; ref <= REF_EMPTY; ref++ )
        expect("in use", gnttab_entry_flags(ref) & IN_USE, 0);
    expect_usage(0, 0);

    step("unmap: wrong bits and addresses");
    daddr = map_page(page);
    if ( !daddr )
        return;
    for ( unsigned int bit = 20; bit < 32; bit++ )
        expect("an unknown bit",
               gdma_unmap_reg(daddr, a.context | (1u << bit)), -EINVAL);
    for ( unsigned int bit = 16; bit < 19; bit++ )
        expect("READ, WRITE, GRANT: map's alone",
               gdma_unmap_reg(daddr, a.context | (1u << bit)), -EINVAL);
    expect("not a page's address", gdma_unmap_reg(daddr + 1, a.context),
           -EINVAL);
    expect("no context", gdma_unmap_reg(daddr, NO_CONTEXT), -ENOENT);
    expect("another context", gdma_unmap_reg(daddr, b.context), -ENOENT);
    expect("address 0", gdma_unmap_reg(0, a.context), -ENOENT);
    expect("the highest address", gdma_unmap_reg(~0ULL << PAGE_SHIFT,
                                                 a.context), -ENOENT);
    expect("the same but for a high bit",
           gdma_unmap_reg(daddr ^ (1ULL << 62), a.context), -ENOENT);
    expect_usage(1, 1);
    expect_reaches("after all that", &device, daddr, page);
    unmap_reg(daddr);
    expect_usage(0, 0);
}

static void quota(void)
{
    struct xen_gdma_set_limits set;
    uint32_t before;
    uint64_t daddr;

    step("the limit of pinned frames");

    if ( !expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF,
                                          start.used_pins + 2,
                                          XEN_GDMA_LIMIT_KEEP, &set), 0) )
        return;
    before = set.max_pins;
    daddr = map_page(page);
    if ( daddr )
    {
        expect_refused("one more", virt_to_gfn(other_page), a.context | RW,
                       -ENOBUFS);
        expect_refused("one more, grant", gdma_reg_grant(self, REF),
                       a.context | RW | XEN_GDMA_REG_GRANT, -ENOBUFS);
        expect("in use", gnttab_entry_flags(REF) & IN_USE, 0);
        expect_usage(1, 1);
        unmap_reg(daddr);
    }
    expect("limit", gdma_set_limits(XEN_GDMA_DOMID_SELF, before,
                                    XEN_GDMA_LIMIT_KEEP, &set), 0);
    expect_usage(0, 0);
}

static void default_context(void)
{
    struct xen_gdma_context_create context = {
        .context = XEN_GDMA_CONTEXT_DEFAULT,
    };
    struct xen_gdma_query query;
    uint64_t daddr;

    step("the default context");

    expect("query", gdma_query(&query), 0);
    fact_u64("default_context_maps",
             !!(query.capabilities & XEN_GDMA_CAP_DEFAULT_CONTEXT));
    if ( !(query.capabilities & XEN_GDMA_CAP_DEFAULT_CONTEXT) )
    {
        expect_refused("an own frame", virt_to_gfn(page), RW, -EOPNOTSUPP);
        expect_refused("a grant", gdma_reg_grant(self, REF),
                       RW | XEN_GDMA_REG_GRANT, -EOPNOTSUPP);
        expect("in use", gnttab_entry_flags(REF) & IN_USE, 0);
        expect_usage(0, 0);
        return;
    }

    context.daddr_first = query.daddr_first;
    context.daddr_last = query.daddr_last;
    daddr = map_reg(&context, gdma_reg_grant(self, REF),
                    RW | XEN_GDMA_REG_GRANT);
    if ( !daddr )
        return;
    expect_usage(1, 1);
    expect_reaches("a device of the default context", &bystander, daddr,
                   granted);
    expect_blocked("a device of another context", &device, daddr, granted);
    expect("unmap", gdma_unmap_reg(daddr, XEN_GDMA_CONTEXT_DEFAULT), 0);
    /* By machine addresses a device reaches the domain's own memory anyway. */
    if ( !(query.capabilities & XEN_GDMA_CAP_IDENTITY) )
        expect_blocked("after unmap", &bystander, daddr, granted);
    expect_usage(0, 0);
}

static void end_of_context(void)
{
    uint64_t own, grant;

    step("the end of a context");

    own = map_reg(&b, virt_to_gfn(page), RW);
    grant = map_reg(&b, gdma_reg_grant(self, REF), RW | XEN_GDMA_REG_GRANT);
    expect_usage(!!own + !!grant, !!own + !!grant);
    expect("destroy", gdma_context_destroy(b.context), 0);
    expect_usage(0, 0);
    expect("in use", gnttab_entry_flags(REF) & IN_USE, 0);
    expect("unmap", gdma_unmap_reg(own, b.context), -ENOENT);
    expect_refused("map", virt_to_gfn(page), b.context | RW, -ENOENT);
}

static void nothing_left(void)
{
    struct xen_gdma_stats now;

    step("nothing is left behind");

    expect("detach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    expect("unmap", gdma_unmap_reg(shows.daddr, a.context), 0);
    expect("destroy", gdma_context_destroy(a.context), 0);
    for ( grant_ref_t ref = REF; ref <= REF_RO; ref++ )
        expect("withdraw", gnttab_end_access(ref), 0);

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &now), 0);
    expect("pinned frames", now.used_pins, start.used_pins);
    expect("contexts", now.used_contexts, start.used_contexts);
    expect("mappings made", now.maps - start.maps, made);
    expect("mappings ended", now.unmaps - start.unmaps, made);
    expect("frames mapped", now.mapped_frames - start.mapped_frames,
           made_frames);
    expect("frames unmapped", now.unmapped_frames - start.unmapped_frames,
           made_frames);
    expect("failed flushes", now.failed_flushes, start.failed_flushes);
}

static void register_form(void)
{
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) || !device_open(&bystander, 1) )
        return xtf_skip("This machine has fewer than two edu devices\n");
    if ( xtf_init_grant_table(1) )
        return xtf_error("No grant table\n");

    self = own_domid();
    if ( !prepare() )
        return;

    own_frame();
    context_and_rights();
    grants();
    deferred();
    both_forms();
    addresses();
    wrong_input();
    quota();
    default_context();
    end_of_context();
    nothing_left();
}

#else /* !CONFIG_64BIT */

static void register_form(void)
{
    struct xen_gdma_query before, now;
    int rc = gdma_query(&before);

    if ( rc == -ENOSYS )
        return xtf_skip("This Xen has no grant-DMA hypercall\n");
    if ( !expect("query", rc, 0) )
        return;

    step("a 32-bit caller is refused");

    expect("map", gdma_map_reg(virt_to_gfn(page),
                               XEN_GDMA_CONTEXT_DEFAULT | RW), -EOPNOTSUPP);
    expect("unmap", gdma_unmap_reg(PAGE_SIZE, XEN_GDMA_CONTEXT_DEFAULT),
           -EOPNOTSUPP);

    expect("query", gdma_query(&now), 0);
    expect("pinned frames", now.used_pins, before.used_pins);
    expect("mappings", now.mappings, before.mappings);
}

#endif

void test_main(void)
{
    if ( !owns_machine() )
        return;

    register_form();

    xtf_success(NULL);
}
