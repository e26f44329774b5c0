/* SPDX-License-Identifier: GPL-2.0-only */
/**
 * @file tests/gdma-entry-hvm32/main.c
 * @ref test-gdma-entry-hvm32
 *
 * @page test-gdma-entry-hvm32 gdma-entry-hvm32
 *
 * The grant-DMA hypercall is in the table of 32-bit HVM callers too, with the
 * same structures.
 *
 * Xen chooses an HVM guest's table by the code segment of the caller: this
 * 64-bit guest makes its calls from a 32-bit one.
 *
 *  1. The call through the 32-bit table reaches the service: query answers the
 *     same as through the 64-bit table.
 *  2. What is mapped through one is found and unmapped through the other.
 *  3. Errors of the whole call are the documented ones.
 *  4. The grant tables' 32-bit entry answers as well, with its own layout.
 *
 * @see tests/gdma-entry-hvm32/main.c
 */
#include <xtf.h>

#include <lab/gdma.h>
#include <lab/steps.h>

const char test_title[] = "Grant-DMA: from 32-bit code of an HVM guest";

#define READ_WRITE      (XEN_GDMA_MAP_READ | XEN_GDMA_MAP_WRITE)

/* Ring 0, 4 GiB, 32-bit, read and execute. */
#define CODE32          0x00cf9b000000ffffull
#define GDT_ENTRIES     32

#define OP_QUERY_SIZE   6   /* GNTTABOP_query_size */

/* What lgdt and sgdt work on. */
struct __attribute__((__packed__)) table_register {
    uint16_t limit;
    uint64_t base;
};

/* What a far call from 64-bit code reads. */
struct __attribute__((__packed__)) far_pointer {
    uint32_t offset;
    uint16_t selector;
};

/* struct gnttab_query_size, which is the same for 32-bit and 64-bit guests. */
struct query_size {
    uint16_t dom;
    uint32_t nr_frames;
    uint32_t max_nr_frames;
    int16_t status;
};

static uint64_t longer_gdt[GDT_ENTRIES] __attribute__((__aligned__(16)));
static struct far_pointer code32;

static uint8_t page[PAGE_SIZE] __page_aligned_bss;
static struct xen_gdma_query query32, query64;
static struct xen_gdma_lookup lookup;
static struct xen_gdma_unmap unmap;
static struct xen_gdma_map map;
static struct query_size size;

/*
 * int32_t call_in_32bit(uint32_t entry, uint32_t a1, uint32_t a2, uint32_t a3,
 *                       const struct far_pointer *code32)
 *
 * From C's registers to those of a 32-bit hypercall, and through a far call to
 * 32-bit code and back.  All code, data and stack lie below 4 GiB.
 */
int32_t call_in_32bit(uint32_t entry, uint32_t a1, uint32_t a2, uint32_t a3,
                      const struct far_pointer *code32);
void code_in_32bit(void);

asm ( ".pushsection .text, \"ax\", @progbits\n"
      ".globl call_in_32bit\n"
      "call_in_32bit:\n\t"
      "push %rbx\n\t"
      "mov %edi, %eax\n\t"
      "mov %esi, %ebx\n\t"
      "xchg %ecx, %edx\n\t"
      "lcall *(%r8)\n\t"
      "pop %rbx\n\t"
      "ret\n"
      ".code32\n"
      ".globl code_in_32bit\n"
      "code_in_32bit:\n\t"
      "call *%eax\n\t"
      "lret\n"
      ".code64\n"
      ".popsection\n" );

/* The GDT in use, and one descriptor for 32-bit code behind it. */
static bool add_code32(void)
{
    struct table_register table;
    unsigned int nr;

    asm volatile ("sgdt %0" : "=m" (table));
    nr = (table.limit + 1) / sizeof(longer_gdt[0]);
    if ( nr >= GDT_ENTRIES )
        return false;

    memcpy(longer_gdt, (const void *)(unsigned long)table.base,
           nr * sizeof(longer_gdt[0]));
    longer_gdt[nr] = CODE32;
    table.limit = (nr + 1) * sizeof(longer_gdt[0]) - 1;
    table.base = (unsigned long)longer_gdt;
    asm volatile ("lgdt %0" :: "m" (table));

    code32.offset = (unsigned long)code_in_32bit;
    code32.selector = nr * sizeof(longer_gdt[0]);

    return true;
}

static long hypercall32(unsigned int nr, unsigned int cmd, const void *elements,
                        unsigned int count)
{
    return call_in_32bit((unsigned long)&hypercall_page[nr * 32], cmd,
                         (unsigned long)elements, count, &code32);
}

static long gdma_op32(unsigned int cmd, const void *elements,
                      unsigned int count)
{
    return hypercall32(__HYPERVISOR_grant_dma_op, cmd, elements, count);
}

static bool same_answers(void)
{
    step("query answers the same through both tables");

    query32.domid = XEN_GDMA_DOMID_SELF;
    if ( !expect("query from 32-bit code",
                 gdma_op32(XEN_GDMA_OP_QUERY, &query32, 1), 0) )
        return false;
    expect("its status", query32.status, 0);
    expect("query from 64-bit code", gdma_query(&query64), 0);
    expect_hex("abi_version", query32.abi_version, query64.abi_version);
    expect_hex("capabilities", query32.capabilities, query64.capabilities);
    expect_hex("daddr_first", query32.daddr_first, query64.daddr_first);
    expect_hex("daddr_last", query32.daddr_last, query64.daddr_last);

    return expect_hex("abi_version", query32.abi_version,
                      XEN_GDMA_ABI_VERSION);
}

static void map_here_find_there(void)
{
    step("mapped by 32-bit code, found by 64-bit code, unmapped by 32-bit code");

    map = (struct xen_gdma_map){
        .kind = XEN_GDMA_MAP_OWN, .source = virt_to_gfn(page), .nr_frames = 1,
        .flags = READ_WRITE,
    };
    expect("map", gdma_op32(XEN_GDMA_OP_MAP, &map, 1), 0);
    if ( !expect("its status", map.status, 0) )
        return;
    fact_hex("device_address", map.daddr);

    expect("found from 64-bit code",
           gdma_lookup(XEN_GDMA_LOOKUP_DADDR, map.daddr + 4, &lookup), 0);
    expect_hex("its handle", lookup.handle, map.handle);
    expect_hex("its source", lookup.source, (unsigned long)page + 4);

    unmap = (struct xen_gdma_unmap){ .handle = map.handle };
    expect("unmap", gdma_op32(XEN_GDMA_OP_UNMAP, &unmap, 1), 0);
    expect("its status", unmap.status, 0);
    expect("gone for 64-bit code", gdma_unmap(map.handle), -ENOENT);
}

static void whole_call_errors(void)
{
    step("errors of the whole call");

    expect("unknown command", gdma_op32(200, &query32, 1), -ENOSYS);
    expect("no elements", gdma_op32(XEN_GDMA_OP_QUERY, &query32, 0), -EINVAL);
    expect("too many elements",
           gdma_op32(XEN_GDMA_OP_QUERY, &query32, XEN_GDMA_MAX_BATCH + 1),
           -E2BIG);
    expect("a bad pointer",
           gdma_op32(XEN_GDMA_OP_QUERY, (const void *)0xfffff000ul, 1),
           -EFAULT);
}

static void grant_tables_too(void)
{
    step("the grant tables answer 32-bit code");

    size.dom = DOMID_SELF;
    size.status = 1;
    expect("query_size",
           hypercall32(__HYPERVISOR_grant_table_op, OP_QUERY_SIZE, &size, 1),
           0);
    expect("its status", size.status, 0);
    expect_true("there are frames", size.nr_frames != 0);
    expect_true("not more than the limit",
                size.nr_frames <= size.max_nr_frames);
}

void test_main(void)
{
    if ( !gdma_usable() )
        return;
    if ( !add_code32() )
        return xtf_error("No room for a descriptor in the GDT\n");

    if ( same_answers() )
    {
        map_here_find_there();
        whole_call_errors();
        grant_tables_too();
    }

    xtf_success(NULL);
}
