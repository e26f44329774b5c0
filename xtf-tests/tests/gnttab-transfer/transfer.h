/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of this test share. */
#ifndef GNTTAB_TRANSFER_H
#define GNTTAB_TRANSFER_H

#include <lab/gnttab-tables.h>
#include <lab/mapping.h>

#ifndef GTF_transfer_committed
#define GTF_transfer_committed  (1 << 2)
#define GTF_transfer_completed  (1 << 3)
#endif

#define GTF_COMPLETED                                       \
    (GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed)

/* The entries of both tables that are used here. */
#define REF             (FIRST_FREE_REF + 0)
#define READ_REF        (FIRST_FREE_REF + 1)

/* The guest frame that a receiver wants its page at. */
#define SLOT            0x180u

extern domid_t self, other;

/* A page of this domain's that is mapped nowhere: its frame. */
unsigned long loose_page(uint32_t seed);

/* What a domain owns. */
long pages_of(domid_t domid);

/* One element: its status, or CALL_FAILED. */
int transfer(unsigned long frame, domid_t domid, grant_ref_t ref);

/* Is the frame this domain's memory?  Xen is asked. */
bool is_ours(unsigned long frame);

void kept_pages(void);
void lost_pages(void);
void dying_receiver(void);

#endif /* GNTTAB_TRANSFER_H */
