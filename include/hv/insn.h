/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instruction decoder for memory-mapped I/O (core/insn.c): the forms that guests use on device
 * registers, and what each does to registers and flags. Pure and shared by all backends.
 */
#ifndef HV_INSN_H
#define HV_INSN_H

#include "hv/compiler.h"
#include "hv/types.h"

#define INSN_MAX 15

struct insn_mmio {
    uint8_t length;       /* bytes of the instruction */
    uint8_t size;         /* of the memory access: 1, 2, 4, 8 */
    bool read;            /* the device is read; before the write when there is one too */
    bool write;           /* the device is written */
    bool immediate;       /* the other operand is value and in no register */
    bool sign_extend;     /* read: MOVSX, MOVSXD; else zero-extended into reg_size */
    uint8_t reg;          /* GPR number; 0 with an immediate */
    bool high_byte;       /* AH, CH, DH, BH: bits 15 to 8 of reg, which is 0 to 3 */
    uint8_t reg_size;     /* bytes of reg that are used or change (4 clears the upper half) */
    uint8_t op;           /* INSN_* */
    bool rep;             /* STOS: repeated; one element at a time */
    uint8_t address_size; /* 2, 4, 8; STOS: of rDI and rCX */
    uint64_t value;       /* immediate, sign-extended and cut to size */
};

#define INSN_MOV 0U
#define INSN_AND 1U /* memory op= other operand when write is set, else register op= memory */
#define INSN_OR 2U
#define INSN_XOR 3U
#define INSN_TEST 4U /* read, sets flags only */
#define INSN_CMP 5U  /* read, sets flags only: memory - other operand */
#define INSN_XCHG 6U
#define INSN_STOS 7U
#define INSN_CMP_REG 8U /* read, sets flags only: register - memory */

/*
 * Decodes the instruction at bytes[0..len) for a memory operand. mode: 2, 4 or 8 (16-, 32-, 64-bit
 * code). 0; -EINVAL when it is none of the known forms, or raises #UD or #GP by its encoding alone;
 * -ENOSPC when it is longer than len. *out changes on success only.
 */
MUST_CHECK int insn_decode_mmio(const uint8_t *bytes, size_t len, unsigned int mode,
                                struct insn_mmio *out);

/*
 * Carries out a decoded instruction but for its memory access. device: what insn->size bytes of the
 * device read as (ignored unless insn->read). gpr: all 16, in the order of encodings, RSP included.
 * Registers and *rflags change as the processor would have changed them; *write gets the value for
 * the device, cut to insn->size (0 unless insn->write).
 *
 * True: the instruction is complete, RIP moves on by insn->length. False: a repeated STOS has more
 * elements, RIP stays.
 */
MUST_CHECK bool insn_apply_mmio(const struct insn_mmio *insn, uint64_t device, uint64_t gpr[16],
                                uint64_t *rflags, uint64_t *write);

#endif
