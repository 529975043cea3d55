/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMCSs: life, which one is current, control fields and host state.
 *
 * A VMCS becomes active on a CPU when it is first loaded there and stays so until vmcs_clear():
 * the CPU may hold parts of it in caches that only VMCLEAR writes back. SDM volume 3, "Software Use
 * of the VMCS and Related Structures", "Host-State Area", "VM-Execution Control Fields".
 */
#include "vmx_priv.h"

#include "asm/cpu.h"
#include "hv/boot_alloc.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hw/vmx.h"
#include "hw/x86.h"
#include "vmx_asm.h"

/* MSR bitmap: a quarter of the page each for reads and writes of low and high MSRs. */
#define MSR_BITMAP_HIGH 0x400U
#define MSR_BITMAP_WRITE 0x800U
#define MSR_BITMAP_MSRS 0x2000U
#define MSR_HIGH_BASE 0xc0000000U

#define VPIDS 0x10000U

/* Debug and alignment exceptions are intercepted since a guest can make their delivery raise them
 * again without end, inside one instruction and deaf to the preemption timer. */
#define EXCEPTION_BITMAP ((1U << EXC_DB) | (1U << EXC_AC) | (1U << EXC_MC))

static uint8_t *msr_bitmap;
static uint8_t *io_bitmap[2];

/* VPIDs in use. 0 is the host's; its bit is not looked at, so that this is .bss. */
static uint64_t vpid_used[VPIDS / 64];
static uint16_t vpid_next = 1;

static paddr_t page_pa(const void *page)
{
    return mfn_to_pa(va_to_mfn(page));
}

static void msr_bitmap_open(uint32_t msr)
{
    uint32_t half = msr >= MSR_HIGH_BASE ? MSR_BITMAP_HIGH : 0;
    uint32_t bit = msr & (MSR_BITMAP_MSRS - 1);
    uint8_t others = (uint8_t)(0xffU ^ 1U << bit % 8);

    msr_bitmap[half + bit / 8] &= others;
    msr_bitmap[MSR_BITMAP_WRITE + half + bit / 8] &= others;
}

/* A page of ones: everything exits. */
static uint8_t *bitmap_alloc(void)
{
    uint8_t *bitmap = pool_alloc();

    if (bitmap != NULL) {
        memset(bitmap, 0xff, PAGE_SIZE);
    }
    return bitmap;
}

int vmcs_bitmaps_init(void)
{
    if (msr_bitmap != NULL) {
        return 0;
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(io_bitmap); i++) {
        if (io_bitmap[i] == NULL) {
            io_bitmap[i] = bitmap_alloc();
        }
        if (io_bitmap[i] == NULL) {
            return -ENOMEM;
        }
    }
    msr_bitmap = bitmap_alloc();
    if (msr_bitmap == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < ARRAY_SIZE(guest_own_msrs); i++) {
        msr_bitmap_open(guest_own_msrs[i]);
    }
    if (vmx_caps.secondary & SEC_RDTSCP) {
        msr_bitmap_open(MSR_TSC_AUX);
    }
    return 0;
}

/* 0 when all are in use. */
static uint16_t vpid_alloc(void)
{
    for (unsigned int i = 0; i < VPIDS; i++) {
        uint16_t vpid = vpid_next++;

        if (vpid != 0 && !(vpid_used[vpid / 64] & BIT(vpid % 64))) {
            vpid_used[vpid / 64] |= BIT(vpid % 64);
            return vpid;
        }
    }
    return 0;
}

static void vpid_free(uint16_t vpid)
{
    vpid_used[vpid / 64] &= ~BIT(vpid % 64);
}

static void write_controls(const struct vmx_vcpu *x, const struct nested *ept)
{
    vmwrite(VMCS_PIN_CTLS, vmx_caps.pin);
    vmwrite(VMCS_PRIMARY_CTLS, vmx_caps.primary);
    vmwrite(VMCS_SECONDARY_CTLS, vmx_caps.secondary);
    vmwrite(VMCS_EXIT_CTLS, vmx_caps.exit);
    vmwrite(VMCS_ENTRY_CTLS, vmx_caps.entry);
    vmwrite(VMCS_EXCEPTION_BITMAP, EXCEPTION_BITMAP);
    vmwrite(VMCS_PF_ERROR_MASK, 0);
    vmwrite(VMCS_PF_ERROR_MATCH, 0);
    vmwrite(VMCS_CR3_TARGET_COUNT, 0);
    vmwrite(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmwrite(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_ENTRY_INTR_INFO, 0);
    vmwrite(VMCS_IO_BITMAP_A, page_pa(io_bitmap[0]));
    vmwrite(VMCS_IO_BITMAP_B, page_pa(io_bitmap[1]));
    vmwrite(VMCS_MSR_BITMAP, page_pa(msr_bitmap));
    vmwrite(VMCS_EPTP, nested_root_pa(ept) | EPTP_WB | EPTP_WALK_4);
    vmwrite(VMCS_VPID, x->vpid);
    vmwrite(VMCS_TSC_OFFSET, 0);
    vmx_write_cr_masks();
}

/* Guest fields that no vCPU state changes. */
static void write_guest_constants(void)
{
    vmwrite(VMCS_GUEST_LINK, VMCS_LINK_NONE);
    vmwrite(VMCS_GUEST_DEBUGCTL, 0);
    vmwrite(VMCS_GUEST_ACTIVITY, VMCS_ACTIVITY_ACTIVE);
}

/* Without RPL and TI, which host fields must not have. */
#define READ_SELECTOR(name, insn)                       \
    static uint16_t read_##name(void)                   \
    {                                                   \
        uint16_t selector;                              \
        __asm__ volatile(insn " %0" : "=rm"(selector)); \
        return (uint16_t)(selector & ~7U);              \
    }
READ_SELECTOR(cs, "mov %%cs,")
READ_SELECTOR(ss, "mov %%ss,")
READ_SELECTOR(ds, "mov %%ds,")
READ_SELECTOR(es, "mov %%es,")
READ_SELECTOR(fs, "mov %%fs,")
READ_SELECTOR(gs, "mov %%gs,")
READ_SELECTOR(tr, "str")
#undef READ_SELECTOR

/* Base of the TSS, from its 16-byte descriptor; SDM volume 3, "TSS Descriptor in 64-bit mode". */
static uint64_t tss_base(uint64_t gdt_base, uint16_t tr)
{
    const uint64_t *descriptor = (const uint64_t *)(gdt_base + tr);

    return (descriptor[0] >> 16 & BITS(23, 0)) | (descriptor[0] >> 56 & 0xff) << 24 |
           descriptor[1] << 32;
}

/* What an exit on this CPU comes back to. RSP is written at each entry. */
static void write_host_state(void)
{
    uint64_t gdt = sgdt().base;
    uint16_t tr = read_tr();

    vmwrite(VMCS_HOST_CR0, read_cr0());
    vmwrite(VMCS_HOST_CR3, read_cr3());
    vmwrite(VMCS_HOST_CR4, read_cr4());
    vmwrite(VMCS_HOST_CS_SELECTOR, read_cs());
    vmwrite(VMCS_HOST_SS_SELECTOR, read_ss());
    vmwrite(VMCS_HOST_DS_SELECTOR, read_ds());
    vmwrite(VMCS_HOST_ES_SELECTOR, read_es());
    vmwrite(VMCS_HOST_FS_SELECTOR, read_fs());
    vmwrite(VMCS_HOST_GS_SELECTOR, read_gs());
    vmwrite(VMCS_HOST_TR_SELECTOR, tr);
    vmwrite(VMCS_HOST_FS_BASE, rdmsr(MSR_FS_BASE));
    vmwrite(VMCS_HOST_GS_BASE, rdmsr(MSR_GS_BASE));
    vmwrite(VMCS_HOST_TR_BASE, tss_base(gdt, tr));
    vmwrite(VMCS_HOST_GDTR_BASE, gdt);
    vmwrite(VMCS_HOST_IDTR_BASE, sidt().base);
    vmwrite(VMCS_HOST_SYSENTER_CS, 0);
    vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
    vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
    vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
    vmwrite(VMCS_HOST_PAT, rdmsr(MSR_PAT));
    vmwrite(VMCS_HOST_RIP, (uint64_t)(uintptr_t)vmx_exit_entry);
}

static void activate(struct vmx_vcpu *x, struct vmx_cpu *cpu)
{
    x->cpu = cpu;
    x->launched = false;
    x->flush_vpid = true;
    x->prev_active = NULL;
    x->next_active = cpu->active;
    if (cpu->active != NULL) {
        cpu->active->prev_active = x;
    }
    cpu->active = x;
}

struct vmx_vcpu *vmcs_load(struct vcpu *v)
{
    struct vmx_cpu *cpu = vmx_this_cpu();
    struct vmx_vcpu *x = v->hvm_data;

    if (cpu->current == x) {
        return x;
    }
    BUG_ON(!cpu->on);
    BUG_ON(x->cpu != NULL && x->cpu != cpu); /* vmcs_clear() on that CPU comes first */
    vmptrld(page_pa(x->vmcs));
    cpu->current = x;
    if (x->cpu == NULL) {
        activate(x, cpu);
        write_host_state();
    }
    return x;
}

void vmcs_clear(struct vmx_vcpu *x)
{
    struct vmx_cpu *cpu = x->cpu;

    if (cpu == NULL) {
        return;
    }
    BUG_ON(cpu != vmx_this_cpu());
    vmclear(page_pa(x->vmcs));
    if (x->next_active != NULL) {
        x->next_active->prev_active = x->prev_active;
    }
    if (x->prev_active != NULL) {
        x->prev_active->next_active = x->next_active;
    } else {
        cpu->active = x->next_active;
    }
    if (cpu->current == x) {
        cpu->current = NULL;
    }
    x->cpu = NULL;
}

int vmx_vcpu_init(struct vcpu *v)
{
    struct vmx_vcpu *x = kzalloc(sizeof(*x));

    if (x == NULL) {
        return -ENOMEM;
    }
    x->vmcs = pool_alloc();
    if (x->vmcs == NULL) {
        goto free_vcpu;
    }
    x->vpid = vpid_alloc();
    if (x->vpid == 0) {
        goto free_vmcs;
    }
    *(uint32_t *)x->vmcs = vmx_caps.revision;
    vmclear(page_pa(x->vmcs));
    v->hvm_data = x;
    vmcs_load(v);
    write_controls(x, v->domain->stage2);
    write_guest_constants();
    return 0;

free_vmcs:
    pool_free(x->vmcs);
free_vcpu:
    kfree(x);
    return -ENOMEM;
}

void vmx_vcpu_fini(struct vcpu *v)
{
    struct vmx_vcpu *x = v->hvm_data;

    if (x == NULL) {
        return;
    }
    vmcs_clear(x);
    vpid_free(x->vpid);
    pool_free(x->vmcs);
    kfree(x);
    v->hvm_data = NULL;
}
