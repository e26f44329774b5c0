/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-xsa-379-foreign/main.c
 * @ref test-gnttab-xsa-379-foreign
 *
 * @page test-gnttab-xsa-379-foreign gnttab-xsa-379-foreign
 *
 * XSA-379 with two domains: the second domain goes back to version 1 while
 * this one, which acquired its status frame as a resource, has it in sight.
 * What becomes of the second domain is Xen's choice; the frame must stay what
 * it is, and everything must end once this domain has let go of it.
 *
 *  1. The second domain chooses version 2; its status frame is acquired.
 *  2. It asks for version 1: it must not get it.
 *  3. What this domain writes to the frame stays there, and is in nobody
 *     else's memory: Xen would have cleaned the frame for its next user.
 *  4. The frame is given back, the second domain destroyed: it vanishes.
 *
 * @see tests/gnttab-xsa-379-foreign/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/gnttab-tables.h>
#include <lab/second-domain.h>

const char test_title[] = "XSA-379: another domain's status frame";

#define ACQUIRE_RESOURCE    28      /* XENMEM_acquire_resource. */
#define RESOURCE_GRANTS     1
#define RESOURCE_STATUS     1

static struct mailbox {
    volatile uint32_t in_v2, go, done;
    volatile int32_t rc;
} mailbox __page_aligned_bss;

static uint8_t window[PAGE_SIZE] __page_aligned_bss;
static uint8_t status[PAGE_SIZE] __page_aligned_bss;
static uint8_t fresh[64][PAGE_SIZE] __page_aligned_bss;
static struct second_domain dom;

/* Runs in the second domain. */
static void changes_its_mind(void)
{
    mailbox.rc = table_set_version(2, NULL);
    mailbox.in_v2 = 1;
    while ( !mailbox.go )
        hypercall_yield();

    mailbox.rc = table_set_version(1, NULL);
    mailbox.done = 1;

    for ( ; ; )
        hypercall_yield();
}

/* True if it happens within @ms milliseconds. */
static bool wait_for(volatile uint32_t *flag, unsigned int ms)
{
    const uint64_t start = now_ns();

    while ( !*flag )
    {
        if ( now_ns() - start > MS(ms) )
            return false;
        hypercall_yield();
    }

    return true;
}

static int acquire_status(void)
{
    unsigned long gfn = virt_to_gfn(status);
    struct {
        domid_t domid;
        uint16_t type;
        uint32_t id, nr_frames, pad;
        uint64_t frame;
        unsigned long *frame_list;
    } acquire = {
        .domid = dom.domid, .type = RESOURCE_GRANTS, .id = RESOURCE_STATUS,
        .nr_frames = 1, .frame_list = &gfn,
    };

    return hypercall_memory_op(ACQUIRE_RESOURCE, &acquire);
}

/* Have Xen give out memory, a part of which is what it has got back. */
static void use_memory(void)
{
    struct xen_memory_reservation populate = {
        .nr_extents = 1, .domid = DOMID_SELF,
    };

    expect("give pages back", make_holes(fresh, ARRAY_SIZE(fresh)), 0);
    for ( unsigned int i = 0; i < ARRAY_SIZE(fresh); i++ )
    {
        unsigned long gfn = virt_to_gfn(fresh[i]);

        populate.extent_start = &gfn;
        expect("have them again",
               hypercall_memory_op(XENMEM_populate_physmap, &populate), 1);
        memset(fresh[i], 0xee, PAGE_SIZE);
    }
}

void test_main(void)
{
    static uint8_t expected[PAGE_SIZE];
    volatile struct mailbox *mail = (void *)window;
    unsigned int version, nr, max;
    uint64_t start;

    if ( !owns_machine() )
        return;

    step("a second domain with version 2, whose status frame is acquired");
    if ( second_domain_start_with(&dom, changes_its_mind, 2) ||
         second_domain_map(&dom, &mailbox, window, 1) )
        return xtf_error("The second domain cannot be built\n");
    if ( !wait_for(&mail->in_v2, 10000) )
        return xtf_error("The second domain does not answer\n");
    expect("its set_version 2", mail->rc, 0);
    if ( !expect("acquire its status frame", acquire_status(), 0) )
        return;
    fill_pattern(status, PAGE_SIZE, 379);
    fill_pattern(expected, PAGE_SIZE, 379);

    step("it asks for version 1");
    mail->go = 1;
    if ( wait_for(&mail->done, 2000) )
        expect("its set_version 1", mail->rc, -EBUSY);
    else
        fact_str("second_domain", "ended by Xen");
    expect("get_version", table_version(dom.domid, &version), 0);
    expect("its version", version, 2);

    step("the frame stays");
    use_memory();
    expect_bytes("the frame", status, expected, PAGE_SIZE);

    step("all of it ends");
    expect("give the frame back", remove_frame(status), 0);
    if ( second_domain_unmap(window, 1) )
        xtf_error("The second domain's memory cannot be hidden\n");
    expect("destroy", second_domain_destroy(&dom), 0);
    start = now_ns();
    while ( table_size(dom.domid, &nr, &max) != GNTST_bad_domain )
    {
        if ( now_ns() - start > MS(2000) )
        {
            xtf_failure("BAD the second domain does not vanish\n");
            break;
        }
        hypercall_yield();
    }

    xtf_success(NULL);
}
