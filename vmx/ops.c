/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMX backend's entries, and running a vCPU.
 */
#include "vmx_priv.h"

#include "asm/cpu.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/slab.h"
#include "hw/vmx.h"
#include "hw/x86.h"
#include "public/lu_abi.h"
#include "vmx_asm.h"

static int vmx_domain_init(struct domain *d)
{
    return nested_domain_init(d, vmx_leaf_order(vmx_caps.ept_vpid), EPT_MEMTYPE_WB);
}

/* An entry that failed before it looked at the guest: controls, host state, or the injected event.
 * The domain pays for it: the code is the VM-instruction error, the qualification the event. */
static void refuse(unsigned int failure, struct hvm_exit *exit)
{
    exit->reason = HVM_EXIT_BAD_STATE;
    exit->code = failure == 2 ? vmread32(VMCS_INSN_ERROR) : 0;
    exit->qualification = vmread32(VMCS_ENTRY_INTR_INFO);
    exit->rip = vmread(VMCS_GUEST_RIP);
}

/* Only the delivery of an NMI blocks NMIs, and here only an entry delivers one. Bochs carries the
 * blocking over from the guest that ran before, and says so at the exit. */
static void check_nmi_blocking(struct vmx_vcpu *x, bool nmi_delivered)
{
    uint32_t interruptibility = vmread32(VMCS_GUEST_INTERRUPTIBILITY);

    if ((interruptibility & INTR_BLOCK_NMI) && !x->nmi_blocked && !nmi_delivered) {
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, interruptibility & ~INTR_BLOCK_NMI);
        return;
    }
    x->nmi_blocked = interruptibility & INTR_BLOCK_NMI;
}

static void vmx_run(struct vcpu *v, uint64_t slice, struct hvm_exit *exit)
{
    struct vmx_vcpu *x = vmcs_load(v);
    struct percpu *cpu = this_cpu();
    uint64_t ticks = slice >> vmx_caps.timer_shift;

    *exit = (struct hvm_exit){.reason = HVM_EXIT_UNKNOWN};
    if (x->next.shutdown) {
        exit->reason = HVM_EXIT_TRIPLE_FAULT;
        exit->code = EXIT_TRIPLE_FAULT;
        exit->rip = vmread(VMCS_GUEST_RIP);
        return;
    }
    if (x->flush_vpid) {
        vmx_vpid_invalidate(x->vpid);
        x->flush_vpid = false;
    }
    vmwrite(VMCS_PREEMPTION_TIMER, MAX(MIN(ticks, UINT32_MAX), 1));
    vmx_event_enter(x);
    bool nmi = (x->next.event.info & EVENT_VALID) && event_type(&x->next.event) == EVENT_TYPE_NMI;
    if (nested_enter(cpu)) {
        vmx_ept_flush();
    }
    unsigned int failure = vmx_enter(v, x->launched);
    cpu->last_exit_tsc = rdtsc();
    nested_leave(cpu);
    if (failure != 0) {
        refuse(failure, exit);
        vmwrite(VMCS_ENTRY_INTR_INFO, 0);
        return;
    }
    uint32_t reason = vmread32(VMCS_EXIT_REASON);
    if (reason & EXIT_REASON_ENTRY_FAILED) {
        /* The guest did not run: the event is still due, and the VMCS is not launched. */
        vmwrite(VMCS_ENTRY_INTR_INFO, 0);
    } else {
        x->launched = true;
        check_nmi_blocking(x, nmi);
        vmx_event_exit(x);
    }
    vmx_exit_decode(v, reason, exit);
}

static void vmx_skip(struct vcpu *v, unsigned int insn_length)
{
    vmcs_load(v);
    uint64_t rip = vmread(VMCS_GUEST_RIP) + insn_length;
    uint64_t interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    bool code64 = (vmread32(VMCS_GUEST_CS_ACCESS) & AR_L) &&
                  (vmread32(VMCS_ENTRY_CTLS) & ENTRY_CTL_IA32E);

    vmwrite(VMCS_GUEST_RIP, code64 ? rip : (uint32_t)rip);
    if (interruptibility & (INTR_BLOCK_STI | INTR_BLOCK_MOV_SS)) {
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
                interruptibility & ~(uint64_t)(INTR_BLOCK_STI | INTR_BLOCK_MOV_SS));
    }
    /* SDM volume 3, "Single-Step Exception Condition": after the instruction. */
    if (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF) {
        vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
    }
}

static void vmx_unload(struct vcpu *v)
{
    vmcs_clear(v->hvm_data);
}

const struct hvm_ops vmx_ops = {
    .name = "VMX",
    .feature = LU_FEATURE_VMX,
    .probe = vmx_probe,
    .cpu_on = vmx_cpu_on,
    .cpu_off = vmx_cpu_off,
    .domain_init = vmx_domain_init,
    .domain_fini = nested_domain_fini,
    .map = nested_domain_map,
    .walk = nested_domain_walk,
    .vcpu_init = vmx_vcpu_init,
    .vcpu_fini = vmx_vcpu_fini,
    .run = vmx_run,
    .reg_get = vmx_reg_get,
    .reg_set = vmx_reg_set,
    .inject = vmx_inject,
    .interrupt = vmx_interrupt,
    .nmi = vmx_nmi,
    .unload = vmx_unload,
    .skip = vmx_skip,
    .state_save = vmx_state_save,
    .state_load = vmx_state_load,
    .state_check = guest_state_check,
};
