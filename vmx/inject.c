/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events into the guest: injected ones, and those whose delivery an exit has interrupted.
 *
 * Both wait in x->next for the next entry. SDM volume 3, "Event Injection", "Information for VM
 * Exits That Occur During Event Delivery", "Resuming Guest Software".
 */
#include "vmx_priv.h"

#include "hv/vcpu.h"
#include "hw/vmx.h"
#include "hw/x86.h"
#include "vmx_asm.h"

void vmx_inject(struct vcpu *v, uint32_t event, uint32_t error_code)
{
    struct vmx_vcpu *x = vmcs_load(v);
    struct guest_event next = {.info = event, .error_code = error_code};

    event_raise(&x->next, &next);
    /* Entry pushes RFLAGS as they are; the CPU itself would set RF in a fault's image, so that an
     * instruction breakpoint does not hit again. SDM volume 3, "Instruction-Breakpoint Exception
     * Condition". */
    if (event_is_fault(&next)) {
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
    bool open = (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
                !(vmread32(VMCS_GUEST_INTERRUPTIBILITY) & (INTR_BLOCK_STI | INTR_BLOCK_MOV_SS));
    bool now = event_take(&x->next, vector >= 0, open, EVENT_TYPE_EXTINT << 8 | (uint32_t)vector);
    bool window = vector >= 0 && !now;

    if (window != x->irq_window) {
        x->irq_window = window;
        write_windows(x);
    }
    return now;
}

bool vmx_nmi(struct vcpu *v, bool waiting)
{
    struct vmx_vcpu *x = vmcs_load(v);
    bool open = !(vmread32(VMCS_GUEST_INTERRUPTIBILITY) &
                  (INTR_BLOCK_STI | INTR_BLOCK_MOV_SS | INTR_BLOCK_NMI));
    bool now = event_take(&x->next, waiting, open, EVENT_TYPE_NMI << 8 | EXC_NMI);
    bool window = waiting && !now;

    if (window != x->nmi_window) {
        x->nmi_window = window;
        write_windows(x);
    }
    return now;
}

void vmx_event_enter(struct vmx_vcpu *x)
{
    if (!(x->next.event.info & EVENT_VALID)) {
        return;
    }
    struct guest_event event = event_normal(&x->next.event, vmread(VMCS_GUEST_CR0) & CR0_PE);

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

    x->next.event = (struct guest_event){0};
    if (!(info & EVENT_VALID)) {
        return;
    }
    x->next.event.info = info & EVENT_INFO_BITS;
    if (info & EVENT_ERROR_CODE) {
        x->next.event.error_code = vmread32(VMCS_IDT_ERROR_CODE);
    }
    if (event_is_software(&x->next.event)) {
        x->next.event.length = vmread32(VMCS_EXIT_INSN_LENGTH);
    }
}
