/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the SVM backend share.
 */
#ifndef SVM_SVM_PRIV_H
#define SVM_SVM_PRIV_H

#include "hv/asid.h"
#include "hv/compiler.h"
#include "hv/event.h"
#include "hv/hvm.h"
#include "hv/nested_sync.h"
#include "hv/percpu.h"
#include "hv/types.h"
#include "hv/vcpu.h"
#include "hv/vmcb.h"
#include "hw/svm.h"
#include "hw/x86.h"

/* What the CPU can do, molt uses and every CPU of a machine has. */
struct svm_caps {
    uint32_t asids;          /* 0, the host's, included */
    uint32_t edx;            /* CPUID_SVM_EDX_*: what is optional */
    bool virtual_interrupts; /* external interrupts go in as V_IRQ, not as injected events */
};

/* One per CPU, at this_cpu()->hvm_data. `host`: what VMSAVE and VMLOAD keep of molt's own. */
struct svm_cpu {
    LAYOUT(bool on; void *hsave;, struct vmcb *host; struct asid_cpu asids;)
};

/*
 * One per vCPU, at vcpu->hvm_data. `vmcb` is written by vmcb_set() and vmcb_open() alone, `ran_on`
 * is the CPU that may keep parts of it. `flush`: its TLB entries, before the next entry.
 * `irq_window`: an exit is asked for, also when `nmi_waits`. `v_irq`: the entry's event is a
 * virtual interrupt. NMIs stay blocked until the IRET at iret_rip is done; 0: until there is one.
 */
struct svm_vcpu {
    LAYOUT(const struct vmcb *vmcb; bool flush; const struct svm_cpu *ran_on;
           , struct asid_vcpu asid; struct guest_entry next; bool irq_window; bool v_irq;
           bool nmi_blocked; bool nmi_waits; uint64_t iret_rip;)
};

/* Writes a field of the VMCB, so that the CPU loads it at the next entry. */
#define vmcb_set(x, field, value)                                            \
    do {                                                                     \
        struct vmcb *vmcb_to_set = (struct vmcb *)(x)->vmcb;                 \
        vmcb_to_set->field = (value);                                        \
        vmcb_to_set->clean &= ~vmcb_clean_bit(offsetof(struct vmcb, field)); \
    } while (0)

/* The whole VMCB, to be written: the CPU loads all of it. */
static inline struct vmcb *vmcb_open(struct svm_vcpu *x)
{
    vmcb_set(x, clean, 0);
    return (struct vmcb *)x->vmcb;
}

/* svm.c. Valid after the first cpu_on(). */
extern struct svm_caps svm_caps;

int svm_probe(const char **why);
int svm_cpu_on(void);
void svm_cpu_off(void);

static inline struct svm_cpu *svm_this_cpu(void)
{
    return this_cpu()->hvm_data;
}

/* vmcb.c */
int svm_vcpu_init(struct vcpu *v);
void svm_vcpu_fini(struct vcpu *v);

static inline struct svm_vcpu *svm_of(struct vcpu *v)
{
    return v->hvm_data;
}

/* regs.c */
uint64_t svm_reg_get(struct vcpu *v, enum hvm_reg reg);
void svm_reg_set(struct vcpu *v, enum hvm_reg reg, uint64_t value);
void svm_set_mode(struct svm_vcpu *x, uint64_t cr0, uint64_t cr4, uint64_t efer);
/* With the intercepts that follow from it. */
void svm_set_dr7(struct svm_vcpu *x, uint64_t dr7);
void svm_state_save(struct vcpu *v, struct vcpu_state *state);
int svm_state_load(struct vcpu *v, const struct vcpu_state *state);

/* inject.c */
void svm_inject(struct vcpu *v, uint32_t event, uint32_t error_code);
bool svm_interrupt(struct vcpu *v, int vector);
bool svm_nmi(struct vcpu *v, bool waiting);
/* An IRET that was about to be executed at iret_rip is done when the guest is elsewhere: NMIs are
 * blocked no more. */
void svm_look_for_iret(struct svm_vcpu *x);
/* Around VMRUN: writes the due event; keeps the event that the exit interrupted or came before. */
void svm_event_enter(struct svm_vcpu *x);
void svm_event_exit(struct svm_vcpu *x);

/* exit_decode.c */
void svm_exit_decode(struct vcpu *v, struct hvm_exit *exit);

/*
 * entry.asm: enters the guest with the general registers of v->gpr (RAX and RSP are the VMCB's) and
 * stores them there at the exit. FS, GS, TR, LDTR and the MSRs that VMLOAD loads are the guest's in
 * between and molt's afterwards, but for STAR to KERNEL_GS_BASE, which the CPU keeps as the guest
 * has left them. Interrupts off before and after; one that comes meanwhile ends it and stays
 * pending.
 */
void svm_enter(struct vcpu *v, paddr_t vmcb_pa, paddr_t host_pa, struct vmcb *vmcb,
               struct vmcb *host);

#endif
