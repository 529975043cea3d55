/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest registers by name, and control registers as the guest sees them.
 *
 * A bit of CR0 or CR4 that the guest may not change freely is kept: its real value stands in the
 * field, the guest reads it from the shadow, and a write that changes it exits. SDM volume 3,
 * "Guest/Host Masks and Read Shadows for CR0 and CR4", "Loading Guest Control Registers, Debug
 * Registers, and MSRs".
 */
#include "vmx_priv.h"

#include "asm/cpu.h"
#include "hv/domain.h"
#include "hv/printk.h"
#include "hw/vmx.h"
#include "hw/x86.h"
#include "vmx_asm.h"

/* Writing these makes the CPU read the PDPTEs; SDM volume 3, "PDPTE Registers". */
#define CR0_LOADS_PDPTE (CR0_PG | CR0_CD | CR0_NW)
#define CR4_LOADS_PDPTE (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP)

/* Entries and exits leave CD and NW of the CPU as they are: what the guest set would stay set in
 * molt. ET is fixed in the CPU. */
static uint64_t cr0_kept(void)
{
    return (~guest_cr0_allowed() | CR0_NE | CR0_CD | CR0_NW) & ~CR0_ET;
}

/* With MCE clear a machine check would shut the CPU down instead of exiting. */
static uint64_t cr4_kept(void)
{
    return ~guest_cr4_allowed() | CR4_VMXE | CR4_MCE;
}

void vmx_write_cr_masks(void)
{
    vmwrite(VMCS_CR0_MASK, cr0_kept());
    vmwrite(VMCS_CR4_MASK, cr4_kept());
}

uint64_t vmx_get_cr0(void)
{
    uint64_t kept = cr0_kept();

    return (vmread(VMCS_GUEST_CR0) & ~kept) | (vmread(VMCS_CR0_SHADOW) & kept);
}

uint64_t vmx_get_cr4(void)
{
    uint64_t kept = cr4_kept();

    return (vmread(VMCS_GUEST_CR4) & ~kept) | (vmread(VMCS_CR4_SHADOW) & kept);
}

void vmx_set_mode(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    /* An unrestricted guest is free to have PE and PG clear. */
    uint64_t cr0_fixed = vmx_caps.cr0_fixed0 & ~(CR0_PE | CR0_PG);
    uint64_t host_mce = read_cr4() & CR4_MCE;
    bool long_mode = (cr0 & CR0_PG) && (efer & EFER_LME);

    vmwrite(VMCS_GUEST_CR0, (cr0 & ~cr0_kept()) | cr0_fixed | CR0_ET);
    vmwrite(VMCS_CR0_SHADOW, cr0);
    vmwrite(VMCS_GUEST_CR4, (cr4 & ~cr4_kept()) | vmx_caps.cr4_fixed0 | host_mce);
    vmwrite(VMCS_CR4_SHADOW, cr4);
    vmwrite(VMCS_GUEST_EFER, (efer & ~EFER_LMA) | (long_mode ? EFER_LMA : 0));
    vmwrite(VMCS_ENTRY_CTLS, vmx_caps.entry | (long_mode ? ENTRY_CTL_IA32E : 0));
}

/* As MOV to a control register does in PAE paging. An entry that is not in RAM or has reserved bits
 * becomes not present: the CPU would raise #GP, here the guest takes page faults. */
static void load_pdptes(struct vcpu *v)
{
    uint64_t pdpte[4] = {0};

    if (domain_read(v->domain, vmread(VMCS_GUEST_CR3) & BITS(31, 5), pdpte, sizeof(pdpte)) != 0) {
        pdpte[0] = pdpte[1] = pdpte[2] = pdpte[3] = 0;
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(pdpte); i++) {
        vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, guest_pdpte(pdpte[i]));
    }
}

/* A new CR0, CR4 or EFER on the guest's behalf, with what the CPU does then. */
static void change_mode(struct vcpu *v, struct vmx_vcpu *x, uint64_t cr0, uint64_t cr4,
                        uint64_t efer)
{
    uint64_t cr0_changed = vmx_get_cr0() ^ cr0;
    uint64_t cr4_changed = vmx_get_cr4() ^ cr4;

    vmx_set_mode(cr0, cr4, efer);
    if (((cr0_changed & CR0_LOADS_PDPTE) || (cr4_changed & CR4_LOADS_PDPTE)) &&
        guest_pae_paging(cr0, cr4, efer)) {
        load_pdptes(v);
    }
    x->flush_vpid = true;
}

uint64_t vmx_reg_get(struct vcpu *v, enum hvm_reg reg)
{
    vmcs_load(v);
    switch (reg) {
    case HVM_REG_RIP:
        return vmread(VMCS_GUEST_RIP);
    case HVM_REG_RSP:
        return vmread(VMCS_GUEST_RSP);
    case HVM_REG_RFLAGS:
        return vmread(VMCS_GUEST_RFLAGS);
    case HVM_REG_CR0:
        return vmx_get_cr0();
    case HVM_REG_CR3:
        return vmread(VMCS_GUEST_CR3);
    case HVM_REG_CR4:
        return vmx_get_cr4();
    case HVM_REG_EFER:
        return vmread(VMCS_GUEST_EFER);
    case HVM_REG_PAT:
        return vmread(VMCS_GUEST_PAT);
    case HVM_REG_DR7:
        return vmread(VMCS_GUEST_DR7);
    case HVM_REG_TSC_OFFSET:
        return vmread(VMCS_TSC_OFFSET);
    case HVM_REG_CS_BASE:
        return vmread(VMCS_GUEST_CS_BASE);
    case HVM_REG_PDPTE0:
    case HVM_REG_PDPTE1:
    case HVM_REG_PDPTE2:
    case HVM_REG_PDPTE3:
        return vmread(VMCS_GUEST_PDPTE0 + 2 * (uint32_t)(reg - HVM_REG_PDPTE0));
    }
    panic("vmx: register %d", (int)reg);
}

void vmx_reg_set(struct vcpu *v, enum hvm_reg reg, uint64_t value)
{
    struct vmx_vcpu *x = vmcs_load(v);

    switch (reg) {
    case HVM_REG_RIP:
        vmwrite(VMCS_GUEST_RIP, value);
        return;
    case HVM_REG_RSP:
        vmwrite(VMCS_GUEST_RSP, value);
        return;
    case HVM_REG_RFLAGS:
        vmwrite(VMCS_GUEST_RFLAGS, value | RFLAGS_FIXED);
        return;
    case HVM_REG_CR0:
        change_mode(v, x, value, vmx_get_cr4(), vmread(VMCS_GUEST_EFER));
        return;
    case HVM_REG_CR3:
        vmwrite(VMCS_GUEST_CR3, value);
        if (guest_pae_paging(vmx_get_cr0(), vmx_get_cr4(), vmread(VMCS_GUEST_EFER))) {
            load_pdptes(v);
        }
        x->flush_vpid = true;
        return;
    case HVM_REG_CR4:
        change_mode(v, x, vmx_get_cr0(), value, vmread(VMCS_GUEST_EFER));
        return;
    case HVM_REG_EFER:
        change_mode(v, x, vmx_get_cr0(), vmx_get_cr4(), value);
        return;
    case HVM_REG_PAT:
        vmwrite(VMCS_GUEST_PAT, value);
        return;
    case HVM_REG_DR7:
        vmwrite(VMCS_GUEST_DR7, value);
        return;
    case HVM_REG_TSC_OFFSET:
        vmwrite(VMCS_TSC_OFFSET, value);
        return;
    default: /* only read */
        break;
    }
    panic("vmx: register %d", (int)reg);
}
