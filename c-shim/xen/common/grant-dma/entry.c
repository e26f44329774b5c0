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
#include <xen/keyhandler.h>
#include <xen/lib.h>
#include <xen/mm.h>
#include <xen/param.h>
#include <xen/random.h>
#include <xen/sched.h>
#include <xen/softirq.h>

#include <public/domctl.h>

#ifdef CONFIG_PV_SHIM
#include <asm/guest.h>
#endif

#include "gdma.h"

#ifdef CONFIG_GRANT_DMA_PANIC_TEST
static bool __initdata opt_panic_test;
boolean_param("grant-dma-panic-test", opt_panic_test);
#endif

static int __init cf_check gdma_init(void)
{
    /* What guests get wrong is only of interest while debugging. */
    gdma_rs_init(IS_ENABLED(CONFIG_DEBUG),
                 (uint64_t)get_random() << 32 | get_random());

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
                               max_maptrack_frames < 0 ? gdma_opt_max_maptrack_frames
                                                       : max_maptrack_frames,
                               max_version, d->max_vcpus, gdma_opt_max_pins,
                               gdma_opt_max_contexts);
}

void grant_table_destroy(struct domain *d)
{
    gdma_rs_domain_destroy(d);
}

/* Shards of records are made with the domain, for as many vcpus as it can have. */
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
int mem_sharing_gref_to_gfn(struct grant_table *gt, grant_ref_t ref,
                            gfn_t *gfn, uint16_t *status)
{
    uint64_t frame;
    uint16_t flags;
    int rc = gdma_rs_granted_frame(gt, ref, &frame, &flags);

    if ( rc )
        return rc;

    *gfn = _gfn(frame);
    if ( status )
        *status = flags;

    return 0;
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

    rc = gdma_rs_map_frame_begin(d, idx & XENMAPIDX_grant_table_status, idx,
                                 &frame);
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
    switch ( id )
    {
    case XENMEM_resource_grant_table_id_shared:
        return gdma_rs_resource_max_frames(d, false);

    case XENMEM_resource_grant_table_id_status:
        return GDMA_MAX_VERSION < 2 ? 0 : gdma_rs_resource_max_frames(d, true);
    }

    return 0;
}

int gnttab_acquire_resource(struct domain *d, unsigned int id,
                            unsigned int frame, unsigned int nr_frames,
                            xen_pfn_t mfn_list[])
{
    int rc;

    BUILD_BUG_ON(sizeof(xen_pfn_t) != sizeof(uint64_t));

    if ( !nr_frames || (id != XENMEM_resource_grant_table_id_shared &&
                        id != XENMEM_resource_grant_table_id_status) )
        return -EINVAL;

    rc = gdma_rs_acquire_resource(d,
                                  id == XENMEM_resource_grant_table_id_status,
                                  frame, nr_frames, (uint64_t *)mfn_list);

    return rc ?: nr_frames;
}

static void cf_check gnttab_usage_print_all(unsigned char key)
{
    struct domain *d;

    printk("%s [ key '%c' pressed\n", __func__, key);

    rcu_read_lock(&domlist_read_lock);

    for_each_domain ( d )
        gdma_rs_show(d);

    rcu_read_unlock(&domlist_read_lock);

    printk("%s ] done\n", __func__);
}

static void cf_check print_dma_usage(unsigned char key)
{
    struct domain *d;

    printk("grant-dma: what devices can reach ['%c' pressed]\n", key);

    rcu_read_lock(&domlist_read_lock);

    for_each_domain ( d )
    {
        gdma_rs_show_dma(d);
#ifdef CONFIG_X86
        gdma_context_show_devices(d);
#endif
        process_pending_softirqs();
    }

    rcu_read_unlock(&domlist_read_lock);
}

static int __init cf_check gdma_register_key(void)
{
    register_keyhandler('b', print_dma_usage, "print grant-DMA contexts and pins",
                        true);
    register_keyhandler('g', gnttab_usage_print_all, "print grant table usage", true);

    return 0;
}
__initcall(gdma_register_key);

static always_inline long grant_table_op(unsigned int cmd,
                                         XEN_GUEST_HANDLE_PARAM(void) uop,
                                         unsigned int count, bool compat)
{
#ifdef CONFIG_PV_SHIM
    if ( unlikely(pv_shim) )
        return pv_shim_grant_table_op(cmd, uop, count);
#endif

    /* Who can make a hypercall has a table. */
    return gdma_rs_grant_table_op(cmd, uop.p, count, compat,
                                  current->domain->grant_table);
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
#ifdef CONFIG_PV_SHIM
    /* The grants of its guest, and its devices, are the outer hypervisor's. */
    if ( unlikely(pv_shim) )
        return -ENOSYS;
#endif

    return gdma_rs_dma_op(cmd, arg.p, count);
}

/* Called from Rust: the guest makes hypercall op again, with what is left to do. */
long gdma_continue_call(unsigned int op, uint32_t cmd, void *arg,
                        uint32_t count)
{
    return hypercall_create_continuation(op, "ihi", cmd,
                                         guest_handle_from_ptr(arg, void),
                                         count);
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
