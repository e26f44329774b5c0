/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/clock.h>
#include <lab/edu.h>

#define EDU_PCI_ID      0x11e81234u

#define REG_ID          0x00    /* 0xed in the lowest byte. */
#define REG_SOURCE      0x80
#define REG_TARGET      0x88
#define REG_LENGTH      0x90
#define REG_COMMAND     0x98

#define COMMAND_START   1u      /* Reads as 1 until the transfer is over. */
#define COMMAND_STORE   2u      /* From the device to memory. */

/* Where the device's page is in the DMA engine's view. */
#define EDU_BUFFER      0x40000u

/*
 * A transfer starts 100 ms after the command. The limit is for one that never does,
 * and must not be reached because the machine is busy.
 */
#define TIMEOUT_NS      MS(20000)

#ifdef CONFIG_PV
/* A PV guest maps a device's registers over one of its own pages. */
static uint8_t register_windows[4][PAGE_SIZE] __page_aligned_bss;

static volatile uint8_t *map_registers(uint32_t address, unsigned int nth)
{
    /* Present, writable, accessed, dirty, not cached. */
    uint64_t pte = address | 0x73;

    if ( nth >= ARRAY_SIZE(register_windows) ||
         hypercall_update_va_mapping(_u(register_windows[nth]), pte,
                                     UVMF_INVLPG) )
        return NULL;

    return register_windows[nth];
}
#else
static volatile uint8_t *map_registers(uint32_t address, unsigned int nth)
{
    return _p(address);
}
#endif

static void write_register(const struct edu *edu, unsigned int reg,
                           uint64_t value)
{
    *(volatile uint64_t *)(edu->registers + reg) = value;
}

static uint32_t read_register(const struct edu *edu, unsigned int reg)
{
    return *(volatile uint32_t *)(edu->registers + reg);
}

bool edu_open(struct edu *edu, unsigned int nth)
{
    uint32_t command;

    if ( !pci_find(EDU_PCI_ID, nth, &edu->bdf) )
        return false;

    command = pci_read(edu->bdf, PCI_COMMAND) & 0xffff;
    pci_write(edu->bdf, PCI_COMMAND,
              command | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);

    edu->registers = map_registers(pci_read(edu->bdf, PCI_BAR0) & ~0xfu,
                                   nth);

    return edu->registers && (read_register(edu, REG_ID) & 0xff) == 0xed;
}

static int transfer(const struct edu *edu, uint64_t source, uint64_t target,
                    unsigned int len, unsigned int command)
{
    uint64_t start = now_ns();

    write_register(edu, REG_SOURCE, source);
    write_register(edu, REG_TARGET, target);
    write_register(edu, REG_LENGTH, len);
    write_register(edu, REG_COMMAND, command | COMMAND_START);

    while ( read_register(edu, REG_COMMAND) & COMMAND_START )
    {
        if ( now_ns() - start > TIMEOUT_NS )
            return -ETIMEDOUT;
        wait_ns(MS(1));
    }

    return 0;
}

int edu_load(const struct edu *edu, uint64_t daddr, unsigned int offset,
             unsigned int len)
{
    return transfer(edu, daddr, EDU_BUFFER + offset, len, 0);
}

int edu_store(const struct edu *edu, uint64_t daddr, unsigned int offset,
              unsigned int len)
{
    return transfer(edu, EDU_BUFFER + offset, daddr, len, COMMAND_STORE);
}
