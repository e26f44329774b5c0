/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gnttab-unprivileged/main.c
 * @ref test-gnttab-unprivileged
 *
 * @page test-gnttab-unprivileged gnttab-unprivileged
 *
 * What a domain without privileges may do about other domains' tables: "only
 * a sufficiently-privileged domain may specify <dom> != DOMID_SELF", and
 * nothing of another domain's but what it has granted to this one.
 *
 * A second domain makes the calls and leaves its results in a mailbox; this
 * one, which owns the machine, grants, and compares.
 *
 *  1. Operations about tables: on its own, and on the other's.
 *  2. The version it may choose is what it was created with.
 *  3. References of the other's: granted to it, to somebody else, to nobody.
 *  4. Frames of the other's, alone and between references (in one call).
 *
 * @see tests/gnttab-unprivileged/main.c
 */
#include <xtf.h>

#include <lab/clock.h>
#include <lab/gnttab-tables.h>
#include <lab/second-domain.h>

const char test_title[] = "Grant tables and a domain without privileges";

#define GRANTED         (FIRST_FREE_REF + 0)
#define READ_ONLY       (FIRST_FREE_REF + 1)
#define NOT_ITS         (FIRST_FREE_REF + 2)
#define INVALID         (FIRST_FREE_REF + 3)

/* The machine's owner, as the second domain sees it. */
#define OWNER           0

/* XENMEM_acquire_resource of a grant table. */
#define ACQUIRE_RESOURCE    28
#define RESOURCE_GRANTS     1

static uint8_t granted[PAGE_SIZE] __page_aligned_bss;
static uint8_t secret[PAGE_SIZE] __page_aligned_bss;
static uint8_t buffer[PAGE_SIZE] __page_aligned_bss;
static uint8_t scratch[PAGE_SIZE] __page_aligned_bss;

/* What the second domain was told, each next to what it should have been. */
#define NR_ANSWERS      64

static struct mailbox {
    volatile uint32_t start, done, nr;
    struct {
        char what[48];
        int32_t got, wanted;
    } answers[NR_ANSWERS];
} mailbox __page_aligned_bss;

#define MAILBOX_PAGES   ((sizeof(mailbox) + PAGE_SIZE - 1) / PAGE_SIZE)

static uint8_t window[MAILBOX_PAGES * PAGE_SIZE] __page_aligned_bss;
static struct second_domain dom;

static void answer(const char *what, long got, long wanted)
{
    const unsigned int nr = mailbox.nr;

    if ( nr == NR_ANSWERS )
        return;
    snprintf(mailbox.answers[nr].what, sizeof(mailbox.answers[nr].what),
             "%s", what);
    mailbox.answers[nr].got = got;
    mailbox.answers[nr].wanted = wanted;
    mailbox.nr = nr + 1;
}

static void about_tables(void)
{
    struct {
        domid_t domid;
        uint16_t type;
        uint32_t id, nr_frames, pad;
        uint64_t frame;
        unsigned long *frame_list;
    } acquire = {
        .domid = OWNER, .type = RESOURCE_GRANTS, .nr_frames = 1,
    };
    unsigned long list[1];
    unsigned int nr, max, version;

    answer("query_size of its own", table_size(DOMID_SELF, &nr, &max),
           GNTST_okay);
    answer("query_size of the other's", table_size(OWNER, &nr, &max),
           GNTST_permission_denied);
    answer("setup_table of its own", table_setup(DOMID_SELF, 1, list),
           GNTST_okay);
    answer("setup_table of the other's", table_setup(OWNER, 1, list),
           GNTST_permission_denied);
    answer("setup_table of the other's, too large",
           table_setup(OWNER, 0x1000, list), GNTST_permission_denied);
    answer("get_version of its own", table_version(DOMID_SELF, &version), 0);
    answer("version", version, 1);
    answer("get_version of the other's", table_version(OWNER, &version),
           -EPERM);
    answer("query_size of no domain's", table_size(DOMID_ABSENT, &nr, &max),
           GNTST_bad_domain);
    acquire.frame_list = list;
    list[0] = virt_to_gfn(scratch);
    answer("acquire the other's",
           hypercall_memory_op(ACQUIRE_RESOURCE, &acquire), -EPERM);

    answer("set_version 2", table_set_version(2, &version), -ENOSYS);
    answer("version", version, 1);
}

static void references(void)
{
    static const struct {
        const char *what;
        grant_ref_t ref;
        int from, to;
    } refs[] = {
        { "granted", GRANTED, GNTST_okay, GNTST_okay },
        { "read-only", READ_ONLY, GNTST_okay, GNTST_general_error },
        { "granted to another", NOT_ITS, GNTST_general_error,
          GNTST_general_error },
        { "of nothing", INVALID, GNTST_general_error, GNTST_general_error },
        { "beyond", 0xffffffff, GNTST_bad_gntref, GNTST_bad_gntref },
    };
    char what[48];

    for ( unsigned int i = 0; i < ARRAY_SIZE(refs); i++ )
    {
        snprintf(what, sizeof(what), "copy from one %s", refs[i].what);
        answer(what, copy_bytes(by_ref(OWNER, refs[i].ref, 0),
                                own_page_at(buffer), 8), refs[i].from);
        snprintf(what, sizeof(what), "copy to one %s", refs[i].what);
        answer(what, copy_bytes(own_page_at(scratch),
                                by_ref(OWNER, refs[i].ref, 8), 8), refs[i].to);
    }
}

static void frames(void)
{
    struct copy_end frame = by_frame(OWNER, virt_to_gfn(secret), 0);

    answer("copy from a frame", copy_bytes(frame, own_page_at(buffer), 8),
           GNTST_permission_denied);
    answer("copy to a frame", copy_bytes(own_page_at(scratch), frame, 8),
           GNTST_permission_denied);
}

/* Runs in the second domain. */
static void unprivileged(void)
{
    while ( !mailbox.start )
        hypercall_yield();

    about_tables();
    references();
    frames();
    mailbox.done = 1;

    for ( ; ; )
        hypercall_yield();
}

static void compare(void)
{
    const struct mailbox *mail = (void *)window;

    fact_u64("answers", mail->nr);
    expect_true("there are some, and room was left for more",
                mail->nr && mail->nr < NR_ANSWERS);
    for ( unsigned int i = 0; i < mail->nr; i++ )
        expect(mail->answers[i].what, mail->answers[i].got,
               mail->answers[i].wanted);
}

void test_main(void)
{
    static uint8_t before[PAGE_SIZE];
    volatile struct mailbox *mail = (void *)window;
    uint64_t start;

    if ( !owns_machine() )
        return;
    if ( xtf_init_grant_table(1) )
        return xtf_error("No grant table\n");

    step("a second domain asks about this one's table and pages");
    if ( second_domain_start(&dom, unprivileged) ||
         second_domain_map(&dom, &mailbox, window, MAILBOX_PAGES) )
        return xtf_error("The second domain cannot be built\n");
    /* Written after the image was copied: the other has not seen it. */
    fill_pattern(secret, PAGE_SIZE, 77);
    fill_pattern(before, PAGE_SIZE, 77);
    gnttab_grant_access(GRANTED, dom.domid, virt_to_gfn(granted), 0);
    gnttab_grant_access(READ_ONLY, dom.domid, virt_to_gfn(granted),
                        GTF_readonly);
    gnttab_grant_access(NOT_ITS, dom.domid + 1, virt_to_gfn(granted), 0);

    start = now_ns();
    mail->start = 1;
    while ( !mail->done )
    {
        if ( now_ns() - start > MS(10000) )
            return xtf_error("The second domain does not answer\n");
        hypercall_yield();
    }

    step("what it was told");
    compare();

    step("nothing has changed here");
    expect_bytes("the page that is not granted", secret, before, PAGE_SIZE);
    for ( grant_ref_t ref = GRANTED; ref <= INVALID; ref++ )
        expect("withdraw", gnttab_end_access(ref), 0);
    if ( second_domain_unmap(window, MAILBOX_PAGES) )
        xtf_error("The second domain's memory cannot be hidden\n");
    expect("destroy", second_domain_destroy(&dom), 0);

    xtf_success(NULL);
}
