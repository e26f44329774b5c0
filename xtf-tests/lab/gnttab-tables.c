/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/gnttab-tables.h>

#define REMOVE_FROM_PHYSMAP     15      /* XENMEM_remove_from_physmap. */
#define GRANT_DMA_OP            47

uint8_t table_frames[TABLE_FRAMES][PAGE_SIZE] __page_aligned_bss;
uint8_t status_frames[STATUS_FRAMES][PAGE_SIZE] __page_aligned_bss;

/* The version that table_set_version() was last told is in force. */
static unsigned int in_force = 1;

void v1_write(grant_ref_t ref, unsigned int flags, domid_t domid,
              unsigned long frame)
{
    own_v1(ref)->domid = domid;
    own_v1(ref)->frame = frame;
    barrier();
    own_v1(ref)->flags = flags;
}

void v2_write(grant_ref_t ref, unsigned int flags, domid_t domid,
              uint64_t frame)
{
    own_v2(ref)->hdr.domid = domid;
    own_v2(ref)->full_page.pad0 = 0;
    own_v2(ref)->full_page.frame = frame;
    barrier();
    own_v2(ref)->hdr.flags = flags;
}

void v2_write_part(grant_ref_t ref, unsigned int flags, domid_t domid,
                   uint64_t frame, unsigned int offset, unsigned int len)
{
    own_v2(ref)->hdr.domid = domid;
    own_v2(ref)->sub_page.frame = frame;
    own_v2(ref)->sub_page.page_off = offset;
    own_v2(ref)->sub_page.length = len;
    barrier();
    own_v2(ref)->hdr.flags = flags | GTF_sub_page;
}

void v2_write_transitive(grant_ref_t ref, unsigned int flags, domid_t domid,
                         domid_t via, grant_ref_t via_ref)
{
    own_v2(ref)->hdr.domid = domid;
    own_v2(ref)->transitive.trans_domid = via;
    own_v2(ref)->transitive.pad0 = 0;
    own_v2(ref)->transitive.gref = via_ref;
    barrier();
    own_v2(ref)->hdr.flags = flags | GTF_transitive;
}

void own_write(grant_ref_t ref, unsigned int flags, domid_t domid,
               uint64_t frame)
{
    if ( in_force == 1 )
        v1_write(ref, flags, domid, frame);
    else
        v2_write(ref, flags, domid, frame);
}

unsigned int own_in_use(grant_ref_t ref)
{
    return (in_force == 1 ? own_v1(ref)->flags : *own_status(ref)) & IN_USE;
}

static int call(unsigned int cmd, void *element, const int16_t *status)
{
    long rc = hypercall_grant_table_op(cmd, element, 1);

    if ( !rc )
        return *status;

    xtf_failure("BAD operation %u: the call failed: %ld\n", cmd, rc);
    return CALL_FAILED;
}

int table_size(domid_t domid, unsigned int *nr, unsigned int *max)
{
    struct wire_query_size size = {
        .domid = domid, .status = STATUS_UNTOUCHED,
    };
    int status = call(WIRE_QUERY_SIZE, &size, &size.status);

    *nr = size.nr_frames;
    *max = size.max_nr_frames;

    return status;
}

int table_setup(domid_t domid, unsigned int nr, unsigned long *list)
{
    struct gnttab_setup_table setup = {
        .dom = domid,
        .nr_frames = nr,
        .frame_list = list,
        .status = STATUS_UNTOUCHED,
    };

    return call(GNTTABOP_setup_table, &setup, &setup.status);
}

int table_status_frames(domid_t domid, unsigned int nr, uint64_t *list)
{
    struct wire_get_status_frames get = {
        .domid = domid,
        .nr_frames = nr,
        .frame_list = list,
        .status = STATUS_UNTOUCHED,
    };

    return call(WIRE_GET_STATUS_FRAMES, &get, &get.status);
}

int table_swap(grant_ref_t a, grant_ref_t b)
{
    struct wire_swap_grant_ref swap = {
        .a = a, .b = b, .status = STATUS_UNTOUCHED,
    };

    return call(WIRE_SWAP_GRANT_REF, &swap, &swap.status);
}

int table_dump(domid_t domid)
{
    struct wire_dump_table dump = {
        .domid = domid, .status = STATUS_UNTOUCHED,
    };

    return call(WIRE_DUMP_TABLE, &dump, &dump.status);
}

int table_set_version(unsigned int version, unsigned int *now)
{
    struct gnttab_set_version set = { .version = version };
    long rc = hypercall_grant_table_op(GNTTABOP_set_version, &set, 1);

    if ( now )
        *now = set.version;
    if ( !rc )
        in_force = set.version;

    return rc;
}

int table_version(domid_t domid, unsigned int *version)
{
    struct wire_get_version get = { .domid = domid };
    long rc = hypercall_grant_table_op(WIRE_GET_VERSION, &get, 1);

    *version = get.version;

    return rc;
}

#ifdef CONFIG_PV

static int show_at(void *va, uint64_t mfn)
{
    return hypercall_update_va_mapping(
        _u(va),
        (mfn << PAGE_SHIFT) | _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED |
        _PAGE_DIRTY, UVMF_INVLPG);
}

int show_table(unsigned int nr)
{
    unsigned long list[TABLE_FRAMES];
    int rc = table_setup(DOMID_SELF, nr, list) ? -EIO : 0;

    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = show_at(table_frames[i], list[i]);

    return rc;
}

int show_status(unsigned int nr)
{
    uint64_t list[STATUS_FRAMES];
    int rc = table_status_frames(DOMID_SELF, nr, list) ? -EIO : 0;

    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = show_at(status_frames[i], list[i]);

    return rc;
}

int hide_status(unsigned int nr)
{
    int rc = 0;

    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = hypercall_update_va_mapping(_u(status_frames[i]), 0, UVMF_INVLPG);

    return rc;
}

int map_own(grant_ref_t ref, const void *va, const void *window,
            unsigned int flags, grant_handle_t *handle)
{
    struct gnttab_map_grant_ref map;
    int status = gnttab_map(own_domid(), ref, _u(window),
                            GNTMAP_host_map | flags, &map);

    *handle = map.handle;

    return status;
}

int unmap_own(const void *va, const void *window, grant_handle_t handle)
{
    return gnttab_unmap(_u(window), handle);
}

#else /* CONFIG_HVM */

int place_frame(unsigned long idx, const void *va)
{
    struct xen_add_to_physmap add = {
        .domid = DOMID_SELF,
        .space = XENMAPSPACE_grant_table,
        .idx = idx,
        .gfn = virt_to_gfn(va),
    };

    return hypercall_memory_op(XENMEM_add_to_physmap, &add);
}

int remove_frame(const void *va)
{
    struct {
        domid_t domid;
        unsigned long gfn;
    } remove = { DOMID_SELF, virt_to_gfn(va) };

    return hypercall_memory_op(REMOVE_FROM_PHYSMAP, &remove);
}

int show_table(unsigned int nr)
{
    int rc = 0;

    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = place_frame(i, table_frames[i]);

    return rc;
}

int show_status(unsigned int nr)
{
    int rc = 0;

    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = place_frame(i | PLACE_STATUS, status_frames[i]);

    return rc;
}

int hide_status(unsigned int nr)
{
    int rc = 0;

    for ( unsigned int i = 0; !rc && i < nr; i++ )
        rc = remove_frame(status_frames[i]);

    return rc;
}

int map_own(grant_ref_t ref, const void *va, const void *window,
            unsigned int flags, grant_handle_t *handle)
{
    struct gnttab_map_grant_ref map;
    int status = gnttab_map(own_domid(), ref, _u(va), GNTMAP_host_map | flags,
                            &map);

    *handle = map.handle;

    return status;
}

int unmap_own(const void *va, const void *window, grant_handle_t handle)
{
    return gnttab_unmap(_u(va), handle);
}

#endif

bool has_c_tables(void)
{
    /* No element of a command that there is: 0, or no such hypercall. */
    return HYPERCALL3(long, GRANT_DMA_OP, 0, NULL, 0) == -ENOSYS;
}

bool own_table(unsigned int version)
{
    int rc = table_set_version(version, NULL);

    if ( !rc )
        rc = show_table(1);
    if ( !rc && version == 2 )
        rc = show_status(1);
    if ( rc )
        xtf_error("No grant table of version %u: %d\n", version, rc);

    return !rc;
}

struct wire_copy copy_element(struct copy_end source, struct copy_end dest,
                              unsigned int len)
{
    struct wire_copy copy = {
        .source = { .domid = source.domid, .offset = source.offset },
        .dest = { .domid = dest.domid, .offset = dest.offset },
        .len = len,
        .flags = (source.is_ref ? WIRE_COPY_SOURCE_REF : 0) |
                 (dest.is_ref ? WIRE_COPY_DEST_REF : 0),
        .status = STATUS_UNTOUCHED,
    };

    if ( source.is_ref )
        copy.source.ref = source.number;
    else
        copy.source.frame = source.number;
    if ( dest.is_ref )
        copy.dest.ref = dest.number;
    else
        copy.dest.frame = dest.number;

    return copy;
}

int copy_bytes(struct copy_end source, struct copy_end dest, unsigned int len)
{
    struct wire_copy copy = copy_element(source, dest, len);

    return call(WIRE_COPY, &copy, &copy.status);
}

/* What is copied to see whether it can be. */
static uint8_t scratch[PAGE_SIZE] __page_aligned_bss;

bool memory_at(const void *va)
{
    int status = copy_bytes(own_page_at(va), own_page_at(scratch), 1);

    if ( status != GNTST_okay )
        expect("nothing there", status, GNTST_bad_page);

    return status == GNTST_okay;
}

bool expect_grant(const char *what, grant_ref_t ref, void *page)
{
    fill_pattern(page, PAGE_SIZE, ref);
    memset(scratch, 0, PAGE_SIZE);
    if ( !expect(what, copy_bytes(by_ref(DOMID_SELF, ref, 0),
                                  own_page_at(scratch), PAGE_SIZE),
                 GNTST_okay) )
        return false;

    barrier();
    return !memcmp(scratch, page, PAGE_SIZE) ||
           expect_bytes(what, scratch, page, PAGE_SIZE);
}
