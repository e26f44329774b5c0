/* SPDX-License-Identifier: GPL-2.0-only */
/* Making page table entries: 64 bits wide in every environment that has them. */
#ifndef XTF_X86_PAGETABLE_H
#define XTF_X86_PAGETABLE_H

#include <arch/mm.h>
#include <arch/page.h>

static inline uint64_t pte_from_gfn(unsigned long gfn, uint64_t flags)
{
    return ((uint64_t)gfn << PAGE_SHIFT) | flags;
}

static inline uint64_t pte_from_virt(const void *va, uint64_t flags)
{
    return pte_from_gfn(virt_to_gfn(va), flags);
}

#endif /* XTF_X86_PAGETABLE_H */
