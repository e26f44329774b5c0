/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-pv-map/main.c
 * @ref test-gnttab-pv-map
 *
 * @page test-gnttab-pv-map gnttab-pv-map
 *
 * What only PV domains have of mapping grants: Xen writes their page tables,
 * and one handle may stand for a mapping for the CPUs and one for devices.
 * After xen/include/public/grant_table.h, its words quoted; statuses it does
 * not name are those of Xen's C tables.
 *
 *  1. "A mapping will be added at either a host virtual address in the current
 *     address space, or at a PTE at the specified machine address."  Both find
 *     the page in the entry that was named, with the rights asked for, and
 *     leave it empty afterwards, also where a page had been before.
 *  2. Machine addresses that are no page table entry of this domain's; a
 *     handle is undone by the kind of address that it was made with.
 *  3. A mapping "usable by guest OS + current application" is marked so; the
 *     bits "to be placed in guest kernel available PTE bits" are found there.
 *  4. A device mapping: the address, and what is not it.
 *  5. Both on one handle, undone together or one after the other in either
 *     order; a wrong half of an unmap undoes neither half.
 *  6. In loopback: a mapping for writing, by CPU or device, takes the right
 *     to be a page table from the page, one for reading does not; a page table
 *     cannot be mapped for writing.
 *
 * The granter is a domain of its own; with the argument `version=1` or
 * `version=2` it is this domain, with a table of that version.  `impossible=0`
 * leaves out unmapping at addresses at which nothing can have been mapped: a
 * debug build of Xen stops there (arch/x86/pv/grant_table.c asserts).
 *
 * @see tests/gnttab-pv-map/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/mapping.h>
#include <lab/page-table.h>
#include <lab/steps.h>

const char test_title[] = "Mapping grants in a PV domain";

#define REF             FIRST_FREE_REF
#define REF_TYPE        (FIRST_FREE_REF + 1)
#define PAGE            0
#define PAGE_TYPE       1

#define HOST            GNTMAP_host_map
#define DEVICE          GNTMAP_device_map
#define BOTH            (HOST | DEVICE)
#define RO              GNTMAP_readonly
#define PTE             GNTMAP_contains_pte

#ifndef _PAGE_AVAIL
#define _PAGE_AVAIL     0xe00
#endif

/* XENFEAT_gnttab_map_avail_bits, in the first word of XENVER_get_features. */
#define GET_FEATURES    6
#define MAP_AVAIL_BITS  7

static uint8_t window[PAGE_SIZE] __page_aligned_bss;
static uint8_t other[PAGE_SIZE] __page_aligned_bss;
static uint8_t own_page[PAGE_SIZE] __page_aligned_bss;
static uint8_t copy[PAGE_SIZE];

static int map_handle(uint64_t host_addr, grant_ref_t ref, unsigned int flags,
                      struct gnttab_map_grant_ref *map)
{
    return gnttab_map(granter_domid(), ref, host_addr, flags, map);
}

static uint64_t page_maddr(unsigned int nth)
{
    return (uint64_t)granter_gfn(nth) << PAGE_SHIFT;
}

/* The window's entry maps the page with these of the bits P and RW. */
static void expect_entry(const char *what, unsigned int bits)
{
    uint64_t pte = pte_read(window);

    expect_hex(what, pte & (_PAGE_PRESENT | _PAGE_RW), bits);
    if ( bits )
        expect_hex("the frame in the entry", pte & PTE_FRAME_MASK,
                   page_maddr(PAGE));
    else
        expect_hex("the rest of the entry", pte, 0);
}

static void host_mapping(const char *what, uint64_t host_addr,
                         unsigned int flags)
{
    const unsigned int rights =
        _PAGE_PRESENT | (flags & RO ? 0 : _PAGE_RW);
    struct gnttab_map_grant_ref map;
    uint8_t byte;

    step("host mapping, %s, for %s", what, flags & RO ? "reading" : "writing");

    fill_pattern(granter_page(PAGE), PAGE_SIZE, 7);
    fill_pattern(copy, PAGE_SIZE, 7);

    if ( !expect("map", map_handle(host_addr, REF, HOST | flags, &map),
                 GNTST_okay) )
        return;
    expect_entry("entry while mapped", rights);
    expect("in use", entry_in_use(REF), flags & RO ? GTF_reading : GTF_IN_USE);
    expect_bytes("the page", window, copy, PAGE_SIZE);

    if ( cpu_writes(&window[1], (uint8_t)~copy[1]) )
    {
        expect_true("writable", !(flags & RO));
        copy[1] = ~copy[1];
    }
    else
    {
        expect_true("not writable", flags & RO);
        expect("exception", cpu_fault, VECTOR_PF);
    }
    expect_bytes("the page, at home", granter_page(PAGE), copy, PAGE_SIZE);

    expect("unmap", gnttab_unmap(host_addr, map.handle), GNTST_okay);
    expect_entry("entry after that", 0);
    expect("in use", entry_in_use(REF), 0);
    expect_true("nothing to read", !cpu_reads(window, &byte));
}

/* An unmap at the wrong address leaves a mapping for writing as it is. */
static void not_unmapped(const char *what, uint64_t host_addr,
                         const struct gnttab_map_grant_ref *map)
{
    expect(what, gnttab_unmap(host_addr, map->handle), GNTST_general_error);
    expect_entry("entry", _PAGE_PRESENT | _PAGE_RW);
    expect("in use", entry_in_use(REF), GTF_IN_USE);
}

static void wrong_entries(void)
{
    const bool impossible = argument_number("impossible", 1);
    const uint64_t right = pte_maddr(window);
    const struct {
        const char *what;
        uint64_t maddr;
    } wrong[] = {
        { "within an entry", right + 4 },
        { "at an odd address", right + 1 },
        { "in a page that is no page table",
          (uint64_t)virt_to_mfn(other) << PAGE_SHIFT },
        { "in the page to be mapped", page_maddr(PAGE) },
        { "in no page of the machine", 0xffffffff000ull },
        /* Address 0: a frame that is Xen's. */
        { "at address 0", 0 },
    };
    struct gnttab_map_grant_ref map;

    step("machine addresses that are no entry of a page table");

    for ( unsigned int i = 0; i < ARRAY_SIZE(wrong); i++ )
    {
        expect(wrong[i].what,
               map_handle(wrong[i].maddr, REF, HOST | PTE, &map),
               GNTST_general_error);
        expect("in use after that", entry_in_use(REF), 0);
    }

    step("a handle by machine address is undone by machine address");

    expect("map", map_handle(right, REF, HOST | PTE, &map), GNTST_okay);
    not_unmapped("another entry", pte_maddr(other), &map);
    not_unmapped("the address that the entry is for", _u(window), &map);
    if ( impossible )
    {
        not_unmapped("within the entry", right + 4, &map);
        not_unmapped("an odd address", right + 1, &map);
    }
    else
        printk("Skipped: misaligned machine addresses, as told\n");
    expect("unmap", gnttab_unmap(right, map.handle), GNTST_okay);
    expect_entry("entry", 0);

    step("one by address is not");

    expect("map", map_handle(_u(window), REF, HOST, &map), GNTST_okay);
    not_unmapped("its entry", right, &map);
#ifdef CONFIG_32BIT
    if ( impossible )
        not_unmapped("beyond 32 bits", (1ull << 32) + _u(window), &map);
    else
        printk("Skipped: addresses beyond 32 bits, as told\n");
#endif
    expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
    expect_entry("entry", 0);
}

/* This domain's own page at the address of a mapping. */
static void page_in_the_way(void)
{
    const unsigned long mfn = virt_to_mfn(own_page);
    struct gnttab_map_grant_ref map;
    uint8_t byte;

    step("a mapping takes the place of what is there, and of its right");

    expect("a page table while it is there", try_as_page_table(mfn), -EINVAL);
    fill_pattern(granter_page(PAGE), PAGE_SIZE, 8);
    fill_pattern(copy, PAGE_SIZE, 8);
    if ( !expect("map", map_handle(_u(own_page), REF, HOST, &map),
                 GNTST_okay) )
        return;
    expect_bytes("the granted page", own_page, copy, PAGE_SIZE);
    expect("a page table when it is nowhere", try_as_page_table(mfn), 0);
    expect("unmap", gnttab_unmap(_u(own_page), map.handle), GNTST_okay);
    expect_true("nothing to read", !cpu_reads(own_page, &byte));
    expect("map it again", pte_write(own_page, mfn, PTE_READ_WRITE), 0);
    expect_zeros("the domain's page", own_page, PAGE_SIZE);
}

/* Map with @flags, and return what the entry then is. */
static uint64_t entry_for(unsigned int flags)
{
    struct gnttab_map_grant_ref map;
    uint64_t pte = 0;

    if ( expect("map", map_handle(_u(window), REF, HOST | flags, &map),
                GNTST_okay) )
    {
        pte = pte_read(window);
        expect("unmap", gnttab_unmap(_u(window), map.handle), GNTST_okay);
        expect_entry("entry after that", 0);
    }

    return pte;
}

static void entry_bits(void)
{
    struct {
        unsigned int submap_idx;
        uint32_t submap;
    } features = { .submap_idx = 0 };
    uint64_t kernel, user;

    step("mappings that the application may use");

    kernel = entry_for(0);
    user = entry_for(GNTMAP_application_map);
    fact_hex("entry_kernel", kernel);
    fact_hex("entry_application", user);
    expect_true("user access", user & _PAGE_USER);
#ifdef CONFIG_32BIT
    /* The kernel is in ring 1.  In 64 bits both are in ring 3. */
    expect_true("no user access", !(kernel & _PAGE_USER));
#endif
    expect_true("Xen tells the two apart", kernel != user);
    expect_hex("the same frame", user & PTE_FRAME_MASK, page_maddr(PAGE));

    step("bits for the kernel in the entry");

    if ( hypercall_xen_version(GET_FEATURES, &features) ||
         !(features.submap & (1u << MAP_AVAIL_BITS)) )
    {
        printk("Skipped: Xen does not offer them\n");
        return;
    }
    for ( unsigned int bits = 0; bits < 8; bits++ )
        expect_hex("the three bits",
                   entry_for(bits << _GNTMAP_guest_avail0) & _PAGE_AVAIL,
                   bits << 9);
}

static void expect_use(unsigned int flags)
{
    expect("in use", entry_in_use(REF), flags);
}

static void device_mapping(unsigned int flags)
{
    const unsigned int in_use = flags & RO ? GTF_reading : GTF_IN_USE;
    struct gnttab_map_grant_ref map;

    step("device mapping for %s", flags & RO ? "reading" : "writing");

    if ( !expect("map", map_handle(0, REF, DEVICE | flags, &map), GNTST_okay) )
        return;
    expect_hex("the address for devices", map.dev_bus_addr, page_maddr(PAGE));
    expect_use(in_use);

    /* "If <dev_bus_addr> is zero, that field is ignored." */
    expect("no address", gnttab_unmap_all(0, 0, map.handle), GNTST_okay);
    expect_use(in_use);
    expect("the next page's address",
           gnttab_unmap_all(0, map.dev_bus_addr + PAGE_SIZE, map.handle),
           GNTST_bad_dev_addr);
    expect("an address within the page",
           gnttab_unmap_all(0, map.dev_bus_addr + 8, map.handle),
           GNTST_bad_dev_addr);
    expect_use(in_use);

    /* There is no host mapping that an address could belong to. */
    expect("a host address", gnttab_unmap_all(_u(window), 0, map.handle),
           GNTST_okay);
    expect_use(in_use);

    expect("unmap", gnttab_unmap_all(0, map.dev_bus_addr, map.handle),
           GNTST_okay);
    expect_use(0);
    expect("again", gnttab_unmap_all(0, map.dev_bus_addr, map.handle),
           GNTST_bad_handle);
}

/* The order of undoing: first these, then the rest. */
static void both_mappings(const char *order, unsigned int flags,
                          unsigned int first, unsigned int second)
{
    const unsigned int in_use = flags & RO ? GTF_reading : GTF_IN_USE;
    const unsigned int rights = _PAGE_PRESENT | (flags & RO ? 0 : _PAGE_RW);
    struct gnttab_map_grant_ref map;
    uint64_t bus;

    step("host and device mapping for %s, undone %s",
         flags & RO ? "reading" : "writing", order);

    if ( !expect("map", map_handle(_u(window), REF, BOTH | flags, &map),
                 GNTST_okay) )
        return;
    bus = map.dev_bus_addr;
    expect_hex("the address for devices", bus, page_maddr(PAGE));
    expect_use(in_use);

    expect("right host address, wrong device address",
           gnttab_unmap_all(_u(window), bus + PAGE_SIZE, map.handle),
           GNTST_bad_dev_addr);
    expect_entry("still mapped", rights);
    expect_use(in_use);
    expect("wrong host address, right device address",
           gnttab_unmap_all(_u(other), bus, map.handle), GNTST_general_error);
    expect_entry("still mapped", rights);
    expect_use(in_use);
    expect("no addresses", gnttab_unmap_all(0, 0, map.handle), GNTST_okay);
    expect_entry("still mapped", rights);
    expect_use(in_use);

    expect("undo", gnttab_unmap_all(first & HOST ? _u(window) : 0,
                                    first & DEVICE ? bus : 0, map.handle),
           GNTST_okay);
    expect_entry("entry", first & HOST ? 0 : rights);
    expect_use(second ? in_use : 0);

    if ( second )
    {
        /* What is undone already is not there to be undone. */
        expect("the same again",
               gnttab_unmap_all(first & HOST ? _u(window) : 0,
                                first & DEVICE ? bus : 0, map.handle),
               GNTST_okay);
        expect_entry("entry", second & HOST ? rights : 0);
        expect_use(in_use);

        expect("undo the rest",
               gnttab_unmap_all(second & HOST ? _u(window) : 0,
                                second & DEVICE ? bus : 0, map.handle),
               GNTST_okay);
        expect_entry("entry", 0);
        expect_use(0);
    }
    expect("the handle is void", gnttab_unmap_all(_u(window), bus, map.handle),
           GNTST_bad_handle);
}

static void kinds_together(void)
{
    struct gnttab_map_grant_ref device, host;

    step("a device's right to write counts like a CPU's");

    expect("device mapping for writing",
           map_handle(0, REF, DEVICE, &device), GNTST_okay);
    expect("host mapping for reading",
           map_handle(_u(window), REF, HOST | RO, &host), GNTST_okay);
    expect_use(GTF_IN_USE);
    expect("undo the host mapping", gnttab_unmap(_u(window), host.handle),
           GNTST_okay);
    expect_use(GTF_IN_USE);

    expect("host mapping for reading",
           map_handle(_u(window), REF, HOST | RO, &host), GNTST_okay);
    expect("undo the device mapping",
           gnttab_unmap_all(0, device.dev_bus_addr, device.handle),
           GNTST_okay);
    expect_use(GTF_reading);
    expect("undo the host mapping", gnttab_unmap(_u(window), host.handle),
           GNTST_okay);
    expect_use(0);
}

/* Can the page become a page table while it is mapped so, and afterwards? */
static void page_type(const char *what, unsigned int flags)
{
    const unsigned long mfn = granter_gfn(PAGE_TYPE);
    struct gnttab_map_grant_ref map;

    if ( !expect(what, map_handle(_u(window), REF_TYPE, flags, &map),
                 GNTST_okay) )
        return;
    expect("a page table while mapped", try_as_page_table(mfn),
           flags & RO ? 0 : -EINVAL);
    expect("undo", gnttab_unmap_all(flags & HOST ? _u(window) : 0,
                                    flags & DEVICE ? map.dev_bus_addr : 0,
                                    map.handle), GNTST_okay);
    expect("a page table afterwards", try_as_page_table(mfn), 0);
}

static void page_types(void)
{
    const unsigned long mfn = granter_gfn(PAGE_TYPE);
    mmuext_op_t op = { .cmd = MMUEXT_PIN_L1_TABLE, .arg1.mfn = mfn };
    struct gnttab_map_grant_ref map;

    step("rights to write and page tables exclude each other");

    memset(granter_page(PAGE_TYPE), 0, PAGE_SIZE);
    expect("map it for reading only, at home",
           pte_write(granter_page(PAGE_TYPE), mfn, PTE_READ_ONLY), 0);
    expect("a page table", try_as_page_table(mfn), 0);

    page_type("host", HOST);
    page_type("host, for reading", HOST | RO);
    page_type("device", DEVICE);
    page_type("device, for reading", DEVICE | RO);
    page_type("both", BOTH);
    page_type("both, for reading", BOTH | RO);

    expect("make it a page table",
           hypercall_mmuext_op(&op, 1, NULL, DOMID_SELF), 0);
    expect("host", map_handle(_u(window), REF_TYPE, HOST, &map),
           GNTST_general_error);
    expect("device", map_handle(0, REF_TYPE, DEVICE, &map),
           GNTST_general_error);
    expect("both", map_handle(_u(window), REF_TYPE, BOTH, &map),
           GNTST_general_error);
    expect("in use", entry_in_use(REF_TYPE), 0);
    expect("for reading", map_handle(_u(window), REF_TYPE, BOTH | RO, &map),
           GNTST_okay);
    expect("undo", gnttab_unmap_all(_u(window), map.dev_bus_addr, map.handle),
           GNTST_okay);
    expect("in use", entry_in_use(REF_TYPE), 0);
    op.cmd = MMUEXT_UNPIN_TABLE;
    expect("no page table any more",
           hypercall_mmuext_op(&op, 1, NULL, DOMID_SELF), 0);
    page_type("host", HOST);
}

void test_main(void)
{
    unsigned int version = argument_number("version", 0);

    if ( !(version ? granter_self(version) : granter_begin()) ||
         !windows_free(window, 1) )
        return;
    fact_u64("version", granter_version());
    fact_u64("granter", granter_domid());

    entry_grant(REF, PAGE, 0);
    entry_grant(REF_TYPE, PAGE_TYPE, 0);

    host_mapping("by address", _u(window), 0);
    host_mapping("by address", _u(window), RO);
    host_mapping("by entry", pte_maddr(window), PTE);
    host_mapping("by entry", pte_maddr(window), PTE | RO);
    page_in_the_way();
    wrong_entries();
    entry_bits();

    device_mapping(0);
    device_mapping(RO);
    for ( unsigned int flags = 0; flags <= RO; flags += RO )
    {
        both_mappings("host first", flags, HOST, DEVICE);
        both_mappings("device first", flags, DEVICE, HOST);
        both_mappings("together", flags, BOTH, 0);
    }
    kinds_together();
    if ( version )
        page_types();

    step("nothing is left in use");
    expect_true("withdraw", entry_withdraw(REF));
    expect_true("withdraw", entry_withdraw(REF_TYPE));
    granter_end();

    xtf_success(NULL);
}
