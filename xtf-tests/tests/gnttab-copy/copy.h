/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of this test share. */
#ifndef GNTTAB_COPY_H
#define GNTTAB_COPY_H

#include <lab/gnttab-tables.h>
#include <lab/mapping.h>

/* The own pages, and the own references of the first two. */
#define NR_PAGES        4
extern uint8_t own_pages[NR_PAGES][PAGE_SIZE];

#define OWN_A           (FIRST_FREE_REF + 0)
#define OWN_B           (FIRST_FREE_REF + 1)
#define OWN_BAD         (FIRST_FREE_REF + 2)    /* What is wrong, in turn. */
#define OWN_RO          (FIRST_FREE_REF + 3)    /* Page 0 again. */
#define OWN_PART        (FIRST_FREE_REF + 4)
#define OWN_VIA         (FIRST_FREE_REF + 5)    /* Transitive. */
#define OWN_SPARE_1     (FIRST_FREE_REF + 6)
#define OWN_SPARE_2     (FIRST_FREE_REF + 7)

/* The other domain's, of its pages 0 and 1. */
#define ITS_A           (FIRST_FREE_REF + 0)
#define ITS_B           (FIRST_FREE_REF + 1)
#define ITS_BAD         (FIRST_FREE_REF + 2)
#define ITS_RO          (FIRST_FREE_REF + 3)    /* Page 0 again. */

/* Where a grant of the other domain's can be mapped. */
extern uint8_t window[PAGE_SIZE];

extern domid_t self, other;

/* What a destination holds before a copy, and what it should hold after. */
extern uint8_t expected[PAGE_SIZE];

/* Are the two pages equal?  Says so only if not. */
void same_page(const char *what, const void *got, const void *wanted);

/* No reference of the tables is in use, and no lock is held. */
void expect_idle(void);

/*
 * Copy @len bytes; both pages are filled before and compared whole after,
 * the source included.  @source_page and @dest_page are where they are seen.
 */
void check_copy(const char *what, struct copy_end source,
                const void *source_page, struct copy_end dest, void *dest_page,
                unsigned int len);

/* The copy fails with @status, changes nothing and leaves nothing in use. */
void refuse_copy(const char *what, struct copy_end source,
                 struct copy_end dest, unsigned int len, int status);

void refusals(unsigned int version);
void pinned_entries(void);
void changed_entry(void);
void parts(void);
void transitive(bool allowed);
void batches(unsigned int version);
void long_batches(void);

#endif /* GNTTAB_COPY_H */
