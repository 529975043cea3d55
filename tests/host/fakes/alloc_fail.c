/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counted allocation failures, by the linker's --wrap: only calls between files are counted.
 */
#include "fakes/alloc_fail.h"

#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/slab.h"

void *__real_pool_alloc(void);
void *__wrap_pool_alloc(void);
mfn_t __real_buddy_alloc(unsigned int order, enum frame_state state, uint16_t owner);
mfn_t __wrap_buddy_alloc(unsigned int order, enum frame_state state, uint16_t owner);
void *__real_kzalloc(size_t bytes);
void *__wrap_kzalloc(size_t bytes);

static long allocs_left = -1;
static bool hit;

void fake_fail_alloc_after(long n)
{
    allocs_left = n;
    hit = false;
}

bool fake_fail_hit(void)
{
    return hit;
}

static bool fails_now(void)
{
    if (allocs_left < 0) {
        return false;
    }
    if (allocs_left == 0) {
        hit = true;
        return true;
    }
    allocs_left--;
    return false;
}

void *__wrap_pool_alloc(void)
{
    return fails_now() ? NULL : __real_pool_alloc();
}

mfn_t __wrap_buddy_alloc(unsigned int order, enum frame_state state, uint16_t owner)
{
    return fails_now() ? INVALID_MFN : __real_buddy_alloc(order, state, owner);
}

void *__wrap_kzalloc(size_t bytes)
{
    return fails_now() ? NULL : __real_kzalloc(bytes);
}
