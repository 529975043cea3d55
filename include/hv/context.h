/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a vCPU that lives in the CPU itself and in neither VMCS nor VMCB: XSAVE state, XCR0,
 * debug registers, CR2 and the MSRs that guests have to themselves.
 */
#ifndef HV_CONTEXT_H
#define HV_CONTEXT_H

#include "hv/vcpu.h"

/* Memory and reset values. 0 or -ENOMEM. Needs XSAVE (hvm_init() checks). */
MUST_CHECK int context_init(struct vcpu_context *ctx);
void context_fini(struct vcpu_context *ctx);

/* Puts v's context into this CPU, taking out the one that is there. No-op when v's is. */
void context_load(struct vcpu *v);

/* Takes out what is there, so that every vCPU's ctx is valid. */
void context_unload(void);

/* Between these two calls this CPU's vector registers and FS belong to code that is not molt's own:
 * vector instructions may be used, MXCSR is as after RESET, and FS:0x28 holds a canary. Takes out
 * what is there. No vCPU runs meanwhile, and the two do not nest. */
void context_lend(void);
void context_take_back(void);

/* The loaded vCPU's XCR0, already checked. */
void context_set_xcr0(struct vcpu_context *ctx, uint64_t xcr0);

/* The loaded vCPU's CR2. */
void context_set_cr2(struct vcpu_context *ctx, uint64_t cr2);

/* An XSAVE image (standard format) that came from outside: 0, or -EINVAL when XRSTOR would
 * fault. Check: the same answer, and nothing is changed. */
MUST_CHECK int context_check_xsave(const void *image, size_t bytes);
MUST_CHECK int context_set_xsave(struct vcpu_context *ctx, const void *image, size_t bytes);

#endif
