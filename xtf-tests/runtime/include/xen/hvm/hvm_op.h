/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XEN_PUBLIC_HVM_OP_H
#define XEN_PUBLIC_HVM_OP_H

#include <xen/xen.h>

#define HVMOP_set_param         0
#define HVMOP_get_param         1

struct xen_hvm_param {
    domid_t domid;
    uint16_t pad;
    uint32_t index;
    uint64_t value;
};
typedef struct xen_hvm_param xen_hvm_param_t;

#endif /* XEN_PUBLIC_HVM_OP_H */
