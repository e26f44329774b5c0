/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-edu-foreign/main.c
 * @ref test-gdma-edu-foreign
 *
 * @page test-gdma-edu-foreign gdma-edu-foreign
 *
 * The driver domain's use: a device of one domain reads and writes pages
 * that another domain granted, at device addresses that are none of the first
 * domain's guest addresses.  (The first domain also looks at the second one's
 * memory, as the domain that built it, to see what the device did.)
 *
 *  1. A second domain starts, fills pages and grants them to this one.
 *  2. References it did not grant are refused, and a read-only grant for
 *     writing too.
 *  3. A page to read and a page to write are pinned; the granter sees both
 *     in use.
 *  4. The device copies the one to the other; the granter finds the bytes.
 *  5. The pages are unpinned: the granter sees them free.
 *  6. The same transfers now reach nothing.
 *  7. Nothing is left behind, and the second domain can be destroyed.
 *
 * @see tests/gdma-edu-foreign/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/edu.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/second-domain.h>
#include <lab/steps.h>

const char test_title[] = "Device DMA to another domain's pages";

#define REF_SOURCE      FIRST_FREE_REF          /* Read-only. */
#define REF_TARGET      (FIRST_FREE_REF + 1)
#define REF_EMPTY       (FIRST_FREE_REF + 2)
#define REF_BEYOND      0x00ffffffu

#define SEED_SOURCE     21
#define SEED_TARGET     22

#define IN_USE          (GTF_reading | GTF_writing)

/* The granted pages; this domain's own copies of them are never used. */
static struct granted {
    uint8_t source[PAGE_SIZE];
    uint8_t target[PAGE_SIZE];
} granted __page_aligned_bss;

/* What the granter tells, over and over while it runs. */
static struct mailbox {
    volatile uint32_t rounds;           /* 0: not ready. */
    volatile int32_t error;
    volatile uint32_t source_flags;
    volatile uint32_t target_flags;
    volatile uint32_t target_is_source; /* The target has the source's bytes. */
} mailbox __page_aligned_bss;

/* This domain's views of the granter's memory. */
static uint8_t granted_window[sizeof(struct granted)] __page_aligned_bss;
static uint8_t mailbox_window[PAGE_SIZE] __page_aligned_bss;

static uint8_t shown[PAGE_SIZE] __page_aligned_bss;
static uint8_t wanted[PAGE_SIZE];

static struct edu edu;
static struct second_domain dom;

static struct granted *const granter_pages = (void *)granted_window;
static const struct mailbox *const mail = (const void *)mailbox_window;

/* Runs in the second domain. */
static void granter(void)
{
    mailbox.error = arch_map_gnttab();
    if ( !mailbox.error )
    {
        fill_pattern(granted.source, PAGE_SIZE, SEED_SOURCE);
        fill_pattern(granted.target, PAGE_SIZE, SEED_TARGET);
        gnttab_grant_access(REF_SOURCE, 0, virt_to_gfn(granted.source),
                            GTF_readonly);
        gnttab_grant_access(REF_TARGET, 0, virt_to_gfn(granted.target), 0);
    }

    for ( ; ; )
    {
        if ( !mailbox.error )
        {
            mailbox.source_flags = gnttab_entry_flags(REF_SOURCE) & IN_USE;
            mailbox.target_flags = gnttab_entry_flags(REF_TARGET) & IN_USE;
            mailbox.target_is_source = !memcmp(granted.source, granted.target,
                                               PAGE_SIZE);
        }
        barrier();
        mailbox.rounds++;
        hypercall_yield();
    }
}

/* Wait until the granter has looked at everything once more. */
static bool granter_looks(void)
{
    uint32_t seen = mail->rounds;
    uint64_t start = now_ns();

    /* The round that was under way may have looked before; the next has not. */
    while ( mail->rounds - seen < 2 )
    {
        if ( now_ns() - start > MS(3000) )
        {
            xtf_error("The second domain does not answer\n");
            return false;
        }
        hypercall_yield();
    }

    return true;
}

static void expect_flags(const char *when, unsigned int source,
                         unsigned int target)
{
    if ( !granter_looks() )
        return;

    printk("The granter looks at its entries (%s)\n", when);
    expect("source, flags seen by the granter", mail->source_flags, source);
    expect("target, flags seen by the granter", mail->target_flags, target);
}

static bool start_granter(void)
{
    step("start a second domain, which grants two pages to this one");

    if ( second_domain_start(&dom, granter) ||
         second_domain_map(&dom, &mailbox, mailbox_window, 1) ||
         second_domain_map(&dom, &granted, granted_window, 2) )
    {
        xtf_error("The second domain cannot be built\n");
        return false;
    }

    if ( !granter_looks() )
        return false;
    if ( mail->error )
    {
        xtf_error("The second domain has no grant table: %d\n", mail->error);
        return false;
    }

    fact_u64("granter", dom.domid);
    expect_flags("nothing pinned", 0, 0);
    return true;
}

static void refused(void)
{
    struct xen_gdma_map map;

    step("what was not granted is refused");

    expect("an entry that grants nothing",
           gdma_map_grants(dom.domid, REF_EMPTY, 1, XEN_GDMA_MAP_READ, &map),
           -EACCES);
    expect("a reference beyond the table",
           gdma_map_grants(dom.domid, REF_BEYOND, 1, XEN_GDMA_MAP_READ, &map),
           -ERANGE);
    expect("a read-only grant, for writing",
           gdma_map_grants(dom.domid, REF_SOURCE, 1, XEN_GDMA_MAP_WRITE, &map),
           -EACCES);
    expect_flags("after the refusals", 0, 0);
}

static bool pin(struct xen_gdma_map *source, struct xen_gdma_map *target)
{
    step("pin one page to read and one to write");

    if ( !expect("map the source",
                 gdma_map_grants(dom.domid, REF_SOURCE, 1, XEN_GDMA_MAP_READ,
                                 source), 0) ||
         !expect("map the target",
                 gdma_map_grants(dom.domid, REF_TARGET, 1,
                                 XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE,
                                 target), 0) )
        return false;

    fact_u64("source_ref", REF_SOURCE);
    fact_hex("source_device_address", source->daddr);
    fact_hex("source_handle", source->handle);
    fact_u64("target_ref", REF_TARGET);
    fact_hex("target_device_address", target->daddr);
    fact_hex("target_handle", target->handle);
    expect_true("different device addresses", source->daddr != target->daddr);
    expect_flags("both pinned", GTF_reading, IN_USE);

    return true;
}

static void copy_by_device(const struct xen_gdma_map *source,
                           const struct xen_gdma_map *target)
{
    step("the device copies the other domain's page");

    expect("read the source", edu_load(&edu, source->daddr, 0, PAGE_SIZE), 0);
    expect("write the target", edu_store(&edu, target->daddr, 0, PAGE_SIZE),
           0);

    fill_pattern(wanted, PAGE_SIZE, SEED_SOURCE);
    expect_bytes("the target in the other domain", granter_pages->target,
                 wanted, PAGE_SIZE);
    if ( granter_looks() )
        expect("the granter finds the source's bytes in its target",
               mail->target_is_source, 1);

    step("the device cannot write through the mapping for reading");
    memset(shown, 0xa5, PAGE_SIZE);
    expect("fill the device's buffer", edu_load(&edu, _u(shown), 0, PAGE_SIZE),
           0);
    expect("the transfer ends", edu_store(&edu, source->daddr, 0, PAGE_SIZE),
           0);
    expect_bytes("the source in the other domain", granter_pages->source,
                 wanted, PAGE_SIZE);
}

static void unpin(const struct xen_gdma_map *source,
                  const struct xen_gdma_map *target)
{
    step("unpin both pages");

    expect("unmap the source", gdma_unmap(source->handle), 0);
    expect("unmap the target", gdma_unmap(target->handle), 0);
    expect_flags("both unpinned", 0, 0);
    expect("stale handle", gdma_unmap(source->handle), -ENOENT);
}

static void blocked(const struct xen_gdma_map *source,
                    const struct xen_gdma_map *target)
{
    step("the same DMA is blocked");

    expect("the transfer ends", edu_load(&edu, source->daddr, 0, PAGE_SIZE), 0);
    memset(shown, 0x5a, PAGE_SIZE);
    expect("show the device's buffer", edu_store(&edu, _u(shown), 0, PAGE_SIZE),
           0);
    expect_zeros("what the device read", shown, PAGE_SIZE);

    fill_pattern(granter_pages->target, PAGE_SIZE, SEED_TARGET);
    fill_pattern(wanted, PAGE_SIZE, SEED_TARGET);
    expect("the transfer ends", edu_store(&edu, target->daddr, 0, PAGE_SIZE),
           0);
    expect_bytes("the target in the other domain", granter_pages->target,
                 wanted, PAGE_SIZE);
}

static void end_granter(const struct xen_gdma_query *before)
{
    struct xen_gdma_query after;

    step("nothing is left behind");

    expect("query", gdma_query(&after), 0);
    expect("pinned frames", after.used_pins, before->used_pins);
    expect("mappings", after.mappings, before->mappings);

    if ( second_domain_unmap(granted_window, 2) ||
         second_domain_unmap(mailbox_window, 1) ||
         second_domain_destroy(&dom) )
        xtf_error("The second domain does not end\n");
}

void test_main(void)
{
    struct xen_gdma_map source, target;
    struct xen_gdma_query before;

    if ( !owns_machine() )
        return;
    if ( !gdma_usable() )
        return;
    if ( !edu_open(&edu, 0) )
        return xtf_skip("This machine has no edu device\n");
    if ( gdma_query(&before) )
        return xtf_error("No answer from the service\n");

    if ( !start_granter() )
        return;

    refused();
    if ( pin(&source, &target) )
    {
        copy_by_device(&source, &target);
        unpin(&source, &target);
        blocked(&source, &target);
    }
    end_granter(&before);

    xtf_success(NULL);
}
