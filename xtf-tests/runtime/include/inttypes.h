/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * printf conversions for the fixed-width types: a freestanding compiler
 * brings stdint.h but not this header.
 */
#ifndef XTF_INTTYPES_H
#define XTF_INTTYPES_H

#include <stdint.h>

#define PRId32 "d"
#define PRIu32 "u"
#define PRIx32 "x"

/* As the compiler defines int64_t. */
#ifdef CONFIG_64BIT
#define PRId64 "ld"
#define PRIu64 "lu"
#define PRIx64 "lx"
#else
#define PRId64 "lld"
#define PRIu64 "llu"
#define PRIx64 "llx"
#endif

#endif /* XTF_INTTYPES_H */
