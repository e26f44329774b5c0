/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The holder's side of grants, in every environment: addresses to map at,
 * and what the CPU makes of a mapping.
 *
 * The address of a mapping is a guest frame with nothing in it (HVM), or a
 * virtual address whose page table entry the mapping replaces (PV).
 */
#ifndef LAB_MAPPING_H
#define LAB_MAPPING_H

#include <lab/granter.h>

#define HANDLE_NONE         0xffffffffu

/* Make the @nr page addresses from @va on ready to map something at. */
bool windows_free(void *va, unsigned int nr);

#ifdef CONFIG_HVM
/*
 * The @nth of many guest frames where the lab's machines have neither memory
 * nor devices, for mappings that the CPU does not look at.
 */
static inline uint64_t empty_gaddr(unsigned int nth)
{
    return 0x50000000u + (uint64_t)nth * PAGE_SIZE;
}
#endif

/* gnttab_map() of the granter's reference @ref at @va. */
int map_at(const void *va, grant_ref_t ref, unsigned int flags,
           struct gnttab_map_grant_ref *map);

/*
 * One byte read or written by the CPU.  False if that raised an exception,
 * whose vector is then in cpu_fault.
 */
bool cpu_reads(const void *va, uint8_t *value);
bool cpu_writes(void *va, uint8_t value);
extern volatile unsigned int cpu_fault;

#define VECTOR_GP           13
#define VECTOR_PF           14

/* Pages that Xen counts as this domain's. */
long owned_pages(void);

#endif /* LAB_MAPPING_H */
