/* SPDX-License-Identifier: GPL-2.0-only */
/* What the common part of the runtime asks of the environment it runs in. */
#ifndef XTF_FRAMEWORK_H
#define XTF_FRAMEWORK_H

#include <xtf/compiler.h>
#include <xtf/types.h>

/* One line naming the environment. */
extern const char environment_description[];

/* The C entry point, called by the entry code on the boot stack. */
void __noreturn xtf_main(void);

/* Hypercalls, console and exceptions, in the order that makes each usable. */
void arch_setup(void);

/* Install the exception handlers. */
void arch_init_traps(void);

/* Is this the domain that owns the machine? */
bool arch_is_initdomain(void);

/* The domain's id, or -1. */
int arch_get_domid(void);

/*
 * What the emulator is told when the machine's owner ends: the results keep
 * apart in the exit status of QEMU, which is (code << 1) | 1.
 */
enum machine_exit {
    MACHINE_EXIT_SUCCESS = 0x10,
    MACHINE_EXIT_SKIP    = 0x11,
    MACHINE_EXIT_ERROR   = 0x12,
    MACHINE_EXIT_FAILURE = 0x13,
};

/* End the machine if this domain owns it, else only the domain. */
void __noreturn arch_exit(enum machine_exit code);

#endif /* XTF_FRAMEWORK_H */
