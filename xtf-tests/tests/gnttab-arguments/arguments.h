/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of this test share. */
#ifndef GNTTAB_ARGUMENTS_H
#define GNTTAB_ARGUMENTS_H

#include <lab/granter.h>

#define ARGUMENT_REF    FIRST_FREE_REF          /* The page of arguments. */
#define OTHER_REF       (FIRST_FREE_REF + 1)    /* Some other page. */
#define ARGUMENT_PAGE   0u
#define OTHER_PAGE      1u

#ifdef CONFIG_PV
#define READS_GRANTED   true
#else
#define READS_GRANTED   false
#endif

/* Arrays in several pages. */
void arrays(void);

#endif /* GNTTAB_ARGUMENTS_H */
