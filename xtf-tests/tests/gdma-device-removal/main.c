/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-device-removal/main.c
 * @ref test-gdma-device-removal
 *
 * @page test-gdma-device-removal gdma-device-removal
 *
 * Devices in a context are taken out of the machine, as far as Xen is told, and
 * put back.  For the domain that owns the machine; the devices, which in truth
 * stay where they are, are `edu` devices.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. Two devices in a context reach a page there.
 *  2. One is removed: it is nobody's, and reaches nothing [the context, the
 *     default one].  The other one works on.  The context cannot end yet.
 *  3. The other one is removed, by the older operation where that is to be had
 *     (PV).  The pins stay; the context ends, and they come back [a device that
 *     is counted for ever].
 *  4. Both are put back: they are in the default context, and can be moved
 *     [into a context that is gone], removed and put back from there as well.
 *
 * QEMU's AMD-Vi lets a device through untranslated whose entry of the device
 * table says that there is no translation, as Xen's does after a removal; with
 * iommu=amd-vi on the command line nothing is asked of a removed device.
 *
 * @see tests/gdma-device-removal/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: devices are removed from contexts";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

enum { FIRST, SECOND, NR_DEVICES };

static struct device devices[NR_DEVICES];
static struct xen_gdma_context_create context;
static struct xen_gdma_map map_of_page, map_of_shows;
static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static uint8_t wanted[REACH_LEN];

/* A removed device may be asked for a transfer. */
static bool fenced;

static void expect_pins(unsigned int wanted_pins)
{
    struct xen_gdma_query query;

    expect("query", gdma_query(&query), 0);
    expect("pins", query.used_pins, wanted_pins);
}

static bool make_context(void)
{
    return expect("create", gdma_context_create(0, &context), 0) &&
           expect("map", gdma_map_own_in(context.context, virt_to_gfn(page), 1,
                                         READ_WRITE, &map_of_page), 0) &&
           expect("map", gdma_map_own_in(context.context,
                                         virt_to_gfn(device_shows), 1,
                                         READ_WRITE, &map_of_shows), 0);
}

static void attach(struct device *dev)
{
    expect("attach", gdma_attach(dev->edu.bdf, context.context), 0);
    dev->shows = map_of_shows.daddr;
    expect_reaches("the page, in the context", dev, map_of_page.daddr, page);
}

/*
 * What a device that is nowhere holds cannot be seen until it is somewhere again:
 * a part of its buffer is filled from @daddr, and shown by expect_held_nothing().
 */
static void expect_cut_off(const struct device *dev, uint64_t daddr)
{
    if ( !fenced )
        return;

    printk("The device cannot reach %#"PRIx64"\n", daddr);
    fill_pattern(page, REACH_LEN, 77);
    fill_pattern(wanted, REACH_LEN, 77);
    expect("the transfer ends", edu_load(&dev->edu, daddr, 0, REACH_LEN), 0);
    memset(page, 0x5a, REACH_LEN);
    memset(wanted, 0x5a, REACH_LEN);
    expect("the transfer ends", edu_store(&dev->edu, daddr, 0, REACH_LEN), 0);
    expect_bytes("the page is as it was", page, wanted, REACH_LEN);
}

static void expect_held_nothing(const struct device *dev)
{
    if ( !fenced )
        return;

    memset(device_shows, 0x5a, REACH_LEN);
    expect("the transfer ends",
           edu_store(&dev->edu, dev->shows, 0, REACH_LEN), 0);
    expect_zeros("what it has read meanwhile", device_shows, REACH_LEN);
}

static void expect_nobodys(const struct device *dev)
{
    struct xen_gdma_query_device query;

    expect("query_device", gdma_query_device(dev->edu.bdf, &query), -ENODEV);
    expect("attach", gdma_attach(dev->edu.bdf, context.context), -ENODEV);
    expect("attach to the default context",
           gdma_attach(dev->edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), -ENODEV);
}

static void remove_first(void)
{
    struct device *dev = &devices[FIRST];

    step("one of them is removed");

    expect("remove", pci_withdraw(dev->edu.bdf), 0);
    expect("remove again", pci_withdraw(dev->edu.bdf), -ENODEV);
    expect_nobodys(dev);
    expect_cut_off(dev, map_of_page.daddr);
    expect_cut_off(dev, default_daddr(page));
    expect_reaches("the other one: the page", &devices[SECOND],
                   map_of_page.daddr, page);
    expect("destroy", gdma_context_destroy(context.context), -EBUSY);
}

static void remove_second(void)
{
    struct device *dev = &devices[SECOND];

    step("the other one, too; the context ends");

#ifdef CONFIG_PV
    expect("remove", pci_withdraw_old(dev->edu.bdf), 0);
#else
    expect("the older operation", pci_withdraw_old(dev->edu.bdf), -ENOSYS);
    expect("remove", pci_withdraw(dev->edu.bdf), 0);
#endif
    expect_nobodys(dev);
    expect_cut_off(dev, map_of_page.daddr);
    expect_pins(2);
    expect("destroy", gdma_context_destroy(context.context), 0);
    expect_pins(0);
    expect_cut_off(dev, map_of_page.daddr);
}

static void expect_default(struct device *dev)
{
    struct xen_gdma_query_device query;

    dev->shows = default_daddr(device_shows);
    expect("query_device", gdma_query_device(dev->edu.bdf, &query), 0);
    expect("context", query.context, XEN_GDMA_CONTEXT_DEFAULT);
    expect_held_nothing(dev);
    expect_reaches("by the default address", dev, default_daddr(page), page);
}

static void put_back(void)
{
    step("both are put back");

    for ( unsigned int i = 0; i < NR_DEVICES; i++ )
    {
        expect("add", pci_announce(devices[i].edu.bdf), 0);
        expect_default(&devices[i]);
    }
}

static void once_more(void)
{
    struct device *dev = &devices[FIRST];

    step("one is removed from the default context, put back, and moved");

    expect("remove", pci_withdraw(dev->edu.bdf), 0);
    expect_cut_off(dev, default_daddr(page));
    expect("add", pci_announce(dev->edu.bdf), 0);
    expect_default(dev);

    if ( !make_context() )
        return;
    attach(dev);
    expect_blocked("by the default address", dev, default_daddr(page), page);
    expect("detach", gdma_attach(dev->edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    dev->shows = default_daddr(device_shows);
    expect_reaches("by the default address", dev, default_daddr(page), page);
    expect("destroy", gdma_context_destroy(context.context), 0);
    expect_pins(0);
}

void test_main(void)
{
    size_t len;

    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    for ( unsigned int i = 0; i < NR_DEVICES; i++ )
        if ( !device_open(&devices[i], i) )
            return xtf_skip("This machine has fewer than two edu devices\n");

    fenced = argument("iommu", &len) == NULL;

    step("two devices in a context");
    if ( !make_context() )
        return;
    for ( unsigned int i = 0; i < NR_DEVICES; i++ )
        attach(&devices[i]);

    remove_first();
    remove_second();
    put_back();
    once_more();

    xtf_success(NULL);
}
