/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events into the guest: injected ones, and those whose delivery an exit has interrupted.
 *
 * Both wait in x->next for the next entry. APM volume 2, "Event Injection", "Virtual Interrupts",
 * "Intercepts During IDT Interrupt Delivery".
 */
#include "svm_priv.h"

#define ERROR_CODE_SHIFT 32
#define V_IRQ_ON (SVM_V_IRQ | SVM_V_PRIO_HIGHEST | SVM_V_IGNORE_TPR)

void svm_inject(struct vcpu *v, uint32_t event, uint32_t error_code)
{
    struct svm_vcpu *x = svm_of(v);
    struct guest_event next = {.info = event, .error_code = error_code};

    event_raise(&x->next, &next);
    if (event_is_fault(&next)) { /* as the CPU would in the image that it pushes */
        vmcb_set(x, rflags, x->vmcb->rflags | RFLAGS_RF);
    }
}

/* A virtual interrupt, taken by the guest or, as a window, intercepted: the guest exits when it
 * could take one. */
static void set_v_irq(struct svm_vcpu *x, bool pending, bool intercepted)
{
    const struct vmcb *c = x->vmcb;

    vmcb_set(x, intercept_misc1,
             (c->intercept_misc1 & ~SVM_MISC1_VINTR) | (intercepted ? SVM_MISC1_VINTR : 0));
    vmcb_set(x, int_ctl, (c->int_ctl & ~V_IRQ_ON) | (pending ? V_IRQ_ON : 0));
}

/* There is no window for NMIs: the one for interrupts opens no later than the guest has moved on,
 * but must not be open at once, again and again, while NMIs are blocked. An IRET to code with
 * interrupts off is noticed at the next exit. */
static bool nmi_window(const struct svm_vcpu *x)
{
    return !x->nmi_blocked || (x->iret_rip != 0 && !(x->vmcb->rflags & RFLAGS_IF));
}

bool svm_interrupt(struct vcpu *v, int vector)
{
    struct svm_vcpu *x = svm_of(v);
    const struct vmcb *c = x->vmcb;
    bool open = (c->rflags & RFLAGS_IF) && !(c->interrupt_shadow & SVM_SHADOW);
    bool now = event_take(&x->next, vector >= 0, open, EVENT_TYPE_EXTINT << 8 | (uint32_t)vector);
    bool window = (vector >= 0 && !now) || (x->nmi_waits && nmi_window(x));

    if (window != x->irq_window) {
        x->irq_window = window;
        set_v_irq(x, window, window);
    }
    return now;
}

void svm_look_for_iret(struct svm_vcpu *x)
{
    if (x->nmi_blocked && x->iret_rip != 0 && x->vmcb->rip != x->iret_rip) {
        x->nmi_blocked = false;
        x->iret_rip = 0;
    }
}

bool svm_nmi(struct vcpu *v, bool waiting)
{
    struct svm_vcpu *x = svm_of(v);
    bool now;

    svm_look_for_iret(x);
    now = event_take(&x->next, waiting,
                     !x->nmi_blocked && !(x->vmcb->interrupt_shadow & SVM_SHADOW),
                     EVENT_TYPE_NMI << 8 | EXC_NMI);
    x->nmi_waits = waiting && !now;
    return now;
}

/* The one virtual interrupt there is: a window that was asked for comes back after the exit. */
static void enter_v_irq(struct svm_vcpu *x, const struct guest_event *event)
{
    x->v_irq = true;
    x->irq_window = false;
    vmcb_set(x, int_vector, event_vector(event));
    set_v_irq(x, true, false);
}

/* True: the guest has not taken it. Then an event that the exit has interrupted is its own first
 * attempt (QEMU calls it an exception), or is a fault that comes again. */
static bool exit_v_irq(struct svm_vcpu *x)
{
    bool pending = x->v_irq && (x->vmcb->int_ctl & SVM_V_IRQ);

    if (x->v_irq) {
        x->v_irq = false;
        set_v_irq(x, false, false);
    }
    return pending;
}

void svm_event_enter(struct svm_vcpu *x)
{
    struct guest_event event;

    vmcb_set(x, event_inject, 0);
    if (!(x->next.event.info & EVENT_VALID)) {
        return;
    }
    if (event_is_software(&x->next.event)) { /* RIP is at the instruction: executed again */
        return;
    }
    event = event_normal(&x->next.event, x->vmcb->cr0 & CR0_PE);
    if (svm_caps.virtual_interrupts && event_type(&event) == EVENT_TYPE_EXTINT) {
        enter_v_irq(x, &event);
        return;
    }
    if (event_type(&event) == EVENT_TYPE_NMI) {
        x->nmi_blocked = true;
        x->iret_rip = 0;
        vmcb_set(x, intercept_misc1, x->vmcb->intercept_misc1 | SVM_MISC1_IRET);
    }
    vmcb_set(x, event_inject, event.info | (uint64_t)event.error_code << ERROR_CODE_SHIFT);
}

void svm_event_exit(struct svm_vcpu *x)
{
    uint64_t info = x->vmcb->exit_int_info;
    struct guest_event event = {.info = (uint32_t)info & EVENT_INFO_BITS,
                                .error_code = (uint32_t)(info >> ERROR_CODE_SHIFT)};
    bool by_instruction = event_type(&event) == EVENT_TYPE_HW_EXCEPTION &&
                          (event_vector(&event) == EXC_BP || event_vector(&event) == EXC_OF);

    if (exit_v_irq(x)) {
        return;
    }
    x->next.event = (struct guest_event){0};
    if ((event.info & EVENT_VALID) && !event_is_software(&event) && !by_instruction) {
        x->next.event = event;
    }
}
