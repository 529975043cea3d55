/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the VMX backend share.
 */
#ifndef VMX_VMX_PRIV_H
#define VMX_VMX_PRIV_H

#include "hv/nested_sync.h"
#include "hv/event.h"
#include "hv/compiler.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/percpu.h"
#include "hv/types.h"
#include "hv/vcpu.h"
#include "hw/vmx.h"
#include "hw/x86.h"

/* What the CPU can do and how molt uses it: the same on every CPU of a machine. */
struct vmx_caps {
    uint32_t revision;
    uint32_t pin, primary, secondary, exit, entry; /* control words, forced bits included */
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    uint64_t ept_vpid;        /* MSR_VMX_EPT_VPID_CAP */
    unsigned int timer_shift; /* the preemption timer counts TSC >> timer_shift */
};

struct vmx_vcpu;

/* One per CPU, at this_cpu()->hvm_data. Used on its own CPU only. */
struct vmx_cpu {
    LAYOUT(void *vmxon_region; bool on;
           , struct vmx_vcpu *current; /* whose VMCS the VMCS instructions work on */
           struct vmx_vcpu *active;    /* whose VMCSs the CPU may hold in caches */)
};

/* One per vCPU, at vcpu->hvm_data. */
struct vmx_vcpu {
    LAYOUT(void *vmcs; struct vmx_cpu *cpu; /* where the VMCS is active, NULL: nowhere */
           struct vmx_vcpu *next_active; struct vmx_vcpu *prev_active;
           ,
           struct guest_entry next; uint16_t vpid; bool launched;
           bool flush_vpid; /* before the next entry */ bool irq_window;
           bool nmi_window; /* exits are asked for */
           bool nmi_blocked; /* as the guest has it: see check_nmi_blocking() */)
};

/* vmx.c. Valid after the first cpu_on(). */
extern struct vmx_caps vmx_caps;

int vmx_probe(const char **why);
int vmx_cpu_on(void);
void vmx_cpu_off(void);
/* Drops this CPU's EPT translations. */
void vmx_ept_flush(void);
void vmx_vpid_invalidate(uint16_t vpid);

/* Largest EPT leaf for capabilities as in MSR_VMX_EPT_VPID_CAP. */
static inline unsigned int vmx_leaf_order(uint64_t capabilities)
{
    if (!(capabilities & EPT_CAP_2M)) {
        return ORDER_4K;
    }
    return (capabilities & EPT_CAP_1G) ? ORDER_1G : ORDER_2M;
}

static inline struct vmx_cpu *vmx_this_cpu(void)
{
    return this_cpu()->hvm_data;
}

/* vmcs.c */
int vmx_vcpu_init(struct vcpu *v);
void vmx_vcpu_fini(struct vcpu *v);
/* Makes the vCPU's VMCS the current one of this CPU; must be done before vmread() and vmwrite(). */
struct vmx_vcpu *vmcs_load(struct vcpu *v);
/* Writes a VMCS back to memory; it is active nowhere then. */
void vmcs_clear(struct vmx_vcpu *x);
/* Bitmaps for all vCPUs, once. 0 or -ENOMEM. */
int vmcs_bitmaps_init(void);

/* regs.c: registers that are more than one field. The VMCS is loaded. */
void vmx_write_cr_masks(void);
uint64_t vmx_get_cr0(void);
uint64_t vmx_get_cr4(void);
uint64_t vmx_reg_get(struct vcpu *v, enum hvm_reg reg);
void vmx_reg_set(struct vcpu *v, enum hvm_reg reg, uint64_t value);
/* CR0, CR4 and EFER together, as a guest sees them. */
void vmx_set_mode(uint64_t cr0, uint64_t cr4, uint64_t efer);

/* inject.c */
void vmx_inject(struct vcpu *v, uint32_t event, uint32_t error_code);
bool vmx_interrupt(struct vcpu *v, int vector);
bool vmx_nmi(struct vcpu *v, bool waiting);
/* Around VM entry: writes the due event; keeps the event that the exit interrupted. */
void vmx_event_enter(struct vmx_vcpu *x);
void vmx_event_exit(struct vmx_vcpu *x);

/* exit_decode.c. `reason` is the raw exit reason of an entry that succeeded or failed late. */
void vmx_exit_decode(struct vcpu *v, uint32_t reason, struct hvm_exit *exit);

/* state.c */
void vmx_state_save(struct vcpu *v, struct vcpu_state *state);
int vmx_state_load(struct vcpu *v, const struct vcpu_state *state);

/*
 * entry.asm: enters the guest with the general registers of v->gpr and stores them there at the
 * exit. RSP, RIP and RFLAGS are the VMCS's. Interrupts are off before and after. Returns 0 after an
 * exit, 1 when VMLAUNCH or VMRESUME failed without an error number, 2 when with one.
 */
unsigned int vmx_enter(struct vcpu *v, bool launched);
/* Where exits arrive. Not a function. */
void vmx_exit_entry(void);

#endif
