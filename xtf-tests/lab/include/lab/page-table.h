/* SPDX-License-Identifier: GPL-2.0-only */
/* A PV guest's page tables, as the guest can read them. */
#ifndef LAB_PAGE_TABLE_H
#define LAB_PAGE_TABLE_H

#include <xtf.h>

#ifdef CONFIG_PV

/* Bits of an entry that are no address; bit 63 forbids execution. */
#define PTE_FRAME_MASK      0x000ffffffffff000ull
#define PTE_NX              (1ull << 63)

/* The lowest entry for @va: its machine address, and what is in it. */
uint64_t pte_maddr(const void *va);
uint64_t pte_read(const void *va);

/* Make the entry map @mfn, or nothing for flags of 0. */
int pte_write(const void *va, unsigned long mfn, unsigned int flags);

#define PTE_READ_ONLY       (_PAGE_PRESENT | _PAGE_ACCESSED | _PAGE_DIRTY)
#define PTE_READ_WRITE      (PTE_READ_ONLY | _PAGE_RW)

/*
 * May the frame become a page table?  0 if so (it is none afterwards): then
 * nobody has a right to write to it.  -EINVAL: somebody has.  The frame must
 * hold zeros, which are valid entries.
 */
int try_as_page_table(unsigned long mfn);

/* Give a frame that is mapped nowhere back to Xen. */
int give_back(unsigned long mfn);

#endif

#endif /* LAB_PAGE_TABLE_H */
