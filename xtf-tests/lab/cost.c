/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/clock.h>
#include <lab/cost.h>

struct cost cost_begin(const char *op, const char *what, unsigned int batch,
                       unsigned int place)
{
    return (struct cost){
        .op = op, .what = what, .batch = batch, .place = place,
    };
}

bool cost_record(struct cost *cost, unsigned int calls, unsigned int elements,
                 uint64_t ticks, long error)
{
    if ( error )
    {
        cost->error = error;
        return false;
    }

    cost->calls = calls;
    cost->elements = elements;
    if ( cost->rounds < COST_ROUNDS )
        cost->ticks[cost->rounds++] = ticks;

    return true;
}

static int first_bad_status(const struct cost_elements *elements)
{
    const uint8_t *status = (uint8_t *)elements->first + elements->status;

    if ( elements->status == COST_NO_STATUS )
        return 0;

    for ( unsigned int i = 0; i < elements->nr; i++ )
    {
        int16_t value = *(const int16_t *)(status + i * elements->size);

        if ( value )
            return value;
    }

    return 0;
}

bool cost_round(struct cost *cost, const struct cost_elements *elements)
{
    uint8_t *next = elements->first;
    unsigned int calls = elements->nr / cost->batch;
    size_t step = elements->size * cost->batch;
    uint64_t start;
    long rc = 0;

    if ( cost->error || cost->status )
        return false;

    start = read_ticks();
    for ( unsigned int i = 0; !rc && i < calls; i++, next += step )
        rc = hypercall_grant_table_op(elements->cmd, next, cost->batch);
    start = read_ticks() - start;

    if ( !cost_record(cost, calls, elements->nr, start, rc) )
        return false;

    cost->status = first_bad_status(elements);

    return !cost->status;
}

bool cost_round_single(struct cost *cost, const struct cost_elements *element,
                       unsigned int nr)
{
    uint64_t start;
    long rc = 0;

    if ( cost->error || cost->status )
        return false;

    start = read_ticks();
    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = hypercall_grant_table_op(element->cmd, element->first, 1);
    start = read_ticks() - start;

    if ( !cost_record(cost, nr, nr, start, rc) )
        return false;

    cost->status = first_bad_status(element);

    return !cost->status;
}

/* Sorted copies are small: the simplest way will do. */
static void sort(uint64_t *values, unsigned int nr)
{
    for ( unsigned int i = 1; i < nr; i++ )
        for ( unsigned int j = i; j && values[j] < values[j - 1]; j-- )
        {
            uint64_t value = values[j];

            values[j] = values[j - 1];
            values[j - 1] = value;
        }
}

void cost_end(const struct cost *cost)
{
    struct cost sorted = *cost;

    printk("GNTTAB op=%s what=%s batch=%u place=%u ", cost->op, cost->what,
           cost->batch, cost->place);

    if ( cost->error )
        printk("error=%ld\n", cost->error);
    else if ( cost->status )
        printk("status=%d\n", cost->status);
    else if ( !cost->rounds )
        printk("unmeasured=1\n");
    else
    {
        sort(sorted.ticks, sorted.rounds);
        printk("calls=%u elements=%u rounds=%u ticks=%"PRIu64" min=%"PRIu64
               " max=%"PRIu64"\n", cost->calls, cost->elements, sorted.rounds,
               sorted.ticks[sorted.rounds / 2], sorted.ticks[0],
               sorted.ticks[sorted.rounds - 1]);
    }
}

void cost_baseline(unsigned int rounds)
{
    struct cost null = cost_begin("null", "xen_version", 1, 0);
    struct cost clock = cost_begin("clock", "two_readings", 1, 0);

    for ( unsigned int round = 0; round < rounds; round++ )
    {
        uint64_t start = read_ticks();

        start = read_ticks() - start;
        cost_record(&clock, 1, 1, start, 0);

        /* As cost_round() but for the hypercall, which answers no 0. */
        start = read_ticks();
        for ( long i = 0, rc = 1; rc && i < COST_ELEMENTS; i++ )
            rc = hypercall_xen_version(XENVER_version, NULL);
        start = read_ticks() - start;
        cost_record(&null, COST_ELEMENTS, COST_ELEMENTS, start, 0);
    }

    cost_end(&clock);
    cost_end(&null);
}
