/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_X86_PAGE_H
#define XTF_X86_PAGE_H

#define PAGE_SHIFT      12

#ifdef __ASSEMBLY__
#define PAGE_SIZE       (1 << PAGE_SHIFT)
#else
#define PAGE_SIZE       (1L << PAGE_SHIFT)
#define PAGE_MASK       (~(PAGE_SIZE - 1))
#endif

/* Page table entry bits. */
#define _PAGE_PRESENT   0x001
#define _PAGE_RW        0x002
#define _PAGE_USER      0x004
#define _PAGE_PWT       0x008
#define _PAGE_PCD       0x010
#define _PAGE_ACCESSED  0x020
#define _PAGE_DIRTY     0x040
#define _PAGE_PSE       0x080
#define _PAGE_GLOBAL    0x100
#define _PAGE_AVAIL     0xe00

/* Entries of a table, and the bits of an address that a table's level takes. */
#define L1_PT_ENTRIES   512
#define L1_PT_SHIFT     12
#define L2_PT_SHIFT     21
#define L3_PT_SHIFT     30
#define L4_PT_SHIFT     39

#endif /* XTF_X86_PAGE_H */
