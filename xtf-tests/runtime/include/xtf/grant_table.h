/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_GRANT_TABLE_H
#define XTF_GRANT_TABLE_H

#include <xtf/hypercall.h>
#include <xtf/libc.h>

/* The first frame of this domain's grant table, in both its layouts. */
extern uint8_t gnttab_raw[PAGE_SIZE];
extern grant_entry_v1_t gnttab_v1[PAGE_SIZE / sizeof(grant_entry_v1_t)];
extern grant_entry_v2_t gnttab_v2[PAGE_SIZE / sizeof(grant_entry_v2_t)];

/* Place the table at gnttab_raw[].  0 or a negative error number. */
int arch_map_gnttab(void);

/* Choose a version and map the table; may be called again to change it. */
int xtf_init_grant_table(unsigned int version);

/* Words for a GNTST_* value. */
const char *gntst_strerror(int status);

#endif /* XTF_GRANT_TABLE_H */
