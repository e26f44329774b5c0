/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The runtime describes Xen's interface in its own words.  This file lists
 * sizes, offsets and numbers of what it describes; compiled against the
 * runtime's headers and against those of a Xen tree it must come out the same.
 */
#ifdef XEN_HEADERS

#include <stddef.h>
#include <stdint.h>

#define __XEN_INTERFACE_VERSION__ 0x00041300
#include <public/xen.h>
#include <public/arch-x86/hvm/start_info.h>
#include <public/elfnote.h>
#include <public/event_channel.h>
#include <public/grant_table.h>
#include <public/hvm/hvm_op.h>
#include <public/hvm/params.h>
#include <public/memory.h>
#include <public/physdev.h>
#include <public/sched.h>
#include <public/version.h>

#define XEN_ERRNO(name, value) name = value,
enum xen_errno {
#include <public/errno.h>
};

typedef struct start_info pv_start_info_t;
typedef struct hvm_start_info pvh_start_info_t;
typedef struct trap_info trap_info_t_;

#define GET_VERSION  struct gnttab_get_version
#define QUERY_SIZE   struct gnttab_query_size

#else

#include <xtf.h>
#include <lab/grants.h>
#include <xen/elfnote.h>

typedef xen_pv_start_info_t pv_start_info_t;
typedef xen_pvh_start_info_t pvh_start_info_t;
typedef struct xen_trap_info trap_info_t_;

#define GET_VERSION  struct grant_table_version
#define QUERY_SIZE   struct grant_table_size

#endif

/* Offset and size of one field. */
#define FIELD(type, field) \
    offsetof(type, field), sizeof(((type *)0)->field)

extern const uint64_t abi_layout[];

__attribute__((section(".abi"))) const uint64_t abi_layout[] = {
    sizeof(struct gnttab_map_grant_ref),
    FIELD(struct gnttab_map_grant_ref, host_addr),
    FIELD(struct gnttab_map_grant_ref, flags),
    FIELD(struct gnttab_map_grant_ref, ref),
    FIELD(struct gnttab_map_grant_ref, dom),
    FIELD(struct gnttab_map_grant_ref, status),
    FIELD(struct gnttab_map_grant_ref, handle),
    FIELD(struct gnttab_map_grant_ref, dev_bus_addr),
    sizeof(struct gnttab_unmap_grant_ref),
    FIELD(struct gnttab_unmap_grant_ref, host_addr),
    FIELD(struct gnttab_unmap_grant_ref, dev_bus_addr),
    FIELD(struct gnttab_unmap_grant_ref, handle),
    FIELD(struct gnttab_unmap_grant_ref, status),
    sizeof(struct gnttab_setup_table),
    FIELD(struct gnttab_setup_table, dom),
    FIELD(struct gnttab_setup_table, nr_frames),
    FIELD(struct gnttab_setup_table, status),
    FIELD(struct gnttab_setup_table, frame_list),
    sizeof(struct gnttab_unmap_and_replace),
    FIELD(struct gnttab_unmap_and_replace, host_addr),
    FIELD(struct gnttab_unmap_and_replace, new_addr),
    FIELD(struct gnttab_unmap_and_replace, handle),
    FIELD(struct gnttab_unmap_and_replace, status),
    sizeof(struct gnttab_set_version),
    sizeof(GET_VERSION),
    FIELD(GET_VERSION, dom),
    FIELD(GET_VERSION, version),
    sizeof(QUERY_SIZE),
    FIELD(QUERY_SIZE, dom),
    FIELD(QUERY_SIZE, nr_frames),
    FIELD(QUERY_SIZE, max_nr_frames),
    FIELD(QUERY_SIZE, status),
    sizeof(grant_entry_v1_t),
    FIELD(grant_entry_v1_t, flags),
    FIELD(grant_entry_v1_t, domid),
    FIELD(grant_entry_v1_t, frame),
    sizeof(grant_entry_v2_t),
    FIELD(grant_entry_v2_t, full_page.frame),
    FIELD(grant_entry_v2_t, sub_page.page_off),
    FIELD(grant_entry_v2_t, sub_page.length),
    FIELD(grant_entry_v2_t, sub_page.frame),
    FIELD(grant_entry_v2_t, transitive.trans_domid),
    FIELD(grant_entry_v2_t, transitive.gref),

    sizeof(struct xen_memory_reservation),
    FIELD(struct xen_memory_reservation, extent_start),
    FIELD(struct xen_memory_reservation, nr_extents),
    FIELD(struct xen_memory_reservation, extent_order),
    FIELD(struct xen_memory_reservation, mem_flags),
    FIELD(struct xen_memory_reservation, domid),
    sizeof(struct xen_add_to_physmap),
    FIELD(struct xen_add_to_physmap, domid),
    FIELD(struct xen_add_to_physmap, size),
    FIELD(struct xen_add_to_physmap, space),
    FIELD(struct xen_add_to_physmap, idx),

    sizeof(mmu_update_t),
    FIELD(mmu_update_t, ptr),
    FIELD(mmu_update_t, val),
    sizeof(struct mmuext_op),
    FIELD(struct mmuext_op, arg1.mfn),
    FIELD(struct mmuext_op, arg2.nr_ents),
    sizeof(pv_start_info_t),
    FIELD(pv_start_info_t, nr_pages),
    FIELD(pv_start_info_t, shared_info),
    FIELD(pv_start_info_t, flags),
    FIELD(pv_start_info_t, console.domU.mfn),
    FIELD(pv_start_info_t, console.domU.evtchn),
    FIELD(pv_start_info_t, pt_base),
    FIELD(pv_start_info_t, mfn_list),
    FIELD(pv_start_info_t, cmd_line),
    FIELD(pvh_start_info_t, magic),
    FIELD(pvh_start_info_t, flags),
    FIELD(pvh_start_info_t, cmdline_paddr),
    FIELD(pvh_start_info_t, rsdp_paddr),

    sizeof(struct vcpu_info),
    FIELD(struct vcpu_info, arch.cr2),
    FIELD(struct vcpu_info, time),
    FIELD(struct vcpu_time_info, version),
    FIELD(struct vcpu_time_info, tsc_timestamp),
    FIELD(struct vcpu_time_info, system_time),
    FIELD(struct vcpu_time_info, tsc_to_system_mul),
    FIELD(struct vcpu_time_info, tsc_shift),
    FIELD(struct shared_info, vcpu_info),
    FIELD(struct shared_info, evtchn_pending),
    FIELD(struct shared_info, evtchn_mask),
    sizeof(trap_info_t_),
    FIELD(trap_info_t_, vector),
    FIELD(trap_info_t_, cs),
    FIELD(trap_info_t_, address),
    sizeof(struct xen_hvm_param),
    FIELD(struct xen_hvm_param, index),
    FIELD(struct xen_hvm_param, value),
    sizeof(struct physdev_set_iopl),
    sizeof(struct sched_shutdown),
    sizeof(struct evtchn_send),

    __HYPERVISOR_set_trap_table, __HYPERVISOR_memory_op,
    __HYPERVISOR_update_va_mapping, __HYPERVISOR_xen_version,
    __HYPERVISOR_console_io, __HYPERVISOR_grant_table_op,
    __HYPERVISOR_sched_op, __HYPERVISOR_event_channel_op,
    __HYPERVISOR_physdev_op, __HYPERVISOR_hvm_op, __HYPERVISOR_sysctl,
    __HYPERVISOR_domctl,

    DOMID_SELF, DOMID_FIRST_RESERVED, SIF_PRIVILEGED, SIF_INITDOMAIN,
    XEN_HVM_START_MAGIC_VALUE, CONSOLEIO_write, MAX_GUEST_CMDLINE,
    XENVER_version, XENVER_get_features, SCHEDOP_yield, SCHEDOP_block, SCHEDOP_shutdown,
    SHUTDOWN_poweroff, SHUTDOWN_crash, EVTCHNOP_send,
    EVTCHNOP_close, EVTCHNOP_bind_ipi, PHYSDEVOP_set_iopl,
    HVMOP_set_param, HVMOP_get_param, HVM_PARAM_CONSOLE_PFN,
    HVM_PARAM_CONSOLE_EVTCHN, UVMF_INVLPG, UVMF_TLB_FLUSH, UVMF_ALL,

    XENMEM_decrease_reservation, XENMEM_populate_physmap,
    XENMEM_add_to_physmap, XENMAPSPACE_shared_info, XENMAPSPACE_grant_table,
    XENMAPSPACE_gmfn_foreign,

    GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref, GNTTABOP_setup_table,
    GNTTABOP_unmap_and_replace, _GNTMAP_guest_avail0,
    MMU_NORMAL_PT_UPDATE, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE,
    __HYPERVISOR_mmu_update, __HYPERVISOR_mmuext_op, __HYPERVISOR_vcpu_op,
    GNTTABOP_query_size, GNTTABOP_set_version, GNTTABOP_get_version,
    GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly,
    GNTMAP_application_map, GNTMAP_contains_pte,
    GTF_permit_access, GTF_accept_transfer, GTF_transitive, GTF_readonly,
    GTF_reading, GTF_writing, GTF_sub_page,
    GNTST_okay, GNTST_general_error, GNTST_bad_domain, GNTST_bad_gntref,
    GNTST_bad_handle, GNTST_bad_virt_addr, GNTST_bad_dev_addr,
    GNTST_no_device_space, GNTST_permission_denied, GNTST_bad_page,
    GNTST_bad_copy_arg, GNTST_address_too_big, GNTST_eagain,

    XEN_ELFNOTE_ENTRY, XEN_ELFNOTE_HYPERCALL_PAGE, XEN_ELFNOTE_VIRT_BASE,
    XEN_ELFNOTE_PADDR_OFFSET, XEN_ELFNOTE_XEN_VERSION, XEN_ELFNOTE_GUEST_OS,
    XEN_ELFNOTE_GUEST_VERSION, XEN_ELFNOTE_LOADER, XEN_ELFNOTE_PAE_MODE,
    XEN_ELFNOTE_FEATURES, XEN_ELFNOTE_PHYS32_ENTRY,

    EPERM, ENOENT, ESRCH, EIO, E2BIG, EAGAIN, ENOMEM, EACCES, EFAULT, EBUSY,
    EEXIST, ENODEV, EINVAL, ENOSPC, EMLINK, ERANGE, ENOSYS, EOVERFLOW,
    EOPNOTSUPP, ENOBUFS, ETIMEDOUT,
};
