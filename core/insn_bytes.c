/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of instructions: prefixes, immediates, operands in memory.
 *
 * SDM volume 2, "Instruction Format"; APM volume 3, "Instruction Encoding".
 * Host tests: those of both decoders, tests/host/test_insn*.c
 */
#include "insn_priv.h"

#include "hv/errno.h"
#include "hv/insn.h"

int insn_take(struct insn_cursor *c, unsigned int bytes, uint64_t *value)
{
    uint64_t v = 0;

    for (unsigned int i = 0; i < bytes; i++) {
        if (c->at == INSN_MAX) {
            return -EINVAL;
        }
        if (c->at == c->len) {
            return -ENOSPC;
        }
        v |= (uint64_t)c->bytes[c->at++] << (8 * i);
    }
    *value = v;
    return 0;
}

int insn_take_byte(struct insn_cursor *c, uint8_t *byte)
{
    uint64_t v;
    int rc = insn_take(c, 1, &v);

    if (rc == 0) {
        *byte = (uint8_t)v;
    }
    return rc;
}

/* True: a legacy prefix, noted. Of segments the last one counts; in 64-bit code these four are
 * ignored. APM volume 3, "Segment-Override Prefixes". */
static bool legacy_prefix(uint8_t byte, unsigned int mode, struct insn_prefixes *p)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        if (mode != 8) {
            p->segment = SEG_ES + (byte >> 3 & 3);
        }
        return true;
    case 0x64:
    case 0x65:
        p->segment = SEG_FS + (byte & 1);
        return true;
    case 0x66:
        p->operand_size = true;
        return true;
    case 0x67:
        p->address_size = true;
        return true;
    case 0xf0:
        p->lock = true;
        return true;
    case 0xf2: /* the last one of these two counts */
    case 0xf3:
        p->repne = byte == 0xf2;
        p->rep = byte == 0xf3;
        return true;
    default:
        return false;
    }
}

int insn_take_prefixes(struct insn_cursor *c, unsigned int mode, struct insn_prefixes *p,
                       uint8_t *opcode)
{
    int rc;

    *p = (struct insn_prefixes){.segment = SEG_COUNT};
    while ((rc = insn_take_byte(c, opcode)) == 0) {
        if (legacy_prefix(*opcode, mode, p)) {
            p->rex = 0; /* REX counts only if the opcode follows it at once */
        } else if (mode == 8 && (*opcode & 0xf0U) == 0x40) {
            p->rex = *opcode;
        } else {
            return 0;
        }
    }
    return rc;
}

unsigned int insn_address_size(unsigned int mode, const struct insn_prefixes *p)
{
    return !p->address_size ? mode : mode == 4 ? 2 : 4;
}

/* APM volume 3, "16-Bit ModRM and SIB Byte Encodings" */
static unsigned int address16(uint8_t modrm, struct insn_memory *m)
{
    static const struct {
        uint8_t base, index;
    } forms[8] = {{GPR_RBX, GPR_RSI},     {GPR_RBX, GPR_RDI},     {GPR_RBP, GPR_RSI},
                  {GPR_RBP, GPR_RDI},     {GPR_RSI, INSN_NO_GPR}, {GPR_RDI, INSN_NO_GPR},
                  {GPR_RBP, INSN_NO_GPR}, {GPR_RBX, INSN_NO_GPR}};
    unsigned int mod = modrm >> 6, rm = modrm & 7U;

    m->base = forms[rm].base;
    m->index = forms[rm].index;
    if (mod == 0 && rm == 6) {
        m->base = INSN_NO_GPR;
        return 2;
    }
    return mod;
}

int insn_take_memory(struct insn_cursor *c, unsigned int mode, const struct insn_prefixes *p,
                     uint8_t modrm, struct insn_memory *out)
{
    struct insn_memory m = {.index = INSN_NO_GPR, .size = (uint8_t)insn_address_size(mode, p)};
    unsigned int displacement, mod = modrm >> 6, rm = modrm & 7U;
    uint64_t value, sign;
    uint8_t sib;
    int rc;

    if (m.size == 2) {
        displacement = address16(modrm, &m);
    } else {
        displacement = mod == 2 ? 4 : mod;
        if (rm == 4) {
            rc = insn_take_byte(c, &sib);
            if (rc != 0) {
                return rc;
            }
            rm = sib & 7U;
            m.index = (uint8_t)((sib >> 3 & 7U) | ((p->rex & REX_X) != 0 ? 8 : 0));
            m.index = m.index == GPR_RSP ? INSN_NO_GPR : m.index;
            m.shift = sib >> 6;
        }
        m.base = (uint8_t)(rm | ((p->rex & REX_B) != 0 ? 8 : 0));
        /* REX.B plays no part here: SDM volume 2, "Special Cases of REX Encodings". */
        if (mod == 0 && rm == 5) {
            displacement = 4;
            m.base = INSN_NO_GPR;
            m.rip = mode == 8 && (modrm & 7U) == 5;
        }
    }
    rc = insn_take(c, displacement, &value);
    if (rc != 0) {
        return rc;
    }
    sign = displacement == 0 ? 0 : BIT(displacement * 8 - 1);
    m.displacement = (value ^ sign) - sign;
    m.segment = p->segment;
    if (m.segment == SEG_COUNT) {
        m.segment = m.base == GPR_RBP || m.base == GPR_RSP ? SEG_SS : SEG_DS;
    }
    *out = m;
    return 0;
}
