/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/guest.c: memory of the calling guest, and preemption.
 */
#include <xen/event.h>
#include <xen/guest_access.h>
#include <xen/sched.h>
#include <xen/softirq.h>

#include "gdma.h"

/* The calling guest's registers have 64 bits. */
bool gdma_wide_registers(void)
{
#ifdef CONFIG_COMPAT
    return !current->hcall_compat;
#elif defined(CONFIG_ARM_64)
    return is_64bit_domain(current->domain);
#else
    return true;
#endif
}

bool gdma_guest_range_okay(const void *p, uint64_t bytes)
{
    return guest_handle_okay(guest_handle_from_ptr(p, void), bytes);
}

/* Both check the guest's addresses, and return how many bytes are left over. */
unsigned int gdma_guest_read(void *to, const void *from, unsigned int len)
{
    return raw_copy_from_guest(to, from, len);
}

unsigned int gdma_guest_write(void *to, const void *from, unsigned int len)
{
    return raw_copy_to_guest(to, from, len);
}

bool gdma_preempt_check(void)
{
    return hypercall_preempt_check();
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
