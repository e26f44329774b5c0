/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * common/grant-dma/locks.c: Xen's locks for Rust.
 */
#include <xen/percpu.h>
#include <xen/rwlock.h>
#include <xen/spinlock.h>

#include "gdma.h"

/* What makes readers of the tables' read-write locks cheap: see xen/rwlock.h. */
static DEFINE_PERCPU_RWLOCK_GLOBAL(gdma_rwlock);

const union gdma_spinlock gdma_spin_unlocked = { .lock = SPIN_LOCK_UNLOCKED };

void gdma_spin_lock(void *lock)
{
    BUILD_BUG_ON(sizeof(gdma_spin_unlocked) != GDMA_SPINLOCK_SIZE);

    spin_lock((spinlock_t *)lock);
}

void gdma_spin_unlock(void *lock)
{
    spin_unlock((spinlock_t *)lock);
}

void gdma_rw_init(void *lock)
{
    BUILD_BUG_ON(sizeof(percpu_rwlock_t) > GDMA_RWLOCK_SIZE);

    percpu_rwlock_resource_init((percpu_rwlock_t *)lock, gdma_rwlock);
}

void gdma_read_lock(void *lock)
{
    percpu_read_lock(gdma_rwlock, (percpu_rwlock_t *)lock);
}

void gdma_read_unlock(void *lock)
{
    percpu_read_unlock(gdma_rwlock, (percpu_rwlock_t *)lock);
}

void gdma_write_lock(void *lock)
{
    percpu_write_lock(gdma_rwlock, (percpu_rwlock_t *)lock);
}

void gdma_write_unlock(void *lock)
{
    percpu_write_unlock(gdma_rwlock, (percpu_rwlock_t *)lock);
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
