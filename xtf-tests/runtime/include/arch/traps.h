/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_X86_TRAPS_H
#define XTF_X86_TRAPS_H

#include <arch/page.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/xen.h>
#include <xtf/types.h>

/*
 * Registers at an exception, as the entry code of all environments stores
 * them.  Where XTF knows a field by a shorter name too, that one works here.
 */
#ifdef CONFIG_64BIT

#define TRAP_REG(n) union { uint64_t r ## n; unsigned long n; }

struct cpu_regs {
    uint64_t r15, r14, r13, r12;
    TRAP_REG(bp);
    TRAP_REG(bx);
    uint64_t r11, r10, r9, r8;
    TRAP_REG(ax);
    TRAP_REG(cx);
    TRAP_REG(dx);
    TRAP_REG(si);
    TRAP_REG(di);

    uint32_t error_code;
    uint32_t entry_vector;

    TRAP_REG(ip);
    uint16_t cs, cs_unused[3];
    TRAP_REG(flags);
    union { uint64_t _rsp; unsigned long _sp; };
    uint16_t _ss, ss_unused[3];
};

#else /* CONFIG_32BIT */

#define TRAP_REG(n) union { uint32_t e ## n; unsigned long n; }

struct cpu_regs {
    TRAP_REG(bp);
    TRAP_REG(bx);
    TRAP_REG(ax);
    TRAP_REG(cx);
    TRAP_REG(dx);
    TRAP_REG(si);
    TRAP_REG(di);

    uint16_t error_code;
    uint16_t entry_vector;

    TRAP_REG(ip);
    uint16_t cs, cs_unused;
    TRAP_REG(flags);

    /* Stored only if the exception raised the privilege. */
    union { uint32_t _esp; unsigned long _sp; };
    uint16_t _ss, ss_unused;
};

#endif

#undef TRAP_REG

/* How Xen started this domain; the other kind of guest's pointer is NULL. */
extern xen_pv_start_info_t *pv_start_info;
extern xen_pvh_start_info_t *pvh_start_info;

#endif /* XTF_X86_TRAPS_H */
