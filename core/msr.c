/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intercepted MSRs. A guest has STAR to SFMASK, the FS, GS and kernel GS bases, SYSENTER and (with
 * RDTSCP) TSC_AUX to itself; the ones here are emulated; every other one is #GP.
 */
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/seam.h"
#include "hw/x86.h"

#define APIC_BASE_DISABLED 0xfee00100UL /* BSP, no local APIC */
#define PAT_TYPES 8

static uint64_t guest_tsc(struct vcpu *v)
{
    return tsc_read() + hvm->reg_get(v, HVM_REG_TSC_OFFSET);
}

int guest_rdmsr(struct vcpu *v, uint32_t index, uint64_t *value)
{
    switch (index) {
    case MSR_TSC:
        *value = guest_tsc(v);
        return 0;
    case MSR_APIC_BASE:
        *value = APIC_BASE_DISABLED;
        return 0;
    case MSR_BIOS_SIGN_ID:
    case MSR_DEBUGCTL:
    case MSR_MISC_ENABLE:
        *value = 0;
        return 0;
    case MSR_PAT:
        *value = hvm->reg_get(v, HVM_REG_PAT);
        return 0;
    case MSR_EFER:
        *value = hvm->reg_get(v, HVM_REG_EFER);
        return 0;
    default:
        return -EINVAL;
    }
}

/* SDM volume 3, "IA32_PAT MSR": each byte one of UC, WC, WT, WP, WB, UC-. */
bool pat_valid(uint64_t value)
{
    for (unsigned int i = 0; i < PAT_TYPES; i++) {
        uint8_t type = (uint8_t)(value >> (i * 8));

        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

static int write_efer(struct vcpu *v, uint64_t value)
{
    uint64_t old = hvm->reg_get(v, HVM_REG_EFER);
    bool paging = hvm->reg_get(v, HVM_REG_CR0) & CR0_PG;

    if ((value & ~guest_efer_allowed()) || (paging && ((value ^ old) & EFER_LME))) {
        return -EINVAL;
    }
    hvm->reg_set(v, HVM_REG_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
    return 0;
}

int guest_wrmsr(struct vcpu *v, uint32_t index, uint64_t value)
{
    switch (index) {
    case MSR_TSC:
        hvm->reg_set(v, HVM_REG_TSC_OFFSET, value - tsc_read());
        return 0;
    case MSR_BIOS_SIGN_ID: /* written as 0 before CPUID 1 to read the microcode revision */
        return 0;
    case MSR_DEBUGCTL:
        return value == 0 ? 0 : -EINVAL;
    case MSR_PAT:
        if (!pat_valid(value)) {
            return -EINVAL;
        }
        hvm->reg_set(v, HVM_REG_PAT, value);
        return 0;
    case MSR_EFER:
        return write_efer(v, value);
    default:
        return -EINVAL;
    }
}
