/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested page tables of domains, and who may still use translations that have changed.
 */
#include "hv/nested_sync.h"

#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/smp.h"

static uint64_t generation;

bool nested_enter(struct percpu *cpu)
{
    uint64_t now;

    /* Said before it looks for work; nested_invalidate() makes work before it asks. So either this
     * CPU sees the new generation or the other one sees it here, and kicks it. */
    __atomic_store_n(&cpu->in_guest, true, __ATOMIC_SEQ_CST);
    now = __atomic_load_n(&generation, __ATOMIC_SEQ_CST);
    if (cpu->nested_seen == now) {
        return false;
    }
    cpu->nested_seen = now;
    return true;
}

void nested_leave(struct percpu *cpu)
{
    /* Release: nothing is walked any more; pairs with wait_outside(). */
    __atomic_store_n(&cpu->in_guest, false, __ATOMIC_RELEASE);
}

/* Returns when that CPU is not in a guest, where it might still use what was there. It cannot come
 * back with old translations. */
static void wait_outside(struct percpu *cpu)
{
    if (!__atomic_load_n(&cpu->in_guest, __ATOMIC_SEQ_CST)) {
        return;
    }
    cpu_kick(cpu);
    while (__atomic_load_n(&cpu->in_guest, __ATOMIC_ACQUIRE)) {
        cpu_pause();
    }
}

void nested_invalidate(const struct nested *n)
{
    (void)n; /* changes of what is mapped are rare: all go */
    __atomic_fetch_add(&generation, 1, __ATOMIC_SEQ_CST);
    for_each_cpu(cpu) {
        if (cpu != this_cpu()) {
            wait_outside(cpu);
        }
    }
}

int nested_domain_init(struct domain *d, unsigned int max_order, uint64_t leaf_bits)
{
    struct nested *n = kzalloc(sizeof(*n));

    if (n == NULL) {
        return -ENOMEM;
    }
    if (nested_init(n, max_order, leaf_bits, nested_invalidate) != 0) {
        kfree(n);
        return -ENOMEM;
    }
    d->stage2 = n;
    nested_invalidate(n); /* the root may have been another domain's before */
    return 0;
}

void nested_domain_fini(struct domain *d)
{
    if (d->stage2 == NULL) {
        return;
    }
    nested_fini(d->stage2);
    kfree(d->stage2);
    d->stage2 = NULL;
}

int nested_domain_map(struct domain *d, gfn_t gfn, mfn_t mfn, unsigned int order)
{
    return nested_map(d->stage2, gfn, mfn, order);
}

uint64_t nested_domain_walk(struct domain *d, const struct hvm_walk *walk)
{
    return nested_walk(d->stage2, walk);
}
