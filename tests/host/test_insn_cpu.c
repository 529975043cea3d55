/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MMIO instructions against this machine's processor: each random encoding is executed here, and
 * decoded and applied to the same registers, flags and memory. 64-bit mode only.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fakes/cmocka_inc.h"
#include "fakes/insn_text.h"
#include "fakes/random.h"
#include "hv/vcpu.h"
#include "hw/x86.h"

#define RUNS 40000U
#define MEMORY_WORDS 8
#define OPERAND 24 /* byte of memory[] that the operand is at: STOS goes three elements both ways */
#define STATUS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* Below 2 GiB, so that 32-bit addresses reach it; code and data are a page apart. */
struct arena {
    uint8_t code[4096];
    uint64_t in[16], out[16];
    uint64_t flags_in, flags_out, host_rsp;
    uint8_t memory[8 * MEMORY_WORDS];
};

struct emitter {
    struct arena *arena;
    size_t at;
};

static void emit(struct emitter *e, const void *bytes, size_t n)
{
    memcpy(&e->arena->code[e->at], bytes, n);
    e->at += n;
}

/* The displacement that makes [RIP + it] this place, when the instruction ends after more bytes. */
static void emit_relative(struct emitter *e, const void *place, size_t more)
{
    int32_t rel = (int32_t)((const uint8_t *)place - &e->arena->code[e->at + 4 + more]);

    emit(e, &rel, sizeof(rel));
}

/* MOV between a 64-bit register and [RIP + x] */
static void emit_mov(struct emitter *e, uint8_t opcode, unsigned int reg, const uint64_t *place)
{
    uint8_t bytes[3] = {(uint8_t)(0x48 | reg >> 3 << 2), opcode, (uint8_t)((reg & 7) << 3 | 5)};

    emit(e, bytes, sizeof(bytes));
    emit_relative(e, place, 0);
}

#define LOAD 0x8b
#define STORE 0x89

static void emit_before(struct emitter *e)
{
    struct arena *a = e->arena;

    emit(e, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10); /* PUSH rbx rbp r12 r13 r14 r15 */
    emit_mov(e, STORE, GPR_RSP, &a->host_rsp);
    emit(e, "\xff\x35", 2); /* PUSH m64 */
    emit_relative(e, &a->flags_in, 0);
    emit(e, "\x9d", 1); /* POPFQ */
    for (unsigned int r = 0; r < 16; r++) {
        emit_mov(e, LOAD, r, &a->in[r]);
    }
}

static void emit_after(struct emitter *e)
{
    struct arena *a = e->arena;

    for (unsigned int r = 0; r < 16; r++) {
        emit_mov(e, STORE, r, &a->out[r]);
    }
    emit_mov(e, LOAD, GPR_RSP, &a->host_rsp);
    emit(e, "\x9c\x8f\x05", 3); /* PUSHFQ; POP m64 */
    emit_relative(e, &a->flags_out, 0);
    emit(e, "\xfc", 1);                                          /* CLD */
    emit(e, "\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 11); /* POP them; RET */
}

enum { PLAIN, DIGIT_0, DIGIT_ALU, ABSOLUTE, STRING };

static const struct form {
    uint8_t opcode, escape, kind, imm; /* imm: bytes; 4 is of the operand size */
    bool lock;
} forms[] = {
    {0x88, 0, PLAIN, 0, false},     {0x89, 0, PLAIN, 0, false},
    {0x8a, 0, PLAIN, 0, false},     {0x8b, 0, PLAIN, 0, false},
    {0xa0, 0, ABSOLUTE, 0, false},  {0xa1, 0, ABSOLUTE, 0, false},
    {0xa2, 0, ABSOLUTE, 0, false},  {0xa3, 0, ABSOLUTE, 0, false},
    {0xc6, 0, DIGIT_0, 1, false},   {0xc7, 0, DIGIT_0, 4, false},
    {0xb6, 0x0f, PLAIN, 0, false},  {0xb7, 0x0f, PLAIN, 0, false},
    {0xbe, 0x0f, PLAIN, 0, false},  {0xbf, 0x0f, PLAIN, 0, false},
    {0x63, 0, PLAIN, 0, false},     {0x80, 0, DIGIT_ALU, 1, true},
    {0x81, 0, DIGIT_ALU, 4, true},  {0x83, 0, DIGIT_ALU, 1, true},
    {0x20, 0, PLAIN, 0, true},      {0x21, 0, PLAIN, 0, true},
    {0x22, 0, PLAIN, 0, false},     {0x23, 0, PLAIN, 0, false},
    {0x08, 0, PLAIN, 0, true},      {0x09, 0, PLAIN, 0, true},
    {0x0a, 0, PLAIN, 0, false},     {0x0b, 0, PLAIN, 0, false},
    {0x30, 0, PLAIN, 0, true},      {0x31, 0, PLAIN, 0, true},
    {0x32, 0, PLAIN, 0, false},     {0x33, 0, PLAIN, 0, false},
    {0x38, 0, PLAIN, 0, false},     {0x39, 0, PLAIN, 0, false},
    {0x3a, 0, PLAIN, 0, false},     {0x3b, 0, PLAIN, 0, false},
    {0x84, 0, PLAIN, 0, false},     {0x85, 0, PLAIN, 0, false},
    {0xf6, 0, DIGIT_0, 1, false},   {0xf7, 0, DIGIT_0, 4, false},
    {0x86, 0, PLAIN, 0, true},      {0x87, 0, PLAIN, 0, true},
    {0xaa, 0, STRING, 0, false},    {0xab, 0, STRING, 0, false},
};

/* A random instruction on arena.memory[OPERAND]; where it starts. */
static const uint8_t *emit_instruction(struct emitter *e)
{
    static const uint8_t alu_digits[] = {1, 4, 6, 7};
    const struct form *f = &forms[random_below(sizeof(forms) / sizeof(forms[0]))];
    uint8_t *operand = &e->arena->memory[OPERAND], *start = &e->arena->code[e->at];
    uint8_t digit = f->kind == DIGIT_ALU ? alu_digits[random_below(4)] : 0;
    uint64_t address = (uint64_t)(uintptr_t)operand, immediate = random64();
    bool p66 = random_below(3) == 0, p67 = random_below(4) == 0;
    size_t imm = f->imm == 4 && p66 ? 2 : f->imm;

    if (p66) {
        emit(e, "\x66", 1);
    }
    if (p67) {
        emit(e, "\x67", 1);
    }
    if (f->lock && digit != 7 && random_below(4) == 0) {
        emit(e, "\xf0", 1);
    }
    if (f->kind == STRING && random_below(2) == 0) {
        emit(e, "\xf3", 1);
    }
    if (random_below(2) == 0) {
        uint8_t rex = (uint8_t)(0x40 | random_below(16));

        if (f->imm == 4 && (rex & 8) != 0) {
            imm = 4;
        }
        emit(e, &rex, 1);
    }
    if (f->escape != 0) {
        emit(e, &f->escape, 1);
    }
    emit(e, &f->opcode, 1);
    if (f->kind == ABSOLUTE) {
        emit(e, &address, p67 ? 4 : 8);
    } else if (f->kind != STRING) {
        uint8_t modrm = (uint8_t)((f->kind == PLAIN ? random_below(8) : digit) << 3 | 5);

        emit(e, &modrm, 1);
        emit_relative(e, operand, imm);
        emit(e, &immediate, imm);
    }
    return start;
}

/* Registers, flags and memory that make equal operands, borrows and signs frequent. */
static void set_state(struct arena *a)
{
    static const uint64_t odd[] = {0,
                                   1,
                                   0x80,
                                   0x7f,
                                   0x8000,
                                   0x80000000,
                                   0x7fffffffffffffff,
                                   0x8000000000000000,
                                   0xffffffffffffffff,
                                   0xffff8000};
    uint64_t m = random_below(2) == 0 ? random64()
                                      : odd[random_below(sizeof(odd) / sizeof(odd[0]))];

    for (unsigned int i = 0; i < sizeof(a->memory); i++) {
        a->memory[i] = (uint8_t)random64();
    }
    memcpy(&a->memory[OPERAND], &m, sizeof(m));
    for (unsigned int r = 0; r < 16; r++) {
        a->in[r] = random_below(3) == 0   ? m
                   : random_below(2) == 0 ? random64()
                                          : odd[random_below(10)];
    }
    a->flags_in = RFLAGS_FIXED | RFLAGS_IF | (random64() & (STATUS | RFLAGS_DF));
}

static void apply(const struct insn_mmio *insn, uint64_t gpr[16], uint64_t *flags, uint8_t *memory,
                  const uint8_t *base)
{
    bool done = false;

    while (!done) {
        uint64_t device = 0, write;
        size_t at = OPERAND;

        if (insn->op == INSN_STOS) {
            at = (size_t)(gpr[GPR_RDI] - (uint64_t)(uintptr_t)base);
            assert_true(at + insn->size <= 8 * MEMORY_WORDS);
        }
        if (insn->read) {
            memcpy(&device, &memory[at], insn->size);
            device |= insn->size < 8 ? random64() << (8 * insn->size) : 0;
        }
        done = insn_apply_mmio(insn, device, gpr, flags, &write);
        if (insn->write) {
            memcpy(&memory[at], &write, insn->size);
        }
    }
}

static void one_run(struct arena *a)
{
    struct emitter e = {.arena = a};
    uint64_t gpr[16], flags, checked;
    uint8_t memory[sizeof(a->memory)];
    const uint8_t *start;
    struct insn_mmio insn;
    char text[INSN_TEXT];
    size_t length;

    set_state(a);
    emit_before(&e);
    start = emit_instruction(&e);
    length = (size_t)(&a->code[e.at] - start);
    emit_after(&e);
    assert_int_equal(insn_decode_mmio(start, INSN_MAX, 8, &insn), 0);
    insn_text(&insn, text);
    if (insn.length != length) {
        fail_msg("%s: %u bytes, not %zu", text, insn.length, length);
    }
    if (insn.op == INSN_STOS) {
        a->in[GPR_RDI] = (uint64_t)(uintptr_t)&a->memory[OPERAND];
        a->in[GPR_RCX] = 1 + random_below(3);
        if (insn.address_size == 4) { /* only the lower half counts */
            a->in[GPR_RCX] |= random64() << 32;
        }
    }
    memcpy(gpr, a->in, sizeof(gpr));
    memcpy(memory, a->memory, sizeof(memory));
    flags = a->flags_in;
    ((void (*)(void))(uintptr_t)a->code)();
    apply(&insn, gpr, &flags, memory, a->memory);
    for (unsigned int r = 0; r < 16; r++) {
        if (gpr[r] != a->out[r]) {
            fail_msg("%s: gpr[%u] is %#llx, not %#llx", text, r, (unsigned long long)gpr[r],
                     (unsigned long long)a->out[r]);
        }
    }
    checked = STATUS | RFLAGS_DF;
    if (insn.op == INSN_AND || insn.op == INSN_OR || insn.op == INSN_XOR || insn.op == INSN_TEST) {
        checked &= ~RFLAGS_AF; /* undefined */
    }
    if (((flags ^ a->flags_out) & checked) != 0) {
        fail_msg("%s: flags are %#llx, not %#llx", text, (unsigned long long)flags,
                 (unsigned long long)a->flags_out);
    }
    if (memcmp(memory, a->memory, sizeof(memory)) != 0) {
        fail_msg("%s: memory differs", text);
    }
}

static void test_insn_apply_mmio__random_encodings__as_this_processor(void **state)
{
    struct arena *a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE | PROT_EXEC,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

    (void)state;
    assert_true(a != MAP_FAILED);
    for (unsigned int n = 0; n < RUNS; n++) {
        one_run(a);
    }
    munmap(a, sizeof(*a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_insn_apply_mmio__random_encodings__as_this_processor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
