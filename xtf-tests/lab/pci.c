/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/pci.h>

#define PORT_ADDRESS    0xcf8
#define PORT_DATA       0xcfc

#ifndef PHYSDEVOP_pci_device_add
#define PHYSDEVOP_pci_device_add 25
#endif

#ifndef PHYSDEVOP_manage_pci_remove
#define PHYSDEVOP_manage_pci_remove 16
#endif

#ifndef PHYSDEVOP_pci_device_remove
#define PHYSDEVOP_pci_device_remove 26
#endif

/* The lab's machines have few bridges: bus numbers are low. */
#define NR_BUSES        4u

#define ADDRESS_ENABLE  (1u << 31)
#define MULTI_FUNCTION  (1u << 23)

static void select_register(pci_bdf_t bdf, uint8_t reg)
{
    outl(ADDRESS_ENABLE | ((uint32_t)bdf << 8) | (reg & 0xfc), PORT_ADDRESS);
}

uint32_t pci_read(pci_bdf_t bdf, uint8_t reg)
{
    select_register(bdf, reg);
    return inl(PORT_DATA);
}

void pci_write(pci_bdf_t bdf, uint8_t reg, uint32_t value)
{
    select_register(bdf, reg);
    outl(value, PORT_DATA);
}

/* Functions above 0 exist only where function 0 says that there are more. */
static unsigned int nr_functions(unsigned int bus, unsigned int slot)
{
    pci_bdf_t first = PCI_BDF(bus, slot, 0);

    if ( pci_read(first, PCI_ID) == PCI_ID_NONE )
        return 0;

    return pci_read(first, PCI_HEADER) & MULTI_FUNCTION ? 8 : 1;
}

bool pci_find(uint32_t id, unsigned int nth, pci_bdf_t *bdf)
{
    for ( unsigned int i = 0; i < NR_BUSES * 32; i++ )
    {
        unsigned int bus = i / 32, slot = i % 32;
        unsigned int functions = nr_functions(bus, slot);

        for ( unsigned int func = 0; func < functions; func++ )
        {
            *bdf = PCI_BDF(bus, slot, func);
            if ( pci_read(*bdf, PCI_ID) == id && nth-- == 0 )
                return true;
        }
    }

    return false;
}

bool pci_find_empty(pci_bdf_t *bdf)
{
    for ( unsigned int slot = 0; slot < 32; slot++ )
    {
        *bdf = PCI_BDF(0, slot, 0);
        if ( !nr_functions(0, slot) )
            return true;
    }

    return false;
}

int pci_withdraw(pci_bdf_t bdf)
{
    struct {
        uint16_t segment;
        uint8_t bus, devfn;
    } device = { .bus = bdf >> 8, .devfn = bdf & 0xff };

    return hypercall_physdev_op(PHYSDEVOP_pci_device_remove, &device);
}

int pci_withdraw_old(pci_bdf_t bdf)
{
    struct {
        uint8_t bus, devfn;
    } device = { .bus = bdf >> 8, .devfn = bdf & 0xff };

    return hypercall_physdev_op(PHYSDEVOP_manage_pci_remove, &device);
}

int pci_announce(pci_bdf_t bdf)
{
    /* Flags of an ordinary function, then what only virtual ones need. */
    struct {
        uint16_t segment;
        uint8_t bus, devfn;
        uint32_t flags;
        uint8_t physical_bus, physical_devfn;
        uint32_t optional[2];
    } add = { .bus = bdf >> 8, .devfn = bdf & 0xff };

    return hypercall_physdev_op(PHYSDEVOP_pci_device_add, &add);
}
