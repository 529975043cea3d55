/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intercepted MSRs. A guest has STAR to SFMASK, the FS, GS and kernel GS bases, SYSENTER and (with
 * RDTSCP) TSC_AUX to itself; the ones here are emulated; every other one is #GP.
 */
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/domain.h"
#include "hv/irq.h"
#include "hv/pvclock.h"
#include "hv/seam.h"
#include "hv/time.h"
#include "hw/x86.h"
#include "public/lu_abi.h"

#define MSR_X2APIC_FIRST 0x800U
#define MSR_X2APIC_LAST 0x8ffU
#define MSR_TSC_DEADLINE 0x6e0U
#define MSR_INT_PENDING 0xc0010055U /* AMD: APM volume 2, "Interrupt Pending Message" */
#define PAT_TYPES 8

const uint32_t guest_own_msrs[GUEST_OWN_MSRS] = {
    MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_STAR,         MSR_LSTAR,
    MSR_CSTAR,   MSR_SFMASK,  MSR_SYSENTER_CS,    MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

static uint64_t guest_tsc(struct vcpu *v)
{
    return tsc_read() + hvm->reg_get(v, HVM_REG_TSC_OFFSET);
}

static bool is_apic_msr(uint32_t index)
{
    return index == MSR_APIC_BASE || index == MSR_TSC_DEADLINE ||
           (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST);
}

static void set_tsc_offset(struct vcpu *v, uint64_t offset)
{
    vlapic_tsc_moved(&v->apic, offset - v->tsc_offset);
    v->tsc_offset = offset;
    hvm->reg_set(v, HVM_REG_TSC_OFFSET, offset);
    pvclock_refresh(v->domain, &v->domain->clock, &v->clock, tsc_khz, offset);
}

int guest_rdmsr(struct vcpu *v, uint32_t index, uint64_t *value)
{
    if (is_apic_msr(index)) {
        return vlapic_msr_read(&v->apic, index, value, guest_tsc(v));
    }
    if (pvclock_is_msr(index)) {
        *value = pvclock_rdmsr(&v->domain->clock, &v->clock, index);
        return 0;
    }
    switch (index) {
    case MSR_TSC:
        *value = guest_tsc(v);
        return 0;
    case MSR_BIOS_SIGN_ID:
    case MSR_DEBUGCTL:
    case MSR_MISC_ENABLE:
        *value = 0;
        return 0;
    case MSR_INT_PENDING: /* Linux reads it on any AMD CPU of family 0xf and up, unasked */
        *value = 0;
        return hvm->feature == LU_FEATURE_SVM ? 0 : -EINVAL;
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
    if (index == MSR_APIC_BASE && (value & BITS(51, guest_maxphyaddr()))) {
        return -EINVAL;
    }
    if (is_apic_msr(index)) {
        return vlapic_msr_write(&v->apic, &irq_bus, v->domain, index, value, guest_tsc(v));
    }
    if (pvclock_is_msr(index)) {
        return pvclock_wrmsr(v->domain, &v->domain->clock, &v->clock, index, value, tsc_khz,
                             v->tsc_offset);
    }
    switch (index) {
    case MSR_TSC:
        set_tsc_offset(v, value - tsc_read());
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
