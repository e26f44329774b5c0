/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-faults/main.c
 * @ref test-gdma-faults
 *
 * @page test-gdma-faults gdma-faults
 *
 * The domain whose device the IOMMU stops hears of it: which device, in which
 * context, at which address, and whether it wanted to write.  For the domain that
 * owns the machine, PVH or PV, with two `edu` devices, functions of one.
 *
 * A transfer of one byte is one fault.  Before the next one, the test waits until
 * Xen has counted it: IOMMUs report one of many that come at once.
 *
 * Each step names in brackets the fault that it would show.
 *
 *  1. Before anybody asks for faults, they are only counted [memory taken for
 *     domains that do not care].
 *  2. Wrong elements have their error and change nothing.
 *  3. A read and a write in a context: each field, then no fault any more [device,
 *     number, direction or address mixed up; a fault told twice].
 *  4. The other function, in the default context.
 *  5. A write to what may be read; the address of a mapping that has ended.
 *  6. One event when there are faults after there were none, and no other [an
 *     event a fault; none after the first time; one though all is read].
 *  7. Port 0 silences, and a channel that was closed is not told.
 *  8. More faults than Xen keeps: the oldest are there, in order, the others are
 *     counted as lost, and there was one event [a ring that overwrites; memory
 *     without limit; a count that is wrong].
 *  9. Nothing is left behind.
 *
 * Argument on the guest's command line:
 *
 *  iommu=amd-vi  QEMU's AMD-Vi may report nothing at all: then only what does not
 *                need a fault is looked at.  Without it, no fault is a failure.
 *
 * @see tests/gdma-faults/main.c
 */
#include <xtf.h>

#include <xen/event_channel.h>

#include <lab/arguments.h>
#include <lab/clock.h>
#include <lab/gdma.h>
#include <lab/grants.h>
#include <lab/reach.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: device faults";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

/* Neither memory nor a device, in any default context of the lab's machines. */
#define FAR_AWAY        0x7000000000ULL

/* More than Xen may want to keep of a domain's faults. */
#define FLOOD           100u
#define UNTOUCHED       0x5a5a5a5au

/* No event channel of this domain's, and within the limits of all. */
#define FREE_PORT       1000u

static uint8_t page[PAGE_SIZE] __page_aligned_bss;

static struct device device, sibling;
static struct xen_gdma_context_create context;
static struct xen_gdma_map shows;
static struct xen_gdma_stats start;
static evtchn_port_t port;
static unsigned int caused;

static uint64_t counted(void)
{
    struct xen_gdma_stats stats;

    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &stats), 0);

    return stats.faults - start.faults;
}

/* Wait until Xen has counted @nr faults, and a while longer for others. */
static uint64_t wait_counted(uint64_t nr)
{
    uint64_t since = now_ns();

    while ( counted() < nr && now_ns() - since < MS(2000) )
        wait_ns(MS(1));
    wait_ns(MS(20));

    return counted();
}

/* One access that the IOMMU stops. */
static bool fault(const struct device *dev, uint64_t daddr, bool write)
{
    int rc = write ? edu_store(&dev->edu, daddr, 0, 1)
                   : edu_load(&dev->edu, daddr, 0, 1);

    if ( !expect("the transfer ends", rc, 0) )
        return false;
    caused++;

    if ( expect("faults counted", wait_counted(caused), caused) )
        return true;
    caused = counted();         /* One failure is enough. */

    return false;
}

/* Addresses with nothing mapped there. */
static uint64_t nowhere(unsigned int nth)
{
    return context.daddr_last + 1 - (uint64_t)(nth + 2) * PAGE_SIZE;
}

static void expect_none(const char *what)
{
    struct xen_gdma_fault f;

    expect(what, gdma_fault_read(&f), -ENOENT);
    expect_hex("its fields are untouched", f.id, UNTOUCHED);
    expect_hex("its fields are untouched", f.daddr, UNTOUCHED);
    expect_hex("its fields are untouched", f.context, UNTOUCHED);
    expect_hex("its fields are untouched", f.flags, UNTOUCHED);
    expect_hex("its fields are untouched", f.lost, UNTOUCHED);
}

/* VT-d tells the page of the address. */
static void expect_is(const struct xen_gdma_fault *f, const struct device *dev,
                      uint32_t number, uint64_t daddr, bool write)
{
    expect_hex("device", f->id, dev->edu.bdf);
    expect("context", f->context, number);
    expect_hex("device address", f->daddr & ~(uint64_t)(PAGE_SIZE - 1),
               daddr & ~(uint64_t)(PAGE_SIZE - 1));
    expect("it wanted to write", f->flags, write ? XEN_GDMA_FAULT_WRITE : 0);
}

static void expect_fault(const struct device *dev, uint32_t number,
                         uint64_t daddr, bool write)
{
    struct xen_gdma_fault f;

    if ( expect("read", gdma_fault_read(&f), 0) )
        expect_is(&f, dev, number, daddr, write);
}

static bool pending(evtchn_port_t of)
{
    const unsigned int bits = sizeof(unsigned long) * 8;
    volatile unsigned long *word = &shared_info.evtchn_pending[of / bits];

    return *word & (1UL << (of % bits));
}

/* Has there been an event since the last look? */
static bool event(void)
{
    const unsigned int bits = sizeof(unsigned long) * 8;

    if ( !pending(port) )
        return false;
    __sync_fetch_and_and(&shared_info.evtchn_pending[port / bits],
                         ~(1UL << (port % bits)));

    return true;
}

static bool bind(void)
{
    const unsigned int bits = sizeof(unsigned long) * 8;
    struct evtchn_bind_ipi ipi = { .vcpu = 0 };

    if ( hypercall_event_channel_op(EVTCHNOP_bind_ipi, &ipi) )
        return false;
    port = ipi.port;

    /* A masked channel becomes pending, and no upcall is made. */
    __sync_fetch_and_or(&shared_info.evtchn_mask[port / bits],
                        1UL << (port % bits));

    return !event();
}

static bool prepare(void)
{
    if ( gdma_stats(XEN_GDMA_DOMID_SELF, &start) ||
         gdma_context_create(0, &context) ||
         gdma_map_own_at(context.context, context.daddr_last + 1 - PAGE_SIZE,
                         virt_to_gfn(device_shows), 1, READ_WRITE, &shows) ||
         gdma_attach(device.edu.bdf, context.context) )
    {
        xtf_failure("BAD no context with a device\n");
        return false;
    }
    device.shows = shows.daddr;

    if ( !bind() )
    {
        xtf_error("No event channel\n");
        return false;
    }
    fact_u64("port", port);

    return true;
}

static bool before_anybody_asks(void)
{
    struct xen_gdma_fault f;

    step("before anybody asks, a fault is only counted");

    expect("faults counted", counted(), 0);
    if ( !fault(&device, nowhere(0), false) )
        return false;
    expect_none("read");
    expect("read once more", gdma_fault_read(&f), -ENOENT);
    expect_true("no event", !event());

    return true;
}

static void wrong_elements(void)
{
    struct xen_gdma_fault f[3] = {
        { .op = XEN_GDMA_FAULT_NOTIFY + 1, .daddr = UNTOUCHED, .status = 1 },
        { .op = ~0u, .daddr = UNTOUCHED, .status = 1 },
        { .op = XEN_GDMA_FAULT_READ, .port = port, .daddr = UNTOUCHED,
          .status = 1 },
    };

    step("wrong elements");

    expect("the call", gdma_op(XEN_GDMA_OP_FAULTS, f, 3), 0);
    expect("an unknown op", f[0].status, -EINVAL);
    expect("the highest op", f[1].status, -EINVAL);
    expect("read with a port", f[2].status, -EINVAL);
    for ( unsigned int i = 0; i < 3; i++ )
        expect_hex("a field is untouched", f[i].daddr, UNTOUCHED);
    expect("no elements", gdma_op(XEN_GDMA_OP_FAULTS, f, 0), -EINVAL);
    expect("no array", gdma_op(XEN_GDMA_OP_FAULTS, _p(0x123456789000UL), 1),
           -EFAULT);
    expect_none("nothing to read");
    expect_true("no event", !event());
}

static void in_a_context(void)
{
    struct xen_gdma_fault f[3] = {
        { .op = XEN_GDMA_FAULT_READ, .status = 1 },
        { .op = XEN_GDMA_FAULT_READ, .status = 1 },
        { .op = XEN_GDMA_FAULT_READ, .status = 1 },
    };

    step("a read and a write in a context");

    if ( fault(&device, nowhere(1) + 0x128, false) )
        expect_fault(&device, context.context, nowhere(1), false);
    expect_none("no other");
    if ( fault(&device, nowhere(2) + 0xff8, true) )
        expect_fault(&device, context.context, nowhere(2), true);
    expect_none("no other");

    step("two at once, the oldest first");
    if ( !fault(&device, nowhere(3), true) ||
         !fault(&device, nowhere(4), false) )
        return;
    expect("read three", gdma_op(XEN_GDMA_OP_FAULTS, f, 3), 0);
    expect("the first", f[0].status, 0);
    expect_is(&f[0], &device, context.context, nowhere(3), true);
    expect("the second", f[1].status, 0);
    expect_is(&f[1], &device, context.context, nowhere(4), false);
    expect("there is no third", f[2].status, -ENOENT);
    expect("nothing was lost between", f[1].lost, f[0].lost);
}

static void by_default(void)
{
    step("the other function, in the default context");

    if ( fault(&sibling, FAR_AWAY, true) )
        expect_fault(&sibling, XEN_GDMA_CONTEXT_DEFAULT, FAR_AWAY, true);
    if ( fault(&device, nowhere(5), true) )
        expect_fault(&device, context.context, nowhere(5), true);
    expect_none("no other");
}

static void rights(void)
{
    struct xen_gdma_map map, fresh;

    step("a write to what may be read; what has ended");

    if ( !expect("map", gdma_map_own_in(context.context, virt_to_gfn(page), 1,
                                        XEN_GDMA_MAP_READ, &map), 0) )
        return;
    expect("the device reads", edu_load(&device.edu, map.daddr, 0, 1), 0);
    wait_ns(MS(100));
    expect("faults counted", counted(), caused);
    expect_none("a read that is allowed is none");

    /* QEMU does not report what an entry of its IOTLB forbids: a new mapping. */
    if ( expect("map", gdma_map_own_in(context.context, virt_to_gfn(page), 1,
                                       XEN_GDMA_MAP_READ, &fresh), 0) )
    {
        if ( fault(&device, fresh.daddr, true) )
            expect_fault(&device, context.context, fresh.daddr, true);
        expect("unmap", gdma_unmap_in(context.context, fresh.handle, 0), 0);
    }

    expect("unmap", gdma_unmap_in(context.context, map.handle, 0), 0);
    if ( fault(&device, map.daddr, false) )
        expect_fault(&device, context.context, map.daddr, false);
    expect_none("no other");
}

static void events(void)
{
    step("one event when there are faults after there were none");

    if ( !expect("notify", gdma_fault_notify(port), 0) )
        return;
    expect_true("no event without a fault", !event());

    for ( unsigned int round = 0; round < 2; round++ )
    {
        if ( !fault(&device, nowhere(6), false) )
            return;
        expect_true("an event of the first", event());
        if ( !fault(&device, nowhere(7), false) )
            return;
        expect_true("none of the second", !event());

        expect_fault(&device, context.context, nowhere(6), false);
        expect_true("none of reading", !event());
        /* One still waits: there were not none. */
        if ( !fault(&device, nowhere(8), true) )
            return;
        expect_true("none while one waits", !event());
        expect_fault(&device, context.context, nowhere(7), false);
        expect_fault(&device, context.context, nowhere(8), true);
        expect_none("no other");
        expect_true("none of reading", !event());
    }
}

static void silence(void)
{
    struct evtchn_close close = { .port = port };

    step("port 0 silences");

    expect("notify nobody", gdma_fault_notify(0), 0);
    if ( !fault(&device, nowhere(9), false) )
        return;
    expect_true("no event", !event());
    expect_true("port 0 is not told", !pending(0));
    expect_fault(&device, context.context, nowhere(9), false);
    expect_none("no other");

    step("a channel that is not there");
    /* Which status this has is not documented: nobody must be told. */
    printk("FACT notify_free_port=%d\n", gdma_fault_notify(FREE_PORT));
    if ( !fault(&device, nowhere(10), false) )
        return;
    expect_true("it is not told", !pending(FREE_PORT));
    expect_fault(&device, context.context, nowhere(10), false);

    step("a channel that is closed afterwards");
    expect("notify", gdma_fault_notify(port), 0);
    expect("close", hypercall_event_channel_op(EVTCHNOP_close, &close), 0);
    (void)event();
    if ( !fault(&device, nowhere(11), false) )
        return;
    expect_true("it is not told", !pending(close.port));
    expect_fault(&device, context.context, nowhere(11), false);

    step("another channel");
    if ( !bind() )
        return xtf_error("No event channel\n");
    expect("notify", gdma_fault_notify(port), 0);
    if ( !fault(&device, nowhere(12), false) )
        return;
    expect_true("it is told", event());
    expect_fault(&device, context.context, nowhere(12), false);
    expect_none("no other");
}

static void flood(void)
{
    struct xen_gdma_fault f;
    unsigned int kept = 0, lost_before;

    step("more than Xen keeps");

    if ( !fault(&device, nowhere(0), false) ||
         !expect("read", gdma_fault_read(&f), 0) )
        return;
    lost_before = f.lost;
    expect_true("an event", event());

    for ( unsigned int i = 0; i < FLOOD; i++ )
    {
        if ( !fault(&device, nowhere(i), i & 1) )
            return;
        expect("an event", event(), i == 0);
    }

    for ( ; kept < FLOOD && !gdma_fault_read(&f); kept++ )
        expect_is(&f, &device, context.context, nowhere(kept), kept & 1);
    fact_u64("kept", kept);
    expect_none("all is read");
    expect_true("some are kept", kept > 0);

    if ( !fault(&device, nowhere(1), true) )
        return;
    expect_true("an event after all is read", event());
    if ( !expect("read", gdma_fault_read(&f), 0) )
        return;
    expect_is(&f, &device, context.context, nowhere(1), true);
    expect("kept and lost", kept + f.lost - lost_before, FLOOD);
    expect_true("some were lost", f.lost > lost_before);
}

/* Is anything reported at all, of what is absent and of what is read-only? */
static bool reports(void)
{
    struct xen_gdma_fault f;
    struct xen_gdma_map map;
    size_t len;

    if ( !argument("iommu", &len) || !argument_lists("iommu", "amd-vi") )
        return true;

    step("what QEMU's AMD-Vi reports");

    expect("nothing yet", gdma_fault_read(&f), -ENOENT);
    if ( !expect("map", gdma_map_own_in(context.context, virt_to_gfn(page), 1,
                                        XEN_GDMA_MAP_READ, &map), 0) )
        return false;
    expect_not_written("what may be read", &device, map.daddr, page);
    fact_u64("faults_of_a_forbidden_write", wait_counted(1));
    expect("unmap", gdma_unmap_in(context.context, map.handle, 0), 0);
    expect_blocked("what is absent", &device, map.daddr, page);
    fact_u64("faults_in_all", wait_counted(1));

    return counted() != 0;
}

static void without_faults(void)
{
    printk("NOTE QEMU's AMD-Vi stops the device and reports nothing to Xen: "
           "only what needs no fault can be shown\n");

    expect("faults counted", counted(), 0);
    wrong_elements();
    expect("notify", gdma_fault_notify(port), 0);
    expect_true("no event", !event());
    expect("notify nobody", gdma_fault_notify(0), 0);
    expect_none("no fault");
}

static void nothing_left(void)
{
    struct xen_gdma_stats now;

    step("nothing is left behind");

    expect("detach", gdma_attach(device.edu.bdf, XEN_GDMA_CONTEXT_DEFAULT), 0);
    expect("destroy", gdma_context_destroy(context.context), 0);
    expect("notify nobody", gdma_fault_notify(0), 0);
    expect("stats", gdma_stats(XEN_GDMA_DOMID_SELF, &now), 0);
    expect("pinned frames", now.used_pins, start.used_pins);
    expect("contexts", now.used_contexts, start.used_contexts);
    device.shows = default_daddr(device_shows);
    expect_reaches("its default address", &device, default_daddr(page), page);
}

void test_main(void)
{
    if ( !owns_machine() )
        return;
    if ( !gdma_contexts_usable() )
        return;
    if ( !device_open(&device, 0) || !device_open(&sibling, 1) )
        return xtf_skip("This machine has fewer than two edu devices\n");
    if ( !prepare() )
        return;

    if ( !reports() )
        without_faults();
    else if ( before_anybody_asks() )
    {
        wrong_elements();
        in_a_context();
        by_default();
        rights();
        events();
        silence();
        flood();
    }
    nothing_left();

    xtf_success(NULL);
}
