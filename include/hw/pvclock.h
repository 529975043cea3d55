/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's paravirtual clock. Linux documentation: "KVM CPUID bits", "KVM-specific MSRs".
 */
#ifndef HW_PVCLOCK_H
#define HW_PVCLOCK_H

#include <stdint.h>

/* "KVMKVMKVM" and three zero bytes in EBX, ECX, EDX */
#define KVM_CPUID_SIG_EBX 0x4b4d564bU
#define KVM_CPUID_SIG_ECX 0x564b4d56U
#define KVM_CPUID_SIG_EDX 0x0000004dU
#define KVM_FEATURE_CLOCKSOURCE2 (1U << 3)
#define KVM_FEATURE_CLOCKSOURCE_STABLE (1U << 24)

#define MSR_KVM_WALL_CLOCK 0x4b564d00U  /* address; written: filled once */
#define MSR_KVM_SYSTEM_TIME 0x4b564d01U /* address and PVCLOCK_ENABLE */
#define PVCLOCK_ENABLE 1UL
#define PVCLOCK_ALIGN 4UL

#define PVCLOCK_TSC_STABLE 1U /* flags: the same time on all vCPUs */

/* Nanoseconds = system_time + (((TSC - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32); a
 * negative shift goes right. An odd version: being written. */
struct pvclock_time_info {
    uint32_t version;
    uint32_t reserved0;
    uint64_t tsc_timestamp;
    uint64_t system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t reserved1[2];
};

/* Time of day when system_time was 0. */
struct pvclock_wall_clock {
    uint32_t version;
    uint32_t sec;
    uint32_t nsec;
};

_Static_assert(sizeof(struct pvclock_time_info) == 32, "pvclock_vcpu_time_info");
_Static_assert(__builtin_offsetof(struct pvclock_time_info, tsc_shift) == 28, "tsc_shift");
_Static_assert(sizeof(struct pvclock_wall_clock) == 12, "pvclock_wall_clock");

#endif
