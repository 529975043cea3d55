/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the chaos payload: one instruction at a time, with random operands.
 *
 * An operation is the bytes of one instruction, registers for it (gpr_in), which of them it may
 * change, and which exceptions it may raise. chaos_run() runs it with all registers live and
 * compares what it should have left alone.
 */
#ifndef GUEST_CHAOS_H
#define GUEST_CHAOS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/gpr.h"
#include "lib/lib.h"
#include "lib/x86.h"

#define SCRATCH_BYTES (3 * PAGE_SIZE)
#define OP_BYTES 16U

/* Registers that an operation may change, by enum gpr_index. */
#define CHANGES(reg) BIT32(reg)
#define CHANGES_A_TO_D (CHANGES(GPR_RAX) | CHANGES(GPR_RBX) | CHANGES(GPR_RCX) | CHANGES(GPR_RDX))
/* Exceptions that it may raise, by vector. */
#define RAISES(vector) BIT32(vector)
#define RAISES_USUAL                                                                      \
    (RAISES(VEC_DB) | RAISES(VEC_UD) | RAISES(VEC_NM) | RAISES(VEC_NP) | RAISES(VEC_SS) | \
     RAISES(VEC_GP) | RAISES(VEC_PF) | RAISES(VEC_AC) | RAISES(VEC_MF) | RAISES(VEC_XM))

struct op {
    const char *name;
    uint8_t bytes[OP_BYTES];
    unsigned int length;
    uint32_t changes;
    uint32_t raises;
};

/* What molt is to be spared in this run. */
struct chaos_limits {
    bool control; /* the control domain's: calls that would end or stop the others */
};

extern struct chaos_limits limits;
extern uint8_t scratch[SCRATCH_BYTES];
extern uint64_t chaos_random;

/* Random numbers: below n, any 64 bits with few or many set, of a table. */
uint32_t below(uint32_t n);
uint64_t any64(void);
/* One that is mapped nowhere or not canonical; one in scratch, and such a one now and then. */
uint64_t bad_address(void);
uint64_t any_address(void);
/* An address in scratch with room for so many bytes. */
uint64_t scratch_address(uint32_t bytes);

void op_byte(struct op *op, uint8_t byte);
void op_bytes(struct op *op, const char *bytes, unsigned int n);
void op_word(struct op *op, uint64_t value, unsigned int n);

/* Fill in an operation: chaos/ops.c, chaos/mmio.c, chaos/calls.c, chaos/system.c. */
void op_cpuid(struct op *op);
void op_rdmsr(struct op *op);
void op_wrmsr(struct op *op);
void op_in(struct op *op);
void op_out(struct op *op);
void op_string(struct op *op);
void op_mmio(struct op *op);
void op_call(struct op *op);
void op_door(struct op *op);
void op_xsetbv(struct op *op);
void op_control(struct op *op);
void op_debug(struct op *op);
void op_other(struct op *op);

/* A value for a register of an APIC that holds a vector and a delivery mode: no INIT and no SIPI,
 * which would be this CPU's own end, and no vector of an exception. */
uint64_t tame_apic(uint64_t value);
/* The same for a register of the local APIC, and often one that has an effect. */
uint64_t apic_value(uint32_t reg, uint64_t value);
/* The local APIC's page is there. */
uint64_t apic_page(void);
/* The operation's MSR is the TSC: it must be put right afterwards. */
bool op_writes_tsc(const struct op *op);
/* Looks for domains that calls have made; and destroys them. */
void calls_note(void);
uint64_t calls_made(void);
void calls_clean_up(void);

/* An access that must be this domain's end. */
_Noreturn void hole_end(void);

#endif
