/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events into the guest: injected ones, and those whose delivery an exit has interrupted.
 *
 * Both wait in x->event for the next entry. SDM volume 3, "Event Injection", "Information for VM
 * Exits That Occur During Event Delivery", "Resuming Guest Software".
 */
#include "vmx_priv.h"

#include "hv/vcpu.h"
#include "hw/vmx.h"
#include "hw/x86.h"
#include "vmx_asm.h"

void vmx_event_raise(struct vmx_vcpu *x, const struct vmx_event *event)
{
    struct vmx_event combined;

    if (!vmx_event_combine(&x->event, event, &combined)) {
        x->event = (struct vmx_event){0};
        x->shutdown = true;
        return;
    }
    x->event = combined;
}

void vmx_inject(struct vcpu *v, uint32_t event, uint32_t error_code)
{
    struct vmx_vcpu *x = vmcs_load(v);
    struct vmx_event next = {.info = event, .error_code = error_code};

    vmx_event_raise(x, &next);
    /* Entry pushes RFLAGS as they are; the CPU itself would set RF in a fault's image, so that an
     * instruction breakpoint does not hit again. SDM volume 3, "Instruction-Breakpoint Exception
     * Condition". */
    if (vmx_event_is_fault(&next)) {
        vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
    }
}

/* Exits when an interrupt or NMI that waits can be taken. */
static void write_windows(const struct vmx_vcpu *x)
{
    vmwrite(VMCS_PRIMARY_CTLS, vmx_caps.primary | (x->irq_window ? PRI_IRQ_WINDOW : 0) |
                                   (x->nmi_window ? PRI_NMI_WINDOW : 0));
}

bool vmx_interrupt(struct vcpu *v, int vector)
{
    struct vmx_vcpu *x = vmcs_load(v);
    bool now = vector >= 0 && !(x->event.info & EVENT_VALID) &&
               (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
               !(vmread32(VMCS_GUEST_INTERRUPTIBILITY) & (INTR_BLOCK_STI | INTR_BLOCK_MOV_SS));
    bool window = vector >= 0 && !now;

    if (now) {
        x->event = (struct vmx_event){.info = EVENT_VALID | EVENT_TYPE_EXTINT << 8 |
                                              (uint32_t)vector};
    }
    if (window != x->irq_window) {
        x->irq_window = window;
        write_windows(x);
    }
    return now;
}

bool vmx_nmi(struct vcpu *v, bool waiting)
{
    struct vmx_vcpu *x = vmcs_load(v);
    bool now = waiting && !(x->event.info & EVENT_VALID) &&
               !(vmread32(VMCS_GUEST_INTERRUPTIBILITY) &
                 (INTR_BLOCK_STI | INTR_BLOCK_MOV_SS | INTR_BLOCK_NMI));
    bool window = waiting && !now;

    if (now) {
        x->event = (struct vmx_event){.info = EVENT_VALID | EVENT_TYPE_NMI << 8 | EXC_NMI};
    }
    if (window != x->nmi_window) {
        x->nmi_window = window;
        write_windows(x);
    }
    return now;
}

void vmx_event_enter(struct vmx_vcpu *x)
{
    if (!(x->event.info & EVENT_VALID)) {
        return;
    }
    struct vmx_event event = vmx_event_normal(&x->event, vmread(VMCS_GUEST_CR0) & CR0_PE);

    if (event_type(&event) == EVENT_TYPE_NMI) {
        /* Where its delivery was interrupted, the CPU has blocked NMIs already: entry blocks them
         * itself and refuses an NMI otherwise. */
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
                vmread32(VMCS_GUEST_INTERRUPTIBILITY) & ~INTR_BLOCK_NMI);
    }
    vmwrite(VMCS_ENTRY_INTR_INFO, event.info);
    vmwrite(VMCS_ENTRY_ERROR_CODE, event.error_code);
    vmwrite(VMCS_ENTRY_INSN_LENGTH, event.length);
}

void vmx_event_exit(struct vmx_vcpu *x)
{
    uint32_t info = vmread32(VMCS_IDT_INFO);

    x->event = (struct vmx_event){0};
    if (!(info & EVENT_VALID)) {
        return;
    }
    x->event.info = info & EVENT_INFO_BITS;
    if (info & EVENT_ERROR_CODE) {
        x->event.error_code = vmread32(VMCS_IDT_ERROR_CODE);
    }
    switch (event_type(&x->event)) {
    case EVENT_TYPE_SW_INT:
    case EVENT_TYPE_PRIV_SW:
    case EVENT_TYPE_SW_EXCEPTION:
        x->event.length = vmread32(VMCS_EXIT_INSN_LENGTH);
        break;
    default:
        break;
    }
}
