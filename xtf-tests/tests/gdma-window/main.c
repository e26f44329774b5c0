/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-window/main.c
 * @ref test-gdma-window
 *
 * @page test-gdma-window gdma-window
 *
 * A window maps much memory once; from then on a device reaches all of it and
 * nobody calls Xen.  For the domain that owns the machine, PVH or PV, with one
 * `edu` device in a context of the domain's own.
 *
 *  1. What cannot be a window is refused with the documented error and leaves
 *     nothing behind [frames pinned before the bad one was found].
 *  2. A window of 64 pages: the device reaches the first, the last and pages
 *     between, at the addresses that arithmetic and the look-up give, and not
 *     what is beside [an offset lost between runs].  Nothing is flushed for it.
 *  3. `unmap` and FIXED mappings leave a window alone.
 *  4. After its end the device is blocked, the handle stale, every frame back.
 *  5. For reading only means that.
 *  6. A window of thousands of frames, where large pages fit [an address that
 *     no large page can have]; interrupted again and again by a timer, made and
 *     ended, with nothing lost [a window begun and forgotten; a frame counted
 *     twice].
 *  7. A window of this domain's own grants; a revoked reference ends it as a
 *     whole, and all entries become free.
 *  8. As many windows as there may be, and one more.
 *  9. The end of a context ends its windows.
 * 10. Nothing is left behind.
 *
 * @see tests/gdma-window/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/preempt.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: windows";

#define READ            XEN_GDMA_MAP_READ
#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)
#define IN_USE          (GTF_reading | GTF_writing)
#define OWN             XEN_GDMA_MAP_OWN

#define PAGES           64u
#define LARGE           512u    /* Frames of a large page. */
#define BIG             8192u
#define ROUNDS          24u
#define FIRST_REF       FIRST_FREE_REF
#define REFS            16u

/* Beyond any memory of the lab's machines. */
#define NO_FRAME        (1UL << 27)

static uint8_t stretch[PAGES * PAGE_SIZE] __page_aligned_bss;

static struct device device;
static struct xen_gdma_stats start;
static struct xen_gdma_context_create context;
static struct xen_gdma_map shows;
static struct xen_gdma_window_create windows[XEN_GDMA_MAX_WINDOWS];

static uint8_t *page(unsigned int nth)
{
    return &stretch[nth * PAGE_SIZE];
}

/* Pins beside that of the page where the device shows what it holds. */
static void expect_pins(unsigned int pins)
{
    struct xen_gdma_stats now;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &now), 0);
    expect("pinned frames", now.used_pins, start.used_pins + 1 + pins);
}

static uint64_t flushes(void)
{
    struct xen_gdma_stats now;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &now), 0);

    return now.flushes;
}

static int own_window(unsigned long gfn, uint32_t nr, unsigned int flags,
                      struct xen_gdma_window_create *window)
{
    return gdma_window_create(context.context, OWN, 0, gfn, nr, flags, window);
}

static int end_window(const struct xen_gdma_window_create *window)
{
    return gdma_window_destroy(context.context, window->handle);
}

static bool prepare(void)
{
    step("a context with the device in it");

    if ( !expect("create", gdma_context_create(0, &context), 0) ||
         !expect("map", gdma_map_own_in(context.context,
                                        virt_to_gfn(device_shows), 1,
                                        READ_WRITE, &shows), 0) ||
         !expect("attach", gdma_attach(device.edu.bdf, context.context), 0) )
        return false;
    device.shows = shows.daddr;

    /* One run of the machine's frames, or PV guest frames would not be one. */
    for ( unsigned int i = 0; i < PAGES; i++ )
        if ( virt_to_gfn(page(i)) != virt_to_gfn(stretch) + i )
        {
            xtf_error("The guest's image is scattered\n");
            return false;
        }

    return true;
}

static void errors(void)
{
    struct xen_gdma_window_create window;
    unsigned long gfn = virt_to_gfn(stretch);
    uint32_t number = context.context;

    step("what cannot be a window");

    expect("no frames", own_window(gfn, 0, READ, &window), -EINVAL);
    expect("no access", own_window(gfn, 1, 0, &window), -EINVAL);
    expect("no flush", own_window(gfn, 1, READ | XEN_GDMA_NO_FLUSH, &window),
           -EINVAL);
    expect("a grant-DMA address",
           gdma_window_create(number, XEN_GDMA_MAP_GRANT_DMA, 0, 1ULL << 63,
                              1, READ, &window), -EINVAL);
    expect("a domain with own frames",
           gdma_window_create(number, OWN, 1, gfn, 1, READ, &window), -EINVAL);
    expect("no context",
           gdma_window_create(number + 1, OWN, 0, gfn, 1, READ, &window),
           -ENOENT);
    expect("no granter",
           gdma_window_create(number, XEN_GDMA_MAP_GRANT, 0x7000, 8, 1, READ,
                              &window), -ESRCH);
    expect("more than may be pinned", own_window(gfn, ~0u, READ, &window),
           -ENOBUFS);
    expect("no memory there", own_window(NO_FRAME, 2, READ, &window), -EFAULT);
    expect("no grant", gdma_window_create(number, XEN_GDMA_MAP_GRANT,
                                          XEN_GDMA_DOMID_SELF, FIRST_REF, 2,
                                          READ, &window), -EACCES);
    expect("an unknown handle", gdma_window_destroy(number, 12345), -ENOENT);
    expect("a mapping's handle", gdma_window_destroy(number, shows.handle),
           -ENOENT);
    expect_pins(0);
}

static void expect_found(const struct xen_gdma_window_create *window,
                         unsigned int nth)
{
    uint64_t daddr = window->daddr + nth * PAGE_SIZE + 3;
    uint64_t gaddr = ((uint64_t)virt_to_gfn(page(nth)) << PAGE_SHIFT) + 3;
    struct xen_gdma_lookup found;

    expect("by device address",
           gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_DADDR, daddr,
                          &found), 0);
    expect_hex("source", found.source, gaddr);
    expect_hex("handle", found.handle, window->handle);
    expect("frames", found.nr_frames, window->nr_frames);
    expect("by guest address",
           gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_GADDR, gaddr,
                          &found), 0);
    expect_hex("device address", found.daddr, daddr);
}

static void reached(struct xen_gdma_window_create *window)
{
    static const unsigned int some[] = { 0, 1, 31, PAGES - 1 };
    uint64_t before = flushes();

    step("the device reaches all of a window");

    if ( !expect("create", own_window(virt_to_gfn(page(0)), PAGES - 1,
                                      READ_WRITE, window), 0) )
        return;
    fact_hex("daddr", window->daddr);
    for ( unsigned int i = 0; i < ARRAY_SIZE(some) - 1; i++ )
    {
        expect_reaches("a page of the window", &device,
                       window->daddr + some[i] * PAGE_SIZE, page(some[i]));
        expect_found(window, some[i]);
    }
    /* The guest's page behind it is not in it. */
    expect_blocked("the address behind it", &device,
                   window->daddr + (PAGES - 1) * PAGE_SIZE, page(PAGES - 1));
    expect("flushes that gave frames back", flushes() - before, 0);
    expect_pins(PAGES - 1);
}

static void left_alone(const struct xen_gdma_window_create *window)
{
    struct xen_gdma_unmap unmap = {
        .daddr = window->daddr,
        .context = context.context,
        .nr_frames = PAGES - 1,
        .flags = XEN_GDMA_UNMAP_BY_DADDR,
    };
    struct xen_gdma_map map;

    step("unmap and FIXED mappings leave it alone");

    expect("by handle", gdma_unmap_in(context.context, window->handle, 0),
           -EOPNOTSUPP);
    expect("the call", gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
    expect("by address", unmap.status, -EOPNOTSUPP);
    unmap.nr_frames = 1;
    expect("the call", gdma_op(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
    expect("one frame of it", unmap.status, -ENOENT);
    expect("in its middle",
           gdma_map_own_at(context.context, window->daddr + 9 * PAGE_SIZE,
                           virt_to_gfn(page(0)), 1, READ, &map), -EEXIST);
    expect_reaches("a page of the window", &device,
                   window->daddr + 9 * PAGE_SIZE, page(9));
}

static void ended(const struct xen_gdma_window_create *window)
{
    struct xen_gdma_lookup found;
    uint64_t before = flushes();

    step("after its end the device is blocked");

    expect("destroy", end_window(window), 0);
    expect_true("a flush", flushes() != before);
    expect_pins(0);
    expect_blocked("the first page", &device, window->daddr, page(0));
    expect_blocked("the last page", &device,
                   window->daddr + (PAGES - 2) * PAGE_SIZE, page(PAGES - 2));
    expect("destroy again", end_window(window), -ENOENT);
    expect("look-up", gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_DADDR,
                                     window->daddr, &found), -ENOENT);
}

static void read_only(void)
{
    struct xen_gdma_window_create window;

    step("for reading only");

    if ( !expect("create", own_window(virt_to_gfn(page(0)), 8, READ, &window),
                 0) )
        return;
    expect_reads("a page", &device, window.daddr + 5 * PAGE_SIZE, page(5));
    expect_not_written("a page", &device, window.daddr + 5 * PAGE_SIZE,
                       page(5));
    expect("destroy", end_window(&window), 0);
}

/* Memory that neither the image nor page tables are in; 0: there is none. */
static unsigned long big_gfn(void)
{
#ifdef CONFIG_PV
    unsigned long nr = pv_start_info->nr_pages, run = 0;

    for ( unsigned long pfn = nr / 2; pfn < nr; pfn++ )
    {
        run = run && pfn_to_mfn(pfn) == pfn_to_mfn(pfn - 1) + 1 ? run + 1 : 1;
        if ( run == BIG )
            return pfn_to_mfn(pfn) - (BIG - 1);
    }

    return 0;
#else
    return MB(64) >> PAGE_SHIFT;
#endif
}

static void big(void)
{
    struct xen_gdma_window_create window;
    unsigned long gfn = big_gfn();
    uint64_t before = flushes();

    step("a window of thousands of frames, interrupted");

    if ( !gfn )
        return xtf_error("No long run of frames\n");
    fact_hex("gfn", gfn);
    if ( !preempt_often() )
        return xtf_error("No timer\n");

    for ( unsigned int round = 0; round < ROUNDS; round++ )
    {
        struct xen_gdma_lookup found;
        uint32_t nr = BIG - round;

        if ( !expect("create", own_window(gfn, nr, READ_WRITE, &window), 0) )
            break;
        if ( round == 0 )
            fact_hex("daddr", window.daddr);
        expect("place in a large page", (window.daddr >> PAGE_SHIFT) % LARGE,
               gfn % LARGE);
        expect("the last frame",
               gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_DADDR,
                              window.daddr + (nr - 1ULL) * PAGE_SIZE, &found),
               0);
        expect_hex("the last frame", found.source,
                   (gfn + nr - 1ULL) << PAGE_SHIFT);
        expect_pins(nr);
#ifndef CONFIG_PV
        if ( round == 0 )
        {
            preempt_no_more();
            expect_reaches("the last frame", &device,
                           window.daddr + (nr - 1ULL) * PAGE_SIZE,
                           gfn_to_virt(gfn + nr - 1));
            preempt_often();
        }
#endif
        expect("destroy", end_window(&window), 0);
        expect_pins(0);
    }
    preempt_no_more();
    fact_u64("flushes_of_24_windows", flushes() - before);
}

static void own_grants(void)
{
    struct xen_gdma_window_create window;
    struct xen_gdma_lookup found;

    step("a window of grants, and a revoked reference");

    for ( unsigned int i = 0; i < REFS; i++ )
        gnttab_grant_access(FIRST_REF + i, 0, virt_to_gfn(page(2 * i)), 0);
    if ( !expect("create",
                 gdma_window_create(context.context, XEN_GDMA_MAP_GRANT,
                                    XEN_GDMA_DOMID_SELF, FIRST_REF, REFS,
                                    READ_WRITE, &window), 0) )
        return;
    for ( unsigned int i = 0; i < REFS; i += 5 )
        expect_reaches("a granted page", &device,
                       window.daddr + i * PAGE_SIZE, page(2 * i));
    expect("look-up", gdma_lookup_in(context.context, XEN_GDMA_LOOKUP_DADDR,
                                     window.daddr + 7 * PAGE_SIZE + 1, &found),
           0);
    expect_hex("reference", found.source,
               ((FIRST_REF + 7ULL) << PAGE_SHIFT) + 1);
    expect("in use", gnttab_entry_flags(FIRST_REF + 3) & IN_USE, IN_USE);
    expect_pins(REFS);

    expect("revoke", gdma_revoke(FIRST_REF + 7), 0);
    expect_pins(0);
    for ( unsigned int i = 0; i < REFS; i++ )
        expect("in use", gnttab_entry_flags(FIRST_REF + i) & IN_USE, 0);
    expect_blocked("the revoked page", &device, window.daddr + 7 * PAGE_SIZE,
                   page(14));
    expect_blocked("another page", &device, window.daddr, page(0));
    expect("destroy", end_window(&window), -ENOENT);
}

static void as_many_as_may_be(void)
{
    struct xen_gdma_window_create one_more;

    step("as many windows as there may be");

    for ( unsigned int i = 0; i < XEN_GDMA_MAX_WINDOWS; i++ )
        if ( !expect("create", own_window(virt_to_gfn(page(i % PAGES)), 1,
                                          READ, &windows[i]), 0) )
            return;
    expect("one more", own_window(virt_to_gfn(page(0)), 1, READ, &one_more),
           -ENOBUFS);
    expect_pins(XEN_GDMA_MAX_WINDOWS);
    expect("destroy", end_window(&windows[17]), 0);
    expect("one more", own_window(virt_to_gfn(page(0)), 1, READ, &windows[17]),
           0);
}

static void context_ends(void)
{
    step("the end of the context ends its windows");

    expect("detach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    device.shows = default_daddr(device_shows);
    expect("destroy", gdma_context_destroy(context.context), 0);
    expect("a window's handle", end_window(&windows[0]), -ENOENT);
}

static void nothing_left(void)
{
    step("nothing is left behind");

    expect_all_ended(&start);
    for ( unsigned int i = 0; i < REFS; i++ )
        expect("end of a grant", gnttab_end_access(FIRST_REF + i), 0);
}

void test_main(void)
{
    struct xen_gdma_window_create window = {};

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( xtf_init_grant_table(1) )
        return xtf_error("No grant table\n");
    if ( gdma_stats(XEN_GDMA_DOMID_SELF, &start) )
        return xtf_failure("BAD no statistics\n");

    if ( !prepare() )
        return;
    errors();
    reached(&window);
    left_alone(&window);
    ended(&window);
    read_only();
    big();
    own_grants();
    as_many_as_may_be();
    context_ends();
    nothing_left();

    xtf_success(NULL);
}
