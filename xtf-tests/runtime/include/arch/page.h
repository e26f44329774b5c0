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
#define _PAGE_ACCESSED  0x020
#define _PAGE_DIRTY     0x040
#define _PAGE_PSE       0x080

#endif /* XTF_X86_PAGE_H */
