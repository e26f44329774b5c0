/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a test tells its story: numbered steps, figures, and comparisons whose
 * expected side is what the documentation says.
 *
 *   STEP <n>: <text>       what happens next
 *   FACT <name>=<value>    a figure, for a reader or a program
 *   BAD <what>: ...        a comparison that failed (reported as a failure)
 */
#ifndef LAB_STEPS_H
#define LAB_STEPS_H

#include <xtf.h>

void step(const char *fmt, ...) __printf(1, 2);
void fact_u64(const char *name, uint64_t value);
void fact_hex(const char *name, uint64_t value);
void fact_str(const char *name, const char *value);

/* True if equal; else the difference is printed and counts as a failure. */
bool expect(const char *what, long got, long wanted);
bool expect_hex(const char *what, uint64_t got, uint64_t wanted);
bool expect_true(const char *what, bool holds);

/*
 * Is every byte of @got equal to @wanted's?  Says where they first differ,
 * and how many bytes were compared.
 */
bool expect_bytes(const char *what, const void *got, const void *wanted,
                  size_t len);

/* Are all bytes zero? */
bool expect_zeros(const char *what, const void *got, size_t len);

/* A pattern that differs from byte to byte and from seed to seed. */
void fill_pattern(void *dst, size_t len, uint32_t seed);

#endif /* LAB_STEPS_H */
