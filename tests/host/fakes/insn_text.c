/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoded MMIO instructions as text.
 */
#include "fakes/insn_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const names[4][16] = {
    {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b",
     "r13b", "r14b", "r15b"},
    {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w",
     "r14w", "r15w"},
    {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d",
     "r13d", "r14d", "r15d"},
    {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
     "r14", "r15"},
};
static const char *const high[4] = {"ah", "ch", "dh", "bh"};
static const char *const ops[] = {"mov", "and",  "or",   "xor",   "test",
                                  "cmp", "xchg", "stos", "cmpreg"};

const char *insn_register(unsigned int bytes, unsigned int reg, bool high_byte)
{
    unsigned int row = bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3;

    if (high_byte) {
        return bytes == 1 && reg < 4 ? high[reg] : "?";
    }
    return bytes == 1U << row && reg < 16 ? names[row][reg] : "?";
}

unsigned int insn_register_bytes(const char *name)
{
    for (unsigned int row = 0; row < 4; row++) {
        for (unsigned int reg = 0; reg < 16; reg++) {
            if (strcmp(name, names[row][reg]) == 0) {
                return 1U << row;
            }
        }
        if (strcmp(name, high[row]) == 0) {
            return 1;
        }
    }
    return 0;
}

void insn_text(const struct insn_mmio *insn, char text[INSN_TEXT])
{
    char operand[24];

    snprintf(operand, sizeof(operand), "#%" PRIx64, insn->value);
    if (!insn->immediate) {
        snprintf(operand, sizeof(operand), "%s",
                 insn_register(insn->reg_size, insn->reg, insn->high_byte));
    }
    snprintf(text, INSN_TEXT, "%s %s%s%u%s %s", insn->op < ARRAY_SIZE(ops) ? ops[insn->op] : "?",
             insn->read ? "r" : "", insn->write ? "w" : "", insn->size,
             insn->sign_extend ? "s" : "", operand);
    if (insn->op == INSN_STOS) {
        snprintf(text + strlen(text), INSN_TEXT - strlen(text), " a%u%s", insn->address_size,
                 insn->rep ? " rep" : "");
    }
}
