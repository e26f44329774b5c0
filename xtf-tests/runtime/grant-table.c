/* SPDX-License-Identifier: GPL-2.0-only */
/* Getting at this domain's own grant table. */
#include <xtf/grant_table.h>
#include <xtf/lib.h>

#include <arch/mm.h>

uint8_t gnttab_raw[PAGE_SIZE] __page_aligned_bss;
extern grant_entry_v1_t gnttab_v1[PAGE_SIZE / sizeof(grant_entry_v1_t)]
    __alias("gnttab_raw");
extern grant_entry_v2_t gnttab_v2[PAGE_SIZE / sizeof(grant_entry_v2_t)]
    __alias("gnttab_raw");

const char *gntst_strerror(int status)
{
    static const char *const words[] = {
        "okay",
        "general error",
        "bad domain id",
        "bad grant reference",
        "bad handle",
        "bad virtual address",
        "bad device address",
        "no space in the IOMMU",
        "permission denied",
        "bad page",
        "bad copy argument",
        "address too big",
        "try again",
    };

    return status <= 0 && -status < (int)ARRAY_SIZE(words) ? words[-status]
                                                           : "unknown";
}

#ifdef CONFIG_PV

int arch_map_gnttab(void)
{
    unsigned long mfn;
    struct gnttab_setup_table setup = {
        .dom = DOMID_SELF,
        .nr_frames = 1,
        .frame_list = &mfn,
    };
    long rc = hypercall_grant_table_op(GNTTABOP_setup_table, &setup, 1);

    if ( rc )
        return rc;
    if ( setup.status )
        return -EIO;

    return hypercall_update_va_mapping(
        _u(gnttab_raw),
        ((uint64_t)mfn << PAGE_SHIFT) | _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY,
        UVMF_INVLPG);
}

#else

int arch_map_gnttab(void)
{
    struct xen_add_to_physmap add = {
        .domid = DOMID_SELF,
        .space = XENMAPSPACE_grant_table,
        .gfn = virt_to_gfn(gnttab_raw),
    };

    return hypercall_memory_op(XENMEM_add_to_physmap, &add);
}

#endif

int xtf_init_grant_table(unsigned int version)
{
    static bool mapped;
    struct gnttab_set_version set = { .version = version };
    long rc = hypercall_grant_table_op(GNTTABOP_set_version, &set, 1);

    /* A Xen without the operation knows version 1 and nothing else. */
    if ( rc == -ENOSYS && version == 1 )
        rc = 0;
    if ( rc )
    {
        printk("Grant table version %u refused: %ld\n", version, rc);
        return rc;
    }

    if ( !mapped )
    {
        rc = arch_map_gnttab();
        mapped = !rc;
    }

    return rc;
}
