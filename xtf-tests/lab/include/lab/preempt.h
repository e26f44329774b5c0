/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupting long hypercalls.
 *
 * Xen looks during a long call whether something else wants the CPU, and if so
 * goes on with a new call for what is left.  A timer of this vcpu is such a
 * thing, and the domain has it in its hand.  Nobody listens to the timer's
 * event, so that it does nothing else.
 */
#ifndef LAB_PREEMPT_H
#define LAB_PREEMPT_H

#include <xtf.h>

/* Let the timer interrupt every millisecond, the shortest Xen allows. */
bool preempt_often(void);
void preempt_no_more(void);

/* Let the timer interrupt once, in @ns nanoseconds. */
bool preempt_in(uint64_t ns);

/*
 * A grant table operation, and how many elements it had when it was continued
 * the last time: @count if it never was.  0 where Xen does not let that be
 * seen: a debug build overwrites the arguments.
 */
long grant_table_op_traced(unsigned int cmd, void *array, unsigned int count,
                           unsigned int *last_count);

#endif /* LAB_PREEMPT_H */
