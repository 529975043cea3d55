/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM-compatible paravirtual clock (dev/pvclock.c).
 *
 * A domain's time is nanoseconds since base_tsc of the host. What a vCPU reads of it depends only
 * on base_tsc, the TSC frequency and its TSC offset, all of which an update carries; so the
 * structures in guest memory stay right over an update and are not written anew.
 */
#ifndef HV_PVCLOCK_H
#define HV_PVCLOCK_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "hw/pvclock.h"

/* CPUID: molt's own leaves are at 0x40000000, KVM's one step on. */
#define PVCLOCK_CPUID_BASE 0x40000100U
#define PVCLOCK_CPUID_FEATURES (PVCLOCK_CPUID_BASE + 1)

struct cpuid_values;
struct domain;

/* TSC cycles to nanoseconds: cycles * 2^shift * mul / 2^32. */
struct pvclock_scale {
    uint32_t mul; /* bit 31 is set */
    int8_t shift;
};

/* Of a domain. Carried over an update: all four. */
struct pvclock {
    LAYOUT(uint64_t base_tsc; /* host TSC at time 0 */
           uint64_t wall_sec; /* time of day at time 0, seconds since 1970 */
           , uint32_t wall_nsec; uint64_t wall_msr;)
};

/* Of a vCPU. Carried over an update. */
struct pvclock_vcpu {
    uint64_t system_time_msr; /* address and PVCLOCK_ENABLE */
};

/* Scale for a frequency, rounded to nearest: at most 2^-32 off (0.84 us in an hour). 0, or -ERANGE
 * for 0 kHz and for 2^32 kHz and more. */
MUST_CHECK int pvclock_scale(uint64_t khz, struct pvclock_scale *out);

/* Nanoseconds of that many cycles, as a guest computes them. */
uint64_t pvclock_ns(const struct pvclock_scale *scale, uint64_t cycles);

/* Both structures, version left 0. */
void pvclock_time_info(const struct pvclock *clock, const struct pvclock_scale *scale,
                       uint64_t tsc_offset, struct pvclock_time_info *out);
void pvclock_wall_clock(const struct pvclock *clock, struct pvclock_wall_clock *out);

/* Answers leaves PVCLOCK_CPUID_BASE and the next; false for others. */
bool pvclock_cpuid(uint32_t leaf, struct cpuid_values *out);

/* Is this one of the two MSRs? */
bool pvclock_is_msr(uint32_t index);
uint64_t pvclock_rdmsr(const struct pvclock *clock, const struct pvclock_vcpu *v, uint32_t index);

/* Keeps the value and writes the structure that it names. 0, or -EINVAL for #GP: not aligned to 4,
 * not in the domain's memory; nothing changes then. khz: of the TSC; tsc_offset: the vCPU's. */
MUST_CHECK int pvclock_wrmsr(struct domain *d, struct pvclock *clock, struct pvclock_vcpu *v,
                             uint32_t index, uint64_t value, uint64_t khz, uint64_t tsc_offset);

/* After the vCPU's TSC offset changed: the structure again, if the guest has switched it on. */
void pvclock_refresh(struct domain *d, const struct pvclock *clock, const struct pvclock_vcpu *v,
                     uint64_t khz, uint64_t tsc_offset);

/* Could a guest have brought about this state? For streams, which are not trusted. Addresses need
 * no check: they are checked at each use. */
bool pvclock_valid(const struct pvclock *clock);
bool pvclock_vcpu_valid(const struct pvclock_vcpu *v);

#endif
