/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one lock, and the list of CPUs that it keeps apart.
 */
#include "hv/lock.h"

#include "hv/percpu.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/spinlock.h"
#include "hv/vmap.h"

struct percpu *cpu_list;
unsigned int nr_cpus;
unsigned int cpus_expected = 1;

static struct spinlock lock;

void hv_lock(void)
{
    struct percpu *cpu = this_cpu();

    spin_lock(&lock);
    if (cpu->tlb_seen != vmap_flushes) {
        cpu->tlb_seen = vmap_flushes;
        tlb_flush();
    }
}

void hv_unlock(void)
{
    spin_unlock(&lock);
}

void cpu_join(void)
{
    struct percpu **link = &cpu_list;

    this_cpu()->online_tsc = tsc_read();
    for (; *link != NULL; link = &(*link)->next) {
        if (*link == this_cpu()) {
            return; /* back from a failed update */
        }
    }
    this_cpu()->next = NULL;
    *link = this_cpu();
    nr_cpus++;
}
