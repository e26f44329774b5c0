/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/guest.c: memory of the calling guest, and preemption.
 */
#include <xen/domain_page.h>
#include <xen/err.h>
#include <xen/event.h>
#include <xen/guest_access.h>
#include <xen/mm.h>
#include <xen/sched.h>
#include <xen/softirq.h>

#ifdef CONFIG_X86
#include <asm/hvm/support.h>
#include <asm/p2m.h>
#include <asm/paging.h>
#endif

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

#if defined(CONFIG_X86) && defined(CONFIG_HVM)
/*
 * Keeps a page of the calling guest's, so that results can be written to it, and
 * more of an array be read from it, without another walk through the guest's page
 * tables. Returns where it is mapped. NULL: the ordinary way is to be taken.
 * Ordinary memory of the guest's own alone: what is granted to it could be taken
 * back before the results are written, and writes to other kinds of memory have
 * effects. (A page that the call transfers cannot be in use, but steal_page() takes
 * none from guests of this kind.)
 */
static void *keep_page(unsigned long at)
{
    struct vcpu *curr = current;
    struct page_info *page;
    p2m_type_t type;
    gfn_t gfn;

    if ( unlikely(curr->arch.vm_event) )
        return NULL;

    if ( hvm_translate_get_page(curr, at, true,
                                PFEC_page_present | PFEC_write_access, NULL,
                                &page, &gfn, &type) != HVMTRANS_okay )
        return NULL;

    if ( unlikely(type != p2m_ram_rw) ||
         unlikely(page_get_owner(page) != curr->domain) )
    {
        put_page(page);
        return NULL;
    }

    return __map_domain_page(page);
}

static noinline void *read_hvm(void *to, const void *from, bool keep,
                               unsigned int len)
{
    unsigned int offset = (unsigned long)from & ~PAGE_MASK;
    void *page = NULL;

    if ( keep && len <= PAGE_SIZE - offset )
        page = keep_page((unsigned long)from);

    if ( page )
    {
        memcpy(to, page + offset, len);
        return page + offset;
    }

    return copy_from_user_hvm(to, from, len) ? ERR_PTR(-EFAULT) : NULL;
}

/*
 * Has the pages kept in which these bytes are, and not those that an array has
 * behind it by now. False: none are kept.
 */
static bool keep_pages(struct gdma_array *array, unsigned long at,
                       unsigned int len)
{
    unsigned long first = at & PAGE_MASK, last = (at + len - 1) & PAGE_MASK;

    if ( !array->page[0] || first != array->at )
    {
        if ( array->page[1] && first == array->at + PAGE_SIZE )
        {
            gdma_kept_release(array->page[0]);
            array->page[0] = array->page[1];
            array->page[1] = NULL;
        }
        else
        {
            gdma_array_release(array);
            array->page[0] = keep_page(first);
        }

        array->at = first;
    }

    if ( array->page[0] && last == first )
        return true;

    if ( array->page[0] && last == first + PAGE_SIZE && !array->page[1] )
        array->page[1] = keep_page(last);

    if ( array->page[0] && last == first + PAGE_SIZE && array->page[1] )
        return true;

    gdma_array_release(array);

    return false;
}

static noinline int read_hvm_array(struct gdma_array *array, void *to,
                                   unsigned long from, unsigned int len)
{
    unsigned int offset = from & ~PAGE_MASK;
    unsigned int in_first = min_t(unsigned int, len, PAGE_SIZE - offset);

    if ( !keep_pages(array, from, len) )
        return copy_from_user_hvm(to, (void *)from, len) ? -EFAULT : 0;

    memcpy(to, array->page[0] + offset, in_first);
    if ( in_first < len )
        memcpy(to + in_first, array->page[1], len - in_first);

    return 0;
}
#endif

/*
 * Copies a part of an array in, after a check of the guest's addresses. Nonzero: not
 * all of it was accessible.
 */
int gdma_array_read(struct gdma_array *array, void *to, const void *from,
                    unsigned int len)
{
#if defined(CONFIG_X86) && defined(CONFIG_HVM)
    if ( is_hvm_vcpu(current) )
        return read_hvm_array(array, to, (unsigned long)from, len);
#endif

    return IS_ERR(gdma_guest_read(to, from, false, len)) ? -EFAULT : 0;
}

/* To where a part of an array was read from, when its pages are kept. */
void gdma_array_write(const struct gdma_array *array, const void *to,
                      const void *from, unsigned int len)
{
    unsigned long offset = (unsigned long)to - array->at;

    while ( len )
    {
        unsigned int in_page = offset & ~PAGE_MASK;
        unsigned int now = min_t(unsigned int, len, PAGE_SIZE - in_page);

        gdma_kept_write(array->page[offset >> PAGE_SHIFT] + in_page, from, now);
        from += now;
        offset += now;
        len -= now;
    }
}

void gdma_array_release(struct gdma_array *array)
{
    unsigned int i;

    for ( i = 0; i < ARRAY_SIZE(array->page); i++ )
    {
        if ( array->page[i] )
            gdma_kept_release(array->page[i]);
        array->page[i] = NULL;
    }
}

/* To a page that is kept. */
void gdma_kept_write(void *to, const void *from, unsigned int len)
{
    memcpy(to, from, len);
#ifdef CONFIG_X86
    paging_mark_dirty(current->domain, domain_page_map_to_mfn(to));
#endif
}

void gdma_kept_release(const void *kept)
{
    mfn_t mfn = domain_page_map_to_mfn(kept);

    unmap_domain_page(kept);
    put_page(mfn_to_page(mfn));
}

/* Copies in, after a check of the guest's addresses. */
void *gdma_guest_read(void *to, const void *from, bool keep, unsigned int len)
{
#ifdef CONFIG_X86
#ifdef CONFIG_HVM
    if ( is_hvm_vcpu(current) )
        return read_hvm(to, from, keep, len);
#endif

    if ( unlikely(!access_ok(from, len)) ||
         unlikely(__copy_from_guest_pv(to, from, len)) )
        return ERR_PTR(-EFAULT);
#else
    if ( unlikely(raw_copy_from_guest(to, from, len)) )
        return ERR_PTR(-EFAULT);
#endif

    return NULL;
}

/*
 * The same for one word or two. PV guests' memory needs no loop for them, which
 * would cost as much as many operations do.
 */
static always_inline void *read_words(void *to, const void *from, bool keep,
                                      unsigned int words)
{
#ifdef CONFIG_PV
    if ( !is_hvm_vcpu(current) )
    {
        uint64_t *into = to;
        const uint64_t *at = from;
        long rc;

        if ( unlikely(!access_ok(from, words * 8)) )
            return ERR_PTR(-EFAULT);

        rc = __get_guest(into[0], at);
        if ( words > 1 )
            rc |= __get_guest(into[1], at + 1);

        return ERR_PTR(rc);
    }
#endif

    return gdma_guest_read(to, from, keep, words * 8);
}

void *gdma_guest_read8(void *to, const void *from, bool keep)
{
    return read_words(to, from, keep, 1);
}

void *gdma_guest_read16(void *to, const void *from, bool keep)
{
    return read_words(to, from, keep, 2);
}

/* Checks the guest's addresses, and returns how many bytes are left over. */
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
