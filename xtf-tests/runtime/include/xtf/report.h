/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a test says what came of it.
 *
 *  success  the subject behaves as documented
 *  skip     this machine or this Xen cannot run the test
 *  error    the test or its surroundings are broken; nothing is said about
 *           the subject
 *  failure  the subject does not behave as documented
 *
 * The worst one reported counts.  A NULL format reports without a message.
 */
#ifndef XTF_REPORT_H
#define XTF_REPORT_H

#include <xtf/compiler.h>
#include <xtf/types.h>

void xtf_success(const char *fmt, ...) __printf(1, 2);
void xtf_warning(const char *fmt, ...) __printf(1, 2);
void xtf_skip(const char *fmt, ...) __printf(1, 2);
void xtf_error(const char *fmt, ...) __printf(1, 2);
void xtf_failure(const char *fmt, ...) __printf(1, 2);

/* Print the result line. */
void xtf_report_status(void);

/* Has anything but a warning been reported yet? */
bool xtf_status_reported(void);

/* Print the result line and end the machine. */
void __noreturn xtf_exit(void);

#endif /* XTF_REPORT_H */
