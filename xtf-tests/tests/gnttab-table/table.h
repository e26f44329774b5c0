/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of this test share. */
#ifndef GNTTAB_TABLE_H
#define GNTTAB_TABLE_H

#include <lab/gnttab-tables.h>
#include <lab/mapping.h>

extern domid_t self, other;
extern unsigned int max_frames;

/* Own pages to grant, and addresses to map them at (PV). */
#define NR_PAGES        8
extern uint8_t own_pages[NR_PAGES][PAGE_SIZE];
extern uint8_t windows[NR_PAGES][PAGE_SIZE];

/* What no list of frames has in it. */
#define NO_FRAME        0xa5a5a5a5u

/* The size of the own table. */
unsigned int own_frames(void);

/*
 * get_status_frames with this status; an HVM guest has no such operation, and
 * is told so.
 */
void expect_status_frames(const char *what, domid_t domid, unsigned int nr,
                          uint64_t *list, int status);

void growth_v1(void);
void growth_v2(void);
void other_tables(void);

#endif /* GNTTAB_TABLE_H */
