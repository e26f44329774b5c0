/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XEN_PUBLIC_VERSION_H
#define XEN_PUBLIC_VERSION_H

#include <xtf/types.h>

/* No argument; the result is major << 16 | minor. */
#define XENVER_version          0

/* A 16 byte string. */
#define XENVER_extraversion     1
typedef char xen_extraversion_t[16];

/* 32 features of the domain, from submap_idx * 32 on. */
#define XENVER_get_features     6

struct xen_feature_info {
    unsigned int submap_idx;
    uint32_t submap;            /* Out. */
};

#endif /* XEN_PUBLIC_VERSION_H */
