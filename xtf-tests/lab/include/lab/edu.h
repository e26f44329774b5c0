/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * QEMU's educational PCI device (1234:11e8): a DMA engine that copies between
 * memory and one page of its own.  The page is the device's alone; what is in
 * it shows only by having the device write it to memory.
 */
#ifndef LAB_EDU_H
#define LAB_EDU_H

#include <lab/pci.h>

struct edu {
    pci_bdf_t bdf;
    volatile uint8_t *registers;
};

#define EDU_BUFFER_SIZE 4096

/* Find the @nth such device and make it ready for DMA. */
bool edu_open(struct edu *edu, unsigned int nth);

/*
 * Copy @len bytes from device address @daddr into the device's page, or the
 * other way, at @offset in that page.  0, or -ETIMEDOUT if the device never
 * finishes.  A transfer that the IOMMU blocks finishes as well.
 */
int edu_load(const struct edu *edu, uint64_t daddr, unsigned int offset,
             unsigned int len);
int edu_store(const struct edu *edu, uint64_t daddr, unsigned int offset,
              unsigned int len);

#endif /* LAB_EDU_H */
