/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual CPU: scheduling state, software copies of its registers, and its neutral state.
 */
#ifndef HV_VCPU_H
#define HV_VCPU_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "hv/pvclock.h"
#include "hv/vlapic.h"

struct domain;
struct percpu;

/* General registers in the order of instruction encodings. gpr[GPR_RSP] is kept by the backend's
 * VMCS or VMCB while a vCPU lives: use hvm->reg_get(HVM_REG_RSP). */
enum gpr {
    GPR_RAX,
    GPR_RCX,
    GPR_RDX,
    GPR_RBX,
    GPR_RSP,
    GPR_RBP,
    GPR_RSI,
    GPR_RDI,
    GPR_R8,
    GPR_R9,
    GPR_R10,
    GPR_R11,
    GPR_R12,
    GPR_R13,
    GPR_R14,
    GPR_R15,
    GPR_COUNT
};

enum segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

/* Access rights as in VMCS fields and lu_abi.h. */
#define SEG_UNUSABLE 0x10000U

struct segment_reg {
    LAYOUT(uint64_t base; uint16_t selector;, uint32_t limit; uint32_t access;)
};

struct table_reg {
    uint64_t base;
    uint32_t limit;
};

/* MSRs that a guest has to itself; they stay in the CPU while its vCPU is loaded there. */
enum guest_msr {
    GUEST_MSR_STAR,
    GUEST_MSR_LSTAR,
    GUEST_MSR_CSTAR,
    GUEST_MSR_SFMASK,
    GUEST_MSR_KERNEL_GS_BASE,
    GUEST_MSR_TSC_AUX,
    GUEST_MSR_COUNT
};

/* Register state that neither VMCS nor VMCB holds: switched by arch/x86_64/context.c when another
 * vCPU comes onto the CPU. Valid while the vCPU is not loaded. */
struct vcpu_context {
    LAYOUT(uint64_t dr[4]; uint64_t dr6; uint64_t cr2;,
           uint64_t msr[GUEST_MSR_COUNT]; uint64_t xcr0;
           void *xsave;) /* standard format, every feature the host has, 64-byte aligned */
};

/* Architectural state as the manuals define it, free of any vendor's control block. */
struct vcpu_state {
    LAYOUT(uint64_t gpr[GPR_COUNT]; uint64_t rip; uint64_t rflags; uint64_t cr0; uint64_t cr2;
           uint64_t cr3; uint64_t cr4; uint64_t cr8; uint64_t efer; uint64_t xcr0; uint64_t dr[4];
           uint64_t dr6; uint64_t dr7; uint64_t pdpte[4];
           ,
           struct segment_reg seg[SEG_COUNT]; struct table_reg gdtr; struct table_reg idtr;
           uint64_t msr[GUEST_MSR_COUNT]; uint64_t sysenter_cs; uint64_t sysenter_esp;
           uint64_t sysenter_eip; uint64_t pat; uint64_t pending_debug; uint64_t tsc_offset;
           uint32_t interruptibility; uint32_t event; uint32_t event_error; uint32_t event_length;)
};

/* interruptibility, as SDM "Interruptibility State" */
#define INTR_BLOCK_STI 1U
#define INTR_BLOCK_MOV_SS 2U
#define INTR_BLOCK_NMI 8U

/* event, as SDM "Event Injection": vector, type << 8, error code, valid. */
#define EVENT_TYPE_EXTINT 0U
#define EVENT_TYPE_NMI 2U
#define EVENT_TYPE_HW_EXCEPTION 3U
#define EVENT_TYPE_SW_INT 4U
#define EVENT_TYPE_PRIV_SW 5U
#define EVENT_TYPE_SW_EXCEPTION 6U
#define EVENT_ERROR_CODE 0x800U
#define EVENT_VALID 0x80000000U

enum vcpu_run_state {
    VCPU_RUNNABLE,
    VCPU_SLEEPING,  /* HC_SLEEP until wake_tsc */
    VCPU_HALTED,    /* HLT */
    VCPU_WAIT_SIPI, /* after RESET or INIT, not the boot processor */
    VCPU_DOWN,      /* its domain ended, or it cannot run */
};

/* What waits for a vCPU besides interrupts; done by the CPU that runs it (core/irq.c). */
#define VCPU_SIGNAL_NMI 1U
#define VCPU_SIGNAL_INIT 2U
#define VCPU_SIGNAL_SIPI 4U

/* Exit statistics by neutral reason (hv/hvm.h). */
#define VCPU_EXIT_KINDS 24

struct vcpu {
    LAYOUT(struct domain *domain; unsigned int id; enum vcpu_run_state run_state;
           uint64_t wake_tsc; /* host TSC */
           uint64_t gpr[GPR_COUNT]; struct vcpu_context ctx; void *hvm_data; /* the backend's */
           ,
           struct vcpu *next_in_domain; struct vcpu *run_next; /* the scheduler's ring */
           struct vcpu *run_prev; struct percpu *cpu;          /* runs there, or did last */
           bool running;                                       /* on v->cpu, now */
           bool held; /* could run when this image met it */
           bool entered; /* has run under this image */
           uint64_t entered_tsc;      /* ... first then, 0: not yet */
           struct percpu *entered_on; /* ... there, when entered_tsc is not 0 */
           uint64_t last_exit_tsc;    /* and left its CPU's guest mode last */
           uint64_t stopped_tsc;      /* the last exit before the last update; for its timeline */
           struct percpu *stopped_on; /* ... and the CPU that it was on; NULL: not known */
           uint64_t vruntime; /* TSC cycles run, what it slept through counted in: fairness */
           uint32_t signals; /* VCPU_SIGNAL_* */
           uint8_t sipi_vector; uint64_t tsc_offset;
           bool deaf;   /* halted with interrupts off: no interrupt wakes it */
           bool call32; /* its last hypercall has a result of 32 bits */
           struct vlapic apic; struct pvclock_vcpu clock; uint64_t exits[VCPU_EXIT_KINDS];
           uint64_t run_cycles;
           struct vcpu_state *cold;) /* state of a vCPU that no backend holds (no VMX or SVM) */
};

/* Registers at the start of a vCPU: everything as after RESET, activity running. */
void vcpu_state_reset(struct vcpu_state *state);
/* From the present state to the one after INIT (SDM volume 3, "Processor State After Reset"): XCR0,
 * PAT, the TSC and most MSRs stay, as do CD and NW of CR0; what waited to be delivered is gone.
 * The x87 and vector registers, which INIT leaves alone, are not in here, nor is the local APIC:
 * vlapic_init_signal(). */
void vcpu_state_init(struct vcpu_state *state);
/* A start-up message with this vector meets a vCPU that waits for one since INIT. */
void vcpu_state_sipi(struct vcpu_state *state, uint8_t vector);

/* Creates vCPU `id` of a domain and loads `state` into it; without a backend the state is only
 * kept. 0, -ENOMEM, -EINVAL (the backend refuses the state). */
MUST_CHECK int vcpu_create(struct domain *domain, unsigned int id, const struct vcpu_state *state,
                           struct vcpu **out);
void vcpu_destroy(struct vcpu *vcpu);

/* vCPUs 0 to n - 1 of a domain without any: the first with `first`, the others waiting for SIPI;
 * sched_add() is the caller's. 0, or -E* as vcpu_create() (vCPUs made so far stay). */
MUST_CHECK int domain_add_vcpus(struct domain *domain, unsigned int n,
                                const struct vcpu_state *first);

/* Would vcpu_set_state() take it under the backend that there is or will be? 0 or -EINVAL. Changes
 * nothing; before hvm_init() too. */
MUST_CHECK int vcpu_state_check(const struct vcpu_state *state);

/* Takes a vCPU that does not run out of this CPU, so that any other may run it. Nothing is done
 * where there is one CPU only. */
void vcpu_unload(struct vcpu *vcpu);

/* The whole neutral state of a stopped vCPU, and back. Set: 0 or -EINVAL. */
void vcpu_get_state(struct vcpu *vcpu, struct vcpu_state *state);
MUST_CHECK int vcpu_set_state(struct vcpu *vcpu, const struct vcpu_state *state);

/* Prints the registers of a stopped vCPU (domain stopped by a fault). */
void vcpu_dump(struct vcpu *vcpu);

#endif
