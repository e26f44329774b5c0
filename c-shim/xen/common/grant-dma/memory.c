/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/memory.c: Rust's allocator on Xen's.
 */
#include <xen/xvmalloc.h>

#include "gdma.h"

void *gdma_alloc(size_t size, size_t align)
{
    return _xvmalloc(size, align);
}

void gdma_free(void *ptr)
{
    xvfree(ptr);
}

/*
 * Local variables:
 * mode: C
 * c-file-style: "BSD"
 * c-basic-offset: 4
 * tab-width: 4
 * indent-tabs-mode: nil
 * End:
 */
