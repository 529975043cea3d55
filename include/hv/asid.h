/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address space identifiers (core/asid.c): whose translations are whose in a CPU's TLB. Each CPU
 * gives its own, from 1 up; none is given twice in a generation. Pure.
 */
#ifndef HV_ASID_H
#define HV_ASID_H

#include "hv/compiler.h"
#include "hv/types.h"

/* Of one CPU. Used on it alone. */
struct asid_cpu {
    LAYOUT(uint64_t generation; uint32_t next; /* the first that nobody has had */
           , uint32_t end; bool flushes_one; /* the CPU can flush those of one ASID */)
};

/* Of one vCPU: what it has, and where. All zero: nothing. */
struct asid_vcpu {
    LAYOUT(const struct asid_cpu *cpu; uint64_t generation;, uint32_t asid;)
};

/* What is to be flushed, from little to much. */
enum asid_flush {
    ASID_KEEP,
    ASID_FLUSH_ONE, /* of the vCPU's ASID */
    ASID_FLUSH_ALL,
};

/* Of this CPU are ASIDs [1, end), end >= 2, and its TLB may hold anything: what vCPUs had of it
 * counts no more. Again as well. */
void asid_cpu_init(struct asid_cpu *cpu, uint32_t end, bool flushes_one);

/*
 * Before each entry on a CPU: v->asid is one with which it meets none but its own translations, and
 * none from before the last entry with a `stale` of ASID_FLUSH_ONE (the vCPU's own are out of date)
 * or ASID_FLUSH_ALL (those of all vCPUs on this CPU are). Returns what this entry has to flush.
 */
MUST_CHECK enum asid_flush asid_enter(struct asid_cpu *cpu, struct asid_vcpu *v,
                                      enum asid_flush stale);

#endif
