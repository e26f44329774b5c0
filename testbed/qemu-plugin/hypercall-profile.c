/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A plugin of QEMU's software emulation: which blocks of the hypervisor run
 * within one hypercall, and how often.
 *
 * A block is a stretch of instructions that QEMU translated at once; it is
 * entered at its start only, and counted when it is.  A block that a fault or
 * an access to a device leaves early counts as whole.
 *
 * Counting begins with the first instruction of the hypercall's function and
 * ends when the function has returned to its caller.  So what leaves and
 * enters the guest, and finds the function by the hypercall's number, is not in
 * it; an interrupt that Xen handles meanwhile is.
 *
 * One virtual CPU only.  Arguments, after the plugin's file:
 *
 *  entry=<hex>   the function's address
 *  out=<path>    where the counts go when QEMU ends:
 *
 *    CALLS <command> <count> <calls>      the function's first and third
 *                                         argument, 32 bits each; followed by
 *    BLOCK <hex address> <instructions> <executions>
 *                                         of each block, in these calls together
 *    LOST <calls>                         at the end, if some were not counted:
 *                                         the rest is of no use then
 *
 * The plugin API, version 4, is declared here as far as it is used: Debian has
 * no package with its header.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- of glib, by which the API hands over bytes and arrays -------------- */

typedef struct {
    uint8_t *data;
    unsigned int len;
} GByteArray;

typedef struct {
    char *data;
    unsigned int len;
} GArray;

GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *array, unsigned int length);

/* --- of the plugin API ---------------------------------------------------- */

typedef uint64_t plugin_id;

struct qemu_plugin_tb;

/* An element of the array that qemu_plugin_get_registers() answers with. */
struct register_descriptor {
    void *handle;
    const char *name;
    const char *feature;
};

enum registers_used { NO_REGISTERS, READS_REGISTERS };

GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(void *handle, GByteArray *value);
bool qemu_plugin_read_memory_vaddr(uint64_t address, GByteArray *value,
                                   size_t length);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_init_cb(plugin_id id,
                                       void (*init)(plugin_id,
                                                    unsigned int cpu));
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
                                           void (*translated)(
                                               plugin_id,
                                               struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
                                          void (*executed)(unsigned int cpu,
                                                           void *data),
                                          enum registers_used uses,
                                          void *data);
void qemu_plugin_register_atexit_cb(plugin_id id,
                                    void (*end)(plugin_id, void *data),
                                    void *data);

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int qemu_plugin_version = 4;
EXPORTED int qemu_plugin_install(plugin_id id, const void *info, int argc,
                                 char **argv);

/* --- what is counted ---------------------------------------------------- */

/* Where Xen's image is; other code at work is a guest's. */
#define XEN_TEXT_START  UINT64_C(0xffff82d000000000)
#define XEN_TEXT_END    UINT64_C(0xffff830000000000)

/*
 * Different (command, count) pairs.  There are many: what Xen interrupts it
 * continues as a call with what is left of the count.
 */
#define MAX_KINDS       256
#define BUCKETS         (1u << 14)

struct block {
    uint64_t address;
    uint32_t instructions;
    uint64_t executions[MAX_KINDS];
    struct block *next;
};

static struct kind {
    uint32_t command, count;
    uint64_t calls;
} kinds[MAX_KINDS];
static unsigned int nr_kinds;
static uint64_t lost;           /* Calls of yet other kinds. */

static struct block *buckets[BUCKETS];

static uint64_t entry;
static const char *out;

static struct {
    void *rdi, *rdx, *rsp;
} registers;
static GByteArray *bytes;

/* The call that runs: its kind, and where the function will return to. */
static struct {
    bool active;
    unsigned int kind;
    uint64_t returns_to;
} call;

static uint64_t value_of_bytes(void)
{
    uint64_t value = 0;

    memcpy(&value, bytes->data, bytes->len < 8 ? bytes->len : 8);

    return value;
}

static uint64_t read_register(void *handle)
{
    g_byte_array_set_size(bytes, 0);
    qemu_plugin_read_register(handle, bytes);

    return value_of_bytes();
}

/* The return address is where the stack pointer points when a function begins. */
static bool read_return_address(uint64_t *address)
{
    g_byte_array_set_size(bytes, 0);
    if ( !qemu_plugin_read_memory_vaddr(read_register(registers.rsp), bytes,
                                        sizeof(*address)) )
        return false;
    *address = value_of_bytes();

    return true;
}

static bool find_kind(uint32_t command, uint32_t count, unsigned int *found)
{
    unsigned int i;

    for ( i = 0; i < nr_kinds; i++ )
        if ( kinds[i].command == command && kinds[i].count == count )
            break;

    if ( i == MAX_KINDS )
        return false;
    if ( i == nr_kinds )
    {
        kinds[i] = (struct kind){ .command = command, .count = count };
        nr_kinds++;
    }
    *found = i;

    return true;
}

static void begin_call(void)
{
    const uint32_t command = read_register(registers.rdi);
    const uint32_t count = read_register(registers.rdx);

    call.active = find_kind(command, count, &call.kind) &&
                  read_return_address(&call.returns_to);
    if ( call.active )
        kinds[call.kind].calls++;
    else
        lost++;
}

static void count_block(struct block *block)
{
    if ( call.active && block->address == call.returns_to )
        call.active = false;
    if ( call.active )
        block->executions[call.kind]++;
}

static void entry_executed(unsigned int cpu, void *data)
{
    (void)cpu;
    begin_call();
    count_block(data);
}

static void block_executed(unsigned int cpu, void *data)
{
    (void)cpu;
    count_block(data);
}

/* The same block is translated anew when QEMU's cache is emptied. */
static struct block *find_block(uint64_t address, uint32_t instructions)
{
    struct block **bucket = &buckets[(address ^ instructions) % BUCKETS];
    struct block *block;

    for ( block = *bucket; block; block = block->next )
        if ( block->address == address && block->instructions == instructions )
            return block;

    block = calloc(1, sizeof(*block));
    if ( !block )
        abort();
    block->address = address;
    block->instructions = instructions;
    block->next = *bucket;
    *bucket = block;

    return block;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
    const uint64_t address = qemu_plugin_tb_vaddr(tb);
    const bool is_entry = address == entry;

    (void)id;
    if ( address < XEN_TEXT_START || address >= XEN_TEXT_END )
        return;

    qemu_plugin_register_vcpu_tb_exec_cb(
        tb, is_entry ? entry_executed : block_executed,
        is_entry ? READS_REGISTERS : NO_REGISTERS,
        find_block(address, qemu_plugin_tb_n_insns(tb)));
}

static void find_registers(plugin_id id, unsigned int cpu)
{
    const GArray *all = qemu_plugin_get_registers();

    (void)id;
    (void)cpu;
    bytes = g_byte_array_new();
    for ( unsigned int i = 0; i < all->len; i++ )
    {
        const struct register_descriptor *descriptor =
            (const struct register_descriptor *)all->data + i;

        if ( !strcmp(descriptor->name, "rdi") )
            registers.rdi = descriptor->handle;
        else if ( !strcmp(descriptor->name, "rdx") )
            registers.rdx = descriptor->handle;
        else if ( !strcmp(descriptor->name, "rsp") )
            registers.rsp = descriptor->handle;
    }
    if ( !registers.rdi || !registers.rdx || !registers.rsp )
    {
        fprintf(stderr, "hypercall-profile: QEMU names no rdi, rdx and rsp\n");
        exit(EXIT_FAILURE);
    }
}

static void write_counts(plugin_id id, void *data)
{
    FILE *file = fopen(out, "w");

    (void)id;
    (void)data;
    if ( !file )
    {
        perror(out);
        return;
    }
    for ( unsigned int kind = 0; kind < nr_kinds; kind++ )
    {
        fprintf(file, "CALLS %" PRIu32 " %" PRIu32 " %" PRIu64 "\n",
                kinds[kind].command, kinds[kind].count, kinds[kind].calls);
        for ( unsigned int i = 0; i < BUCKETS; i++ )
            for ( const struct block *b = buckets[i]; b; b = b->next )
                if ( b->executions[kind] )
                    fprintf(file, "BLOCK %" PRIx64 " %" PRIu32 " %" PRIu64 "\n",
                            b->address, b->instructions, b->executions[kind]);
    }
    if ( lost )
        fprintf(file, "LOST %" PRIu64 "\n", lost);
    if ( fclose(file) )
        perror(out);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for ( int i = 0; i < argc; i++ )
    {
        if ( !strncmp(argv[i], "entry=", 6) )
            entry = strtoull(argv[i] + 6, NULL, 16);
        else if ( !strncmp(argv[i], "out=", 4) )
            out = strdup(argv[i] + 4);
    }
    if ( !entry || !out )
    {
        fprintf(stderr, "hypercall-profile: say entry=<hex> and out=<path>\n");
        return 1;
    }

    qemu_plugin_register_vcpu_init_cb(id, find_registers);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, write_counts, NULL);

    return 0;
}
