/* SPDX-License-Identifier: GPL-2.0-only */
#include <lab/steps.h>

void step(const char *fmt, ...)
{
    static unsigned int number;
    va_list args;

    printk("STEP %u: ", ++number);
    va_start(args, fmt);
    vprintk(fmt, args);
    va_end(args);
    printk("\n");
}

void fact_u64(const char *name, uint64_t value)
{
    printk("FACT %s=%"PRIu64"\n", name, value);
}

void fact_hex(const char *name, uint64_t value)
{
    printk("FACT %s=0x%"PRIx64"\n", name, value);
}

void fact_str(const char *name, const char *value)
{
    printk("FACT %s=%s\n", name, value);
}

bool expect(const char *what, long got, long wanted)
{
    if ( got == wanted )
        return true;

    xtf_failure("BAD %s: got %ld, expected %ld\n", what, got, wanted);
    return false;
}

bool expect_hex(const char *what, uint64_t got, uint64_t wanted)
{
    if ( got == wanted )
        return true;

    xtf_failure("BAD %s: got 0x%"PRIx64", expected 0x%"PRIx64"\n", what, got,
                wanted);
    return false;
}

bool expect_true(const char *what, bool holds)
{
    if ( !holds )
        xtf_failure("BAD %s: does not hold\n", what);

    return holds;
}

bool expect_bytes(const char *what, const void *got, const void *wanted,
                  size_t len)
{
    const volatile uint8_t *g = got, *w = wanted;

    for ( size_t i = 0; i < len; i++ )
    {
        uint8_t a = g[i], b = w[i];

        if ( a != b )
        {
            xtf_failure("BAD %s: byte %u is %#x, expected %#x\n", what,
                        (unsigned int)i, a, b);
            return false;
        }
    }

    printk("FACT compared=%u bytes equal (%s)\n", (unsigned int)len, what);
    return true;
}

bool expect_zeros(const char *what, const void *got, size_t len)
{
    const volatile uint8_t *g = got;

    for ( size_t i = 0; i < len; i++ )
    {
        uint8_t a = g[i];

        if ( a )
        {
            xtf_failure("BAD %s: byte %u is %#x, expected 0\n", what,
                        (unsigned int)i, a);
            return false;
        }
    }

    printk("FACT compared=%u bytes zero (%s)\n", (unsigned int)len, what);
    return true;
}

void fill_pattern(void *dst, size_t len, uint32_t seed)
{
    volatile uint8_t *d = dst;
    uint32_t state = seed * 2654435761U + 1;

    for ( size_t i = 0; i < len; i++ )
    {
        /* A linear congruential sequence; its upper bits vary well. */
        state = state * 1664525U + 1013904223U;
        d[i] = state >> 24;
    }
}
