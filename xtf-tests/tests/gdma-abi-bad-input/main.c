/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-abi-bad-input/main.c
 * @ref test-gdma-abi-bad-input
 *
 * @page test-gdma-abi-bad-input gdma-abi-bad-input
 *
 * Every kind of wrong input to the grant-DMA hypercall has the error the ABI
 * documents for it, and changes nothing: usage, grants and the output fields
 * of the element stay as they were.
 *
 *  1. Whole calls: unknown commands, bad pointers, bad counts.
 *  2. map: each field wrong on its own.
 *  3. map: sources that cannot be mapped.
 *  4. map: a fixed device address that is unusable or taken.
 *  5. unmap: wrong handles, wrong ranges, a second time.
 *  6. lookup: each field wrong on its own, and nothing there.
 *  7. One bad element does not spoil its neighbours.
 *
 * Where the caller's default context takes no mapping, what would be found
 * out later than that answers -EOPNOTSUPP.
 *
 * @see tests/gdma-abi-bad-input/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: wrong input";

#define REF             FIRST_FREE_REF          /* A good grant. */
#define REF_RO          (FIRST_FREE_REF + 1)    /* Read-only. */
#define REF_OTHER       (FIRST_FREE_REF + 2)    /* To another domain. */
#define REF_EMPTY       (FIRST_FREE_REF + 3)    /* Grants nothing. */
#define REF_HOLE        (FIRST_FREE_REF + 4)    /* Of a frame without memory. */
#define REF_BEYOND      0x00ffffffu

#define DOMID_ABSENT    0x7000u
#define NO_CONTEXT      77u
#define NO_HANDLE       0x7ffffffffffffff0ULL

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define ALL_MAP_FLAGS   \
    (READ_WRITE | XEN_GDMA_MAP_FIXED | XEN_GDMA_NO_FLUSH)
#define IN_USE          (GTF_reading | GTF_writing)

/* What output fields hold before a call; a failing element leaves it. */
#define UNTOUCHED       0x1122334455667000ULL

/* An address with nothing behind it, in any environment. */
#ifdef CONFIG_64BIT
#define BAD_POINTER     _p(0x123456789000UL)
#else
/* Above all memory and below all devices of a PC with less than 2 GiB. */
#define BAD_POINTER     _p(0xa5678000UL)
#endif

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t hole[PAGE_SIZE] __page_aligned_bss;
static unsigned long hole_gfn;

static domid_t self;
static struct xen_gdma_query limits;
static bool usable;

/* The error of anything that comes after the check of the context. */
static int later(int error)
{
    return usable ? error : -EOPNOTSUPP;
}

static void expect_unchanged(void)
{
    struct xen_gdma_query now;

    expect("query", gdma_query(&now), 0);
    expect("pinned frames as before", now.used_pins, limits.used_pins);
    expect("mappings as before", now.mappings, limits.mappings);

    for ( grant_ref_t ref = REF; ref <= REF_HOLE; ref++ )
        expect("no grant in use", gnttab_entry_flags(ref) & IN_USE, 0);
}

/* A map of the good grant, and of the good page, to be spoilt. */
static struct xen_gdma_map good_grant(void)
{
    return (struct xen_gdma_map){
        .kind = XEN_GDMA_MAP_GRANT,
        .domid = self,
        .source = REF,
        .nr_frames = 1,
        .flags = READ_WRITE,
    };
}

static struct xen_gdma_map good_own(void)
{
    return (struct xen_gdma_map){
        .kind = XEN_GDMA_MAP_OWN,
        .source = virt_to_gfn(page),
        .nr_frames = 1,
        .flags = READ_WRITE,
    };
}

static void expect_map(const char *what, struct xen_gdma_map map, int wanted)
{
    uint64_t daddr = map.daddr;

    map.handle = UNTOUCHED;
    expect(what, gdma_map(&map), wanted);
    if ( wanted )
        expect_hex("device address untouched", map.daddr, daddr);
}

#define EXPECT_MAP(what, source, change, wanted)        \
    do {                                                \
        struct xen_gdma_map map_ = source;              \
                                                        \
        map_.change;                                    \
        expect_map(what, map_, wanted);                 \
    } while ( 0 )

static void whole_calls(void)
{
    static const unsigned int unknown[] = {
        18, 255, 0x7fffffffu, 0xffffffffu, 0x800000ffu,
    };
    struct xen_gdma_map map = good_grant();

    step("whole calls: unknown commands, bad pointers, bad counts");

    for ( unsigned int i = 0; i < ARRAY_SIZE(unknown); i++ )
        expect("an unknown command", gdma_op(unknown[i], &map, 1), -ENOSYS);

    expect("query, bad pointer", gdma_op(XEN_GDMA_OP_QUERY, BAD_POINTER, 1),
           -EFAULT);
    expect("map, bad pointer", gdma_op(XEN_GDMA_OP_MAP, BAD_POINTER, 1),
           -EFAULT);
    expect("unmap, bad pointer", gdma_op(XEN_GDMA_OP_UNMAP, BAD_POINTER, 1),
           -EFAULT);
    expect("lookup, bad pointer", gdma_op(XEN_GDMA_OP_LOOKUP, BAD_POINTER, 1),
           -EFAULT);

    expect("no element", gdma_op(XEN_GDMA_OP_MAP, &map, 0), -EINVAL);
    expect("one element too many",
           gdma_op(XEN_GDMA_OP_MAP, &map, XEN_GDMA_MAX_BATCH + 1), -E2BIG);
    expect("as many as a register holds", gdma_op(XEN_GDMA_OP_MAP, &map, ~0U),
           -E2BIG);

    expect_unchanged();
}

static void map_fields(void)
{
    step("map: each field wrong on its own");

    EXPECT_MAP("padding", good_grant(), pad0 = 1, -EINVAL);
    EXPECT_MAP("kind", good_grant(), kind = XEN_GDMA_MAP_GRANT_DMA + 1,
               -EINVAL);
    EXPECT_MAP("unknown flag", good_grant(), flags |= ALL_MAP_FLAGS + 1,
               -EINVAL);
    EXPECT_MAP("highest flag", good_grant(), flags |= 1u << 31, -EINVAL);
    EXPECT_MAP("no access at all", good_grant(), flags = 0, -EINVAL);
    EXPECT_MAP("no frame", good_grant(), nr_frames = 0, -EINVAL);
    EXPECT_MAP("too many frames", good_grant(),
               nr_frames = XEN_GDMA_MAX_FRAMES + 1, -EINVAL);
    EXPECT_MAP("a domain for own frames", good_own(), domid = self + 1,
               -EINVAL);
    EXPECT_MAP("an address without FIXED", good_grant(), daddr = UNTOUCHED,
               -EINVAL);
    EXPECT_MAP("context", good_grant(), context = NO_CONTEXT, -ENOENT);

    expect_unchanged();
}

static void map_sources(void)
{
    step("map: sources that cannot be mapped");

    EXPECT_MAP("no such granter", good_grant(), domid = DOMID_ABSENT,
               later(-ESRCH));
    EXPECT_MAP("a reference beyond the table", good_grant(),
               source = REF_BEYOND, later(-ERANGE));
    EXPECT_MAP("a reference of more than 32 bits", good_grant(),
               source = (1ULL << 32) + REF, later(-ERANGE));
    EXPECT_MAP("an entry that grants nothing", good_grant(),
               source = REF_EMPTY, later(-EACCES));
    EXPECT_MAP("an entry for another domain", good_grant(),
               source = REF_OTHER, later(-EACCES));
    EXPECT_MAP("a read-only entry, for writing", good_grant(),
               source = REF_RO, later(-EACCES));
    EXPECT_MAP("a run whose second entry is read-only", good_grant(),
               nr_frames = 2, later(-EACCES));
    EXPECT_MAP("a grant of a frame without memory", good_grant(),
               source = REF_HOLE, later(-EFAULT));
    EXPECT_MAP("an own frame without memory", good_own(), source = hole_gfn,
               later(-EFAULT));
    EXPECT_MAP("a frame number of 64 bits", good_own(), source = ~0ULL,
               later(-EFAULT));

    expect_unchanged();
}

static void map_fixed(void)
{
    struct xen_gdma_map taken = good_own(), map;

    if ( !usable )
        return;

    step("map: a fixed device address that is unusable or taken");

    map = good_own();
    map.flags |= XEN_GDMA_MAP_FIXED;

    map.daddr = limits.daddr_first + 1;
    expect_map("not at a page", map, -EINVAL);
    map.daddr = limits.daddr_first - PAGE_SIZE;
    expect_map("below the range", map, -EINVAL);
    map.daddr = limits.daddr_last + 1;
    expect_map("above the range", map, -EINVAL);

    map.daddr = limits.daddr_last + 1 - PAGE_SIZE;
    map.nr_frames = 2;
    expect_map("ends above the range", map, -EINVAL);

    expect("map", gdma_map(&taken), 0);
    map.daddr = taken.daddr;
    map.nr_frames = 1;
    expect_map("in use", map, -EEXIST);
    expect("unmap", gdma_unmap(taken.handle), 0);

    expect_unchanged();
}

/* Where device addresses are machine addresses, only one can be chosen. */
static void map_fixed_identity(void)
{
    const uint64_t maddr = (uint64_t)virt_to_gfn(page) << PAGE_SHIFT;
    struct xen_gdma_map map = good_own(), twice;

    step("map: a fixed device address that is not the machine address");

    map.flags |= XEN_GDMA_MAP_FIXED;
    map.daddr = maddr + 1;
    expect_map("not at a page", map, -EINVAL);
    map.daddr = maddr + PAGE_SIZE;
    expect_map("above it", map, -EINVAL);
    map.daddr = maddr - PAGE_SIZE;
    expect_map("below it", map, -EINVAL);
    map.daddr = 0;
    expect_map("0", map, -EINVAL);
    map.daddr = -(uint64_t)PAGE_SIZE;
    expect_map("the highest", map, -EINVAL);

    map.daddr = maddr;
    twice = map;
    expect("map", gdma_map(&map), 0);
    expect("map, in use", gdma_map(&twice), 0);
    expect("unmap", gdma_unmap(map.handle), 0);
    expect("unmap", gdma_unmap(twice.handle), 0);

    expect_unchanged();
}

static void expect_unmap(const char *what, struct xen_gdma_unmap unmap,
                         int wanted)
{
    expect(what, gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
    expect(what, unmap.status, wanted);
}

static void unmap_unknown(void)
{
    step("unmap: what was never mapped");

    expect("handle 0", gdma_unmap(0), -ENOENT);
    expect("a handle never given out", gdma_unmap(NO_HANDLE), -ENOENT);
    expect_unmap("unknown flag",
                 (struct xen_gdma_unmap){ .handle = NO_HANDLE, .flags = 2 },
                 -EINVAL);
    expect_unmap("a handle and an address",
                 (struct xen_gdma_unmap){ .handle = NO_HANDLE,
                                          .daddr = PAGE_SIZE }, -EINVAL);
    expect_unmap("a handle and a count",
                 (struct xen_gdma_unmap){ .handle = NO_HANDLE,
                                          .nr_frames = 1 }, -EINVAL);
    expect_unmap("an address and a handle",
                 (struct xen_gdma_unmap){ .handle = NO_HANDLE,
                                          .daddr = limits.daddr_first,
                                          .nr_frames = 1,
                                          .flags = XEN_GDMA_UNMAP_BY_DADDR },
                 -EINVAL);
    expect_unmap("an address where nothing is",
                 (struct xen_gdma_unmap){ .daddr = limits.daddr_first,
                                          .nr_frames = 1,
                                          .flags = XEN_GDMA_UNMAP_BY_DADDR },
                 -ENOENT);
    expect_unmap("no such context",
                 (struct xen_gdma_unmap){ .daddr = limits.daddr_first,
                                          .nr_frames = 1,
                                          .context = NO_CONTEXT,
                                          .flags = XEN_GDMA_UNMAP_BY_DADDR },
                 -ENOENT);

    expect_unchanged();
}

static void unmap_wrong(void)
{
    struct xen_gdma_map map = good_grant();
    struct xen_gdma_unmap part = { .flags = XEN_GDMA_UNMAP_BY_DADDR };
    struct xen_gdma_query now;

    if ( !usable )
        return;

    step("unmap: not quite what was mapped, and twice");

    map.nr_frames = 1;
    if ( !expect("map", gdma_map(&map), 0) )
        return;

    part.daddr = map.daddr;
    part.nr_frames = 2;
    expect_unmap("more than the mapping", part, -ENOENT);
    part.daddr = map.daddr + PAGE_SIZE;
    part.nr_frames = 1;
    expect_unmap("beside the mapping", part, -ENOENT);
    expect("another generation of the handle",
           gdma_unmap(map.handle ^ (1ULL << 40)), -ENOENT);
    expect("still in use", gnttab_entry_flags(REF) & IN_USE, IN_USE);
    expect("query", gdma_query(&now), 0);
    expect("still one mapping", now.mappings, limits.mappings + 1);

    expect("unmap", gdma_unmap(map.handle), 0);
    expect("unmap again", gdma_unmap(map.handle), -ENOENT);

    expect_unchanged();
}

static void expect_lookup(const char *what, struct xen_gdma_lookup lookup,
                          int wanted)
{
    expect(what, gdma_op(XEN_GDMA_OP_LOOKUP, &lookup, 1), 0);
    expect(what, lookup.status, wanted);
}

static void lookup_fields(void)
{
    step("lookup: each field wrong on its own, and nothing there");

    expect_lookup("first padding", (struct xen_gdma_lookup){ .pad0 = 1 },
                  -EINVAL);
    expect_lookup("second padding", (struct xen_gdma_lookup){ .pad1 = 1 },
                  -EINVAL);
    expect_lookup("kind", (struct xen_gdma_lookup){ .kind = 2 }, -EINVAL);
    expect_lookup("an index for a device address",
                  (struct xen_gdma_lookup){ .index = 1 }, -EINVAL);
    expect_lookup("context",
                  (struct xen_gdma_lookup){ .context = NO_CONTEXT }, -ENOENT);
    expect_lookup("no such device address",
                  (struct xen_gdma_lookup){ .addr = limits.daddr_first },
                  -ENOENT);
    expect_lookup("a guest address that is not mapped",
                  (struct xen_gdma_lookup){ .kind = XEN_GDMA_LOOKUP_GADDR,
                                            .addr = _u(page) }, -ENOENT);

    expect_unchanged();
}

static void neighbours(void)
{
    struct xen_gdma_map maps[3] = { good_own(), good_own(), good_own() };
    struct xen_gdma_unmap unmaps[3] = { { .handle = 0 } };

    if ( !usable )
        return;

    step("one bad element does not spoil its neighbours");

    maps[1].nr_frames = 0;
    expect("map", gdma_op(XEN_GDMA_OP_MAP, maps, 3), 0);
    expect("first", maps[0].status, 0);
    expect("second", maps[1].status, -EINVAL);
    expect("third", maps[2].status, 0);

    unmaps[0].handle = maps[0].handle;
    unmaps[1].handle = NO_HANDLE;
    unmaps[2].handle = maps[2].handle;
    expect("unmap", gdma_op(XEN_GDMA_OP_UNMAP, unmaps, 3), 0);
    expect("first", unmaps[0].status, 0);
    expect("second", unmaps[1].status, -ENOENT);
    expect("third", unmaps[2].status, 0);

    expect_unchanged();
}

static bool prepare(void)
{
    int domid = own_domid();

    if ( domid < 0 )
    {
        xtf_skip("This domain cannot find out its own id\n");
        return false;
    }
    self = domid;

    hole_gfn = virt_to_gfn(hole);
#ifdef CONFIG_PV
    /* As long as it is mapped, a page that was given back stays the domain's. */
    if ( hypercall_update_va_mapping(_u(hole), 0, UVMF_INVLPG) )
    {
        xtf_error("A page cannot be unmapped\n");
        return false;
    }
#endif
    if ( xtf_init_grant_table(1) || make_holes(hole, 1) )
    {
        xtf_error("No grant table, or no frame to do without\n");
        return false;
    }

    /* The read-only entry comes right after the good one. */
    gnttab_grant_access(REF, self, virt_to_gfn(page), 0);
    gnttab_grant_access(REF_RO, self, virt_to_gfn(page), GTF_readonly);
    gnttab_grant_access(REF_OTHER, DOMID_ABSENT, virt_to_gfn(page), 0);
    gnttab_grant_access(REF_HOLE, self, hole_gfn, 0);

    return true;
}

void test_main(void)
{
    int rc = gdma_query(&limits);

    if ( rc == -ENOSYS )
        return xtf_skip("This Xen has no grant-DMA hypercall\n");
    if ( rc )
        return xtf_failure("The query of the service failed: %d\n", rc);

    if ( !prepare() )
        return;
    usable = limits.capabilities & XEN_GDMA_CAP_DEFAULT_CONTEXT;
    fact_str("default_context", usable ? "maps" : "takes no mapping");

    whole_calls();
    map_fields();
    map_sources();
    if ( limits.capabilities & XEN_GDMA_CAP_IDENTITY )
        map_fixed_identity();
    else
        map_fixed();
    unmap_unknown();
    unmap_wrong();
    lookup_fields();
    neighbours();

    xtf_success(NULL);
}
