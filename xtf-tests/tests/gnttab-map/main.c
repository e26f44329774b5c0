/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-map/main.c
 * @ref test-gnttab-map
 *
 * @page test-gnttab-map gnttab-map
 *
 * GNTTABOP_map_grant_ref and GNTTABOP_unmap_grant_ref as every kind of guest
 * has them.  Statuses are those that xen/include/public/grant_table.h names
 * for the mistake; where it names none ("general undefined error"), those of
 * Xen's C tables, which guests have seen for twenty years.
 *
 *  1. Flags that ask for no mapping, and flags that this kind of guest may not
 *     use.
 *  2. Domains that are not there, references outside of the table, entries
 *     that grant nothing, something else, or to somebody else, frames that
 *     are no memory of the granter's, addresses where nothing can be mapped.
 *     None of these leaves a trace.
 *  3. A mapping shows the page, in both directions and at any address within
 *     it; one made for reading cannot be written through.
 *  4. What the entry says of its use is what mappings exist, over several of
 *     both kinds and over two references to one page.
 *  5. What a mapped entry names does not change under its mappings.
 *  6. Wrong handles and addresses at unmap; addresses of 0 are ignored.
 *  7. Calls that are wrong as a whole.
 *
 * The granter is a domain of its own; with the argument `version=1` or
 * `version=2` (PV only) it is this domain, with a table of that version.
 *
 * @see tests/gnttab-map/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/mapping.h>
#include <lab/steps.h>

const char test_title[] = "Mapping and unmapping grants";

#define REF             FIRST_FREE_REF
#define REF_ALIAS       (FIRST_FREE_REF + 1)    /* The same page again. */
#define REF_RO          (FIRST_FREE_REF + 2)
#define REF_BAD         (FIRST_FREE_REF + 3)    /* What is wrong, in turn. */

#ifdef CONFIG_PV
#define GUEST_IS_PV     1
#else
#define GUEST_IS_PV     0
#endif

#define READ_ONLY       (GNTMAP_host_map | GNTMAP_readonly)

static uint8_t own_page[PAGE_SIZE] __page_aligned_bss;
static uint8_t windows[4][PAGE_SIZE] __page_aligned_bss;
static uint8_t copy[PAGE_SIZE];

/* Mapping @ref fails with @status and marks nothing as used. */
static void refused(const char *what, domid_t domid, grant_ref_t ref,
                    uint64_t addr, unsigned int flags, int status)
{
    struct gnttab_map_grant_ref map;

    expect(what, gnttab_map(domid, ref, addr, flags, &map), status);
    if ( ref < granter_entries() )
        expect("in use after that", entry_in_use(ref), 0);
}

static void wrong_flags(void)
{
    const uint64_t addr = _u(windows[0]);

    step("flags that ask for nothing, or for what is not to be had");

    refused("no flags", granter_domid(), REF, addr, 0, GNTST_bad_gntref);
    refused("read-only alone", granter_domid(), REF, addr, GNTMAP_readonly,
            GNTST_bad_gntref);
    refused("application map alone", granter_domid(), REF, addr,
            GNTMAP_application_map, GNTST_bad_gntref);
    refused("a page table entry, but no mapping", granter_domid(), REF, addr,
            GNTMAP_contains_pte, GNTST_bad_gntref);

#ifdef CONFIG_HVM
    /* An HVM guest has no page tables that Xen knows, and no bus addresses. */
    refused("device map", granter_domid(), REF, addr, GNTMAP_device_map,
            GNTST_general_error);
    refused("host and device map", granter_domid(), REF, addr,
            GNTMAP_host_map | GNTMAP_device_map, GNTST_general_error);
    refused("device map, read-only", granter_domid(), REF, addr,
            GNTMAP_device_map | GNTMAP_readonly, GNTST_general_error);
    refused("application map", granter_domid(), REF, addr,
            GNTMAP_host_map | GNTMAP_application_map, GNTST_general_error);
    refused("a page table entry", granter_domid(), REF, addr,
            GNTMAP_host_map | GNTMAP_contains_pte, GNTST_general_error);
    refused("bits for a page table entry", granter_domid(), REF, addr,
            GNTMAP_host_map | (1u << _GNTMAP_guest_avail0),
            GNTST_general_error);
    refused("a bit that has no meaning", granter_domid(), REF, addr,
            GNTMAP_host_map | (1u << 5), GNTST_general_error);
#endif
}

static void wrong_domains(void)
{
    static const domid_t domids[] = {
        DOMID_ABSENT, DOMID_SELF, DOMID_IO, DOMID_XEN, DOMID_COW,
        DOMID_INVALID, DOMID_IDLE, 0xffff,
    };

    step("domains that do not exist, and ids that name no one domain");

    for ( unsigned int i = 0; i < ARRAY_SIZE(domids); i++ )
    {
        char what[32];

        snprintf(what, sizeof(what), "domain %#x", domids[i]);
        refused(what, domids[i], REF, _u(windows[0]), GNTMAP_host_map,
                GNTST_bad_domain);
    }
}

static void wrong_references(void)
{
    const unsigned int nr = granter_entries();

    step("references outside of the table");

    refused("the last entry, which grants nothing", granter_domid(), nr - 1,
            _u(windows[0]), GNTMAP_host_map, GNTST_general_error);
    refused("the first beyond the table", granter_domid(), nr, _u(windows[0]),
            GNTMAP_host_map, GNTST_bad_gntref);
    refused("the largest one", granter_domid(), 0xffffffff, _u(windows[0]),
            GNTMAP_host_map, GNTST_bad_gntref);
}

/* Map what REF_BAD says after being written as told. */
static void refused_entry(const char *what, unsigned int type, domid_t domid,
                          unsigned long frame, unsigned int flags, int status)
{
    entry_write(REF_BAD, type, domid, frame);
    refused(what, granter_domid(), REF_BAD, _u(windows[0]), flags, status);
}

static void wrong_entries(void)
{
    const domid_t self = own_domid();
    const unsigned long gfn = granter_gfn(0);

    step("entries that do not let this domain map");

    refused_entry("nothing granted", GTF_invalid, self, gfn, READ_ONLY,
                  GNTST_general_error);
    refused_entry("flags without a type", GTF_readonly, self, gfn, READ_ONLY,
                  GNTST_general_error);
    refused_entry("a frame to be transferred", GTF_accept_transfer, self, gfn,
                  READ_ONLY, GNTST_general_error);
    refused_entry("a grant of a grant", GTF_transitive, self, gfn, READ_ONLY,
                  GNTST_general_error);
    refused_entry("part of a page", GTF_permit_access | GTF_sub_page, self,
                  gfn, READ_ONLY, GNTST_general_error);
    refused_entry("for another domain", GTF_permit_access, DOMID_ABSENT, gfn,
                  READ_ONLY, GNTST_general_error);
    refused_entry("for DOMID_SELF, which is no grantee", GTF_permit_access,
                  DOMID_SELF, gfn, READ_ONLY, GNTST_general_error);
    refused_entry("for reading, mapped for writing",
                  GTF_permit_access | GTF_readonly, self, gfn,
                  GNTMAP_host_map, GNTST_general_error);
}

static void wrong_frames(void)
{
    const domid_t self = own_domid();

    step("frames that are not memory of the granter");

    /* No processor has that many frames. */
    refused_entry("no frame of the machine", GTF_permit_access, self,
                  0xfffffffful, GNTMAP_host_map, GNTST_bad_page);
    refused_entry("the same for reading", GTF_permit_access, self,
                  0xfffffffful, READ_ONLY, GNTST_bad_page);
#ifdef CONFIG_HVM
    refused_entry("a guest frame with nothing in it", GTF_permit_access, self,
                  granter_gfn(GRANTER_PAGES - 1) + 1, GNTMAP_host_map,
                  GNTST_bad_page);
#else
    if ( granter_domid() != self )
        refused_entry("another domain's frame", GTF_permit_access, self,
                      virt_to_gfn(copy), GNTMAP_host_map, GNTST_bad_page);
    refused_entry("a frame of the display adapter", GTF_permit_access, self,
                  0xb8, GNTMAP_host_map, GNTST_bad_page);
    refused_entry("the same for reading", GTF_permit_access, self, 0xb8,
                  READ_ONLY, GNTST_bad_page);
#endif
    entry_write(REF_BAD, GTF_invalid, 0, 0);
}

static void wrong_addresses(void)
{
    static const uint64_t addresses[] = {
#ifdef CONFIG_HVM
        1ull << 52,             /* Beyond what page tables reach. */
        ~0ull << PAGE_SHIFT,
#elif defined(CONFIG_64BIT)
        1ull << 46,             /* No page tables there. */
        0xffff830000000000ull,  /* Xen's. */
        1ull << 63,             /* Not canonical. */
#else
        0xb0000000ull,          /* No page tables there. */
        0xfff00000ull,          /* Xen's. */
        1ull << 32,             /* Beyond 32 bits. */
#endif
    };

    step("addresses where nothing can be mapped");

    for ( unsigned int i = 0; i < ARRAY_SIZE(addresses); i++ )
    {
        refused("for writing", granter_domid(), REF, addresses[i],
                GNTMAP_host_map, GNTST_general_error);
        refused("for reading", granter_domid(), REF, addresses[i], READ_ONLY,
                GNTST_general_error);
    }
}

/* "If GNTMAP_host_map is specified then a mapping will be added": of a page. */
static void address_within_page(void)
{
    struct gnttab_map_grant_ref map;

    step("an address within a page is the page's");

    if ( !expect("map", gnttab_map(granter_domid(), REF, _u(&windows[0][8]),
                                   GNTMAP_host_map, &map), GNTST_okay) )
        return;
    fill_pattern(granter_page(0), PAGE_SIZE, 6);
    fill_pattern(copy, PAGE_SIZE, 6);
    expect_bytes("the page", windows[0], copy, PAGE_SIZE);
    expect("unmap", gnttab_unmap(_u(&windows[0][PAGE_SIZE - 1]), map.handle),
           GNTST_okay);
    expect("in use", entry_in_use(REF), 0);
}

static void data(void)
{
    struct gnttab_map_grant_ref rw, ro;
    uint8_t byte;

    step("data goes both ways through a mapping");

    if ( !expect("map", map_at(windows[0], REF, GNTMAP_host_map, &rw),
                 GNTST_okay) )
        return;

    fill_pattern(granter_page(0), PAGE_SIZE, 1);
    fill_pattern(copy, PAGE_SIZE, 1);
    expect_bytes("written at home, read in the mapping", windows[0], copy,
                 PAGE_SIZE);
    fill_pattern(windows[0], PAGE_SIZE, 2);
    fill_pattern(copy, PAGE_SIZE, 2);
    expect_bytes("written in the mapping, read at home", granter_page(0), copy,
                 PAGE_SIZE);

    step("a mapping for reading is for reading, to the CPU too");

    if ( !expect("map read-only", map_at(windows[1], REF, READ_ONLY, &ro),
                 GNTST_okay) )
        return;
    expect_hex("both have the page's address", ro.dev_bus_addr,
               rw.dev_bus_addr);
#ifdef CONFIG_PV
    expect_hex("which is its machine address", ro.dev_bus_addr,
               (uint64_t)granter_gfn(0) << PAGE_SHIFT);
#endif
    expect_true("two mappings have two handles", rw.handle != ro.handle);
    expect_bytes("readable", windows[1], copy, PAGE_SIZE);

    /* Xen drops an HVM guest's write; a PV guest takes the exception. */
    if ( !cpu_writes(windows[1], (uint8_t)~copy[0]) )
        expect("exception", cpu_fault, VECTOR_PF);
#ifdef CONFIG_PV
    else
        xtf_failure("BAD a write to a read-only mapping went through\n");
#endif
    expect_bytes("unchanged", granter_page(0), copy, PAGE_SIZE);

    step("an address where a grant was mapped shows it no longer");

    expect("unmap the read-only one", gnttab_unmap(_u(windows[1]), ro.handle),
           GNTST_okay);
    expect("unmap the other", gnttab_unmap(_u(windows[0]), rw.handle),
           GNTST_okay);
    for ( unsigned int i = 0; i < 2; i++ )
    {
        bool readable = cpu_reads(windows[i], &byte);

        /* Nothing there reads as ones to an HVM guest. */
#ifdef CONFIG_PV
        expect_true("not readable", !readable);
#else
        expect_true("nothing to read", !readable || byte == 0xff);
#endif
    }
    expect_bytes("the page itself is as it was", granter_page(0), copy,
                 PAGE_SIZE);
}

static void unmap_checked(unsigned int window,
                          const struct gnttab_map_grant_ref *map,
                          unsigned int in_use)
{
    expect("unmap", gnttab_unmap(_u(windows[window]), map->handle), GNTST_okay);
    expect("in use after that", entry_in_use(REF), in_use);
}

static void use(void)
{
    struct gnttab_map_grant_ref maps[4];

    step("the entry's flags: several mappings of both kinds");

    expect("nothing mapped", entry_in_use(REF), 0);
    expect("read", map_at(windows[0], REF, READ_ONLY, &maps[0]), GNTST_okay);
    expect("one to read", entry_in_use(REF), GTF_reading);
    expect("write", map_at(windows[1], REF, GNTMAP_host_map, &maps[1]),
           GNTST_okay);
    expect("and one to write", entry_in_use(REF), GTF_IN_USE);
    expect("write", map_at(windows[2], REF, GNTMAP_host_map, &maps[2]),
           GNTST_okay);
    expect("read", map_at(windows[3], REF, READ_ONLY, &maps[3]), GNTST_okay);
    expect("two of each", entry_in_use(REF), GTF_IN_USE);

    unmap_checked(1, &maps[1], GTF_IN_USE);
    unmap_checked(0, &maps[0], GTF_IN_USE);
    unmap_checked(2, &maps[2], GTF_reading);
    unmap_checked(3, &maps[3], 0);

    step("the last to go writes: both flags go at once");

    expect("read", map_at(windows[0], REF, READ_ONLY, &maps[0]), GNTST_okay);
    expect("write", map_at(windows[1], REF, GNTMAP_host_map, &maps[1]),
           GNTST_okay);
    unmap_checked(0, &maps[0], GTF_IN_USE);
    unmap_checked(1, &maps[1], 0);

    step("another reference to the same page has flags of its own");

    expect("map the one", map_at(windows[0], REF, GNTMAP_host_map, &maps[0]),
           GNTST_okay);
    expect("the other is not in use", entry_in_use(REF_ALIAS), 0);
    expect("map the other", map_at(windows[1], REF_ALIAS, READ_ONLY, &maps[1]),
           GNTST_okay);
    expect("for reading", entry_in_use(REF_ALIAS), GTF_reading);
    unmap_checked(0, &maps[0], 0);
    expect("still", entry_in_use(REF_ALIAS), GTF_reading);
    expect("unmap", gnttab_unmap(_u(windows[1]), maps[1].handle), GNTST_okay);
    expect("not in use", entry_in_use(REF_ALIAS), 0);

    step("an entry for reading only");

    refused("mapped to write", granter_domid(), REF_RO, _u(windows[0]),
            GNTMAP_host_map, GNTST_general_error);
    expect("read", map_at(windows[0], REF_RO, READ_ONLY, &maps[0]),
           GNTST_okay);
    expect("write, while it is mapped",
           map_at(windows[1], REF_RO, GNTMAP_host_map, &maps[1]),
           GNTST_general_error);
    expect("for reading", entry_in_use(REF_RO), GTF_reading);
    expect("unmap", gnttab_unmap(_u(windows[0]), maps[0].handle), GNTST_okay);
    expect("not in use", entry_in_use(REF_RO), 0);
}

static void entry_changes(void)
{
    struct gnttab_map_grant_ref first, second;

    step("a mapped entry's frame changes: its mappings do not");

    fill_pattern(granter_page(0), PAGE_SIZE, 3);
    fill_pattern(granter_page(1), PAGE_SIZE, 4);
    fill_pattern(copy, PAGE_SIZE, 3);

    expect("map", map_at(windows[0], REF_ALIAS, READ_ONLY, &first),
           GNTST_okay);
    entry_change_page(REF_ALIAS, 1);
    expect("map again", map_at(windows[1], REF_ALIAS, READ_ONLY, &second),
           GNTST_okay);
    expect_hex("the same page", second.dev_bus_addr, first.dev_bus_addr);
    expect_bytes("the first mapping", windows[0], copy, PAGE_SIZE);
    expect_bytes("the second mapping", windows[1], copy, PAGE_SIZE);
    expect("unmap", gnttab_unmap(_u(windows[0]), first.handle), GNTST_okay);
    expect("unmap", gnttab_unmap(_u(windows[1]), second.handle), GNTST_okay);

    step("nor do they when its grantee changes, and there can be more");

    expect("map", map_at(windows[0], REF_RO, READ_ONLY, &first), GNTST_okay);
    entry_change_grantee(REF_RO, DOMID_ABSENT);
    expect("map again", map_at(windows[1], REF_RO, READ_ONLY, &second),
           GNTST_okay);
    expect("unmap", gnttab_unmap(_u(windows[0]), first.handle), GNTST_okay);
    expect("in use", entry_in_use(REF_RO), GTF_reading);
    expect("unmap", gnttab_unmap(_u(windows[1]), second.handle), GNTST_okay);
    refused("once it is not mapped", granter_domid(), REF_RO, _u(windows[0]),
            READ_ONLY, GNTST_general_error);
    entry_change_grantee(REF_RO, own_domid());

    step("once it is not mapped, the entry is what it says");

    expect("map", map_at(windows[0], REF_ALIAS, READ_ONLY, &first),
           GNTST_okay);
    fill_pattern(copy, PAGE_SIZE, 4);
    expect_bytes("the mapping", windows[0], copy, PAGE_SIZE);
    expect("unmap", gnttab_unmap(_u(windows[0]), first.handle), GNTST_okay);
    expect("not in use", entry_in_use(REF_ALIAS), 0);
}

static void wrong_unmaps(void)
{
    struct gnttab_map_grant_ref map, again;

    step("unmapping what is not mapped");

    expect("no handle", gnttab_unmap(_u(windows[0]), HANDLE_NONE),
           GNTST_bad_handle);
    expect("a handle never given out", gnttab_unmap(_u(windows[0]), 0x00ffffff),
           GNTST_bad_handle);

    expect("map", map_at(windows[0], REF, GNTMAP_host_map, &map), GNTST_okay);
    expect("the next handle", gnttab_unmap(_u(windows[0]), map.handle + 1),
           GNTST_bad_handle);

    /* "If <host_addr> or <dev_bus_addr> is zero, that field is ignored." */
    expect("no addresses", gnttab_unmap_all(0, 0, map.handle), GNTST_okay);
    expect("still mapped", entry_in_use(REF), GTF_IN_USE);
    fill_pattern(granter_page(0), PAGE_SIZE, 5);
    fill_pattern(own_page, PAGE_SIZE, 5);
    fill_pattern(copy, PAGE_SIZE, 5);
    expect_bytes("and there", windows[0], copy, PAGE_SIZE);

    /* The header leaves open how this fails; the mapping must remain. */
    expect("another address", gnttab_unmap(_u(windows[1]), map.handle),
           GNTST_general_error);
    expect("an address with a page of this domain's own",
           gnttab_unmap(_u(own_page), map.handle), GNTST_general_error);
    expect("still mapped", entry_in_use(REF), GTF_IN_USE);
    expect_bytes("and there", windows[0], copy, PAGE_SIZE);
    expect_bytes("and so is the domain's own page", own_page, copy,
                 PAGE_SIZE);

    step("there is no device mapping: a device address does nothing");
    expect("a device address alone",
           gnttab_unmap_all(0, map.dev_bus_addr, map.handle), GNTST_okay);
    expect("still mapped", entry_in_use(REF), GTF_IN_USE);

    step("a handle is void after its unmapping");
    expect("unmap", gnttab_unmap(_u(windows[0]), map.handle), GNTST_okay);
    expect("once more", gnttab_unmap(_u(windows[0]), map.handle),
           GNTST_bad_handle);
    expect("with no addresses", gnttab_unmap_all(0, 0, map.handle),
           GNTST_bad_handle);
    expect("not in use", entry_in_use(REF), 0);
    expect("a new mapping at the same address",
           map_at(windows[0], REF, READ_ONLY, &again), GNTST_okay);
    expect("in use", entry_in_use(REF), GTF_reading);
    expect("unmap", gnttab_unmap(_u(windows[0]), again.handle), GNTST_okay);
    expect("not in use", entry_in_use(REF), 0);
}

static void wrong_calls(void)
{
    static const unsigned int cmds[] = {
        GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref,
    };
    struct gnttab_map_grant_ref map = { .status = GNTST_NOT_DONE };

    step("calls that are wrong as a whole");

    for ( unsigned int i = 0; i < ARRAY_SIZE(cmds); i++ )
    {
        expect("no elements", hypercall_grant_table_op(cmds[i], &map, 0), 0);
        expect("a negative count",
               hypercall_grant_table_op(cmds[i], &map, 0x80000000u), -EINVAL);
        expect("a count of -1",
               hypercall_grant_table_op(cmds[i], &map, 0xffffffffu), -EINVAL);
        /*
         * Bits from 12 on are progress, which these operations have not.  Of
         * an HVM guest's operations Xen lets through those it knows to be
         * right for one, and these are no such.
         */
        expect("bits beyond the operation",
               hypercall_grant_table_op(cmds[i] | (1u << 12), &map, 1),
               GUEST_IS_PV ? -EINVAL : -ENOSYS);
        /* windows[2] has nothing in it. */
        expect("arguments nowhere",
               hypercall_grant_table_op(cmds[i], windows[2], 1), -EFAULT);
    }
    expect("an operation that there is not",
           hypercall_grant_table_op(99, &map, 1), -ENOSYS);
    expect("nothing was done", map.status, GNTST_NOT_DONE);
}

void test_main(void)
{
    static const grant_ref_t refs[] = { REF, REF_ALIAS, REF_RO };
    unsigned int version = argument_number("version", 0);

    if ( !(version ? granter_self(version) : granter_begin()) ||
         !windows_free(windows, ARRAY_SIZE(windows)) )
        return;
    fact_u64("version", granter_version());
    fact_u64("granter", granter_domid());

    entry_grant(REF, 0, 0);
    entry_grant(REF_ALIAS, 0, 0);
    entry_grant(REF_RO, 0, GTF_readonly);

    wrong_flags();
    wrong_domains();
    wrong_references();
    wrong_entries();
    wrong_frames();
    wrong_addresses();
    address_within_page();
    data();
    use();
    entry_changes();
    wrong_unmaps();
    wrong_calls();

    step("nothing is left in use");
    for ( unsigned int i = 0; i < ARRAY_SIZE(refs); i++ )
        expect_true("withdraw", entry_withdraw(refs[i]));
    granter_end();

    xtf_success(NULL);
}
