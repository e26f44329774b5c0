/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_NUMBERS_H
#define XTF_NUMBERS_H

/* Sizes in bytes. */
#define KB(n)               ((n) * 1024ULL)
#define MB(n)               (KB(n) * 1024)
#define GB(n)               (MB(n) * 1024)

/* True when @v is a multiple of @a, a power of two. */
#define IS_ALIGNED(v, a)    (!((v) & ((a) - 1)))

/* Between integers and pointers, whatever the width of the integer. */
#define _p(v)               ((void *)(unsigned long)(v))
#define _u(v)               ((unsigned long)(v))

#endif /* XTF_NUMBERS_H */
