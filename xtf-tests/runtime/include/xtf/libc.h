/* SPDX-License-Identifier: GPL-2.0-only */
/* The few functions of a C library a freestanding test needs. */
#ifndef XTF_LIBC_H
#define XTF_LIBC_H

#include <xtf/compiler.h>
#include <xtf/types.h>

size_t strlen(const char *str);
size_t strnlen(const char *str, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
void *memset(void *dst, int byte, size_t n);
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
int memcmp(const void *a, const void *b, size_t n);

int vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
    __printf(3, 0);
int snprintf(char *buf, size_t size, const char *fmt, ...) __printf(3, 4);

#endif /* XTF_LIBC_H */
