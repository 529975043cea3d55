/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMX instructions with their failure checks, in every build.
 *
 * An instruction fails with CF (no current VMCS, or a bad operand) or ZF (a number is in the
 * VM-instruction error field); SDM volume 3, "Conventions" of the VMX instruction reference. Except
 * for VMXON a failure is a mistake of ours: vmx_insn_failed() reports it and stops.
 */
#ifndef VMX_VMX_ASM_H
#define VMX_VMX_ASM_H

#include "hv/compiler.h"
#include "hv/types.h"

/* Panics with the instruction, its operand (VMCS field, address or VPID) and the error number. */
NORETURN void vmx_insn_failed(const char *insn, uint64_t operand);

static inline uint64_t vmread(uint32_t field)
{
    uint64_t value;
    bool failed;

    __asm__ volatile("vmread %2, %1" : "=@ccna"(failed), "=r"(value) : "r"((uint64_t)field));
    if (__builtin_expect(failed, 0)) {
        vmx_insn_failed("vmread", field);
    }
    return value;
}

static inline uint32_t vmread32(uint32_t field)
{
    return (uint32_t)vmread(field);
}

static inline void vmwrite(uint32_t field, uint64_t value)
{
    bool failed;

    __asm__ volatile("vmwrite %1, %2" : "=@ccna"(failed) : "r"(value), "r"((uint64_t)field));
    if (__builtin_expect(failed, 0)) {
        vmx_insn_failed("vmwrite", field);
    }
}

static inline void vmptrld(paddr_t vmcs_pa)
{
    bool failed;

    __asm__ volatile("vmptrld %1" : "=@ccna"(failed) : "m"(vmcs_pa) : "memory");
    if (__builtin_expect(failed, 0)) {
        vmx_insn_failed("vmptrld", vmcs_pa);
    }
}

static inline void vmclear(paddr_t vmcs_pa)
{
    bool failed;

    __asm__ volatile("vmclear %1" : "=@ccna"(failed) : "m"(vmcs_pa) : "memory");
    if (__builtin_expect(failed, 0)) {
        vmx_insn_failed("vmclear", vmcs_pa);
    }
}

/* False when it failed: there is no VMCS yet to tell an error number. */
static inline MUST_CHECK bool vmxon(paddr_t region_pa)
{
    bool failed;

    __asm__ volatile("vmxon %1" : "=@ccna"(failed) : "m"(region_pa) : "memory");
    return !failed;
}

static inline void vmxoff(void)
{
    bool failed;

    __asm__ volatile("vmxoff" : "=@ccna"(failed) : : "memory");
    if (__builtin_expect(failed, 0)) {
        vmx_insn_failed("vmxoff", 0);
    }
}

static inline void invept(uint64_t type, uint64_t eptp)
{
    const uint64_t descriptor[2] = {eptp, 0};
    bool failed;

    __asm__ volatile("invept %1, %2" : "=@ccna"(failed) : "m"(descriptor), "r"(type) : "memory");
    if (__builtin_expect(failed, 0)) {
        vmx_insn_failed("invept", eptp);
    }
}

static inline void invvpid(uint64_t type, uint16_t vpid)
{
    const uint64_t descriptor[2] = {vpid, 0};
    bool failed;

    __asm__ volatile("invvpid %1, %2" : "=@ccna"(failed) : "m"(descriptor), "r"(type) : "memory");
    if (__builtin_expect(failed, 0)) {
        vmx_insn_failed("invvpid", vpid);
    }
}

#endif
