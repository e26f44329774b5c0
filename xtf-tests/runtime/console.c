/* SPDX-License-Identifier: GPL-2.0-only */
/* Console text: one formatted line, to every registered place. */
#include <xtf/console.h>
#include <xtf/lib.h>
#include <xtf/libc.h>

static cons_output_cb places[3];
static unsigned int nr_places;

void register_console_callback(cons_output_cb cb)
{
    if ( nr_places < ARRAY_SIZE(places) )
        places[nr_places++] = cb;
}

void vprintk(const char *fmt, va_list args)
{
    static char line[1024];
    int len = vsnprintf(line, sizeof(line), fmt, args);

    len = min(len, (int)sizeof(line) - 1);
    for ( unsigned int i = 0; i < nr_places; i++ )
        places[i](line, len);
}

void printk(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vprintk(fmt, args);
    va_end(args);
}
