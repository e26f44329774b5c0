/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XEN_PUBLIC_VERSION_H
#define XEN_PUBLIC_VERSION_H

#include <xtf/types.h>

/* No argument; the result is major << 16 | minor. */
#define XENVER_version          0

/* A 16 byte string. */
#define XENVER_extraversion     1
typedef char xen_extraversion_t[16];

#endif /* XEN_PUBLIC_VERSION_H */
