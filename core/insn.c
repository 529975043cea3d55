/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instruction decoder for memory-mapped I/O.
 *
 * SDM volume 2, "Instruction Format" (prefixes, ModRM, SIB, lengths) and appendix "Opcode Map". The
 * address of the operand is not computed: the exit that brings us here names it.
 * Bytes and device values are untrusted.
 * Host tests: tests/host/test_insn.c, _ref.c, _cpu.c, _capstone.c
 */
#include "hv/insn.h"

#include "hv/errno.h"
#include "hv/vcpu.h"
#include "hw/x86.h"
#include "insn_priv.h"

/* What an opcode is. */
#define VALID 0x001U
#define BYTE 0x002U  /* operands of one byte, else of the operand size */
#define READ 0x004U  /* memory is read */
#define WRITE 0x008U /* memory is written */
#define MODRM 0x010U
#define MOFFS 0x020U /* an address of the address size follows the opcode, the register is rAX */
#define IMM8 0x040U
#define IMMZ 0x080U   /* immediate of the operand size, four bytes at most */
#define GROUP1 0x100U /* ModRM.reg names the operation as the opcodes 00 to 3f do */
#define DIGIT0 0x200U /* ModRM.reg must be 0 */
#define MOVSXD 0x400U

struct opcode {
    uint16_t flags;
    uint8_t op;
};

#define NO_OP 0xffU

/* Bits 5:3 of the opcodes 00 to 3f, and ModRM.reg of group 1: not ADD, ADC, SBB, SUB. */
static const uint8_t alu_op[8] = {NO_OP,    INSN_OR, NO_OP,    NO_OP,
                                  INSN_AND, NO_OP,   INSN_XOR, INSN_CMP};

#define ALU_ROW(base, operation)                                   \
    [(base)] = {VALID | MODRM | READ | WRITE | BYTE, (operation)}, \
    [(base) + 1] = {VALID | MODRM | READ | WRITE, (operation)},    \
    [(base) + 2] = {VALID | MODRM | READ | BYTE, (operation)},     \
    [(base) + 3] = {VALID | MODRM | READ, (operation)}

/* SDM volume 2, "Opcode Map", one-byte opcodes. */
static const struct opcode one_byte[256] = {
    ALU_ROW(0x08, INSN_OR),
    ALU_ROW(0x20, INSN_AND),
    ALU_ROW(0x30, INSN_XOR),
    [0x38] = {VALID | MODRM | READ | BYTE, INSN_CMP},
    [0x39] = {VALID | MODRM | READ, INSN_CMP},
    [0x3a] = {VALID | MODRM | READ | BYTE, INSN_CMP_REG},
    [0x3b] = {VALID | MODRM | READ, INSN_CMP_REG},
    [0x63] = {VALID | MODRM | READ | MOVSXD, INSN_MOV},
    [0x80] = {VALID | MODRM | READ | BYTE | GROUP1 | IMM8, NO_OP},
    [0x81] = {VALID | MODRM | READ | GROUP1 | IMMZ, NO_OP},
    [0x83] = {VALID | MODRM | READ | GROUP1 | IMM8, NO_OP},
    [0x84] = {VALID | MODRM | READ | BYTE, INSN_TEST},
    [0x85] = {VALID | MODRM | READ, INSN_TEST},
    [0x86] = {VALID | MODRM | READ | WRITE | BYTE, INSN_XCHG},
    [0x87] = {VALID | MODRM | READ | WRITE, INSN_XCHG},
    [0x88] = {VALID | MODRM | WRITE | BYTE, INSN_MOV},
    [0x89] = {VALID | MODRM | WRITE, INSN_MOV},
    [0x8a] = {VALID | MODRM | READ | BYTE, INSN_MOV},
    [0x8b] = {VALID | MODRM | READ, INSN_MOV},
    [0xa0] = {VALID | MOFFS | READ | BYTE, INSN_MOV},
    [0xa1] = {VALID | MOFFS | READ, INSN_MOV},
    [0xa2] = {VALID | MOFFS | WRITE | BYTE, INSN_MOV},
    [0xa3] = {VALID | MOFFS | WRITE, INSN_MOV},
    [0xaa] = {VALID | WRITE | BYTE, INSN_STOS},
    [0xab] = {VALID | WRITE, INSN_STOS},
    [0xc6] = {VALID | MODRM | WRITE | BYTE | DIGIT0 | IMM8, INSN_MOV},
    [0xc7] = {VALID | MODRM | WRITE | DIGIT0 | IMMZ, INSN_MOV},
    [0xf6] = {VALID | MODRM | READ | BYTE | DIGIT0 | IMM8, INSN_TEST},
    [0xf7] = {VALID | MODRM | READ | DIGIT0 | IMMZ, INSN_TEST},
};

#define ESCAPE_TWO_BYTE 0x0fU

static uint64_t size_mask(unsigned int bytes)
{
    return bytes >= 8 ? ~UINT64_C(0) : BIT(bytes * 8) - 1;
}

static uint64_t sign_extend(uint64_t value, unsigned int bytes)
{
    uint64_t sign = BIT(bytes * 8 - 1);

    return ((value & size_mask(bytes)) ^ sign) - sign;
}

/* ModRM and what follows it of a memory operand; *reg: ModRM.reg. */
static int take_modrm(struct insn_cursor *c, unsigned int mode, const struct insn_prefixes *p,
                      uint8_t *reg)
{
    struct insn_memory ignored;
    uint8_t modrm;
    int rc = insn_take_byte(c, &modrm);

    if (rc != 0) {
        return rc;
    }
    if (modrm >= 0xc0) {
        return -EINVAL; /* a register */
    }
    *reg = modrm >> 3 & 7U;
    return insn_take_memory(c, mode, p, modrm, &ignored);
}

/* The entry for an opcode whose first byte is there; the second is taken here. */
static int look_up(struct insn_cursor *c, unsigned int mode, uint8_t first, struct opcode *entry,
                   struct insn_mmio *insn)
{
    uint8_t second;
    int rc;

    *entry = one_byte[first];
    if (first == ESCAPE_TWO_BYTE) {
        rc = insn_take_byte(c, &second);
        if (rc != 0) {
            return rc;
        }
        if ((second & 0xf6U) != 0xb6) {
            return -EINVAL;
        }
        /* MOVZX b6 b7, MOVSX be bf */
        *entry = (struct opcode){VALID | MODRM | READ, INSN_MOV};
        insn->size = (second & 1U) != 0 ? 2 : 1;
        insn->sign_extend = (second & 8U) != 0;
    }
    if ((entry->flags & MOVSXD) != 0) {
        if (mode != 8) {
            return -EINVAL; /* ARPL */
        }
        insn->size = (uint8_t)MIN(insn->reg_size, 4U);
        insn->sign_extend = true;
    }
    return (entry->flags & VALID) != 0 ? 0 : -EINVAL;
}

/* Which operation, of those that have it in ModRM.reg. */
static int take_operation(struct opcode *entry, uint8_t modrm_reg)
{
    if ((entry->flags & GROUP1) != 0) {
        entry->op = alu_op[modrm_reg];
        if (entry->op == NO_OP) {
            return -EINVAL;
        }
        if (entry->op != INSN_CMP) {
            entry->flags |= WRITE;
        }
    }
    return (entry->flags & DIGIT0) != 0 && modrm_reg != 0 ? -EINVAL : 0;
}

static void set_register(struct insn_mmio *insn, const struct insn_prefixes *p, uint8_t modrm_reg)
{
    insn->reg = modrm_reg;
    if (insn->reg_size == 1 && p->rex == 0 && modrm_reg >= 4) {
        insn->reg = modrm_reg - 4; /* with any REX: SPL, BPL, SIL, DIL */
        insn->high_byte = true;
    }
    if ((p->rex & REX_R) != 0) {
        insn->reg += 8;
    }
}

static int check_prefixes(const struct insn_prefixes *p, struct insn_mmio *insn)
{
    /* SDM volume 2, "LOCK": #UD but for a few with memory as the destination. */
    if (p->lock && !(insn->read && insn->write)) {
        return -EINVAL;
    }
    /* Elsewhere F2 and F3 do nothing or are hints (XACQUIRE, XRELEASE). F2 is reserved here. */
    if (insn->op == INSN_STOS) {
        if (p->repne) {
            return -EINVAL;
        }
        insn->rep = p->rep;
    }
    return 0;
}

int insn_decode_mmio(const uint8_t *bytes, size_t len, unsigned int mode, struct insn_mmio *out)
{
    struct insn_cursor c = {bytes, len, 0};
    struct insn_prefixes p;
    struct insn_mmio insn = {0};
    struct opcode entry;
    uint8_t opcode, modrm_reg = 0;
    unsigned int immediate;
    uint64_t value;
    int rc;

    if (mode != 2 && mode != 4 && mode != 8) {
        return -EINVAL;
    }
    rc = insn_take_prefixes(&c, mode, &p, &opcode);
    if (rc != 0) {
        return rc;
    }
    /* SDM volume 1, "Operand-Size and Address-Size Attributes". */
    insn.reg_size = p.operand_size != (mode == 2) ? 2 : 4;
    if ((p.rex & REX_W) != 0) {
        insn.reg_size = 8;
    }
    insn.address_size = (uint8_t)insn_address_size(mode, &p);
    rc = look_up(&c, mode, opcode, &entry, &insn);
    if (rc != 0) {
        return rc;
    }
    if ((entry.flags & BYTE) != 0) {
        insn.reg_size = 1;
    }
    if (insn.size == 0) {
        insn.size = insn.reg_size;
    }
    if ((entry.flags & MODRM) != 0) {
        rc = take_modrm(&c, mode, &p, &modrm_reg);
        if (rc == 0) {
            rc = take_operation(&entry, modrm_reg);
        }
    } else if ((entry.flags & MOFFS) != 0) {
        rc = insn_take(&c, insn.address_size, &value);
    }
    if (rc != 0) {
        return rc;
    }
    insn.op = entry.op;
    insn.read = (entry.flags & READ) != 0;
    insn.write = (entry.flags & WRITE) != 0;
    insn.immediate = (entry.flags & (IMM8 | IMMZ)) != 0;
    if (insn.immediate) {
        immediate = (entry.flags & IMM8) != 0 ? 1 : MIN(insn.size, 4U);
        rc = insn_take(&c, immediate, &value);
        if (rc != 0) {
            return rc;
        }
        insn.value = sign_extend(value, immediate) & size_mask(insn.size);
    } else if ((entry.flags & MODRM) != 0) {
        set_register(&insn, &p, modrm_reg);
    }
    rc = check_prefixes(&p, &insn);
    if (rc != 0) {
        return rc;
    }
    insn.length = (uint8_t)c.at;
    *out = insn;
    return 0;
}

/* A register of 4 bytes clears the upper half, smaller ones leave the rest. */
static void merge(uint64_t *reg, uint64_t value, unsigned int bytes)
{
    uint64_t mask = size_mask(bytes);

    *reg = bytes == 4 ? value & mask : (*reg & ~mask) | (value & mask);
}

static uint64_t get_operand(const struct insn_mmio *insn, const uint64_t gpr[16])
{
    if (insn->immediate) {
        return insn->value;
    }
    return gpr[insn->reg] >> (insn->high_byte ? 8 : 0) & size_mask(insn->size);
}

static void set_operand(const struct insn_mmio *insn, uint64_t gpr[16], uint64_t value)
{
    uint64_t *reg = &gpr[insn->reg];

    if (insn->high_byte) {
        *reg = (*reg & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
    } else {
        merge(reg, value, insn->reg_size);
    }
}

/* ZF, SF and PF of a result, which is cut to bytes; the other status flags are clear. */
static uint64_t result_flags(uint64_t result, unsigned int bytes)
{
    uint64_t flags = 0;

    if (result == 0) {
        flags |= RFLAGS_ZF;
    }
    if ((result & BIT(bytes * 8 - 1)) != 0) {
        flags |= RFLAGS_SF;
    }
    if (__builtin_parityll(result & 0xff) == 0) { /* of the low byte only */
        flags |= RFLAGS_PF;
    }
    return flags;
}

/* SDM volume 1, appendix "EFLAGS Cross-Reference": of first - second, both cut to bytes. */
static uint64_t compare_flags(uint64_t first, uint64_t second, unsigned int bytes)
{
    uint64_t difference = (first - second) & size_mask(bytes);
    uint64_t flags = result_flags(difference, bytes);
    uint64_t sign = BIT(bytes * 8 - 1);

    if (first < second) {
        flags |= RFLAGS_CF;
    }
    if (((first ^ second) & (first ^ difference) & sign) != 0) {
        flags |= RFLAGS_OF;
    }
    if (((first ^ second ^ difference) & 0x10) != 0) {
        flags |= RFLAGS_AF;
    }
    return flags;
}

static void set_status(uint64_t *rflags, uint64_t flags)
{
    *rflags &= ~(RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF);
    *rflags |= flags;
}

/* SDM volume 2, "REP": false when the count has not come to its end. */
static bool step_string(const struct insn_mmio *insn, uint64_t gpr[16], uint64_t rflags)
{
    unsigned int width = insn->address_size;
    uint64_t step = (rflags & RFLAGS_DF) != 0 ? -(uint64_t)insn->size : insn->size;
    uint64_t count;

    merge(&gpr[GPR_RDI], gpr[GPR_RDI] + step, width);
    if (!insn->rep) {
        return true;
    }
    count = gpr[GPR_RCX] & size_mask(width);
    if (count != 0) { /* 0 has no access: the guest has changed its code under us */
        merge(&gpr[GPR_RCX], --count, width);
    }
    return count == 0;
}

/* AND, OR, XOR of both operands. AF is undefined in the manual; processors clear it. */
static uint64_t logic(unsigned int op, uint64_t a, uint64_t b, unsigned int bytes, uint64_t *rflags)
{
    uint64_t result = op == INSN_OR ? a | b : op == INSN_XOR ? a ^ b : a & b;

    set_status(rflags, result_flags(result, bytes));
    return result;
}

bool insn_apply_mmio(const struct insn_mmio *insn, uint64_t device, uint64_t gpr[16],
                     uint64_t *rflags, uint64_t *write)
{
    uint64_t memory = device & size_mask(insn->size);
    uint64_t operand = get_operand(insn, gpr);
    uint64_t result;

    *write = 0;
    switch (insn->op) {
    case INSN_MOV:
        if (insn->write) {
            *write = operand;
        } else {
            set_operand(insn, gpr, insn->sign_extend ? sign_extend(memory, insn->size) : memory);
        }
        return true;
    case INSN_XCHG:
        set_operand(insn, gpr, memory);
        *write = operand;
        return true;
    case INSN_STOS:
        *write = operand;
        return step_string(insn, gpr, *rflags);
    case INSN_CMP:
        set_status(rflags, compare_flags(memory, operand, insn->size));
        return true;
    case INSN_CMP_REG:
        set_status(rflags, compare_flags(operand, memory, insn->size));
        return true;
    case INSN_TEST:
        (void)logic(INSN_AND, memory, operand, insn->size, rflags);
        return true;
    default: /* AND, OR, XOR */
        result = logic(insn->op, memory, operand, insn->size, rflags);
        if (insn->write) {
            *write = result;
        } else {
            set_operand(insn, gpr, result);
        }
        return true;
    }
}
