/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls into Xen through the hypercall page: 32 bytes of code for each
 * hypercall number.  Arguments are in rdi, rsi, rdx, r10, r8 and the result in
 * rax; for a 32-bit guest in ebx, ecx, edx, esi, edi and eax.
 */
#ifndef XTF_X86_HYPERCALL_H
#define XTF_X86_HYPERCALL_H

#include <arch/page.h>
#include <xtf/compiler.h>
#include <xtf/types.h>

extern uint8_t hypercall_page[PAGE_SIZE];

/*
 * Xen may clobber the registers of the arguments it was given (debug builds
 * of old versions did so on purpose), hence all of them are outputs.
 */
static __always_inline long xen_hypercall(
    unsigned int number, unsigned long a1, unsigned long a2, unsigned long a3,
    unsigned long a4, unsigned long a5)
{
#ifdef CONFIG_64BIT
    register unsigned long r10 __asm__ ("r10") = a4;
    register unsigned long r8 __asm__ ("r8") = a5;
    long result;

    __asm__ __volatile__ (
        "call *%[entry]"
        : "=a" (result), "+D" (a1), "+S" (a2), "+d" (a3), "+r" (r10), "+r" (r8)
        : [entry] "r" (&hypercall_page[number * 32])
        : "memory");
#else
    long result;

    /* eax holds the entry: all but the frame pointer's register is taken. */
    __asm__ __volatile__ (
        "call *%%eax"
        : "=a" (result), "+b" (a1), "+c" (a2), "+d" (a3), "+S" (a4), "+D" (a5)
        : "0" (&hypercall_page[number * 32])
        : "memory");
#endif

    return result;
}

#define HYPERCALL5(type, nr, a, b, c, d, e)                             \
    ((type)xen_hypercall(nr, (unsigned long)(a), (unsigned long)(b),    \
                         (unsigned long)(c), (unsigned long)(d),        \
                         (unsigned long)(e)))
#define HYPERCALL4(type, nr, a, b, c, d) HYPERCALL5(type, nr, a, b, c, d, 0)
#define HYPERCALL3(type, nr, a, b, c)    HYPERCALL4(type, nr, a, b, c, 0)
#define HYPERCALL2(type, nr, a, b)       HYPERCALL3(type, nr, a, b, 0)
#define HYPERCALL1(type, nr, a)          HYPERCALL2(type, nr, a, 0)
#define HYPERCALL0(type, nr)             HYPERCALL1(type, nr, 0)

#endif /* XTF_X86_HYPERCALL_H */
