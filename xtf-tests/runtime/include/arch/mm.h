/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory layout.
 *
 * HVM: the first 4 GiB of guest-physical memory are mapped at the same
 * virtual addresses (page 0 excepted, to catch NULL), so a frame number is a
 * page number, and device BARs below 4 GiB are reachable as they are.  A 32-bit
 * HVM guest runs without paging, which comes to the same, page 0 included.
 *
 * PV: Xen's builder maps the domain's pseudo-physical memory from virtual
 * address 0 on; what goes into page tables is the machine frame.
 *
 * gfn always means the number the guest gives to Xen for one of its frames.
 */
#ifndef XTF_X86_MM_H
#define XTF_X86_MM_H

#include <arch/page.h>
#include <arch/traps.h>
#include <xtf/numbers.h>
#include <xtf/types.h>

static inline void *pfn_to_virt(unsigned long pfn)
{
    return (void *)(pfn << PAGE_SHIFT);
}

static inline unsigned long virt_to_pfn(const void *va)
{
    return _u(va) >> PAGE_SHIFT;
}

#ifdef CONFIG_PV

/* Xen's read-only array of the pseudo-physical frame of each machine frame. */
#ifdef CONFIG_64BIT
#define MACH2PHYS       ((const unsigned long *)0xffff800000000000UL)
#else
#define MACH2PHYS       ((const unsigned long *)0xf5800000UL)
#endif

static inline void *mfn_to_virt(unsigned long mfn)
{
    return pfn_to_virt(MACH2PHYS[mfn]);
}

static inline unsigned long pfn_to_mfn(unsigned long pfn)
{
    return ((const unsigned long *)pv_start_info->mfn_list)[pfn];
}

static inline unsigned long virt_to_mfn(const void *va)
{
    return pfn_to_mfn(virt_to_pfn(va));
}

static inline unsigned long virt_to_gfn(const void *va)
{
    return virt_to_mfn(va);
}

static inline void *gfn_to_virt(unsigned long gfn)
{
    return mfn_to_virt(gfn);
}

#else /* CONFIG_HVM */

/* Declared, never defined: a call that is not optimised away cannot link. */
extern void *mfn_to_virt(unsigned long mfn);
extern unsigned long pfn_to_mfn(unsigned long pfn);
extern unsigned long virt_to_mfn(const void *va);

static inline unsigned long virt_to_gfn(const void *va)
{
    return virt_to_pfn(va);
}

static inline void *gfn_to_virt(unsigned long gfn)
{
    return pfn_to_virt(gfn);
}

#endif

/* First and last address of the guest's image. */
extern char _start[], _end[];

#endif /* XTF_X86_MM_H */
