/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's command line: words of the form name=value, and values that
 * are lists of items separated by commas.
 */
#ifndef LAB_ARGUMENTS_H
#define LAB_ARGUMENTS_H

#include <xtf.h>

/*
 * The value of @name and its length; NULL if the command line has no such
 * word.  The value ends at its length, not at a terminator.
 */
const char *argument(const char *name, size_t *len);

/* The value as a decimal number, or @otherwise. */
unsigned long argument_number(const char *name, unsigned long otherwise);

/* Is @item in the list?  Without the word every item counts as listed. */
bool argument_lists(const char *name, const char *item);

#endif /* LAB_ARGUMENTS_H */
