/* SPDX-License-Identifier: GPL-2.0-only */
/* Operations on the table itself, and transfers through it. */
#include "bench.h"

/* One element a call, by definition. */
static void measure_single(const char *op, const char *what,
                           const struct cost_elements *element)
{
    struct cost cost = cost_begin(op, what, 1, 0);

    for ( unsigned int round = 0; round < rounds; round++ )
        cost_round_single(&cost, element, NR);
    cost_end(&cost);
}

/* Xen offers HVM guests neither these nor transfers, replacing, flushes. */
#ifdef CONFIG_PV
void measure_status_frames(void)
{
    static uint64_t frame;
    static struct wire_get_status_frames get[1] = {
        { .nr_frames = 1, .domid = DOMID_SELF, .frame_list = &frame },
    };
    const struct cost_elements element =
        COST_ARRAY(WIRE_GET_STATUS_FRAMES, get);

    measure_single("get_status_frames", "1-frame", &element);
}
#endif

void measure_table_calls(void)
{
    static unsigned long frame;
    static struct gnttab_setup_table setup[1] = {
        { .dom = DOMID_SELF, .nr_frames = 1, .frame_list = &frame },
    };
    static struct wire_query_size size[1] = { { .domid = DOMID_SELF } };
    static struct wire_get_version version[1] = { { .domid = DOMID_SELF } };
    const struct cost_elements
        setups = COST_ARRAY(GNTTABOP_setup_table, setup),
        sizes = COST_ARRAY(WIRE_QUERY_SIZE, size),
        versions = COST_ARRAY_PLAIN(WIRE_GET_VERSION, version);

    measure_single("setup_table", "1-frame", &setups);
    measure_single("query_size", "self", &sizes);
    measure_single("get_version", "self", &versions);
}

#define SWITCHES    16

/* There and back again is one element, because only both can be repeated. */
void measure_version_switch(void)
{
    struct cost cost = cost_begin("set_version", "1-2-1", 1, 0);

    for ( unsigned int round = 0; round < rounds && !cost.error; round++ )
    {
        uint64_t start = read_ticks();
        long rc = 0;

        for ( unsigned int i = 0; !rc && i < SWITCHES * 2; i++ )
        {
            struct gnttab_set_version set = { .version = i & 1 ? 1 : 2 };

            rc = hypercall_grant_table_op(GNTTABOP_set_version, &set, 1);
        }
        cost_record(&cost, SWITCHES * 2, SWITCHES, read_ticks() - start, rc);
    }
    cost_end(&cost);
}

/* Each round swaps every pair twice: the table ends as it was. */
void measure_swap(const char *what)
{
    static struct wire_swap_grant_ref swaps[NR];
    const struct cost_elements elements =
        COST_ARRAY(WIRE_SWAP_GRANT_REF, swaps);

    for ( unsigned int i = 0; i < NR; i++ )
        swaps[i] = (struct wire_swap_grant_ref){
            .a = REF_A + i, .b = REF_A + (i ^ (NR / 2)),
        };

    for ( unsigned int i = 0; i < NR_BATCHES; i++ )
    {
        struct cost cost = cost_begin("swap_grant_ref", what, batches[i], 0);

        for ( unsigned int round = 0; round < rounds; round++ )
            cost_round(&cost, &elements);
        cost_end(&cost);
    }
}

#ifdef CONFIG_PV

/* Own pages, whose machine addresses a PV guest knows. */
void measure_cache_flush(const char *what)
{
    static struct wire_cache_flush flushes[NR];
    const struct cost_elements elements =
        COST_ARRAY_PLAIN(WIRE_CACHE_FLUSH, flushes);

    for ( unsigned int i = 0; i < NR; i++ )
        flushes[i] = (struct wire_cache_flush){
            .dev_bus_addr = (uint64_t)virt_to_mfn(&pages_a[i * PAGE_SIZE]) <<
                            PAGE_SHIFT,
            .length = PAGE_SIZE,
            .op = WIRE_CACHE_CLEAN,
        };

    for ( unsigned int i = 0; i < NR_BATCHES; i++ )
    {
        struct cost cost = cost_begin("cache_flush", what, batches[i], 0);

        for ( unsigned int round = 0; round < rounds; round++ )
            cost_round(&cost, &elements);
        cost_end(&cost);
    }
}

static uint8_t moved[NR * PAGE_SIZE] __page_aligned_bss;
static unsigned long moved_frames[NR];

/* Only a page that nothing maps can be transferred. */
static bool unmap_moved(void)
{
    for ( unsigned int i = 0; i < NR; i++ )
    {
        const uint8_t *va = &moved[i * PAGE_SIZE];

        moved_frames[i] = virt_to_mfn(va);
        if ( hypercall_update_va_mapping(_u(va), 0, UVMF_INVLPG) )
            return false;
    }

    return true;
}

static void accept_transfers(domid_t domid)
{
    for ( unsigned int i = 0; i < NR; i++ )
    {
        gnttab_v1[REF_A + i].domid = domid;
        gnttab_v1[REF_A + i].frame = virt_to_pfn(&moved[i * PAGE_SIZE]);
        barrier();
        ACCESS_ONCE(gnttab_v1[REF_A + i].flags) = GTF_accept_transfer;
    }
}

void measure_transfer(const char *what, domid_t self)
{
    static struct wire_transfer transfers[NR];
    const struct cost_elements elements =
        COST_ARRAY(WIRE_TRANSFER, transfers);

    if ( !unmap_moved() )
        return xtf_error("Pages for transfers cannot be unmapped\n");

    for ( unsigned int i = 0; i < NR_BATCHES; i++ )
    {
        struct cost cost = cost_begin("transfer", what, batches[i], 0);

        for ( unsigned int round = 0; round < rounds; round++ )
        {
            accept_transfers(self);
            for ( unsigned int j = 0; j < NR; j++ )
                transfers[j] = (struct wire_transfer){
                    .frame = moved_frames[j], .domid = self,
                    .ref = REF_A + j, .status = 1,
                };

            if ( !cost_round(&cost, &elements) )
                break;

            /* The entry tells the frame that arrived. */
            for ( unsigned int j = 0; j < NR; j++ )
                moved_frames[j] = gnttab_v1[REF_A + j].frame;
        }
        cost_end(&cost);
    }
}

#endif /* CONFIG_PV */
