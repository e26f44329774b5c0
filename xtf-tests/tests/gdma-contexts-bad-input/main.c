/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-contexts-bad-input/main.c
 * @ref test-gdma-contexts-bad-input
 *
 * @page test-gdma-contexts-bad-input gdma-contexts-bad-input
 *
 * Every wrong input to the commands about contexts has the error that the ABI
 * documents, and changes nothing: usage, the place of the device and what it
 * reaches stay as they were.  With one `edu` device.
 *
 *  1. Whole calls: bad pointers and counts [elements worked on all the same].
 *  2. context_create: padding, flags, an address that leaves no page [a context
 *     that is made and that nobody knows the number of].
 *  3. context_destroy: numbers that are no context's, in every form [an index
 *     that is not checked; the default context lost].
 *  4. device_attach: each field wrong on its own, and the order of errors [a
 *     device moved by a call that fails].
 *  5. map, unmap, lookup, flush: the same numbers.
 *  6. map: addresses outside the context's range, frames that are no memory,
 *     also as the second of a run [a check of a run's first frame only; device
 *     registers or holes mapped].
 *  7. One context's handles and addresses are nothing in another one [handles
 *     looked up without their context].
 *  8. No handle is given out twice for contexts of one number [handles that begin
 *     anew with each context].
 *  9. One bad element does not spoil its neighbours.
 *
 * @see tests/gdma-contexts-bad-input/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: contexts, wrong input";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

/* No status of Xen's: the element was not worked on. */
#define NOT_DONE        1

#define ROUNDS          8u

/* An address with nothing behind it. */
#define BAD_POINTER     _p(0x123456789000UL)

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t pair[2 * PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_query_device before;
static struct xen_gdma_query usage;

/* A context with the device in it, and an empty one. */
static struct xen_gdma_context_create a, b;
static struct xen_gdma_map shows, mapped;

/* Numbers that name no context: never given out, gone, at the ends. */
static uint32_t no_context[8];
static unsigned int nr_no_context;

static void expect_unchanged(void)
{
    struct xen_gdma_query_device now;
    struct xen_gdma_query query;
    struct xen_gdma_stats stats;

    expect("query", gdma_query(&query), 0);
    expect("pinned frames as before", query.used_pins, usage.used_pins);
    expect("mappings as before", query.mappings, usage.mappings);
    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);
    expect("contexts as before", stats.used_contexts, 2);
    expect("query_device", gdma_query_device(device.edu.bdf, &now), 0);
    expect("treatment as before", now.treatment, before.treatment);
    expect("the device's context as before", now.context, before.context);
}

static void expect_working(void)
{
    expect_unchanged();
    expect_reaches("the device goes on", &device, mapped.daddr, page);
}

static void whole_calls(void)
{
    static const unsigned int commands[] = {
        XEN_GDMA_OP_CONTEXT_CREATE, XEN_GDMA_OP_CONTEXT_DESTROY,
        XEN_GDMA_OP_DEVICE_ATTACH, XEN_GDMA_OP_FLUSH, XEN_GDMA_OP_REVOKE,
        XEN_GDMA_OP_SET_LIMITS, XEN_GDMA_OP_STATS,
    };
    uint64_t element[16] = { 0 };

    step("whole calls: bad pointers and counts");

    for ( unsigned int i = 0; i < ARRAY_SIZE(commands); i++ )
    {
        expect("bad pointer", gdma_op(commands[i], BAD_POINTER, 1), -EFAULT);
        expect("no element", gdma_op(commands[i], element, 0), -EINVAL);
        expect("one element too many",
               gdma_op(commands[i], element, XEN_GDMA_MAX_BATCH + 1), -E2BIG);
    }
    for ( unsigned int i = 0; i < ARRAY_SIZE(element); i++ )
        expect_hex("the element is as it was", element[i], 0);

    expect_unchanged();
}

static void expect_create(const char *what,
                          struct xen_gdma_context_create create)
{
    create.status = NOT_DONE;
    expect(what, gdma_op(XEN_GDMA_OP_CONTEXT_CREATE, &create, 1), 0);
    expect(what, create.status, -EINVAL);
}

#define EXPECT_CREATE(what, ...) \
    expect_create(what, (struct xen_gdma_context_create){ __VA_ARGS__ })

static void bad_create(void)
{
    step("context_create");

    EXPECT_CREATE("padding", .pad0 = 1);
    EXPECT_CREATE("highest bit of the padding", .pad0 = 1u << 31);
    for ( unsigned int bit = 0; bit < 32; bit++ )
        if ( 1u << bit != XEN_GDMA_CONTEXT_MIRROR )
            EXPECT_CREATE("an unknown flag", .flags = 1u << bit);
    EXPECT_CREATE("an unknown flag and another one",
                  .flags = XEN_GDMA_CONTEXT_MIRROR | 2);
    EXPECT_CREATE("a copy, padding", .flags = XEN_GDMA_CONTEXT_MIRROR,
                  .pad0 = 1);
    EXPECT_CREATE("one byte", .max_daddr = 1);
    EXPECT_CREATE("one byte less than a page", .max_daddr = PAGE_SIZE - 2);

    expect_unchanged();
}

static void bad_destroy(void)
{
    step("context_destroy");

    expect("the default context",
           gdma_context_destroy(XEN_GDMA_CONTEXT_DEFAULT), -EINVAL);
    for ( unsigned int i = 0; i < nr_no_context; i++ )
        expect("no context", gdma_context_destroy(no_context[i]), -ENOENT);
    expect("with a device", gdma_context_destroy(a.context), -EBUSY);

    expect_working();
}

static void expect_attach(const char *what,
                          struct xen_gdma_device_attach attach, int wanted)
{
    attach.status = NOT_DONE;
    expect(what, gdma_op(XEN_GDMA_OP_DEVICE_ATTACH, &attach, 1), 0);
    expect(what, attach.status, wanted);
}

/* The move of the device to the other context, spoilt. */
#define EXPECT_ATTACH(what, wanted, ...)            \
    do {                                            \
        struct xen_gdma_device_attach op = {        \
            .kind = XEN_GDMA_DEVICE_PCI,            \
            .id = device.edu.bdf,                   \
            .context = b.context,                   \
        };                                          \
                                                    \
        __VA_ARGS__;                                \
        expect_attach(what, op, wanted);            \
    } while ( 0 )

static void bad_attach(void)
{
    pci_bdf_t empty;

    step("device_attach");

    if ( !pci_find_empty(&empty) )
        return xtf_error("Every slot of bus 0 holds a device\n");

    EXPECT_ATTACH("padding", -EINVAL, op.pad0 = 1);
    EXPECT_ATTACH("highest bit of the padding", -EINVAL, op.pad0 = 1u << 31);
    EXPECT_ATTACH("unknown kind", -EINVAL, op.kind = XEN_GDMA_DEVICE_PCI + 1);
    EXPECT_ATTACH("highest kind", -EINVAL, op.kind = ~0u);
    EXPECT_ATTACH("33 bits of id", -EINVAL,
                  op.id = (1ULL << 32) | device.edu.bdf);
    EXPECT_ATTACH("64 bits of id", -EINVAL, op.id = ~0ULL);
    for ( unsigned int i = 0; i < nr_no_context; i++ )
        EXPECT_ATTACH("no context", -ENOENT, op.context = no_context[i]);
    EXPECT_ATTACH("an empty slot", -ENODEV, op.id = empty);
    EXPECT_ATTACH("a function that is not there", -ENODEV,
                  op.id = PCI_BDF(0, PCI_SLOT(empty), 7));
    EXPECT_ATTACH("an empty segment", -ENODEV,
                  op.id = (0xffffu << 16) | device.edu.bdf);
    EXPECT_ATTACH("an empty slot, to the default context", -ENODEV,
                  op.id = empty, op.context = XEN_GDMA_CONTEXT_DEFAULT);

    step("device_attach: which of several errors");
    EXPECT_ATTACH("padding, no context", -EINVAL, op.pad0 = 1,
                  op.context = no_context[0]);
    EXPECT_ATTACH("kind, no context", -EINVAL, op.kind = 1,
                  op.context = no_context[0]);
    EXPECT_ATTACH("id, no context", -EINVAL, op.id = 1ULL << 32,
                  op.context = no_context[0]);
    EXPECT_ATTACH("no context, no device", -ENOENT, op.id = empty,
                  op.context = no_context[0]);

    expect_working();
}

static struct xen_gdma_map good_map(uint32_t context)
{
    return (struct xen_gdma_map){
        .context = context,
        .kind = XEN_GDMA_MAP_OWN,
        .source = virt_to_gfn(pair),
        .nr_frames = 1,
        .flags = READ_WRITE,
    };
}

static void bad_numbers(void)
{
    struct xen_gdma_lookup found;
    struct xen_gdma_map map;

    step("map, unmap, lookup, flush: numbers that are no context's");

    for ( unsigned int i = 0; i < nr_no_context; i++ )
    {
        uint32_t number = no_context[i];
        struct xen_gdma_unmap unmap = {
            .context = number,
            .daddr = mapped.daddr,
            .nr_frames = 1,
            .flags = XEN_GDMA_UNMAP_BY_DADDR,
        };

        map = good_map(number);
        expect("map", gdma_map(&map), -ENOENT);
        expect_hex("device address untouched", map.daddr, 0);
        map = good_map(number);
        map.pad0 = 1;
        expect("map, padding", gdma_map(&map), -EINVAL);
        map = good_map(number);
        map.kind = XEN_GDMA_MAP_GRANT;
        map.domid = DOMID_ABSENT;
        expect("map, no granter", gdma_map(&map), -ENOENT);
        map = good_map(number);
        map.flags |= XEN_GDMA_NO_FLUSH;
        expect("map without a flush", gdma_map(&map), -ENOENT);
        expect("unmap", gdma_unmap_in(number, mapped.handle, 0), -ENOENT);
        expect("unmap without a flush",
               gdma_unmap_in(number, mapped.handle, XEN_GDMA_NO_FLUSH),
               -ENOENT);
        expect("unmap by address", gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
        expect("unmap by address", unmap.status, -ENOENT);
        expect("lookup", gdma_lookup_in(number, XEN_GDMA_LOOKUP_DADDR,
                                        mapped.daddr, &found), -ENOENT);
        expect("lookup by guest address",
               gdma_lookup_in(number, XEN_GDMA_LOOKUP_GADDR,
                              default_daddr(page), &found), -ENOENT);
        expect("flush", gdma_flush(number), -ENOENT);
    }

    expect_working();
}

static void expect_map(const char *what, struct xen_gdma_map map, int wanted)
{
    uint64_t daddr = map.daddr;

    expect(what, gdma_map(&map), wanted);
    expect_hex("device address untouched", map.daddr, daddr);
    if ( !map.status )
        expect("unmap", gdma_unmap_in(map.context, map.handle, 0), 0);
}

#define EXPECT_MAP(what, wanted, ...)               \
    do {                                            \
        struct xen_gdma_map op = good_map(b.context);   \
                                                    \
        __VA_ARGS__;                                \
        expect_map(what, op, wanted);               \
    } while ( 0 )

#define FIXED           op.flags |= XEN_GDMA_MAP_FIXED

static void bad_addresses(void)
{
    const uint64_t end = b.daddr_last + 1;

    step("map: addresses outside the context's range");

    EXPECT_MAP("an address without FIXED", -EINVAL,
               op.daddr = end - PAGE_SIZE);
    EXPECT_MAP("not at a page", -EINVAL, FIXED, op.daddr = b.daddr_first + 1);
    if ( b.daddr_first )
        EXPECT_MAP("below the range", -EINVAL, FIXED,
                   op.daddr = b.daddr_first - PAGE_SIZE);
    EXPECT_MAP("above the range", -EINVAL, FIXED, op.daddr = end);
    EXPECT_MAP("ends above the range", -EINVAL, FIXED, op.nr_frames = 2,
               op.daddr = end - PAGE_SIZE);
    EXPECT_MAP("more than 32 bits", -EINVAL, FIXED, op.daddr = GB(4));
    EXPECT_MAP("the last page there is", -EINVAL, FIXED,
               op.daddr = ~0ULL - PAGE_SIZE + 1);
    EXPECT_MAP("beyond the last page there is", -EINVAL, FIXED,
               op.nr_frames = 2, op.daddr = ~0ULL - PAGE_SIZE + 1);
    EXPECT_MAP("in use", -EEXIST, FIXED, op.context = a.context,
               op.daddr = mapped.daddr);

    expect_unchanged();
}

static void bad_frames(void)
{
    const uint32_t bar = pci_read(device.edu.bdf, PCI_BAR0) & ~0xfu;

    step("map: frames that are no memory of this domain");

    EXPECT_MAP("device registers", -EFAULT, op.source = bar >> PAGE_SHIFT);
    EXPECT_MAP("device registers, for reading", -EFAULT,
               op.source = bar >> PAGE_SHIFT, op.flags = XEN_GDMA_MAP_READ);
    EXPECT_MAP("a frame number of 64 bits", -EFAULT, op.source = ~0ULL);

    /* A PV guest's next frame number is not its next page. */
#ifdef CONFIG_HVM
    if ( make_holes(pair + PAGE_SIZE, 1) )
        return xtf_error("No frame to do without\n");
    EXPECT_MAP("a hole", -EFAULT, op.source = virt_to_gfn(pair) + 1);
    EXPECT_MAP("a run that ends with a hole", -EFAULT, op.nr_frames = 2);
    EXPECT_MAP("a run that begins with a hole", -EFAULT, op.nr_frames = 2,
               op.source = virt_to_gfn(pair) + 1);
#endif

    expect_unchanged();
}

static void other_context(void)
{
    struct xen_gdma_lookup found;
    struct xen_gdma_unmap unmap = {
        .context = b.context,
        .daddr = mapped.daddr,
        .nr_frames = 1,
        .flags = XEN_GDMA_UNMAP_BY_DADDR,
    };

    step("one context's handles and addresses are nothing in another one");

    expect("a handle, in the other context",
           gdma_unmap_in(b.context, mapped.handle, 0), -ENOENT);
    expect("a handle, in the default context", gdma_unmap(mapped.handle),
           -ENOENT);
    expect("an address", gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
    expect("an address, in the other context", unmap.status, -ENOENT);
    expect("lookup in the other context",
           gdma_lookup_in(b.context, XEN_GDMA_LOOKUP_DADDR, mapped.daddr,
                          &found), -ENOENT);
    expect("lookup by guest address in the other context",
           gdma_lookup_in(b.context, XEN_GDMA_LOOKUP_GADDR,
                          default_daddr(page), &found), -ENOENT);
    expect("lookup in the default context",
           gdma_lookup(XEN_GDMA_LOOKUP_DADDR, mapped.daddr, &found), -ENOENT);

    expect("lookup where it is",
           gdma_lookup_in(a.context, XEN_GDMA_LOOKUP_GADDR,
                          default_daddr(page) + 7, &found), 0);
    expect_hex("its address", found.daddr, mapped.daddr + 7);
    expect_hex("its handle", found.handle, mapped.handle);

    expect_working();
}

static void handles_once(void)
{
    uint64_t given[2 * ROUNDS];
    unsigned int nr = 0, same = 0;
    uint32_t number = XEN_GDMA_CONTEXT_DEFAULT;

    step("no handle is given out twice for contexts of one number");

    for ( unsigned int round = 0; round < ROUNDS; round++ )
    {
        struct xen_gdma_context_create fresh;
        struct xen_gdma_map maps[2];

        if ( !expect("create", gdma_context_create(0, &fresh), 0) )
            return;
        if ( !round )
            number = fresh.context;
        for ( unsigned int i = 0; i < ARRAY_SIZE(maps); i++ )
        {
            expect("map", gdma_map_own_in(fresh.context, virt_to_gfn(pair), 1,
                                          READ_WRITE, &maps[i]), 0);
            if ( fresh.context != number )
                continue;
            for ( unsigned int old = 0; old < nr; old++ )
            {
                same += given[old] == maps[i].handle;
                if ( old < nr - i )
                    expect("a handle of an earlier context",
                           gdma_unmap_in(number, given[old], 0), -ENOENT);
            }
            given[nr++] = maps[i].handle;
        }
        expect("destroy", gdma_context_destroy(fresh.context), 0);
    }
    fact_u64("contexts_of_one_number", nr / 2);
    expect("handles given out twice", same, 0);

    expect_working();
}

static void neighbours(void)
{
    struct xen_gdma_context_create creates[3] = { { .flags = 0 } };
    struct xen_gdma_context_destroy destroys[4];
    struct xen_gdma_device_attach attaches[3];
    struct xen_gdma_flush flushes[3];

    step("one bad element does not spoil its neighbours");

    creates[1].pad0 = 1;
    expect("create", gdma_op(XEN_GDMA_OP_CONTEXT_CREATE, creates, 3), 0);
    expect("first", creates[0].status, 0);
    expect("second", creates[1].status, -EINVAL);
    expect("third", creates[2].status, 0);

    for ( unsigned int i = 0; i < 3; i++ )
    {
        flushes[i].context = creates[i].context;
        attaches[i] = (struct xen_gdma_device_attach){
            .kind = XEN_GDMA_DEVICE_PCI,
            .id = device.edu.bdf,
            .context = a.context,
        };
    }
    flushes[1].context = ~0u;
    expect("flush", gdma_op(XEN_GDMA_OP_FLUSH, flushes, 3), 0);
    expect("first", flushes[0].status, 0);
    expect("second", flushes[1].status, -ENOENT);
    expect("third", flushes[2].status, 0);

    attaches[0].context = creates[0].context;
    attaches[1].kind = ~0u;
    expect("attach", gdma_op(XEN_GDMA_OP_DEVICE_ATTACH, attaches, 3), 0);
    expect("first", attaches[0].status, 0);
    expect("second", attaches[1].status, -EINVAL);
    expect("third, back again", attaches[2].status, 0);

    destroys[0].context = creates[0].context;
    destroys[1].context = a.context;
    destroys[2].context = creates[2].context;
    destroys[3].context = creates[0].context;
    expect("destroy", gdma_op(XEN_GDMA_OP_CONTEXT_DESTROY, destroys, 4), 0);
    expect("first", destroys[0].status, 0);
    expect("second, with a device", destroys[1].status, -EBUSY);
    expect("third", destroys[2].status, 0);
    expect("fourth, gone", destroys[3].status, -ENOENT);

    expect_working();
}

static bool prepare(void)
{
    struct xen_gdma_context_create gone;

    if ( gdma_context_create(0, &a) ||
         gdma_context_create(0xffffffff, &b) ||
         gdma_context_create(0, &gone) ||
         gdma_map_own_in(a.context, virt_to_gfn(device_shows), 1, READ_WRITE,
                         &shows) ||
         gdma_map_own_in(a.context, virt_to_gfn(page), 1, READ_WRITE,
                         &mapped) ||
         gdma_attach(device.edu.bdf, a.context) ||
         gdma_context_destroy(gone.context) ||
         gdma_query(&usage) || gdma_query_device(device.edu.bdf, &before) )
    {
        xtf_failure("BAD contexts cannot be made, used and destroyed\n");
        return false;
    }
    device.shows = shows.daddr;

    no_context[nr_no_context++] = gone.context;
    no_context[nr_no_context++] = max(max(a.context, b.context),
                                      gone.context) + 1;
    no_context[nr_no_context++] = 0x7fffu;
    no_context[nr_no_context++] = 0xffffu;
    no_context[nr_no_context++] = 0x10000u;
    /* Cut to 16 bits, this would be the device's context. */
    no_context[nr_no_context++] = 0x10000u + a.context;
    no_context[nr_no_context++] = 0x80000000u + a.context;
    no_context[nr_no_context++] = 0xffffffffu;

    return true;
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( !prepare() )
        return;

    expect_working();
    whole_calls();
    bad_create();
    bad_destroy();
    bad_attach();
    bad_numbers();
    bad_addresses();
    bad_frames();
    other_context();
    handles_once();
    neighbours();

    xtf_success(NULL);
}
