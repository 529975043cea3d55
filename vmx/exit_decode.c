/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw VM exits to neutral ones.
 *
 * SDM volume 3, "VMX Basic Exit Reasons", "Exit Qualification for ...", "Information for VM Exits
 * Due to Vectored Events".
 */
#include "vmx_priv.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/printk.h"
#include "hw/vmx.h"
#include "hw/x86.h"
#include "vmx_asm.h"

#define EVENT_GP (EVENT_TYPE_HW_EXCEPTION << INTR_INFO_TYPE_SHIFT | EXC_GP)

/* An exit during IRET that the instruction comes back from: the IRET has unblocked NMIs already and
 * will do so again. SDM volume 3, "Information About NMI Unblocking Due to IRET". */
static void block_nmi_again(struct vmx_vcpu *x)
{
    if (!(x->next.event.info & EVENT_VALID)) {
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
                vmread32(VMCS_GUEST_INTERRUPTIBILITY) | INTR_BLOCK_NMI);
        x->nmi_blocked = true;
    }
}

/* What the CPU does before it delivers a debug exception, and leaves to us after an intercepted
 * one. The guest's DR6 is in the CPU. */
static void complete_debug(uint64_t qualification)
{
    uint64_t interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY);

    write_dr6((read_dr6() & ~QUAL_DB_TRAPS) |
              (qualification & (QUAL_DB_TRAPS | QUAL_DB_BD | QUAL_DB_BS)));
    vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~DR7_GD);
    /* With TF set, entry wants a single step pending as long as it is blocked. */
    if ((interruptibility & (INTR_BLOCK_STI | INTR_BLOCK_MOV_SS)) &&
        (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF)) {
        vmwrite(VMCS_GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
    }
}

static void decode_exception(struct vmx_vcpu *x, struct hvm_exit *exit)
{
    uint32_t info = vmread32(VMCS_EXIT_INTR_INFO);
    uint32_t vector = info & INTR_INFO_VECTOR;
    uint32_t type = info >> INTR_INFO_TYPE_SHIFT & INTR_INFO_TYPE_MASK;

    if (type == EVENT_TYPE_NMI) {
        /* The host's: NMIs are blocked until the handler's IRET. */
        __asm__ volatile("int %0" ::"i"(EXC_NMI) : "memory");
        exit->reason = HVM_EXIT_HOST;
        return;
    }
    if (vector == EXC_MC) {
        panic("vmx: machine check in a guest at rip 0x%llx", (unsigned long long)exit->rip);
    }
    struct guest_event event = {
        .info = info & EVENT_INFO_BITS,
    };
    if (info & EVENT_ERROR_CODE) {
        event.error_code = vmread32(VMCS_EXIT_ERROR_CODE);
    }
    if (type != EVENT_TYPE_HW_EXCEPTION) {
        event.length = vmread32(VMCS_EXIT_INSN_LENGTH); /* INT1 */
    } else if (vector == EXC_DB) {
        complete_debug(exit->qualification);
    }
    if ((info & INTR_INFO_NMI_UNBLOCKED) && vector != EXC_DF) {
        block_nmi_again(x);
    }
    event_raise(&x->next, &event);
    exit->reason = HVM_EXIT_REINJECT;
}

static void decode_cr(struct vcpu *v, struct hvm_exit *exit)
{
    uint64_t q = exit->qualification;
    unsigned int gpr = (unsigned int)(q >> QUAL_CR_GPR_SHIFT & QUAL_CR_GPR_MASK);

    exit->reason = HVM_EXIT_CR_WRITE;
    exit->cr.number = (unsigned int)(q & QUAL_CR_NUMBER);
    switch (q >> QUAL_CR_TYPE_SHIFT & QUAL_CR_TYPE_MASK) {
    case QUAL_CR_MOV_TO:
        exit->cr.value = hvm_gpr(v, gpr);
        if (!exit->code64) {
            exit->cr.value = (uint32_t)exit->cr.value;
        }
        break;
    case QUAL_CR_MOV_FROM:
        /* Only CR8 reads exit; the instruction is done but for RIP. */
        BUG_ON(exit->cr.number != 8);
        hvm_gpr_set(v, gpr, vlapic_cr8(&v->apic));
        exit->reason = HVM_EXIT_NOP;
        break;
    case QUAL_CR_CLTS:
        exit->cr.number = 0;
        exit->cr.value = vmx_get_cr0() & ~CR0_TS;
        break;
    default: /* LMSW */
        exit->cr.number = 0;
        exit->cr.value = guest_lmsw(vmx_get_cr0(), q >> QUAL_CR_LMSW_SHIFT);
        break;
    }
}

static void decode_io(struct hvm_exit *exit)
{
    uint64_t q = exit->qualification;

    exit->reason = HVM_EXIT_IO;
    exit->io.port = (uint16_t)(q >> QUAL_IO_PORT_SHIFT);
    exit->io.size = (uint8_t)((q & QUAL_IO_SIZE) + 1);
    exit->io.in = q & QUAL_IO_IN;
    exit->io.string = q & QUAL_IO_STRING;
    exit->io.rep = q & QUAL_IO_REP;
    if (exit->io.string) {
        uint32_t size = vmread32(VMCS_EXIT_INSN_INFO) >> INSN_INFO_ADDRESS_SHIFT;

        exit->io.address_size = (uint8_t)(2U << (size & INSN_INFO_ADDRESS_MASK));
        exit->io.linear = vmread(VMCS_GUEST_LINEAR);
    }
}

static void decode_ept_violation(struct vmx_vcpu *x, struct hvm_exit *exit)
{
    uint64_t q = exit->qualification;

    exit->reason = HVM_EXIT_STAGE2;
    exit->stage2.gpa = vmread(VMCS_GUEST_PHYSICAL);
    exit->stage2.access = ((q & QUAL_EPT_READ) ? STAGE2_READ : 0) |
                          ((q & QUAL_EPT_WRITE) ? STAGE2_WRITE : 0) |
                          ((q & QUAL_EPT_EXEC) ? STAGE2_EXEC : 0);
    if (q & QUAL_EPT_NMI_UNBLOCKED) {
        block_nmi_again(x);
    }
}

/* The instruction length is defined for exits due to an instruction only. */
static bool has_insn_length(uint32_t reason)
{
    switch (reason) {
    case EXIT_EXCEPTION_NMI:
    case EXIT_EXTINT:
    case EXIT_TRIPLE_FAULT:
    case EXIT_IRQ_WINDOW:
    case EXIT_NMI_WINDOW:
    case EXIT_BAD_GUEST_STATE:
    case EXIT_MSR_LOADING:
    case EXIT_MC_AT_ENTRY:
    case EXIT_EPT_VIOLATION:
    case EXIT_PREEMPTION_TIMER:
        return false;
    default:
        return true;
    }
}

static void decode_reason(struct vcpu *v, struct vmx_vcpu *x, uint32_t reason,
                          struct hvm_exit *exit)
{
    switch (reason) {
    case EXIT_EXCEPTION_NMI:
        decode_exception(x, exit);
        break;
    case EXIT_EXTINT: /* acknowledged by the exit, so it is in service now */
        apic_handled(vmread32(VMCS_EXIT_INTR_INFO) & INTR_INFO_VECTOR);
        exit->reason = HVM_EXIT_HOST;
        break;
    case EXIT_TRIPLE_FAULT:
        exit->reason = HVM_EXIT_TRIPLE_FAULT;
        break;
    case EXIT_IRQ_WINDOW:
    case EXIT_NMI_WINDOW:
        exit->reason = HVM_EXIT_IRQ_WINDOW;
        break;
    case EXIT_CPUID:
        exit->reason = HVM_EXIT_CPUID;
        break;
    case EXIT_HLT:
        exit->reason = HVM_EXIT_HLT;
        break;
    case EXIT_INVD:
    case EXIT_WBINVD:
    case EXIT_PAUSE:
        exit->reason = HVM_EXIT_NOP;
        break;
    case EXIT_RDPMC: /* there are no counters, so none has a valid number */
        vmx_inject(v, EVENT_VALID | EVENT_ERROR_CODE | EVENT_GP, 0);
        exit->reason = HVM_EXIT_REINJECT;
        break;
    case EXIT_VMCALL:
        exit->reason = HVM_EXIT_HYPERCALL;
        break;
    case EXIT_CR_ACCESS:
        decode_cr(v, exit);
        break;
    case EXIT_IO:
        decode_io(exit);
        break;
    case EXIT_RDMSR:
    case EXIT_WRMSR:
        exit->reason = reason == EXIT_RDMSR ? HVM_EXIT_MSR_READ : HVM_EXIT_MSR_WRITE;
        exit->msr.index = (uint32_t)v->gpr[GPR_RCX];
        break;
    case EXIT_EPT_VIOLATION:
        decode_ept_violation(x, exit);
        break;
    case EXIT_PREEMPTION_TIMER:
        exit->reason = HVM_EXIT_TIMER;
        break;
    case EXIT_XSETBV:
        exit->reason = HVM_EXIT_XSETBV;
        break;
    case EXIT_GETSEC:
    case EXIT_MWAIT:
    case EXIT_MONITOR:
    case EXIT_INVEPT:
    case EXIT_INVVPID:
    case EXIT_VMFUNC:
        exit->reason = HVM_EXIT_UNDEFINED;
        break;
    case EXIT_BAD_GUEST_STATE:
    case EXIT_MSR_LOADING:
        exit->reason = HVM_EXIT_BAD_STATE;
        break;
    case EXIT_MC_AT_ENTRY:
        panic("vmx: machine check at VM entry");
    default:
        exit->reason = reason >= EXIT_VMCLEAR && reason <= EXIT_VMXON ? HVM_EXIT_UNDEFINED
                                                                      : HVM_EXIT_UNKNOWN;
        break;
    }
}

void vmx_exit_decode(struct vcpu *v, uint32_t reason, struct hvm_exit *exit)
{
    struct vmx_vcpu *x = v->hvm_data;
    uint32_t basic = reason & EXIT_REASON_BASIC;

    exit->code = basic;
    exit->qualification = vmread(VMCS_EXIT_QUALIFICATION);
    exit->rip = vmread(VMCS_GUEST_RIP);
    exit->cpl = (uint8_t)(vmread32(VMCS_GUEST_SS_ACCESS) >> AR_DPL_SHIFT & AR_DPL_MASK);
    exit->code64 = (vmread32(VMCS_GUEST_CS_ACCESS) & AR_L) &&
                   (vmread32(VMCS_ENTRY_CTLS) & ENTRY_CTL_IA32E);
    exit->code_bytes = exit->code64 ? 8 : (vmread32(VMCS_GUEST_CS_ACCESS) & AR_DB) != 0 ? 4 : 2;
    if (has_insn_length(basic)) {
        exit->insn_length = (uint8_t)vmread32(VMCS_EXIT_INSN_LENGTH);
    }
    decode_reason(v, x, basic, exit);
}
