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

static noinline void gdma_read_lock_slowly(percpu_rwlock_t *lock)
{
    percpu_read_lock(gdma_rwlock, lock);
}

/*
 * The case without another such lock and without a writer is what percpu_read_lock()
 * does then, and no more: with its other cases inline the compiler would save
 * registers for them, which costs as much as all the rest.
 */
void gdma_read_lock(void *lock)
{
    percpu_rwlock_t *l = lock;

    if ( unlikely(this_cpu(gdma_rwlock)) )
    {
        gdma_read_lock_slowly(l);
        return;
    }

    _percpu_rwlock_owner_check(&get_per_cpu_var(gdma_rwlock), l);

    preempt_disable();
    this_cpu(gdma_rwlock) = l;
    smp_mb();
    if ( unlikely(l->writer_activating) )
    {
        /* As if this CPU had not come yet. */
        this_cpu(gdma_rwlock) = NULL;
        preempt_enable();
        gdma_read_lock_slowly(l);
        return;
    }

    block_lock_speculation();
    check_lock(&l->rwlock.lock.debug, false);
    lock_enter(&l->rwlock.lock.debug);
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
