/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory and string functions; the compiler may call the mem* ones itself. */
#include <xtf/libc.h>

size_t strnlen(const char *str, size_t max)
{
    size_t n = 0;

    while ( n < max && str[n] )
        n++;

    return n;
}

size_t strlen(const char *str)
{
    return strnlen(str, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t n)
{
    for ( ; n; n--, a++, b++ )
    {
        if ( *a != *b )
            return (unsigned char)*a - (unsigned char)*b;
        if ( !*a )
            break;
    }

    return 0;
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

void *memset(void *dst, int byte, size_t n)
{
    void *end = dst;

    __asm__ __volatile__ ("rep stosb"
                          : "+D" (end), "+c" (n) : "a" (byte) : "memory");

    return dst;
}

void *memcpy(void *dst, const void *src, size_t n)
{
    void *end = dst;

    __asm__ __volatile__ ("rep movsb"
                          : "+D" (end), "+S" (src), "+c" (n) :: "memory");

    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    unsigned char *d = dst;
    const unsigned char *s = src;

    /* Forwards is safe unless the destination starts inside the source. */
    if ( (uintptr_t)d - (uintptr_t)s >= n )
        return memcpy(dst, src, n);

    while ( n-- )
        d[n] = s[n];

    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;

    for ( ; n; n--, x++, y++ )
        if ( *x != *y )
            return *x - *y;

    return 0;
}
