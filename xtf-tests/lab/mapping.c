/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/mapping.h>

#define CURRENT_RESERVATION     3       /* XENMEM_current_reservation. */

#ifdef CONFIG_PV

bool windows_free(void *va, unsigned int nr)
{
    for ( unsigned int i = 0; i < nr; i++ )
        if ( hypercall_update_va_mapping(_u(va) + i * PAGE_SIZE, 0,
                                         UVMF_INVLPG) )
        {
            xtf_error("Cannot free addresses for mappings\n");
            return false;
        }

    return true;
}

#else

bool windows_free(void *va, unsigned int nr)
{
    if ( !make_holes(va, nr) )
        return true;

    xtf_error("Cannot free guest frames for mappings\n");
    return false;
}

#endif

int map_at(const void *va, grant_ref_t ref, unsigned int flags,
           struct gnttab_map_grant_ref *map)
{
    return gnttab_map(granter_domid(), ref, _u(va), flags, map);
}

volatile unsigned int cpu_fault;

/* Where to go on after an exception of the access under way; 0: none is. */
static volatile unsigned long recover_at;

bool do_unhandled_exception(struct cpu_regs *regs)
{
    if ( !recover_at || (regs->entry_vector != VECTOR_PF &&
                         regs->entry_vector != VECTOR_GP) )
        return false;

    cpu_fault = regs->entry_vector;
    regs->ip = recover_at;
    recover_at = 0;

    return true;
}

bool cpu_reads(const void *va, uint8_t *value)
{
    unsigned long label, byte = 0;

    cpu_fault = 0;
    __asm__ __volatile__ (
        "mov $1f, %k[label]\n\t"
        "mov %[label], %[recover_at]\n\t"
        "movzbl (%[va]), %k[byte]\n"
        "1:"
        : [label] "=&r" (label), [byte] "+&r" (byte),
          [recover_at] "=m" (recover_at)
        : [va] "r" (va) : "memory");
    recover_at = 0;
    *value = byte;

    return !cpu_fault;
}

bool cpu_writes(void *va, uint8_t value)
{
    unsigned long label;

    cpu_fault = 0;
    __asm__ __volatile__ (
        "mov $1f, %k[label]\n\t"
        "mov %[label], %[recover_at]\n\t"
        "movb %b[byte], (%[va])\n"
        "1:"
        : [label] "=&r" (label), [recover_at] "=m" (recover_at)
        : [va] "r" (va), [byte] "q" (value) : "memory");
    recover_at = 0;

    return !cpu_fault;
}

long owned_pages(void)
{
    domid_t domid = DOMID_SELF;

    return hypercall_memory_op(CURRENT_RESERVATION, &domid);
}
