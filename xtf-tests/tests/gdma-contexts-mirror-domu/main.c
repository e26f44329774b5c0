/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-contexts-mirror-domu/main.c
 * @ref test-gdma-contexts-mirror-domu
 *
 * @page test-gdma-contexts-mirror-domu gdma-contexts-mirror-domu
 *
 * A domain without privilege, with a device of its own in a copy of its memory,
 * changes and dies.  Its `edu` device is operated by the first domain, which
 * has the registers mapped from before; what the device does goes through the
 * second domain's tables all the same.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. The second domain makes a copy and moves its device there, which reaches
 *     its pages at its guest addresses [the first domain's memory].
 *  2. Its toolstack takes a page out of its memory: the device does not reach it
 *     any more, though the page is not free yet [a copy that follows its
 *     owner's calls only].
 *  3. The domain dies with the device in the copy, a second copy, and a mapping:
 *     it disappears, and the device reaches nothing [references held; lists that
 *     lead to freed memory; tables freed in use].
 *  4. The same once more, with a new domain [numbers and ids that stay].
 *
 * @see tests/gdma-contexts-mirror-domu/main.c
 */
#include <xtf.h>

#include <lab/edu.h>
#include <lab/grants.h>
#include <lab/remote.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: a copy of another domain's memory";

#define LEN             256u
#define SELF            XEN_GDMA_DOMID_SELF
#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

enum { SOURCE, TARGET, LEAVES };

static struct edu edu;
static uint8_t wanted[LEN];

/* The other domain makes a call of one element, which as a whole succeeds. */
#define REMOTE(cmd, op)                                                 \
    expect("the call", remote_gdma(cmd, &(op), sizeof(op), 1), 0)

/* The device copies from @from to the target page: what gets there? */
static void transfer(uint64_t from)
{
    expect("the transfer ends", edu_load(&edu, from, 0, LEN), 0);
    memset(remote_page(TARGET), 0x5a, LEN);
    expect("the transfer ends",
           edu_store(&edu, remote_gaddr(TARGET), 0, LEN), 0);
}

static void expect_copied(const char *what, unsigned int page, uint32_t seed)
{
    fill_pattern(remote_page(page), LEN, seed);
    fill_pattern(wanted, LEN, seed);
    transfer(remote_gaddr(page));
    expect_bytes(what, remote_page(TARGET), wanted, LEN);
}

static int create(struct xen_gdma_context_create *op)
{
    *op = (struct xen_gdma_context_create){
        .flags = XEN_GDMA_CONTEXT_MIRROR,
    };
    REMOTE(XEN_GDMA_OP_CONTEXT_CREATE, *op);

    return op->status;
}

static bool enter_copy(struct xen_gdma_context_create *copy)
{
    struct xen_gdma_device_attach attach = {
        .kind = XEN_GDMA_DEVICE_PCI,
        .id = edu.bdf,
    };

    step("a copy, and the device in it");

    if ( !expect("create", create(copy), 0) )
        return false;
    attach.context = copy->context;
    REMOTE(XEN_GDMA_OP_DEVICE_ATTACH, attach);
    if ( !expect("attach", attach.status, 0) )
        return false;
    expect_copied("its page", SOURCE, 101);

    return true;
}

static void page_leaves(void)
{
    unsigned long gfn = remote_gaddr(LEAVES) >> PAGE_SHIFT;
    struct xen_memory_reservation release = {
        .extent_start = &gfn,
        .nr_extents = 1,
        .domid = remote_domid(),
    };

    step("its toolstack takes a page away, which is mapped elsewhere");

    expect_copied("the page", LEAVES, 102);
    expect("decrease_reservation",
           hypercall_memory_op(XENMEM_decrease_reservation, &release), 1);
    fill_pattern(remote_page(LEAVES), LEN, 103);
    transfer(remote_gaddr(LEAVES));
    expect_zeros("the page", remote_page(TARGET), LEN);
    expect_copied("another page", SOURCE, 104);
}

static void death(const struct xen_gdma_context_create *copy)
{
    struct xen_gdma_map map = {
        .context = copy->context,
        .kind = XEN_GDMA_MAP_OWN,
        .source = remote_gaddr(SOURCE) >> PAGE_SHIFT,
        .nr_frames = 1,
        .flags = READ_WRITE,
    };
    struct xen_gdma_context_create second;
    struct xen_gdma_stats stats;
    const domid_t domid = remote_domid();

    step("it dies");

    expect("another copy", create(&second), 0);
    REMOTE(XEN_GDMA_OP_MAP, map);
    expect("map", map.status, 0);
    expect("stats", gdma_stats(domid, &stats), 0);
    expect("contexts counted", stats.used_contexts,
           2 * XEN_GDMA_MIRROR_WEIGHT);
    expect("pinned frames", stats.used_pins, 1);
    remote_end();
    expect("it is gone", gdma_stats(domid, &stats), -ESRCH);
}

static bool live_and_die(void)
{
    struct xen_gdma_context_create copy;

    second_domain_behind_iommu();
    if ( !remote_start() )
        return false;
    if ( remote_assign(edu.bdf) )
    {
        xtf_error("The device cannot be given to the second domain\n");
        return false;
    }
    if ( !enter_copy(&copy) )
        return false;
    page_leaves();
    death(&copy);

    return true;
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !edu_open(&edu, 0) )
        return xtf_skip("This machine has no edu device\n");

    if ( live_and_die() )
        live_and_die();

    xtf_success(NULL);
}
