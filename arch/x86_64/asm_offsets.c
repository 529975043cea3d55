/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constants for the assembly files: compiled to assembly, never linked; the Makefile turns the
 * marked lines into asm_offsets.inc. Each image has its own, since structure layouts differ.
 */
#include "asm/machine.h"
#include "asm/traps.h"
#include "hv/fault.h"
#include "hv/vcpu.h"
#include "hw/multiboot.h"
#include "hw/vmx.h"
#include "public/lu_abi.h"

#define OFFSET(name, value) __asm__ volatile("\n@DEFINE " #name " %c0" ::"i"(value))

void asm_offsets(void);

void asm_offsets(void)
{
    OFFSET(VCPU_GPR, offsetof(struct vcpu, gpr));
    OFFSET(MB2_BOOT_MAGIC, MB2_BOOT_MAGIC);
    OFFSET(VMCS_HOST_RSP, VMCS_HOST_RSP);
    OFFSET(CPU_STACK_TOP, offsetof(struct cpu_arch, stack_top));
    OFFSET(CPU_NEXT, offsetof(struct cpu_arch, next));
    OFFSET(LU_PARK_MAGIC, LU_PARK_MAGIC);
    OFFSET(LU_BACK_MAGIC, LU_BACK_MAGIC);
    OFFSET(HANDOVER_DEADLINE,
           offsetof(struct lu_handover, back) + offsetof(struct lu_way_back, deadline_tsc));
    OFFSET(HANDOVER_DEADLINE_2,
           offsetof(struct lu_handover, back[1]) + offsetof(struct lu_way_back, deadline_tsc));
    OFFSET(PARK_CHECK,
           offsetof(struct lu_handover, park_check) - offsetof(struct lu_handover, park));
    OFFSET(PARK_PARKED, offsetof(struct lu_park, parked));
    OFFSET(PARK_ENTRY, offsetof(struct lu_park, entry_pa));
    OFFSET(FAULT_SHARED_PA, FAULT_SHARED_PA);
    OFFSET(FAULT_FIRED, offsetof(struct fault_shared, fired));
    OFFSET(FAULT_ASM_MAGIC, FAULT_ASM_MAGIC);
    OFFSET(FAULT_ASM_RELOCATE, FAULT_ASM_RELOCATE);
    OFFSET(FAULT_ASM_LEAVE, FAULT_ASM_LEAVE);
    OFFSET(FAULT_ASM_ENTER, FAULT_ASM_ENTER);
    OFFSET(FAULT_ASM_ENTRY32, FAULT_ASM_ENTRY32);
    OFFSET(FAULT_ASM_ENTRY64, FAULT_ASM_ENTRY64);
    OFFSET(FAULT_ASM_UD, FAULT_ASM_UD);
    OFFSET(FAULT_ASM_HANG, FAULT_ASM_HANG);
    OFFSET(FAULT_ASM_HALT, FAULT_ASM_HALT);
    OFFSET(DIRECT_SLOT, (DIRECT_VA >> 39) & 511);
}
