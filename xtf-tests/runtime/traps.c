/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What happens on an exception nobody expected: it is printed and counts as
 * an error of the test, instead of a triple fault that says nothing.
 */
#include <xtf/console.h>
#include <xtf/framework.h>
#include <xtf/lib.h>
#include <xtf/report.h>
#include <xtf/traps.h>

#include <arch/lib.h>
#include <arch/mm.h>
#include <xtf/hypercall.h>

#define NR_EXCEPTIONS   32
#define STUB_SIZE       32
#define PAGE_FAULT      14

/* trap-entry.S: one stub of STUB_SIZE bytes for each exception. */
extern const uint8_t trap_entries[NR_EXCEPTIONS * STUB_SIZE];

void handle_exception(struct cpu_regs *regs);

bool __weak do_unhandled_exception(struct cpu_regs *regs)
{
    (void)regs;
    return false;
}

static unsigned long fault_address(void)
{
#ifdef CONFIG_PV
    return shared_info.vcpu_info[0].arch.cr2;
#else
    return read_cr2();
#endif
}

/* Where the stack was, the guest being all of one privilege. */
static unsigned long stack_pointer(const struct cpu_regs *regs)
{
#ifdef CONFIG_64BIT
    return regs->_sp;
#else
    /* Not stored: without a change of privilege the frame ends before it. */
    return _u(&regs->_sp);
#endif
}

void handle_exception(struct cpu_regs *regs)
{
    static bool nested;

    /* A fault while reporting one: there is nothing left to print with. */
    if ( nested )
        arch_exit(MACHINE_EXIT_ERROR);

    if ( do_unhandled_exception(regs) )
        return;

    nested = true;
    xtf_error("Unhandled exception: vector %u, error code %#x\n",
              regs->entry_vector, regs->error_code);
    printk("  ip %p sp %p flags %#lx", _p(regs->ip), _p(stack_pointer(regs)),
           regs->flags);
    if ( regs->entry_vector == PAGE_FAULT )
        printk(" cr2 %p", _p(fault_address()));
    printk("\n  ax %p cx %p dx %p bx %p\n", _p(regs->ax), _p(regs->cx),
           _p(regs->dx), _p(regs->bx));
    printk("  si %p di %p bp %p\n", _p(regs->si), _p(regs->di), _p(regs->bp));

    xtf_exit();
}

#ifdef CONFIG_PV

/* Xen's flat code segments for guests: ring 3, ring 1. */
#ifdef CONFIG_64BIT
#define GUEST_CS        0xe033
#else
#define GUEST_CS        0xe019
#endif

void arch_init_traps(void)
{
    /* An entry with address 0 ends the list. */
    static struct xen_trap_info traps[NR_EXCEPTIONS + 1];
    long rc;

    for ( unsigned int i = 0; i < NR_EXCEPTIONS; i++ )
        traps[i] = (struct xen_trap_info){
            .vector = i,
            .cs = GUEST_CS,
            .address = _u(&trap_entries[i * STUB_SIZE]),
        };

    rc = hypercall_set_trap_table(traps);
    if ( rc )
        panic("Cannot set the exception handlers: %ld\n", rc);
}

#else /* CONFIG_HVM */

#define KERNEL_CS       0x08

/* An interrupt gate: present, ring 0, type 14. */
struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
#ifdef CONFIG_64BIT
    uint32_t offset_high, unused;
#endif
};

void arch_init_traps(void)
{
    static struct gate idt[NR_EXCEPTIONS] __aligned(16);
    struct {
        uint16_t limit;
        unsigned long base;
    } __packed idtr = { sizeof(idt) - 1, _u(idt) };

    for ( unsigned int i = 0; i < NR_EXCEPTIONS; i++ )
    {
        unsigned long entry = _u(&trap_entries[i * STUB_SIZE]);

        idt[i] = (struct gate){
            .offset_low = entry,
            .selector = KERNEL_CS,
            .type = 0x8e,
            .offset_mid = entry >> 16,
#ifdef CONFIG_64BIT
            .offset_high = entry >> 32,
#endif
        };
    }

    __asm__ __volatile__ ("lidt %0" :: "m" (idtr));
}

#endif
