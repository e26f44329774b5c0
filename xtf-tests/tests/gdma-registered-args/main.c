/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-registered-args/main.c
 * @ref test-gdma-registered-args
 *
 * @page test-gdma-registered-args gdma-registered-args
 *
 * Commands with their array in memory that the vcpu has registered.  For the
 * domain that owns the machine, PVH or PV, 64 or 32 bits wide, with an `edu`
 * device in a context of its own.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. Without an area such calls are refused.
 *  2. A batch whose array crosses from one frame of the area to the next: every
 *     element has its result, the bytes around the array are as before, and the
 *     device reaches what was mapped [the wrong frame; results beside the array].
 *  3. Unmapped in the same way, the device reaches nothing any more.
 *  4. Every wrong input has its error, and changes nothing.
 *  5. A second area takes the place of the first, which is the guest's again
 *     [a frame that stays pinned; Xen at work in the old frame].
 *  6. A frame of the area that the guest gives away is not given to others as
 *     long as Xen may write to it.  PV: nor can it become a page table.
 *  7. Dropped, it is no longer used.
 *
 * @see tests/gdma-registered-args/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/page-table.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: arguments in registered memory";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define NR_FRAMES       2u
#define NR_ELEMENTS     100u
#define AROUND          0x6b
#define NOT_DONE        0x5a5a

/* Where an array of so many elements begins that ends with the area. */
#define AT_END(type, nr) \
    ((NR_FRAMES * PAGE_SIZE - sizeof(type) * (nr)) & ~7ul)

static uint8_t area[NR_FRAMES * PAGE_SIZE] __page_aligned_bss;
static uint8_t second[PAGE_SIZE] __page_aligned_bss;
static uint8_t page[PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_context_create context;

/* The array is in the area, at @offset. */
static long in_area(unsigned int cmd, unsigned long offset, unsigned long nr)
{
    return gdma_op(cmd | XEN_GDMA_ARGS_REGISTERED, _p(offset), nr);
}

static void without_an_area(void)
{
    step("without an area");

    expect("map", in_area(XEN_GDMA_OP_MAP, 0, 1), -ENOENT);
    expect("drop what there is not", gdma_register_args(NULL, 0), 0);
    expect("query", in_area(XEN_GDMA_OP_QUERY, 0, 1), -ENOENT);
}

/* Are all bytes of the area but these as they were? */
static bool untouched_around(size_t offset, size_t len)
{
    for ( size_t i = 0; i < sizeof(area); i++ )
        if ( (i < offset || i >= offset + len) && area[i] != AROUND )
            return false;

    return true;
}

static uint64_t handles[NR_ELEMENTS];
static uint64_t first_daddr;

static void map_a_batch(void)
{
    const size_t offset = AT_END(struct xen_gdma_map, NR_ELEMENTS);
    struct xen_gdma_map *maps = _p(&area[offset]);
    unsigned int bad = 0;

    step("a batch that crosses from one frame to the next");

    expect_true("two frames one behind the other",
                virt_to_gfn(&area[PAGE_SIZE]) == virt_to_gfn(area) + 1);
    expect_true("crosses", offset < PAGE_SIZE);
    expect("register", gdma_register_args(area, NR_FRAMES), 0);

    memset(area, AROUND, sizeof(area));
    for ( unsigned int i = 0; i < NR_ELEMENTS; i++ )
        maps[i] = (struct xen_gdma_map){
            .context = context.context,
            .kind = XEN_GDMA_MAP_OWN,
            .source = virt_to_gfn(page),
            .nr_frames = 1,
            .flags = READ_WRITE,
            .status = NOT_DONE,
        };

    expect("map", in_area(XEN_GDMA_OP_MAP, offset, NR_ELEMENTS), 0);
    for ( unsigned int i = 0; i < NR_ELEMENTS; i++ )
    {
        bad += maps[i].status != 0;
        handles[i] = maps[i].handle;
    }
    expect("elements that failed", bad, 0);
    expect_true("nothing else in the area changed",
                untouched_around(offset, NR_ELEMENTS * sizeof(*maps)));

    first_daddr = maps[0].daddr;
    expect_true("another address for each",
                maps[1].daddr != maps[0].daddr);
    expect_reaches("the first", &device, maps[0].daddr, page);
    expect_reaches("the last", &device, maps[NR_ELEMENTS - 1].daddr, page);
}

static void unmap_a_batch(void)
{
    struct xen_gdma_unmap *unmaps = _p(area);
    unsigned int bad = 0;

    step("and ends");

    memset(area, AROUND, sizeof(area));
    for ( unsigned int i = 0; i < NR_ELEMENTS; i++ )
        unmaps[i] = (struct xen_gdma_unmap){
            .context = context.context,
            .handle = handles[i],
            .status = NOT_DONE,
        };

    expect("unmap", in_area(XEN_GDMA_OP_UNMAP, 0, NR_ELEMENTS), 0);
    for ( unsigned int i = 0; i < NR_ELEMENTS; i++ )
        bad += unmaps[i].status != 0;
    expect("elements that failed", bad, 0);
    expect_true("nothing else in the area changed",
                untouched_around(0, NR_ELEMENTS * sizeof(*unmaps)));
    expect_blocked("unmapped", &device, first_daddr, page);
}

static void expect_refused(const char *what, unsigned int cmd,
                           unsigned long offset, unsigned long nr, int error)
{
    memset(area, AROUND, sizeof(area));
    expect(what, in_area(cmd, offset, nr), error);
    expect_true("nothing in the area changed", untouched_around(0, 0));
}

static void wrong_input(void)
{
    const unsigned long bytes = sizeof(area);

    step("wrong input");

    expect_refused("an odd offset", XEN_GDMA_OP_QUERY, 4, 1, -EINVAL);
    expect_refused("no elements", XEN_GDMA_OP_QUERY, 0, 0, -EINVAL);
    expect_refused("too many", XEN_GDMA_OP_QUERY, 0, XEN_GDMA_MAX_BATCH + 1,
                   -E2BIG);
    expect_refused("beyond the end", XEN_GDMA_OP_QUERY, bytes, 1, -EFAULT);
    expect_refused("partly beyond", XEN_GDMA_OP_QUERY,
                   bytes - sizeof(struct xen_gdma_query) + 8, 1, -EFAULT);
    expect_refused("one too many", XEN_GDMA_OP_MAP,
                   AT_END(struct xen_gdma_map, NR_ELEMENTS), NR_ELEMENTS + 1,
                   -EFAULT);
    expect_refused("an address", XEN_GDMA_OP_QUERY, _u(area), 1, -EFAULT);
    expect_refused("the highest offset", XEN_GDMA_OP_QUERY, ~7ul, 1, -EFAULT);
    expect_refused("registration", XEN_GDMA_OP_REGISTER_ARGS, 0, 1, -ENOSYS);
    expect_refused("map in registers", XEN_GDMA_OP_MAP_REG, 0, 1, -ENOSYS);
    expect_refused("unmap in registers", XEN_GDMA_OP_UNMAP_REG, 0, 1,
                   -ENOSYS);
    expect_refused("no such command", 99, 0, 1, -ENOSYS);

    step("areas that are refused");

    expect("too many frames",
           gdma_register_args(area, XEN_GDMA_MAX_ARGS_FRAMES + 1), -EINVAL);
    expect("a place without frames", gdma_register_args(area, 0), -EINVAL);
    expect("a frame that nobody has", gdma_register_args_gfn(1ull << 38, 1),
           -EFAULT);
    expect("no frame at all", gdma_register_args_gfn(~0ull, 1), -EFAULT);
    expect("behind the last one", gdma_register_args_gfn(~0ull, 2), -EFAULT);
}

/* A query with its element at the start of the area, which is at @mem. */
static int query_in(uint8_t *mem)
{
    struct xen_gdma_query *query = _p(mem);
    long rc;

    *query = (struct xen_gdma_query){
        .domid = XEN_GDMA_DOMID_SELF,
        .status = NOT_DONE,
    };
    rc = in_area(XEN_GDMA_OP_QUERY, 0, 1);

    return rc ? rc : query->status;
}

static void another_area(void)
{
    step("another area");

    expect("query", query_in(area), 0);
    expect("register", gdma_register_args(second, 1), 0);
    expect("query", query_in(second), 0);
    expect("query in the old one", query_in(area), NOT_DONE);
    expect("the size of the new one counts",
           in_area(XEN_GDMA_OP_QUERY, PAGE_SIZE, 1), -EFAULT);
}

#ifdef CONFIG_PV
static void page_types(void)
{
    const unsigned long mfn = virt_to_mfn(second);

    step("no page table as long as Xen may write there");

    memset(second, 0, sizeof(second));
    expect("map it for reading only, at home",
           pte_write(second, mfn, PTE_READ_ONLY), 0);
    expect("a page table", try_as_page_table(mfn), -EINVAL);
    expect("drop", gdma_register_args(NULL, 0), 0);
    expect("a page table afterwards", try_as_page_table(mfn), 0);
    expect("map it for writing again", pte_write(second, mfn, PTE_READ_WRITE),
           0);
    expect("register", gdma_register_args(second, 1), 0);
}
#else
static void page_types(void) {}
#endif

static void given_away(void)
{
    struct xen_gdma_query *query = _p(second);

    step("a frame that was given away");

    *query = (struct xen_gdma_query){ .domid = XEN_GDMA_DOMID_SELF };
    if ( make_holes(second, 1) )
        return xtf_error("The frame cannot be given back\n");
    expect("query", in_area(XEN_GDMA_OP_QUERY, 0, 1), 0);
    expect("drop", gdma_register_args(NULL, 0), 0);
    expect("query", in_area(XEN_GDMA_OP_QUERY, 0, 1), -ENOENT);
#ifdef CONFIG_HVM
    /* A PV guest's page tables still keep it. */
    expect("the frame is nobody's", gdma_register_args(second, 1), -EFAULT);
#endif
}

void test_main(void)
{
    struct xen_gdma_map shows;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( gdma_context_create(0, &context) ||
         gdma_map_own_in(context.context, virt_to_gfn(device_shows), 1,
                         READ_WRITE, &shows) ||
         gdma_attach(device.edu.bdf, context.context) )
        return xtf_error("No context with a device\n");
    device.shows = shows.daddr;

    without_an_area();
    map_a_batch();
    unmap_a_batch();
    wrong_input();
    another_area();
    page_types();
    given_away();

    xtf_success(NULL);
}
