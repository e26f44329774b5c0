/* SPDX-License-Identifier: GPL-2.0-only */
/* Bringing a guest to the point where a test can run, and ending it. */
#include <xtf/console.h>
#include <xtf/framework.h>
#include <xtf/hypercall.h>
#include <xtf/lib.h>
#include <xtf/libc.h>
#include <xtf/traps.h>

#include <arch/lib.h>
#include <arch/mm.h>

/* QEMU's isa-debug-exit device: a byte written there ends the emulation. */
#define PORT_DEBUG_EXIT     0xf4

/* Xen prints what an HVM guest writes here, line by line. */
#define PORT_DEBUG_CONSOLE  0xe9

/* Hypervisor CPUID leaves, relative to where Xen's start. */
#define XEN_LEAF_HYPERCALL  2
#define XEN_LEAF_HVM        4
#define XEN_HVM_DOMID_VALID (1U << 4)

xen_pv_start_info_t *pv_start_info;
xen_pvh_start_info_t *pvh_start_info;

shared_info_t shared_info __page_aligned_bss;

#ifdef CONFIG_PV
#define GUEST_TYPE "PV"
#else
#define GUEST_TYPE "PVH"
#endif

#ifdef CONFIG_64BIT
#define GUEST_WIDTH "64bit"
#elif defined(CONFIG_PV)
#define GUEST_WIDTH "32bit PAE"
#else
#define GUEST_WIDTH "32bit without paging"
#endif

const char environment_description[] = GUEST_TYPE " " GUEST_WIDTH;

bool arch_is_initdomain(void)
{
#ifdef CONFIG_PV
    return pv_start_info->flags & SIF_INITDOMAIN;
#else
    return pvh_start_info->flags & SIF_INITDOMAIN;
#endif
}

static void write_console_io(const char *buf, size_t len)
{
    hypercall_console_write(buf, len);
}

#ifdef CONFIG_PV

static void init_hypercalls(void)
{
    /* Xen's builder has done it. */
}

static void map_shared_info(void)
{
    long rc = hypercall_update_va_mapping(
        _u(&shared_info),
        pv_start_info->shared_info | _PAGE_PRESENT | _PAGE_RW, UVMF_INVLPG);

    if ( rc )
        panic("Cannot map the shared info page: %ld\n", rc);
}

static void allow_port_access(void)
{
    struct physdev_set_iopl set = { .iopl = 1 };

    (void)hypercall_physdev_op(PHYSDEVOP_set_iopl, &set);
}

static void init_console(void)
{
    register_console_callback(write_console_io);
}

int arch_get_domid(void)
{
    return -1;
}

#else /* CONFIG_HVM */

/* Leaf of Xen's block of CPUID leaves; another interface may come first. */
static uint32_t xen_leaf(uint32_t index)
{
    static const char signature[] = "XenVMMXenVMM";
    uint32_t max, id[3];

    for ( uint32_t base = 0x40000000; base < 0x40010000; base += 0x100 )
    {
        cpuid(base, &max, &id[0], &id[1], &id[2]);
        if ( !memcmp(id, signature, sizeof(id)) && max >= base + index )
            return base + index;
    }

    return 0;
}

static void init_hypercalls(void)
{
    uint32_t leaf = xen_leaf(XEN_LEAF_HYPERCALL);
    uint32_t pages, msr, ecx, edx;

    /* Without hypercalls there is no way to complain either. */
    if ( !leaf )
        arch_exit(MACHINE_EXIT_ERROR);

    cpuid(leaf, &pages, &msr, &ecx, &edx);
    wrmsr(msr, _u(hypercall_page));
}

static void map_shared_info(void)
{
    struct xen_add_to_physmap add = {
        .domid = DOMID_SELF,
        .space = XENMAPSPACE_shared_info,
        .gfn = virt_to_gfn(&shared_info),
    };
    long rc = hypercall_memory_op(XENMEM_add_to_physmap, &add);

    if ( rc )
        panic("Cannot map the shared info page: %ld\n", rc);
}

static void allow_port_access(void)
{
}

static void write_debug_port(const char *buf, size_t len)
{
    while ( len-- )
        outb(*buf++, PORT_DEBUG_CONSOLE);
}

static void init_console(void)
{
    register_console_callback(arch_is_initdomain() ? write_console_io
                                                   : write_debug_port);
}

int arch_get_domid(void)
{
    uint32_t leaf = xen_leaf(XEN_LEAF_HVM);
    uint32_t eax, ebx, ecx, edx;

    if ( !leaf )
        return -1;

    cpuid(leaf, &eax, &ebx, &ecx, &edx);

    return eax & XEN_HVM_DOMID_VALID ? (int)ecx : -1;
}

#endif

/* The ring that a toolstack's console daemon reads, if there is one. */
void init_pv_console(void);

void arch_setup(void)
{
    init_hypercalls();
    allow_port_access();
    init_console();
    arch_init_traps();
    map_shared_info();

    if ( !arch_is_initdomain() )
        init_pv_console();
}

/*
 * Xen queues console text and sends it as the UART takes it: give it the
 * time to empty the queue, or the last lines of the log are lost.
 */
static void drain_console(void)
{
    for ( unsigned int i = 0; i < 2000; i++ )
        hypercall_yield();
}

void arch_exit(enum machine_exit code)
{
    if ( arch_is_initdomain() )
    {
        drain_console();
        outb(code, PORT_DEBUG_EXIT);
    }

    (void)hypercall_shutdown(SHUTDOWN_poweroff);

    for ( ; ; )
        hypercall_yield();
}
