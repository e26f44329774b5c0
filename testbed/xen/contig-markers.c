/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Markers of contiguity in a page table (Xen's asm/pt-contig-markers.h, and what
 * patch 0008 adds to it), on the host: runs of entries are written and cleared in
 * one table by the functions for runs, in another one entry by entry by Xen's own
 * function. After each step both tables must be the same, and their markers what
 * the scheme in that header says, counted from scratch.
 *
 * Compiled with CONTIG_MASK as an IOMMU driver has it: scripts/check-contig-markers.sh.
 */

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* What the header expects of Xen. */
#define ASSERT(x) assert(x)
#define ACCESS_ONCE(x) (*(volatile typeof(x) *)&(x))
#define MASK_EXTR(v, m) (((v) & (m)) / ((m) & -(m)))
#define MASK_INSR(v, m) (((v) * ((m) & -(m))) & (m))
#define PAGE_SHIFT 12
#define CONFIG_GRANT_TABLE_RUST 1
/* The header forgets it. */
static const uint64_t marker_mask = CONTIG_MASK;
#include "asm/pt-contig-markers.h"

#define ENTRIES CONTIG_NR
#define STEPS 200000

/* Bits that are neither markers in any driver nor address. */
#define PRESENT 1ULL
#define ACCESS(n) ((uint64_t)(n) << 61)

static uint64_t state = 0x9e3779b97f4a7c15;

static unsigned int below(unsigned int limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 33) % limit;
}

static unsigned int largest_order(unsigned int i)
{
    return i ? (unsigned int)ffs(i) - 1 : CONTIG_LEVEL_SHIFT;
}

/* Whether the entries of the block at i are all clear, or would be one superpage. */
static bool is_block(const uint64_t *table, unsigned int i, unsigned int order)
{
    uint64_t first = table[i] & ~marker_mask;
    unsigned int j;

    if ( first && ((first >> PAGE_SHIFT) & (ENTRIES - 1)) != i )
        return order == 0;

    for ( j = 0; j < 1U << order; j++ )
        if ( (table[i + j] & ~marker_mask) !=
             (first ? first + ((uint64_t)j << PAGE_SHIFT) : 0) )
            return false;

    return true;
}

/* The same, counted from what the table holds and from nothing else. */
static unsigned int expected_marker(const uint64_t *table, unsigned int i)
{
    unsigned int order = largest_order(i);

    while ( order && !is_block(table, i, order) )
        order--;

    return order;
}

/* Frames of a run: in step with the entries, out of step, or anywhere. */
static void choose_frames(uint64_t *entries, unsigned int idx, unsigned int nr)
{
    uint64_t access = ACCESS(below(8) == 0), frame = idx;
    unsigned int i, kind = below(4);

    for ( i = 0; i < nr; i++ )
    {
        if ( kind == 1 || (kind == 2 && !below(8)) )
            frame = below(4 * ENTRIES);
        if ( kind == 3 && !below(16) )
            access = ACCESS(below(4));
        entries[i] = PRESENT | access | (frame++ << PAGE_SHIFT);
    }
}

static void map_run(uint64_t *runs, uint64_t *single, unsigned int idx,
                    unsigned int nr)
{
    uint64_t entries[ENTRIES];
    unsigned int i;

    choose_frames(entries, idx, nr);

    for ( i = 0; i < nr && !(runs[idx + i] & PRESENT); i++ )
    {
        runs[idx + i] = entries[i];
        pt_contig_leaf_in_run(runs, idx + i, !i);
    }

    for ( i = 0; i < nr && !(single[idx + i] & PRESENT); i++ )
    {
        single[idx + i] = entries[i];
        pt_update_contig_markers(single, idx + i, 1, PTE_kind_leaf);
    }
}

static void clear_run(uint64_t *runs, uint64_t *single, unsigned int idx,
                      unsigned int nr)
{
    unsigned int i;

    pt_contig_clear_run(runs, idx, nr);

    for ( i = idx; i < idx + nr; i++ )
    {
        if ( !(single[i] & PRESENT) )
            continue;
        single[i] = 0;
        pt_update_contig_markers(single, i, 1, PTE_kind_null);
    }
}

static void compare(const uint64_t *runs, const uint64_t *single,
                    unsigned int step)
{
    unsigned int i;

    for ( i = 0; i < ENTRIES; i++ )
    {
        unsigned int expected = expected_marker(single, i);

        if ( runs[i] == single[i] &&
             MASK_EXTR(runs[i], marker_mask) == expected )
            continue;
        printf("step %u, entry %u: %#llx by runs, %#llx one by one, marker %u expected\n",
               step, i, (unsigned long long)runs[i],
               (unsigned long long)single[i], expected);
        exit(1);
    }
}

int main(void)
{
    static uint64_t runs[ENTRIES], single[ENTRIES];
    unsigned int i, step, whole = 0;

    for ( i = 0; i < ENTRIES; i++ )
        runs[i] = single[i] = MASK_INSR((uint64_t)largest_order(i), marker_mask);

    for ( step = 0; step < STEPS; step++ )
    {
        /* Short runs beside each other, and now and then long ones. */
        unsigned int longest = below(4) ? 20 : ENTRIES;
        unsigned int idx = below(8) ? below(ENTRIES) : 0;
        unsigned int nr = 1 + below(longest);

        if ( nr > ENTRIES - idx )
            nr = ENTRIES - idx;
        if ( below(16) == 0 )
            clear_run(runs, single, 0, ENTRIES);
        else if ( below(16) == 0 )
            map_run(runs, single, 0, ENTRIES);
        else if ( below(2) )
            clear_run(runs, single, idx, nr);
        else
            map_run(runs, single, idx, nr);
        compare(runs, single, step);
        whole += (runs[0] & PRESENT) && MASK_EXTR(runs[0], marker_mask) == 9;
    }

    /* Or the largest blocks were never seen. */
    if ( !whole )
    {
        printf("no table was ever full of one superpage\n");
        return 1;
    }

    printf("%u steps, the table %u times one superpage\n", STEPS, whole);
    return 0;
}
