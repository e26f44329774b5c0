/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What one grant table operation costs at one batch size, in ticks.
 *
 * A cost is taken in rounds.  A round issues the same elements in calls of
 * one batch each and is timed as a whole, because reading the clock may cost
 * as much as an operation.  The round published is the median: a timer
 * interrupt that falls into one round does not show.
 *
 *   GNTTAB op=<op> what=<kind> batch=<n> place=<n> calls=<n> elements=<n>
 *          rounds=<n> ticks=<median> min=<n> max=<n>      (one line)
 *   GNTTAB op=<op> what=<kind> batch=<n> place=<n> error=<rc>
 *          the hypercall as a whole failed: -38 is -ENOSYS
 *   GNTTAB op=<op> what=<kind> batch=<n> place=<n> status=<GNTST>
 *          an element failed
 *   GNTTAB op=<op> what=<kind> batch=<n> place=<n> unmeasured=1
 *          something before it failed
 *
 * Calls and elements are those of one round.
 */
#ifndef LAB_COST_H
#define LAB_COST_H

#include <xtf.h>

/* Elements of a full round, and most rounds of a cost. */
#define COST_ELEMENTS   128
#define COST_ROUNDS     33

struct cost {
    const char *op, *what;
    unsigned int batch, place;
    unsigned int calls, elements;       /* Of one round. */
    unsigned int rounds;                /* Done. */
    uint64_t ticks[COST_ROUNDS];
    long error;                         /* First failed call. */
    int status;                         /* First failed element. */
};

/* An operation's elements as they lie in memory. */
struct cost_elements {
    unsigned int cmd;
    void *first;
    size_t size;                /* Of one element. */
    size_t status;              /* Where its status is, or COST_NO_STATUS. */
    unsigned int nr;
};

#define COST_NO_STATUS  (~(size_t)0)

#define COST_ARRAY(cmd_, array)                                         \
    ((struct cost_elements){                                            \
        .cmd = (cmd_), .first = (array), .size = sizeof((array)[0]),    \
        .status = __builtin_offsetof(__typeof__((array)[0]), status),   \
        .nr = ARRAY_SIZE(array),                                        \
    })

/* The same without a status field. */
#define COST_ARRAY_PLAIN(cmd_, array)                                   \
    ((struct cost_elements){                                            \
        .cmd = (cmd_), .first = (array), .size = sizeof((array)[0]),    \
        .status = COST_NO_STATUS, .nr = ARRAY_SIZE(array),              \
    })

struct cost cost_begin(const char *op, const char *what, unsigned int batch,
                       unsigned int place);

/*
 * Issue all elements once, timed.  False, and no further round counts, if the
 * call or an element fails.  Elements the calls change are the caller's to
 * restore.
 */
bool cost_round(struct cost *cost, const struct cost_elements *elements);

/*
 * The same for an operation that takes one element a call, which the call
 * does not change: @nr calls with the one element.
 */
bool cost_round_single(struct cost *cost, const struct cost_elements *element,
                       unsigned int nr);

/* A round that the caller has timed itself: @calls over @elements. */
bool cost_record(struct cost *cost, unsigned int calls, unsigned int elements,
                 uint64_t ticks, long error);

/* Print it. */
void cost_end(const struct cost *cost);

/* The null hypercall and the clock's reading, in the same rounds. */
void cost_baseline(unsigned int rounds);

#endif /* LAB_COST_H */
