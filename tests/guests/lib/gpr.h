/* SPDX-License-Identifier: Apache-2.0 */
/*
 * General registers and RFLAGS held live over a spin loop, a hypercall or CPUID.
 */
#ifndef GUEST_GPR_H
#define GUEST_GPR_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/lib.h"

enum gpr_index {
    GPR_RAX,
    GPR_RCX,
    GPR_RDX,
    GPR_RBX,
    GPR_RSP,
    GPR_RBP,
    GPR_RSI,
    GPR_RDI,
    GPR_R8,
    GPR_R15 = 15,
    GPR_RFLAGS,
    GPR_COUNT
};

extern uint64_t gpr_in[GPR_COUNT];
extern uint64_t gpr_out[GPR_COUNT];
extern struct area gpr_area;

/* ---- gpr.asm ---- */
void gpr_spin(void);
void gpr_vmcall(void);
void gpr_cpuid(void);
/* Calls the code at gpr_code, which returns by RET. */
void gpr_call(void);
extern uintptr_t gpr_code;

/* ---- gprwin.c ---- */
/* Random registers; RFLAGS of the bits in flags. */
void gpr_fill(uint64_t *random, uint64_t flags);
/* First register that differs, GPR_COUNT if none; the registers in skip may differ. */
unsigned int gpr_difference(uint32_t skip);
const char *gpr_name(unsigned int index);
/* Bits of RFLAGS that a window may hold in ring 0 and ring 3. */
uint64_t gpr_flags_kernel(void);
uint64_t gpr_flags_user(void);
/* A window of that many iterations in ring 0 (in ring 3); ends the guest on damage. */
void gpr_window(uint64_t *random, uint64_t iterations);
void gpr_window_user(uint64_t *random, uint64_t iterations);
/* Iterations that take about this long. */
uint64_t gpr_iterations(uint64_t us);

#endif
