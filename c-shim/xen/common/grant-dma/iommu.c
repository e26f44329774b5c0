/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/iommu.c: I/O page tables and devices.
 */
#include <xen/iommu.h>
#include <xen/pci.h>
#include <xen/sched.h>

#include "gdma.h"

#ifdef CONFIG_X86
#include <asm/p2m.h>
#include "../../drivers/passthrough/vtd/dmar.h"
#include "../../drivers/passthrough/vtd/iommu.h"
#endif

unsigned int gdma_iommu_mode(const struct domain *d)
{
    if ( !is_iommu_enabled(d) )
        return GDMA_IOMMU_ABSENT;

    if ( is_hardware_domain(d) && iommu_hwdom_passthrough )
        return GDMA_IOMMU_PASS_THROUGH;

    return iommu_use_hap_pt(d) ? GDMA_IOMMU_SHARED_TABLES
                               : GDMA_IOMMU_OWN_TABLES;
}

#ifdef CONFIG_X86
/* How many of so many bits of device address every VT-d unit, if any, translates. */
unsigned int gdma_vtd_address_bits(unsigned int bits)
{
    const struct acpi_drhd_unit *drhd;

    for_each_drhd_unit ( drhd )
    {
        bits = min(bits, PAGE_SHIFT + 9 * drhd->iommu->nr_pt_levels);
        bits = min_t(unsigned int, bits, cap_mgaw(drhd->iommu->cap));
    }

    return bits;
}

/* Bits of device address that every IOMMU in use for the domain translates. */
static unsigned int device_address_bits(const struct domain *d)
{
    /* The DMAR table lists units only where there is VT-d. */
    if ( list_empty(&acpi_drhd_units) )
        return PAGE_SHIFT + 9 * dom_iommu(d)->arch.amd.paging_mode;

    return gdma_vtd_address_bits(agaw_to_width(dom_iommu(d)->arch.vtd.agaw));
}
#endif

/*
 * Device frames that are not guest frames: above what the guest's CPUs can
 * address, or, where the IOMMU does not reach further than those, the topmost
 * quarter, as long as the guest has nothing there. Reserved regions lie below
 * the end of the machine's physical address space.
 */
bool gdma_device_hole(const struct domain *d, uint64_t *first, uint64_t *count)
{
#ifdef CONFIG_X86
    unsigned int iommu_bits, cpu_bits = d->arch.cpu_policy->extd.maxphysaddr;

    if ( gdma_iommu_mode(d) != GDMA_IOMMU_OWN_TABLES ||
         !paging_mode_translate(d) )
        return false;

    iommu_bits = device_address_bits(d);
    if ( iommu_bits <= PAGE_SHIFT + 2 )
        return false;

    if ( iommu_bits > cpu_bits )
        *first = 1UL << (cpu_bits - PAGE_SHIFT);
    else
        *first = 3UL << (iommu_bits - PAGE_SHIFT - 2);
    *count = (1UL << (iommu_bits - PAGE_SHIFT)) - *first;

    return p2m_get_hostp2m(d)->max_mapped_pfn < *first;
#else
    return false;
#endif
}

uint64_t gdma_iommu_page_sizes(const struct domain *d)
{
    return is_iommu_enabled(d) ? dom_iommu(d)->platform_ops->page_sizes : 0;
}

/* Without mfns: clears entries. */
static unsigned int set_entries(struct domain *d, uint64_t dfn,
                                const uint64_t mfns[], unsigned int count,
                                unsigned int flags, uint32_t *flush_flags)
{
#ifdef CONFIG_X86
    const struct domain_iommu *hd = dom_iommu(d);

    BUILD_BUG_ON(sizeof(mfn_t) != sizeof(*mfns));

    if ( !is_iommu_enabled(d) || !hd->platform_ops->set_entries )
        return 0;

    return iommu_call(hd->platform_ops, set_entries, d, _dfn(dfn),
                      (const mfn_t *)mfns, count, flags, flush_flags);
#else
    return 0;
#endif
}

static unsigned int access_flags(bool read, bool write)
{
    return (read ? IOMMUF_readable : 0) | (write ? IOMMUF_writable : 0);
}

int gdma_iommu_map(struct domain *d, uint64_t dfn, uint64_t mfn, uint32_t count,
                   bool read, bool write, uint32_t *flush_flags)
{
    return iommu_map(d, _dfn(dfn), _mfn(mfn), count, access_flags(read, write),
                     flush_flags);
}

/* Frames that lie anywhere.  *done: how many are mapped, also on error. */
int gdma_iommu_map_frames(struct domain *d, uint64_t dfn,
                          const uint64_t mfns[], uint32_t count, bool read,
                          bool write, uint32_t *done, uint32_t *flush_flags)
{
    unsigned int flags = access_flags(read, write);

    for ( *done = 0; *done < count; )
    {
        unsigned int nr = set_entries(d, dfn + *done, &mfns[*done],
                                      count - *done, flags, flush_flags);

        if ( !nr )
        {
            int rc = iommu_map(d, _dfn(dfn + *done), _mfn(mfns[*done]), 1,
                               flags, flush_flags);

            if ( rc )
                return rc;
            nr = 1;
        }

        *done += nr;
    }

    return 0;
}

/* What is mapped with large pages, of 512 frames or more, has to go with them. */
#define SMALL_RUN 256

int gdma_iommu_unmap(struct domain *d, uint64_t dfn, uint32_t count,
                     uint32_t *flush_flags)
{
    while ( count && count <= SMALL_RUN )
    {
        unsigned int nr = set_entries(d, dfn, NULL, count, 0, flush_flags);

        if ( !nr )
            break;
        dfn += nr;
        count -= nr;
    }

    return count ? iommu_unmap(d, _dfn(dfn), count, 0, flush_flags) : 0;
}

int gdma_iommu_flush(struct domain *d, uint64_t dfn, uint64_t count,
                     uint32_t flush_flags)
{
    unsigned int order = 0;

    if ( !count || !flush_flags )
        return 0;

    /* The tables were changed before it is looked which IOMMUs use them. */
    smp_mb();

    /*
     * The drivers flush all of a domain unless the range is an aligned power of
     * two, even if entries were only added.
     */
    while ( (dfn >> order) != ((dfn + count - 1) >> order) )
        ++order;

    return iommu_iotlb_flush(d, _dfn((dfn >> order) << order), 1UL << order,
                             flush_flags);
}

/*
 * Page tables that are not needed any more are freed in a tasklet, which runs
 * after the hypercall: then no IOMMU may have them in mind any more.
 */
bool gdma_must_flush_soon(uint32_t flush_flags)
{
    return flush_flags & IOMMU_FLUSHF_all;
}

/* At its machine address, visible to devices on return. */
int gdma_identity_map(struct domain *d, uint64_t mfn, bool write)
{
    return iommu_legacy_map(d, _dfn(mfn), _mfn(mfn), 1,
                            IOMMUF_readable | (write ? IOMMUF_writable : 0));
}

int gdma_identity_unmap(struct domain *d, uint64_t mfn)
{
    return iommu_legacy_unmap(d, _dfn(mfn), 1);
}

unsigned int gdma_pci_device(const struct domain *owner, uint32_t sbdf,
                             uint32_t *context)
{
#ifdef CONFIG_HAS_PCI
    const struct pci_dev *pdev;
    unsigned int result = GDMA_PCI_NOT_FOUND;

    pcidevs_lock();

    pdev = pci_get_pdev(owner, (pci_sbdf_t){ .sbdf = sbdf });
    if ( pdev )
    {
        bool covered = is_iommu_enabled(owner);

#ifdef CONFIG_X86
        *context = gdma_context_number(pdev);
        if ( covered && !list_empty(&acpi_drhd_units) )
            covered = acpi_find_matched_drhd_unit(pdev);
#endif
        result = covered ? GDMA_PCI_BEHIND_IOMMU : GDMA_PCI_NO_IOMMU;
    }

    pcidevs_unlock();

    return result;
#else
    return GDMA_PCI_UNSUPPORTED;
#endif
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
