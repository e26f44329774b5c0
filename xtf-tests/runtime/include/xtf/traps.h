/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_TRAPS_H
#define XTF_TRAPS_H

#include <arch/traps.h>
#include <xen/xen.h>
#include <xtf/types.h>

extern shared_info_t shared_info;

/*
 * A test may define this to deal with an exception itself; true means done
 * and execution goes on at the (possibly changed) instruction pointer.
 */
bool do_unhandled_exception(struct cpu_regs *regs);

#endif /* XTF_TRAPS_H */
