/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose grants a test maps.
 *
 * A granter needs no code of its own: the domain that owns the machine
 * creates a domain that never runs, gives it some pages, and writes and reads
 * its grant table in its stead.  That works in every environment; the domain
 * is of the same kind (PV or HVM) as the test.
 *
 * The test's own domain can be the granter too ("loopback"): for version 2 of
 * the table, which only a domain itself can choose, and for what differs when
 * granter and holder are one.  For PV only: an HVM domain loses the page from
 * its own guest frame when it maps it elsewhere.
 */
#ifndef LAB_GRANTER_H
#define LAB_GRANTER_H

#include <lab/grants.h>

#define GRANTER_PAGES       8

#define GTF_IN_USE          (GTF_reading | GTF_writing)

/*
 * Create the granter.  False after saying why as a skip or an error of the
 * test.
 */
bool granter_begin(void);

/* Be the granter, with a table of @version. */
bool granter_self(unsigned int version);

/*
 * Undo it.  A domain that never ran must disappear without a trace: if any
 * reference to it or its pages were left, it could not, and that is a failure.
 */
void granter_end(void);

/*
 * The first half of that, for a domain whose grants are still mapped: it is
 * destroyed, its table and pages are seen here no longer, and what is mapped
 * keeps it in existence.  False after saying why as an error of the test.
 */
bool granter_destroy(void);

/* Does Xen know the granter's id? */
bool granter_exists(void);

domid_t granter_domid(void);
unsigned int granter_version(void);

/* The @nth page: its number in a grant entry, and where it is seen here. */
unsigned long granter_gfn(unsigned int nth);
uint8_t *granter_page(unsigned int nth);

/* Entries of the first frame of its table. */
unsigned int granter_entries(void);

/* Write an entry of any kind; its flags become visible last. */
void entry_write(grant_ref_t ref, unsigned int flags, domid_t domid,
                 unsigned long frame);

/* Let this domain use the @nth page; @readonly is 0 or GTF_readonly. */
void entry_grant(grant_ref_t ref, unsigned int nth, unsigned int readonly);

/* Make the entry name the @nth page (@domid), and nothing else about it. */
void entry_change_page(grant_ref_t ref, unsigned int nth);
void entry_change_grantee(grant_ref_t ref, domid_t domid);

/* What is in the entry. */
unsigned int entry_flags(grant_ref_t ref);
uint64_t entry_frame(grant_ref_t ref);

/* GTF_reading and GTF_writing of the reference. */
unsigned int entry_in_use(grant_ref_t ref);

/* Withdraw: false while somebody uses it. */
bool entry_withdraw(grant_ref_t ref);

#endif /* LAB_GRANTER_H */
