/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of bench-gnttab share. */
#ifndef BENCH_GNTTAB_BENCH_H
#define BENCH_GNTTAB_BENCH_H

#include <xtf.h>

#include <lab/clock.h>
#include <lab/cost.h>
#include <lab/gnttab-wire.h>
#include <lab/grants.h>

#define NR          COST_ELEMENTS

/* Two sets of references; in version 2 only the first fits the frame. */
#define REF_A       FIRST_FREE_REF
#define REF_B       (REF_A + NR)

#define NR_BATCHES  3
extern const unsigned int batches[NR_BATCHES];

/* Rounds a cost, from the command line. */
extern unsigned int rounds;

/* Pages to grant and to copy to and from. */
extern uint8_t pages_a[NR * PAGE_SIZE], pages_b[NR * PAGE_SIZE];

/* Grant the pages at @pages to @domid, from @ref on, in @version. */
void grant_pages(grant_ref_t ref, const uint8_t *pages, domid_t domid,
                 unsigned int version);

/* Withdraw them all: the table's entries become invalid. */
void clear_grants(unsigned int version);

/* A line for an operation that could not be tried because of @error. */
void report_error(const char *op, const char *what, long error);

/*
 * Map @domid's references from REF_A on and unmap them, with windows in
 * several places.
 */
#define NR_PLACES   3
bool prepare_places(void);
void measure_maps(const char *what, domid_t domid);

/* Copies of 64 and of 4096 bytes: @domid's references A, B, own frames. */
void measure_copies(const char *whose, domid_t domid);

/* Operations on the table itself. */
void measure_table_calls(void);
void measure_version_switch(void);
void measure_swap(const char *what);

#ifdef CONFIG_PV

/* Unmap by putting another page's mapping in the grant's place. */
void measure_replacing(const char *what, domid_t self);

void measure_transfer(const char *what, domid_t self);
void measure_cache_flush(const char *what);
void measure_status_frames(void);       /* In version 2. */

/* Xen's memory for entries and for handles; leaves them in use. */
void measure_memory(domid_t self);

#else

/* With every page anchored at its own frame; the pages are lost. */
void measure_anchored_maps(const char *what, domid_t self);

#endif

#endif /* BENCH_GNTTAB_BENCH_H */
