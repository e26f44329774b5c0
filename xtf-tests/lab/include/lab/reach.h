/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a device reaches, told from data: an `edu` device reads and writes
 * memory at device addresses, and the bytes say whether it got there.
 *
 * What the device holds shows only when it writes it to a page that it reaches
 * in the context it is in.  That page is device_shows[]; whoever moves the
 * device maps it in the new context first and says where.
 */
#ifndef LAB_REACH_H
#define LAB_REACH_H

#include <lab/edu.h>

/* Bytes of a transfer, so that one fits at an offset in a page. */
#define REACH_LEN       256u

struct device {
    struct edu edu;
    uint64_t shows;             /* Device address of device_shows[]. */
};

extern uint8_t device_shows[PAGE_SIZE];

/*
 * The address at which devices in the default context of the domain that owns
 * the machine reach its memory: the machine address for PV, else the guest's.
 */
uint64_t default_daddr(const void *va);

/* Find the @nth `edu` device, in the default context. */
bool device_open(struct device *dev, unsigned int nth);

/* The device reads (writes) the memory at @va through @daddr. */
void expect_reads(const char *what, const struct device *dev, uint64_t daddr,
                  void *va);
void expect_writes(const char *what, const struct device *dev, uint64_t daddr,
                   void *va);
void expect_reaches(const char *what, const struct device *dev,
                    uint64_t daddr, void *va);

/* The IOMMU stops the device: it reads zeros, and @va stays as it was. */
void expect_not_written(const char *what, const struct device *dev,
                        uint64_t daddr, void *va);
void expect_blocked(const char *what, const struct device *dev,
                    uint64_t daddr, void *va);

/* The device reads zeros at @daddr, where nobody is to look at memory. */
void expect_nothing(const char *what, const struct device *dev,
                    uint64_t daddr);

/* What the device writes at @daddr does not get to @va, which holds zeros. */
void expect_not_filled(const char *what, const struct device *dev,
                       uint64_t daddr, const void *va);

/*
 * The device does not get to @va through @daddr.  What else is there, if
 * anything, is left open: nothing that a write would harm.
 */
void expect_elsewhere(const char *what, const struct device *dev,
                      uint64_t daddr, void *va);

#endif /* LAB_REACH_H */
