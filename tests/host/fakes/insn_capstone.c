/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What capstone says of an encoding, in the decoders' terms.
 */
#include "fakes/insn_capstone.h"

#include <capstone/capstone.h>
#include <string.h>

#include "fakes/insn_text.h"

static csh handles[3]; /* 16-, 32-, 64-bit code */
static cs_insn *insn;
static struct gpr_name {
    uint8_t bytes, number;
    bool high;
} gprs[X86_REG_ENDING];

static void name_gprs(void)
{
    for (unsigned int reg = 1; reg < X86_REG_ENDING; reg++) {
        const char *name = cs_reg_name(handles[0], reg);
        uint8_t bytes = name == NULL ? 0 : (uint8_t)insn_register_bytes(name);

        for (unsigned int n = 0; bytes != 0 && n < 32; n++) {
            bool high = n >= 16;

            if (strcmp(insn_register(bytes, n % 16, high), name) == 0) {
                gprs[reg] = (struct gpr_name){bytes, (uint8_t)(n % 16), high};
            }
        }
    }
}

bool capstone_open(void)
{
    static const cs_mode modes[] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};

    for (size_t i = 0; i < 3; i++) {
        if (cs_open(CS_ARCH_X86, modes[i], &handles[i]) != CS_ERR_OK ||
            cs_option(handles[i], CS_OPT_DETAIL, CS_OPT_ON) != CS_ERR_OK) {
            return false;
        }
    }
    insn = cs_malloc(handles[0]);
    name_gprs();
    return insn != NULL;
}

void capstone_close(void)
{
    cs_free(insn, 1);
    for (size_t i = 0; i < 3; i++) {
        cs_close(&handles[i]);
    }
}

static unsigned int operation(unsigned int id)
{
    switch (id) {
    case X86_INS_MOV:
    case X86_INS_MOVABS:
    case X86_INS_MOVZX:
    case X86_INS_MOVSX:
    case X86_INS_MOVSXD:
        return INSN_MOV;
    case X86_INS_AND:
        return INSN_AND;
    case X86_INS_OR:
        return INSN_OR;
    case X86_INS_XOR:
        return INSN_XOR;
    case X86_INS_TEST:
        return INSN_TEST;
    case X86_INS_CMP:
        return INSN_CMP;
    case X86_INS_XCHG:
        return INSN_XCHG;
    case X86_INS_STOSB:
    case X86_INS_STOSW:
    case X86_INS_STOSD:
    case X86_INS_STOSQ:
        return INSN_STOS;
    default:
        return UINT32_MAX;
    }
}

/* What insn_decode_mmio() should make of it; false: it should refuse. */
static bool mmio_expected(const cs_insn *i, struct insn_mmio *want)
{
    const cs_x86 *x = &i->detail->x86;
    unsigned int op = operation(i->id), memory;
    const cs_x86_op *m, *o;

    if (op == UINT32_MAX || x->op_count != 2 ||
        (x->operands[0].type == X86_OP_MEM) == (x->operands[1].type == X86_OP_MEM)) {
        return false;
    }
    memory = x->operands[0].type == X86_OP_MEM ? 0 : 1;
    m = &x->operands[memory];
    o = &x->operands[1 - memory];
    if (o->type == X86_OP_REG && gprs[o->reg].bytes == 0) {
        return false; /* a segment register */
    }
    memset(want, 0, sizeof(*want));
    want->length = (uint8_t)i->size;
    want->size = m->size;
    want->op = (uint8_t)op;
    want->address_size = x->addr_size;
    want->sign_extend = i->id == X86_INS_MOVSX || i->id == X86_INS_MOVSXD;
    if (o->type == X86_OP_IMM) {
        want->immediate = true;
        want->value = (uint64_t)o->imm & (m->size == 8 ? UINT64_MAX : BIT(m->size * 8U) - 1);
        want->reg_size = m->size;
    } else {
        want->reg = gprs[o->reg].number;
        want->reg_size = gprs[o->reg].bytes;
        want->high_byte = gprs[o->reg].high;
    }
    switch (op) {
    case INSN_MOV:
    case INSN_STOS:
        want->write = memory == 0;
        want->read = memory != 0;
        break;
    case INSN_TEST:
        want->read = true;
        break;
    case INSN_CMP:
        want->read = true;
        want->op = memory == 0 ? INSN_CMP : INSN_CMP_REG;
        break;
    default: /* XCHG names its register first or last */
        want->read = true;
        want->write = memory == 0 || op == INSN_XCHG;
        break;
    }
    want->rep = op == INSN_STOS && x->prefix[0] == X86_PREFIX_REP;
    return true;
}

static bool is_control(x86_reg reg)
{
    return reg >= X86_REG_CR0 && reg <= X86_REG_CR15;
}

static bool is_debug(x86_reg reg)
{
    return reg >= X86_REG_DR0 && reg <= X86_REG_DR15;
}

static uint8_t segment_of(x86_reg reg, uint8_t otherwise)
{
    switch (reg) {
    case X86_REG_ES:
        return SEG_ES;
    case X86_REG_CS:
        return SEG_CS;
    case X86_REG_SS:
        return SEG_SS;
    case X86_REG_DS:
        return SEG_DS;
    case X86_REG_FS:
        return SEG_FS;
    case X86_REG_GS:
        return SEG_GS;
    default:
        return otherwise;
    }
}

static void memory_expected(const cs_x86 *x, const x86_op_mem *m, struct insn_memory *want)
{
    uint8_t base = gprs[m->base].number;

    *want = (struct insn_memory){.base = INSN_NO_GPR, .index = INSN_NO_GPR, .segment = SEG_DS};
    if (gprs[m->base].bytes != 0) {
        want->base = base;
        want->segment = base == GPR_RSP || base == GPR_RBP ? SEG_SS : SEG_DS;
    }
    if (gprs[m->index].bytes != 0) {
        want->index = gprs[m->index].number;
        want->shift = (uint8_t)__builtin_ctz((unsigned int)m->scale);
    }
    want->rip = m->base == X86_REG_RIP || m->base == X86_REG_EIP;
    want->size = x->addr_size;
    want->segment = segment_of(m->segment, want->segment);
    want->displacement = (uint64_t)m->disp;
}

/* Of an instruction with operands: does it exit, and how are they to be named? */
static bool operands_expected(const cs_insn *i, struct insn_exit *want)
{
    const cs_x86 *x = &i->detail->x86;
    const cs_x86_op *first = &x->operands[0], *second = &x->operands[1];

    switch (i->id) {
    case X86_INS_IN:
    case X86_INS_OUT:
    case X86_INS_INSB:
    case X86_INS_INSW:
    case X86_INS_INSD:
        return true;
    case X86_INS_OUTSB:
    case X86_INS_OUTSW:
    case X86_INS_OUTSD:
        want->segment = segment_of(second->mem.segment, SEG_DS);
        return second->type == X86_OP_MEM;
    case X86_INS_LMSW:
        want->in_memory = first->type == X86_OP_MEM;
        if (want->in_memory) {
            memory_expected(x, &first->mem, &want->memory);
        } else {
            want->reg = INSN_DIGIT_LMSW;
            want->rm = gprs[first->reg].number;
        }
        return true;
    case X86_INS_MOV:
        if (first->type != X86_OP_REG || second->type != X86_OP_REG) {
            return false;
        }
        if (is_control(first->reg) || is_debug(first->reg)) {
            want->reg =
                (uint8_t)(first->reg - (is_control(first->reg) ? X86_REG_CR0 : X86_REG_DR0));
            want->rm = gprs[second->reg].number;
            return true;
        }
        want->reg = (uint8_t)(second->reg - X86_REG_CR0);
        want->rm = gprs[first->reg].number;
        return is_control(second->reg);
    default:
        return false;
    }
}

/* What insn_decode_exit() should make of it; false: it should refuse. */
static bool exit_expected(const cs_insn *i, struct insn_exit *want)
{
    const cs_x86 *x = &i->detail->x86;

    memset(want, 0, sizeof(*want));
    want->length = (uint8_t)i->size;
    want->opcode = x->opcode[0] == 0x0f ? (uint16_t)(0x0f00U | x->opcode[1]) : x->opcode[0];
    want->modrm = x->modrm;
    want->address_size = x->addr_size;
    want->segment = SEG_DS;
    switch (i->id) {
    case X86_INS_CPUID:
    case X86_INS_RDMSR:
    case X86_INS_WRMSR:
    case X86_INS_RDPMC:
    case X86_INS_HLT:
    case X86_INS_INVD:
    case X86_INS_WBINVD:
    case X86_INS_CLTS:
    case X86_INS_VMCALL:
    case X86_INS_VMMCALL:
    case X86_INS_XSETBV:
        return true;
    default:
        return operands_expected(i, want);
    }
}

/* ---- where capstone 4 is of another opinion than the manuals ---- */

/* What stands before an opcode, and the opcode. SDM volume 2, "Instruction Prefixes". */
struct facts {
    unsigned int prefixes; /* bytes */
    bool operand_size, lock;
    bool idle_segment; /* a segment that counts for nothing in 64-bit code */
    uint8_t repeat;    /* the last one of F2 and F3; 0: none */
    uint8_t segment;   /* FS or GS, the last one; SEG_COUNT: none */
    uint8_t rex;
    const uint8_t *opcode;
};

/* False: it is none, as far as this mode goes. */
static bool look_at_prefix(uint8_t byte, unsigned int mode, struct facts *f)
{
    if (mode == 8 && byte >= 0x40 && byte <= 0x4f) {
        f->rex = byte;
        return true;
    }
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        f->idle_segment = mode == 8;
        break;
    case 0x64:
        f->segment = SEG_FS;
        break;
    case 0x65:
        f->segment = SEG_GS;
        break;
    case 0x66:
        f->operand_size = true;
        break;
    case 0x67:
        break;
    case 0xf0:
        f->lock = true;
        break;
    case 0xf2:
    case 0xf3:
        f->repeat = byte;
        break;
    default:
        return false;
    }
    f->rex = 0;
    return true;
}

static struct facts look(const struct encoding *e)
{
    struct facts f = {.segment = SEG_COUNT};

    while (f.prefixes < INSN_MAX && look_at_prefix(e->bytes[f.prefixes], e->mode, &f)) {
        f.prefixes++;
    }
    f.opcode = &e->bytes[f.prefixes];
    return f;
}

enum rule {
    REPEAT_BESIDE_66, /* F2 or F3: it takes one of them for a part of the opcode */
    LOCK_IGNORED,     /* APM volume 3, "Lock Prefix": #UD but where memory is read and written */
    LOCK_CR8,         /* APM volume 3, "MOV CRn": CR0 with LOCK is CR8; it does not know that */
    NO_SUCH_CR,       /* the same: CR1, CR5, CR6, CR7, CR9 to CR15 raise #UD */
    NO_SUCH_DR,       /* APM volume 3, "MOV DRn": DR8 to DR15 raise #UD */
    REPNE_STOS,       /* SDM volume 2, "REP": F2 is reserved there; not promised */
    TEST_AGAIN,       /* SDM volume 2, "Opcode Extensions": there is no F6 /1, F7 /1 */
    GROUP1_AGAIN,     /* 82 does what 80 does, by old manuals only; not promised */
    IDLE_SEGMENT,  /* APM volume 3, "Segment-Override Prefixes": four do nothing in 64-bit code */
    MOVSXD_NARROW, /* SDM volume 2, "MOVSXD": without REX.W; it says 64 bits always */
    RULES
};
static const char *const rule_names[RULES] = {
    "repeat beside 66", "lock ignored", "lock cr8",     "no such cr",   "no such dr",
    "repne stos",       "test again",   "group1 again", "idle segment", "movsxd narrow"};
static size_t overruled[RULES];

static bool overrule(bool so, enum rule rule)
{
    overruled[rule] += so;
    return so;
}

const char *capstone_rule(unsigned int rule, size_t *times)
{
    if (rule >= RULES) {
        return NULL;
    }
    *times = overruled[rule];
    return rule_names[rule];
}

static bool left_out(uint8_t byte, bool counts, bool repeat, bool lock)
{
    if (byte >= 0x40 && byte <= 0x4f) {
        return !counts; /* or it might come to stand before the opcode */
    }
    return (repeat && (byte == 0xf2 || byte == 0xf3)) || (lock && byte == 0xf0);
}

/* Asks without F2 and F3, or without LOCK, and tells of the whole encoding. */
static void ask_without(const struct encoding *e, const struct facts *f, bool repeat, bool lock,
                        struct insn_said *s)
{
    csh handle = handles[e->mode == 2 ? 0 : e->mode == 4 ? 1 : 2];
    uint8_t bytes[ENCODING_BYTES];
    const uint8_t *at = bytes;
    size_t n = 0, left;
    uint64_t address = 0;

    for (unsigned int i = 0; i < e->n; i++) {
        bool prefix = i < f->prefixes && (repeat || lock);

        if (!prefix || !left_out(e->bytes[i], i + 1 == f->prefixes, repeat, lock)) {
            bytes[n++] = e->bytes[i];
        }
    }
    left = INSN_MAX - (e->n - n); /* SDM volume 2, "Instruction Format": longer ones raise #GP */
    memset(s, 0, sizeof(*s));
    if (cs_disasm_iter(handle, &at, &left, &address, insn)) {
        s->mmio = mmio_expected(insn, &s->as_mmio);
        s->exits = exit_expected(insn, &s->as_exit);
        s->as_mmio.length += (uint8_t)(e->n - n);
        s->as_exit.length += (uint8_t)(e->n - n);
    }
}

static void correct_mmio(const struct encoding *e, const struct facts *f, struct insn_said *s)
{
    struct insn_mmio *i = &s->as_mmio;
    const uint8_t *op = f->opcode;

    if (overrule(f->lock && !(i->read && i->write), LOCK_IGNORED) ||
        overrule(i->op == INSN_STOS && f->repeat == 0xf2, REPNE_STOS) ||
        overrule((*op & 0xfe) == 0xf6 && (op[1] >> 3 & 7) == 1, TEST_AGAIN) ||
        overrule(*op == 0x82, GROUP1_AGAIN)) {
        s->mmio = false;
    }
    i->rep = i->op == INSN_STOS && f->repeat == 0xf3;
    if (e->mode == 8 && overrule(*op == 0x63 && (f->rex & 8) == 0, MOVSXD_NARROW)) {
        i->reg_size = f->operand_size ? 2 : 4;
        i->size = i->reg_size;
    }
}

static bool is_register(unsigned int cr)
{
    return cr == 0 || (cr >= 2 && cr <= 4) || cr == 8;
}

static void correct_exit(const struct facts *f, struct insn_said *s)
{
    struct insn_exit *i = &s->as_exit;
    bool cr = i->opcode == INSN_MOV_TO_CR || i->opcode == INSN_MOV_FROM_CR;
    bool stack = i->memory.base == GPR_RSP || i->memory.base == GPR_RBP;

    if (cr && overrule(f->lock && i->reg == 0, LOCK_CR8)) {
        i->reg = 8;
    } else if (overrule(f->lock, LOCK_IGNORED) ||
               overrule(cr && !is_register(i->reg), NO_SUCH_CR) ||
               overrule(i->opcode == INSN_MOV_TO_DR && i->reg > 7, NO_SUCH_DR)) {
        s->exits = false;
    }
    if (overrule(f->idle_segment, IDLE_SEGMENT)) {
        bool none = f->segment == SEG_COUNT;

        i->segment = none ? SEG_DS : f->segment;
        i->memory.segment = !none ? f->segment : stack ? SEG_SS : SEG_DS;
    }
}

void capstone_ask(const struct encoding *e, struct insn_said *said)
{
    struct facts f = look(e);
    bool control = f.opcode[0] == 0x0f && (f.opcode[1] & 0xfd) == 0x20;

    ask_without(e, &f, overrule(f.operand_size && f.repeat != 0, REPEAT_BESIDE_66),
                f.lock && control, said);
    if (said->mmio) {
        correct_mmio(e, &f, said);
    }
    if (said->exits) {
        correct_exit(&f, said);
    }
}
