/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XTF_TYPES_H
#define XTF_TYPES_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#endif /* XTF_TYPES_H */
