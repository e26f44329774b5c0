/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XEN_PUBLIC_PHYSDEV_H
#define XEN_PUBLIC_PHYSDEV_H

#include <xtf/types.h>

#define PHYSDEVOP_set_iopl      6

struct physdev_set_iopl {
    uint32_t iopl;
};

#endif /* XEN_PUBLIC_PHYSDEV_H */
