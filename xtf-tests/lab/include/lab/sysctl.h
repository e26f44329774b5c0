/* SPDX-License-Identifier: GPL-2.0-only */
/* What the control domain asks of Xen about the machine as a whole. */
#ifndef LAB_SYSCTL_H
#define LAB_SYSCTL_H

#include <xtf.h>

#define SYSCTL_PHYSINFO     3
#define SYSCTL_DEBUG_KEYS   7

struct sysctl {
    uint32_t cmd;
    uint32_t interface_version;
    union {
        struct {
            uint32_t before[10];
            uint64_t total_pages;
            uint64_t free_pages;
        } physinfo;
        struct {
            uint64_t keys __aligned(8);
            uint32_t nr_keys;
        } debug_keys;
        uint8_t room[128];
    };
};

/* Fills in the version.  0 or a negative error number. */
long sysctl(struct sysctl *op);

/* Pages that Xen has free, or -1 where this domain may not know. */
long free_pages(void);

/* Press a key at Xen's console. */
long press_key(char key);

#endif /* LAB_SYSCTL_H */
