/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both instruction decoders take from the bytes in the same way (core/insn_bytes.c): prefixes,
 * immediates, operands in memory. Pure; the bytes are untrusted.
 */
#ifndef CORE_INSN_PRIV_H
#define CORE_INSN_PRIV_H

#include "hv/insn_exit.h"

struct insn_cursor {
    const uint8_t *bytes;
    size_t len;
    unsigned int at;
};

struct insn_prefixes {
    bool operand_size, address_size, lock, rep, repne;
    uint8_t rex;
    uint8_t segment; /* enum segment that overrides the usual one; SEG_COUNT: none */
};

#define REX_W 8U
#define REX_R 4U
#define REX_X 2U
#define REX_B 1U

/* The next bytes, little-endian; at most 8. 0; -ENOSPC: there are fewer; -EINVAL: the instruction
 * is longer than INSN_MAX, which raises #GP. *value changes on success only. */
MUST_CHECK int insn_take(struct insn_cursor *c, unsigned int bytes, uint64_t *value);
MUST_CHECK int insn_take_byte(struct insn_cursor *c, uint8_t *byte);

/* All prefixes and the opcode's first byte. mode: 2, 4 or 8. Errors as of insn_take(). */
MUST_CHECK int insn_take_prefixes(struct insn_cursor *c, unsigned int mode, struct insn_prefixes *p,
                                  uint8_t *opcode);

/* Bytes of an address: 2, 4 or 8. */
unsigned int insn_address_size(unsigned int mode, const struct insn_prefixes *p);

/* SIB and displacement behind a ModRM byte that names memory (below 0xc0). Errors as of
 * insn_take(). */
MUST_CHECK int insn_take_memory(struct insn_cursor *c, unsigned int mode,
                                const struct insn_prefixes *p, uint8_t modrm,
                                struct insn_memory *out);

#endif
