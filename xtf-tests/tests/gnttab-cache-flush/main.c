/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-cache-flush/main.c
 * @ref test-gnttab-cache-flush
 *
 * @page test-gnttab-cache-flush gnttab-cache-flush
 *
 * GNTTABOP_cache_flush, which x86 has for PV guests only: "cache maintenance
 * operations on a portion of a page granted to the calling domain by a foreign
 * domain".  It has no status, and the header names no errors: expected are
 * those of Xen's C tables.
 *
 *  1. A page of one's own, whole and in parts; its contents stay.
 *  2. Invalidating without writing back is not supported on x86.
 *  3. Parts that are outside of the page, and operations that do not exist.
 *  4. Nothing to do: nothing is looked at.
 *  5. Addresses with no memory, and with memory of nobody's.
 *  6. Another domain's page: while it is mapped, not before and not after.
 *  7. A grant far behind in a table: Xen looks for it in steps, between which
 *     it can be interrupted; and a guest's own idea of where to go on.
 *  8. A batch ends with the first element that fails.
 *
 * @see tests/gnttab-cache-flush/main.c
 */
#include <xtf.h>

#include <lab/gnttab-tables.h>
#include <lab/mapping.h>
#include <lab/preempt.h>

const char test_title[] = "Cache maintenance of grants";

#define CLEAN           WIRE_CACHE_CLEAN
#define INVALIDATE      (1u << 1)
#define BY_REFERENCE    (1u << 31)

/* Where to go on is told above the command. */
#define RESUME_AT(ref)  ((ref) & ~0xfffu)

/* update_va_mapping_otherdomain. */
#define UPDATE_VA_OF_OTHER      22

/* In its table, of version 1. */
#define FAR_FRAMES      16
#define FAR_REF         (15 * V1_PER_FRAME + 3)

#define NR_LONG         256

static domid_t self, other;
static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t window[PAGE_SIZE] __page_aligned_bss;
static uint8_t far_frame[PAGE_SIZE] __page_aligned_bss;
static struct wire_cache_flush elements[NR_LONG];

static long flush_from(grant_ref_t resume, uint64_t maddr, unsigned int offset,
                       unsigned int len, unsigned int op)
{
    struct wire_cache_flush flush = {
        .dev_bus_addr = maddr, .offset = offset, .length = len, .op = op,
    };

    return hypercall_grant_table_op(WIRE_CACHE_FLUSH | RESUME_AT(resume),
                                    &flush, 1);
}

static long flush(uint64_t maddr, unsigned int offset, unsigned int len,
                  unsigned int op)
{
    return flush_from(0, maddr, offset, len, op);
}

static uint64_t maddr_of(unsigned long mfn)
{
    return (uint64_t)mfn << PAGE_SHIFT;
}

static void own_page(void)
{
    static const struct {
        unsigned int offset, len;
    } parts[] = {
        { 0, PAGE_SIZE }, { 0, 1 }, { PAGE_SIZE - 1, 1 }, { 100, 1000 },
        { 2048, 2048 },
    }, outside[] = {
        { PAGE_SIZE, 0 }, { PAGE_SIZE, 1 }, { 0xffff, 0 }, { 0xffff, 1 },
        { 0, PAGE_SIZE + 1 }, { 0, 0xffff }, { 1, PAGE_SIZE },
        { PAGE_SIZE - 1, 2 }, { 0xffff, 0xffff }, { 0x8000, 0x8000 },
    };
    static uint8_t expected[PAGE_SIZE];
    const uint64_t maddr = maddr_of(virt_to_mfn(page));

    step("a page of one's own");

    fill_pattern(page, PAGE_SIZE, 1);
    fill_pattern(expected, PAGE_SIZE, 1);
    for ( unsigned int i = 0; i < ARRAY_SIZE(parts); i++ )
    {
        expect("write back", flush(maddr, parts[i].offset, parts[i].len,
                                   CLEAN), 0);
        expect("write back and invalidate",
               flush(maddr, parts[i].offset, parts[i].len,
                     CLEAN | INVALIDATE), 0);
        expect("invalidate", flush(maddr, parts[i].offset, parts[i].len,
                                   INVALIDATE), -EOPNOTSUPP);
    }
    expect("an address within the page", flush(maddr + 0x123, 5, 10, CLEAN),
           0);
    expect_bytes("the page", page, expected, PAGE_SIZE);

    step("parts outside of it");

    for ( unsigned int i = 0; i < ARRAY_SIZE(outside); i++ )
        expect("outside", flush(maddr, outside[i].offset, outside[i].len,
                                CLEAN), -EINVAL);

    step("operations that do not exist");

    for ( unsigned int bit = 2; bit < 32; bit++ )
        expect("a bit", flush(maddr, 0, 1, CLEAN | (1u << bit)), -EINVAL);
    expect("by reference", flush(FIRST_FREE_REF, 0, 1, BY_REFERENCE | CLEAN),
           -EINVAL);

    step("nothing to do");

    expect("no bytes", flush(maddr, 0, 0, CLEAN), 0);
    expect("no operation", flush(maddr, 0, 1, 0), 0);
    expect("no bytes of nothing", flush(~0ull, 5, 0, CLEAN), 0);
    expect("no bytes, going on", flush_from(4096, maddr, 0, 0, CLEAN),
           -EILSEQ);
}

static void not_ours(void)
{
    unsigned long list;

    step("memory that is not there, or nobody's");

    expect("behind all memory", flush(1ull << 40, 0, 1, CLEAN), -EINVAL);
    expect("the last address", flush(~0ull, 0, 1, CLEAN), -EINVAL);
    /* The machine's firmware: no domain with a grant table owns it. */
    expect("firmware", flush(0xf0000, 0, 1, CLEAN), -EPERM);

    expect("the own table", table_setup(DOMID_SELF, 1, &list), GNTST_okay);
    expect("a frame of it", flush(maddr_of(list), 0, 1, CLEAN), 0);
    expect("the other's table", table_setup(other, 1, &list), GNTST_okay);
    expect("a frame of it", flush(maddr_of(list), 0, 1, CLEAN), -EINVAL);
}

static void foreign_page(void)
{
    const uint64_t maddr = maddr_of(granter_gfn(0));
    const grant_ref_t ref = FIRST_FREE_REF;
    struct gnttab_map_grant_ref map;

    step("another domain's page");

    expect("not granted", flush(maddr, 0, 1, CLEAN), -EINVAL);
    entry_grant(ref, 0, 0);
    expect("granted", flush(maddr, 0, 1, CLEAN), -EINVAL);
    if ( !expect("map", map_at(window, ref, GNTMAP_host_map | GNTMAP_readonly,
                               &map), GNTST_okay) )
        return;
    expect("mapped", flush(maddr, 0, PAGE_SIZE, CLEAN), 0);
    expect("mapped", flush(maddr, 8, 8, CLEAN | INVALIDATE), 0);
    expect("invalidate", flush(maddr, 0, 1, INVALIDATE), -EOPNOTSUPP);
    expect("outside", flush(maddr, PAGE_SIZE, 1, CLEAN), -EINVAL);
    expect("its other page", flush(maddr_of(granter_gfn(1)), 0, 1, CLEAN),
           -EINVAL);
    /* All references are below where this search begins. */
    expect("going on behind it", flush_from(4096, maddr, 0, 1, CLEAN),
           -EINVAL);
    expect("going on at the end", flush_from(~0u, maddr, 0, 1, CLEAN),
           -EINVAL);
    expect("in use", entry_in_use(ref), GTF_reading);
    expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    expect("unmapped", flush(maddr, 0, 1, CLEAN), -EINVAL);
    expect("in use", entry_in_use(ref), 0);
    expect_true("withdrawn", entry_withdraw(ref));
}

static long show_far_frame(unsigned long mfn)
{
    uint64_t pte = maddr_of(mfn) | _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED |
                   _PAGE_DIRTY;

#ifdef CONFIG_64BIT
    return HYPERCALL4(long, UPDATE_VA_OF_OTHER, far_frame, pte, UVMF_INVLPG,
                      other);
#else
    return HYPERCALL5(long, UPDATE_VA_OF_OTHER, far_frame, pte, pte >> 32,
                      UVMF_INVLPG, other);
#endif
}

static void far_grant(void)
{
    const uint64_t maddr = maddr_of(granter_gfn(2));
    grant_entry_v1_t *entry =
        (grant_entry_v1_t *)far_frame + FAR_REF % V1_PER_FRAME;
    unsigned long list[FAR_FRAMES];
    struct gnttab_map_grant_ref map;
    long rc = 0;

    step("a grant far behind in the table");

    if ( !expect("the other's table", table_setup(other, FAR_FRAMES, list),
                 GNTST_okay) ||
         !expect("show its last frame",
                 show_far_frame(list[FAR_FRAMES - 1]), 0) )
        return;
    entry->domid = self;
    entry->frame = granter_gfn(2);
    barrier();
    entry->flags = GTF_permit_access;
    if ( !expect("map", map_at(window, FAR_REF, GNTMAP_host_map, &map),
                 GNTST_okay) )
        return;

    expect("flush", flush(maddr, 0, PAGE_SIZE, CLEAN), 0);
    expect("going on where it is", flush_from(4096, maddr, 0, 1, CLEAN), 0);
    expect("going on behind it", flush_from(8192, maddr, 0, 1, CLEAN),
           -EINVAL);

    step("%u elements in one call, interrupted", NR_LONG);

    if ( !preempt_often() )
        return xtf_error("No timer to interrupt with\n");
    for ( unsigned int i = 0; i < NR_LONG; i++ )
        elements[i] = (struct wire_cache_flush){
            .dev_bus_addr = maddr, .length = 1 + i, .op = CLEAN,
        };
    for ( unsigned int i = 0; !rc && i < 8; i++ )
        rc = hypercall_grant_table_op(WIRE_CACHE_FLUSH, elements, NR_LONG);
    expect("the call", rc, 0);

    /* The last one's page is not mapped. */
    elements[NR_LONG - 1].dev_bus_addr = maddr_of(granter_gfn(3));
    for ( unsigned int i = 0; i < 8; i++ )
        expect("the call",
               hypercall_grant_table_op(WIRE_CACHE_FLUSH, elements, NR_LONG),
               -EINVAL);
    preempt_no_more();

    expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    expect("the entry", entry->flags, GTF_permit_access);
    expect("unmapped", flush(maddr, 0, 1, CLEAN), -EINVAL);
    entry->flags = 0;
    if ( hypercall_update_va_mapping(_u(far_frame), 0, UVMF_INVLPG) )
        xtf_error("The frame cannot be hidden\n");
}

static void batches(void)
{
    const uint64_t maddr = maddr_of(virt_to_mfn(page));

    step("a batch ends with the first error");

    for ( unsigned int i = 0; i < 8; i++ )
        elements[i] = (struct wire_cache_flush){
            .dev_bus_addr = maddr, .length = 64, .op = CLEAN,
        };
    expect("all are right",
           hypercall_grant_table_op(WIRE_CACHE_FLUSH, elements, 8), 0);
    elements[3].op = INVALIDATE;
    elements[5].length = PAGE_SIZE + 1;
    expect("two are wrong",
           hypercall_grant_table_op(WIRE_CACHE_FLUSH, elements, 8),
           -EOPNOTSUPP);
    expect("one of them",
           hypercall_grant_table_op(WIRE_CACHE_FLUSH, elements + 4, 4),
           -EINVAL);
    expect("none of them",
           hypercall_grant_table_op(WIRE_CACHE_FLUSH, elements, 3), 0);
    expect("no element",
           hypercall_grant_table_op(WIRE_CACHE_FLUSH, elements, 0), 0);
}

void test_main(void)
{
    if ( !granter_begin() || !windows_free(window, 1) )
        return;
    self = own_domid();
    other = granter_domid();

    own_page();
    not_ours();
    foreign_page();
    far_grant();
    batches();

    granter_end();
    xtf_success(NULL);
}
