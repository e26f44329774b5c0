/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A second domain that does as it is told: it grants pages of its own to the
 * first one and makes grant-DMA hypercalls, with the first one's arguments and
 * its own rights.
 */
#ifndef LAB_REMOTE_H
#define LAB_REMOTE_H

#include <lab/gdma.h>
#include <lab/second-domain.h>

#define REMOTE_PAGES    6u

/* Most of them at a time. */
#define REMOTE_DOMAINS  2u

/* Most bytes of all elements of a call. */
#define REMOTE_ELEMENTS 1024u

/* Which of them everything below is about, from now on; at first number 0. */
void remote_choose(unsigned int nth);

/* Start it.  False, and an error, if it does not answer. */
bool remote_start(void);

/* End it. */
void remote_end(void);

domid_t remote_domid(void);

/* Make it the owner of a PCI device. */
int remote_assign(uint32_t sbdf);

/* This domain's view of its @nth page. */
void *remote_page(unsigned int nth);

/* Where it has that page itself. */
uint64_t remote_gaddr(unsigned int nth);

/* It grants its @nth page to this domain; @readonly is 0 or GTF_readonly. */
void remote_grant(grant_ref_t ref, unsigned int nth, unsigned int readonly);

/* The same to any domain. */
void remote_grant_to(grant_ref_t ref, domid_t domid, unsigned int nth,
                     unsigned int readonly);

/*
 * The same with @nr of its frames, from @gfn on, and as many references, from
 * @ref on.  What this domain has at an address, it has a copy of there.
 */
void remote_grant_frames(grant_ref_t ref, domid_t domid, unsigned long gfn,
                         unsigned int nr, unsigned int readonly);

/* It takes the permission out of the entry, in use or not. */
void remote_withdraw(grant_ref_t ref);

/* GTF_reading and GTF_writing, as it sees them. */
unsigned int remote_in_use(grant_ref_t ref);

/*
 * It makes the hypercall, with @count elements of @size bytes, which come back
 * as Xen left them.  The result of the call.
 */
long remote_gdma(unsigned int cmd, void *elements, size_t size,
                 unsigned int count);

/* Its revoke of one reference: the element's status. */
int remote_revoke(grant_ref_t ref);

#endif /* LAB_REMOTE_H */
