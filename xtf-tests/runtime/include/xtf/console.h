/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_CONSOLE_H
#define XTF_CONSOLE_H

#include <xtf/compiler.h>
#include <xtf/types.h>

/* A place console text goes to. */
typedef void (*cons_output_cb)(const char *buf, size_t len);

/* Add a place; all of them get every character. */
void register_console_callback(cons_output_cb cb);

void printk(const char *fmt, ...) __printf(1, 2);
void vprintk(const char *fmt, va_list args) __printf(1, 0);

#endif /* XTF_CONSOLE_H */
