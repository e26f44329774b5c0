/* SPDX-License-Identifier: GPL-2.0-only */
/* Arguments that Xen cannot read or write. */
#include <xtf.h>

#include "dispatch.h"

/* One page, and nothing behind it. */
static uint8_t last[2 * PAGE_SIZE] __page_aligned_bss;
#define NOTHING         (last + PAGE_SIZE)

static uint8_t source[PAGE_SIZE] __page_aligned_bss;
static uint8_t dest[PAGE_SIZE] __page_aligned_bss;

#ifdef CONFIG_PV
/* Where Xen is, which no guest may name. */
#ifdef CONFIG_64BIT
#define XEN_ADDRESS     _p(0xffff830000000000ul)
#else
#define XEN_ADDRESS     _p(0xffc00000ul)
#endif

static uint8_t read_only[PAGE_SIZE] __page_aligned_bss;
#endif

static void nowhere(void)
{
    step("arguments where nothing is");

    for ( unsigned int cmd = 0; cmd < NR_OPERATIONS; cmd++ )
    {
        if ( !available(cmd) )
            continue;
        expect_call("nothing", cmd, NOTHING, 1, -EFAULT);
        expect_call("nothing, nearly", cmd, NOTHING - 3, 1, -EFAULT);
        if ( kinds[cmd].is_array )
            expect_call("a lot of it", cmd, NOTHING, 1000, -EFAULT);
#ifdef CONFIG_PV
        expect_call("Xen's address", cmd, XEN_ADDRESS, 1, -EFAULT);
#endif
    }
    expect_working();
}

static void lists_nowhere(void)
{
    unsigned long *list = (void *)NOTHING;

    step("lists where nothing is");

#ifdef CONFIG_32BIT
    if ( has_c_tables() )
        printk("Skipped: of this Xen's C tables do not tell 32-bit guests\n");
    else
#endif
    expect("setup_table", table_setup(DOMID_SELF, 1, list),
           GNTST_bad_virt_addr);
    expect("setup_table, no frames", table_setup(DOMID_SELF, 0, list),
           GNTST_okay);
#ifdef CONFIG_PV
    expect("set_version 2", table_set_version(2, NULL), 0);
    expect("get_status_frames",
           table_status_frames(DOMID_SELF, 1, (void *)NOTHING),
           GNTST_bad_virt_addr);
    expect("set_version 1", table_set_version(1, NULL), 0);
#endif
#if defined(CONFIG_PV) && defined(CONFIG_64BIT)
    {
        struct gnttab_setup_table setup = {
            .dom = DOMID_SELF, .nr_frames = 1, .frame_list = XEN_ADDRESS,
            .status = STATUS_UNTOUCHED,
        };
        struct wire_get_status_frames get = {
            .domid = DOMID_SELF, .nr_frames = 1, .frame_list = XEN_ADDRESS,
            .status = STATUS_UNTOUCHED,
        };

        expect_call("list at Xen's address", SETUP_TABLE, &setup, 1, -EFAULT);
        expect("status", setup.status, STATUS_UNTOUCHED);
        expect_call("list at Xen's address", GET_STATUS_FRAMES, &get, 1,
                    -EFAULT);
        expect("status", get.status, STATUS_UNTOUCHED);
    }
#endif
    expect_working();
}

#ifdef CONFIG_PV
/* Operations that only write a result, which cannot be told. */
static void results_unwritable(void)
{
    step("results that cannot be written");

    if ( hypercall_update_va_mapping(
             _u(read_only), ((uint64_t)virt_to_mfn(read_only) << PAGE_SHIFT) |
                            _PAGE_PRESENT | _PAGE_ACCESSED, UVMF_INVLPG) )
        return xtf_error("A page cannot be made read-only\n");

    /* All zeros: domain 0, which is this one; version 0, which is none. */
    expect_call("read-only", QUERY_SIZE, read_only, 1, -EFAULT);
    expect_call("read-only", GET_VERSION, read_only, 1, -EFAULT);
    expect_call("read-only", SETUP_TABLE, read_only, 1, -EFAULT);
    expect_call("read-only", SET_VERSION, read_only, 1, -EFAULT);
    expect_call("read-only", GET_STATUS_FRAMES, read_only, 1, -EFAULT);
    expect_call("read-only", UNMAP, read_only, 1, -EFAULT);
    expect_zeros("what was passed", read_only, PAGE_SIZE);
    expect_working();
}
#endif

/*
 * An array of more elements than there are, in the last bytes before nothing.
 * Elements that are there are done, and have a status, or are not; none is
 * half done.
 */
static void arrays_that_end(void)
{
    enum { NR = 3 };
    const domid_t self = own_domid();
    struct wire_swap_grant_ref *swaps =
        (void *)(NOTHING - NR * sizeof(*swaps));
    struct wire_copy *copies = (void *)(NOTHING - NR * sizeof(*copies));

    step("arrays that end too early");

    for ( unsigned int i = 0; i < NR; i++ )
    {
        own_write(30 + 2 * i, GTF_invalid, self, i);
        own_write(31 + 2 * i, GTF_invalid, self, 100 + i);
        swaps[i] = (struct wire_swap_grant_ref){
            .a = 30 + 2 * i, .b = 31 + 2 * i, .status = STATUS_UNTOUCHED,
        };
    }
    expect_call("too short", SWAP, swaps, 1000, -EFAULT);
    for ( unsigned int i = 0; i < NR; i++ )
    {
        const bool done = own_v1(30 + 2 * i)->frame == 100 + i;

        expect("status", swaps[i].status,
               done ? GNTST_okay : STATUS_UNTOUCHED);
        expect_hex("the other entry", own_v1(31 + 2 * i)->frame,
                   done ? i : 100 + i);
    }

    fill_pattern(source, PAGE_SIZE, 3);
    memset(dest, 0, PAGE_SIZE);
    for ( unsigned int i = 0; i < NR; i++ )
        copies[i] = copy_element(own_page_at(source + 1 + i),
                                 own_page_at(dest + i), 1);
    expect_call("too short", COPY, copies, 1000, -EFAULT);
    for ( unsigned int i = 0; i < NR; i++ )
    {
        const bool done = copies[i].status == GNTST_okay;

        if ( !done )
            expect("status", copies[i].status, STATUS_UNTOUCHED);
        expect("the byte", dest[i], done ? source[1 + i] : 0);
    }
    expect_zeros("the bytes behind", dest + NR, PAGE_SIZE - NR);
    expect_working();
}

void pointers(void)
{
    if ( !windows_free(NOTHING, 1) )
        return;

    nowhere();
    lists_nowhere();
#ifdef CONFIG_PV
    results_unwritable();
#endif
    arrays_that_end();
}
