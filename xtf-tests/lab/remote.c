/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/clock.h>
#include <lab/grants.h>
#include <lab/remote.h>

#define IN_USE          (GTF_reading | GTF_writing)

enum order { GRANT, WITHDRAW, LOOK, CALL };

/* In the second domain's memory; the first one writes through a window. */
static struct mailbox {
    volatile uint32_t ordered;          /* Counted by the first domain. */
    volatile uint32_t done;             /* And by the second one. */
    volatile uint32_t ready;
    volatile int32_t error;

    enum order order;
    grant_ref_t ref;
    domid_t grantee;
    unsigned long gfn;
    unsigned int nr, readonly;
    unsigned int cmd, count;
    long result;
    uint64_t elements[REMOTE_ELEMENTS / sizeof(uint64_t)];
} mailbox __page_aligned_bss;

_Static_assert(sizeof(struct mailbox) <= PAGE_SIZE, "one page");

static uint8_t pages[REMOTE_PAGES][PAGE_SIZE] __page_aligned_bss;

/* This domain's views of both, for each that obeys it. */
static uint8_t mailbox_windows[REMOTE_DOMAINS][PAGE_SIZE] __page_aligned_bss;
static uint8_t page_windows[REMOTE_DOMAINS][REMOTE_PAGES][PAGE_SIZE]
    __page_aligned_bss;
static struct second_domain doms[REMOTE_DOMAINS];

/* The one that orders go to. */
static unsigned int chosen;

static struct mailbox *mailbox_window(void)
{
    return (void *)mailbox_windows[chosen];
}

static void obey(void)
{
    switch ( mailbox.order )
    {
    case GRANT:
        for ( unsigned int i = 0; i < mailbox.nr; i++ )
            gnttab_grant_access(mailbox.ref + i, mailbox.grantee,
                                mailbox.gfn + i, mailbox.readonly);
        break;

    case WITHDRAW:
        /* Xen may change the other bits meanwhile. */
        __sync_fetch_and_and(&gnttab_v1[mailbox.ref].flags,
                             (uint16_t)~GTF_type_mask);
        break;

    case LOOK:
        mailbox.result = gnttab_entry_flags(mailbox.ref) & IN_USE;
        break;

    case CALL:
        mailbox.result = gdma_op(mailbox.cmd, mailbox.elements,
                                 mailbox.count);
        break;
    }
}

/* Where the second domain starts. */
static void serve(void)
{
    mailbox.error = arch_map_gnttab();
    barrier();
    mailbox.ready = 1;

    for ( ; ; )
    {
        if ( mailbox.done != mailbox.ordered )
        {
            barrier();
            obey();
            barrier();
            mailbox.done++;
        }
        hypercall_yield();
    }
}

static bool wait_until_equal(volatile uint32_t *got, uint32_t wanted)
{
    uint64_t start = now_ns();

    while ( *got != wanted )
    {
        if ( now_ns() - start > MS(5000) )
        {
            xtf_error("The second domain does not answer\n");
            return false;
        }
        hypercall_yield();
    }
    barrier();

    return true;
}

void remote_choose(unsigned int nth)
{
    if ( nth >= REMOTE_DOMAINS )
        panic("No room for domain %u\n", nth);
    chosen = nth;
}

bool remote_start(void)
{
    struct second_domain *dom = &doms[chosen];
    struct mailbox *mail = mailbox_window();

    if ( second_domain_start(dom, serve) ||
         second_domain_map(dom, &mailbox, mail, 1) ||
         second_domain_map(dom, pages, page_windows[chosen], REMOTE_PAGES) )
    {
        xtf_error("The second domain cannot be built\n");
        return false;
    }

    if ( !wait_until_equal(&mail->ready, 1) )
        return false;
    if ( mail->error )
    {
        xtf_error("The second domain has no grant table: %d\n", mail->error);
        return false;
    }

    return true;
}

void remote_end(void)
{
    if ( second_domain_unmap(page_windows[chosen], REMOTE_PAGES) ||
         second_domain_unmap(mailbox_window(), 1) ||
         second_domain_destroy(&doms[chosen]) )
        xtf_error("The second domain does not end\n");
}

domid_t remote_domid(void)
{
    return doms[chosen].domid;
}

int remote_assign(uint32_t sbdf)
{
    return second_domain_assign(&doms[chosen], sbdf);
}

/* It is a clone: the same variable is at the same address. */
uint64_t remote_gaddr(unsigned int nth)
{
    return (uint64_t)virt_to_gfn(pages[nth]) << PAGE_SHIFT;
}

void *remote_page(unsigned int nth)
{
    return page_windows[chosen][nth];
}

/* Have the order in the mailbox done. */
static void give(enum order order)
{
    struct mailbox *mail = mailbox_window();

    mail->order = order;
    barrier();
    mail->ordered++;
    (void)wait_until_equal(&mail->done, mail->ordered);
}

void remote_grant(grant_ref_t ref, unsigned int nth, unsigned int readonly)
{
    remote_grant_to(ref, 0, nth, readonly);
}

void remote_grant_to(grant_ref_t ref, domid_t domid, unsigned int nth,
                     unsigned int readonly)
{
    remote_grant_frames(ref, domid, virt_to_gfn(pages[nth]), 1, readonly);
}

void remote_grant_frames(grant_ref_t ref, domid_t domid, unsigned long gfn,
                         unsigned int nr, unsigned int readonly)
{
    struct mailbox *mail = mailbox_window();

    mail->ref = ref;
    mail->grantee = domid;
    mail->gfn = gfn;
    mail->nr = nr;
    mail->readonly = readonly;
    give(GRANT);
}

void remote_withdraw(grant_ref_t ref)
{
    mailbox_window()->ref = ref;
    give(WITHDRAW);
}

unsigned int remote_in_use(grant_ref_t ref)
{
    mailbox_window()->ref = ref;
    give(LOOK);

    return mailbox_window()->result;
}

long remote_gdma(unsigned int cmd, void *elements, size_t size,
                 unsigned int count)
{
    struct mailbox *mail = mailbox_window();

    if ( size * count > REMOTE_ELEMENTS )
        panic("No room for %u elements\n", count);

    memcpy(mail->elements, elements, size * count);
    mail->cmd = cmd;
    mail->count = count;
    give(CALL);
    memcpy(elements, mail->elements, size * count);

    return mail->result;
}

int remote_revoke(grant_ref_t ref)
{
    struct xen_gdma_revoke revoke = { .gref = ref, .status = 0x5a5a5a5a };
    int rc = remote_gdma(XEN_GDMA_OP_REVOKE, &revoke, sizeof(revoke), 1);

    return rc ? rc : revoke.status;
}
