/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constants for the assembly files: compiled to assembly, never linked; the Makefile turns the
 * marked lines into asm_offsets.inc. Each image has its own, since structure layouts differ.
 */
#include "asm/machine.h"
#include "asm/traps.h"
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
    OFFSET(PARK_ENTRY, offsetof(struct lu_park, entry_pa));
    OFFSET(DIRECT_SLOT, (DIRECT_VA >> 39) & 511);
}
