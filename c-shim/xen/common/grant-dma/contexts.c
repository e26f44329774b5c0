/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/contexts.c: I/O page tables that a domain's devices can use
 * instead of the domain's own.
 *
 * To the IOMMU drivers a context is a domain: one that nobody can look up, that
 * has no vcpus and no memory, and whose id is above DOMID_MASK. So iommu_map(),
 * iommu_unmap() and iommu_iotlb_flush() serve contexts as they are.
 *
 * pcidevs_lock() protects ids, and which device uses which context. No lock of
 * the service is held when it is taken.
 */
#include <xen/bitmap.h>
#include <xen/iommu.h>
#include <xen/pci.h>
#include <xen/radix-tree.h>
#include <xen/sched.h>
#include <xen/xmalloc.h>

#include <asm/p2m.h>

#include "../../drivers/passthrough/ats.h"
#include "../../drivers/passthrough/vtd/dmar.h"
#include "../../drivers/passthrough/vtd/iommu.h"
#include "contexts.h"
#include "gdma.h"

#define NR_IDS (IOMMU_LAST_CONTEXT_DOMID - IOMMU_FIRST_CONTEXT_DOMID + 1)

/* Under pcidevs_lock(). */
static DECLARE_BITMAP(ids, NR_IDS);
static RADIX_TREE(contexts);

struct domain *iommu_context_by_domid(domid_t domid)
{
    const struct iommu_context *ctx;

    ASSERT(pcidevs_locked());

    if ( domid < IOMMU_FIRST_CONTEXT_DOMID )
        return NULL;

    ctx = radix_tree_lookup(&contexts, domid);

    return ctx ? ctx->tables : NULL;
}

static int take_id(struct iommu_context *ctx)
{
    static unsigned int next;
    unsigned int id;
    int rc = -ENOSPC;

    pcidevs_lock();

    /* As with quarantined devices: reuse ids late. */
    id = find_next_zero_bit(ids, NR_IDS, next);
    if ( id >= NR_IDS )
        id = find_first_zero_bit(ids, NR_IDS);
    if ( id < NR_IDS )
    {
        ctx->tables->domain_id = IOMMU_FIRST_CONTEXT_DOMID + id;
        rc = radix_tree_insert(&contexts, ctx->tables->domain_id, ctx);
    }
    if ( !rc )
    {
        __set_bit(id, ids);
        next = id + 1;
    }

    pcidevs_unlock();

    return rc;
}

static void give_id(struct iommu_context *ctx)
{
    domid_t domid = ctx->tables->domain_id;

    pcidevs_lock();
    radix_tree_delete(&contexts, domid);
    __clear_bit(domid - IOMMU_FIRST_CONTEXT_DOMID, ids);
    pcidevs_unlock();
}

int gdma_context_create(struct domain *owner, uint32_t number,
                        struct iommu_context **result)
{
    struct iommu_context *ctx;
    struct domain *d;
    int rc;

    if ( !is_iommu_enabled(owner) || !iommu_get_ops()->attach_context )
        return -EOPNOTSUPP;

    ctx = xzalloc(struct iommu_context);
    d = xzalloc(struct domain);
    rc = -ENOMEM;
    if ( !ctx || !d )
        goto free;

    ctx->tables = d;
    ctx->owner = owner;
    ctx->number = number;

    d->options = XEN_DOMCTL_CDF_iommu;
    /* Makes domain_crash() a no-op, and the drivers' callers silent. */
    d->is_shutting_down = true;
    d->shutdown_code = SHUTDOWN_CODE_INVALID;
    spin_lock_init(&d->shutdown_lock);
    rwlock_init(&d->pci_lock);
    INIT_LIST_HEAD(&d->pdev_list);

    rc = take_id(ctx);
    if ( rc )
        goto free;

    rc = iommu_domain_init(d, 0);
    if ( !rc )
    {
        *result = ctx;
        return 0;
    }

    d->is_dying = DOMDYING_dead;
    iommu_domain_destroy(d);
    give_id(ctx);

 free:
    xfree(d);
    xfree(ctx);

    return rc;
}

/* From now on no device can be moved there. False: there are devices. */
bool gdma_context_close(struct iommu_context *ctx)
{
    bool empty;

    pcidevs_lock();
    empty = !ctx->devices;
    if ( empty )
        ctx->closed = true;
    pcidevs_unlock();

    return empty;
}

/*
 * Nothing may be mapped any more. -EBUSY: there are devices; -ERESTART: call
 * again.
 */
int gdma_context_destroy(struct iommu_context *ctx)
{
    struct domain *d = ctx->tables;
    int rc = 0;

    pcidevs_lock();
    if ( ctx->devices )
        rc = -EBUSY;
    else
        d->is_dying = DOMDYING_dead;
    pcidevs_unlock();

    if ( rc )
        return rc;

    gdma_mirror_forget(ctx);

    rc = iommu_free_pgtables(d);
    if ( rc )
        return rc;

    iommu_domain_destroy(d);
    give_id(ctx);
    xfree(d);
    xfree(ctx);

    return 0;
}

struct domain *gdma_context_tables(const struct iommu_context *ctx)
{
    return ctx->tables;
}

/* Where a context's own frames can be. */

struct window {
    unsigned long first, end;   /* wanted */
    unsigned long usable;       /* a region begins here, */
    unsigned long blocked;      /* and this is behind the last one */
};

static void block(struct window *w, unsigned long first, unsigned long end)
{
    if ( first < w->end && end > w->first )
    {
        w->usable = min(w->usable, max(first, w->first));
        w->blocked = max(w->blocked, end);
    }
}

static int cf_check check_window(xen_pfn_t start, xen_ulong_t nr, uint32_t id,
                                 void *arg)
{
    /* AMD's driver asks with no frames whether the device matters. */
    if ( nr )
        block(arg, start, start + nr);

    return 1;
}

/* Writes to these addresses are interrupts, and never translated. */
#define MSI_FIRST (0xfee00000UL >> PAGE_SHIFT)
#define MSI_END   (0xfef00000UL >> PAGE_SHIFT)

/* Below it is what old devices and firmware think is special. */
#define LOWEST    (0x100000UL >> PAGE_SHIFT)

/*
 * The lowest so many frames from `from' up to last that are nothing special;
 * fewer if there are not as many in one piece.
 */
static bool find_range(unsigned long from, unsigned long end, uint64_t last,
                       uint64_t wanted, uint64_t *first, uint64_t *count)
{
    struct window w = { .first = max(from, LOWEST) };

    if ( last < end )
        end = last + 1;
    *count = 0;

    while ( w.first < end && *count != wanted )
    {
        w.end = end - w.first > wanted ? w.first + wanted : end;
        w.usable = w.blocked = w.end;
        block(&w, MSI_FIRST, MSI_END);
        iommu_get_reserved_device_memory(check_window, &w);
        if ( w.usable - w.first > *count )
        {
            *first = w.first;
            *count = w.usable - w.first;
        }
        w.first = w.blocked;
    }

    return *count;
}

bool gdma_context_range(uint64_t last, uint64_t wanted, uint64_t *first,
                        uint64_t *count)
{
    return find_range(0, 1UL << (gdma_vtd_address_bits(paddr_bits) - PAGE_SHIFT),
                      last, wanted, first, count);
}

/* How many bits of device address tables of contexts translate. */
static unsigned int table_address_bits(void)
{
    unsigned int levels = DIV_ROUND_UP(paddr_bits - PAGE_SHIFT, 9);

    /* AMD's driver has as many levels as paddr_bits need, VT-d's has four. */
    return gdma_vtd_address_bits(min(PAGE_SHIFT + 9 * levels, 48U));
}

/*
 * The same above where a copy of the owner's memory can have frames: above what
 * its CPUs can address, or, where the IOMMU does not reach further, the topmost
 * quarter, if the guest has nothing there; for PV, above the machine's memory.
 */
bool gdma_mirror_range(const struct domain *owner, uint64_t last,
                       uint64_t wanted, uint64_t *first, uint64_t *count)
{
    unsigned int bits = table_address_bits();
    unsigned int cpu_bits = owner->arch.cpu_policy->extd.maxphysaddr;
    unsigned long from = max_page;

    if ( paging_mode_translate(owner) )
    {
        from = bits > cpu_bits ? 1UL << (cpu_bits - PAGE_SHIFT)
                               : 3UL << (bits - PAGE_SHIFT - 2);
        if ( p2m_get_hostp2m(owner)->max_mapped_pfn >= from )
            return false;
    }

    return find_range(from, 1UL << (bits - PAGE_SHIFT), last, wanted, first,
                      count);
}

/* Reserved regions. */

#define MOST_REGION_PAGES 1024

struct regions {
    uint32_t sbdf;
    struct domain *tables;
    p2m_access_t access;        /* p2m_access_x: take them out */
    unsigned int left;          /* stop after so many */
    unsigned int done;
    bool failed;                /* one could not be taken out */
};

static int cf_check one_region(xen_pfn_t start, xen_ulong_t nr, uint32_t id,
                               void *arg)
{
    struct regions *r = arg;
    int rc;

    if ( id != r->sbdf )
        return 0;

    /* AMD's driver asks like this whether the device matters. */
    if ( !nr )
        return 1;

    if ( r->done == r->left )
        return 1;

    /* Page by page, under a lock of the whole machine: not for a guest to ask. */
    if ( r->access != p2m_access_x && nr > MOST_REGION_PAGES )
        return -EOPNOTSUPP;

    rc = iommu_identity_mapping(r->tables, r->access, pfn_to_paddr(start),
                                pfn_to_paddr(start + nr) - 1, 0);
    if ( rc && r->access != p2m_access_x )
        return rc;
    if ( rc && rc != -ENOENT )
        r->failed = true;
    ++r->done;

    return 1;
}

static void remove_regions(struct iommu_context *ctx,
                           const struct pci_dev *pdev, unsigned int count)
{
    struct regions r = {
        .sbdf = pdev->sbdf.sbdf,
        .tables = ctx->tables,
        .access = p2m_access_x,
        .left = count,
    };

    if ( iommu_get_reserved_device_memory(one_region, &r) < 0 || r.failed )
        printk(XENLOG_WARNING
               "%pp: reserved region stays in context %u of %pd\n",
               &pdev->sbdf, ctx->number, ctx->owner);
}

static int add_regions(struct iommu_context *ctx, const struct pci_dev *pdev)
{
    struct regions r = {
        .sbdf = pdev->sbdf.sbdf,
        .tables = ctx->tables,
        .access = p2m_access_rw,
        .left = UINT_MAX,
    };
    int rc = iommu_get_reserved_device_memory(one_region, &r);

    /* A part of one more may be there. */
    if ( rc < 0 )
        remove_regions(ctx, pdev, r.done + 1);

    return rc < 0 ? rc : 0;
}

/* Devices. */

static int group_of(const struct pci_dev *pdev)
{
    uint16_t seg = pdev->seg;
    uint8_t bus = pdev->bus, devfn = pdev->devfn;

    return iommu_call(&iommu_ops, get_device_group_id, seg, bus, devfn);
}

struct sharing {
    const struct pci_dev *pdev;
    bool found;
};

static int cf_check check_sharing(struct pci_dev *other, void *arg)
{
    struct sharing *sharing = arg;
    const struct pci_dev *pdev = sharing->pdev;

    if ( other != pdev && other->seg == pdev->seg &&
         group_of(other) == pdev->sbdf.bdf )
        sharing->found = true;

    return 0;
}

/* Other devices' DMA may come, or go, under the same requester id. */
static bool shares_requester_id(const struct pci_dev *pdev)
{
    struct sharing sharing = { .pdev = pdev };

    if ( group_of(pdev) != pdev->sbdf.bdf )
        return true;

    pci_iterate_devices(check_sharing, &sharing);

    return sharing.found;
}

static int point_at(struct domain *d, struct pci_dev *pdev)
{
    uint8_t devfn = pdev->devfn;
    int rc;

    do {
        rc = iommu_call(&iommu_ops, attach_context, d, devfn,
                        pci_to_dev(pdev));
        if ( rc )
            break;
        devfn += pdev->phantom_stride;
    } while ( devfn != pdev->devfn &&
              PCI_SLOT(devfn) == PCI_SLOT(pdev->devfn) );

    return rc;
}

static struct domain *tables_of(const struct pci_dev *pdev,
                                const struct iommu_context *ctx)
{
    return ctx ? ctx->tables : pdev->domain;
}

static int move(struct pci_dev *pdev, struct iommu_context *to)
{
    struct iommu_context *from = pdev->arch.context;
    int rc = to ? add_regions(to, pdev) : 0;

    if ( rc )
        return rc;

    if ( to )
        ++to->devices;

    rc = point_at(tables_of(pdev, to), pdev);
    if ( rc )
    {
        /* Functions that have not moved yet are left alone by the drivers. */
        if ( point_at(tables_of(pdev, from), pdev) )
        {
            /* Some function may use either. Neither goes away then. */
            printk(XENLOG_ERR "%pp: stuck between contexts\n", &pdev->sbdf);
            pdev->broken = true;
            return rc;
        }
        if ( to )
        {
            --to->devices;
            remove_regions(to, pdev, UINT_MAX);
        }
        return rc;
    }

    pdev->arch.context = to;
    if ( from )
    {
        remove_regions(from, pdev, UINT_MAX);
        --from->devices;
    }

    return 0;
}

/*
 * With to NULL the device goes back to its owner's tables. Returns 1 if it has
 * moved, 0 if it was there.
 */
int gdma_context_attach(struct domain *owner, struct iommu_context *to,
                        uint32_t sbdf)
{
    struct pci_dev *pdev;
    int rc;

    pcidevs_lock();

    pdev = pci_get_pdev(owner, (pci_sbdf_t){ .sbdf = sbdf });
    if ( !pdev )
        rc = -ENODEV;
    else if ( owner->is_dying || (to && to->closed) )
        rc = -ESRCH;
    else if ( pdev->arch.context == to )
        rc = 0;
    else if ( pdev->broken )
        rc = -EIO;
    else if ( (pdev->type != DEV_TYPE_PCIe_ENDPOINT &&
               pdev->type != DEV_TYPE_PCI) ||
              /* The drivers would not flush its own TLB. */
              pci_ats_device(pdev->seg, pdev->bus, pdev->devfn) )
        rc = -EOPNOTSUPP;
    else if ( shares_requester_id(pdev) )
        rc = -EBUSY;
    else
    {
        rc = move(pdev, to);
        if ( !rc )
            rc = 1;
        else if ( rc == -ENODEV || rc == -EOPNOTSUPP )
            rc = -EOPNOTSUPP;
        else
            rc = -EIO;
    }

    pcidevs_unlock();

    return rc;
}

/* The number of the context that a device uses, or 0. */
uint32_t gdma_context_number(const struct pci_dev *pdev)
{
    ASSERT(pcidevs_locked());

    return pdev->arch.context ? pdev->arch.context->number : 0;
}

/* So many contexts, of all domains, the hardware can tell apart. */
unsigned int gdma_context_limit(void)
{
    const struct acpi_drhd_unit *drhd;
    unsigned int limit = NR_IDS;

    for_each_drhd_unit ( drhd )
        limit = min(limit, cap_ndoms(drhd->iommu->cap));

    return limit;
}

/* Which contexts the devices of a domain use. */
void gdma_context_show_devices(const struct domain *owner)
{
    const struct pci_dev *pdev;

    pcidevs_lock();

    for_each_pdev ( owner, pdev )
        if ( pdev->arch.context )
            printk("%pd: context %u: device %pp\n", owner,
                   gdma_context_number(pdev), &pdev->sbdf);

    pcidevs_unlock();
}

/* Called when the device has got other tables, or none, behind our back. */
void iommu_context_device_left(struct pci_dev *pdev)
{
    struct iommu_context *ctx = pdev->arch.context;

    ASSERT(pcidevs_locked());

    if ( !ctx )
        return;

    pdev->arch.context = NULL;
    remove_regions(ctx, pdev, UINT_MAX);
    --ctx->devices;
}

/* Called from the drivers' tasklets. */
void iommu_device_fault(uint16_t seg, uint16_t bdf, uint64_t daddr, bool write)
{
    const struct pci_dev *pdev;

    pcidevs_lock();

    pdev = pci_get_real_pdev(PCI_SBDF(seg, bdf));
    if ( pdev && pdev->domain && !is_system_domain(pdev->domain) )
        gdma_rs_fault(pdev->domain, gdma_context_number(pdev),
                      pdev->sbdf.sbdf, daddr, write);

    pcidevs_unlock();
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
