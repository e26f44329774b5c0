/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-phantom/main.c
 * @ref test-gdma-phantom
 *
 * @page test-gdma-phantom gdma-phantom
 *
 * A device that uses more requester ids than its own, by phantom functions.
 * For the domain that owns the machine, with a device at 00:05.0 to which an
 * option of Xen's gives phantom functions.  Nothing in the lab makes requests
 * by such an id: what the IOMMU's tables say of them is in Xen's log, which the
 * lab's runner looks at.
 *
 *  1. The device moves to a context, to another one, and back: each time all of
 *     its functions do, and are counted as one device.
 *  2. It is removed while it is in a context, and put back: in the default
 *     context, and the context can end.
 *
 * Xen 4.20 itself dies of a removal of such a device on AMD-Vi: it frees the
 * interrupt remapping table that the functions share once for the first phantom
 * function and once for the device.  steps=move on the command line leaves the
 * second step out.
 *
 * @see tests/gdma-phantom/main.c
 */
#include <xtf.h>

#include <lab/arguments.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/pci.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: phantom functions";

#define DEVICE          PCI_BDF(0, 5, 0)
#define PHANTOM         PCI_BDF(0, 5, 2)

static struct xen_gdma_context_create first, second;

static void expect_context(uint32_t context)
{
    struct xen_gdma_query_device query;

    expect("query_device", gdma_query_device(DEVICE, &query), 0);
    expect("context", query.context, context);
    expect("a function that is none of its own",
           gdma_query_device(PHANTOM, &query), -ENODEV);
}

static void move_device(uint32_t context)
{
    expect("attach", gdma_attach(DEVICE, context), 0);
    expect_context(context);
}

static void remove_and_add(void)
{
    step("removed from a context, and put back");

    move_device(second.context);
    expect("remove", pci_withdraw(DEVICE), 0);
    expect("destroy", gdma_context_destroy(second.context), 0);
    expect("add", pci_announce(DEVICE), 0);
    expect_context(XEN_GDMA_CONTEXT_DEFAULT);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( pci_read(DEVICE, PCI_ID) == PCI_ID_NONE )
        return xtf_skip("This machine has no device at 00:05.0\n");

    step("to contexts and back");
    if ( !expect("create", gdma_context_create(0, &first), 0) ||
         !expect("create", gdma_context_create(0, &second), 0) )
        return;
    expect_context(XEN_GDMA_CONTEXT_DEFAULT);
    move_device(first.context);
    expect("a phantom function by itself", gdma_attach(PHANTOM, second.context),
           -ENODEV);
    expect("destroy", gdma_context_destroy(first.context), -EBUSY);
    move_device(second.context);
    expect("destroy", gdma_context_destroy(first.context), 0);
    move_device(XEN_GDMA_CONTEXT_DEFAULT);

    if ( argument_lists("steps", "remove") )
        remove_and_add();
    else
        expect("destroy", gdma_context_destroy(second.context), 0);

    xtf_success(NULL);
}
