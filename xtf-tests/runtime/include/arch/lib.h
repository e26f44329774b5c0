/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_X86_LIB_H
#define XTF_X86_LIB_H

#include <xtf/compiler.h>
#include <xtf/types.h>

static inline void cpuid_count(uint32_t leaf, uint32_t subleaf, uint32_t *eax,
                               uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
    __asm__ __volatile__ (
        "cpuid"
        : "=a" (*eax), "=b" (*ebx), "=c" (*ecx), "=d" (*edx)
        : "a" (leaf), "c" (subleaf));
}

static inline void cpuid(uint32_t leaf, uint32_t *eax, uint32_t *ebx,
                         uint32_t *ecx, uint32_t *edx)
{
    cpuid_count(leaf, 0, eax, ebx, ecx, edx);
}

/*
 * The leaf as Xen wants a PV guest to see it.  Without CPUID faulting a PV
 * guest's plain instruction reaches the hardware; the prefix asks Xen to
 * emulate the instruction that follows.
 */
static inline void pv_cpuid_count(uint32_t leaf, uint32_t subleaf,
                                  uint32_t *eax, uint32_t *ebx,
                                  uint32_t *ecx, uint32_t *edx)
{
    __asm__ __volatile__ (
        ".byte 0x0f, 0x0b, 'x', 'e', 'n'\n\t"
        "cpuid"
        : "=a" (*eax), "=b" (*ebx), "=c" (*ecx), "=d" (*edx)
        : "a" (leaf), "c" (subleaf));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ __volatile__ ("inb %w1, %b0" : "=a" (value) : "Nd" (port));

    return value;
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t value;

    __asm__ __volatile__ ("inw %w1, %w0" : "=a" (value) : "Nd" (port));

    return value;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t value;

    __asm__ __volatile__ ("inl %w1, %k0" : "=a" (value) : "Nd" (port));

    return value;
}

static inline void outb(uint8_t value, uint16_t port)
{
    __asm__ __volatile__ ("outb %b0, %w1" :: "a" (value), "Nd" (port));
}

static inline void outw(uint16_t value, uint16_t port)
{
    __asm__ __volatile__ ("outw %w0, %w1" :: "a" (value), "Nd" (port));
}

static inline void outl(uint32_t value, uint16_t port)
{
    __asm__ __volatile__ ("outl %k0, %w1" :: "a" (value), "Nd" (port));
}

static inline unsigned long read_cr0(void)
{
    unsigned long value;

    __asm__ __volatile__ ("mov %%cr0, %0" : "=r" (value));

    return value;
}

static inline unsigned long read_cr2(void)
{
    unsigned long value;

    __asm__ __volatile__ ("mov %%cr2, %0" : "=r" (value));

    return value;
}

static inline unsigned long read_cr3(void)
{
    unsigned long value;

    __asm__ __volatile__ ("mov %%cr3, %0" : "=r" (value));

    return value;
}

static inline unsigned long read_cr4(void)
{
    unsigned long value;

    __asm__ __volatile__ ("mov %%cr4, %0" : "=r" (value));

    return value;
}

static inline void write_cr3(unsigned long value)
{
    __asm__ __volatile__ ("mov %0, %%cr3" :: "r" (value) : "memory");
}

static inline void flush_tlb(void)
{
    write_cr3(read_cr3());
}

static inline void wrmsr(uint32_t index, uint64_t value)
{
    __asm__ __volatile__ (
        "wrmsr"
        :: "c" (index), "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32))
        : "memory");
}

#endif /* XTF_X86_LIB_H */
