/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoder for instructions that exit (core/insn_exit.c), where the CPU does not tell what it was:
 * length, operands in registers, segment and address size of a string. Pure and shared by all
 * backends.
 */
#ifndef HV_INSN_EXIT_H
#define HV_INSN_EXIT_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "hv/vcpu.h"

#define INSN_NO_GPR GPR_COUNT

/* An operand in memory: base + (index << shift) + displacement, cut to size, in a segment. */
struct insn_memory {
    uint8_t base, index; /* enum gpr; INSN_NO_GPR */
    uint8_t shift;
    bool rip;              /* RIP of the next instruction is the base */
    uint8_t size;          /* of the address: 2, 4, 8 bytes */
    uint8_t segment;       /* enum segment, overrides counted */
    uint64_t displacement; /* sign-extended */
};

struct insn_exit {
    uint8_t length;       /* bytes of the instruction */
    uint16_t opcode;      /* one byte, or 0x0f00 and the second one */
    uint8_t reg;          /* ModRM.reg; number of the control or debug register */
    uint8_t rm;           /* ModRM.rm, REX.B in bit 3: a GPR */
    uint8_t modrm;        /* as it stands; 0 without one */
    uint8_t segment;      /* enum segment: of a string's source, overrides counted */
    uint8_t address_size; /* bytes */
    bool in_memory;       /* LMSW: the operand is not in rm but in memory */
    struct insn_memory memory;
};

#define INSN_CLTS 0x0f06U
#define INSN_GROUP7 0x0f01U /* LMSW, VMCALL, VMMCALL, XSETBV: modrm tells */
#define INSN_MOV_FROM_CR 0x0f20U
#define INSN_MOV_TO_CR 0x0f22U
#define INSN_MOV_TO_DR 0x0f23U
#define INSN_OUTS_B 0x6eU
#define INSN_OUTS 0x6fU

#define INSN_MODRM_VMCALL 0xc1U
#define INSN_MODRM_XSETBV 0xd1U
#define INSN_MODRM_VMMCALL 0xd9U
#define INSN_DIGIT_LMSW 6U

/*
 * The instruction at bytes[0..len), one of CPUID, RDMSR, WRMSR, RDPMC, HLT, INVD, WBINVD, CLTS, IN,
 * OUT, INS, OUTS, MOV CR, MOV to DR, LMSW, VMCALL, VMMCALL, XSETBV. mode: 2, 4 or 8 (16-, 32-,
 * 64-bit code). 0; -EINVAL for any other, and what raises #UD or #GP by its encoding alone; -ENOSPC
 * when it is longer than len. *out changes on success only.
 */
MUST_CHECK int insn_decode_exit(const uint8_t *bytes, size_t len, unsigned int mode,
                                struct insn_exit *out);

/* The offset in its segment of an operand in memory. gpr: all 16, RSP included. next_rip: of the
 * next instruction. */
uint64_t insn_offset(const struct insn_memory *m, const uint64_t gpr[16], uint64_t next_rip);

#endif
