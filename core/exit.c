/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neutral exits to what is done about them. Knows no VMCS and no VMCB.
 *
 * A guest's fault is the guest's: it is injected, or that domain stops. Never the host.
 */
#include "hv/exit.h"

#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/irq.h"
#include "hv/mmio.h"
#include "hv/pio.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hw/x86.h"

#define LOW32 0xffffffffUL

void guest_fault(struct vcpu *v, unsigned int vector)
{
    hvm->inject(v, EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | vector, 0);
}

void guest_fault_code(struct vcpu *v, unsigned int vector, uint32_t error_code)
{
    hvm->inject(v, EVENT_VALID | EVENT_ERROR_CODE | EVENT_TYPE_HW_EXCEPTION << 8 | vector,
                error_code);
}

static void do_cpuid(struct vcpu *v, const struct hvm_exit *exit)
{
    struct cpuid_values r = guest_cpuid(v, (uint32_t)v->gpr[GPR_RAX], (uint32_t)v->gpr[GPR_RCX]);

    v->gpr[GPR_RAX] = r.eax;
    v->gpr[GPR_RBX] = r.ebx;
    v->gpr[GPR_RCX] = r.ecx;
    v->gpr[GPR_RDX] = r.edx;
    hvm->skip(v, exit->insn_length);
}

static void do_msr_read(struct vcpu *v, const struct hvm_exit *exit)
{
    uint64_t value;

    if (guest_rdmsr(v, exit->msr.index, &value) != 0) {
        guest_fault_code(v, EXC_GP, 0);
        return;
    }
    v->gpr[GPR_RAX] = value & LOW32;
    v->gpr[GPR_RDX] = value >> 32;
    hvm->skip(v, exit->insn_length);
}

static void do_msr_write(struct vcpu *v, const struct hvm_exit *exit)
{
    uint64_t value = (v->gpr[GPR_RAX] & LOW32) | v->gpr[GPR_RDX] << 32;

    if (guest_wrmsr(v, exit->msr.index, value) != 0) {
        guest_fault_code(v, EXC_GP, 0);
        return;
    }
    hvm->skip(v, exit->insn_length);
}

/* XSETBV rules: SDM volume 1, "XSAVE-Supported Features and State-Component Bitmaps". */
bool xcr0_valid(uint64_t value)
{
    uint64_t avx512 = value & XCR0_AVX512;

    return (value & XCR0_X87) && !(value & ~guest_xcr0_allowed()) &&
           (!(value & XCR0_AVX) || (value & XCR0_SSE)) &&
           (avx512 == 0 || (avx512 == XCR0_AVX512 && (value & XCR0_AVX)));
}

static void do_xsetbv(struct vcpu *v, const struct hvm_exit *exit)
{
    uint64_t value = (v->gpr[GPR_RAX] & LOW32) | v->gpr[GPR_RDX] << 32;

    if (!(hvm->reg_get(v, HVM_REG_CR4) & CR4_OSXSAVE)) {
        guest_fault(v, EXC_UD);
    } else if (exit->cpl != 0 || (v->gpr[GPR_RCX] & LOW32) != 0 || !xcr0_valid(value)) {
        guest_fault_code(v, EXC_GP, 0);
    } else {
        context_set_xcr0(&v->ctx, value);
        hvm->skip(v, exit->insn_length);
    }
}

/* SDM volume 2, "MOV - Move to/from Control Registers": what is #GP. */
static bool cr0_valid(struct vcpu *v, const struct hvm_exit *exit, uint64_t value)
{
    uint64_t cr4 = hvm->reg_get(v, HVM_REG_CR4), efer = hvm->reg_get(v, HVM_REG_EFER);
    bool was_paging = hvm->reg_get(v, HVM_REG_CR0) & CR0_PG;

    if (value > LOW32 || ((value & CR0_PG) && !(value & CR0_PE)) ||
        ((value & CR0_NW) && !(value & CR0_CD))) {
        return false;
    }
    if (!was_paging && (value & CR0_PG) && (efer & EFER_LME)) { /* into long mode */
        return (cr4 & CR4_PAE) && !exit->code64;
    }
    if (was_paging && !(value & CR0_PG)) { /* out of paging */
        return !exit->code64 && !(cr4 & CR4_PCIDE);
    }
    return true;
}

static bool cr4_valid(struct vcpu *v, uint64_t value)
{
    uint64_t old = hvm->reg_get(v, HVM_REG_CR4);
    bool long_mode = hvm->reg_get(v, HVM_REG_EFER) & EFER_LMA;

    if ((value & ~guest_cr4_allowed()) || (long_mode && !(value & CR4_PAE))) {
        return false;
    }
    if ((value & CR4_PCIDE) && !(old & CR4_PCIDE)) {
        return long_mode && (hvm->reg_get(v, HVM_REG_CR3) & CR3_PCID) == 0;
    }
    return true;
}

/* A write to CR0 or CR4 that touches bits molt keeps: allowed bits go through, others are #GP. */
static void do_cr_write(struct vcpu *v, const struct hvm_exit *exit)
{
    uint64_t value = exit->cr.value;
    bool ok;

    switch (exit->cr.number) {
    case 0:
        value |= CR0_ET; /* always reads as 1 */
        ok = cr0_valid(v, exit, value);
        value &= guest_cr0_allowed(); /* reserved bits below 32 are ignored */
        break;
    case 4:
        ok = cr4_valid(v, value);
        break;
    case 8:
        ok = value <= 15;
        break;
    default:
        ok = false;
        break;
    }
    if (!ok) {
        guest_fault_code(v, EXC_GP, 0);
        return;
    }
    if (exit->cr.number == 8) {
        vlapic_set_cr8(&v->apic, value);
    } else {
        hvm->reg_set(v, exit->cr.number == 0 ? HVM_REG_CR0 : HVM_REG_CR4, value);
    }
    hvm->skip(v, exit->insn_length);
}

/* EPT or NPT violation: maps the largest leaf that the domain's extents allow, but nothing fresh
 * beyond the unit of the access. */
static void do_stage2(struct vcpu *v, const struct hvm_exit *exit)
{
    struct domain *d = v->domain;
    gfn_t gfn = gfn_from(exit->stage2.gpa >> PAGE_SHIFT);
    uint64_t gib = align_down(gfn.v, BIT(ORDER_1G));
    bool fresh = fresh_any(&d->fresh, gib, gib + BIT(ORDER_1G));
    mfn_t mfn;
    int order = extent_map_leaf(&d->extents, gfn, fresh ? FRESH_UNIT_ORDER : MAX_ORDER, &mfn);

    if (order < 0) {
        if (mmio_handle(v, exit)) {
            return;
        }
        domain_stop(d, "access (%s%s%s) to guest-physical 0x%llx outside its memory",
                    (exit->stage2.access & STAGE2_READ) ? "r" : "",
                    (exit->stage2.access & STAGE2_WRITE) ? "w" : "",
                    (exit->stage2.access & STAGE2_EXEC) ? "x" : "",
                    (unsigned long long)exit->stage2.gpa);
        return;
    }
    gfn.v = align_down(gfn.v, BIT(order));
    if (fresh_touch(d, gfn.v, gfn.v + BIT(order)) != 0 ||
        hvm->map(d, gfn, mfn, (unsigned int)order) != 0) {
        domain_stop(d, "out of memory for nested page tables");
    }
}

bool domain_is_deaf(const struct domain *d)
{
    for_each_vcpu(d, v) {
        if (v->run_state == VCPU_RUNNABLE || v->run_state == VCPU_SLEEPING || v->signals != 0 ||
            (v->run_state == VCPU_HALTED && !v->deaf)) {
            return false;
        }
    }
    return !vioapic_signals(&d->ioapic, IRQ_COM1);
}

static void do_hlt(struct vcpu *v, const struct hvm_exit *exit)
{
    uint64_t rflags = hvm->reg_get(v, HVM_REG_RFLAGS);

    hvm->skip(v, exit->insn_length);
    v->run_state = VCPU_HALTED; /* irq_wakes() ends it */
    v->deaf = !(rflags & RFLAGS_IF);
    if (domain_is_deaf(v->domain)) {
        domain_stop(v->domain, "halted with interrupts off at rip=0x%llx",
                    (unsigned long long)exit->rip);
    }
}

void exit_handle(struct vcpu *v, const struct hvm_exit *exit)
{
    switch (exit->reason) {
    case HVM_EXIT_TIMER:
    case HVM_EXIT_HOST:
    case HVM_EXIT_IRQ_WINDOW:
    case HVM_EXIT_REINJECT:
        break;
    case HVM_EXIT_CPUID:
        do_cpuid(v, exit);
        break;
    case HVM_EXIT_MSR_READ:
        do_msr_read(v, exit);
        break;
    case HVM_EXIT_MSR_WRITE:
        do_msr_write(v, exit);
        break;
    case HVM_EXIT_IO:
        pio_handle(v, exit);
        break;
    case HVM_EXIT_HLT:
        do_hlt(v, exit);
        break;
    case HVM_EXIT_HYPERCALL:
        if (hypercall_vmcall(v, exit)) {
            hvm->skip(v, exit->insn_length);
        }
        break;
    case HVM_EXIT_XSETBV:
        do_xsetbv(v, exit);
        break;
    case HVM_EXIT_CR_WRITE:
        do_cr_write(v, exit);
        break;
    case HVM_EXIT_STAGE2:
        do_stage2(v, exit);
        break;
    case HVM_EXIT_UNDEFINED:
        guest_fault(v, EXC_UD);
        break;
    case HVM_EXIT_NOP:
        hvm->skip(v, exit->insn_length);
        break;
    case HVM_EXIT_TRIPLE_FAULT:
        domain_stop(v->domain, "triple fault");
        break;
    case HVM_EXIT_BAD_STATE:
        domain_stop(v->domain, "%s refuses the vCPU's state: code 0x%x qualification 0x%llx",
                    hvm->name, exit->code, (unsigned long long)exit->qualification);
        break;
    default:
        domain_stop(v->domain, "unexpected exit: code 0x%x qualification 0x%llx", exit->code,
                    (unsigned long long)exit->qualification);
        break;
    }
}
