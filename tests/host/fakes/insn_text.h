/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoded MMIO instructions as text, for tables and comparisons.
 *
 * "OP DIRSIZE OPERAND": DIR r, w or rw, as the device sees it; SIZE of the access in bytes, with s
 * when it is sign-extended; OPERAND a register's name or # and hexadecimal. STOS is followed by "a"
 * and its address size, and " rep". For example "mov r1s eax", "and rw4 #ff", "stos w1 al a8 rep".
 */
#ifndef FAKES_INSN_TEXT_H
#define FAKES_INSN_TEXT_H

#include "hv/insn.h"

#define INSN_TEXT 64

void insn_text(const struct insn_mmio *insn, char text[INSN_TEXT]);

/* A register's name: "al", "ah", "spl", "r8d"; "?" if there is none. */
const char *insn_register(unsigned int bytes, unsigned int reg, bool high_byte);

/* Bytes of the register with this name; 0 if it is none. */
unsigned int insn_register_bytes(const char *name);

#endif
