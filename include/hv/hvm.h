/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only door to the vendor backends (vmx/, svm/).
 *
 * run() enters the guest and comes back with a neutral exit record; what is done about it stands in
 * core/exit.c, which never sees a VMCS or VMCB.
 */
#ifndef HV_HVM_H
#define HV_HVM_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "hv/vcpu.h"

struct domain;

enum hvm_exit_reason {
    HVM_EXIT_TIMER, /* the time slice is over */
    HVM_EXIT_HOST,  /* host interrupt or NMI, handled by the backend */
    HVM_EXIT_CPUID,
    HVM_EXIT_MSR_READ,
    HVM_EXIT_MSR_WRITE,
    HVM_EXIT_IO,
    HVM_EXIT_HLT,
    HVM_EXIT_HYPERCALL,
    HVM_EXIT_XSETBV,
    HVM_EXIT_CR_WRITE,  /* a write that changes bits the backend keeps: core decides */
    HVM_EXIT_STAGE2,    /* EPT or NPT violation */
    HVM_EXIT_UNDEFINED, /* an instruction the virtual CPU does not have: #UD */
    HVM_EXIT_NOP,       /* an instruction without effect here (WBINVD, INVD): skip it */
    HVM_EXIT_TRIPLE_FAULT,
    HVM_EXIT_IRQ_WINDOW, /* interrupts can be taken now */
    HVM_EXIT_REINJECT,   /* an intercepted exception of the guest's own: back to it */
    HVM_EXIT_BAD_STATE,  /* entry refused the guest state: code and qualification tell */
    HVM_EXIT_UNKNOWN,    /* anything else: code is the vendor's */
    HVM_EXIT_REASONS
};

_Static_assert(HVM_EXIT_REASONS <= VCPU_EXIT_KINDS, "exit statistics");

#define STAGE2_READ 1U
#define STAGE2_WRITE 2U
#define STAGE2_EXEC 4U

struct hvm_exit {
    enum hvm_exit_reason reason;
    uint32_t code;          /* vendor's exit reason, for messages */
    uint64_t qualification; /* vendor's, for messages */
    uint64_t rip;
    uint8_t insn_length; /* bytes, 0 when unknown */
    uint8_t cpl;
    bool code64;        /* 64-bit code segment */
    uint8_t code_bytes; /* width of the code segment: 2, 4 or 8 */
    uint8_t nr_bytes;   /* HVM_EXIT_STAGE2: of the instruction and behind, if the CPU tells */
    uint8_t bytes[15];
    union {
        struct {
            uint16_t port;
            uint8_t size; /* 1, 2, 4 */
            bool in;
            bool string;
            bool rep;
            uint8_t address_size; /* string forms: 2, 4, 8 */
            uint64_t linear;      /* string forms: address of the memory operand */
        } io;
        struct {
            uint64_t gpa;
            unsigned int access; /* STAGE2_* */
        } stage2;
        struct {
            unsigned int number; /* 0, 4 or 8 */
            uint64_t value;      /* what the guest wants to write */
        } cr;
        struct {
            uint32_t index;
        } msr;
    };
};

enum hvm_reg {
    HVM_REG_RIP,
    HVM_REG_RSP,
    HVM_REG_RFLAGS,
    HVM_REG_CR0,
    HVM_REG_CR3,
    HVM_REG_CR4,
    HVM_REG_EFER,
    HVM_REG_PAT,
    HVM_REG_DR7,
    HVM_REG_TSC_OFFSET,
    HVM_REG_CS_BASE, /* read only, and so are the ones below */
    HVM_REG_PDPTE0,  /* in PAE paging: what the CPU has loaded */
    HVM_REG_PDPTE1,
    HVM_REG_PDPTE2,
    HVM_REG_PDPTE3,
};

/* For somebody who looks at nested page tables: `table` for each page of them, before it is looked
 * into (false: it is not), `leaf` for each mapping. */
struct hvm_walk {
    bool (*table)(void *ctx, mfn_t mfn);
    void (*leaf)(void *ctx, gfn_t gfn, mfn_t mfn, unsigned int order);
    void *ctx;
};

struct hvm_ops {
    const char *name; /* "VMX" */
    uint64_t feature; /* LU_FEATURE_* of vCPUs that it runs */

    /* 0 when this CPU can do it, else -ENOSYS with *why naming what is missing. No side effects. */
    int (*probe)(const char **why);
    /* This CPU into and out of virtualization mode. 0, -ENOMEM, -ENOSYS. */
    int (*cpu_on)(void);
    void (*cpu_off)(void);

    /* Nested page tables of a domain: empty, and gone. */
    int (*domain_init)(struct domain *d);
    void (*domain_fini)(struct domain *d);
    /* Adds a leaf of 4 KiB, 2 MiB or 1 GiB (order 0, 9, 18), all rights. 0, -ENOMEM; what is mapped
     * there already is replaced. */
    int (*map)(struct domain *d, gfn_t gfn, mfn_t mfn, unsigned int order);
    /* Shows all of a domain's nested page tables; returns of how many pages they should be. */
    uint64_t (*walk)(struct domain *d, const struct hvm_walk *walk);

    int (*vcpu_init)(struct vcpu *v);
    void (*vcpu_fini)(struct vcpu *v);
    /* Runs until an exit; at most slice TSC cycles. The vCPU's context is loaded by the caller. */
    void (*run)(struct vcpu *v, uint64_t slice, struct hvm_exit *exit);
    uint64_t (*reg_get)(struct vcpu *v, enum hvm_reg reg);
    void (*reg_set)(struct vcpu *v, enum hvm_reg reg, uint64_t value);
    /* Queues an event (EVENT_*) for the next entry. An exception that meets one whose delivery the
     * exit interrupted is combined as SDM "Interrupt 8 - Double Fault Exception" says; anything
     * else replaces what is queued, so no interrupt while state.event is valid. */
    void (*inject)(struct vcpu *v, uint32_t event, uint32_t error_code);
    /* An external interrupt waits for the vCPU (vector, or -1: none). True: it can be taken now and
     * is queued for the next entry. False: HVM_EXIT_IRQ_WINDOW comes when it can. */
    bool (*interrupt)(struct vcpu *v, int vector);
    /* The same for an NMI. False as well when none is waiting. */
    bool (*nmi)(struct vcpu *v, bool waiting);
    /* The vCPU may run on another CPU next: nothing of it stays in this one. */
    void (*unload)(struct vcpu *v);
    /* Past an emulated instruction: RIP, interrupt shadow, single-step trap. */
    void (*skip)(struct vcpu *v, unsigned int insn_length);
    /* The part of the neutral state that the backend holds (all but ctx); gpr[] included. */
    void (*state_save)(struct vcpu *v, struct vcpu_state *state);
    int (*state_load)(struct vcpu *v, const struct vcpu_state *state);
    /* Would state_load() take it? 0 or -EINVAL. Also before cpu_on(). */
    int (*state_check)(const struct vcpu_state *state);
};

/* Chosen once by hvm_init(); NULL when the CPU has nothing that molt can use. */
extern const struct hvm_ops *hvm;

/* A general register by its number in encodings, RSP too. */
static inline uint64_t hvm_gpr(struct vcpu *v, unsigned int index)
{
    return index == GPR_RSP ? hvm->reg_get(v, HVM_REG_RSP) : v->gpr[index];
}

static inline void hvm_gpr_set(struct vcpu *v, unsigned int index, uint64_t value)
{
    if (index == GPR_RSP) {
        hvm->reg_set(v, HVM_REG_RSP, value);
    } else {
        v->gpr[index] = value;
    }
}

/* The backend that hvm_init() will turn on, or has; NULL when there is none. Changes nothing. */
const struct hvm_ops *hvm_find(void);

/* Picks the backend and turns it on for the boot CPU; prints what is missing. */
void hvm_init(const char *cmdline);

extern const struct hvm_ops vmx_ops, svm_ops;

/* Instructions that guests can only have when the backend lets them; set by cpu_on(). */
struct hvm_features {
    bool rdtscp;
    bool invpcid;
};
extern struct hvm_features hvm_features;

/* Command line, svm=plain: the backend is to do without what it needs not have. */
extern bool hvm_plain;

/* Name of a reason, for statistics and messages; "?" for a number that is none. */
const char *hvm_exit_name(enum hvm_exit_reason reason);

/* CR bits that a guest may set (core/cpuid.c decides by the virtual CPU's features). */
uint64_t guest_cr0_allowed(void);
uint64_t guest_cr4_allowed(void);
uint64_t guest_efer_allowed(void);
/* XCR0 bits that a guest may set: what the host has and the virtual CPU shows. */
uint64_t guest_xcr0_allowed(void);

#endif
