/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of this test share. */
#ifndef GNTTAB_V2_H
#define GNTTAB_V2_H

#include <lab/gnttab-tables.h>
#include <lab/mapping.h>

extern domid_t self;

/*
 * Own pages to grant: an HVM guest loses one with each mapping, so each is
 * granted and mapped at most once.
 */
uint8_t *fresh_page(void);

/* Where a PV guest sees its mappings. */
#define NR_WINDOWS      3
extern uint8_t windows[NR_WINDOWS][PAGE_SIZE];

/* The own table in version 2: use, status bits, errors. */
void entries(void);

#endif /* GNTTAB_V2_H */
