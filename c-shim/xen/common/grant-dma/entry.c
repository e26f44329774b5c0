/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/entry.c: what the rest of Xen calls.
 *
 * The functions of xen/grant_table.h and the two hypercalls, handed on to Rust.
 */
#include <xen/grant_table.h>
#include <xen/guest_access.h>
#include <xen/hypercall.h>
#include <xen/init.h>
#include <xen/mm.h>
#include <xen/param.h>
#include <xen/sched.h>

#include <public/domctl.h>

#ifdef CONFIG_PV_SHIM
#include <asm/guest.h>
#endif

#include "gdma.h"

/* The newest format of grant entries that the service implements. */
#define GDMA_MAX_VERSION 1

unsigned int __read_mostly opt_gnttab_max_version = GDMA_MAX_VERSION;

unsigned int __read_mostly opt_max_grant_frames = 64;
integer_param("gnttab_max_frames", opt_max_grant_frames);

static unsigned int __read_mostly opt_max_maptrack_frames = 1024;
integer_param("gnttab_max_maptrack_frames", opt_max_maptrack_frames);

/* Frames that one domain may have pinned for DMA at a time. */
static unsigned int __read_mostly opt_max_pins = 16384;
integer_param("grant-dma-max-pins", opt_max_pins);

#ifdef CONFIG_GRANT_DMA_PANIC_TEST
static bool __initdata opt_panic_test;
boolean_param("grant-dma-panic-test", opt_panic_test);
#endif

static int __init cf_check gdma_init(void)
{
    gdma_rs_init();

    printk("grant-dma: grant tables and grant-DMA service in Rust\n");

#ifdef CONFIG_GRANT_DMA_PANIC_TEST
    if ( opt_panic_test )
        gdma_rs_panic_test();
#endif

    return 0;
}
presmp_initcall(gdma_init);

int grant_table_init(struct domain *d, int max_grant_frames,
                     int max_maptrack_frames, unsigned int options)
{
    unsigned int max_version = options & XEN_DOMCTL_GRANT_version_mask;

    if ( !max_version || max_version > opt_gnttab_max_version )
    {
        dprintk(XENLOG_INFO, "%pd: grant table version %u not supported\n",
                d, max_version);
        return -EINVAL;
    }

    return gdma_rs_domain_init(d,
                               max_grant_frames < 0 ? opt_max_grant_frames
                                                    : max_grant_frames,
                               max_maptrack_frames < 0 ? opt_max_maptrack_frames
                                                       : max_maptrack_frames,
                               max_version, opt_max_pins);
}

void grant_table_destroy(struct domain *d)
{
    gdma_rs_domain_destroy(d);
}

/* Nothing is kept per vcpu. */
void grant_table_init_vcpu(struct vcpu *v)
{
}

void grant_table_warn_active_grants(struct domain *d)
{
    gdma_rs_warn_active_grants(d);
}

int gnttab_release_mappings(struct domain *d)
{
    BUG_ON(!d->is_dying);

    return gdma_rs_release_mappings(d);
}

#ifdef CONFIG_MEM_SHARING
/* Not built yet: memory sharing by grant reference. */
int mem_sharing_gref_to_gfn(struct grant_table *gt, grant_ref_t ref,
                            gfn_t *gfn, uint16_t *status)
{
    return -EOPNOTSUPP;
}
#endif

/* On success the table stays locked until gnttab_map_frame_end(). */
int gnttab_map_frame_begin(struct domain *d, unsigned long idx, gfn_t gfn,
                           mfn_t *mfn)
{
    uint64_t frame;
    int rc;

    if ( gfn_eq(gfn, INVALID_GFN) )
        return -EINVAL;

    rc = gdma_rs_map_frame_begin(d, idx, &frame);
    if ( rc )
        return rc;

    *mfn = _mfn(frame);
    if ( !get_page(mfn_to_page(*mfn), d) )
    {
        gdma_rs_map_frame_end(d);
        return -EBUSY;
    }

    return 0;
}

void gnttab_map_frame_end(struct domain *d, mfn_t mfn)
{
    put_page(mfn_to_page(mfn));

    gdma_rs_map_frame_end(d);
}

unsigned int gnttab_resource_max_frames(const struct domain *d, unsigned int id)
{
    return id == XENMEM_resource_grant_table_id_shared
           ? gdma_rs_resource_max_frames(d) : 0;
}

int gnttab_acquire_resource(struct domain *d, unsigned int id,
                            unsigned int frame, unsigned int nr_frames,
                            xen_pfn_t mfn_list[])
{
    int rc;

    BUILD_BUG_ON(sizeof(xen_pfn_t) != sizeof(uint64_t));

    if ( id != XENMEM_resource_grant_table_id_shared || !nr_frames )
        return -EINVAL;

    rc = gdma_rs_acquire_resource(d, frame, nr_frames, (uint64_t *)mfn_list);

    return rc ?: nr_frames;
}

static long grant_table_op(unsigned int cmd, XEN_GUEST_HANDLE_PARAM(void) uop,
                           unsigned int count, bool compat)
{
    struct gdma_progress progress = {};
    long rc;

#ifdef CONFIG_PV_SHIM
    if ( unlikely(pv_shim) )
        return pv_shim_grant_table_op(cmd, uop, count);
#endif

    rc = gdma_rs_grant_table_op(cmd, uop.p, count, compat, &progress);
    if ( rc > 0 )
    {
        uop.p = (void *)((unsigned long)uop.p + progress.bytes);
        rc = hypercall_create_continuation(__HYPERVISOR_grant_table_op, "ihi",
                                           cmd, uop, count - progress.elements);
    }

    return rc;
}

long do_grant_table_op(unsigned int cmd, XEN_GUEST_HANDLE_PARAM(void) uop,
                       unsigned int count)
{
    return grant_table_op(cmd, uop, count, false);
}

#ifdef CONFIG_COMPAT
int compat_grant_table_op(unsigned int cmd, XEN_GUEST_HANDLE_PARAM(void) uop,
                          unsigned int count)
{
    return grant_table_op(cmd, uop, count, true);
}
#endif

long do_grant_dma_op(unsigned int cmd, XEN_GUEST_HANDLE_PARAM(void) arg,
                     unsigned int count)
{
    struct gdma_progress progress = {};
    long rc = gdma_rs_dma_op(cmd, arg.p, count, &progress);

    if ( rc > 0 )
    {
        arg.p = (void *)((unsigned long)arg.p + progress.bytes);
        rc = hypercall_create_continuation(__HYPERVISOR_grant_dma_op, "ihi",
                                           cmd, arg, count - progress.elements);
    }

    return rc;
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
