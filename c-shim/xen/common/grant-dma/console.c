/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/console.c: Rust's log and panic on Xen's console.
 */
#include <xen/lib.h>

#include "gdma.h"

/* Part of what somebody asked to see: neither filtered nor marked. */
void gdma_print(const char *msg, size_t len)
{
    printk("%.*s\n", (int)len, msg);
}

/*
 * Everything below "error" can be brought about by a guest, and has the
 * rate-limited guest levels.
 */
void gdma_log(unsigned int level, const char *msg, size_t len)
{
    switch ( level )
    {
    case GDMA_LOG_ERROR:
        printk(XENLOG_ERR "grant-dma: %.*s\n", (int)len, msg);
        break;

    case GDMA_LOG_WARNING:
        printk(XENLOG_G_WARNING "grant-dma: %.*s\n", (int)len, msg);
        break;

    case GDMA_LOG_INFO:
        printk(XENLOG_G_INFO "grant-dma: %.*s\n", (int)len, msg);
        break;

    default:
        printk(XENLOG_G_DEBUG "grant-dma: %.*s\n", (int)len, msg);
        break;
    }
}

void gdma_panic(const char *msg, size_t len)
{
    panic("grant-dma: %.*s\n", (int)len, msg);
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
