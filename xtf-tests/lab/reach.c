/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/reach.h>
#include <lab/steps.h>

uint8_t device_shows[PAGE_SIZE] __page_aligned_bss;

static uint8_t wanted[REACH_LEN];

/* Every transfer has bytes of its own: old ones cannot pass for it. */
static uint32_t next_seed(void)
{
    static uint32_t seed = 100;

    return ++seed;
}

uint64_t default_daddr(const void *va)
{
    return ((uint64_t)virt_to_gfn(va) << PAGE_SHIFT) |
           (_u(va) & (PAGE_SIZE - 1));
}

bool device_open(struct device *dev, unsigned int nth)
{
    dev->shows = default_daddr(device_shows);

    return edu_open(&dev->edu, nth);
}

static void load(const struct device *dev, uint64_t daddr)
{
    if ( edu_load(&dev->edu, daddr, 0, REACH_LEN) )
        xtf_failure("BAD the device does not finish reading\n");
}

static void store(const struct device *dev, uint64_t daddr)
{
    if ( edu_store(&dev->edu, daddr, 0, REACH_LEN) )
        xtf_failure("BAD the device does not finish writing\n");
}

static void new_pattern(void *va)
{
    uint32_t seed = next_seed();

    fill_pattern(va, REACH_LEN, seed);
    fill_pattern(wanted, REACH_LEN, seed);
}

/* Have the device show what it holds. */
static void show(const struct device *dev)
{
    memset(device_shows, 0x5a, REACH_LEN);
    store(dev, dev->shows);
}

void expect_reads(const char *what, const struct device *dev, uint64_t daddr,
                  void *va)
{
    printk("The device reads: %s\n", what);
    new_pattern(va);
    load(dev, daddr);
    show(dev);
    expect_bytes(what, device_shows, wanted, REACH_LEN);
}

void expect_writes(const char *what, const struct device *dev, uint64_t daddr,
                   void *va)
{
    printk("The device writes: %s\n", what);
    new_pattern(device_shows);
    load(dev, dev->shows);
    memset(va, 0, REACH_LEN);
    store(dev, daddr);
    expect_bytes(what, va, wanted, REACH_LEN);
}

void expect_reaches(const char *what, const struct device *dev,
                    uint64_t daddr, void *va)
{
    expect_reads(what, dev, daddr, va);
    expect_writes(what, dev, daddr, va);
}

void expect_not_written(const char *what, const struct device *dev,
                        uint64_t daddr, void *va)
{
    printk("The device cannot write: %s\n", what);
    new_pattern(device_shows);
    load(dev, dev->shows);
    new_pattern(va);
    store(dev, daddr);
    expect_bytes(what, va, wanted, REACH_LEN);
}

void expect_blocked(const char *what, const struct device *dev,
                    uint64_t daddr, void *va)
{
    printk("The device cannot read: %s\n", what);
    new_pattern(va);
    load(dev, daddr);
    show(dev);
    expect_zeros(what, device_shows, REACH_LEN);

    expect_not_written(what, dev, daddr, va);
}

void expect_nothing(const char *what, const struct device *dev,
                    uint64_t daddr)
{
    printk("The device reads nothing: %s\n", what);
    new_pattern(device_shows);
    load(dev, dev->shows);
    load(dev, daddr);
    show(dev);
    expect_zeros(what, device_shows, REACH_LEN);
}

void expect_not_filled(const char *what, const struct device *dev,
                       uint64_t daddr, const void *va)
{
    printk("The device cannot write: %s\n", what);
    new_pattern(device_shows);
    load(dev, dev->shows);
    store(dev, daddr);
    expect_zeros(what, va, REACH_LEN);
}

void expect_elsewhere(const char *what, const struct device *dev,
                      uint64_t daddr, void *va)
{
    unsigned int same = 0;

    printk("The device does not get there: %s\n", what);
    new_pattern(va);
    load(dev, daddr);
    show(dev);
    /* Had the device not shown anything, 0x5a would still be there. */
    for ( unsigned int i = 0; i < REACH_LEN; i++ )
        same += device_shows[i] == 0x5a;
    expect_true("the device shows what it holds", same < REACH_LEN);
    expect_true(what, memcmp(device_shows, wanted, REACH_LEN) != 0);

    expect_not_written(what, dev, daddr, va);
}
