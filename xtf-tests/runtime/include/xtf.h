/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one header a test includes.
 *
 * This runtime offers the part of the Xen Test Framework API that the tests
 * of this folder use, under the names and with the meaning XTF gives them, so
 * that a test builds unchanged here and in an upstream checkout.
 */
#ifndef XTF_H
#define XTF_H

#include <xtf/compiler.h>
#include <xtf/types.h>
#include <xtf/numbers.h>

#include <xtf/lib.h>
#include <xtf/libc.h>

#include <xtf/report.h>
#include <xtf/test.h>

#include <xtf/grant_table.h>
#include <xtf/hypercall.h>
#include <xtf/traps.h>

#include <arch/lib.h>
#include <arch/mm.h>

#endif /* XTF_H */
