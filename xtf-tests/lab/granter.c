/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Building a domain that never runs, and its grant table as seen from here.
 */
#include <lab/clock.h>
#include <lab/domctl.h>
#include <lab/gnttab-wire.h>
#include <lab/granter.h>

#define XENMEM_ADD_BATCH        23
#define XENMEM_REMOVE_FROM      15
#define XENMEM_ACQUIRE_RESOURCE 28
#define RESOURCE_GRANT_TABLE    1

/* update_va_mapping_otherdomain. */
#define UPDATE_VA_OF_OTHER      22

static domid_t granter;
static bool is_self, destroyed;
static unsigned int version;
static unsigned long gfns[GRANTER_PAGES];

/* What is seen here: the pages, the table, and version 2's state of use. */
static uint8_t pages[GRANTER_PAGES][PAGE_SIZE] __page_aligned_bss;
static uint8_t table[PAGE_SIZE] __page_aligned_bss;
static uint8_t status_frame[PAGE_SIZE] __page_aligned_bss;

static volatile grant_entry_v1_t *v1 = (void *)table;
static volatile grant_entry_v2_t *v2 = (void *)table;
static volatile uint16_t *status = (void *)status_frame;

domid_t granter_domid(void)
{
    return granter;
}

unsigned int granter_version(void)
{
    return version;
}

unsigned long granter_gfn(unsigned int nth)
{
    return gfns[nth];
}

uint8_t *granter_page(unsigned int nth)
{
    return pages[nth];
}

unsigned int granter_entries(void)
{
    return PAGE_SIZE / (version == 1 ? sizeof(*v1) : sizeof(*v2));
}

void entry_write(grant_ref_t ref, unsigned int flags, domid_t domid,
                 unsigned long frame)
{
    if ( version == 1 )
    {
        v1[ref].domid = domid;
        v1[ref].frame = frame;
        barrier();
        v1[ref].flags = flags;
    }
    else
    {
        v2[ref].hdr.domid = domid;
        v2[ref].full_page.frame = frame;
        barrier();
        v2[ref].hdr.flags = flags;
    }
}

void entry_grant(grant_ref_t ref, unsigned int nth, unsigned int readonly)
{
    /* Tests run in the domain that owns the machine. */
    entry_write(ref, GTF_permit_access | readonly, own_domid(), gfns[nth]);
}

void entry_change_page(grant_ref_t ref, unsigned int nth)
{
    if ( version == 1 )
        v1[ref].frame = gfns[nth];
    else
        v2[ref].full_page.frame = gfns[nth];
}

void entry_change_grantee(grant_ref_t ref, domid_t domid)
{
    if ( version == 1 )
        v1[ref].domid = domid;
    else
        v2[ref].hdr.domid = domid;
}

unsigned int entry_flags(grant_ref_t ref)
{
    return version == 1 ? v1[ref].flags : v2[ref].hdr.flags;
}

uint64_t entry_frame(grant_ref_t ref)
{
    return version == 1 ? v1[ref].frame : v2[ref].full_page.frame;
}

unsigned int entry_in_use(grant_ref_t ref)
{
    return (version == 1 ? v1[ref].flags : status[ref]) & GTF_IN_USE;
}

bool entry_withdraw(grant_ref_t ref)
{
    uint16_t flags;

    if ( version == 2 )
    {
        v2[ref].hdr.flags = 0;
        __sync_synchronize();
        return !entry_in_use(ref);
    }

    do {
        flags = v1[ref].flags;
        if ( flags & GTF_IN_USE )
            return false;
    } while ( !__sync_bool_compare_and_swap(&v1[ref].flags, flags, 0) );

    return true;
}

static long domctl(struct domctl *op, unsigned int cmd)
{
    static uint32_t interface_version;
    long rc;

    /* Xen answers -EACCES to all versions but its own. */
    for ( uint32_t v = 0x10; !interface_version && v < 0x30; v++ )
    {
        struct domctl probe = {
            .cmd = DOMCTL_GET_INFO,
            .interface_version = v,
        };

        if ( HYPERCALL1(long, __HYPERVISOR_domctl, &probe) != -EACCES )
            interface_version = v;
    }

    op->cmd = cmd;
    op->interface_version = interface_version;
    op->domid = granter;
    rc = HYPERCALL1(long, __HYPERVISOR_domctl, op);
    if ( rc )
        printk("Granter: control operation %u failed: %ld\n", cmd, rc);
    else if ( cmd == DOMCTL_CREATE )
        granter = op->domid;

    return rc;
}

static long create(void)
{
    struct domctl op = {
        .create = {
            .ssidref = CREATE_SSIDREF,
#ifdef CONFIG_HVM
            .flags = CREATE_HVM | CREATE_HAP,
            .emulation_flags = EMULATE_LAPIC,
#endif
            .max_vcpus = 1,
            .max_evtchn_port = 1023,
            .max_grant_frames = -1,
            .max_maptrack_frames = -1,
            .grant_version = 1,
        },
    };
    long rc = domctl(&op, DOMCTL_CREATE);

    op = (struct domctl){ .max_vcpus = 1 };
    if ( !rc )
        rc = domctl(&op, DOMCTL_MAX_VCPUS);
#ifdef CONFIG_HVM
    op = (struct domctl){ .paging_pool_bytes = PAGING_POOL_BYTES };
    if ( !rc )
        rc = domctl(&op, DOMCTL_SET_PAGING_POOL);
#endif
    op = (struct domctl){ .max_mem_kb = 1024 };
    if ( !rc )
        rc = domctl(&op, DOMCTL_MAX_MEM);

    return rc;
}

static long populate(void)
{
    struct xen_memory_reservation reservation = {
        .extent_start = gfns,
        .nr_extents = GRANTER_PAGES,
        .domid = granter,
    };
    long done;

    /* A PV domain's list comes back with machine frames. */
    for ( unsigned int i = 0; i < GRANTER_PAGES; i++ )
        gfns[i] = 0x100 + i;

    done = hypercall_memory_op(XENMEM_populate_physmap, &reservation);

    return done == GRANTER_PAGES ? 0 : -ENOMEM;
}

#ifdef CONFIG_PV

static long show_frame(void *va, uint64_t mfn)
{
    uint64_t pte = (mfn << PAGE_SHIFT) | _PAGE_PRESENT | _PAGE_RW |
                   _PAGE_ACCESSED | _PAGE_DIRTY;

    if ( is_self )
        return hypercall_update_va_mapping(_u(va), pte, UVMF_INVLPG);

#ifdef CONFIG_64BIT
    return HYPERCALL4(long, UPDATE_VA_OF_OTHER, va, pte, UVMF_INVLPG, granter);
#else
    return HYPERCALL5(long, UPDATE_VA_OF_OTHER, va, pte, pte >> 32, UVMF_INVLPG,
                      granter);
#endif
}

static void hide_frame(void *va)
{
    if ( hypercall_update_va_mapping(_u(va), 0, UVMF_INVLPG) )
        xtf_error("A page of the granter's cannot be hidden\n");
}

static long show_pages(void)
{
    long rc = 0;

    for ( unsigned int i = 0; !rc && i < GRANTER_PAGES; i++ )
        rc = show_frame(pages[i], gfns[i]);

    return rc;
}

static long show_table(void)
{
    unsigned long mfn = 0;
    struct gnttab_setup_table setup = {
        .dom = is_self ? DOMID_SELF : granter,
        .nr_frames = 1,
        .frame_list = &mfn,
    };
    long rc = hypercall_grant_table_op(GNTTABOP_setup_table, &setup, 1);

    if ( !rc && setup.status )
        rc = -EIO;

    return rc ?: show_frame(table, mfn);
}

static long show_status(void)
{
    uint64_t mfn = 0;
    struct wire_get_status_frames get = {
        .nr_frames = 1,
        .domid = DOMID_SELF,
        .frame_list = &mfn,
    };
    long rc = hypercall_grant_table_op(WIRE_GET_STATUS_FRAMES, &get, 1);

    if ( !rc && get.status )
        rc = -EIO;

    return rc ?: show_frame(status_frame, mfn);
}

#else /* CONFIG_HVM */

static long show_pages(void)
{
    unsigned long here[GRANTER_PAGES];
    int errs[GRANTER_PAGES] = { 0 };
    struct {
        domid_t domid;
        uint16_t space;
        uint16_t size;
        domid_t foreign_domid;
        const unsigned long *idxs;
        const unsigned long *gfns;
        int *errs;
    } batch = {
        .domid = DOMID_SELF,
        .space = XENMAPSPACE_gmfn_foreign,
        .size = GRANTER_PAGES,
        .foreign_domid = granter,
        .idxs = gfns,
        .gfns = here,
        .errs = errs,
    };
    long rc;

    for ( unsigned int i = 0; i < GRANTER_PAGES; i++ )
        here[i] = virt_to_gfn(pages[i]);

    rc = hypercall_memory_op(XENMEM_ADD_BATCH, &batch);
    for ( unsigned int i = 0; !rc && i < GRANTER_PAGES; i++ )
        rc = errs[i];

    return rc;
}

static void hide_frame(void *va)
{
    struct {
        domid_t domid;
        unsigned long gfn;
    } remove = { DOMID_SELF, virt_to_gfn(va) };

    if ( hypercall_memory_op(XENMEM_REMOVE_FROM, &remove) )
        xtf_error("A page of the granter's cannot be hidden\n");
}

static long show_table(void)
{
    unsigned long here = virt_to_gfn(table);
    struct {
        domid_t domid;
        uint16_t type;
        uint32_t id;
        uint32_t nr_frames;
        uint32_t pad;
        uint64_t frame;
        unsigned long *frame_list;
    } acquire = {
        .domid = granter,
        .type = RESOURCE_GRANT_TABLE,
        .nr_frames = 1,
        .frame_list = &here,
    };

    return hypercall_memory_op(XENMEM_ACQUIRE_RESOURCE, &acquire);
}

static long show_status(void)
{
    return -EOPNOTSUPP;
}

#endif

bool granter_begin(void)
{
    long rc;

    if ( !owns_machine() )
        return false;

    version = 1;
    rc = create() ?: populate() ?: show_pages() ?: show_table();
    if ( !rc )
        return true;

    xtf_error("The granter cannot be built: %ld\n", rc);
    return false;
}

bool granter_self(unsigned int table_version)
{
    struct gnttab_set_version set = { .version = table_version };
    long rc;

#ifdef CONFIG_HVM
    xtf_skip("An HVM domain that maps its own page loses it\n");
    return false;
#endif
    if ( own_domid() < 0 )
    {
        xtf_skip("This domain cannot find out its own id\n");
        return false;
    }

    granter = own_domid();
    is_self = true;
    version = table_version;
    for ( unsigned int i = 0; i < GRANTER_PAGES; i++ )
        gfns[i] = virt_to_gfn(pages[i]);

    rc = hypercall_grant_table_op(GNTTABOP_set_version, &set, 1);
    if ( !rc )
        rc = show_table();
    if ( !rc && version == 2 )
        rc = show_status();
    if ( !rc )
        return true;

    xtf_error("No grant table of version %u: %ld\n", version, rc);
    return false;
}

bool granter_exists(void)
{
    struct grant_table_size size = { .dom = granter };

    return hypercall_grant_table_op(GNTTABOP_query_size, &size, 1) ||
           size.status != GNTST_bad_domain;
}

bool granter_destroy(void)
{
    struct domctl op = { .cmd = 0 };

    if ( destroyed )
        return true;

    for ( unsigned int i = 0; i < GRANTER_PAGES; i++ )
        hide_frame(pages[i]);
    hide_frame(table);

    destroyed = !domctl(&op, DOMCTL_DESTROY);
    if ( !destroyed )
        xtf_error("The granter cannot be destroyed\n");

    return destroyed;
}

void granter_end(void)
{
    uint64_t start;

    if ( is_self || !granter_destroy() )
        return;

    start = now_ns();
    while ( granter_exists() )
    {
        if ( now_ns() - start > MS(2000) )
        {
            xtf_failure("BAD something of the granter's is still in use\n");
            return;
        }
        hypercall_yield();
    }
}
