/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of this test share. */
#ifndef GNTTAB_DISPATCH_H
#define GNTTAB_DISPATCH_H

#include <lab/gnttab-tables.h>
#include <lab/mapping.h>

/* The operations, as the public header numbers them. */
enum operation {
    MAP, UNMAP, SETUP_TABLE, DUMP_TABLE, TRANSFER, COPY, QUERY_SIZE, REPLACE,
    SET_VERSION, GET_STATUS_FRAMES, GET_VERSION, SWAP, CACHE_FLUSH,
    NR_OPERATIONS
};

extern const struct operation_kind {
    const char *name;
    bool is_array;              /* Takes any number of elements. */
    bool has_count;             /* Looks at the number of elements at all. */
    bool pv_only;               /* HVM guests on x86 do not have it. */
} kinds[NR_OPERATIONS];

/* Does this guest, on this Xen, have the operation? */
bool available(unsigned int cmd);

/* A call, with the name of its operation in what it prints. */
void expect_call(const char *what, unsigned int cmd, void *array,
                 unsigned int count, long rc);

/* Everything works as it did before. */
void expect_working(void);

void pointers(void);

#endif /* GNTTAB_DISPATCH_H */
