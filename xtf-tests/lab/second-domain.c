/* SPDX-License-Identifier: GPL-2.0-only */
/* The builder of a domain that runs. */
#include <lab/domctl.h>
#include <lab/second-domain.h>

#ifndef SCHEDOP_block
#define SCHEDOP_block           1
#endif

#define XENMEM_REMOVE_FROM      15
#define XENMEM_ADD_BATCH        23

/* 2 MiB. */
#define LARGE_ORDER             9

/* Frames handed to Xen, or shown in the copy window, at a time. */
#define CHUNK                   16

struct add_to_physmap_batch {
    domid_t domid;
    uint16_t space;
    uint16_t size;
    domid_t foreign_domid;
    const unsigned long *idxs;
    const unsigned long *gfns;
    int *errs;
};

struct remove_from_physmap {
    domid_t domid;
    unsigned long gfn;
};

/* One record of a saved HVM domain: this header, then its contents. */
struct record {
    uint16_t type;
    uint16_t instance;
    uint32_t length;
};

#define RECORD_END              0
#define RECORD_HEADER           1
#define RECORD_CPU              2

struct saved_header {
    uint32_t magic;
    uint32_t version;
    uint64_t changeset;
    uint32_t cpuid;
    uint32_t tsc_khz;
};

#define SAVED_MAGIC             0x54381286
#define SAVED_VERSION           1

/* Segment registers come as arrays: cs, ds, es, fs, gs, ss, tr, ldtr. */
enum { CS, DS, ES, FS, GS, SS, TR, LDTR, NR_SEGMENTS };

struct saved_cpu {
    uint8_t fpu[512];
    uint64_t rax, rbx, rcx, rdx, rbp, rsi, rdi, rsp;
    uint64_t r8_to_r15[8];
    uint64_t rip, rflags;
    uint64_t cr0, cr2, cr3, cr4;
    uint64_t dr0, dr1, dr2, dr3, dr6, dr7;
    uint32_t selector[NR_SEGMENTS];
    uint32_t limit[NR_SEGMENTS];
    uint32_t idt_limit, gdt_limit;
    uint64_t segment_start[NR_SEGMENTS];
    uint64_t idt_start, gdt_start;
    uint32_t attributes[NR_SEGMENTS];
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t shadow_gs;
    uint64_t msr_flags, lstar, star, cstar, syscall_mask, efer, tsc_aux;
    uint64_t tsc;
    uint32_t pending_event, error_code;
    uint32_t flags, pad;
};

struct saved_domain {
    struct record header_record;
    struct saved_header header;
    struct record cpu_record;
    struct saved_cpu cpu;
    struct record end_record;
} __packed;

/* Frames of this domain given up to look at the clone's memory. */
static uint8_t copy_window[CHUNK * PAGE_SIZE] __page_aligned_bss;

/* The clone's stack: nothing of this guest ever runs on it. */
static uint8_t clone_stack[4 * PAGE_SIZE] __page_aligned_bss;

/*
 * Xen takes calls of its own interface version only and answers -EACCES to
 * all others.
 */
static uint32_t interface_version(void)
{
    static uint32_t version;

    for ( uint32_t v = 0x10; !version && v < 0x30; v++ )
    {
        struct domctl op = {
            .cmd = DOMCTL_GET_INFO, .interface_version = v,
        };

        if ( HYPERCALL1(long, __HYPERVISOR_domctl, &op) != -EACCES )
            version = v;
    }

    return version;
}

static long domctl(struct domctl *op, unsigned int cmd, domid_t domid)
{
    long rc;

    op->cmd = cmd;
    op->interface_version = interface_version();
    op->domid = domid;
    rc = HYPERCALL1(long, __HYPERVISOR_domctl, op);

    if ( rc )
        printk("Second domain: control operation %u failed: %ld\n", cmd, rc);

    return rc;
}

static unsigned int more_flags;
static unsigned long more_pages;

void second_domain_behind_iommu(void)
{
    more_flags |= CREATE_IOMMU;
}

void second_domain_more_memory(unsigned long pages)
{
    more_pages += pages;
}

int second_domain_assign(const struct second_domain *dom, uint32_t sbdf)
{
    struct domctl op = { .assign_device = { .sbdf = sbdf } };

    return domctl(&op, DOMCTL_ASSIGN_DEVICE, dom->domid);
}

static long create(struct second_domain *dom, unsigned int max_grant_version)
{
    struct domctl op = {
        .create = {
            .ssidref = CREATE_SSIDREF,
            .flags = CREATE_HVM | CREATE_HAP | more_flags,
            .max_vcpus = 1,
            .max_evtchn_port = 1023,
            .max_grant_frames = -1,
            .max_maptrack_frames = -1,
            .grant_version = max_grant_version,
            .emulation_flags = EMULATE_LAPIC,
        },
    };
    /* Domain id 0 asks for a free one. */
    long rc = domctl(&op, DOMCTL_CREATE, 0);

    dom->domid = op.domid;

    return rc;
}

static long set_resources(const struct second_domain *dom, unsigned long pages)
{
    struct domctl op = { .max_vcpus = 1 };
    long rc = domctl(&op, DOMCTL_MAX_VCPUS, dom->domid);

    if ( rc )
        return rc;

    op = (struct domctl){ .paging_pool_bytes = PAGING_POOL_BYTES };
    rc = domctl(&op, DOMCTL_SET_PAGING_POOL, dom->domid);
    if ( rc )
        return rc;

    /* Some more than the image: Xen places frames of its own. */
    op = (struct domctl){
        .max_mem_kb = (pages + more_pages + 64) * (PAGE_SIZE / 1024),
    };

    return domctl(&op, DOMCTL_MAX_MEM, dom->domid);
}

/* Give the domain empty frames at @gfn to @gfn + @nr - 1. */
static long populate(const struct second_domain *dom, unsigned long gfn,
                     unsigned int nr)
{
    unsigned long gfns[CHUNK];
    struct xen_memory_reservation reservation = {
        .extent_start = gfns,
        .nr_extents = nr,
        .domid = dom->domid,
    };
    long done;

    for ( unsigned int i = 0; i < nr; i++ )
        gfns[i] = gfn + i;

    done = hypercall_memory_op(XENMEM_populate_physmap, &reservation);
    if ( done == nr )
        return 0;

    printk("Second domain: %ld of %u frames at %#lx\n", done, nr, gfn);
    return done < 0 ? done : -ENOMEM;
}

int second_domain_populate(const struct second_domain *dom, unsigned long gfn,
                           unsigned long pages)
{
    const unsigned long large = 1UL << LARGE_ORDER;
    struct xen_memory_reservation reservation = {
        .extent_start = &gfn,
        .nr_extents = 1,
        .extent_order = pages == large ? LARGE_ORDER : 0,
        .domid = dom->domid,
    };
    unsigned long step = 1UL << reservation.extent_order;

    for ( unsigned long end = gfn + pages; gfn < end; gfn += step )
    {
        long done = hypercall_memory_op(XENMEM_populate_physmap, &reservation);

        if ( done != 1 )
            return done < 0 ? done : -ENOMEM;
    }

    return 0;
}

/* Map up to CHUNK frames of the domain at @window. */
static long map_chunk(const struct second_domain *dom, unsigned long gfn,
                      void *window, unsigned int nr)
{
    unsigned long idxs[CHUNK], gfns[CHUNK];
    int errs[CHUNK] = { 0 };
    struct add_to_physmap_batch batch = {
        .domid = DOMID_SELF,
        .space = XENMAPSPACE_gmfn_foreign,
        .size = nr,
        .foreign_domid = dom->domid,
        .idxs = idxs,
        .gfns = gfns,
        .errs = errs,
    };
    long rc;

    for ( unsigned int i = 0; i < nr; i++ )
    {
        idxs[i] = gfn + i;
        gfns[i] = virt_to_gfn(window) + i;
    }

    rc = hypercall_memory_op(XENMEM_ADD_BATCH, &batch);
    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = errs[i];

    if ( rc )
        printk("Second domain: mapping %u frames at %#lx failed: %ld\n", nr,
               gfn, rc);

    return rc;
}

int second_domain_map_frames(const struct second_domain *dom, unsigned long gfn,
                             void *window, unsigned int nr)
{
    long rc = 0;

    for ( unsigned int i = 0; !rc && i < nr; i += CHUNK )
        rc = map_chunk(dom, gfn + i, (uint8_t *)window + i * PAGE_SIZE,
                       min(nr - i, (unsigned int)CHUNK));

    return rc;
}

int second_domain_map(const struct second_domain *dom, const void *va,
                      void *window, unsigned int nr)
{
    return second_domain_map_frames(dom, virt_to_gfn(va), window, nr);
}

static long remove_frame(domid_t domid, unsigned long gfn)
{
    struct remove_from_physmap remove = { .domid = domid, .gfn = gfn };

    return hypercall_memory_op(XENMEM_REMOVE_FROM, &remove);
}

int second_domain_remove(const struct second_domain *dom, unsigned long gfn)
{
    return remove_frame(dom->domid, gfn);
}

int second_domain_unmap(void *window, unsigned int nr)
{
    long rc = 0;

    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = remove_frame(DOMID_SELF, virt_to_gfn(window) + i);

    return rc;
}

static bool in_copy_window(const void *va)
{
    return (const uint8_t *)va >= copy_window &&
           (const uint8_t *)va < copy_window + sizeof(copy_window);
}

/* Fill the domain with a copy of this guest's image, chunk by chunk. */
static long copy_image(const struct second_domain *dom, unsigned long pages)
{
    uint8_t *source = (uint8_t *)_start;
    long rc = 0;

    for ( unsigned long done = 0; !rc && done < pages; done += CHUNK )
    {
        unsigned int nr = min(pages - done, (unsigned long)CHUNK);

        rc = populate(dom, virt_to_gfn(source) + done, nr);
        if ( !rc )
            rc = second_domain_map(dom, source + done * PAGE_SIZE,
                                   copy_window, nr);

        for ( unsigned int i = 0; !rc && i < nr; i++ )
            /* The window onto the clone is the one thing it does not get. */
            if ( !in_copy_window(source + (done + i) * PAGE_SIZE) )
                memcpy(copy_window + i * PAGE_SIZE,
                       source + (done + i) * PAGE_SIZE, PAGE_SIZE);

        if ( !rc )
            rc = second_domain_unmap(copy_window, nr);
    }

    return rc;
}

/* Flat 64-bit segments in the processor's packed form of their attributes. */
static void set_segments(struct saved_cpu *cpu)
{
    for ( unsigned int i = CS; i <= SS; i++ )
    {
        cpu->limit[i] = 0xffffffff;
        cpu->attributes[i] = 0xc93;     /* Data, writable, present. */
    }
    cpu->attributes[CS] = 0xa9b;        /* Code, 64-bit, present. */

    cpu->limit[TR] = 0x67;
    cpu->attributes[TR] = 0x8b;         /* A busy task segment. */
    cpu->attributes[LDTR] = 0x82;
}

static void set_registers(struct saved_cpu *cpu, void (*entry)(void))
{
    cpu->rip = _u(entry);
    /* As if called: the slot of a return address is on the stack. */
    cpu->rsp = _u(clone_stack) + sizeof(clone_stack) - 8;
    cpu->rflags = 2;

    cpu->cr0 = read_cr0();
    cpu->cr3 = read_cr3();
    cpu->cr4 = read_cr4();
    cpu->efer = 0x500;                  /* Long mode, enabled and active. */

    cpu->dr6 = 0xffff0ff0;
    cpu->dr7 = 0x400;
}

static long set_vcpu(const struct second_domain *dom, void (*entry)(void))
{
    static struct saved_domain saved;
    struct domctl op = {
        .hvm_context = { .size = sizeof(saved), .buffer = &saved },
    };
    uint32_t eax, ebx, ecx, edx;
    struct saved_cpu cpu = { .rax = 0 };

    cpuid(1, &eax, &ebx, &ecx, &edx);
    set_segments(&cpu);
    set_registers(&cpu, entry);

    saved = (struct saved_domain){
        .header_record = {
            .type = RECORD_HEADER, .length = sizeof(saved.header),
        },
        .header = {
            .magic = SAVED_MAGIC, .version = SAVED_VERSION, .cpuid = eax,
        },
        .cpu_record = { .type = RECORD_CPU, .length = sizeof(saved.cpu) },
        .end_record = { .type = RECORD_END },
    };
    saved.cpu = cpu;

    return domctl(&op, DOMCTL_SET_HVM_CONTEXT, dom->domid);
}

int second_domain_start(struct second_domain *dom, void (*entry)(void))
{
    return second_domain_start_with(dom, entry, 1);
}

int second_domain_start_with(struct second_domain *dom, void (*entry)(void),
                             unsigned int max_grant_version)
{
    unsigned long pages = ((_end - _start) + PAGE_SIZE - 1) >> PAGE_SHIFT;
    struct domctl op = { .cmd = 0 };
    long rc = create(dom, max_grant_version);

    if ( rc )
        return rc;

    rc = set_resources(dom, pages);
    if ( !rc )
        rc = copy_image(dom, pages);
    if ( !rc )
        rc = set_vcpu(dom, entry);
    if ( !rc )
        rc = domctl(&op, DOMCTL_UNPAUSE, dom->domid);
    if ( rc )
        second_domain_destroy(dom);

    return rc;
}

int second_domain_destroy(const struct second_domain *dom)
{
    struct domctl op = { .cmd = 0 };

    return domctl(&op, DOMCTL_DESTROY, dom->domid);
}

long second_domain_info(domid_t domid)
{
    struct domctl op = {
        .cmd = DOMCTL_GET_INFO,
        .interface_version = interface_version(),
        .domid = domid,
    };

    return HYPERCALL1(long, __HYPERVISOR_domctl, &op);
}

void second_domain_sleep(void)
{
    (void)hypercall_sched_op(SCHEDOP_block, NULL);
}
