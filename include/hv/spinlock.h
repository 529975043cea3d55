/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spinlocks. Zeroed memory is an unlocked lock.
 *
 * Test and set, and no tickets: CPUs may be threads of an emulator with fewer processors, where
 * handing a lock to one that is not running stops all that queue behind it.
 *
 * A function named *_locked expects its caller to hold the lock. A lock is never taken from an
 * exception or NMI handler. Order of mm/'s locks, outermost first:
 *
 *   vmap_lock (mm/vmap.c) > slab_lock (mm/slab.c) > heap_lock (mm/frametable.c, mm/buddy.c)
 *     > pool_lock (mm/boot_alloc.c)
 */
#ifndef HV_SPINLOCK_H
#define HV_SPINLOCK_H

#include "hv/types.h"

struct spinlock {
    uint32_t held; /* 1 while a CPU holds the lock */
};

static inline void spin_lock_init(struct spinlock *lock)
{
    lock->held = 0;
}

static inline bool spin_trylock(struct spinlock *lock)
{
    /* Acquire pairs with the release in spin_unlock(). */
    return __atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE) == 0;
}

static inline void spin_lock(struct spinlock *lock)
{
    while (!spin_trylock(lock)) {
        while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED) != 0) {
            __builtin_ia32_pause();
        }
    }
}

static inline void spin_unlock(struct spinlock *lock)
{
    __atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE);
}

/* Held by anyone: good enough for the assertion in a *_locked function. */
static inline bool spin_is_locked(const struct spinlock *lock)
{
    return __atomic_load_n(&lock->held, __ATOMIC_RELAXED) != 0;
}

#endif
