/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address space identifiers.
 *
 * An ASID that nobody has had since the last full flush has nothing in the TLB. So a new one does
 * for a flush, where the CPU has none for a single ASID; and the full flush comes when they have
 * run out. A vCPU that comes back to a CPU from another one gets a new ASID: what it left there is
 * out of date. APM volume 2, "TLB Control", "Address Space Identifier (ASID)".
 *
 * Host test: tests/host/test_asid.c
 * Invariant: no two vCPUs have the same ASID of the same CPU and generation.
 */
#include "hv/asid.h"

void asid_cpu_init(struct asid_cpu *cpu, uint32_t end, bool flushes_one)
{
    cpu->generation++;
    cpu->next = end;
    cpu->end = end;
    cpu->flushes_one = flushes_one;
}

enum asid_flush asid_enter(struct asid_cpu *cpu, struct asid_vcpu *v, enum asid_flush stale)
{
    enum asid_flush flush = ASID_KEEP;

    if (stale == ASID_FLUSH_ALL) {
        cpu->generation++;
    }
    if (v->cpu == cpu && v->generation == cpu->generation &&
        (stale == ASID_KEEP || cpu->flushes_one)) {
        return stale;
    }
    if (cpu->next >= cpu->end) {
        cpu->generation++;
        cpu->next = 1;
        flush = ASID_FLUSH_ALL;
    }
    *v = (struct asid_vcpu){.cpu = cpu, .generation = cpu->generation, .asid = cpu->next++};
    return flush;
}
