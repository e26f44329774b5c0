/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PCI configuration space through ports 0xcf8 and 0xcfc, which Xen lets the
 * machine's owner use: segment 0 and its first buses, where the lab's devices
 * are.
 */
#ifndef LAB_PCI_H
#define LAB_PCI_H

#include <xtf.h>

/* Bus in bits 8-15, slot in bits 3-7, function in bits 0-2. */
typedef uint16_t pci_bdf_t;

#define PCI_BDF(bus, slot, func) (((bus) << 8) | ((slot) << 3) | (func))
#define PCI_BUS(bdf)    ((bdf) >> 8)
#define PCI_SLOT(bdf)   (((bdf) >> 3) & 31)
#define PCI_FUNC(bdf)   ((bdf) & 7)

#define PCI_ID          0x00    /* Vendor, device. */
#define PCI_COMMAND     0x04
#define PCI_HEADER      0x0c    /* Header type in bits 16-23. */
#define PCI_BAR0        0x10

#define PCI_COMMAND_MEMORY  (1u << 1)
#define PCI_COMMAND_MASTER  (1u << 2)

#define PCI_ID_NONE     0xffffffffu

uint32_t pci_read(pci_bdf_t bdf, uint8_t reg);
void pci_write(pci_bdf_t bdf, uint8_t reg, uint32_t value);

/* Find the @nth function whose PCI_ID is @id, in the order of addresses. */
bool pci_find(uint32_t id, unsigned int nth, pci_bdf_t *bdf);

/* Find a slot on bus 0 that holds nothing. */
bool pci_find_empty(pci_bdf_t *bdf);

/*
 * Tell Xen of a function, as the kernel of the machine's owner does at boot.
 * Where there is no IOMMU to prepare, Xen has not looked for devices itself.
 */
int pci_announce(pci_bdf_t bdf);

/*
 * Tell Xen that a function goes, as the same kernel does when it is unplugged.
 * The older of the two ways is for PV guests.
 */
int pci_withdraw(pci_bdf_t bdf);
int pci_withdraw_old(pci_bdf_t bdf);

#endif /* LAB_PCI_H */
