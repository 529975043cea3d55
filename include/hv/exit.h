/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done about a VM exit, and the virtual CPU that guests see.
 */
#ifndef HV_EXIT_H
#define HV_EXIT_H

#include "hv/hvm.h"
#include "hv/seam.h"
#include "hw/x86.h"

/* Handles one exit of the loaded vCPU: emulates, injects, puts it to sleep or stops its domain. */
void exit_handle(struct vcpu *v, const struct hvm_exit *exit);

/* No vCPU runs, and none can be woken: all wait in HLT with interrupts off or for SIPI, nothing is
 * on its way to one, and no device is set up to send NMI or INIT. */
bool domain_is_deaf(const struct domain *d);

/* Raises an exception in the guest at the next entry. */
void guest_fault(struct vcpu *v, unsigned int vector);
void guest_fault_code(struct vcpu *v, unsigned int vector, uint32_t error_code);

/* The virtual CPU: answers CPUID; needs the guest's CR4 and XCR0. docs/CPU.md lists the leaves. */
struct cpuid_values guest_cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf);

/* Width of guest-physical addresses as the guest reads it: bits from here up to 51 are reserved. */
unsigned int guest_maxphyaddr(void);

/* Would a backend take this state? What every CPU checks of it: 0 or -EINVAL. Pure. */
MUST_CHECK int guest_state_check(const struct vcpu_state *state);

/* A PDPTE as a CPU with VMX holds it, that another one has only in memory: 0 unless it is present
 * and has no reserved bit set. */
uint64_t guest_pdpte(uint64_t entry);

/* In PAE paging the CPU holds four PDPTEs. */
static inline bool guest_pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LME);
}

/* CR0 after LMSW, which sets PE and cannot clear it. */
static inline uint64_t guest_lmsw(uint64_t cr0, uint64_t operand)
{
    const uint64_t bits = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

    return (cr0 & ~(bits & ~CR0_PE)) | (operand & bits);
}

/* May a guest have this XCR0? */
bool xcr0_valid(uint64_t value);
bool pat_valid(uint64_t value);

/* Page sizes that the virtual CPU, hence the host's, has. */
bool guest_has_pse36(void);
bool guest_has_1g_pages(void);

/* MSRs that guests use without exits, TSC_AUX besides where there is RDTSCP: the backend's control
 * block has them, or they are switched with the vCPU's context. */
#define GUEST_OWN_MSRS 10
extern const uint32_t guest_own_msrs[GUEST_OWN_MSRS];

/* Intercepted MSRs: 0, or -EINVAL for #GP. */
MUST_CHECK int guest_rdmsr(struct vcpu *v, uint32_t index, uint64_t *value);
MUST_CHECK int guest_wrmsr(struct vcpu *v, uint32_t index, uint64_t value);

/* Prints the domain's exits by reason, of all its vCPUs and since this image runs. */
void exit_print(const struct domain *d);

/* Dispatches the table of core/hypercall.c by RAX; arguments in RBX, RCX, RDX, RSI. The result, or
 * HYPERCALL_RESTART: a part is done, and the guest executes the instruction again. So it can take
 * interrupts in a long call, and an update can come. */
#define HYPERCALL_RESTART INT64_MIN
int64_t hypercall(struct vcpu *v);

/* VMCALL and IN from the door: the call with the registers that the instruction has for it, and its
 * result. The instruction is the caller's to skip; false: it is to be executed again. */
MUST_CHECK bool hypercall_vmcall(struct vcpu *v, const struct hvm_exit *exit);
MUST_CHECK bool hypercall_door(struct vcpu *v, const struct hvm_exit *exit);

/* Leaves a result for the vCPU's last call, as wide as that call was: also later, when it has been
 * put to sleep. */
void hypercall_result(struct vcpu *v, int64_t result);

#endif
