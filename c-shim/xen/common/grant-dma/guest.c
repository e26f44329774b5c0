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

/*
 * The same for a few bytes, which a PV guest's memory needs no loop for. Nonzero:
 * not all of them were accessible. What other guests need is out of line: it
 * would take registers and stack from these.
 */
static noinline unsigned int write_word(void *to, uint64_t value,
                                        unsigned int len)
{
#if defined(CONFIG_X86) && defined(CONFIG_HVM)
    return copy_to_user_hvm(to, &value, len);
#else
    return raw_copy_to_guest(to, &value, len);
#endif
}

unsigned int gdma_guest_read8(void *to, const void *from)
{
#ifdef CONFIG_PV
    if ( !is_hvm_vcpu(current) )
    {
        if ( unlikely(!access_ok(from, 8)) )
            return 8;

        return __get_guest(*(uint64_t *)to, (const uint64_t *)from);
    }
#endif

    return gdma_guest_read(to, from, 8);
}

unsigned int gdma_guest_read16(void *to, const void *from)
{
#ifdef CONFIG_PV
    if ( !is_hvm_vcpu(current) )
    {
        uint64_t *into = to;
        const uint64_t *words = from;

        if ( unlikely(!access_ok(from, 16)) )
            return 16;

        return __get_guest(into[0], words) | __get_guest(into[1], words + 1);
    }
#endif

    return gdma_guest_read(to, from, 16);
}

unsigned int gdma_guest_write2(void *to, uint16_t value)
{
#ifdef CONFIG_PV
    if ( !is_hvm_vcpu(current) )
    {
        if ( unlikely(!access_ok(to, 2)) )
            return 2;

        return __put_guest(value, (uint16_t *)to);
    }
#endif

    return write_word(to, value, 2);
}

unsigned int gdma_guest_write4(void *to, uint32_t value)
{
#ifdef CONFIG_PV
    if ( !is_hvm_vcpu(current) )
    {
        if ( unlikely(!access_ok(to, 4)) )
            return 4;

        return __put_guest(value, (uint32_t *)to);
    }
#endif

    return write_word(to, value, 4);
}

unsigned int gdma_guest_write8(void *to, uint64_t value)
{
#ifdef CONFIG_PV
    if ( !is_hvm_vcpu(current) )
    {
        if ( unlikely(!access_ok(to, 8)) )
            return 8;

        return __put_guest(value, (uint64_t *)to);
    }
#endif

    return write_word(to, value, 8);
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
