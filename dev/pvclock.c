/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM-compatible paravirtual clock: CPUID leaves, MSRs, structures in guest memory.
 *
 * Linux documentation: "KVM CPUID bits", "KVM-specific MSRs". Every vCPU's structure counts from
 * the same base with time 0, so that the same TSC instant is the same nanosecond on all of them:
 * what PVCLOCK_TSC_STABLE promises.
 *
 * Pure but for guest memory. Host test: tests/host/test_pvclock.c
 */
#include "hv/pvclock.h"

#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/seam.h"

#define NS_PER_MS 1000000UL
#define NS_PER_SEC 1000000000U
#define SHIFT_MAX 20  /* 1 kHz */
#define SHIFT_MIN -12 /* 2^32 - 1 kHz */

int pvclock_scale(uint64_t khz, struct pvclock_scale *out)
{
    if (khz == 0 || khz > UINT32_MAX) {
        return -ERANGE;
    }
    /* The only shift with 2^31 <= mul < 2^32. The dividend fits: NS_PER_MS is below 2^20 by enough,
     * and 32 - SHIFT_MIN is 44. */
    for (int shift = SHIFT_MIN; shift <= SHIFT_MAX; shift++) {
        uint64_t mul = ((NS_PER_MS << (32 - shift)) + khz / 2) / khz;

        if (mul <= UINT32_MAX) {
            *out = (struct pvclock_scale){(uint32_t)mul, (int8_t)shift};
            return 0;
        }
    }
    return -ERANGE; /* not reached: at SHIFT_MAX even 1 kHz fits */
}

uint64_t pvclock_ns(const struct pvclock_scale *scale, uint64_t cycles)
{
    uint64_t scaled = scale->shift >= 0 ? cycles << scale->shift : cycles >> -scale->shift;
    uint64_t high = (scaled >> 32) * scale->mul;
    uint64_t low = (scaled & UINT32_MAX) * scale->mul;

    return high + (low >> 32);
}

void pvclock_time_info(const struct pvclock *clock, const struct pvclock_scale *scale,
                       uint64_t tsc_offset, struct pvclock_time_info *out)
{
    /* The guest's TSC at time 0. It may be "before" 0: differences are right modulo 2^64. */
    *out = (struct pvclock_time_info){.tsc_timestamp = clock->base_tsc + tsc_offset,
                                      .system_time = 0,
                                      .tsc_to_system_mul = scale->mul,
                                      .tsc_shift = scale->shift,
                                      .flags = PVCLOCK_TSC_STABLE};
}

void pvclock_wall_clock(const struct pvclock *clock, struct pvclock_wall_clock *out)
{
    /* 32 bits of seconds are the interface: until 2106. */
    *out = (struct pvclock_wall_clock){.sec = (uint32_t)clock->wall_sec, .nsec = clock->wall_nsec};
}

bool pvclock_cpuid(uint32_t leaf, struct cpuid_values *out)
{
    if (leaf == PVCLOCK_CPUID_BASE) {
        *out = (struct cpuid_values){.eax = PVCLOCK_CPUID_FEATURES,
                                     .ebx = KVM_CPUID_SIG_EBX,
                                     .ecx = KVM_CPUID_SIG_ECX,
                                     .edx = KVM_CPUID_SIG_EDX};
        return true;
    }
    if (leaf == PVCLOCK_CPUID_FEATURES) {
        *out = (struct cpuid_values){.eax = KVM_FEATURE_CLOCKSOURCE2 |
                                            KVM_FEATURE_CLOCKSOURCE_STABLE};
        return true;
    }
    return false;
}

bool pvclock_is_msr(uint32_t index)
{
    return index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_SYSTEM_TIME;
}

uint64_t pvclock_rdmsr(const struct pvclock *clock, const struct pvclock_vcpu *v, uint32_t index)
{
    return index == MSR_KVM_WALL_CLOCK ? clock->wall_msr : v->system_time_msr;
}

/*
 * Writes a structure that begins with its version: odd, the rest, even. Another vCPU of the guest
 * may be reading: the fences pair with the reads of version around its reads of the rest.
 */
static int publish(struct domain *d, uint64_t gpa, void *data, size_t len)
{
    uint8_t *bytes = data;
    uint32_t version;

    /* All of it is checked before anything is written. */
    if (domain_read(d, gpa + len - 1, &version, 1) != 0 ||
        domain_read(d, gpa, &version, sizeof(version)) != 0) {
        return -EINVAL;
    }
    version |= 1;
    if (domain_write(d, gpa, &version, sizeof(version)) != 0) {
        return -EINVAL;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (domain_write(d, gpa + sizeof(version), bytes + sizeof(version), len - sizeof(version)) !=
        0) {
        return -EINVAL;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    version++;
    return domain_write(d, gpa, &version, sizeof(version)) == 0 ? 0 : -EINVAL;
}

static int publish_time(struct domain *d, const struct pvclock *clock, uint64_t msr, uint64_t khz,
                        uint64_t tsc_offset)
{
    struct pvclock_time_info info;
    struct pvclock_scale scale;

    if (pvclock_scale(khz, &scale) != 0) {
        return -EINVAL;
    }
    pvclock_time_info(clock, &scale, tsc_offset, &info);
    return publish(d, msr & ~PVCLOCK_ENABLE, &info, sizeof(info));
}

static bool system_time_aligned(uint64_t msr)
{
    return is_aligned(msr & ~PVCLOCK_ENABLE, PVCLOCK_ALIGN);
}

int pvclock_wrmsr(struct domain *d, struct pvclock *clock, struct pvclock_vcpu *v, uint32_t index,
                  uint64_t value, uint64_t khz, uint64_t tsc_offset)
{
    struct pvclock_wall_clock wall;

    if (index == MSR_KVM_WALL_CLOCK) {
        pvclock_wall_clock(clock, &wall);
        if (!is_aligned(value, PVCLOCK_ALIGN) || publish(d, value, &wall, sizeof(wall)) != 0) {
            return -EINVAL;
        }
        clock->wall_msr = value;
        return 0;
    }
    if (!system_time_aligned(value)) {
        return -EINVAL;
    }
    if ((value & PVCLOCK_ENABLE) && publish_time(d, clock, value, khz, tsc_offset) != 0) {
        return -EINVAL;
    }
    v->system_time_msr = value;
    return 0;
}

void pvclock_refresh(struct domain *d, const struct pvclock *clock, const struct pvclock_vcpu *v,
                     uint64_t khz, uint64_t tsc_offset)
{
    if (v->system_time_msr & PVCLOCK_ENABLE) {
        /* The address was good when it was written, and memory never goes away. */
        (void)publish_time(d, clock, v->system_time_msr, khz, tsc_offset);
    }
}

bool pvclock_valid(const struct pvclock *clock)
{
    return clock->wall_nsec < NS_PER_SEC && is_aligned(clock->wall_msr, PVCLOCK_ALIGN);
}

bool pvclock_vcpu_valid(const struct pvclock_vcpu *v)
{
    return system_time_aligned(v->system_time_msr);
}
