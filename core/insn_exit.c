/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoder for instructions that exit.
 *
 * APM volume 3, "Instruction Encoding". Bytes are untrusted.
 * Host tests: tests/host/test_insn_exit.c, test_insn_capstone.c
 */
#include "hv/insn_exit.h"

#include "hv/errno.h"
#include "insn_priv.h"

/* What follows an opcode that exits: ModRM, an immediate byte, nothing; or it is none. */
enum tail { NONE, NOTHING, BYTE, MODRM };

static enum tail tail_of(uint16_t opcode)
{
    switch (opcode) {
    case 0x6c: /* INS */
    case 0x6d:
    case INSN_OUTS_B:
    case INSN_OUTS:
    case 0xec: /* IN, OUT by DX */
    case 0xed:
    case 0xee:
    case 0xef:
    case 0xf4: /* HLT */
    case INSN_CLTS:
    case 0x0f08: /* INVD */
    case 0x0f09: /* WBINVD */
    case 0x0f30: /* WRMSR */
    case 0x0f32: /* RDMSR */
    case 0x0f33: /* RDPMC */
    case 0x0fa2: /* CPUID */
        return NOTHING;
    case 0xe4: /* IN, OUT by an immediate */
    case 0xe5:
    case 0xe6:
    case 0xe7:
        return BYTE;
    case INSN_GROUP7:
    case INSN_MOV_FROM_CR:
    case INSN_MOV_TO_CR:
    case INSN_MOV_TO_DR:
        return MODRM;
    default:
        return NONE;
    }
}

/* MOV to and from control and debug registers: any ModRM.mod is a register. There are no others;
 * LOCK names CR8 without REX. APM volume 3, "MOV CRn", "MOV DRn". */
static int check_register(struct insn_exit *insn, struct insn_prefixes *p)
{
    insn->reg |= (p->rex & REX_R) != 0 ? 8 : 0;
    if (insn->opcode == INSN_MOV_TO_DR) {
        return insn->reg < 8 ? 0 : -EINVAL;
    }
    if (p->lock) {
        p->lock = false;
        insn->reg |= insn->reg == 0 ? 8 : 0x10;
    }
    switch (insn->reg) {
    case 0:
    case 2:
    case 3:
    case 4:
    case 8:
        return 0;
    default:
        return -EINVAL;
    }
}

static int take_modrm(struct insn_cursor *c, unsigned int mode, struct insn_prefixes *p,
                      struct insn_exit *insn)
{
    int rc = insn_take_byte(c, &insn->modrm);

    if (rc != 0) {
        return rc;
    }
    insn->reg = insn->modrm >> 3 & 7;
    insn->rm = (uint8_t)((insn->modrm & 7) | ((p->rex & REX_B) != 0 ? 8 : 0));
    if (insn->opcode != INSN_GROUP7) {
        return check_register(insn, p);
    }
    if (insn->reg == INSN_DIGIT_LMSW) {
        insn->in_memory = insn->modrm < 0xc0;
        return insn->in_memory ? insn_take_memory(c, mode, p, insn->modrm, &insn->memory) : 0;
    }
    switch (insn->modrm) {
    case INSN_MODRM_VMCALL:
    case INSN_MODRM_XSETBV:
    case INSN_MODRM_VMMCALL:
        return 0;
    default:
        return -EINVAL;
    }
}

int insn_decode_exit(const uint8_t *bytes, size_t len, unsigned int mode, struct insn_exit *out)
{
    struct insn_cursor c = {bytes, len, 0};
    struct insn_exit insn = {0};
    struct insn_prefixes p;
    uint8_t byte;
    int rc;

    if (mode != 2 && mode != 4 && mode != 8) {
        return -EINVAL;
    }
    rc = insn_take_prefixes(&c, mode, &p, &byte);
    insn.opcode = byte;
    if (rc == 0 && byte == 0x0f) {
        rc = insn_take_byte(&c, &byte);
        insn.opcode = (uint16_t)(0x0f00U | byte);
    }
    if (rc != 0) {
        return rc;
    }
    switch (tail_of(insn.opcode)) {
    case NONE:
        return -EINVAL;
    case NOTHING:
        break;
    case BYTE:
        rc = insn_take_byte(&c, &byte);
        break;
    case MODRM:
        rc = take_modrm(&c, mode, &p, &insn);
        break;
    }
    if (rc != 0) {
        return rc;
    }
    if (p.lock) {
        return -EINVAL;
    }
    insn.segment = p.segment == SEG_COUNT ? SEG_DS : p.segment;
    insn.address_size = (uint8_t)insn_address_size(mode, &p);
    insn.length = (uint8_t)c.at;
    *out = insn;
    return 0;
}

uint64_t insn_offset(const struct insn_memory *m, const uint64_t gpr[16], uint64_t next_rip)
{
    uint64_t offset = m->displacement + (m->rip ? next_rip : 0);

    if (m->base != INSN_NO_GPR) {
        offset += gpr[m->base];
    }
    if (m->index != INSN_NO_GPR) {
        offset += gpr[m->index] << m->shift;
    }
    return m->size == 8 ? offset : offset & (BIT(m->size * 8U) - 1);
}
