/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Formatted output: %d %i %u %x %X %p %s %c %%, the flags '-', '0', '#' and
 * '+', width, precision (strings and numbers) and the lengths hh h l ll z.
 */
#include <xtf/libc.h>

struct sink {
    char *buf;
    size_t size;
    size_t used;            /* Characters produced, stored or not. */
};

struct spec {
    bool left, zero, prefix, plus;
    int width;
    int precision;          /* -1: none given. */
    int length;             /* In "l"s: -2 is hh, -1 is h. */
};

static void put(struct sink *out, char c)
{
    if ( out->used + 1 < out->size )
        out->buf[out->used] = c;
    out->used++;
}

static void pad(struct sink *out, char c, int n)
{
    while ( n-- > 0 )
        put(out, c);
}

static void put_string(struct sink *out, const struct spec *spec,
                       const char *str)
{
    size_t max = spec->precision < 0 ? SIZE_MAX : (size_t)spec->precision;
    int len = strnlen(str ? str : (str = "(null)"), max);

    if ( !spec->left )
        pad(out, ' ', spec->width - len);
    for ( int i = 0; i < len; i++ )
        put(out, str[i]);
    if ( spec->left )
        pad(out, ' ', spec->width - len);
}

/*
 * Divide in place and return the remainder; 16 bits at a time, because a
 * 32-bit compiler makes a call into its library of a division of 64 bits.
 */
static unsigned int divide(uint64_t *value, unsigned int divisor)
{
    unsigned int rest = 0;
    uint64_t quotient = 0;

    for ( int shift = 48; shift >= 0; shift -= 16 )
    {
        uint32_t part = (rest << 16) | ((*value >> shift) & 0xffff);

        quotient = (quotient << 16) | (part / divisor);
        rest = part % divisor;
    }

    *value = quotient;

    return rest;
}

static void put_number(struct sink *out, const struct spec *spec,
                       uint64_t value, bool negative, unsigned int base,
                       bool upper)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char rev[24], lead[4];
    int len = 0, leading = 0, zeros, blanks;

    if ( negative )
        lead[leading++] = '-';
    else if ( spec->plus )
        lead[leading++] = '+';
    if ( spec->prefix && base == 16 && value )
    {
        lead[leading++] = '0';
        lead[leading++] = upper ? 'X' : 'x';
    }

    do {
        rev[len++] = digits[divide(&value, base)];
    } while ( value );

    zeros = spec->precision - len;
    if ( spec->precision < 0 && spec->zero && !spec->left )
        zeros = spec->width - len - leading;
    if ( zeros < 0 )
        zeros = 0;
    blanks = spec->width - len - leading - zeros;

    if ( !spec->left )
        pad(out, ' ', blanks);
    for ( int i = 0; i < leading; i++ )
        put(out, lead[i]);
    pad(out, '0', zeros);
    while ( len )
        put(out, rev[--len]);
    if ( spec->left )
        pad(out, ' ', blanks);
}

/* Read a number or take the next argument for '*'. */
static int parse_count(const char **fmt, va_list *args)
{
    int n = 0;

    if ( **fmt == '*' )
    {
        ++*fmt;
        return va_arg(*args, int);
    }

    while ( **fmt >= '0' && **fmt <= '9' )
        n = n * 10 + *(*fmt)++ - '0';

    return n;
}

static void parse_spec(struct spec *spec, const char **fmt, va_list *args)
{
    *spec = (struct spec){ .precision = -1 };

    for ( ; ; ++*fmt )
    {
        if ( **fmt == '-' )
            spec->left = true;
        else if ( **fmt == '0' )
            spec->zero = true;
        else if ( **fmt == '#' )
            spec->prefix = true;
        else if ( **fmt == '+' )
            spec->plus = true;
        else
            break;
    }

    spec->width = parse_count(fmt, args);
    if ( **fmt == '.' )
    {
        ++*fmt;
        spec->precision = parse_count(fmt, args);
    }

    for ( ; **fmt == 'l' || **fmt == 'h' || **fmt == 'z'; ++*fmt )
        spec->length += **fmt == 'h' ? -1 : 1;
}

static int64_t signed_arg(const struct spec *spec, va_list *args)
{
    if ( spec->length > 1 )
        return va_arg(*args, long long);
    if ( spec->length > 0 )
        return va_arg(*args, long);
    if ( spec->length == -1 )
        return (short)va_arg(*args, int);
    if ( spec->length < -1 )
        return (signed char)va_arg(*args, int);
    return va_arg(*args, int);
}

static uint64_t unsigned_arg(const struct spec *spec, va_list *args)
{
    if ( spec->length > 1 )
        return va_arg(*args, unsigned long long);
    if ( spec->length > 0 )
        return va_arg(*args, unsigned long);
    if ( spec->length == -1 )
        return (unsigned short)va_arg(*args, unsigned int);
    if ( spec->length < -1 )
        return (unsigned char)va_arg(*args, unsigned int);
    return va_arg(*args, unsigned int);
}

static void put_conversion(struct sink *out, struct spec *spec,
                           char conversion, va_list *args)
{
    int64_t value;

    switch ( conversion )
    {
    case 'd': case 'i':
        value = signed_arg(spec, args);
        put_number(out, spec, value < 0 ? 0ULL - value : 0ULL + value,
                   value < 0, 10, false);
        break;
    case 'u':
        put_number(out, spec, unsigned_arg(spec, args), false, 10, false);
        break;
    case 'x': case 'X':
        put_number(out, spec, unsigned_arg(spec, args), false, 16,
                   conversion == 'X');
        break;
    case 'p':
        spec->precision = 2 * sizeof(void *);
        put_number(out, spec, (unsigned long)va_arg(*args, void *), false, 16,
                   false);
        break;
    case 's':
        put_string(out, spec, va_arg(*args, const char *));
        break;
    case 'c':
        put(out, va_arg(*args, int));
        break;
    default:
        put(out, conversion);
        break;
    }
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
{
    struct sink out = { .buf = buf, .size = size };
    struct spec spec;
    va_list rest;

    /* A copy has a known type; a va_list parameter may be a pointer. */
    va_copy(rest, args);

    while ( *fmt )
    {
        if ( *fmt != '%' )
        {
            put(&out, *fmt++);
            continue;
        }

        fmt++;
        parse_spec(&spec, &fmt, &rest);
        if ( !*fmt )
            break;
        put_conversion(&out, &spec, *fmt++, &rest);
    }

    va_end(rest);

    if ( size )
        buf[out.used < size ? out.used : size - 1] = '\0';

    return out.used;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(buf, size, fmt, args);
    va_end(args);

    return len;
}
