/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/page-table.h>

#ifdef CONFIG_PV

/* Index bits of one level, and the lowest level's shift. */
#define LEVEL_BITS          9
#define LOWEST_SHIFT        12

#ifdef CONFIG_64BIT
#define HIGHEST_SHIFT       39
#else
#define HIGHEST_SHIFT       30          /* Four entries. */
#endif

/* The entry for @va: the tables are mapped where the builder put them. */
static const uint64_t *find_entry(const void *va)
{
    const uint64_t *table = _p(pv_start_info->pt_base);
    unsigned int shift = HIGHEST_SHIFT;

    for ( ; ; shift -= LEVEL_BITS )
    {
        const uint64_t *entry =
            &table[(_u(va) >> shift) & ((1u << LEVEL_BITS) - 1)];

        if ( shift == LOWEST_SHIFT )
            return entry;
        if ( !(*entry & _PAGE_PRESENT) )
            panic("No page table for %p\n", va);

        table = mfn_to_virt((*entry & PTE_FRAME_MASK) >> PAGE_SHIFT);
    }
}

uint64_t pte_maddr(const void *va)
{
    const uint64_t *entry = find_entry(va);

    return ((uint64_t)virt_to_mfn(entry) << PAGE_SHIFT) |
           (_u(entry) & (PAGE_SIZE - 1));
}

uint64_t pte_read(const void *va)
{
    return *(const volatile uint64_t *)find_entry(va);
}

int pte_write(const void *va, unsigned long mfn, unsigned int flags)
{
    uint64_t pte = flags ? ((uint64_t)mfn << PAGE_SHIFT) | flags : 0;

    return hypercall_update_va_mapping(_u(va), pte, UVMF_INVLPG);
}

int try_as_page_table(unsigned long mfn)
{
    mmuext_op_t op = { .cmd = MMUEXT_PIN_L1_TABLE, .arg1.mfn = mfn };
    int rc = hypercall_mmuext_op(&op, 1, NULL, DOMID_SELF);

    if ( rc )
        return rc;

    op.cmd = MMUEXT_UNPIN_TABLE;
    if ( hypercall_mmuext_op(&op, 1, NULL, DOMID_SELF) )
        xtf_error("A page table cannot be unpinned\n");

    return 0;
}

int give_back(unsigned long mfn)
{
    struct xen_memory_reservation release = {
        .extent_start = &mfn,
        .nr_extents = 1,
        .domid = DOMID_SELF,
    };

    return hypercall_memory_op(XENMEM_decrease_reservation, &release) == 1
           ? 0 : -EIO;
}

#endif
